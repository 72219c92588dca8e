"""Times as they came, in any form that a source may hold them, to UTC microseconds.

Three kinds are times: timestamps and datetimes, text in the forms of `FORMS`, and, where the option `epoch` says what
they count, numbers since 1970. Whatever is finer than a microsecond is cut off, never rounded, so that no message moves
into another day; before 1970 too, where cutting goes back in time. A leap second (23:59:60) is the last microsecond
before it. Times without an offset are in the export's zone; one that occurs twice there is its first occurrence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, tzinfo
from decimal import ROUND_FLOOR, Context, Decimal
from itertools import compress
from numbers import Number
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_engine.options import Epoch
from export_engine.schema import CREATED_AT, ROW_SCHEMA
from export_engine.sources.refusal import BadValue, within
from export_engine.sources.text import first_failing
from export_engine.times import DAY, EPOCH, MAX_US, MIN_US, SECOND, from_local

__all__ = ["FORMS", "instants", "instants_of"]

#: The forms of a time as text. ISO 8601 in its extended form, to the hour or finer, with what databases and languages
#: make of it: a blank for the `T`, a comma for the point, any number of digits behind it, small letters, a blank before
#: the offset, an offset with or without colon or minutes, and `UTC` or `GMT` for `Z`.
FORMS = "2026-06-11T06:50:43.861185Z, 2026-06-11 06:50:43+08:00 or 2026-06-11 06:50:43 UTC"

_TEXTS = {str, type(None)}
_INSTANT = ROW_SCHEMA.field(CREATED_AT).type
_NAIVE_EPOCH = EPOCH.replace(tzinfo=None)
#: Microseconds in a unit; nanoseconds are cut down to them.
_UNIT = {"s": SECOND, "ms": 1_000, "us": 1}
#: A unit's digits behind the point that are whole microseconds.
_DIGITS = {"s": 6, "ms": 3, "us": 0, "ns": 0}

_ISO = (
    r"^(?:(?P<minute>\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d)(?::(?P<second>[0-5]\d|60)(?:[.,](?P<fraction>\d+))?)?"
    r"|(?P<hour>\d{4}-\d\d-\d\d[Tt ]\d\d))"
    r"(?: ?(?P<zone>(?i:Z|UTC|GMT)|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d(?::?[0-5]\d)?)?))?$"
)
_NUMBER = r"^(?P<sign>[+-]?)(?P<whole>\d+)(?:\.(?P<fraction>\d*))?(?P<power>[eE][+-]?\d{1,9})?$"
#: Length of a date alone, which is no time.
_DATE = len("2026-06-11")
#: Decimal digits that any time has before the point, in any unit, and some more.
_LONGEST = 25

_WRITE = f"write {FORMS}"
_COUNT = "say what it counts since 1970 with the option epoch (--epoch): s, ms, us or ns"
#: Bits of any number that is a time, and some more. Python writes no integer of more than 4,300 digits.
_MOST_BITS = 128
_BOUNDS = "times lie between 0001-01-02 and 9999-12-30"
_OTHER = f"{_BOUNDS}; another of s, ms, us and ns may be what it counts since 1970 (the option epoch, --epoch)"
#: Text that has a day in it, as people write it.
_DAY = r"\s*\d{1,4}[./-]\d{1,2}[./-]\d{1,4}\b"
_READ = "or read another form by --map, such as message_time=strptime(COLUMN, '%d.%m.%Y %H:%M:%S')"


def instants(
    column: pa.Array, zone: tzinfo, epoch: Epoch | None = None, naive: Callable[[int], object] | None = None
) -> pa.TimestampArray:
    """The times of a column of timestamps, strings or numbers; nulls stay. `naive` is told how many have no offset.

    Raises BadValue for what is no time, for a number without `epoch`, and outside `times.MIN_US` to `MAX_US`.
    """
    if column.type == _INSTANT and not column.null_count:
        _bound(np.frombuffer(column.buffers()[1], np.int64, len(column), 8 * column.offset))
        return column
    if pa.types.is_timestamp(column.type):
        ticks = column.cast(pa.int64()).fill_null(0).to_numpy()
        unit = column.type.unit  # the zone's name, which may be anything in a damaged file, is not asked for
        us, local = _scaled(ticks, unit), np.array([column.type == pa.timestamp(unit)])
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        us, local = _of_numbers(column, epoch), np.zeros(1, np.bool_)
    else:
        us, local = _of_text(column, epoch)
    null = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else np.zeros(1, np.bool_)
    return _placed(
        us, np.broadcast_to(local & ~null, len(us)), null if column.null_count else None, zone, naive, _advice(epoch)
    )


def instants_of(
    values: Sequence[Any],
    zone: tzinfo,
    epoch: Epoch | None = None,
    blanks: Sequence[int] = (),
    naive: Callable[[int], object] | None = None,
) -> pa.TimestampArray:
    """The times of datetimes, text or numbers; null for None and NaT, and at the `blanks` whatever stands there.

    `naive` is told how many have no offset.

    Raises BadValue as `instants` does.
    """
    null = np.zeros(len(values), np.bool_)
    null[list(blanks)] = True
    try:
        us, local = _since(values, EPOCH), np.zeros(len(values), np.bool_)
    except (TypeError, ValueError):  # so some are naive, or no datetimes
        if not blanks and _TEXTS.issuperset(map(type, values)):
            with suppress(UnicodeEncodeError):
                return instants(pa.array(values, pa.string()), zone, epoch, naive)
        us, local = _of_any(values, null, epoch)
    return _placed(us, local & ~null, null if null.any() else None, zone, naive, _advice(epoch))


def _placed(
    us: NDArray[np.int64],
    local: NDArray[np.bool_],
    null: NDArray[np.bool_] | None,
    zone: tzinfo,
    naive: Callable[[int], object] | None,
    advice: str,
) -> pa.TimestampArray:
    """The column, with local times brought from their zone and all held against the bounds."""
    _bound(us, null, advice)
    if local.any():
        us = us.copy()
        us[local] = from_local(us[local], zone)
        _bound(us, null, advice)
        if naive is not None:
            naive(int(np.count_nonzero(local)))
    return pa.array(us, pa.int64(), mask=null).view(_INSTANT)


def _advice(epoch: Epoch | None) -> str:
    return _OTHER if epoch else _BOUNDS


def _bound(us: NDArray[np.int64], null: NDArray[np.bool_] | None = None, advice: str = _BOUNDS) -> None:
    if len(us) and (us.min() < MIN_US or us.max() > MAX_US):
        far = (us < MIN_US) | (us > MAX_US)
        _refuse_far(far if null is None else far & ~null, advice)


def _refuse_far(far: NDArray[np.bool_], advice: str) -> None:
    if far.any():
        raise BadValue(int(far.argmax()), "is out of bounds", advice)


# --- numbers -------------------------------------------------------------------------------------------------------


def _scaled(ticks: NDArray[np.int64], unit: str, advice: str = _BOUNDS) -> NDArray[np.int64]:
    """Microseconds of a count of units."""
    if unit == "ns":
        return ticks // 1000
    factor = _UNIT[unit]
    if len(ticks) and (ticks.min() < MIN_US // factor - 1 or ticks.max() > MAX_US // factor + 1):
        _refuse_far((ticks < MIN_US // factor - 1) | (ticks > MAX_US // factor + 1), advice)
    return ticks * factor


def _of_numbers(column: pa.Array, epoch: Epoch | None) -> NDArray[np.int64]:
    """Microseconds of a column of numbers; whatever, where it is null."""
    if epoch is None:
        if column.null_count == len(column):
            return np.zeros(len(column), np.int64)
        raise BadValue(pc.index(column.is_valid(), True).as_py(), "is a number, not a time", _COUNT)
    column = column.fill_null(0)
    if pa.types.is_floating(column.type):
        endless = pc.invert(pc.is_finite(column))
        if endless.true_count:
            raise BadValue(pc.index(endless, True).as_py(), "is not a time", _WRITE)
    try:
        ticks = column.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:  # with a fraction, or too large
        return _of_digits(column.cast(pa.string()), epoch)
    return _scaled(ticks, epoch, _OTHER)


def _of_digits(text: pa.Array, epoch: Epoch) -> NDArray[np.int64]:
    """Microseconds of numbers as text, all of which match `_NUMBER`, exactly as far as they go."""
    parts = pc.extract_regex(text, _NUMBER)
    sign, whole, fraction, power = (pc.struct_field(parts, part) for part in ("sign", "whole", "fraction", "power"))
    if pc.any(pc.not_equal(power, "")).as_py() or pc.max(pc.binary_length(whole)).as_py() > len("999999999999999999"):
        return np.array([_exactly(at, number, epoch) for at, number in enumerate(text.to_pylist())], np.int64)
    ticks, digits = whole.cast(pa.int64()).to_numpy(), _DIGITS[epoch]
    us = _scaled(ticks, epoch, _OTHER)
    rest = ticks % 1000 > 0 if epoch == "ns" else np.zeros(1, np.bool_)
    rest = rest | pc.match_substring_regex(fraction, rf"^\d{{{digits}}}\d*[1-9]").to_numpy(zero_copy_only=False)
    if digits:
        us += _padded(fraction, digits)
    below = pc.equal(sign, "-").to_numpy(zero_copy_only=False)
    return np.where(below, -us - rest, us)


def _padded(fraction: pa.Array, digits: int) -> NDArray[np.int64]:
    """The first digits behind the point, as a number."""
    cut = pc.utf8_rpad(pc.utf8_slice_codeunits(fraction, 0, digits), digits, "0")
    number: NDArray[np.int64] = cut.cast(pa.int64()).to_numpy()
    return number


def _exactly(at: int, number: str, epoch: Epoch) -> int:
    """Microseconds of one number in any notation."""
    value = Decimal(number)
    if value.adjusted() > _LONGEST:
        raise BadValue(at, "is out of bounds", _OTHER)
    shift = _DIGITS[epoch] if epoch != "ns" else -3
    # More digits than any number has: nothing is rounded but by cutting.
    exact = Context(prec=max(_LONGEST, len(number)) + 10, Emin=-(10**9) - 100)
    us = int(exact.scaleb(value, shift).to_integral_value(ROUND_FLOOR, context=exact))
    if not MIN_US <= us <= MAX_US:
        raise BadValue(at, "is out of bounds", _OTHER)
    return us


# --- text ----------------------------------------------------------------------------------------------------------


def _of_text(text: pa.Array, epoch: Epoch | None) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Microseconds, in UTC or local, and which are local."""
    if epoch is None:
        return _of_iso(text)
    counted = pc.match_substring_regex(text, _NUMBER).fill_null(False).to_numpy(zero_copy_only=False)
    if not counted.any():
        return _of_iso(text)
    us, local = np.zeros(len(text), np.int64), np.zeros(len(text), np.bool_)
    us[counted] = within(counted, lambda numbers: _of_digits(numbers, epoch), text)
    us[~counted], local[~counted] = within(~counted, _of_iso, text)
    return us, local


