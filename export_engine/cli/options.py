"""The options that shape an archive, for every command that makes one: they become one `ExportOptions`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, get_args

import click

from export_engine.options import (
    DEFAULT_NAME_BUDGET,
    MAX_NAME_BUDGET,
    MIN_NAME_BUDGET,
    Compression,
    CsvDialect,
    Epoch,
    ExportOptions,
    RangeBy,
)

__all__ = ["environment_option", "export_options", "max_archive_size_option", "with_options"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Option = Callable[..., Callable[[_Command], _Command]]


def environment_option(flag: str, **more: Any) -> Callable[[_Command], _Command]:
    """An option that the environment may give too: what an argument says, every user of the machine can read."""
    variable = f"EXPORT_ENGINE_{flag.strip('-').replace('-', '_').upper()}"
    return click.option(flag, envvar=variable, show_envvar=True, **more)


#: For what writes files: the job of a service is one archive.
max_archive_size_option = click.option(
    "--max-archive-size",
    metavar="SIZE",
    help="The most bytes of an archive, such as 500MB, 2GB or 1GiB; what would grow past it goes on in another, cut "
    "between CSVs (default: one archive of any size).",
)


def with_options(*options: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """Several options, listed by --help in this order."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def export_options(*, environment: bool) -> Callable[[_Command], _Command]:
    """Give a command the options of `ExportOptions`; it is called with one of these as `options`.

    With `environment` each may also come from a variable, `EXPORT_ENGINE_COMPRESSION` and so on: for commands that run
    as services. Raises OptionError, when the command is run, for what cannot work.
    """
    option: Any = environment_option if environment else click.option

    def decorate(command: _Command) -> _Command:
        @wraps(command)
        def run(
            *arguments: Any,
            excel: bool,
            bom: bool,
            lf: bool,
            formula_guard: bool,
            bare_e164: bool,
            digits_guard: bool,
            timezone: str,
            epoch: Epoch | None,
            compression: Compression,
            range_by: RangeBy,
            threads: int | None,
            name_budget: int,
            strict: bool,
            **others: Any,
        ) -> Any:
            dialect = CsvDialect(
                bom=bom or excel,
                line_end="\n" if lf else "\r\n",
                formula_guard=formula_guard or excel,
                bare_e164=bare_e164,
                digits_guard=digits_guard or excel,
            )
            options = ExportOptions(
                timezone=timezone,
                epoch=epoch,
                range_by=range_by,
                compression=compression,
                dialect=dialect,
                name_budget=name_budget,
                strict=strict,
                threads=threads,
            )
            return command(*arguments, options=options, **others)

        return with_options(*_options(option))(run)  # type: ignore[return-value]  # the same command with other options

    return decorate


def _options(option: Any) -> tuple[Callable[[Any], Any], ...]:
    return (
        option(
            "--timezone",
            default="UTC",
            show_default=True,
            metavar="NAME",
            help="Of the days, naive times and times written: a name, or an offset such as +08:00.",
        ),
        option(
            "--epoch",
            type=click.Choice(get_args(Epoch)),
            help="What times that are numbers count since 1970; without it they are refused.",
        ),
        option("--compression", default="fast", show_default=True, type=click.Choice(get_args(Compression))),
        option(
            "--range-by",
            default="message_time",
            show_default=True,
            type=click.Choice(get_args(RangeBy)),
            help="Export the messages sent in the range, or whole the conversations created in it.",
        ),
        option(
            "--excel",
            is_flag=True,
            help="For people who open the CSVs in Excel: --bom, --formula-guard and --digits-guard.",
        ),
        option("--bom", is_flag=True, help="Begin each CSV with a byte order mark."),
        option("--lf", is_flag=True, help="End lines with LF instead of CRLF."),
        option("--formula-guard", is_flag=True, help="Put ' before cells that a spreadsheet could take for a formula."),
        option(
            "--bare-e164", is_flag=True, help="With the guard, leave phone numbers such as +12025550123 as they are."
        ),
        option(
            "--digits-guard",
            is_flag=True,
            help="With the guard, put ' before ids and phones that a spreadsheet would change: long digits, 0044.",
        ),
        option("--threads", type=click.IntRange(min=1), help="How many deflate (default: the processors, at most 8)."),
        option(
            "--name-budget",
            default=DEFAULT_NAME_BUDGET,
            show_default=True,
            type=click.IntRange(MIN_NAME_BUDGET, MAX_NAME_BUDGET),
            help="The most bytes of a CSV's name.",
        ),
        option("--strict", is_flag=True, help="Refuse text that is no Unicode instead of writing U+FFFD."),
    )
