"""`export-engine verify`: whether an archive is what it should be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Display

from export_engine.cli.common import DONE, EPILOG, FILE, PROBLEMS, Command, counted, size_text
from export_engine.options import CsvDialect
from export_engine.readback.printable import printable
from export_engine.verify import Verification, verify_archives

__all__ = ["verify"]


@click.command(cls=Command, epilog=EPILOG)
@click.argument("archives", metavar="ARCHIVE...", type=FILE, nargs=-1, required=True)
@click.option("--manifest", type=FILE, help="The manifest written with the archive (.jsonl or .parquet).")
def verify(archives: tuple[Path, ...], manifest: Path | None) -> int:
    """Check an archive, to every row in it.

    That is every field of the ZIP, the names, each CSV's rows, and whether a manifest says the same. Several archives
    of one export (x.zip, x-2.zip ...) are checked together: no name is in two of them. A manifest that names them all
    stands for them all: give the first.
    """
    with _verify_display() as progress:
        found = verify_archives(archives, manifest, progress=progress)
    click.echo(
        f"{counted(found.members, 'CSV')}, {counted(found.conversations, 'conversation')}, "
        f"{counted(found.rows, 'message')}, "
        f"{size_text(found.bytes)}: {'no problems' if found.ok else 'problems found'}"
    )
    if found.dialect is not None:
        click.echo(f"CSVs: {_dialect_text(found)}")
    for problem in found.problems:
        click.echo(f"  {printable(problem)}")
    if found.warnings:
        click.echo("messages that share an id with another of their conversation, as the source gave them:")
    for warning in found.warnings:
        click.echo(f"  {printable(warning)}")
    return DONE if found.ok else PROBLEMS


def _dialect_text(found: Verification) -> str:
    """How the CSVs are written."""
    dialect = found.dialect or CsvDialect()
    ends = "CRLF" if dialect.line_end == "\r\n" else "LF"
    mark = "a" if dialect.bom else "no"
    if dialect.formula_guard:
        formulas = "formulas and digits are guarded" if dialect.digits_guard else "formulas are guarded"
    elif found.formulas:
        formulas = f"a spreadsheet may take {found.formulas:,} cells for formulas"
    else:
        formulas = "no cell looks like a formula"
    return f"UTF-8, {ends}, {mark} byte order mark; {formulas}"


@contextmanager
def _verify_display() -> Iterator[Callable[[int, int], object] | None]:
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("reading"), BarColumn(), TimeElapsedColumn())
    with Display(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task("reading")
        yield lambda done, total: display.update(task, completed=done, total=total)
