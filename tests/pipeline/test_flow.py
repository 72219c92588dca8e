"""The flow: what is read, made and written when, and that any number of threads leaves no trace."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from export_engine.errors import RowError
from export_engine.options import ExportOptions
from export_engine.pipeline.flow import Pipeline
from export_engine.pipeline.members import member_spec
from export_engine.pipeline.workers import Workers
from export_engine.pipeline.writer import Writer
from export_engine.report import Progress
from tests import reference
from tests.pipeline.exporting import CHANNEL, JUNE, cut, exported, joined, rows_of

pytestmark = pytest.mark.timeout(300)

START = datetime(2026, 6, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return rows_of(reference.some(300, START, rows=5), UTC)


def chunks(source: Iterator[pa.RecordBatch], threads: int, **limits: Any) -> Iterator[bytes]:
    """The pipeline with groups of about ten rows and a window of a few of them."""
    spec = replace(member_spec(ExportOptions(), CHANNEL, JUNE), **limits)
    with closing(Workers(threads)) as workers:
        pipeline = Pipeline(spec, workers, Writer(spec), threads, max_rows=10, max_bytes=2000)
        yield from joined(pipeline.chunks(source))


def test_one_thread_hands_out_what_it_has_read(table: pa.Table) -> None:
    """Source row, chunk, source row, chunk: a batch that ends a group is followed by the group's bytes."""
    events: list[str] = []

    def source() -> Iterator[pa.RecordBatch]:
        for batch in cut(table.slice(0, 100), 10):
            events.append("read")
            yield batch

    for _ in chunks(source(), 1):
        events.append("chunk")  # noqa: PERF401  # the source appends to it too
    # One batch ahead, which tells that the conversation before it has ended; behind the last one the directory.
    assert events[:18] == ["read", *["read", "chunk"] * 8, "read"]
    assert set(events[18:]) == {"chunk"}


@pytest.mark.parametrize("threads", [2, 7])
def test_the_window_is_bounded(table: pa.Table, threads: int) -> None:
    """No more is read ahead of what is handed out than the window holds, however long the source."""
    read = written = 0

    def source() -> Iterator[pa.RecordBatch]:
        nonlocal read
        for batch in cut(table, 5):
            read += 1
            yield batch

    ahead = []
    for chunk in chunks(source(), threads):
        if chunk.startswith(b"PK\x03\x04"):
            written += chunk.count(b"PK\x03\x04")
            ahead.append(read - written)
    assert written == 300
    assert max(ahead) < 40


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_an_error_arrives_in_its_turn(table: pa.Table, threads: int) -> None:
    """What comes before a wrong row is handed out first; no thread outlives it."""
    rows = table.slice(0, 1000).to_pylist()
    rows[777]["direction"] = "sideways"
    wrong = pa.Table.from_pylist(rows, table.schema)
    out: list[bytes] = []
    with pytest.raises(RowError) as caught:
        collections.deque(map(out.append, chunks(cut(wrong, 5), threads)), 0)
    assert caught.value.row == 778
    assert b"".join(out).count(b"PK\x03\x04") >= 150
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("export-engine")]


@pytest.mark.parametrize("threads", [1, 3])
def test_the_sources_error_arrives_as_it_was_raised(table: pa.Table, threads: int) -> None:
    """It is the caller's own."""
    problem = OSError("gone")

    def source() -> Iterator[pa.RecordBatch]:
        yield from cut(table.slice(0, 50), 5)
        raise problem

    with pytest.raises(OSError, match="gone") as caught:
        list(chunks(source(), threads))
    assert caught.value is problem


def test_conversations_that_could_pass_a_members_limit_take_the_way_on_which_they_can_be_split() -> None:
    """Whole in a group as well as torn, short and long, they give the same members."""
    made = [
        *reference.some(3, START, rows=1),
        *(replace(c, id=f"long {c.id}") for c in reference.some(3, START, rows=30)),
    ]
    results = {
        exported(cut(rows_of(made, UTC), size), max_rows=max_rows, member_limit=1500, threads=threads).data
        for size in (1, 10)
        for max_rows in (10, 1000)
        for threads in (1, 3)
    }
    assert len(results) == 1
    parts = [name for name, _ in exported(cut(rows_of(made, UTC), 10), member_limit=1500).members]
    assert sum("(part " in name for name in parts) == len(parts) - 6


def test_a_conversation_without_messages_on_that_way() -> None:
    """It is a header alone, where it was created in the range."""
    made = [replace(c, messages=[], created_at=START) for c in reference.some(2, START)]
    small = exported(cut(rows_of(made, UTC), 10), member_limit=1500)
    assert small.members == exported(cut(rows_of(made, UTC), 10)).members
    assert [record.rows for record in small.records] == [0, 0]


def test_progress_is_told(table: pa.Table) -> None:
    """After each group, and at the end with all that there is."""
    told: list[Progress] = []
    spec = member_spec(ExportOptions(), CHANNEL, JUNE)
    with closing(Workers(1)) as workers:
        made = Pipeline(spec, workers, Writer(spec, on_progress=told.append), 1, max_rows=100)
        size = len(b"".join(joined(made.chunks(cut(table, 50)))))
    assert len(told) > 10
    assert told == sorted(told, key=lambda progress: progress.bytes_written)
    assert told[-1] == Progress(1500, 1500, 300, size)