def _of_iso(text: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    try:
        return _parsed(text)
    except pa.ArrowInvalid:
        failing = first_failing(text, _parsed)
        at = 0 if failing is None else failing[0]
        if re.match(_NUMBER, text[at].as_py(), re.ASCII):
            raise BadValue(at, "is a number, not a time", _COUNT) from None
        advice = f"{_WRITE}, {_READ}" if re.match(_DAY, text[at].as_py(), re.ASCII) else _WRITE
        raise BadValue(at, "is not a time", advice) from None


def _parsed(text: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Microseconds, in UTC or local, and which are local; ArrowInvalid for what is no time.

    The casts do nearly every column ten times faster than the expression: all with an offset, or all without. The
    expression does the rest, and what is finer than a microsecond. It accepts all that they do, so that it does not
    matter what else is in a batch; only a date alone is to the cast a time.
    """
    shortest = pc.min(pc.binary_length(text)).as_py()
    if shortest is None:
        return np.zeros(len(text), np.int64), np.zeros(len(text), np.bool_)
    if shortest > _DATE:
        for kind, local in ((pa.timestamp("us", tz="UTC"), False), (pa.timestamp("us"), True)):
            try:
                us = text.cast(kind).cast(pa.int64()).fill_null(0).to_numpy()
            except pa.ArrowInvalid:
                continue
            return us, np.full(len(us), local)
    parts = pc.extract_regex(text, _ISO)
    if parts.null_count > text.null_count:
        raise pa.ArrowInvalid("not a time")
    written = [pc.struct_field(parts, part).fill_null("") for part in ("minute", "hour", "second", "fraction", "zone")]
    minute, hour, second, fraction, zone = written
    # To the hour it is the beginning of that; where nothing is written, any time.
    minute = pc.if_else(pc.equal(minute, ""), pc.binary_join_element_wise(hour, ":00", ""), minute)
    minute = pc.if_else(pc.equal(minute, ":00"), "1970-01-01T00:00", minute)
    minute = pc.utf8_replace_slice(minute, _DATE, _DATE + 1, "T")
    zones = zone.dictionary_encode()
    names, which = zones.dictionary.to_pylist(), zones.indices.to_numpy()
    local = np.array([not name for name in names])[which]
    us = minute.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    us = us - np.array([_offset(name) for name in names], np.int64)[which]
    seconds = pc.if_else(pc.equal(second, ""), "0", second).cast(pa.int64()).to_numpy()
    us = us + seconds * SECOND + _padded(fraction, 6)
    if (leap := seconds == 60).any():
        before = us - us % SECOND - 1
        # They end a day of UTC, or one as written.
        ends = (before % DAY == DAY - 1) | pc.ends_with(minute, "T23:59").to_numpy(zero_copy_only=False)
        if (leap & ~ends).any():
            raise pa.ArrowInvalid("not a leap second")
        us = np.where(leap, before, us)
    return us, local


def _offset(zone: str) -> int:
    """Microseconds east of UTC; nothing, `Z`, `UTC` and `GMT` are none."""
    digits = re.sub(r"\D", "", zone)
    if not digits:
        return 0
    hours, minutes, seconds = (int(digits[at : at + 2] or 0) for at in (0, 2, 4))
    return (-1 if zone[0] == "-" else 1) * ((hours * 60 + minutes) * 60 + seconds) * SECOND


# --- Python values -------------------------------------------------------------------------------------------------


def _since(times: Sequence[Any], epoch: datetime) -> NDArray[np.int64]:
    """Subtract `epoch`: a quarter of the time that Arrow or numpy takes for the datetimes themselves."""
    since: NDArray[np.int64] = pa.array([time - epoch for time in times], pa.duration("us")).to_numpy().view(np.int64)
    return since


def _of_any(
    values: Sequence[Any], null: NDArray[np.bool_], epoch: Epoch | None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Microseconds, in UTC or local, and which are local, of values of any kind; notes which are null."""
    us, local = np.zeros(len(values), np.int64), np.zeros(len(values), np.bool_)
    kinds = [_kind(value) for value in values]
    for at in (at for at, kind in enumerate(kinds) if kind == "bad" and not null[at]):
        raise BadValue(at, "is not a time", f"give a datetime, or {_WRITE}")
    null |= [kind == "null" for kind in kinds]
    for kind, origin in (("aware", EPOCH), ("naive", _NAIVE_EPOCH)):
        which = [found == kind for found in kinds]
        us[which] = _since(list(compress(values, which)), origin)
        local[which] = kind == "naive"
    texts = np.array([kind == "text" for kind in kinds], np.bool_)
    if texts.any():
        text = [_spelt(value) if kind == "text" else None for value, kind in zip(values, kinds, strict=True)]
        us[texts], local[texts] = within(texts, lambda some: _of_text(some, epoch), pa.array(text, pa.string()))
    return us, local


def _kind(value: Any) -> str:
    if isinstance(value, datetime):
        if value != value:  # noqa: PLR0124  # NaT, alone, is not itself
            return "null"
        return "naive" if value.utcoffset() is None else "aware"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "null"
    if isinstance(value, bool | complex) or (isinstance(value, int) and value.bit_length() > _MOST_BITS):
        return "bad"
    return "text" if isinstance(value, str | Number) else "bad"


def _spelt(value: Any) -> str:
    """The text of a time, or a number's digits."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else str(value)
