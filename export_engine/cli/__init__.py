"""The command line: files or object stores in, an archive out; one module a command.

What a command makes goes to stdout, warnings and errors go to stderr, progress only where that is a terminal. An
interrupted or failed export leaves nothing behind. Text from inputs and archives reaches the terminal only through
`printable`, and never as rich's markup.
"""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn

from export_engine.cli.signals import SIGNALS

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
