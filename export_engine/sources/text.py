"""Text as it came, as Python's or in any of Arrow's types that hold bytes or digits, to UTF-8 strings.

Whole columns at a time; a column in which something is wrong is searched by halving, or taken value by value: good ones
never pay for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from numbers import Integral
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from export_engine.errors import SourceError
from export_engine.schema import IDS, REQUIRED, joined_pairs
from export_engine.sources import SourceContext
from export_engine.sources.refusal import BadValue

__all__ = [
    "DAMAGED",
    "NUMBERED",
    "as_bytes",
    "as_strings",
    "damaged",
    "first_failing",
    "id_text",
    "is_text",
    "is_uuid",
    "text",
    "text_of",
    "unviewed",
    "uuid_text",
]

#: Columns in which whole numbers are identifiers: they are their digits.
NUMBERED = frozenset({*IDS, "contact_phone"})

_TEXT = pa.string()
_WHOLE_NUMBERS = {int, type(None)}
_LONE = re.compile("[\ud800-\udfff]")
#: How the two string types that have offsets count them.
_OFFSETS: dict[pa.DataType, np.dtype[Any]] = {pa.string(): np.dtype(np.int32), pa.large_string(): np.dtype(np.int64)}
#: Bytes below it, taken as signed, go on with a character: 0b10xxxxxx.
_CONTINUING = -64

#: The string type of the same layout as a type of bytes.
_STRING_OF = {
    pa.binary(): pa.string(),
    pa.large_binary(): pa.large_string(),
    pa.binary_view(): pa.string_view(),
}

_LARGE_OF = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
_HEX = np.frombuffer("".join(f"{octet:02x}" for octet in range(256)).encode(), np.uint16)
#: What pyarrow raises for values that are not as they should be; the second for views that lead nowhere.
DAMAGED = (pa.ArrowInvalid, IndexError)
#: Where the 32 digits of a UUID stand among its 36 characters.
_DIGITS_AT = np.array([at for at, char in enumerate("00000000-0000-0000-0000-000000000000") if char == "0"])


def text(column: pa.Array, context: SourceContext, *, sound: bool = False) -> pa.StringArray:
    """A column of text, integers, decimals or UUIDs as strings, lone surrogates replaced and counted; nulls stay.

    `sound` says that strings are known to be UTF-8. Raises BadValue for what is not UTF-8, no whole number, with
    `strict` a lone surrogate, or longer than 2 GiB; SourceError for a damaged column.
    """
    if pa.types.is_integer(column.type):
        return column.cast(_TEXT)
    if pa.types.is_decimal(column.type):
        return _whole(column)
    if is_uuid(column.type):
        return uuid_text(column)
    return column if sound and column.type == _TEXT else _characters(as_strings(column), context)


def id_text(column: pa.Array, context: SourceContext, *, sound: bool = False) -> pa.StringArray:
    """The same of a column of ids, where bytes may be a UUID's: such are text only if they look like it."""
    binary = column.type in _STRING_OF or pa.types.is_fixed_size_binary(column.type)
    try:
        made = text(column, context, sound=sound)
    except BadValue as bad:
        if not binary or bad.problem != _NOT_UTF8:
            raise
        raise BadValue(bad.at, *_NO_TEXT) from bad.__cause__
    if binary and not is_uuid(column.type):
        _refuse_controls(made, lambda _: True)
    return made


_NOT_UTF8 = "is not UTF-8"
_NO_TEXT = (
    "is bytes that are no text",
    "give a UUID as Arrow's type, 16 fixed bytes, Python's UUID or text, others as hexadecimal digits (in SQL hex(…))",
)


