"""`export-engine batch`: many channels' archives out of one lake, and whether they are all there."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Display

from export_engine.batch.plan import BatchPlan, PeriodKind
from export_engine.cli.common import (
    DAY,
    DONE,
    EPILOG,
    FILE,
    PROBLEMS,
    SOME_FAILED,
    Command,
    check_listing,
    counted,
    failed,
    size_text,
)
from export_engine.cli.inputs import Inputs, lake_options
from export_engine.cli.options import environment_option, export_options, max_archive_size_option
from export_engine.engine import backend_name
from export_engine.errors import ArchiveError
from export_engine.model import DateRange
from export_engine.options import ExportOptions
from export_engine.readback.printable import printable
from export_engine.sinks.file import FilePlace
from export_engine.verify import verify_archives

if TYPE_CHECKING:
    from export_engine.batch.counted import LakeCounts
    from export_engine.batch.lake import Lake
    from export_engine.batch.receipts import ArchiveResult, Counted, Receipt

__all__ = ["batch"]


#: Failures, and warnings, that are told one by one; a file of results has them all.
_TOLD = 20


@click.command("batch verify", cls=Command, epilog=EPILOG)
@click.argument("target")
@click.option("--deep", is_flag=True, help="Also check every archive to every row in it, as the command verify does.")
def verify(target: str, deep: bool) -> int:
    """Hold a batch's archives against its receipts.

    What is missing, what no receipt tells of, what has another size or SHA-256, and what is another key's.
    TARGET is what was --output.
    """
    from export_engine.batch.check import check_target  # noqa: PLC0415  # loaded when used

    with _display("reading") as (_, tell), _store_libraries():
        found = check_target(target, deep=_deep if deep else None, progress=tell)
    click.echo(
        f"{counted(found.archives, 'archive')}, {counted(found.rows, 'message')}, {size_text(found.bytes)}: "
        f"{'no problems' if found.ok else 'problems found'}"
    )
    for problem in found.problems:
        click.echo(f"  {printable(problem)}")
    return DONE if found.ok else PROBLEMS


def _deep(receipt: Receipt, archives: Sequence[Iterable[bytes]]) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="export-engine-verify-") as folder:
        paths = [Path(folder) / one.file_name for one in receipt.archives]
        for path, chunks in zip(paths, archives, strict=True):
            with path.open("wb") as file:
                file.writelines(chunks)
        found = verify_archives(paths)
    yield from found.problems
    if (found.rows, found.conversations) != (receipt.rows, receipt.conversations):
        yield (
            f"it has {found.rows} messages in {found.conversations} conversations, and its receipt says {receipt.rows} "
            f"in {receipt.conversations}"
        )


class _Batch(Command):
    """`batch`, and `batch verify` beside it."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: object
    ) -> click.Context:
        if args[:1] == ["verify"]:
            return verify.make_context("batch verify", args[1:], parent=parent)
        return super().make_context(info_name, args, parent=parent, **extra)


