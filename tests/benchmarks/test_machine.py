"""Whether others are at work on the machine is told."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import benchmarks.__main__
from benchmarks.machine import Watch, busy


@pytest.mark.parametrize(
    ("load", "others", "is_busy"),
    [(0.3, 0.01, False), (1.6, 0.01, True), (0.3, 0.5, True), (None, None, False), (None, 0.5, True)],
)
def test_a_busy_machine_is_told(load: float | None, others: float | None, is_busy: bool) -> None:
    """By its load before the run, or by what others took during it; what is not known does not speak against it."""
    assert busy({"load": load, "seconds": 1.0, "others": others}) is is_busy


def test_no_run_begins_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It says so and ends with an error before anything is run or written."""
    monkeypatch.setattr("benchmarks.__main__.load", lambda: 7.5)
    monkeypatch.setattr("sys.argv", ["benchmarks"])
    monkeypatch.setattr("subprocess.run", None)
    assert benchmarks.__main__.main() == 1
    assert "7.50" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="reads /proc/stat")
def test_work_of_others_is_told_from_our_own() -> None:
    """What another process burns while we watch counts; what we burn, and our children, does not."""
    burn = "import time; end = time.process_time() + {}\nwhile time.process_time() < end: pass"
    watch = Watch.begin()
    subprocess.run([sys.executable, "-c", burn.format(0.5)], check=True)
    found = watch.found()
    seconds, others = found["seconds"], found["others"]
    assert seconds is not None
    assert others is not None
    # On a busy machine others may have taken the rest; never what our child took.
    assert others * seconds <= (os.cpu_count() or 1) * seconds - 0.4
    watch = Watch.begin()
    # A child that is not waited for is not yet ours: it stands for any other process.
    with subprocess.Popen([sys.executable, "-c", burn.format(0.5) + "\ninput()"], stdin=subprocess.PIPE) as other:
        # It may be done a clock tick short of what it was told to burn.
        while _ticks(other.pid) < 0.45:
            time.sleep(0.05)
        found = watch.found()
        other.communicate(b"\n")
    assert (found["others"] or 0) * (found["seconds"] or 0) >= 0.4


def _ticks(pid: int) -> float:
    """Processor seconds of a process that runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
