"""The command as a user runs it: a process with arguments, two streams and an exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NESTED = ROOT / "fixtures" / "conversations.jsonl"
FLAT = ROOT / "fixtures" / "conversations.parquet"
COMMAND = [sys.executable, "-m", "export_engine"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "COLUMNS": "100"}

CHANNEL = ["--channel-name", "SMS Support", "--channel-phone", "+12025550123"]
JUNE = [*CHANNEL, "--start", "2026-06-01", "--end", "2026-06-30", "--id", "1c4639da"]
NAME = "SMS_Support_2026-06_1c4639da.zip"


# Arguments: a signal to ignore or "", then the command's.
_HEED = """
import os, signal, sys
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):
    signal.signal(getattr(signal, name), signal.SIG_IGN if name == sys.argv[1] else signal.SIG_DFL)
os.execv(sys.argv[2], sys.argv[2:])
"""


def heeding(ignored: str = "") -> list[str]:
    """The command, that heeds all signals but perhaps one: what runs in the background may have inherited others."""
    return [sys.executable, "-c", _HEED, ignored, *COMMAND]


def everything(terminal: int) -> bytes:
    """What is shown in a terminal until nobody has it any more. It holds only so much that is not read."""
    shown = b""
    with suppress(OSError):  # as Linux has it at the end
        while piece := os.read(terminal, 1 << 16):
            shown += piece
    return shown


needs_posix = pytest.mark.skipif(os.name == "nt", reason="terminals and signals of POSIX")


def run(
    *arguments: str | Path,
    cwd: Path | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    environment: Mapping[str, str] = ENVIRONMENT,
) -> tuple[int, bytes, str]:
    """Run the command; returns its exit code, stdout and stderr. There is never a traceback."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=cwd,
        check=False,
    )
    errors = done.stderr.decode()
    assert "Traceback" not in errors
    return done.returncode, done.stdout or b"", errors
