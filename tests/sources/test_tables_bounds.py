"""How a flat table is cut into batches: bounded, and rather between conversations."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.errors import SourceError
from export_engine.schema import MAX_BATCH_BYTES
from export_engine.sources import SourceContext
from export_engine.sources import tables as arrow
from export_engine.sources.parquet import read_parquet
from export_engine.sources.tables import from_arrow
from tests.sources.tables import batches, cells, table


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), "utf8")])
def test_big_cells_are_cut_to_size(kind: pa.DataType) -> None:
    """Cells far above the bound come out whole, a few at a time; repeated ones too."""
    texts = ["x" * (3 << 20), "y" * (6 << 20), None, "z"] * 3
    assert cells(from_arrow(table(12, message_text=pa.array(texts).cast(kind))), "message_text") == texts


ID_TYPES = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.int64(),
    pa.dictionary(pa.int32(), pa.string()),
]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.sampled_from(ID_TYPES), st.integers(2, 12))
@settings(deadline=None, max_examples=50)
def test_cuts_between_conversations(runs: list[int], kind: pa.DataType, limit: int) -> None:
    """A batch ends where a conversation does, unless the one that goes on is all of it or began too far back."""
    nearby = 6
    ids = [10 + number for number, run in enumerate(runs) for _ in range(run)]
    column = pa.array(ids, pa.int64()).cast(pa.string()).cast(pa.large_string())
    column = column.dictionary_encode() if pa.types.is_dictionary(kind) else column.cast(kind)
    rows = table(len(ids), conversation_id=column)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow, "MAX_BATCH_ROWS", limit)
        patch.setattr(arrow, "_NEARBY", nearby)
        found = batches(from_arrow(rows))
    at = 0
    for batch in found:
        start, at = at, at + len(batch)
        assert batch.column("conversation_id").to_pylist() == list(map(str, ids[start:at]))
        if at < len(ids):
            torn = ids[at - 1] == ids[at]
            assert not torn or (len(batch) == limit and len({*ids[max(start, at - nearby) : at]}) == 1)
            if not torn and len(batch) < limit:  # no later end was possible
                assert at + ids.count(ids[at]) > start + limit
    assert at == len(ids)


@pytest.mark.parametrize("bad", [-1, 0, 1 << 30])
def test_wrong_offsets_near_a_cut(bad: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for a conversation's end trusts no offset of a table that perhaps came from a file."""
    monkeypatch.setattr(arrow, "MAX_BATCH_ROWS", 4)
    offsets = np.arange(0, 14, 2, dtype=np.int32)
    offsets[3] = bad
    column = pa.StringArray.from_buffers(6, pa.py_buffer(offsets), pa.py_buffer(b"aabbccddeeff"))
    with pytest.raises(SourceError, match="column of type string is damaged"):
        batches(from_arrow(table(6, conversation_id=column)))


def test_slices_beyond_two_gib() -> None:
    """The end of a large_string column of more than 2 GiB is read, though its offsets are too large for a string."""
    data = np.zeros(2**31 + 8, np.uint8)  # never touched, so never in memory
    data[-8:] = list(b"onetwo!!")
    offsets = pa.py_buffer(np.array([2**31, 2**31 + 3, 2**31 + 8]))
    column = pa.LargeStringArray.from_buffers(2, offsets, pa.py_buffer(data))
    assert cells(from_arrow(table(message_text=column)), "message_text") == ["one", "two!!"]


@pytest.mark.slow
def test_long_rows_of_parquet_are_read_few_at_a_time(tmp_path: Path) -> None:
    """Rows in hand follow the size of rows, not only their number."""
    random = np.random.default_rng(1)
    texts = [random.bytes(50_000).hex() for _ in range(1000)]
    given = table(1000, message_text=texts)
    pq.write_table(given, tmp_path / "t.parquet", use_dictionary=False, write_batch_size=10)  # pages of a usual size
    pool = pa.default_memory_pool()
    rows = read_parquet(tmp_path / "t.parquet").batches(SourceContext(UTC))
    before = pool.bytes_allocated()
    peak = max(pool.bytes_allocated() - before for _ in rows)
    assert peak < 10 * MAX_BATCH_BYTES < sum(map(len, texts)) / 2


def test_an_iterator_is_pulled_batch_by_batch() -> None:
    """One batch in, its pieces out, then the next; closing closes the iterator."""
    events: list[str] = []

    def given() -> Iterator[pa.RecordBatch]:
        try:
            for at in range(3):
                events.append(f"read {at}")
                yield table().to_batches()[0]
        finally:
            events.append("closed")

    rows = from_arrow(given()).batches(SourceContext(UTC))
    assert events == []
    next(rows)
    events.append("handed on")
    next(rows)
    rows.close()
    assert events == ["read 0", "handed on", "read 1", "closed"]
