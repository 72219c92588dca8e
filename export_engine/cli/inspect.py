"""`export-engine inspect`: what is in an archive, for people."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click
from rich.console import Console

from export_engine.cli.common import DONE, EPILOG, FILE, PROBLEMS, Command, counted, failed, minute_text, size_text
from export_engine.cli.text import folded
from export_engine.errors import ArchiveError
from export_engine.inspect import Member, conversation_text, entries, members
from export_engine.readback.printable import printable

__all__ = ["inspect"]

#: Width of what stands before a message's text, and before a name in the list.
_INDENT, _NAME_AT = 18, 70
#: Room that text wants beside what stands before it; where there is less, it goes below.
_ROOM = 24

_row = "{:>10}  {:>9}  {:>9}  {:16}  {:16}  {}".format


@click.command(cls=Command, epilog=EPILOG)
@click.argument("archive", type=FILE)
@click.argument("conversation", required=False)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="The most CSVs to list.")
def inspect(archive: Path, conversation: str | None, limit: int) -> int:
    """List an archive's CSVs, or print one conversation.

    CONVERSATION is a CSV's name, a part of it that no other name has, or a conversation's id. What is damaged is named,
    all else is shown, and the exit code is 3.
    """
    width = Console().width if sys.stdout.isatty() else None
    if conversation is None:
        return _print_members(archive, limit, width)
    return _print_conversation(archive, conversation, width)


def _print_conversation(archive: Path, which: str, width: int | None) -> int:
    lines = conversation_text(archive, which)
    line = None
    try:
        for line in lines:
            for piece in _folded_message(line, width):
                click.echo(piece)
    except ArchiveError as error:
        if line is None and "ZIP archive" in str(error):
            raise
        return failed(str(error), PROBLEMS)
    if line is None:
        click.echo("no messages")
    return DONE


def _folded_message(line: str, width: int | None) -> Iterator[str]:
    """One line of a conversation, folded; in a narrow terminal the text stands below the time."""
    if width is None:
        yield line
    elif width >= _INDENT + _ROOM:
        yield from folded(line[_INDENT:], width, head=line[:_INDENT], indent=_INDENT)
    else:
        if time := line[:_INDENT].strip():
            yield time
        yield from folded(line[_INDENT:], width, head="  ", indent=2)


def _print_members(archive: Path, limit: int, width: int | None) -> int:
    problems: list[str] = []
    table = width is None or width >= _NAME_AT + _ROOM
    for number, member in enumerate(islice(members(archive, problems.append), limit)):
        if not number and table:
            click.echo(_row("messages", "CSV", "deflated", "first", "last", "name"))
        if member.problem:
            problems.append(f"{member.name!r}: {member.problem}")
        for line in _in_table(member, width) if table else _stacked(member, width or 0):
            click.echo(line)
    count = csv = deflated = 0
    for entry in entries(archive):
        count, csv, deflated = count + 1, csv + entry.csv_bytes, deflated + entry.packed_bytes
    rest = f"; the first {limit:,} are listed, --limit lists more" if count > limit else ""
    totals = f"{counted(count, 'CSV')}, {size_text(csv)} of CSV, {size_text(deflated)} deflated{rest}"
    damaged = (f"  {printable(problem)}" for problem in problems)
    for line in (totals, *damaged):
        for piece in [line] if width is None else folded(line.lstrip(), width, head=_indent_of(line), indent=4):
            click.echo(piece)
    return PROBLEMS if problems else DONE


def _indent_of(line: str) -> str:
    return " " * (len(line) - len(line.lstrip()))


def _in_table(member: Member, width: int | None) -> Iterator[str]:
    """A member as a row of the table, its name folded where it is too long."""
    messages = "damaged" if member.problem else f"{member.rows:,}"
    first = minute_text(member.first_time) if member.rows or member.problem else "no messages"
    sizes = (size_text(member.csv_bytes), size_text(member.deflated_bytes))
    head = _row(messages, *sizes, first, minute_text(member.last_time), "")
    name = printable(member.name)
    yield from [head + name] if width is None else folded(name, width, head=head, indent=_NAME_AT)


def _stacked(member: Member, width: int) -> Iterator[str]:
    """A member in a narrow terminal: its name, and below it the facts."""
    yield from folded(printable(member.name), width, indent=4)
    messages = f"{member.rows:,} messages" if member.rows else "no messages"
    facts = f"{'damaged' if member.problem else messages}, {size_text(member.csv_bytes)} of CSV"
    facts += f", {size_text(member.deflated_bytes)} deflated"
    if member.first_time:
        facts += f", {minute_text(member.first_time)} to {minute_text(member.last_time)}"
    yield from folded(facts, width, head="  ", indent=4)
