"""Record batches to CSV bytes, plus where in those bytes each conversation ends.

A whole batch is rendered by one call of `pyarrow.csv`, whatever number of conversations it holds; the places to cut
are then computed from the columns' offsets, without looking at the text: a cell takes its UTF-8 length, two quotes
unless it is null, and one byte more for each quote inside it; a row takes eleven commas and the line end besides.
Quotes inside cells are counted only where the rendered size shows that there are any.

The bytes are RFC 4180: CRLF, header unquoted, every non-null value quoted with inner quotes doubled. A null is an empty
unquoted field, so that null and `""` stay distinct. `CsvDialect` holds the few deviations on offer.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from export_engine.options import CsvDialect
from export_engine.schema import COLUMN_NAMES
from export_engine.times import offset_text

__all__ = ["Scratch", "created_text", "guard", "header", "render", "time_text"]

_DAY = 86_400_000_000
_SECOND = 1_000_000


def header(dialect: CsvDialect) -> bytes:
    """The bytes every CSV begins with: the twelve names, after the byte order mark where one is wanted."""
    return (("\ufeff" if dialect.bom else "") + ",".join(COLUMN_NAMES) + dialect.line_end).encode()


#: Rows whose text pyarrow lays out together: few enough to stay in the processor's cache.
_ROWS_AT_A_TIME = 1024


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


def render(
    columns: Sequence[pa.Array], bounds: NDArray[np.int64], dialect: CsvDialect, scratch: Scratch
) -> tuple[memoryview, list[int]]:
    """Render twelve string columns of equal length, without header.

    `bounds` are row numbers in rising order, each from 0 to the number of rows. Returns the CSV, which is good until
    this thread renders into the same `scratch` again, and, for each bound, the byte at which that row begins (the whole
    size for the number of rows itself).
    """
    texts = [_Text.of(column) for column in columns]
    rows, text_bytes = len(columns[0]), sum(int(text.offsets[-1] - text.offsets[0]) for text in texts)
    # Enough for a quote around every cell and for every byte to be a quote; what is not needed is never touched.
    memory = scratch.of(2 * text_bytes + rows * (3 * len(columns) - 1 + len(dialect.line_end)))
    sink = pa.FixedSizeBufferWriter(memory)
    options = pacsv.WriteOptions(
        include_header=False, eol=dialect.line_end, quoting_style="all_valid", batch_size=_ROWS_AT_A_TIME
    )
    pacsv.write_csv(pa.RecordBatch.from_arrays([text.column for text in texts], list(COLUMN_NAMES)), sink, options)
    size = sink.tell()
    return memoryview(memory).cast("B")[:size], _cuts(texts, bounds, len(dialect.line_end), size)


@dataclass(frozen=True, slots=True)
class _Text:
    """A string column, its `offsets` (one more than it has rows), and which rows are `null`, by number."""

    column: pa.Array
    offsets: NDArray[np.int32]
    nulls: NDArray[np.int64]

    @staticmethod
    def of(column: pa.Array) -> _Text:
        """The column, without bytes under its nulls: Arrow allows them, and they would count as text."""
        offsets = _string_offsets(column)
        if not column.null_count:
            return _Text(column, offsets, _NONE)
        valid = np.unpackbits(
            np.frombuffer(column.buffers()[0], np.uint8), count=column.offset + len(column), bitorder="little"
        )
        nulls = np.flatnonzero(valid[column.offset :] == 0)
        if (offsets[nulls] != offsets[nulls + 1]).any():
            return _Text.of(column.take(pa.array(np.arange(len(column)))))
        return _Text(column, offsets, nulls)


_NONE = np.zeros(0, np.int64)


def _string_offsets(column: pa.Array) -> NDArray[np.int32]:
    """The offsets of a string array, from its first row on: one more than it has rows."""
    offsets = column.buffers()[1]
    if offsets is None:
        return np.zeros(len(column) + 1, np.int32)
    return np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]


def _cuts(texts: Sequence[_Text], bounds: NDArray[np.int64], line_end: int, size: int) -> list[int]:
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
    result: list[int] = cuts[:-1].tolist()
    return result


# --- times ---------------------------------------------------------------------------------------------------------


def _digits(count: int, width: int) -> NDArray[np.uint8]:
    """The numbers below `count` in ASCII digits, one row a number."""
    powers = 10 ** np.arange(width - 1, -1, -1)
    return (np.arange(count)[:, None] // powers % 10 + ord("0")).astype(np.uint8)


def _minute_table() -> NDArray[np.uint64]:
    """`THH:MM:` and one byte to be overwritten, for each minute of a day, each as one eight-byte number."""
    table = np.full((24, 60, 8), ord(":"), np.uint8)
    table[..., 0] = ord("T")
    table[..., 1:3] = _digits(24, 2)[:, None]
    table[..., 4:6] = _digits(60, 2)
    return table.reshape(-1).view(np.uint64)


def _dotted_thousand() -> NDArray[np.uint32]:
    """`.000` to `.999`, each as one four-byte number."""
    table = np.full((1000, 4), ord("."), np.uint8)
    table[:, 1:] = _digits(1000, 3)
    return table.reshape(-1).view(np.uint32)


# Copying a number from a table costs a fraction of copying as many characters. The tables are small, so that they are
# still in the processor's cache after a batch was deflated.
_MINUTE = _minute_table()
_THOUSAND = _dotted_thousand()
_SIXTY = _digits(60, 2).reshape(-1).view(np.uint16)
_MONTH = 32


@lru_cache(maxsize=64)
def _date_table(first: int, count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """`YYYY-MM-` and `DD` for `count` days from `first` on, as numbers of eight and two bytes."""
    return _spelt(np.arange(first, first + count))


def _spelt(days: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """The same for any days since 1970."""
    text = np.datetime_as_string(days.astype("M8[D]")).astype("S10").view([("month", "u8"), ("day", "u2")])
    return np.ascontiguousarray(text["month"]), np.ascontiguousarray(text["day"])


def _dates(days: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """`YYYY-MM-` and `DD` for days since 1970; fast where they span a few years at the most."""
    first = int(days.min()) // _MONTH * _MONTH
    count = (int(days.max()) // _MONTH + 1) * _MONTH - first
    if count > 4096:
        return _spelt(days)
    months, numbers = _date_table(first, count)
    which = days - first
    return months[which], numbers[which]


def _parts(numbers: NDArray[np.int64], unit: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Whole units and what is left; several times faster than divmod, which does not know that the unit is fixed."""
    whole = numbers // unit
    return whole, numbers - whole * unit


