"""The command line: files or object stores in, an archive out; one module a command.

What a command makes goes to stdout, warnings and errors go to stderr, progress only where that is a terminal. An
interrupted or failed export leaves nothing behind. Text from inputs and archives reaches the terminal only through
`printable`, and never as rich's markup.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from export_engine.cli.signals import SIGNALS

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command with the process's arguments and exit."""
    SIGNALS.heed()
    _fill_closed_streams()
    # Loading the commands takes a while: what comes meanwhile is heeded then.
    from export_engine.cli.commands import run  # noqa: PLC0415
    from export_engine.cli.common import INTERRUPTED  # noqa: PLC0415

    SIGNALS.raising = True
    if SIGNALS.came:
        sys.exit(INTERRUPTED)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks is no failure
    _name_standard_output()
    sys.exit(run())


def _fill_closed_streams() -> None:
    """Have nothing go where a standard stream is closed; else the next file that is opened would get what is told."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # it stays open
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # the same


class _Named(io.FileIO):
    """Standard output, whose error says that it is it: a full disk is of no use without which file is on it.

    It is told once. What comes behind the gap goes nowhere: Python tries again as it ends, and has but a traceback.
    """

    _torn = False

    def write(self, data: ReadableBuffer, /) -> int:
        size = memoryview(data).nbytes
        if self._torn or not size:  # click finds out what it has by writing nothing
            return size
        try:
            return super().write(data)
        except OSError as error:
            self._torn = True
            error.filename = "standard output"
            raise


def _name_standard_output() -> None:
    old = sys.stdout
    if not isinstance(old, io.TextIOWrapper):
        return
    raw = getattr(old.buffer, "raw", old.buffer)  # without a buffer where PYTHONUNBUFFERED says so
    if type(raw) is not io.FileIO:  # a console of Windows
        return
    named = _Named(1, "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        named if raw is old.buffer else io.BufferedWriter(named),
        encoding=old.encoding,
        errors=old.errors,
        line_buffering=old.line_buffering,
        write_through=old.write_through,
    )
