"""The export: a source of conversations in, the bytes of one ZIP out. The only module that knows all the others.

The consumer's pull drives everything. Each chunk asked for reads as much of the source as it takes, and no more than
a bounded window ahead:

    source -> groups -> tasks on the workers (rows, CSV, deflate, layout) -> in order: names, archive -> chunk

An export that fails or is closed early stops its workers, closes its source and lets the exception through as it was
raised. What it had handed out by then has no central directory: no ZIP reader takes it for an archive.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, tzinfo
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from export_engine.deflate import Workers, backend
from export_engine.errors import OptionError, StateError
from export_engine.flow import Flow
from export_engine.members import Recipe
from export_engine.model import Channel, Conversation, DateRange
from export_engine.naming import DEFAULT_BUDGET, member_namer, zip_name
from export_engine.render import CsvFormat, header
from export_engine.report import ExportReport, MemberRecord, Progress
from export_engine.selection import selection
from export_engine.sources import Intake, Source
from export_engine.sources.choose import source_of
from export_engine.writer import Writer, instant

__all__ = ["SPOOL_LIMIT", "Export", "export_conversations"]

#: Deflated bytes of one member that are held so that its sizes can stand in its local header.
SPOOL_LIMIT = 8 << 20


def export_conversations(
    source: Source | Iterable[Conversation] | Any,
    *,
    channel: Channel,
    date_range: DateRange,
    zone: str | tzinfo = "UTC",
    range_by: Literal["message_time", "created_at"] = "message_time",
    compression: str = "fast",
    csv_format: CsvFormat | None = None,
    export_id: str | None = None,
    name_budget: int = DEFAULT_BUDGET,
    threads: int | None = None,
    spool_limit: int = SPOOL_LIMIT,
    strict: bool = False,
    on_member: Callable[[MemberRecord], object] | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    archive_hash: bool = False,
    member_hashes: bool = False,
) -> Export:
    """Prepare the export of one channel's conversations over a date range; nothing is read yet.

    `source` is an iterable of `Conversation`, a `pyarrow.Table`, `RecordBatch`, `RecordBatchReader`, an iterable of
    record batches, any object with `__arrow_c_stream__`, or what one of the readers in `export_engine.sources`
    returned. Rows must stand together by conversation.

    Options, all with the default most exports want:

    - `zone`: a time zone name or `tzinfo`; days of the range, naive times and times written are in it.
    - `range_by`: `"message_time"` exports the messages sent in the range, and conversations that have any;
      `"created_at"` exports, whole, the conversations created in it.
    - `compression`: `"fast"`, `"balanced"`, `"small"` or `"store"` (see `export_engine.deflate`).
    - `csv_format`: see `CsvFormat`; `EXCEL` is ready-made.
    - `export_id`: the ZIP name's last part, 1 to 64 of A-Z, a-z, 0-9 and `-`; random by default (8 hexadecimal digits).
    - `name_budget`: the most UTF-8 bytes of a CSV's name, 64 to 255.
    - `threads`: how many deflate, from 1; by default the processors this process may use, at most 8.
    - `spool_limit`: deflated bytes of one member to hold before it is streamed (8 MiB), from 0.
    - `strict`: refuse lone surrogates (RowError) instead of writing U+FFFD and counting them.
    - `on_member`: called with a `MemberRecord` for each member, in order, once it is written.
    - `on_progress`: called with a `Progress` about once for every few thousand rows.
    - `archive_hash`: put the archive's SHA-256 into the report; it costs a few per cent of the time.
    - `member_hashes`: put each CSV's SHA-256 into its record.

    The bytes are the same for the same source, options and `export_id`, whatever the threads, batch sizes or kind of
    source.

    Raises OptionError for an option that cannot work. Iterating raises SourceError (SchemaError, RowError,
    GroupingError) for bad input, ArchiveError for a row that no member can hold, and whatever the source or a
    callback raises.
    """
    tz = _zone(zone)
    if threads is not None and threads < 1:
        raise OptionError(f"threads is {threads}: it must be 1 or more", option="threads")
    if spool_limit < 0:
        raise OptionError(f"spool_limit is {spool_limit}: it must be 0 or more", option="spool_limit")
    if range_by not in ("message_time", "created_at"):
        raise OptionError(f"range_by {range_by!r} is unknown: message_time or created_at", option="range_by")
    form = csv_format or CsvFormat()
    return Export(
        source_of(source),
        zip_name(channel, date_range.start, os.urandom(4).hex() if export_id is None else export_id),
        Recipe(
            selection=selection(date_range, tz, by_creation=range_by == "created_at"),
            form=form,
            header=header(form),
            backend=backend(compression),
            name_of=member_namer(channel, budget=name_budget),
            budget=name_budget,
            hashed=member_hashes,
            spool_limit=spool_limit,
        ),
        Intake(tz, strict=strict),
        threads or _processors(),
        archive_hash,
        on_member,
        on_progress,
    )


def _zone(zone: str | tzinfo) -> tzinfo:
    if isinstance(zone, tzinfo):
        return zone
    if zone.upper() in ("UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise OptionError(
            f"time zone {zone!r} is unknown: use a name such as America/New_York, Asia/Taipei or UTC", option="zone"
        ) from None


def _processors() -> int:
    """Processors this process may use, as far as the platform tells; deflating gains little beyond eight threads."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(len(affinity(0)) if affinity else os.cpu_count() or 1, 8)


