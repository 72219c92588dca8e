"""Whole archives by the pipeline alone, with limits as small as a test wants them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date, tzinfo
from typing import Any

import pyarrow as pa

from export_engine import Channel, Conversation, DateRange
from export_engine.options import ExportOptions
from export_engine.pipeline.flow import Pipeline
from export_engine.pipeline.members import member_spec
from export_engine.pipeline.sets import Cut
from export_engine.pipeline.workers import Workers
from export_engine.pipeline.writer import Totals, Writer
from export_engine.report import MemberRecord
from export_engine.schema import MAX_BATCH_BYTES, MAX_BATCH_ROWS, ROW_SCHEMA
from export_engine.sources import SourceContext
from export_engine.sources.open import source_of

CHANNEL = Channel("SMS Support", "+12025550123")
JUNE = DateRange(date(2026, 6, 1), date(2026, 6, 30))


@dataclass(frozen=True)
class Exported:
    """An archive, its members' records, and the totals."""

    data: bytes
    records: tuple[MemberRecord, ...]
    totals: Totals

    @property
    def members(self) -> list[tuple[str, bytes]]:
        """Each member's name and data."""
        return members(self.data)


def members(archive: bytes) -> list[tuple[str, bytes]]:
    """Each member's name and data, as the standard library reads them."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return [(name, opened.read(name)) for name in opened.namelist()]


def rows_of(conversations: Iterable[Conversation], zone: tzinfo) -> pa.Table:
    """The conversations as a table of the schema."""
    return pa.Table.from_batches(source_of(conversations).batches(SourceContext(zone)), ROW_SCHEMA)


def cut(table: pa.Table, size: int) -> Iterator[pa.RecordBatch]:
    """A table's rows in batches of `size`, each with memory of its own."""
    for start in range(0, table.num_rows, size):
        (batch,) = table.slice(start, size).combine_chunks().to_batches()
        yield batch


def joined(chunks: Iterable[bytes | Cut]) -> Iterator[bytes]:
    """What a single archive is made of: it has no cut."""
    for chunk in chunks:
        assert isinstance(chunk, bytes)
        yield chunk


def exported(
    batches: Iterator[pa.RecordBatch],
    options: ExportOptions | None = None,
    *,
    days: DateRange = JUNE,
    threads: int = 1,
    max_rows: int = MAX_BATCH_ROWS,
    max_bytes: int = MAX_BATCH_BYTES,
    **limits: Any,
) -> Exported:
    """Run the pipeline; `limits` are fields of `MemberSpec`."""
    spec = replace(member_spec(options or ExportOptions(), CHANNEL, days), **limits)
    records: list[MemberRecord] = []
    writer = Writer(spec, on_member=records.append)
    with closing(Workers(threads)) as workers:
        made = Pipeline(spec, workers, writer, threads, max_rows=max_rows, max_bytes=max_bytes)
        data = b"".join(joined(made.chunks(batches)))
    return Exported(data, tuple(records), writer.totals)
