"""Flat tables to record batches: rows with the twelve columns and perhaps `created_at`, in any of Arrow's usual types.

What a table's columns are is decided once, from its schema, before a row is read; then each batch is cut to size and
each column brought to the type of `schema.ROW_SCHEMA`, whole columns at a time and without a copy where it has that
type already. What the values must be is said in `sources.values`; here is known where they stand.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_engine.errors import RowError, SchemaError, SourceError
from export_engine.options import Epoch
from export_engine.schema import (
    CHANNEL_ID,
    COLUMN_NAMES,
    COLUMNS,
    CREATED_AT,
    MAX_BATCH_BYTES,
    MAX_BATCH_ROWS,
    ROW_SCHEMA,
)
from export_engine.sources import Source, SourceContext
from export_engine.sources.channels import one_channel
from export_engine.sources.media import is_list
from export_engine.sources.text import DAMAGED, as_bytes, as_strings, damaged, is_text, is_uuid, unviewed, uuid_text
from export_engine.sources.values import BadValue, batch_of_columns, column, converted, impossible, row_error

__all__ = ["Numbered", "check_channel", "from_arrow", "normalised", "numbered", "rows", "wanted_columns"]

#: A batch as it was read, and the number that errors give each of its rows.
Numbered = tuple[pa.RecordBatch, Sequence[int]]

_REQUIRED = tuple(column.name for column in COLUMNS if column.required)
_VIEWS = (pa.string_view(), pa.binary_view())


def from_arrow(data: Any) -> Source:
    """Make a source of Arrow data.

    `data` is a `Table`, `RecordBatch`, `RecordBatchReader`, an iterable of record batches, or any object with
    `__arrow_c_stream__` (a polars frame, a DuckDB result).

    Columns are found by name; others are ignored and named in the report. Required are `message_id`, `conversation_id`,
    `direction`, `speaker_type` and `message_time`; a missing optional one is null.

    - Text is string, large_string, string_view, binary that is UTF-8, `arrow.json`, or a dictionary of these. Lone
      surrogates, as some encoders write them, become U+FFFD (RowError with `strict`); pairs are their character.
    - Ids, never null or empty, may also be integers, whole decimals or UUIDs (`arrow.uuid`, or 16 fixed bytes; 36
      characters, small letters); other bytes are text only without control characters. `contact_phone` may be integers
      or whole decimals.
    - Times are timestamps of any unit, with a zone or without (then in the export's), text in the forms of
      `sources.instants.FORMS`, or, with the option `epoch`, numbers; finer than microseconds is cut off.
    - `media_url` is a list with one URL an item, or text: a JSON array of strings, else already parted by commas.
    - A customer's message without `speaker_name` has the contact's name.
    - `channel_id`, of any type, is not exported, but says whose the rows are: two of different channels are a RowError.

    An iterable is pulled one batch at a time. Errors that it, or a `RecordBatchReader`, raises arrive as they are.

    Errors while reading: SchemaError, before the first batch, for a missing or doubled column or an impossible type;
    RowError for a null in a required column, an empty id, a time that is none or out of bounds, a null among URLs, and
    text that is not UTF-8. SourceError, at once or while reading, for something that holds no record batches.
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
            try:
                reader = pa.RecordBatchReader.from_stream(data)
            # A series, a type that Arrow has not, a column of several types, two of one name.
            except (pa.ArrowException, ValueError, TypeError) as error:
                raise SourceError(
                    f"rows cannot be read from {type(data).__name__}: {error}; give a table of columns that each have "
                    "a name of their own and hold one type of Arrow's"
                ) from error
            with reader:
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


def wanted_columns(names: Iterable[str], context: SourceContext, *, of_query: bool = False) -> list[str]:
    """Which of a table's columns, or those `of_query`, are read; notes what is not exported.

    Raises SchemaError for a doubled or missing one.
    """
    given = list(names)
    known = {*COLUMN_NAMES, CREATED_AT}
    wanted = [name for name in given if name in known or name == CHANNEL_ID]
    for name in wanted:
        if wanted.count(name) > 1:
            raise SchemaError(f"column {name!r} is there {wanted.count(name)} times: keep one", column=name)
    missing = tuple(name for name in _REQUIRED if name not in wanted)
    if missing:
        them = "it" if len(missing) == 1 else "them"
        advice = (
            f"say in the query what makes {them}, as in SELECT … AS {missing[0]}"
            if of_query
            else f"rename what holds {them}, or map it with --map, as `export-engine check` suggests (in Python "
            "read_mapped)"
        )
        raise SchemaError(
            f"{_said(missing)} missing; the columns are {', '.join(given) or 'none'}: {advice}; "
            f"{', '.join(_REQUIRED)} are required",
            column=missing[0],
            missing=missing,
            given=tuple(given),
        )
    context.ignored_columns += tuple(
        dict.fromkeys(name for name in given if name not in known and name not in context.ignored_columns)
    )
    return wanted


def _said(names: Sequence[str]) -> str:
    """`column 'a' is`, `columns 'a', 'b' are`."""
    quoted = ", ".join(map(repr, names))
    return f"column {quoted} is" if len(names) == 1 else f"columns {quoted} are"


def normalised(
    schema: pa.Schema, batches: Iterable[Numbered], context: SourceContext, *, of_query: bool = False
) -> Iterator[pa.RecordBatch]:
    """Bring batches of one schema to `ROW_SCHEMA`, bounded in size; checks the schema first.

    Without any column, as a table made of no dictionaries is, it is an error only where there are rows.
    """
    if not schema.names and not any(batch.num_rows for batch, _ in batches):
        return
    wanted = wanted_columns(schema.names, context, of_query=of_query)
    exported = [name for name in wanted if name != CHANNEL_ID]
    _check_types({name: schema.field(name).type for name in exported}, context.epoch)
    for whole, numbers in batches:
        batch = pa.RecordBatch.from_arrays([_sound(whole.column(name)) for name in exported], exported)
        if CHANNEL_ID in wanted:
            check_channel(_sound(whole.column(CHANNEL_ID)), batch, numbers, context)
        for low, high in _bounded(batch):
            yield rows(batch.slice(low, high - low), numbers[low:high], context)


def check_channel(channels: pa.Array, batch: pa.RecordBatch, numbers: Sequence[int], context: SourceContext) -> None:
    """Hold what a batch's rows say of their channel against the rows before. Raises RowError for another one."""

    def row(at: int) -> tuple[Any, Any, int]:
        ids = (_shown(batch.column(name), at) for name in ("conversation_id", "message_id"))
        return *ids, int(numbers[at])

    _check_layout(channels)
    one_channel(channels, row, context)


def _check_types(types: Mapping[str, pa.DataType], epoch: Epoch | None) -> None:
    """Raise SchemaError for types that cannot hold their columns."""
    needed = {name: impossible(name, type_, epoch) for name, type_ in types.items()}
    wrong = [name for name in types if needed[name] is not None]
    if wrong:
        problems = [f"column {name!r} is {types[name]}: it must be {needed[name]}" for name in wrong]
        raise SchemaError("; ".join(problems), column=wrong[0])


# --- size ----------------------------------------------------------------------------------------------------------


def _sound(column: pa.Array) -> pa.Array:
    """Check what slices of a column share, once a batch: lists, runs and dictionaries, whose values become plain text.

    Files are not checked by their readers, and a wrong offset in one would be read as text from anywhere. Text that
    is not UTF-8 is left for `rows`, which knows whose it is.
    """
    if isinstance(column, pa.RunEndEncodedArray):
        _check_layout(column)
        try:
            column = _decoded(column)
        except DAMAGED as error:
            raise damaged(column, error) from error
    if isinstance(column, pa.DictionaryArray):
        values = column.dictionary
        _check_layout(values)
        try:
            return pa.DictionaryArray.from_arrays(column.indices, _takeable(values))
        except (pa.ArrowException, IndexError) as error:
            raise damaged(column, error) from error
    if is_list(column.type):
        _check_layout(column)
    try:
        column.validate()  # its ends; what lies between is held against them where it is read
    except DAMAGED as error:
        raise damaged(column, error) from error
    return column


def _decoded(column: pa.RunEndEncodedArray) -> pa.DictionaryArray:
    """Runs as a dictionary of their values: pyarrow 26 decodes none of UUIDs, views or dictionaries."""
    rows = np.arange(column.offset, column.offset + len(column))
    which = pa.array(np.searchsorted(column.run_ends.to_numpy(), rows, side="right"))
    values = column.values
    if isinstance(values, pa.RunEndEncodedArray):
        values = _decoded(values)
    if isinstance(values, pa.DictionaryArray):
        return pa.DictionaryArray.from_arrays(values.indices.take(which), values.dictionary)
    return pa.DictionaryArray.from_arrays(which, values)


def _takeable(values: pa.Array) -> pa.Array:
    """A dictionary's values as text, numbers or large lists: nothing takes from views, or from lists of such."""
    if is_uuid(values.type):
        return uuid_text(values)
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if is_list(values.type):
        ends = np.cumsum(pc.list_value_length(values).fill_null(0), dtype=np.int64)
        offsets = pa.array(np.concatenate((np.zeros(1, np.int64), ends)))
        return pa.LargeListArray.from_arrays(offsets, _takeable(values.flatten()), mask=values.is_null())
    return unviewed(values)


def _check_layout(column: pa.Array) -> None:
    """Check all but whether text is UTF-8: the first that is not would hide what is behind it."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    try:
        if isinstance(column, pa.RunEndEncodedArray):
            _check_layout(column.values)
            column.validate()
            column = pa.RunEndEncodedArray.from_arrays(column.run_ends, pa.nulls(len(column.values)))
        elif isinstance(column, pa.DictionaryArray):
            _check_layout(column.dictionary)
            column = column.indices
        elif is_list(column.type):
            _check_layout(column.values)
            column = _of_nothing(column)
        as_bytes(column).validate(full=True)
    except DAMAGED as error:
        raise damaged(column, error) from error


def _of_nothing(lists: pa.Array) -> pa.Array:
    """Lists with nulls as their values: their own layout alone."""
    values = pa.nulls(len(lists.values))
    if isinstance(lists, pa.FixedSizeListArray):
        type_ = pa.list_(values.type, lists.type.list_size)
    else:
        kinds = {pa.ListType: pa.list_, pa.LargeListType: pa.large_list, pa.ListViewType: pa.list_view}
        type_ = kinds.get(type(lists.type), pa.large_list_view)(values.type)
    own = lists.buffers()[: {pa.FixedSizeListType: 1, pa.ListType: 2, pa.LargeListType: 2}.get(type(lists.type), 3)]
    return pa.Array.from_buffers(type_, len(lists), own, -1, lists.offset, children=[values])


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
    if isinstance(nearby, pa.ExtensionArray):
        nearby = nearby.storage
    try:
        nearby.validate(full=True)  # it was read from a file, perhaps: `rows` says what is wrong with it
        nearby = unviewed(nearby)  # nothing finds runs in views
    except DAMAGED:
        return high
    ends = pc.run_end_encode(nearby).run_ends
    return start + ends[-2].as_py() if len(ends) > 1 else high


def _size(column: pa.Array) -> int:
    """Bytes that a column will have as strings or timestamps, about."""
    if isinstance(column, pa.DictionaryArray):
        return pc.sum(_sizes(column.dictionary).take(column.indices)).as_py() or 0
    if is_list(column.type):
        return _size(column.flatten()) + 8 * len(column)
    if column.type in _VIEWS and len(column):
        # Sixteen bytes a value, the first four its length; nbytes would count all of a shared buffer.
        views = np.frombuffer(column.buffers()[1], np.int32, 4 * len(column), 16 * column.offset)
        return int(views[::4][_valid(column)].sum(dtype=np.int64))
    return int(column.nbytes)


def _sizes(values: pa.Array) -> pa.Int64Array:
    """The same of each of a dictionary's values."""
    if is_text(values.type):
        return pc.binary_length(as_strings(values)).cast(pa.int64())
    if is_list(values.type):
        sizes = np.concatenate((np.zeros(1, np.int64), np.cumsum(_sizes(values.flatten()).fill_null(0))))
        lengths = pc.list_value_length(values).fill_null(0).to_numpy()
        ends = np.cumsum(lengths)
        return pa.array(sizes[ends] - sizes[ends - lengths] + 8)
    return pa.array(np.full(len(values), 0 if pa.types.is_null(values.type) else values.type.bit_width // 8))


def _valid(column: pa.Array) -> NDArray[np.bool_]:
    valid: NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return valid


# --- columns -------------------------------------------------------------------------------------------------------


def rows(
    batch: pa.RecordBatch, numbers: Sequence[int], context: SourceContext, *, sound: bool = False
) -> pa.RecordBatch:
    """Rows as they came, few enough to convert at once, in `ROW_SCHEMA`; `numbers` are what errors call them.

    `sound` says that strings are known to be UTF-8. Raises RowError for a value that breaks a rule.
    """
    given = set(batch.schema.names)
    return batch_of_columns(
        {
            field.name: _column(field.name, batch, numbers, context, sound=sound)
            if field.name in given
            else pa.nulls(batch.num_rows, field.type)
            for field in ROW_SCHEMA
        }
    )


def _column(
    name: str, batch: pa.RecordBatch, numbers: Sequence[int], context: SourceContext, *, sound: bool
) -> pa.Array:
    given = batch.column(name)
    if isinstance(given, pa.DictionaryArray):
        given = given.dictionary.take(given.indices)

    def convert(low: int, high: int) -> pa.Array:
        return column(name, given.slice(low, high - low), context, sound=sound)

    def error(bad: BadValue) -> RowError:
        return row_error(
            bad.problem,
            column=name,
            value=_shown(batch.column(name), bad.at),
            conversation_id=_shown(batch.column("conversation_id"), bad.at),
            message_id=_shown(batch.column("message_id"), bad.at),
            row=int(numbers[bad.at]),
            advice=bad.advice,
        )

    return converted(name, len(given), convert, error, context)


def _shown(column: pa.Array, at: int) -> Any:
    """A value for an error message; one that Python cannot hold, as the number or bytes it is.

    None for one in a damaged column, which nobody may have looked at yet: reading it could end the process.
    """
    column, at = column.slice(at, 1), 0
    try:
        _check_layout(column)
    except SourceError:
        return None
    try:
        return column[at].as_py()
    except UnicodeDecodeError:
        value = column[at]
        if isinstance(value, pa.DictionaryScalar):
            value = column.dictionary[value.index.as_py()]
        return value.as_buffer().to_pybytes() if hasattr(value, "as_buffer") else None
    except (ValueError, OverflowError):
        return column[at].value
