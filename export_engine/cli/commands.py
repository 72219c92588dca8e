"""The commands of the command line, and how what they raise ends the process."""

from __future__ import annotations

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
from export_engine.engine import backend_name
from export_engine.errors import ExportError
from export_engine.options import ExportOptions

__all__ = ["commands", "run"]


def run() -> int:
    """Run the command with the process's arguments; returns its exit code."""
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
@click.version_option(
    __version__,
    prog_name="export-engine",
    # What `fast` is decides its bytes: the kernel, or what stands in where that was not built.
    message=f"%(prog)s, version %(version)s, fast is {backend_name(ExportOptions())}",
)
def commands() -> None:
    """Conversations in, one ZIP of CSVs out."""


for _command in (export, check, batch, verify, inspect, serve, worker, key, database):
    commands.add_command(_command)
