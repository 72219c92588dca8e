"""The commands of the command line, and how what they raise ends the process."""

from __future__ import annotations

from importlib import import_module

import click

from export_engine import __version__
from export_engine.cli.common import DONE, EPILOG, FAILED, INTERRUPTED, failed
from export_engine.cli.signals import SIGNALS
from export_engine.errors import ExportError

__all__ = ["commands", "run"]


def run() -> int:
    """Run the command with the process's arguments; returns its exit code."""
    try:
        code = commands.main(prog_name="export-engine", standalone_mode=False)
    except click.ClickException as error:
        return _refused(error)
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


def _refused(error: click.ClickException) -> int:
    """Help where nothing was asked for; else how the command is called, if it was not called so, and the error."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    if isinstance(error, click.UsageError) and (ctx := error.ctx) is not None:
        click.echo(f"{ctx.get_usage()}\nTry '{ctx.command_path} --help' for help.\n", err=True)
    return failed(error.format_message(), error.exit_code)


def _interrupted(error: BaseException | None) -> int:
    """Silent, unless something could not be cleaned up."""
    if notes := _notes(error):
        failed("; ".join(notes), INTERRUPTED)
    return INTERRUPTED


def _notes(error: BaseException | None) -> list[str]:
    return getattr(error, "__notes__", [])


class _Commands(click.Group):
    """Commands that are loaded when they are run: help, and a name that is none, wait for no library."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in self.commands:
            return None
        with SIGNALS.held():
            command: click.Command = getattr(import_module(f"export_engine.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str()) for name, command in self.commands.items()])


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    del parameter
    if not value or ctx.resilient_parsing:
        return
    from export_engine.engine import backend_name  # noqa: PLC0415  # loaded when used
    from export_engine.options import ExportOptions  # noqa: PLC0415  # the same

    # What `fast` is decides its bytes: the kernel, or what stands in where that was not built.
    click.echo(f"export-engine, version {__version__}, fast is {backend_name(ExportOptions())}")
    ctx.exit()


#: Each command, in the order of --help, and what it does: the first line of its own help.
_SHORT_HELP = {
    "export": "Export a channel's conversations.",
    "check": "Look at the input before it is exported.",
    "verify": "Check an archive, to every row in it.",
    "inspect": "List an archive's CSVs, or print one conversation.",
    "batch": "Export every channel of a lake, by months.",
    "serve": "Serve the export API over HTTP.",
    "worker": "Run a worker beside the service.",
    "key": "Make, list and revoke API keys.",
    "database": "Upgrade the jobs database, or change what its processes agree on.",
}


@click.group(
    cls=_Commands,
    commands={name: click.Command(name, short_help=said) for name, said in _SHORT_HELP.items()},
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def commands() -> None:
    """Conversations in, one ZIP of CSVs out."""
