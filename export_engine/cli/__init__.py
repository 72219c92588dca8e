"""The command line: files or object stores in, an archive out; one module a command.

What a command makes goes to stdout, warnings and errors go to stderr, progress only where that is a terminal. An
interrupted or failed export leaves nothing behind. Text from inputs and archives reaches the terminal only through
`printable`, and never as rich's markup.
"""

from __future__ import annotations

import io
import signal
import sys
from typing import NoReturn

import click

from export_engine import __version__
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


def main() -> NoReturn:
    """Run the command with the process's arguments and exit."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same clean end as Ctrl-C
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks is no failure
    sys.exit(_run())


def _run() -> int:
    try:
        code = commands.main(prog_name="export-engine", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except ExportError as error:
        return failed(str(error), FAILED)
    except OSError as error:
        reason = error.strerror or str(error)
        return failed(f"{error.filename}: {reason}" if error.filename else reason, FAILED)
    return code if isinstance(code, int) else DONE


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="export-engine")
def commands() -> None:
    """Conversations in, one ZIP of CSVs out."""


for _command in (export, verify, inspect, serve, worker, key, database):
    commands.add_command(_command)
