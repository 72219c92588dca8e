"""`export-engine export`: a channel's conversations from files to one archive."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress as Display
from rich.progress import SpinnerColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from export_engine.cli.common import DAY, EPILOG, Command, check_listing, counted, minute_text, size_text
from export_engine.cli.inputs import Inputs, input_options
from export_engine.cli.options import export_options, max_archive_size_option
from export_engine.cli.signals import SIGNALS
from export_engine.engine import Export, export_conversations
from export_engine.model import Channel, DateRange
from export_engine.options import ExportOptions
from export_engine.readback.printable import printable
from export_engine.report import ExportReport, Progress
from export_engine.schema import LONGEST_CELL

__all__ = ["export"]

#: Archives of a set that are told one by one.
_LISTED = 10


@click.command(cls=Command, epilog=EPILOG)
@input_options
@click.option("--channel-name", help="The channel's name.")
@click.option("--channel-phone", help="The channel's phone number.")
@click.option("--channel-id", help="The channel's id. At least one of the three is needed.")
@click.option("--start", required=True, type=DAY, metavar="YYYY-MM-DD", help="First day of the range.")
@click.option("--end", type=DAY, metavar="YYYY-MM-DD", help="Last day of the range, included (default: none).")
@click.option(
    "--output",
    "target",
    default=".",
    metavar="PLACE",
    help="A directory (default: here; made if it ends in a slash), a file, a place in a store (s3://bucket/prefix/, "
    "gs:// or az://, with the credentials of the cloud's own environment variables), or - for stdout.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace files that exist: regular files alone, and of a symbolic link what it leads to.",
)
@export_options(environment=False)
@max_archive_size_option
@click.option(
    "--manifest", metavar="PLACE", help="Also list the CSVs in a .jsonl or .parquet file, here or in the store."
)
@click.option("--export-id", "--id", help="Last part of the ZIP's name (default: 8 random hexadecimal digits).")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def export(
    inputs: Inputs,
    channel_name: str | None,
    channel_phone: str | None,
    channel_id: str | None,
    start: datetime,
    end: datetime | None,
    target: str,
    overwrite: bool,
    manifest: str | None,
    export_id: str | None,
    quiet: bool,
    max_archive_size: str | None,
    options: ExportOptions,
) -> None:
    """Export a channel's conversations.

    Those with messages in a range of days become one ZIP with a CSV each. The archive is called
    <channel>_<YYYY-MM>_<id>.zip unless --output says otherwise. With --max-archive-size there may be more: they get a
    number, <id>-2.zip and so on.

    INPUT is a file, a folder, a pattern ('june/*.csv'), a place in a store (s3://bucket/june/), or - for standard
    input: CSV, JSON Lines or an Arrow IPC stream, which may also be pipes and compressed (gzip, zstd, bz2), or Parquet
    or an Arrow IPC file. Several are read one after the other; the rows of a conversation must stand together.
    """
    if not (channel_name or channel_phone or channel_id):
        raise click.UsageError("say whose conversations these are: --channel-name, --channel-phone or --channel-id")
    to_stdout = target == "-"
    _check_target(target, manifest, max_archive_size)
    with _export_display(quiet=quiet) as on_progress:
        made = export_conversations(
            inputs.source(),
            channel=Channel(channel_name, channel_phone, channel_id),
            date_range=DateRange(start.date(), end.date() if end else date.max),
            options=replace(options, sha256=not quiet, max_archive_size=max_archive_size),
            export_id=export_id,
            on_progress=on_progress,
        )
        where = _to_stdout(made) if to_stdout else _to_place(made, target, overwrite=overwrite, manifest=manifest)
    if quiet:
        return
    for warning in _warnings(where, made.report, options):
        click.echo(f"warning: {printable(warning)}", err=True)
    if not to_stdout or sys.stderr.isatty():
        click.echo(_summary(where, made.report), err=to_stdout)


def _check_target(target: str, manifest: str | None, max_archive_size: str | None) -> None:
    """Refuse a place that there is none at, and what stdout cannot have."""
    if not target:  # a variable of a script that was not set
        raise click.UsageError("--output is empty: say where, or leave it out for the folder you are in")
    if target != "-":
        if manifest:
            check_listing("--manifest", manifest)
        return
    if sys.__stdout__ is None:
        raise click.UsageError("standard output is closed: give --output a path")
    if manifest:
        raise click.UsageError("--manifest needs an archive in a file: give --output a path")
    if max_archive_size:
        raise click.UsageError("--max-archive-size needs files, and stdout is one stream: give --output a path")
    if sys.stdout.isatty():
        raise click.UsageError("an archive would garble the terminal: redirect stdout, or give --output a path")


def _to_stdout(made: Export) -> str:
    for chunk in made:
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()
    return made.file_name


def _to_place(made: Export, target: str, *, overwrite: bool, manifest: str | None) -> str:
    if "://" not in target:
        return str(made.write_to(target, overwrite=overwrite, manifest=manifest))
    return made.upload_to(target, overwrite=overwrite, manifest=manifest)


def _warnings(where: str, report: ExportReport, options: ExportOptions) -> Iterator[str]:
    """What was made as asked, and may not be what was meant."""
    if not report.conversations:
        yield (
            "no conversation falls in this range (`export-engine check` says what days the input has, if any); unzip "
            "calls an empty archive an error"
        )
    if not where.lower().endswith(".zip") and ("://" in where or Path(where).is_file()):
        yield f"{where} is a ZIP archive, whatever it is called: .zip would say so"
    if options.dialect.digits_guard and report.long_cells:
        yield (
            f"cells of more than the {LONGEST_CELL:,} characters that a spreadsheet shows: {report.long_cells:,}; the "
            "CSVs have them whole"
        )
    if report.doubled_ids:
        yield (
            f"messages with the id of the message before them: {report.doubled_ids:,}; if rows are there twice, "
            "--dedupe keeps one of each; `export-engine check` says where"
        )


def _summary(where: str, report: ExportReport) -> str:
    """The archive's path in the first line, the facts below it."""
    rate = report.rows / report.elapsed if report.elapsed else 0
    facts = {
        "conversations": f"{report.conversations:,}",
        "messages": f"{report.rows:,}",
        "span": f"{minute_text(report.first_time)} to {minute_text(report.last_time)} UTC" if report.first_time else "",
        "size": f"{size_text(report.bytes)} for {size_text(report.csv_bytes)} of CSV, "
        f"{report.csv_bytes / report.bytes:.2f}:1"
        if report.csv_bytes
        else size_text(report.bytes),
        "time": f"{report.elapsed:.2f} s, {rate:,.0f} messages/s, {report.backend}",
        "sha256": report.sha256,
        "archives": f"{len(report.archives):,}, the others beside it" if len(report.archives) > 1 else "",
        "replaced": f"{report.replaced_surrogates:,} lone surrogates by U+FFFD" if report.replaced_surrogates else "",
        "ignored": f"columns {', '.join(report.ignored_columns)}" if report.ignored_columns else "",
        "split": f"conversations {', '.join(report.split)}" if report.split else "",
    }
    lines = [f"  {name:13}  {printable(fact)}" for name, fact in facts.items() if fact]
    if len(report.archives) > 1:
        lines += [
            f"  {printable(one.file_name)}  {counted(one.members, 'CSV')}, {size_text(one.bytes)}, sha256 {one.sha256}"
            for one in report.archives
        ]
        if len(report.archives) > _LISTED:
            lines[-len(report.archives) + 2 : -1] = [
                f"  … {len(report.archives) - 3:,} more: --manifest lists them all"
            ]
    return "\n".join([printable(where), *lines])


class _Known(TextColumn):
    """A text that is there once the source has said how much it has."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


class _Left(TimeRemainingColumn):
    """The time that is left, once it can be told."""

    def render(self, task: Task) -> Text:
        return Text() if task.time_remaining is None else Text("left ") + super().render(task)


@contextmanager
def _export_display(*, quiet: bool) -> Iterator[Callable[[Progress], object]]:
    """What to tell of progress; where there is no terminal to show it on, only an interrupt that was lost is heeded."""
    if quiet or not sys.stderr.isatty():
        yield SIGNALS.check
        return
    # How far it is and how long it will take show where the source knows its size.
    share = _Known("{task.percentage:>3.0f} %", markup=False)
    columns = (SpinnerColumn(), share, TextColumn("{task.description}", markup=False), TimeElapsedColumn(), _Left())
    with Display(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task("reading", total=None)

        def tell(now: Progress) -> None:
            SIGNALS.check()
            counts = f"{now.members:,} conversations, {now.rows_written:,} messages"
            total = None if now.share is None else 1.0
            description = f"{counts}, {size_text(now.bytes_written)}"
            display.update(task, description=description, total=total, completed=now.share or 0)

        yield tell
