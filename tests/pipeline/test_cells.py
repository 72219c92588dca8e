"""Cells: what they say and how long they are, with the kernel and without."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.pipeline.cells import long_cells, offsets, words
from export_engine.schema import LONGEST_CELL, ROW_SCHEMA

ALLOWED = ("bot", "agent", "customer")
CELLS = st.none() | st.sampled_from((*ALLOWED, "", "Agent", "agents", "cust\0mer"))
PATIENT = settings(deadline=None)


pytestmark = pytest.mark.usefixtures("way")


@given(st.lists(CELLS, max_size=30), st.integers(0, 5))
@PATIENT
def test_words(cells: list[str | None], start: int) -> None:
    """A word's number, or how many there are; nulls are none of them, in slices too."""
    column = pa.array(cells, pa.string()).slice(start)
    assert words(column, ALLOWED).tolist() == [
        ALLOWED.index(cell) if cell in ALLOWED else len(ALLOWED) for cell in cells[start:]
    ]
    # Of no rows there is nothing whose end could be asked for.
    whole = sum(len((cell or "").encode()) for cell in cells) if len(column) else 0
    assert offsets(column).tolist()[-1:] == [whole]


def batch(texts: list[str | None]) -> pa.RecordBatch:
    columns = {field.name: pa.nulls(len(texts), field.type) for field in ROW_SCHEMA}
    columns["message_text"] = pa.array(texts, pa.string())
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=ROW_SCHEMA)


def test_long_cells() -> None:
    """Counted in UTF-16 units, of which a spreadsheet's cell holds 32,767; a null over many bytes is none."""
    assert long_cells(batch([])) == (0, 0)
    assert long_cells(batch(["x" * LONGEST_CELL, None, "é" * LONGEST_CELL])) == (0, 0)
    assert long_cells(batch(["x" * (LONGEST_CELL + 1), None, "\U0001f642" * 20_000])) == (2, 40_000)
    _, *buffers = pa.array(["x" * 40_000], pa.string()).buffers()
    hidden = pa.Array.from_buffers(pa.string(), 1, [pa.py_buffer(b"\0"), *buffers])
    rows = batch([None])
    assert long_cells(rows.set_column(8, ROW_SCHEMA.field("message_text"), hidden)) == (0, 0)