class Export:
    """One export, made by `export_conversations` and used once.

    Iterate it for the archive's bytes (chunks of any size, none empty) or have it written by `write_to`. `file_name`
    is known from the start, `report` after the end. Iterating must be driven to its end or closed, as any generator;
    closing stops the workers and closes the source.
    """

    def __init__(
        self,
        source: Source,
        file_name: str,
        recipe: Recipe,
        intake: Intake,
        threads: int,
        hashed: bool,
        on_member: Callable[[MemberRecord], object] | None,
        on_progress: Callable[[Progress], object] | None,
    ) -> None:
        self.file_name = file_name
        self._source = source
        self._recipe = recipe
        self._intake = intake
        self._threads = threads
        self._hashed = hashed
        self._listeners = [on_member] if on_member else []
        self._on_progress = on_progress
        self._started = False
        self._report: ExportReport | None = None

    @property
    def report(self) -> ExportReport:
        """What was exported. Raises StateError before the last chunk has been taken, or after a failure."""
        if self._report is None:
            raise StateError("the report exists once the export has been iterated to its end")
        return self._report

    def __iter__(self) -> Iterator[bytes]:
        """The archive's bytes, once. Raises StateError the second time."""
        if self._started:
            raise StateError("this export was already used: call export_conversations again for another archive")
        self._started = True
        return self._chunks()

    def write_to(
        self,
        target: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        manifest: str | os.PathLike[str] | None = None,
    ) -> Path:
        """Write the archive to a file and return its path; it appears there whole or not at all.

        `target` is a directory, which gets the archive under its `file_name`, or a file's path. `manifest` is where to
        write the members' records, as JSON Lines or (`.parquet`) Parquet; it makes them carry SHA-256. See
        `export_engine.sinks.file.write_archive`.
        """
        from export_engine.sinks.file import write_archive  # noqa: PLC0415  # a sink is loaded when it is used

        return write_archive(self, target, overwrite=overwrite, manifest=manifest)

    def record_members(self, listener: Callable[[MemberRecord], object]) -> None:
        """Have `listener` called with each member's record, SHA-256 included, besides `on_member`.

        Raises StateError once the export has begun.
        """
        if self._started:
            raise StateError("members can be recorded only from the start: ask before the first chunk")
        self._recipe = replace(self._recipe, hashed=True)
        self._listeners.append(listener)

    def _chunks(self) -> Iterator[bytes]:
        began = perf_counter()
        digest = sha256() if self._hashed else None
        recipe, intake = self._recipe, self._intake
        writer = Writer(
            budget=recipe.budget,
            spool_limit=recipe.spool_limit,
            on_member=self._tell if self._listeners else None,
            on_progress=self._on_progress,
        )
        workers = Workers(self._threads)
        batches = self._source.batches(intake)
        try:
            for chunk in Flow(recipe, workers, writer, self._threads).chunks(batches):
                if digest is not None:
                    digest.update(chunk)
                yield chunk
        finally:
            workers.close()
            batches.close()
        totals = writer.totals
        self._report = ExportReport(
            file_name=self.file_name,
            bytes=writer.archive.position,
            sha256=digest.hexdigest() if digest else None,
            members=writer.archive.members,
            conversations=totals.conversations,
            rows=totals.rows,
            csv_bytes=totals.csv_bytes,
            first_time=None if totals.first is None else instant(totals.first),
            last_time=None if totals.last is None else instant(totals.last),
            replaced_surrogates=intake.replaced_surrogates,
            ignored_columns=intake.ignored_columns,
            split=tuple(totals.split),
            backend=recipe.backend.name,
            elapsed=perf_counter() - began,
        )

    def _tell(self, record: MemberRecord) -> None:
        for listener in self._listeners:
            listener(record)
