"""The service's commands as an operator runs them: processes that go on until a signal, and what they print and log."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from export_engine.cli.commands import commands
from tests.cli.command import COMMAND, ROOT
from tests.service.running import until

__all__ = ["ENVIRONMENT", "UNHURRIED", "Process", "invoke", "needs_signals", "run", "running", "shown"]


ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("EXPORT_ENGINE")} | {
    "PYTHONPATH": str(ROOT)
}


needs_signals = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def run(*arguments: str | Path, **environment: str) -> tuple[int, str, str]:
    """Run a command to its end; returns exit code, stdout and stderr. There is never a traceback."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], env=ENVIRONMENT | environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@dataclass
class Process:
    """A command that runs."""

    popen: subprocess.Popen[bytes]
    out: Path
    log: Path

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Have it end by a signal, or by SIGTERM where that one is ignored, as below nohup; returns its exit code."""
        self.popen.send_signal(signal.SIGTERM if signal.getsignal(number) is signal.SIG_IGN else number)
        return self.popen.wait(120)

    def lines(self) -> list[dict[str, Any]]:
        """Its log, as far as lines of it are whole; every line is JSON."""
        return [json.loads(line) for line in self.log.read_text().split("\n")[:-1]]


#: The command line, which has time for its answers: see `tests.service.running.unhurried`.
UNHURRIED = """
from datetime import timedelta
from export_engine.cli import main
from export_engine.service import deadline, metrics
deadline.ANSWER_TIME = timedelta(minutes=1)
metrics._COUNTING_TIME = 60.0
main()
"""


@contextmanager
def running(
    folder: Path, name: str, *arguments: str | Path, program: str = UNHURRIED, **environment: str
) -> Iterator[Process]:
    """A command of the service while the block runs; what it prints and logs is in the folder."""
    command = [sys.executable, "-c", program]
    out, log = folder / f"{name}.out", folder / f"{name}.log"
    with out.open("wb") as stdout, log.open("wb") as stderr:
        popen = subprocess.Popen(
            [*command, *map(str, arguments)], env=ENVIRONMENT | environment, stdout=stdout, stderr=stderr, umask=0
        )
        process = Process(popen, out, log)
        try:
            yield process
        finally:
            popen.kill()
            popen.wait(60)


def shown(process: Process) -> tuple[str, str]:
    """Where the demo is served, and its key."""
    until(lambda: "curl -o" in process.out.read_text() or process.popen.poll() is not None)
    text = process.out.read_text()
    assert "curl -o" in text, process.log.read_text()
    found = re.search(r"Serving demo data at (\S+), .*X-API-Key: (\S+)'", text, re.DOTALL)
    assert found is not None
    return found[1], found[2]


def invoke(*arguments: str | Path) -> Result:
    """Run a command in this process, as far as it comes before it serves."""
    return CliRunner().invoke(commands, [*map(str, arguments)], env=dict.fromkeys(os.environ.keys() - ENVIRONMENT))
