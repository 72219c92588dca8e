"""Batches cut at conversation boundaries: no row lost, no conversation torn but those too long to hold."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export_engine.errors import RowError
from export_engine.pipeline.grouping import Group, groups
from export_engine.schema import COLUMN_NAMES, ROW_SCHEMA

PATIENT = settings(deadline=None, max_examples=100)

# Lengths of conversations one after another, and where batches end.
RUNS = st.lists(st.integers(1, 7), max_size=12)
CUTS = st.lists(st.integers(0, 10_000), max_size=12)
IDS = ["a", "b", "", "a ", "A", "é", "e\u0301", "\0"]


def table(runs: list[int], text: str = "x") -> pa.RecordBatch:
    """Conversations of these many messages each; ids differ from one to the next, and every row from every other."""
    ids = [IDS[number % len(IDS)] for number, run in enumerate(runs) for _ in range(run)]
    columns = {name: pa.array([f"{row}{text}" for row in range(len(ids))]) for name in COLUMN_NAMES}
    columns["conversation_id"] = pa.array(ids, pa.string())
    columns["message_time"] = pa.array(range(len(ids)), pa.int64()).cast(ROW_SCHEMA.field("message_time").type)
    columns["created_at"] = pa.nulls(len(ids), ROW_SCHEMA.field("created_at").type)
    return pa.RecordBatch.from_arrays([columns[name] for name in ROW_SCHEMA.names], schema=ROW_SCHEMA)


def cut(rows: pa.RecordBatch, cuts: list[int], *, copied: bool = False) -> Iterator[pa.RecordBatch]:
    """The rows as batches that end anywhere: slices of one another, or copies with buffers of their own."""
    edges = sorted({0, rows.num_rows, *(at % (rows.num_rows + 1) for at in cuts)})
    for start, stop in pairwise(edges):
        batch = rows.slice(start, stop - start)
        yield batch.take(pa.array(range(stop - start))) if copied else batch


def runs_of(ids: list[str]) -> list[int]:
    return [len(list(run)) for _, run in groupby(ids)]


def check(made: list[Group], rows: pa.RecordBatch) -> list[int]:
    """Hold all groups of `rows` against their promises; the lengths of the conversations, as the flags tell them."""
    read, lengths, open_ = 0, list[int](), False
    for group in made:
        bounds = group.bounds.tolist()
        assert group.before == read
        assert group.batch.num_rows > 0
        assert group.batch.equals(rows.slice(read, group.batch.num_rows))
        assert group.bounds.dtype == np.int64
        assert bounds[0] == 0
        assert bounds[-1] == group.batch.num_rows
        assert group.whole is (group.begins and group.ends)
        if not group.whole:
            assert len(bounds) == 2
        assert group.begins is not open_
        counts = [stop - start for start, stop in pairwise(bounds)]
        assert runs_of(group.batch.column("conversation_id").to_pylist()) == counts
        if group.begins:
            lengths += counts
        else:
            lengths[-1] += counts[0]
        open_ = not group.ends
        read += group.batch.num_rows
    assert read == rows.num_rows
    assert not open_
    return lengths


@given(RUNS, CUTS, st.booleans())
@example([1], [], False)
@example([5], [1, 2, 3, 4], False)
@example([1, 1, 1, 1], [1, 2, 3], True)
@example([3, 3], [3], False)
@example([2, 5, 1], [1, 4, 5], True)
@PATIENT
def test_whole_conversations(runs: list[int], cuts: list[int], copied: bool) -> None:
    """However the rows are split into batches, every group holds whole conversations, in order and without loss."""
    rows = table(runs)
    made = list(groups(cut(rows, cuts, copied=copied)))
    assert all(group.whole for group in made)
    assert check(made, rows) == runs


@given(RUNS | st.lists(st.integers(1, 40), max_size=5), CUTS, st.integers(1, 12))
@example([30], list(range(30)), 4)
@example([3, 30, 3], [2, 10, 12, 20, 33], 8)
@PATIENT
def test_long_conversations_by_rows(runs: list[int], cuts: list[int], limit: int) -> None:
    """One of more rows than may be held comes in runs of its own; what is together stays bounded."""
    rows = table(runs)
    batches = list(cut(rows, cuts))
    made = list(groups(iter(batches), limit))
    assert check(made, rows) == runs
    largest = max((batch.num_rows for batch in batches), default=0)
    for group in made:
        assert group.batch.num_rows <= max(limit, largest) + largest
        if not group.whole:
            assert group.batch.num_rows <= max(limit, largest)


@given(st.lists(st.integers(1, 60), max_size=4), CUTS)
@PATIENT
def test_long_conversations_by_bytes(runs: list[int], cuts: list[int]) -> None:
    """The same for bytes: a few long messages are as much to hold as many short ones."""
    rows = table(runs, "long" * 50)
    batches = list(cut(rows, cuts))
    made = list(groups(iter(batches), max_bytes=10_000))
    assert check(made, rows) == runs
    largest = max((batch.nbytes for batch in batches), default=0)
    for group in made:
        assert group.batch.nbytes <= max(2 * 10_000, largest) + largest + 64 * (len(ROW_SCHEMA.names) + 1)


def test_a_long_conversation_is_torn() -> None:
    """Begin, middle and end carry the flags that say so; neighbours stay whole."""
    rows = table([2, 10, 2])
    made = list(groups(cut(rows, [4, 6, 8, 10, 13]), 4))
    assert check(made, rows) == [2, 10, 2]
    torn = [(group.begins, group.ends) for group in made if not group.whole]
    assert torn[0] == (True, False)
    assert torn[-1] == (False, True)
    assert set(torn[1:-1]) == {(False, False)}
    assert [group.batch.num_rows for group in made if group.whole] == [2, 2]


def test_no_batches() -> None:
    """No rows, no groups."""
    assert list(groups(iter(()))) == []


def test_slices_are_not_copied() -> None:
    """Conversations that lie whole in a batch are handed on where they are."""
    rows = table([3, 3, 3])
    first = next(groups(iter([rows])))
    assert first.batch.column(0).buffers()[2].address == rows.column(0).buffers()[2].address


def test_laziness() -> None:
    """No more is read than the batch that tells whether the conversation before it goes on."""
    events: list[str] = []

    def source() -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(cut(table([3] * 8), [5, 10, 15, 20])):
            events.append(f"batch {number}")
            yield batch

    for group in groups(source(), 5):
        events.append(f"group from {group.before}")  # noqa: PERF401  # the source appends to it too
    reads = [at for at, event in enumerate(events) if event.startswith("batch")]
    assert len(reads) == 5
    assert all(second - first >= 2 for first, second in pairwise(reads[1:]))  # a group between any two
    assert events[-1].startswith("group")


def test_a_batch_that_ends_with_a_conversation_is_not_copied() -> None:
    """It becomes a group as it is, once the next one has begun with another conversation."""
    rows = table([3] * 6)
    made = list(groups(cut(rows, [6, 12]), 6))
    assert [group.batch.num_rows for group in made] == [6, 6, 6]
    for group in made:
        assert group.batch.column(0).buffers()[2].address == rows.column(0).buffers()[2].address


def test_a_long_conversation_is_lazy() -> None:
    """Of a conversation without end no more is read than is held."""
    read = 0

    def endless() -> Iterator[pa.RecordBatch]:
        nonlocal read
        while True:
            read += 4
            yield table([4])

    made = groups(endless(), 10)
    for count in range(1, 6):
        group = next(made)
        assert (group.begins, group.ends) == (count == 1, False)
        assert read <= group.before + group.batch.num_rows + 4


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), CUTS, st.data())
@PATIENT
def test_null_conversation_id(runs: list[int], cuts: list[int], data: st.DataObject) -> None:
    """A row without a conversation id is refused by its number in the source, counted from 1."""
    rows = table(runs)
    nulls = data.draw(st.sets(st.integers(0, rows.num_rows - 1), min_size=1, max_size=3))
    ids = [None if row in nulls else id_ for row, id_ in enumerate(rows.column("conversation_id").to_pylist())]
    at = ROW_SCHEMA.get_field_index("conversation_id")
    columns = [*rows.columns[:at], pa.array(ids, pa.string()), *rows.columns[at + 1 :]]
    made = groups(cut(pa.RecordBatch.from_arrays(columns, schema=ROW_SCHEMA), cuts))
    with pytest.raises(RowError, match="every message needs one") as caught:
        list(made)
    assert caught.value.row == min(nulls) + 1
    assert caught.value.column == "conversation_id"


@pytest.mark.parametrize("size", [1, 2, 5])
def test_small_batches_are_put_together(size: int) -> None:
    """Groups are as large as they may be, however small the batches, also where these tear conversations."""
    rows = table([3] * 40)
    made = list(groups(cut(rows, list(range(0, 120, size))), 15))
    assert check(made, rows) == [3] * 40
    assert [group.batch.num_rows for group in made] in ([15] * 8, [12] * 10)


def test_small_batches_are_put_together_up_to_a_size() -> None:
    """The bound on bytes holds for them, too."""
    rows = table([3] * 40, "long" * 50)
    limit = rows.nbytes // 4
    made = list(groups(cut(rows, list(range(0, 120, 3))), max_bytes=limit))
    assert check(made, rows) == [3] * 40
    assert len(made) in (4, 5)
    assert all(group.batch.nbytes <= limit for group in made)


def test_source_error_arrives() -> None:
    """What the source raises is what the caller gets, after what was known to be complete before it."""
    problem = OSError("disk")

    def source() -> Iterator[pa.RecordBatch]:
        yield from cut(table([2, 2]), [2])
        raise problem

    made = groups(source(), 2)
    assert next(made).batch.num_rows == 2
    with pytest.raises(OSError, match="disk") as caught:
        next(made)
    assert caught.value is problem
