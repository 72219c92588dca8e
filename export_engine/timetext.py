"""Times of whole arrays as text: in cells, in file names, in ZIP headers.

Every function takes microseconds since 1970 and gives text or numbers that are put together from small tables, an
array at a time: several times faster than formatting a time at a time. What zone they are in, and how far that is from
UTC, is `export_engine.times`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_engine.times import DAY, SECOND, offset_text

__all__ = ["created_text", "dos_times", "time_text"]


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

    `offsets` are microseconds east of UTC, one for each time or one for all (see `times.utc_offsets`).
    """
    count = len(us)
    if not count:
        return pa.array([], pa.string())
    days, clock = _parts(us + offsets, DAY)
    seconds, fraction = _parts(clock, SECOND)
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
    days, clock = _parts(us, DAY)
    minutes, seconds = _parts(clock // SECOND, 60)
    hours, minutes = _parts(minutes, 60)
    text = np.empty(
        len(us), [("month", "u8"), ("day", "u2"), ("_", "S1"), ("hour", "u2"), ("minute", "u2"), ("second", "u2")]
    )
    (text["month"], text["day"]), text["_"] = _dates(days), b"_"
    text["hour"], text["minute"], text["second"] = _SIXTY[hours], _SIXTY[minutes], _SIXTY[seconds]
    whole: list[str] = text.view("S17").astype("U17").tolist()
    return whole


def dos_times(us: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """DOS times and dates (APPNOTE 4.4.6) of local microseconds: even seconds, within 1980 to 2107 (clamped)."""
    stamps = np.clip(us // SECOND, _DOS_FIRST, _DOS_LAST)
    days, clock = np.divmod(stamps, DAY // SECOND)
    dates = days.astype("M8[D]")
    months = dates.astype("M8[M]")
    month = months.astype(np.int64)
    day = (dates - months).astype(np.int64) + 1
    return (
        clock // 3600 << 11 | clock // 60 % 60 << 5 | clock % 60 // 2,
        (month // 12 - 10) << 9 | (month % 12 + 1) << 5 | day,
    )


_DOS_FIRST = int(np.datetime64("1980-01-01T00:00:00", "s").astype(np.int64))
_DOS_LAST = int(np.datetime64("2107-12-31T23:59:58", "s").astype(np.int64))