def time_text(us: NDArray[np.int64], offsets: NDArray[np.int64]) -> pa.Array:
    """ISO 8601 text of UTC microseconds: `2026-06-11T06:50:43.861185Z`, or with `+08:00` where the offset is not zero.

    `offsets` are microseconds east of UTC, one for each time or one for all (see `zone.utc_offsets`).
    """
    count = len(us)
    if not count:
        return pa.array([], pa.string())
    days, clock = _parts(us + offsets, _DAY)
    seconds, fraction = _parts(clock, _SECOND)
    minutes, seconds = _parts(seconds, 60)
    milli, micro = _parts(fraction, 1000)
    kinds, which = (offsets, None) if len(offsets) == 1 else np.unique(offsets, return_inverse=True)
    suffixes = [offset_text(int(kind)).encode() for kind in kinds]
    width = len(suffixes[0]) if len({len(suffix) for suffix in suffixes}) == 1 else 0
    # Two of the numbers are a byte longer than what they stand for; what follows is written over it, so after it.
    fields = {"month": ("u8", 0), "day": ("u2", 8), "minute": ("u8", 10), "second": ("u2", 17)}
    fields |= {"micro": ("u4", 22), "milli": ("u4", 19)}
    if width:
        fields["zone"] = (f"S{width}", 26)
    formats, places = zip(*fields.values(), strict=True)
    text = np.empty(count, {"names": list(fields), "formats": formats, "offsets": places, "itemsize": 26 + width})
    text["month"], text["day"] = _dates(days)
    text["minute"] = _MINUTE[minutes]
    text["second"] = _SIXTY[seconds]
    text["micro"] = _THOUSAND[micro]
    text["milli"] = _THOUSAND[milli]
    if width:
        text["zone"] = suffixes[0] if which is None else np.array(suffixes)[which]
    ends = np.arange(0, text.itemsize * (count + 1), text.itemsize, dtype=np.int32)
    whole = pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(text.view(np.uint8)))
    if width:
        return whole
    return pc.binary_join_element_wise(whole, pa.array(suffixes, pa.string()).take(pa.array(which)), "")


def created_text(us: NDArray[np.int64]) -> list[str]:
    """`YYYY-MM-DD_HHMMSS` for local microseconds, as file names have it."""
    if not len(us):
        return []
    days, clock = _parts(us, _DAY)
    minutes, seconds = _parts(clock // _SECOND, 60)
    hours, minutes = _parts(minutes, 60)
    text = np.empty(
        len(us), [("month", "u8"), ("day", "u2"), ("_", "S1"), ("hour", "u2"), ("minute", "u2"), ("second", "u2")]
    )
    (text["month"], text["day"]), text["_"] = _dates(days), b"_"
    text["hour"], text["minute"], text["second"] = _SIXTY[hours], _SIXTY[minutes], _SIXTY[seconds]
    whole: list[str] = text.view("S17").astype("U17").tolist()
    return whole


# --- formula guard -------------------------------------------------------------------------------------------------

_TRIGGERS = np.zeros(256, np.bool_)
_TRIGGERS[list(b"=+-@\t\r\n'")] = True
_PHONE = COLUMN_NAMES.index("contact_phone")


def guard(columns: Sequence[pa.Array], dialect: CsvDialect) -> list[pa.Array]:
    """The columns with one `'` before each cell that a spreadsheet could take for a formula (see `CsvDialect`)."""
    return [_guarded(column, bare_e164=dialect.bare_e164 and index == _PHONE) for index, column in enumerate(columns)]


def _guarded(column: pa.Array, *, bare_e164: bool) -> pa.Array:
    starts = _string_offsets(column)
    data = column.buffers()[2]
    if data is None or starts[-1] == starts[0]:
        return column
    filled = starts[:-1] < starts[1:]
    first = np.frombuffer(data, np.uint8)[np.where(filled, starts[:-1], starts[0])]
    risky = _TRIGGERS[first] & filled
    if not risky.any():
        return column
    mask = pa.array(risky)
    if bare_e164:
        mask = pc.and_not(mask, pc.fill_null(pc.match_substring_regex(column, r"\A\+[1-9][0-9]{1,14}\z"), False))
    return pc.if_else(mask, pc.binary_join_element_wise("'", column, ""), column)