def _refuse_controls(ids: pa.StringArray, was_binary: Callable[[int], bool]) -> None:
    """Raise BadValue for an id that was given as bytes, with control characters among them: UTF-8 by accident."""
    if not len(ids):
        return
    _, offsets, data = ids.buffers()
    bounds = np.frombuffer(offsets, np.int32, len(ids) + 1, 4 * ids.offset)
    octets = np.frombuffer(data or b"", np.uint8)[bounds[0] : bounds[-1]]
    if not len(octets) or octets.min() >= ord(" "):
        return
    places = np.flatnonzero(octets < ord(" ")) + bounds[0]
    for at in np.unique(np.searchsorted(bounds, places, side="right") - 1).tolist():
        if was_binary(at):
            raise BadValue(at, *_NO_TEXT)


def _characters(column: pa.Array, context: SourceContext) -> pa.StringArray:
    """Strings of any layout."""
    at = _not_utf8(column)
    if at is not None:
        return _of_bytes(column, at, context)
    column = unviewed(column)
    if column.type == _TEXT:
        return column
    try:
        return column.cast(_TEXT)
    except pa.ArrowInvalid:  # offsets beyond 2 GiB: those of a slice, or one value
        if column.nbytes > np.iinfo(np.int32).max:
            raise BadValue(0, "is longer than 2 GiB", "leave the row out") from None
        return pa.concat_arrays([column]).cast(_TEXT)


def text_of(name: str, values: Sequence[Any], context: SourceContext, known: int = 0) -> pa.StringArray:
    """A list of values as strings, as `text` or `id_text` has it; the surrogates of the first `known` are not counted.

    Text is str, or bytes that are UTF-8.
    """
    made = _text_of(name, values, context, known)
    if name in IDS:
        _refuse_controls(made, lambda at: not isinstance(values[at], str))
    return made


def _text_of(name: str, values: Sequence[Any], context: SourceContext, known: int) -> pa.StringArray:
    try:
        return pa.array(values, _TEXT)
    except (UnicodeEncodeError, pa.ArrowException):
        if name in NUMBERED and _WHOLE_NUMBERS.issuperset(map(type, values)):  # as databases have ids
            with suppress(OverflowError, pa.ArrowException):
                return pa.array(values, pa.int64()).cast(_TEXT)
        return pa.array([_one(name, v, at, context, counted=at >= known) for at, v in enumerate(values)], _TEXT)


def _one(name: str, value: Any, at: int, context: SourceContext, *, counted: bool) -> str | None:
    """One value as text."""
    if value is None or isinstance(value, str):
        return value and _mended(value, at, context, counted=counted)
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return _decoded(bytes(value), at, context, counted=counted)
        except BadValue as bad:
            if name not in IDS or bad.problem != _NOT_UTF8:
                raise
            raise BadValue(at, *_NO_TEXT) from None
    if name in NUMBERED:
        digits = _digits(value, at)
        if digits is not None:
            return digits
        if isinstance(value, UUID) and name in IDS:
            return str(value)
        advice = _FLOAT if isinstance(value, float | np.floating) else "convert it with str()"
        raise BadValue(at, "is no text and no whole number", _missing(value) or advice)
    raise BadValue(at, "is not text", _missing(value) or ("give a str" if name in REQUIRED else "give a str or None"))


