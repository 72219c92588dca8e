"""What is asked of the cells of a column all at once: how they lie in memory, what they say, how long they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_engine.schema import COLUMN_NAMES, LONGEST_CELL, ROW_SCHEMA

__all__ = ["doubled", "given", "long_cells", "offsets", "words"]


_TEXTS = [index for index, name in enumerate(COLUMN_NAMES) if ROW_SCHEMA.field(name).type == pa.string()]


def offsets(column: pa.Array) -> NDArray[np.int32]:
    """The offsets of a string array, from its first row on: one more than it has rows."""
    found = column.buffers()[1]
    if found is None or not len(column):
        return np.zeros(len(column) + 1, np.int32)
    return np.frombuffer(found, np.int32, len(column) + 1, 4 * column.offset)


def given(column: pa.Array) -> tuple[pa.Buffer | None, int, memoryview, pa.Buffer | None]:
    """A string array as the kernel takes it: which rows are not null, the first row's bit there, offsets, text."""
    valid, _, data = column.buffers()
    return valid if column.null_count else None, column.offset, offsets(column).data, data


def words(column: pa.Array, allowed: Sequence[str]) -> NDArray[np.uint8]:
    """Which of a few words each cell is, by number; their number where it is none of them or null."""
    try:
        from export_engine._native import find_words  # noqa: PLC0415  # optional: built where there is a compiler
    except ImportError:
        found = pc.index_in(column, pa.array(allowed, pa.string())).fill_null(len(allowed))
        return np.asarray(found, np.uint8)
    return np.frombuffer(find_words(given(column), len(column), tuple(allowed)), np.uint8)


def long_cells(batch: pa.RecordBatch) -> tuple[int, int]:
    """How many cells of rows are too long for a spreadsheet, and the characters of the longest of these, else 0."""
    count = longest = 0
    for column in map(batch.column, _TEXTS):
        lengths = np.diff(offsets(column))  # UTF-8 takes at least a byte a unit
        if not len(lengths) or lengths.max() <= LONGEST_CELL:
            continue
        texts = column.filter(pa.array(lengths > LONGEST_CELL)).drop_null().to_pylist()
        units = np.array([len(text.encode("utf-16-le")) // 2 for text in texts], np.int64)
        count += int(np.count_nonzero(units > LONGEST_CELL))
        longest = max(longest, int(units.max(initial=0)))
    return (count, longest) if count else (0, 0)


def doubled(ids: pa.Array, bounds: NDArray[np.int64]) -> int:
    """How many ids are the same as the one before them, but for those at the `bounds`, the rows that begin anew."""
    if not _any_doubled(ids):
        return 0
    same = pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1))
    found = same.to_numpy(zero_copy_only=False).copy()
    found[bounds[(bounds > 0) & (bounds < len(ids))] - 1] = False
    return int(np.count_nonzero(found))


def _any_doubled(ids: pa.Array) -> bool:
    """Whether any is the same as the one before it."""
    try:
        from export_engine._native import count_doubled  # noqa: PLC0415  # optional: built where there is a compiler
    except ImportError:
        return len(ids) > 1 and bool(pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1)).true_count)
    return count_doubled(given(ids), len(ids)) > 0
