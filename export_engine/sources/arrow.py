"""Flat tables to record batches: rows with the twelve columns and perhaps `created_at`, in any of Arrow's usual types.

What a table's columns are is decided once, from its schema, before a row is read; then each batch is cut to size and
each column brought to the type of `schema.ROW_SCHEMA`, whole columns at a time and without a copy where it has that
type already. Rules on single values (null, UTF-8, times) are checked here, as they depend on where a row came from.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_engine.errors import RowError, SchemaError
from export_engine.schema import COLUMN_NAMES, COLUMNS, CREATED_AT, ROW_SCHEMA
from export_engine.sources import MAX_BYTES, MAX_ROWS, Intake, Source
from export_engine.zone import MAX_US, MIN_US, from_local

__all__ = ["from_arrow", "normalised", "wanted_columns"]

_IDS = ("message_id", "conversation_id")
_TIMES = ("message_time", CREATED_AT)
_REQUIRED = tuple(column.name for column in COLUMNS if column.required)
_INSTANT = ROW_SCHEMA.field(CREATED_AT).type
_TEXT = pa.string()

# Microseconds in a timestamp's unit; ns is handled apart.
_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}

# ISO 8601 date and time; digits beyond microseconds are matched and cut off.
_ISO = r"^(?P<local>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,6})?)\d*(?P<zone>[Zz]|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)?$"


def from_arrow(data: Any) -> Source:
    """Make a source of Arrow data.

    `data` is a `Table`, `RecordBatch`, `RecordBatchReader`, an iterable of record batches, or any object with
    `__arrow_c_stream__` (a polars frame, a DuckDB result).

    Columns are found by name; others are ignored and named in the report. Required are `message_id`, `conversation_id`,
    `direction`, `speaker_type` and `message_time`; a missing optional one is null. Text may be string, large_string,
    string_view or a dictionary of these; the two ids may be integers. Times are timestamps of any unit, with a zone or
    without (then in the export's), or ISO 8601 text; finer than microseconds is cut off. `media_url` is text, already
    comma-separated, or a list with one URL an item.

    Errors while reading: SchemaError, before the first batch, for a missing or doubled column or an impossible type;
    RowError for a null in a required column, a time that is none or out of bounds, a null in a list of URLs, and text
    that is not UTF-8.
    """
    return _Arrow(data)


@dataclass(frozen=True, slots=True)
class _Arrow:
    data: Any

    def batches(self, intake: Intake) -> Generator[pa.RecordBatch, None, None]:
        data = self.data
        if isinstance(data, pa.RecordBatch):
            data = pa.Table.from_batches([data])
        if isinstance(data, pa.Table):
            yield from normalised(data.schema, data.to_batches(max_chunksize=MAX_ROWS), intake)
        elif hasattr(data, "__arrow_c_stream__"):
            with pa.RecordBatchReader.from_stream(data) as reader:
                yield from normalised(reader.schema, reader, intake)
        else:
            yield from _from_iterable(data, intake)


def _from_iterable(data: Iterable[pa.RecordBatch], intake: Intake) -> Iterator[pa.RecordBatch]:
    items = iter(data)
    try:
        first = next(items, None)
        if first is None:
            return

        def alike() -> Iterator[pa.RecordBatch]:
            yield first
            for batch in items:
                if not batch.schema.equals(first.schema):
                    raise SchemaError(
                        f"a record batch has another schema than the first: {batch.schema.names}; give all batches "
                        "the same columns and types",
                        column=next((n for n in first.schema.names if n not in batch.schema.names), "schema"),
                    )
                yield batch

        yield from normalised(first.schema, alike(), intake)
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()


def wanted_columns(names: Iterable[str], intake: Intake) -> list[str]:
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
    intake.ignored_columns += tuple(
        dict.fromkeys(name for name in given if name not in known and name not in intake.ignored_columns)
    )
    return wanted


def normalised(schema: pa.Schema, batches: Iterable[pa.RecordBatch], intake: Intake) -> Iterator[pa.RecordBatch]:
    """Bring batches of one schema to `ROW_SCHEMA`, bounded in size; checks the schema first."""
    wanted = wanted_columns(schema.names, intake)
    for name in wanted:
        _check_type(name, schema.field(name).type)
    read = 0
    for batch in batches:
        for piece in _bounded(batch.select(wanted)):
            yield _Rows(piece, read, intake).converted()
            read += piece.num_rows


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
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    views = (pa.types.is_list_view, pa.types.is_large_list_view)
    return any(is_kind(type_) for is_kind in kinds + views)


# --- size ----------------------------------------------------------------------------------------------------------


def _bounded(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Slices of at most `MAX_ROWS` rows and about `MAX_BYTES` bytes of text, or one row."""
    for start in range(0, batch.num_rows, MAX_ROWS):
        yield from _halved(batch.slice(start, MAX_ROWS))


def _halved(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if batch.num_rows > 1 and sum(map(_size, batch.columns)) > MAX_BYTES:
        middle = batch.num_rows // 2
        yield from _halved(batch.slice(0, middle))
        yield from _halved(batch.slice(middle))
    else:
        yield batch


def _size(column: pa.Array) -> int:
    """Bytes that a column will have as strings or timestamps."""
    if _is_list(column.type):
        return _size(column.flatten()) + 8 * len(column)
    if pa.types.is_dictionary(column.type):
        return pc.sum(_lengths(column.dictionary).take(column.indices)).as_py() or 0
    return (pc.sum(_lengths(column)).as_py() or 0) if _is_text(column.type) else 8 * len(column)


def _lengths(column: pa.Array) -> pa.Array:
    if pa.types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    return pc.binary_length(column).cast(pa.int64())


# --- columns -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rows:
    """Some rows as they came; `before` is how many came before them."""

    batch: pa.RecordBatch
    before: int
    intake: Intake

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
        if pa.types.is_dictionary(column.type):
            column = column.dictionary.take(column.indices)
            if name in _REQUIRED and column.null_count:
                self.refuse(name, column.is_null(), "is null", "every message needs one")
        text = column if column.type == _TEXT else column.cast(_TEXT)
        try:
            text.validate(full=True)
        except pa.ArrowInvalid:
            at = next(at for at in range(len(text)) if not _is_valid(text.slice(at, 1)))
            raise RowError(
                "is not UTF-8",
                column=name,
                value=text.slice(at, 1).view(pa.binary())[0].as_py(),
                row=self.before + at + 1,
                advice="decode it with its own encoding first",
            ) from None
        return text

    def _urls(self, column: pa.Array) -> pa.Array:
        # Flattened as they are: pyarrow's cast from a sliced list_view to a list loses items.
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        bounds = np.concatenate(([0], np.cumsum(lengths)))
        flat = column.flatten()
        if flat.null_count:
            wrong = np.zeros(len(column), np.bool_)
            wrong[np.searchsorted(bounds, pc.index(flat.is_null(), True).as_py(), side="right") - 1] = True
            self.refuse("media_url", pa.array(wrong), "has a null among its URLs", "leave it out of the list")
        if not len(flat):
            return pa.nulls(len(column), _TEXT)
        clean = pc.replace_substring(self._text("media_url", flat), ",", "%2C")
        joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(bounds.astype(np.int32)), clean), ",")
        return pc.if_else(pa.array(lengths > 0), joined, pa.nulls(len(column), _TEXT))

    def _times(self, name: str, column: pa.Array) -> pa.Array:
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
            us[local] = from_local(us[local], self.intake.zone)
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
        parts = pc.extract_regex(text, _ISO)
        bad = pc.and_(parts.is_null(), text.is_valid())
        try:
            stamps = pc.struct_field(parts, "local").cast(pa.timestamp("us"))
        except pa.ArrowInvalid:  # the right form, but no such day or hour
            bad = pa.array([not _is_time(parts.slice(at, 1)) for at in range(len(text))])
            bad = pc.and_(bad, text.is_valid())
        if pc.any(bad).as_py():
            self.refuse(name, bad, "is not a time", "write ISO 8601, such as 2026-06-11T06:50:43.861185Z")
        us = stamps.cast(pa.int64()).fill_null(0).to_numpy()
        zones = pc.struct_field(parts, "zone").fill_null("").dictionary_encode()
        offsets = np.array([_offset(zone) for zone in zones.dictionary.to_pylist()] or [0], np.int64)
        naive = np.array([not zone for zone in zones.dictionary.to_pylist()] or [False], np.bool_)
        which = zones.indices.to_numpy()
        return us - offsets[which], naive[which]

    def _bound(self, name: str, us: NDArray[np.int64], valid: NDArray[np.bool_]) -> None:
        far = ((us < MIN_US) | (us > MAX_US)) & valid
        if far.any():
            self._too_far(name, far)

    def _too_far(self, name: str, far: NDArray[np.bool_]) -> NoReturn:
        self.refuse(name, pa.array(far), "is out of bounds", "times lie between 0001-01-02 and 9999-12-30")

    def refuse(self, name: str, wrong: pa.Array, problem: str, advice: str) -> NoReturn:
        """Raise RowError for the first wrong row."""
        at = pc.index(pc.fill_null(wrong, False), True).as_py()
        value = _shown(self.batch.column(name), at)
        raise RowError(
            f"{value!r} {problem}" if value is not None and problem != "is null" else problem,
            column=name,
            value=value,
            conversation_id=_name(_shown(self.batch.column("conversation_id"), at)),
            message_id=_name(_shown(self.batch.column("message_id"), at)),
            row=self.before + at + 1,
            advice=advice,
        )


def _is_valid(text: pa.Array) -> bool:
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _is_time(parts: pa.Array) -> bool:
    try:
        return bool(pc.struct_field(parts, "local").cast(pa.timestamp("us")).null_count == 0)
    except pa.ArrowInvalid:
        return False


def _shown(column: pa.Array, at: int) -> Any:
    """A value for an error message; one that Python cannot hold, as the number or bytes it is."""
    try:
        return column[at].as_py()
    except (ValueError, OverflowError, UnicodeDecodeError):
        return str(column.slice(at, 1).cast(pa.int64())[0]) if pa.types.is_timestamp(column.type) else None


def _name(value: Any) -> str | None:
    return None if value is None else str(value)


def _offset(zone: str) -> int:
    """Microseconds east of UTC; nothing and `Z` are none."""
    digits = re.sub(r"\D", "", zone)
    if not digits:
        return 0
    hours, minutes, seconds = (int(digits[at : at + 2] or 0) for at in (0, 2, 4))
    return (-1 if zone[0] == "-" else 1) * ((hours * 60 + minutes) * 60 + seconds) * 1_000_000