def _digits(value: Any, at: int) -> str | None:
    """A whole number as its digits; None for what is no number, or a float."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        try:
            return str(int(value))
        except ValueError:
            raise BadValue(at, "has more digits than Python writes", "give it as text") from None
    if isinstance(value, Decimal) and value.is_finite() and value.adjusted() < 100:
        if value != value.to_integral_value():
            raise BadValue(at, *_NO_WHOLE)
        return str(int(value))
    return None


_FLOAT = "give text or a whole number from where it was made, for a float may have lost digits"


def _missing(value: Any) -> str | None:
    """Advice for what pandas and numpy have where nothing is: their text would be taken for a value."""
    try:
        nothing = bool(value != value)  # noqa: PLR0124  # NaN and NaT are not themselves
    except (TypeError, ValueError):  # pandas' NA does not know
        nothing = type(value).__name__ == "NAType"
    return "give None where there is none" if nothing else None


_NO_WHOLE = ("is no whole number", "give text, or whole numbers")


def _whole(column: pa.Array) -> pa.StringArray:
    """Decimals as the digits of the whole numbers that they are."""

    def cast(part: pa.Array) -> pa.Array:
        return part.cast(pa.decimal256(76, 0))

    try:
        return cast(column).cast(_TEXT)
    except pa.ArrowInvalid:
        failing = first_failing(column, cast)
        raise BadValue(0 if failing is None else failing[0], *_NO_WHOLE) from None


def _not_utf8(strings: pa.Array) -> int | None:
    """Where the first value that is not UTF-8 stands; raises SourceError for damaged data."""
    if _is_sound_utf8(strings):
        return None
    failing = first_failing(strings, lambda part: part.validate(full=True))
    if failing is None:
        return None
    if "UTF8" not in str(failing[1]):
        raise damaged(strings, failing[1]) from failing[1]
    return failing[0]


def damaged(column: pa.Array, error: Exception) -> SourceError:
    """The error for a column that cannot be read as what it says it is."""
    return SourceError(f"a column of type {column.type} is damaged ({error}): write the table again")


_BYTES_OF = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}


def as_bytes(column: pa.Array) -> pa.Array:
    """Strings as bytes; any other column as it is."""
    return column.view(_BYTES_OF[column.type]) if column.type in _BYTES_OF else column


def _of_bytes(strings: pa.Array, first: int, context: SourceContext) -> pa.StringArray:
    """Strings, from the `first` one on not all UTF-8, that may hold surrogates."""
    found: list[str | None] = strings.slice(0, first).to_pylist()
    octets = as_bytes(strings.slice(first))
    try:
        octets.validate(full=True)  # nobody has looked beyond the first
    except DAMAGED as error:
        raise damaged(strings, error) from error
    for at, value in enumerate(octets.to_pylist(), first):
        found.append(None if value is None else _decoded(value, at, context))
    return pa.array(found, _TEXT)


def _decoded(octets: bytes, at: int, context: SourceContext, *, counted: bool = True) -> str:
    """Text of bytes; surrogates may be among them, as CESU-8 and others write them."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        pass
    try:
        return _mended(octets.decode("utf-8", "surrogatepass"), at, context, counted=counted)
    except UnicodeDecodeError:
        raise BadValue(at, _NOT_UTF8, "decode it first, or for CSV say its --encoding") from None


def _mended(value: str, at: int, context: SourceContext, *, counted: bool = True) -> str:
    """The text with pairs of surrogates joined and U+FFFD for lone ones, which are counted."""
    mended, count = _LONE.subn("\ufffd", joined_pairs(value))
    if count and context.strict:
        raise BadValue(
            at, "holds a lone surrogate, which UTF-8 cannot", "mend the text, or export without strict (--strict)"
        )
    if counted:
        context.replaced_surrogates += count
    return mended


# --- types and bytes --------------------------------------------------------------------------------------------------


def is_text(type_: pa.DataType) -> bool:
    """Whether a type's values are characters: any string type, bytes (UTF-8 then; 16 fixed are a UUID), or JSON."""
    if isinstance(type_, pa.JsonType):
        type_ = type_.storage_type
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    fixed = pa.types.is_fixed_size_binary(type_) and not is_uuid(type_)
    return type_ in _STRING_OF or fixed or any(is_kind(type_) for is_kind in kinds)


def is_uuid(type_: pa.DataType) -> bool:
    """Whether a type's values are UUIDs: Arrow's own, or 16 bytes, as many writers of Parquet and IPC store them."""
    return isinstance(type_, pa.UuidType) or type_ == pa.binary(16)


