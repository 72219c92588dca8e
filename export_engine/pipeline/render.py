"""Record batches to CSV bytes, plus where in those bytes each conversation ends.

A whole batch is rendered by one call, whatever number of conversations it holds: of the package's kernel,
`export_engine._native`, which spells times and notes where rows begin, or where that was not built, of `pyarrow.csv`.
In the second case the places to cut are computed from the columns' offsets, without looking at the text: a cell takes
its UTF-8 length, two quotes unless it is null, and one byte more for each quote inside it; a row takes eleven commas
and the line end besides. Quotes inside cells are counted only where the rendered size shows that there are any. Both
give the same bytes.

The bytes are RFC 4180: CRLF, header unquoted, every non-null value quoted with inner quotes doubled. A null is an empty
unquoted field, so that null and `""` stay distinct. `CsvDialect` holds the few deviations on offer.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from export_engine.options import CsvDialect
from export_engine.pipeline.cells import given, offsets
from export_engine.schema import COLUMN_NAMES
from export_engine.timetext import time_text

__all__ = ["Scratch", "Times", "header", "render"]


def header(dialect: CsvDialect) -> bytes:
    """The bytes every CSV begins with: the twelve names, after the byte order mark where one is wanted."""
    return (("\ufeff" if dialect.bom else "") + ",".join(COLUMN_NAMES) + dialect.line_end).encode()


#: Rows whose text pyarrow lays out together: few enough to stay in the processor's cache.
_ROWS_AT_A_TIME = 1024


#: `2026-06-11T06:50:43.861185+08:05:43`.
_LONGEST_TIME = 35

#: The most memory that a thread keeps to render into: several times what a batch of usual messages needs.
_KEPT = 64 << 20


class Scratch(threading.local):
    """Memory to render into, kept from one batch to the next: a thread's own, as large as its largest batch needed.

    Fresh memory for each batch costs the kernel's clearing of it, about a tenth of the rendering. A batch of huge texts
    gets its own, so that it does not stay.
    """

    def __init__(self) -> None:
        self._buffer = pa.allocate_buffer(0)

    def __reduce__(self) -> tuple[type[Scratch], tuple[()]]:
        """Another process has memory of its own."""
        return Scratch, ()

    def of(self, size: int) -> pa.Buffer:
        """At least `size` bytes, whatever is in them."""
        if size > _KEPT:
            return pa.allocate_buffer(size)
        if self._buffer.size < size:
            self._buffer = pa.allocate_buffer(1 << size.bit_length())  # pages cost nothing before they are touched
        return self._buffer


class Times(NamedTuple):
    """A column of times: UTC microseconds since 1970, and how many each is east of UTC, one for all or a row each."""

    us: NDArray[np.int64]
    east: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.us)


def render(
    columns: Sequence[pa.Array | Times], bounds: NDArray[np.int64], dialect: CsvDialect, scratch: Scratch
) -> tuple[memoryview, NDArray[np.int64], int]:
    """Render twelve columns of equal length, of strings or times, without header.

    `bounds` are row numbers in rising order, each from 0 to the number of rows. Returns the CSV, which is good until
    this thread renders into the same `scratch` again; for each bound, the byte at which that row begins (the whole
    size for the number of rows itself); and about how many bytes the longest cell has, never fewer.
    """
    try:
        from export_engine._native import render_csv  # noqa: PLC0415  # optional: built where there is a compiler
    except ImportError:
        return _render_by_pyarrow(columns, bounds, dialect, scratch)
    rows, line_end = len(columns[0]), dialect.line_end.encode()
    cells = [(column.us.data, column.east.data) if isinstance(column, Times) else given(column) for column in columns]
    text_bytes = sum(_LONGEST_TIME * rows if len(one) == 2 else one[2][rows] - one[2][0] for one in cells)
    memory = memoryview(scratch.of(_room(text_bytes, rows, len(columns), dialect) + 32)).cast("B")
    size, cuts, longest = render_csv(tuple(cells), rows, line_end, bounds.data, memory)
    return memory[:size], np.frombuffer(cuts, np.int64), longest


def _room(text_bytes: int, rows: int, columns: int, dialect: CsvDialect) -> int:
    """Enough for a quote around every cell and for every byte to be a quote; what is not needed is never touched."""
    return 2 * text_bytes + rows * (3 * columns - 1 + len(dialect.line_end))


def _render_by_pyarrow(
    columns: Sequence[pa.Array | Times], bounds: NDArray[np.int64], dialect: CsvDialect, scratch: Scratch
) -> tuple[memoryview, NDArray[np.int64], int]:
    """The same without the package's kernel, by pyarrow's CSV writer."""
    texts = [_Text.of(time_text(*column) if isinstance(column, Times) else column) for column in columns]
    rows, text_bytes = len(columns[0]), sum(int(text.offsets[-1] - text.offsets[0]) for text in texts)
    memory = scratch.of(_room(text_bytes, rows, len(columns), dialect))
    sink = pa.FixedSizeBufferWriter(memory)
    options = pacsv.WriteOptions(
        include_header=False, eol=dialect.line_end, quoting_style="all_valid", batch_size=_ROWS_AT_A_TIME
    )
    pacsv.write_csv(pa.RecordBatch.from_arrays([text.column for text in texts], list(COLUMN_NAMES)), sink, options)
    size = sink.tell()
    longest = max(int(np.diff(text.offsets).max(initial=0)) for text in texts)
    return memoryview(memory).cast("B")[:size], _cuts(texts, bounds, len(dialect.line_end), size), longest


@dataclass(frozen=True, slots=True)
class _Text:
    """A string column, its `offsets` (one more than it has rows), and which rows are `null`, by number."""

    column: pa.Array
    offsets: NDArray[np.int32]
    nulls: NDArray[np.int64]

    @staticmethod
    def of(column: pa.Array) -> _Text:
        """The column, without bytes under its nulls: Arrow allows them, and they would count as text."""
        places = offsets(column)
        if not column.null_count:
            return _Text(column, places, _NONE)
        valid = np.unpackbits(
            np.frombuffer(column.buffers()[0], np.uint8), count=column.offset + len(column), bitorder="little"
        )
        nulls = np.flatnonzero(valid[column.offset :] == 0)
        if (places[nulls] != places[nulls + 1]).any():
            return _Text.of(column.take(pa.array(np.arange(len(column)))))
        return _Text(column, places, nulls)


_NONE = np.zeros(0, np.int64)


def _cuts(texts: Sequence[_Text], bounds: NDArray[np.int64], line_end: int, size: int) -> NDArray[np.int64]:
    """Where the rows at `bounds` begin in the CSV of the columns, which is `size` bytes long."""
    probe = np.append(bounds, len(texts[0].column))
    cuts = probe * (3 * len(texts) - 1 + line_end)
    for text in texts:
        cuts += text.offsets[probe]
        cuts -= text.offsets[0]
        if len(text.nulls) == len(text.column):
            cuts -= 2 * probe
        elif len(text.nulls):
            cuts -= 2 * np.searchsorted(text.nulls, probe)
    quotes = size - int(cuts[-1])
    for text in sorted(texts, key=lambda text: text.offsets[0] - text.offsets[-1]) if quotes else ():
        first, last = text.offsets[[0, -1]]
        data = text.column.buffers()[2]
        if first == last:
            continue
        places = np.flatnonzero(np.frombuffer(data, np.uint8)[first:last] == ord('"'))
        if len(places):
            cuts += np.searchsorted(places, text.offsets[probe] - first)
            quotes -= len(places)
            if not quotes:
                break
    if quotes:  # pragma: no cover - a guard against a change in pyarrow's CSV writer
        raise AssertionError(f"the CSV is {quotes} bytes away from its computed size")
    return cuts[:-1]
