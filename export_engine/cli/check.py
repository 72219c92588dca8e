"""`export-engine check`: what an export would stumble over, and what it would take, before it is made."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from copy import copy
from datetime import date, datetime

import click
from rich.console import Console

from export_engine.check import CheckReport, Example, Problem, check_source
from export_engine.cli.common import DAY, DONE, EPILOG, FAILED, Command, counted, minute_text
from export_engine.cli.export import export
from export_engine.cli.inputs import Inputs, input_options
from export_engine.cli.options import export_options
from export_engine.cli.text import folded
from export_engine.model import DateRange
from export_engine.options import ExportOptions
from export_engine.readback.printable import printable
from export_engine.schema import LONGEST_CELL

__all__ = ["check"]

#: Room for the names of facts, where a terminal has it, and the least width that has.
_NAMES, _WIDE = 15, 50


@click.command(cls=Command, epilog=EPILOG)
@input_options
@click.option("--start", type=DAY, metavar="YYYY-MM-DD", help="First day of the range (default: none).")
@click.option("--end", type=DAY, metavar="YYYY-MM-DD", help="Last day of the range, included (default: none).")
@export_options(environment=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, whose keys are CheckReport's fields.")
@click.option("--quiet", is_flag=True, help="Print nothing if an export would succeed.")
def check(
    inputs: Inputs, start: datetime | None, end: datetime | None, as_json: bool, quiet: bool, options: ExportOptions
) -> int:
    """Look at the input before it is exported.

    All of INPUT is read, as `export` would read it, and nothing is written. Told are every column that is missing, with
    those that are called so but for case and separators, the values that break a rule, the time span, conversations
    that do not stand together, ids that are there twice, and what falls into the range. The exit code is 0 if `export`
    would succeed with the same options, and 1 if it would not.

    All options of `export` are taken, so that its command line can be checked as it is. Those that say whose channel
    it is, and what the archive is called and where it goes, are not looked at.
    """
    days = DateRange(start.date() if start else date.min, end.date() if end else date.max)
    found = check_source(inputs.source(), date_range=days, options=options)
    if quiet and found.ok:
        return DONE
    if as_json:
        click.echo(json.dumps(found.as_json(), ensure_ascii=False, indent=2))
    else:
        width = Console().width if _is_terminal() else None
        for line in _lines(found, in_range=bool(start or end), sorts=inputs.query is None, mapped=bool(inputs.columns)):
            for piece in _folded(line, width):
                click.echo(piece)
    return DONE if found.ok else FAILED


def _take_options_of_export() -> None:
    """Have `check` take what `export` alone has a use for."""
    own = {parameter.name for parameter in check.params}
    for parameter in export.params:
        if isinstance(parameter, click.Option) and parameter.name not in own:
            unused = copy(parameter)
            unused.hidden, unused.expose_value = True, False
            check.params.append(unused)


_take_options_of_export()


def _is_terminal() -> bool:
    return sys.stdout.isatty()


#: What stands before a line's text, and the text; the first is the name of a fact, or blanks.
_Line = tuple[str, str]


def _folded(line: _Line, width: int | None) -> Iterator[str]:
    """A line in a terminal's width; in a narrow one a fact stands below its name."""
    head, text = line
    text = printable(text)
    if width is None:
        yield f"{head}{text}"
    elif head.strip() and width < _WIDE:
        yield head.rstrip()
        yield from folded(text, width, head="    ", indent=4)
    else:
        yield from folded(text, width, head=head, indent=len(head) or 2)


def _lines(found: CheckReport, *, in_range: bool, sorts: bool, mapped: bool) -> Iterator[_Line]:
    yield "", "an export would succeed" if found.ok else "an export would fail"
    for name, fact in _facts(found, in_range=in_range, sorts=sorts):
        yield f"  {name:{_NAMES}}", fact
    for name in found.missing_columns:
        similar = ", ".join(map(repr, found.similar_columns.get(name, ())))
        yield "", f"column {name} is missing{f'; it may be {similar}' if similar else ''}"
    if found.missing_columns:
        own = "" if mapped else f"the columns are {', '.join(found.columns) or 'none'}: "
        yield "", f"{own}say what makes those that are missing"
        yield "  ", _map_text(found) if sorts else f"SELECT … AS {', … AS '.join(found.missing_columns)}"
    if found.ok and not found.messages:
        where = "--where" if sorts else "the query's conditions and parameters"
        yield "", f"no row was read at all: look at {where}, and at whether the files are what is meant"
    for problem in found.problems:
        yield from _problem_lines(problem)
    if found.stopped:
        yield "", f"reading stopped: {found.stopped}"


