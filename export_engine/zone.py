"""One time zone over arrays: UTC microseconds to local and back, exact at every transition.

The rules come from the `tzinfo` given (normally a `zoneinfo.ZoneInfo`), never from the operating system's or a
dataframe library's own table, so that the same zone data give the same bytes everywhere. A zone's transitions are
found once a year by asking for the offset a day and halving the days on which it changed, to the second; after
that an array costs one `searchsorted`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_US", "MIN_US", "from_local", "offset_text", "utc_offsets"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000
_DAY = 86_400

#: Bounds of the times that can be written with four digits of year in every zone: 0001-01-02 to 9999-12-30.
MIN_US = (-719_162 + 1) * _DAY * _SECOND
MAX_US = (2_932_897 - 1) * _DAY * _SECOND - 1


def _offset(zone: tzinfo, second: int) -> int:
    """Seconds east of UTC at `second` (UTC, since 1970)."""
    local = (_EPOCH + timedelta(seconds=second)).astimezone(zone)
    return int((local.utcoffset() or timedelta()).total_seconds())


def _bisect(zone: tzinfo, low: int, high: int, before: int) -> int:
    """First second in (low, high] whose offset is not `before`."""
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == before:
            low = middle
        else:
            high = middle
    return high


@lru_cache(maxsize=64)
def _transitions(zone: tzinfo, first_year: int, last_year: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """UTC seconds at which the offset changes, and the offsets around them (one more), over whole years."""
    start = int((datetime(first_year, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds())
    stop = int((datetime(last_year, 12, 31, tzinfo=UTC) - _EPOCH).total_seconds())
    moments: list[int] = []
    offsets = [_offset(zone, start)]
    for day in range(start, stop, _DAY):
        low = day
        after = _offset(zone, day + _DAY)
        while offsets[-1] != after:
            low = _bisect(zone, low, day + _DAY, offsets[-1])
            moments.append(low)
            offsets.append(_offset(zone, low))
    return np.array(moments, np.int64), np.array(offsets, np.int64)


def _table(zone: tzinfo, low: int, high: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Transitions, in UTC microseconds, for times between `low` and `high` (microseconds) and a day around them."""
    years = [(_EPOCH + timedelta(microseconds=bound)).year for bound in (low, high)]
    moments, offsets = _transitions(zone, max(years[0] - 1, 1), min(years[1] + 1, 9999))
    return moments * _SECOND, offsets * _SECOND


def utc_offsets(us: NDArray[np.int64], zone: tzinfo) -> NDArray[np.int64]:
    """Microseconds east of UTC for each UTC time; an array of one element where all are the same.

    Times must lie between MIN_US and MAX_US.
    """
    if zone is UTC or not len(us):
        return np.zeros(1, np.int64)
    low, high = int(us.min()), int(us.max())
    moments, offsets = _table(zone, low, high)
    first, last = np.searchsorted(moments, [low, high], side="right")
    if first == last:
        return offsets[first : first + 1]
    return offsets[np.searchsorted(moments, us, side="right")]


def from_local(us: NDArray[np.int64], zone: tzinfo) -> NDArray[np.int64]:
    """UTC microseconds of naive local times.

    A time that occurs twice is its first occurrence; one that a change skipped keeps the offset from before the
    change (PEP 495, fold=0).
    """
    if zone is UTC or not len(us):
        return us
    moments, offsets = _table(zone, int(us.min()), int(us.max()))
    wall = moments + np.maximum(offsets[:-1], offsets[1:])
    return us - offsets[np.searchsorted(wall, us, side="right")]


def offset_text(offset: int) -> str:
    """ISO 8601 text of an offset in microseconds: `Z` for none, else `+08:00` (`+08:05:43` before standard time)."""
    if not offset:
        return "Z"
    minutes, seconds = divmod(abs(offset) // _SECOND, 60)
    text = f"{'-' if offset < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"
    return f"{text}:{seconds:02d}" if seconds else text
