"""The command line: files or object stores in, an archive out; one module a command.

What a command makes goes to stdout, warnings and errors go to stderr, progress only where that is a terminal. An
interrupted or failed export leaves nothing behind. Text from inputs and archives reaches the terminal only through
`printable`, and never as rich's markup.
"""

from __future__ import annotations

import io
import signal
import sys
from time import monotonic
from types import FrameType
from typing import NoReturn

import click

from export_engine import __version__
from export_engine.cli.batch import batch
from export_engine.cli.check import check
from export_engine.cli.common import DONE, EPILOG, FAILED, INTERRUPTED, failed
from export_engine.cli.database import database
from export_engine.cli.export import export
from export_engine.cli.inspect import inspect
from export_engine.cli.key import key
from export_engine.cli.serve import serve
from export_engine.cli.verify import verify
from export_engine.cli.worker import worker
from export_engine.errors import ExportError

__all__ = ["main"]

#: Seconds for which a second signal is taken as the first one's.
_PATIENCE = 10


def main() -> NoReturn:
    """Run the command with the process's arguments and exit."""
    _heed_signals()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks is no failure
    sys.exit(_run())


def _heed_signals() -> None:
    """Have what asks a process to end, a closed terminal too, end it as cleanly as Ctrl-C does.

    Another such signal soon after does not interrupt the cleaning up; one that comes later is heeded, lest the first
    was lost in a library. A signal that is ignored, as under nohup, stays so.
    """
    last = -float(_PATIENCE)

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        del number, frame
        now = monotonic()
        if now - last >= _PATIENCE:
            last = now
            raise KeyboardInterrupt

    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK"):
        number = getattr(signal, name, None)  # not every platform has each
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)


def _run() -> int:
    try:
        code = commands.main(prog_name="export-engine", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        return _interrupted(error.__cause__)
    except ExportError as error:
        return failed("; ".join([str(error), *_notes(error)]), FAILED)
    except OSError as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # the terminal has gone, and cannot even be told so
            return _interrupted(error.__context__)
        reason = "; ".join([error.strerror or str(error), *_notes(error)])
        return failed(f"{error.filename}: {reason}" if error.filename else reason, FAILED)
    return code if isinstance(code, int) else DONE


def _interrupted(error: BaseException | None) -> int:
    """Silent, unless something could not be cleaned up."""
    if notes := _notes(error):
        failed("; ".join(notes), INTERRUPTED)
    return INTERRUPTED


def _notes(error: BaseException | None) -> list[str]:
    return getattr(error, "__notes__", [])


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="export-engine")
def commands() -> None:
    """Conversations in, one ZIP of CSVs out."""


for _command in (export, check, batch, verify, inspect, serve, worker, key, database):
    commands.add_command(_command)