@click.command(cls=_Batch, epilog=EPILOG, short_help="Export every channel of a lake, by months.")
@lake_options
@click.option(
    "--output",
    "target",
    required=True,
    metavar="PLACE",
    help="A folder, or a place in a store (s3://bucket/prefix, gs:// or az://, with the credentials of the cloud's own "
    "environment variables).",
)
@click.option(
    "--start", type=DAY, metavar="YYYY-MM-DD", help="First day of the range (default: that of the first message)."
)
@click.option(
    "--end",
    type=DAY,
    metavar="YYYY-MM-DD",
    help="Last day of the range, included (default: that of the last message).",
)
@environment_option(
    "--period",
    type=click.Choice(get_args(PeriodKind)),
    default="month",
    show_default=True,
    help="What one archive of a channel covers.",
)
@environment_option(
    "--label",
    default="",
    help="Names the lake's snapshot, such as its date. What is there under the same label is kept; another label makes "
    "other archives.",
)
@environment_option(
    "--layout",
    default="{period}",
    show_default=True,
    help="Folder of an archive inside PLACE, with {period}, {channel} and {channel_id}.",
)
@click.option(
    "--channels",
    type=FILE,
    help="Names and phone numbers of channels: .jsonl, .csv or .parquet with channel_id, channel_name, channel_phone.",
)
@environment_option(
    "--parallel",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="How many small archives are made side by side.",
)
@export_options(environment=True)
@max_archive_size_option
@click.option(
    "--dedupe",
    is_flag=True,
    help="Read rows that are there twice once; a message id with two contents in a period fails its archive.",
)
@click.option("--dry-run", is_flag=True, help="Count, and export nothing.")
@click.option(
    "--results",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write what became of each archive to a .jsonl or .parquet file; one that is there is replaced.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def batch(
    inputs: Inputs,
    target: str,
    start: datetime | None,
    end: datetime | None,
    period: PeriodKind,
    label: str,
    layout: str,
    channels: Path | None,
    parallel: int,
    max_archive_size: str | None,
    options: ExportOptions,
    dry_run: bool,
    results: Path | None,
    quiet: bool,
) -> int:
    """Export every channel of a lake, an archive for each channel and month.

    INPUT are files, folders or patterns ('lake/**/*.parquet'), here or in a store (s3://bucket/lake/), with the rows of
    many channels in any order. They have the columns of the CSVs, channel_id, and perhaps channel_name and
    channel_phone. JSON Lines may have a conversation a line instead, with those keys beside its id.

    What is done has a receipt beside the archives. The same command again makes what is missing; batch verify TARGET
    holds the archives against their receipts.
    """
    options = replace(options, max_archive_size=max_archive_size)
    plan = BatchPlan(
        target=target,
        date_range=DateRange(start.date() if start else date.min, end.date() if end else date.max),
        period=period,
        options=options,
        label=label,
        backend=backend_name(options),
        dedupe=inputs.dedupe,
        layout=layout,
    )
    lake = inputs.lake(channels)
    if results is not None:
        _check_results(results, lake)
    with _store_libraries():
        if dry_run:
            return _counted(lake, plan, quiet=quiet)
        return _exported(lake, plan, parallel, results, quiet=quiet)


def _check_results(path: Path, lake: Lake) -> None:
    """Refuse, before hours of work, a place that the table of results could not go to."""
    check_listing("--results", str(path))
    if not path.parent.is_dir():
        raise click.UsageError(f"--results {path}: there is no folder {path.parent}")
    values = chain.from_iterable([v] if isinstance(v, str) else v for v in lake.parameters.values())
    try:
        place = FilePlace(path, overwrite=True, inputs=[*values, *([] if lake.channels is None else [lake.channels])])
        place.begin()
        place.abandon(ArchiveError("a look is all"))
    except ArchiveError as error:
        raise click.UsageError(f"--results: {error}") from None
    except OSError as error:
        raise click.UsageError(f"--results: {error.filename}: {error.strerror}") from None


def _counted(lake: Lake, plan: BatchPlan, *, quiet: bool) -> int:
    from export_engine.batch.local import count_lake  # noqa: PLC0415  # there with the extra

    with _display("counting", quiet=quiet):
        counts = count_lake(lake, plan)
    statuses = Counter(result.status for result in counts.there)
    if not quiet:
        missing = len(counts.archives) - len(counts.there)
        click.echo(
            f"{counted(len(counts.archives), 'archive')}, {counted(counts.rows, 'message')}: {missing:,} to make, "
            f"{statuses['kept']:,} there already, {statuses['failed']:,} to fail"
        )
        for period in counts.plan.periods():
            its = [archive.rows for archive in counts.archives if archive.period == period.name]
            if its:
                click.echo(
                    f"  {period.name}  {counted(len(its), 'archive')}, {counted(sum(its), 'message')}, "
                    f"at most {max(its):,} in one"
                )
        _tell_outside(counts)
        _tell_warnings(counts.archives)
    _tell_failures(counts.there)
    return SOME_FAILED if statuses["failed"] else DONE


def _exported(lake: Lake, plan: BatchPlan, parallel: int, results: Path | None, *, quiet: bool) -> int:
    from export_engine.batch.local import export_lake  # noqa: PLC0415  # there with the extra
    from export_engine.batch.receipts import write_results  # noqa: PLC0415  # loaded when used

    told: list[LakeCounts] = []
    found: list[ArchiveResult] = []
    with _display("counting", quiet=quiet) as (rename, tell):

        def on_counts(counts: LakeCounts) -> None:
            told.append(counts)
            rename("exporting")
            tell(0, len(counts.archives))

        for result in export_lake(lake, plan, parallel=parallel, on_counts=on_counts):
            found.append(result)
            tell(len(found), len(told[0].archives))
    statuses = Counter(result.status for result in found)
    if not quiet:
        done = [result for result in found if result.status == "done"]
        click.echo(
            f"{counted(len(found), 'archive')}: {statuses['done']:,} done, {statuses['kept']:,} kept, "
            f"{statuses['failed']:,} failed"
        )
        files = sum(result.archives for result in done)
        click.echo(
            f"  {sum(result.rows for result in done):,} messages in {sum(result.conversations for result in done):,} "
            f"conversations, {size_text(sum(result.bytes for result in done))}"
            f"{f' in {files:,} files' if files > len(done) else ''}, written to {printable(plan.target)}"
        )
        _tell_outside(told[0])
        _tell_warnings(found)
    _tell_failures(found)
    if results is not None:  # last, as it can fail, and what was done is to be told then
        write_results(found, results)
    return SOME_FAILED if statuses["failed"] else DONE


def _tell_outside(counts: LakeCounts) -> None:
    if counts.outside:
        click.echo(f"  {counts.outside:,} messages lie outside the range")
    if counts.ignored_columns:
        click.echo(f"  columns that are ignored: {printable(', '.join(counts.ignored_columns))}")
    if not counts.archives:
        click.echo("warning: no message lies in the range; nothing is exported", err=True)


def _tell_warnings(archives: Iterable[ArchiveResult | Counted]) -> None:
    """What was decided about channels that have several names."""
    for said in _some((archive, archive.warning) for archive in archives):
        click.echo(f"warning: {printable(said)}", err=True)


def _tell_failures(results: Iterable[ArchiveResult]) -> None:
    """They are errors, each with its reason."""
    for said in _some((result, result.error) for result in results):
        failed(said, SOME_FAILED)


def _some(archives: Iterable[tuple[ArchiveResult | Counted, str | None]]) -> Iterator[str]:
    """What there is to say of archives, of the first few each."""
    said = [f"channel {archive.channel_id}, {archive.period}: {what}" for archive, what in archives if what]
    yield from said[:_TOLD]
    if len(said) > _TOLD:
        yield f"and {len(said) - _TOLD:,} more: --results has them all"


@contextmanager
def _store_libraries() -> Iterator[None]:
    """Have a missing extra told by its name."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def _display(
    words: str, *, quiet: bool = False
) -> Iterator[tuple[Callable[[str], object], Callable[[int, int], object]]]:
    """How to say what is done, and how far it is; both do nothing where there is no terminal to show it on."""
    if quiet or not sys.stderr.isatty():
        yield (lambda _words: None), (lambda _done, _total: None)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Display(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task(words, total=None)
        yield (
            lambda words: display.update(task, description=words),
            lambda done, total: display.update(task, completed=done, total=total),
        )
