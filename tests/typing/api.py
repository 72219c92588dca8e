"""Typical uses of the public API, as mypy must understand them: checked with the rest, and imported by a test.

A function is a use; `assert_type` holds what a caller's own annotations may say of the result.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing, closing
from dataclasses import replace
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import Unpack, assert_type
from zoneinfo import ZoneInfo

import pyarrow as pa
from obstore.store import MemoryStore
from starlette.responses import StreamingResponse

from export_engine import (
    EXCEL,
    Channel,
    Compression,
    Contact,
    Conversation,
    CsvDialect,
    DateRange,
    Export,
    ExportError,
    ExportOptions,
    ExportReport,
    MemberRecord,
    Message,
    OptionError,
    OptionKeywords,
    Progress,
    RangeBy,
    RowError,
    export_conversations,
    open_source,
)
from export_engine.sinks import (
    Streamable,
    download_headers,
    open_manifest,
    open_store,
    upload_archive,
    write_archive,
    write_object,
)
from export_engine.sources import Source

CHANNEL = Channel("SMS Support", "+12025550123")
JUNE = DateRange(date(2026, 6, 1), date(2026, 6, 30))


def sources(table: pa.Table, reader: pa.RecordBatchReader, database: sqlite3.Connection) -> Iterator[Export]:
    """Whatever a source may be made of."""

    def conversations() -> Iterator[Conversation]:
        for id_, text in database.execute("SELECT id, text FROM message"):
            message = Message(id_, datetime(2026, 6, 1, tzinfo=UTC), "inbound", "customer", text)
            yield Conversation(id_, Contact("Jane Doe", "+12025550101"), [message])

    listed: list[Conversation] = [Conversation("c", Contact(), (), datetime(2026, 6, 1, tzinfo=UTC))]
    batches: Iterable[pa.RecordBatch] = table.to_batches()
    files: Source = open_source("a.jsonl", Path("b.jsonl"), format="jsonl")
    for source in (conversations(), listed, table, reader, batches, files):
        yield export_conversations(source, channel=CHANNEL, date_range=JUNE)


def options(zone: tzinfo, compression: Compression, range_by: RangeBy) -> Export:
    """As an object, as keywords, or both."""
    chosen = ExportOptions(timezone="Asia/Taipei", compression="small", dialect=EXCEL, sha256=True)
    chosen = replace(chosen, timezone=ZoneInfo("UTC"), dialect=CsvDialect(line_end="\n"))
    assert_type(chosen.digest(), str)
    export_conversations([], channel=CHANNEL, date_range=JUNE, options=chosen, export_id="7", on_progress=print)
    return export_conversations(
        [],
        channel=CHANNEL,
        date_range=JUNE,
        options=chosen,
        timezone=zone,
        range_by=range_by,
        compression=compression,
        dialect=CsvDialect(bom=True, formula_guard=True, bare_e164=True),
        name_budget=120,
        spool_limit=1 << 20,
        strict=True,
        threads=2,
        sha256=False,
    )


def wrapped(source: Iterable[Conversation], **keywords: Unpack[OptionKeywords]) -> Export:
    """A function of one's own that hands the options on."""
    return export_conversations(source, channel=CHANNEL, date_range=JUNE, **keywords)


def wrong() -> None:
    """What a type checker refuses before it is run; mypy reports an ignore that nothing needs."""
    export_conversations([], channel=CHANNEL, date_range=JUNE, compression="zip")  # type: ignore[arg-type]  # no preset
    export_conversations([], channel=CHANNEL, date_range=JUNE, zone="UTC")  # type: ignore[call-arg]  # no option
    export_conversations([], channel="SMS", date_range=JUNE)  # type: ignore[arg-type]  # a Channel
    Message("m", datetime(2026, 6, 1, tzinfo=UTC), "sideways", "customer")  # type: ignore[arg-type]  # no direction


def held(made: Export) -> ExportReport:
    """Iterated, closed, reported."""
    with made:
        for chunk in made:
            assert_type(chunk, bytes)
    with made, closing(made):
        pass
    report = made.report
    assert_type(report.bytes, int)
    assert_type(report.sha256, str | None)
    assert_type(report.first_time, datetime | None)
    return report


def listened(made: Export) -> list[str]:
    """Members and progress."""
    names: list[str] = []

    def member(record: MemberRecord) -> None:
        names.append(record.name)

    def progress(now: Progress) -> None:
        names.append(str(now.rows_read))

    made.listen(member)
    made.listen(lambda record: names.append(record.sha256 or ""), sha256=True)
    export_conversations([], channel=CHANNEL, date_range=JUNE, on_progress=progress)
    return names


async def asynchronous(made: Export) -> StreamingResponse:
    """In an event loop, and as a response."""
    async with made:
        async for chunk in made:
            assert_type(chunk, bytes)
    async with aclosing(aiter(made)) as chunks:
        assert_type(chunks, AsyncGenerator[bytes, None])
        assert_type(await anext(chunks), bytes)
    await made.aclose()
    return StreamingResponse(made, headers=made.headers)


def written(made: Export, streamed: Streamable) -> None:
    """To files, stores and responses, through the export or through the sinks."""
    assert_type(made.write_to("archives/", overwrite=True, manifest=Path("m.parquet")), Path)
    assert_type(made.upload_to("s3://bucket/prefix/", manifest="s3://bucket/m.jsonl"), str)
    assert_type(made.upload_to("prefix/", store=MemoryStore(), overwrite=True), str)
    assert_type(made.headers, dict[str, str])
    assert_type(made.file_name, str)
    assert_type(made.inputs, tuple[str | os.PathLike[str] | int, ...])
    assert_type(write_archive(streamed, "a.zip"), Path)
    assert_type(upload_archive(made, "gs://bucket/"), str)
    write_object(streamed, open_store("memory://"), "a.zip", attributes=download_headers("a.zip"))
    with Path("m.jsonl").open("wb") as file, open_manifest(".jsonl", file) as listener:
        made.listen(listener, sha256=True)


def caught(made: Export) -> str:
    """Errors tell what and where in attributes."""
    try:
        made.write_to("archives/")
    except RowError as error:
        assert_type(error.column, str)
        assert_type(error.row, int | None)
        return error.conversation_id or ""
    except OptionError as error:
        return error.option
    except ExportError as error:
        return str(error)
    return ""
