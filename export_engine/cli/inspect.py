"""`export-engine inspect`: what is in an archive, for people."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from zipfile import ZipFile

import click
from rich.console import Console
from rich.text import Text

from export_engine.cli.common import EPILOG, FILE, Command, minute_text, size_text
from export_engine.inspect import conversation_text, members, printable

__all__ = ["inspect"]

#: Width of what stands before a message's text.
_INDENT = 18


@click.command(cls=Command, epilog=EPILOG)
@click.argument("archive", type=FILE)
@click.argument("conversation", required=False)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="The most CSVs to list.")
def inspect(archive: Path, conversation: str | None, limit: int) -> None:
    """List an archive's CSVs, or print one conversation.

    CONVERSATION is a CSV's name, a part of it that no other name has, or a conversation's id.
    """
    if conversation is None:
        _print_members(archive, limit)
        return
    console = Console(highlight=False) if sys.stdout.isatty() else None
    for line in conversation_text(archive, conversation):
        if console is None:
            click.echo(line)
        else:
            for piece in _folded(console, line):
                console.print(piece, soft_wrap=True)


def _print_members(archive: Path, limit: int) -> None:
    row = "{:>10}  {:>9}  {:>9}  {:16}  {:16}  {}".format
    for number, record in enumerate(islice(members(archive), limit)):
        if not number:
            click.echo(row("messages", "CSV", "deflated", "first", "last", "name"))
        sizes = (size_text(record.csv_bytes), size_text(record.deflated_bytes))
        times = (minute_text(record.first_time), minute_text(record.last_time))
        click.echo(row(f"{record.rows:,}", *sizes, *times, printable(record.name)))
    with ZipFile(archive) as directory:
        infos = directory.infolist()
    csv, deflated = (size_text(sum(getattr(info, field) for info in infos)) for field in ("file_size", "compress_size"))
    rest = f"; the first {limit:,} are listed, --limit lists more" if len(infos) > limit else ""
    click.echo(f"{len(infos):,} CSVs, {csv} of CSV, {deflated} deflated{rest}")


def _folded(console: Console, line: str) -> Iterator[Text]:
    """The line in pieces as wide as the terminal, all but the first indented."""
    head = Text(line[:_INDENT])
    for piece in Text(line[_INDENT:]).wrap(console, max(console.width - _INDENT, _INDENT)):
        yield head + piece
        head = Text(" " * _INDENT)
