"""`export-engine export` when it is told to end: nothing is left behind, whatever the signal and wherever it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from tests import s3
from tests.cli.command import ENVIRONMENT, JUNE, NAME, NESTED, heeding

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"]


@dataclass
class Endless:
    """An input that goes on until it is told to end."""

    path: Path
    end: threading.Event = field(default_factory=threading.Event)

    def tell(self) -> None:
        """Write to who reads, as long as it does."""
        lines = [json.dumps(json.loads(line) | {"id": "?"}) for line in NESTED.read_bytes().splitlines()]
        with suppress(BrokenPipeError), self.path.open("w", encoding="utf-8") as pipe:
            for number in count():
                if self.end.is_set():
                    return
                pipe.writelines(line.replace("?", f"{number}-{at}", 1) + "\n" for at, line in enumerate(lines))


@pytest.fixture
def endless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endless]:
    """A pipe: an export of it is under way whenever a signal comes."""
    told = Endless(tmp_path_factory.mktemp("endless") / "endless.jsonl")
    os.mkfifo(told.path)
    teller = threading.Thread(target=told.tell, name="teller")
    teller.start()
    yield told
    told.end.set()
    with suppress(OSError):  # one that nobody has listened to waits to be opened
        os.close(os.open(told.path, os.O_RDONLY | os.O_NONBLOCK))
    teller.join(60)
    assert not teller.is_alive()


@contextmanager
def exporting(
    *arguments: str | Path,
    ignored: str = "",
    stderr: int = subprocess.PIPE,
    environment: Mapping[str, str] = ENVIRONMENT,
) -> Iterator[subprocess.Popen[bytes]]:
    """The command, running."""
    with subprocess.Popen(
        [*heeding(ignored), "export", *map(str, arguments), *JUNE],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=stderr,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def begun(folder: Path) -> bool:
    """Whether some of an archive has been written."""
    return any(path.stat().st_size for path in folder.glob(".*.zip.*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("sent", SIGNALS)
def test_interrupted(tmp_path: Path, endless: Endless, sent: str) -> None:
    """Ctrl-C, a plain kill, a terminal that goes: code 130, silence, and no file is left behind."""
    places = [
        "--output",
        str(tmp_path),
        "--manifest",
        str(tmp_path / "m.parquet"),
        "--compression",
        "small",
        "--threads",
        "1",
    ]
    with exporting(endless.path, *places) as process:
        until(lambda: begun(tmp_path))
        process.send_signal(getattr(signal, sent))
        output, errors = process.communicate(timeout=120)
    assert (process.returncode, output, errors.strip()) == (130, b"", b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("module", ["click", "pyarrow", "export_engine.cli.inputs"])
def test_interrupted_while_it_loads(tmp_path: Path, module: str, sent: str) -> None:
    """The library is loaded to its end, then the command ends as it always does."""
    program = (
        "import os, signal, sys\n"
        # A test run in the background may have it ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == {module!r}:\n"
        f"            os.kill(os.getpid(), signal.{sent})\n"
        "            print('loading', flush=True)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.argv = ['export-engine', *sys.argv[1:]]\n"
        "from export_engine.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "export", str(NESTED), *JUNE],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, b"loading\n", b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("then", ["SIGINT", "SIGHUP"])
def test_interrupted_again_and_again(tmp_path: Path, endless: Endless, then: str) -> None:
    """Further signals do not stop the cleaning up."""
    with exporting(endless.path, "--output", tmp_path, "--threads", "2") as process:
        until(lambda: begun(tmp_path))
        process.send_signal(signal.SIGINT)
        while process.poll() is None:
            process.send_signal(getattr(signal, then))
            time.sleep(0.001)
        output, errors = process.communicate(timeout=120)
    assert list(tmp_path.iterdir()) == []
    assert output == b""
    assert b"Traceback" not in errors
    # Once Python has given its handlers up, while it ends, the last of these signals may be what ends it.
    assert process.returncode in (130, -getattr(signal, then))


@pytest.mark.slow
def test_a_terminal_that_has_gone(tmp_path: Path, endless: Endless) -> None:
    """Nobody can be told any more, and the end is as clean."""
    here, there = os.openpty()  # type: ignore[attr-defined,unused-ignore]  # POSIX
    with exporting(
        endless.path, "--output", tmp_path, stderr=there, environment=ENVIRONMENT | {"TERM": "xterm"}
    ) as process:
        os.close(there)
        os.set_blocking(here, False)

        def looked_at() -> bool:
            with suppress(OSError):  # nothing to see; a terminal that nobody looks at holds up who writes to it
                os.read(here, 1 << 16)
            return begun(tmp_path)

        until(looked_at)
        os.close(here)
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=120)
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("ignored", ["SIGINT", "SIGHUP"])
def test_a_signal_that_is_ignored(tmp_path: Path, endless: Endless, ignored: str) -> None:
    """As under nohup: the export goes on to its end."""
    with exporting(endless.path, "--output", tmp_path, "--quiet", ignored=ignored) as process:
        until(lambda: begun(tmp_path))
        process.send_signal(getattr(signal, ignored))
        endless.end.set()
        _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, b"")
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.slow
@pytest.mark.parametrize("sent", ["SIGINT", "SIGHUP"])
@pytest.mark.parametrize("local", [True, False])
def test_an_interrupted_upload(tmp_path: Path, endless: Endless, bucket: s3.Bucket, sent: str, *, local: bool) -> None:
    """It is aborted: no object, no parts that somebody pays for, no manifest, here or there."""
    url = f"s3://{bucket.name}/x/"
    manifest = str(tmp_path / "m.jsonl") if local else f"{url}m.jsonl"
    places = ["--output", url, "--manifest", manifest, "--compression", "store", "--threads", "1"]
    with exporting(endless.path, *places, environment=ENVIRONMENT | bucket.environment) as process:
        until(lambda: any("partNumber=" in line for line in bucket.requests))
        process.send_signal(getattr(signal, sent))
        output, errors = process.communicate(timeout=120)
    assert (process.returncode, output, errors.strip()) == (130, b"", b"")
    assert bucket.keys() == []
    assert bucket.uploads() == []
    assert list(tmp_path.iterdir()) == []
