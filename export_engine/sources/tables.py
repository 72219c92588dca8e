"""Flat tables to record batches: rows with the twelve columns and perhaps `created_at`, in any of Arrow's usual types.

What a table's columns are is decided once, from its schema, before a row is read; then each batch is cut to size and
each column brought to the type of `schema.ROW_SCHEMA`, whole columns at a time and without a copy where it has that
type already. Rules on single values (null, UTF-8, times) are checked here, as they depend on where a row came from.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_engine.errors import RowError, SchemaError, SourceError
from export_engine.schema import COLUMN_NAMES, COLUMNS, CREATED_AT, MAX_BATCH_BYTES, MAX_BATCH_ROWS, ROW_SCHEMA
from export_engine.sources import Source, SourceContext
from export_engine.sources.text import first_failing, is_sound_utf8, parsed
from export_engine.times import MAX_US, MIN_US, from_local

__all__ = ["Numbered", "from_arrow", "normalised", "numbered", "wanted_columns"]

#: A batch as it was read, and the number that errors give each of its rows.
Numbered = tuple[pa.RecordBatch, Sequence[int]]

_IDS = ("message_id", "conversation_id")
_TIMES = ("message_time", CREATED_AT)
_REQUIRED = tuple(column.name for column in COLUMNS if column.required)
_INSTANT = ROW_SCHEMA.field(CREATED_AT).type
_TEXT = pa.string()
_LISTS = (pa.ListType, pa.LargeListType, pa.FixedSizeListType, pa.ListViewType, pa.LargeListViewType)

# Microseconds in a timestamp's unit; ns is handled apart.
_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}


def from_arrow(data: Any) -> Source:
    """Make a source of Arrow data.

    `data` is a `Table`, `RecordBatch`, `RecordBatchReader`, an iterable of record batches, or any object with
    `__arrow_c_stream__` (a polars frame, a DuckDB result).

    Columns are found by name; others are ignored and named in the report. Required are `message_id`, `conversation_id`,
    `direction`, `speaker_type` and `message_time`; a missing optional one is null. Text may be string, large_string,
    string_view or a dictionary of these; the two ids may be integers. Times are timestamps of any unit, with a zone or
    without (then in the export's), or ISO 8601 text; finer than microseconds is cut off. `media_url` is text, already
    comma-separated, or a list with one URL an item.

    An iterable is pulled one batch at a time. Errors that it, or a `RecordBatchReader`, raises arrive as they are.

    Errors while reading: SchemaError, before the first batch, for a missing or doubled column or an impossible type;
    RowError for a null in a required column, a time that is none or out of bounds, a null in a list of URLs, and text
    that is not UTF-8. SourceError, at once or while reading, for something that holds no record batches.
    """
    if not isinstance(data, pa.RecordBatch | Iterable) and not hasattr(data, "__arrow_c_stream__"):
        raise SourceError(
            f"rows cannot be read from {type(data).__name__}: give a pyarrow Table, RecordBatch or RecordBatchReader, "
            "an object with __arrow_c_stream__ (collect a lazy frame first), or an iterable of record batches"
        )
    return _Arrow(data)


@dataclass(frozen=True, slots=True)
class _Arrow:
    data: Any

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        data = self.data
        if isinstance(data, pa.RecordBatch):
            data = pa.Table.from_batches([data])
        if isinstance(data, pa.Table):
            yield from normalised(data.schema, numbered(data.to_batches()), context)
        elif isinstance(data, pa.RecordBatchReader):  # through a stream, errors of its maker would lose their type
            yield from normalised(data.schema, numbered(data), context)
        elif hasattr(data, "__arrow_c_stream__"):
            with pa.RecordBatchReader.from_stream(data) as reader:
                yield from normalised(reader.schema, numbered(reader), context)
        else:
            yield from _from_iterable(data, context)


def numbered(batches: Iterable[pa.RecordBatch]) -> Iterator[Numbered]:
    """Number rows from 1."""
    before = 0
    for batch in batches:
        yield batch, range(before + 1, before + batch.num_rows + 1)
        before += batch.num_rows


def _from_iterable(data: Iterable[Any], context: SourceContext) -> Iterator[pa.RecordBatch]:
    items = iter(data)
    try:
        first = next(items, None)
        if first is None:
            return
        _check_batch(first)

        def alike() -> Iterator[pa.RecordBatch]:
            yield first
            for batch in items:
                _check_batch(batch)
                if not batch.schema.equals(first.schema):
                    raise SchemaError(
                        f"a record batch has another schema than the first: {batch.schema.names}; give all batches "
                        "the same columns and types",
                        column=next((n for n in first.schema.names if n not in batch.schema.names), "schema"),
                    )
                yield batch

        yield from normalised(first.schema, numbered(alike()), context)
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()


def _check_batch(item: Any) -> None:
    if not isinstance(item, pa.RecordBatch):
        raise SourceError(f"record batches are needed, and one item is {type(item).__name__}: give only RecordBatches")


def wanted_columns(names: Iterable[str], context: SourceContext) -> list[str]:
    """Which of a table's columns are read; notes the others. Raises SchemaError for a doubled or missing one."""
    given = list(names)
    known = {*COLUMN_NAMES, CREATED_AT}
    wanted = [name for name in given if name in known]
    for name in wanted:
        if wanted.count(name) > 1:
            raise SchemaError(f"column {name!r} is there {wanted.count(name)} times: keep one", column=name)
    for name in _REQUIRED:
        if name not in wanted:
            raise SchemaError(
                f"column {name!r} is missing; the columns are {', '.join(given) or 'none'}: rename the one that holds "
                f"it, or add it ({', '.join(_REQUIRED)} are required)",
                column=name,
            )
    context.ignored_columns += tuple(
        dict.fromkeys(name for name in given if name not in known and name not in context.ignored_columns)
    )
    return wanted


def normalised(schema: pa.Schema, batches: Iterable[Numbered], context: SourceContext) -> Iterator[pa.RecordBatch]:
    """Bring batches of one schema to `ROW_SCHEMA`, bounded in size; checks the schema first."""
    wanted = wanted_columns(schema.names, context)
    for name in wanted:
        _check_type(name, schema.field(name).type)
    for whole, numbers in batches:
        batch = pa.RecordBatch.from_arrays([_sound(whole.column(name)) for name in wanted], wanted)
        for low, high in _bounded(batch):
            yield _Rows(batch.slice(low, high - low), numbers[low:high], context).converted()


def _check_type(name: str, type_: pa.DataType) -> None:
    """Raise SchemaError for a type that cannot hold a column."""
    inner = type_.value_type if pa.types.is_dictionary(type_) else type_
    possible = _is_text(inner) or pa.types.is_null(type_)
    accepted = "string"
    if name in _TIMES:
        possible |= pa.types.is_timestamp(type_)
        accepted = "timestamp, or string with ISO 8601 text"
    elif name in _IDS:
        possible |= pa.types.is_integer(type_)
        accepted = "string or integer"
    elif name == "media_url":
        possible |= _is_list(type_) and (_is_text(type_.value_type) or pa.types.is_null(type_.value_type))
        accepted = "string or list of strings"
    if pa.types.is_null(type_) and name in _REQUIRED:
        possible = False
    if not possible:
        raise SchemaError(f"column {name!r} is {type_}: it must be {accepted}; cast it", column=name)


def _is_text(type_: pa.DataType) -> bool:
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(is_kind(type_) for is_kind in kinds)


def _is_list(type_: pa.DataType) -> bool:
    return isinstance(type_, _LISTS)


# --- size ----------------------------------------------------------------------------------------------------------


def _sound(column: pa.Array) -> pa.Array:
    """Check what slices of a column share, once a batch: lists, and dictionaries, whose values become plain text.

    Files are not checked by their readers, and a wrong offset in one would be read as text from anywhere. Text that
    is not UTF-8 is left for `_Rows`, which knows whose it is.
    """
    if isinstance(column, pa.DictionaryArray):
        values = column.dictionary
        _check_layout(values)
        if pa.types.is_string_view(values.type):  # nothing takes from views
            values = values.cast(pa.large_string())
        try:
            return pa.DictionaryArray.from_arrays(column.indices, values)
        except (pa.ArrowException, IndexError) as error:
            raise _damaged(column, error) from error
    if _is_list(column.type):
        _check_layout(column)
    return column


def _check_layout(column: pa.Array) -> None:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise _damaged(column, error) from error


def _damaged(column: pa.Array, error: Exception) -> SourceError:
    return SourceError(f"a column of type {column.type} is damaged ({error}): write the table again")


def _bounded(batch: pa.RecordBatch) -> Iterator[tuple[int, int]]:
    """Where to cut: at most `MAX_BATCH_ROWS` rows and about `MAX_BATCH_BYTES` bytes of text, or one row.

    Rather between conversations, where one ends nearby: what is torn here has to be put together again by a copy.
    """
    low, rows = 0, batch.num_rows
    while low < rows:
        high = min(low + MAX_BATCH_ROWS, rows)
        while (
            high - low > 1 and sum(_size(column.slice(low, high - low)) for column in batch.columns) > MAX_BATCH_BYTES
        ):
            high = (low + high) // 2
        if high < rows:
            high = _between(batch.column("conversation_id"), low, high)
        yield low, high
        low = high


#: How many rows to look back for the end of a conversation.
_NEARBY = 512


def _between(ids: pa.Array, low: int, high: int) -> int:
    """The last row number up to `high` at which a conversation begins; `high` where none does nearby."""
    start = max(low, high - _NEARBY)
    nearby = ids.slice(start, high + 1 - start)
    if isinstance(nearby, pa.DictionaryArray):
        nearby = nearby.indices
    try:
        nearby.validate(full=True)  # it was read from a file, perhaps: `_Rows` says what is wrong with it
        if pa.types.is_string_view(nearby.type):  # nothing finds runs in views
            nearby = nearby.cast(pa.large_string())
    except pa.ArrowInvalid:
        return high
    ends = pc.run_end_encode(nearby).run_ends
    return start + ends[-2].as_py() if len(ends) > 1 else high


def _size(column: pa.Array) -> int:
    """Bytes that a column will have as strings or timestamps."""
    if isinstance(column, pa.DictionaryArray):
        return pc.sum(pc.binary_length(column.dictionary).cast(pa.int64()).take(column.indices)).as_py() or 0
    if _is_list(column.type):
        return _size(column.flatten()) + 8 * len(column)
    if pa.types.is_string_view(column.type) and len(column):
        # Sixteen bytes a value, the first four its length; nbytes would count all of a shared buffer.
        views = np.frombuffer(column.buffers()[1], np.int32, 4 * len(column), 16 * column.offset)
        return int(views[::4][_valid(column)].sum(dtype=np.int64))
    return int(column.nbytes)


def _valid(column: pa.Array) -> NDArray[np.bool_]:
    valid: NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return valid


# --- columns -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rows:
    """Some rows as they came, few enough to convert at once, and their numbers."""

    batch: pa.RecordBatch
    numbers: Sequence[int]
    context: SourceContext

    def converted(self) -> pa.RecordBatch:
        """The rows in `ROW_SCHEMA`."""
        arrays = [self._column(field) for field in ROW_SCHEMA]
        return pa.RecordBatch.from_arrays(arrays, schema=ROW_SCHEMA)

    def _column(self, field: pa.Field) -> pa.Array:
        name = field.name
        if name not in self.batch.schema.names or pa.types.is_null(self.batch.column(name).type):
            return pa.nulls(self.batch.num_rows, field.type)
        column = self.batch.column(name)
        if name in _REQUIRED and column.null_count:
            self.refuse(name, column.is_null(), "is null", "every message needs one")
        if name in _TIMES:
            return self._times(name, column)
        if _is_list(column.type):
            return self._urls(column)
        return self._text(name, column)

    def _text(self, name: str, column: pa.Array) -> pa.Array:
        if isinstance(column, pa.DictionaryArray):
            column = column.dictionary.take(column.indices)
            if name in _REQUIRED and column.null_count:
                self.refuse(name, column.is_null(), "is null", "every message needs one")
        if pa.types.is_integer(column.type):
            return column.cast(_TEXT)
        at = self._not_utf8(column)
        if at is not None:
            self._refuse_at(name, at, "is not UTF-8", "decode it with its own encoding first")
        if column.type == _TEXT:
            return column
        try:
            return column.cast(_TEXT)
        except pa.ArrowInvalid:  # offsets beyond 2 GiB: those of a slice, or one value
            if column.nbytes > np.iinfo(np.int32).max:
                self._refuse_at(name, 0, "is longer than 2 GiB", "leave the row out")
            return pa.concat_arrays([column]).cast(_TEXT)

    def _not_utf8(self, text: pa.Array) -> int | None:
        """Where the first value that is not UTF-8 stands; raises SourceError for damaged data."""
        if is_sound_utf8(text):
            return None
        failing = first_failing(text, lambda part: part.validate(full=True))
        if failing is None:
            return None
        if "UTF8" not in str(failing[1]):
            raise _damaged(text, failing[1])
        return failing[0]

    def _urls(self, column: pa.Array) -> pa.Array:
        # Not by a cast to list<string>: pyarrow 26 makes wrong offsets of list views.
        lengths = pc.list_value_length(column).cast(pa.int32()).fill_null(0).to_numpy()
        ends = np.cumsum(lengths, dtype=np.int32)
        flat = column.flatten()
        at = int(np.argmin(_valid(flat))) if flat.null_count else None
        if at is not None:
            row = int(np.searchsorted(ends, at, side="right"))
            self._refuse_at("media_url", row, "has a null among its URLs", "leave it out of the list")
        if not len(flat):
            return pa.nulls(len(column), _TEXT)
        at = self._not_utf8(flat)
        if at is not None:
            row = int(np.searchsorted(ends, at, side="right"))
            self._refuse_at("media_url", row, "is not UTF-8", "percent-encode its bytes")
        clean = pc.replace_substring(flat.cast(_TEXT), ",", "%2C")
        offsets = pa.array(np.concatenate((np.zeros(1, np.int32), ends)))
        joined = pc.binary_join(pa.ListArray.from_arrays(offsets, clean), ",")
        return pc.if_else(pa.array(lengths > 0), joined, pa.nulls(len(column), _TEXT))

    def _times(self, name: str, column: pa.Array) -> pa.Array:
        if column.type == _INSTANT and not column.null_count:
            self._bound(name, np.frombuffer(column.buffers()[1], np.int64, len(column), 8 * column.offset))
            return column
        if pa.types.is_timestamp(column.type):
            us, naive = self._microseconds(name, column), column.type.tz is None
            local = np.full(len(us), naive)
        else:
            us, local = self._parsed(name, self._text(name, column))
        null = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else np.zeros(len(us), np.bool_)
        self._bound(name, us, ~null)
        local = local & ~null
        if local.any():
            us = us.copy()
            us[local] = from_local(us[local], self.context.timezone)
            self._bound(name, us, ~null)
        elif column.type == _INSTANT:
            return column
        return pa.array(us, pa.int64(), mask=null).view(_INSTANT)

    def _microseconds(self, name: str, column: pa.Array) -> NDArray[np.int64]:
        ticks: NDArray[np.int64] = column.cast(pa.int64()).fill_null(0).to_numpy()
        if column.type.unit == "ns":
            return ticks // 1000
        factor = _UNIT[column.type.unit]
        far = (ticks < MIN_US // factor - 1) | (ticks > MAX_US // factor + 1)
        if far.any():
            self._too_far(name, far)
        return ticks * factor

    def _parsed(self, name: str, text: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Microseconds, in UTC or local, and which are local."""
        try:
            stamps, offsets, local = parsed(text)
        except pa.ArrowInvalid:
            failing = first_failing(text, parsed)
            at = 0 if failing is None else failing[0]
            self._refuse_at(name, at, "is not a time", "write ISO 8601, such as 2026-06-11T06:50:43.861185Z")
        return stamps.cast(pa.int64()).fill_null(0).to_numpy() - offsets, np.broadcast_to(local, len(text))

    def _bound(self, name: str, us: NDArray[np.int64], valid: NDArray[np.bool_] | None = None) -> None:
        if len(us) and us.min() >= MIN_US and us.max() <= MAX_US:
            return
        far = (us < MIN_US) | (us > MAX_US)
        if valid is not None:
            far &= valid
        if far.any():
            self._too_far(name, far)

    def _too_far(self, name: str, far: NDArray[np.bool_]) -> NoReturn:
        self.refuse(name, pa.array(far), "is out of bounds", "times lie between 0001-01-02 and 9999-12-30")

    def refuse(self, name: str, wrong: pa.Array, problem: str, advice: str) -> NoReturn:
        """Raise RowError for the first wrong row."""
        self._refuse_at(name, pc.index(pc.fill_null(wrong, False), True).as_py(), problem, advice)

    def _refuse_at(self, name: str, at: int, problem: str, advice: str) -> NoReturn:
        """Raise RowError for a row of this batch."""
        value = _shown(self.batch.column(name), at)
        raise RowError(
            problem if value is None or len(repr(value)) > 200 else f"{value!r} {problem}",
            column=name,
            value=value,
            conversation_id=_name(_shown(self.batch.column("conversation_id"), at)),
            message_id=_name(_shown(self.batch.column("message_id"), at)),
            row=int(self.numbers[at]),
            advice=advice,
        )


def _shown(column: pa.Array, at: int) -> Any:
    """A value for an error message; one that Python cannot hold, as the number or bytes it is."""
    try:
        return column[at].as_py()
    except UnicodeDecodeError:
        value = column[at]
        if isinstance(value, pa.DictionaryScalar):
            value = column.dictionary[value.index.as_py()]
        return value.as_buffer().to_pybytes() if hasattr(value, "as_buffer") else None
    except (ValueError, OverflowError):
        return column[at].value


def _name(value: Any) -> str | None:
    return (
        value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else None if value is None else str(value)
    )