def _facts(found: CheckReport, *, in_range: bool, sorts: bool) -> Iterator[tuple[str, str]]:
    span = f"{minute_text(found.first_time)} to {minute_text(found.last_time)} UTC" if found.first_time else ""
    naive = f"{found.naive_times:,} have no offset from UTC, and are taken in {found.timezone}"
    long = f"{found.long_cells:,} have more than the {LONGEST_CELL:,} characters that a spreadsheet holds, up to "
    facts = {
        "messages": _in_conversations(found.messages, found.conversations),
        "in the range": _in_conversations(found.messages_in_range, found.conversations_in_range) if in_range else "",
        "span": span,
        "times": naive if found.naive_times else "",
        **_grouping(found, sorts=sorts),
        "repeated ids": f"{counted(found.repeated_ids, 'message')} with an id that the conversation had before"
        if found.repeated_ids
        else "",
        "long cells": f"{long}{found.longest_cell:,}" if found.long_cells else "",
        "replaced": f"{found.replaced_surrogates:,} lone surrogates by U+FFFD" if found.replaced_surrogates else "",
        "ignored": f"columns {', '.join(found.ignored_columns)}" if found.ignored_columns else "",
    }
    for name, fact in facts.items():
        if fact:
            yield name, fact
        if name == "repeated ids":
            yield from (("", _place(example)) for example in found.repeated_examples)
    for name, similar in found.similar_columns.items() if not found.missing_columns else ():
        yield "", f"{', '.join(map(repr, similar))} may be {name}: --map {_mapping(name, similar[0])}"


def _grouping(found: CheckReport, *, sorts: bool) -> dict[str, str]:
    if not found.torn_conversations:
        return {"grouped": "the messages of each conversation stand together" if found.conversations else ""}
    some = ", ".join(map(repr, found.torn_examples))
    more = " …" if found.torn_conversations > len(found.torn_examples) else ""
    advice = "sort with --sort" if sorts else "add ORDER BY conversation_id, message_time to the query, or --sort"
    torn = found.torn_conversations
    come = "comes" if torn == 1 else "come"
    return {"torn": f"{counted(torn, 'conversation')} {come} back after another began ({some}{more}): {advice}"}


def _in_conversations(messages: int, conversations: int) -> str:
    return f"{counted(messages, 'message')} in {counted(conversations, 'conversation')}"


def _problem_lines(problem: Problem) -> Iterator[_Line]:
    count = f"{'at least ' if problem.more else ''}{counted(problem.count, 'value' if problem.column else 'line')}"
    advice = f"; {problem.advice}" if problem.advice else ""
    yield "", f"{problem.column or 'input'}: {count}: {problem.rule}{advice}"
    for example in problem.examples:
        yield "  ", _example_text(example)


def _example_text(example: Example) -> str:
    if example.row is None and example.conversation_id is None:
        return example.value or ""
    return f"{'null' if example.value is None else repr(example.value)} in {_place(example)}"


def _place(example: Example) -> str:
    said = (
        ("row", example.row),
        ("conversation", example.conversation_id and repr(example.conversation_id)),
        ("message", example.message_id and repr(example.message_id)),
    )
    return ", ".join(f"{name} {value}" for name, value in said if value)


def _map_text(found: CheckReport) -> str:
    """The options of a command that would have the columns; where nothing is known, an expression to be filled in."""
    return " ".join(
        f"--map {shlex.quote(f'{name}={expression}')}" if expression else f"--map {name}=COLUMN"
        for name, expression in found.suggested_map.items()
    )


def _mapping(name: str, column: str) -> str:
    quoted = column.replace('"', '""')
    return shlex.quote(f'{name}="{quoted}"')