def as_strings(column: pa.Array) -> pa.Array:
    """A column of text as one of the string types, without a copy where it can be; nothing is checked."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.binary())
    return column.view(_STRING_OF[column.type]) if column.type in _STRING_OF else column


def unviewed(column: pa.Array) -> pa.Array:
    """Views, whose layout was checked, as large strings or bytes; any other column as it is.

    Under a null may stand anything, which pyarrow 26 follows all the same, to where it ends the process.
    """
    if column.type not in _LARGE_OF:
        return column
    if column.null_count:
        valid, views, *data = column.buffers()
        entries = np.frombuffer(views, np.int64, 2 * (column.offset + len(column))).reshape(-1, 2).copy()
        entries[column.offset :][column.is_null().to_numpy(zero_copy_only=False)] = 0
        buffers = [valid, pa.py_buffer(entries), *data]
        column = pa.Array.from_buffers(column.type, len(column), buffers, column.null_count, column.offset)
    return column.cast(_LARGE_OF[column.type])


def uuid_text(column: pa.Array) -> pa.StringArray:
    """UUIDs as their 36 characters: lower case, with hyphens."""
    octets = (column.storage if isinstance(column, pa.ExtensionArray) else column).cast(pa.binary())
    given = octets.fill_null(bytes(16))
    _, offsets, data = given.buffers()
    first = np.frombuffer(offsets, np.int32)[given.offset] if len(given) else 0
    values = np.frombuffer(data, np.uint8)[first : first + 16 * len(given)].reshape(-1, 16)
    characters = np.full((len(given), 36), ord("-"), np.uint8)
    characters[:, _DIGITS_AT] = _HEX[values].view(np.uint8).reshape(-1, 32)
    ends = pa.py_buffer(np.arange(0, 36 * len(given) + 1, 36, dtype=np.int32))
    text = pa.StringArray.from_buffers(len(given), ends, pa.py_buffer(characters))
    if not column.null_count:
        return text
    return pa.array(text.to_numpy(zero_copy_only=False), _TEXT, mask=column.is_null().to_numpy(zero_copy_only=False))


def _is_sound_utf8(text: pa.Array) -> bool:
    """Whether a string array's offsets rise and all its bytes are UTF-8, also between values; False where not sure.

    The bytes are looked at as a whole, and then whether a value begins inside a character: several times faster than
    value by value.
    """
    if text.type not in _OFFSETS or not len(text):
        return False
    _, offsets, data = text.buffers()
    type_ = np.dtype(_OFFSETS[text.type])
    bounds = np.frombuffer(offsets, type_, len(text) + 1, type_.itemsize * text.offset)
    if data is None:
        return False
    try:
        from export_engine._native import are_utf8  # noqa: PLC0415  # optional: built where there is a compiler
    except ImportError:
        return _is_sound_by_numpy(text.type, bounds, data)
    return are_utf8(bounds.data, bounds.itemsize, data)


def _is_sound_by_numpy(type_: pa.DataType, bounds: NDArray[Any], data: pa.Buffer) -> bool:
    """The same without the package's kernel."""
    first, last = int(bounds[0]), int(bounds[-1])
    if first < 0 or last > data.size or (bounds[1:] < bounds[:-1]).any():
        return False
    octets = np.frombuffer(data, np.uint8)[first:last]
    if not len(octets) or octets.max() < 0x80:
        return True
    ends = pa.py_buffer(np.array([0, last - first], bounds.dtype))
    whole = pa.Array.from_buffers(type_, 1, [None, ends, data.slice(first, last - first)])
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid:
        return False
    starts = octets.view(np.int8)[bounds[: np.searchsorted(bounds, last)] - first]
    return bool(starts.min() >= _CONTINUING)


def first_failing(column: pa.Array, check: Callable[[pa.Array], Any]) -> tuple[int, Exception] | None:
    """The first value for which `check` raises one of `DAMAGED`, by its index, and the error; found by halving."""
    try:
        check(column)
    except DAMAGED as error:
        failure = error
    else:
        return None
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            check(column.slice(low, middle - low))
        except DAMAGED as error:
            high, failure = middle, error
        else:
            low = middle
    return low, failure
