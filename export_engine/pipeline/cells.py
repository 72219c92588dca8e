"""Cells that are longer than a spreadsheet can hold."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from export_engine.schema import COLUMN_NAMES, LONGEST_CELL, ROW_SCHEMA

__all__ = ["long_cells"]


_TEXTS = [index for index, name in enumerate(COLUMN_NAMES) if ROW_SCHEMA.field(name).type == pa.string()]


def long_cells(batch: pa.RecordBatch) -> tuple[int, int]:
    """How many cells of rows are longer, and the characters of the longest of these (0 where there is none)."""
    count = longest = 0
    for column in map(batch.column, _TEXTS):
        lengths = pc.binary_length(column)  # UTF-8 takes at least a byte a unit
        most = pc.max(lengths).as_py()
        if most is None or most <= LONGEST_CELL:
            continue
        texts = column.filter(pc.greater(lengths, LONGEST_CELL)).to_pylist()
        units = np.array([len(text.encode("utf-16-le")) // 2 for text in texts], np.int64)
        count += int(np.count_nonzero(units > LONGEST_CELL))
        longest = max(longest, int(units.max()))
    return (count, longest) if count else (0, 0)
