"""What the commands have in common: exit codes, how a wrong option is told, sizes and times as people read them."""

from __future__ import annotations

import re
from calendar import month_name, monthrange
from contextlib import suppress
from datetime import datetime
from pathlib import Path, PurePath
from typing import IO, Any

import click
from rich.filesize import decimal

from export_engine.errors import OptionError
from export_engine.readback.printable import printable

__all__ = [
    "DAY",
    "DONE",
    "EPILOG",
    "FAILED",
    "FILE",
    "INTERRUPTED",
    "PROBLEMS",
    "SOME_FAILED",
    "USAGE",
    "Command",
    "check_listing",
    "counted",
    "failed",
    "minute_text",
    "size_text",
]


class _Day(click.DateTime):
    """A day as ISO 8601 has it, and what is wrong with one that there is not."""

    def __init__(self) -> None:
        super().__init__(["%Y-%m-%d"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            found = re.fullmatch("([0-9]{4})-(0[1-9]|1[0-2])-([0-9]{2})", str(value))
            if found and found[3] != "00" and found[1] != "0000":
                year, month = int(found[1]), int(found[2])
                # The calendar module's names are the locale's, which this package never sets.
                self.fail(f"there is no {value}: {month_name[month]} {year} has {monthrange(year, month)[1]} days")
            self.fail(f"{value!r} is no day: write it as YYYY-MM-DD, such as 2026-06-30")


DAY = _Day()

DONE, FAILED, USAGE, PROBLEMS, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 4, 130

EPILOG = """\b
Exit codes:
  0    done
  1    failed: input that cannot be exported, a full disk, an existing file
  2    wrong usage
  3    verify found problems, or inspect could not read all of an archive
  4    batch could not make some of the archives
  130  interrupted (Ctrl-C, SIGTERM, SIGHUP, SIGQUIT); nothing is left behind"""


class _File(click.Path):
    """A file that is there; one in a folder that may not be entered is not said to be missing."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            Path(value).stat()
        except (OSError, ValueError) as error:  # what else it may be, click tells
            if isinstance(error, PermissionError):
                self.fail(f"{value!r} cannot be looked at: {error.strerror}", param, ctx)
        return super().convert(value, param, ctx)


#: A file that is there.
FILE = _File()


class _WrongOptionError(click.ClickException):
    """An option or argument that cannot work, named as this command calls it."""

    exit_code = USAGE

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it as every error is printed."""
        del file
        failed(self.message, self.exit_code)


class Command(click.Command):
    """A command whose options are called as the library calls them: its errors name the option."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises a ClickException for an OptionError and for an extra that is not installed."""
        try:
            return super().invoke(ctx)
        except OptionError as error:
            raise _WrongOptionError(f"{_flag(self, error.option)}: {error}") from None
        except ModuleNotFoundError as error:
            if "pip install 'export-engine[" not in str(error):
                raise
            raise click.ClickException(str(error)) from None  # an extra that is not there, and how to have it


def _flag(command: click.Command, option: str) -> str:
    """What the command calls an option of the library."""
    for parameter in command.params:
        if parameter.name == option:
            return (
                parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name.strip("[.]")
            )
    return f"--{option.replace('_', '-')}"


def check_listing(flag: str, place: str) -> None:
    """Raise UsageError for a file of records whose name does not say what it is to be."""
    if PurePath(place).suffix.lower() not in {".jsonl", ".parquet"}:
        raise click.UsageError(f"{flag} {place}: write a name that ends in .jsonl or .parquet")


def failed(message: str, code: int) -> int:
    """Print an error; returns its exit code."""
    with suppress(OSError):  # a terminal that has gone
        click.echo(f"error: {printable(' '.join(message.splitlines()))}", err=True)
    return code


def counted(number: int, what: str) -> str:
    """How many there are of what `what` is one of: `1 message`, `2,000 messages`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def size_text(number: int) -> str:
    """A number of bytes: `33.5 kB`."""
    return decimal(number).replace("bytes", "B").replace("byte", "B")


def minute_text(time: datetime | None) -> str:
    """A time to the minute; nothing for None."""
    return f"{time:%Y-%m-%d %H:%M}" if time else ""
