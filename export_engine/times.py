"""One time zone over arrays: UTC microseconds to local and back, exact at every transition.

The rules come from the `tzinfo` given (normally a `zoneinfo.ZoneInfo`), never from the operating system's or a
dataframe library's own table, so that the same zone data give the same bytes everywhere. A zone's transitions are
found once for each year that occurs, by asking for the offset of each day and halving the days on which it changed, to
the second; after that an array costs one `searchsorted`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import numpy as np
from numpy.typing import NDArray

from export_engine.errors import OptionError

__all__ = [
    "DAY",
    "EPOCH",
    "MAX_US",
    "MIN_US",
    "SECOND",
    "from_local",
    "instant",
    "local_offsets",
    "offset_text",
    "time_zone",
    "utc_offsets",
    "zone_name",
]

#: Where all microseconds here are counted from, and how many of them make a second and a day.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
DAY = 86_400 * SECOND

#: Bounds of the times that can be written with four digits of year in every zone: 0001-01-02 to 9999-12-30.
MIN_US = (-719_162 + 1) * DAY
MAX_US = (2_932_897 - 1) * DAY - 1

#: Up to this many years, it is quicker to take all of them than to ask which occur.
_FEW_YEARS = 50
_DAY_SECONDS = DAY // SECOND


_OFFSET = re.compile(r"([+-])([01][0-9]|2[0-3])(?::?([0-5][0-9])(?::?([0-5][0-9]))?)?")


def time_zone(given: str | tzinfo, *, option: str = "timezone") -> tzinfo:
    """The time zone of a name (`Asia/Taipei`, `UTC`), of an offset (`+08:00`, `-0330`), or a `tzinfo` as it is.

    Raises OptionError, for `option`, where there is no such zone in the zone data (Python's `zoneinfo`).
    """
    if isinstance(given, tzinfo):
        return UTC if given == UTC or given == ZoneInfo("UTC") else given
    if isinstance(given, str):
        if given.upper() in ("UTC", "Z"):
            return UTC
        if offset := _OFFSET.fullmatch(given):
            hours, minutes, seconds = (int(part or 0) for part in offset.group(2, 3, 4))
            east = timedelta(hours=hours, minutes=minutes, seconds=seconds)
            return timezone(-east if offset[1] == "-" else east) if east else UTC
        try:
            return ZoneInfo(given)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
    advice = "use a name such as America/New_York, Asia/Taipei or UTC, or an offset such as +08:00"
    if near := _called_alike(str(given)):
        advice = f"did you mean {' or '.join(near)}?"
    raise OptionError(f"time zone {given!r} is unknown: {advice}", option=option)


def _called_alike(given: str) -> list[str]:
    """The zones that are called so but for case, blanks and the continent."""
    place = given.rpartition("/")[2].replace(" ", "_").casefold()
    return sorted(name for name in available_timezones() if name.casefold().rpartition("/")[2] == place)[:3]


def zone_name(zone: tzinfo) -> str:
    """The name or offset that `time_zone` gives the same zone for.

    Raises OptionError (`timezone`) for a `tzinfo` that has neither: one of the caller's own making.
    """
    if zone is UTC:
        return "UTC"
    if isinstance(zone, timezone):
        return offset_text(int(zone.utcoffset(None) / timedelta(microseconds=1)))
    if isinstance(zone, ZoneInfo) and zone.key is not None:
        return zone.key
    raise OptionError(
        f"the time zone {zone!r} has no name to store: give a name such as Asia/Taipei, or a zoneinfo.ZoneInfo",
        option="timezone",
    )


def instant(us: int) -> datetime:
    """UTC microseconds since 1970 as an aware datetime."""
    return EPOCH + timedelta(microseconds=us)


def _offset(zone: tzinfo, second: int) -> int:
    """Seconds east of UTC at `second` (UTC, since 1970)."""
    local = (EPOCH + timedelta(seconds=second)).astimezone(zone)
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


@lru_cache(maxsize=4096)
def _year(zone: tzinfo, year: int) -> tuple[tuple[int, int, int], ...]:
    """What happens in a year, its beginning first: UTC second, the offset before it and the offset from it on."""
    start = max(int((datetime(year, 1, 1, tzinfo=UTC) - EPOCH).total_seconds()), MIN_US // SECOND)
    stop = min(int((datetime(year, 12, 31, tzinfo=UTC) - EPOCH).total_seconds()) + _DAY_SECONDS, MAX_US // SECOND)
    offset = _offset(zone, start)
    events = [(start, offset, offset)]
    for day in range(start, stop, _DAY_SECONDS):
        low, high = day, min(day + _DAY_SECONDS, stop)
        after = _offset(zone, high)
        while offset != after:
            low = _bisect(zone, low, high, offset)
            events.append((low, offset, _offset(zone, low)))
            offset = events[-1][2]
    return tuple(events)


def _events(us: NDArray[np.int64], zone: tzinfo) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The events of every year that the times fall in, and of those beside it, in microseconds."""
    low, high = ((EPOCH + timedelta(microseconds=int(bound))).year for bound in (us.min(), us.max()))
    years = set(range(low, high + 1))
    if high - low > _FEW_YEARS:
        years = set((us.astype("M8[us]").astype("M8[Y]").astype(np.int64) + 1970).tolist())
    around = {year + step for year in years for step in (-1, 0, 1)} & set(range(1, 10_000))
    moments, before, after = np.array([event for year in sorted(around) for event in _year(zone, year)]).T * SECOND
    return moments, before, after


def utc_offsets(us: NDArray[np.int64], zone: tzinfo) -> NDArray[np.int64]:
    """Microseconds east of UTC for each UTC time; an array of one element where all are the same.

    Times must lie between MIN_US and MAX_US.
    """
    if zone is UTC or not len(us):
        return np.zeros(1, np.int64)
    moments, _, offsets = _events(us, zone)
    first, last = np.searchsorted(moments, [us.min(), us.max()], side="right") - 1
    if (offsets[first : last + 1] == offsets[first]).all():
        return offsets[first : first + 1]
    return offsets[np.searchsorted(moments, us, side="right") - 1]


def local_offsets(zone: tzinfo, years: range) -> tuple[tuple[int, int], ...]:
    """From which local microsecond on, and how many east of UTC, `from_local` takes naive times of some years to be.

    For engines that cannot call it. The first pair is for all that comes before the second, too.
    """
    moments, before, after = _events(np.array([f"{year}" for year in years], "M8[us]").astype(np.int64), zone)
    wall = moments + np.maximum(before, after)
    change = np.flatnonzero(np.diff(after, prepend=after[0] - 1))
    return tuple(zip(wall[change].tolist(), after[change].tolist(), strict=True))


def from_local(us: NDArray[np.int64], zone: tzinfo) -> NDArray[np.int64]:
    """UTC microseconds of naive local times, which must lie between MIN_US and MAX_US.

    A time that occurs twice is its first occurrence; one that a change skipped keeps the offset from before the
    change (PEP 495, fold=0).
    """
    if zone is UTC or not len(us):
        return us
    moments, before, after = _events(us, zone)
    wall = moments + np.maximum(before, after)
    at = np.maximum(np.searchsorted(wall, us, side="right") - 1, 0)
    return us - after[at]


def offset_text(offset: int) -> str:
    """ISO 8601 text of an offset in microseconds: `Z` for none, else `+08:00` (`+08:05:43` before standard time)."""
    if not offset:
        return "Z"
    minutes, seconds = divmod(abs(offset) // SECOND, 60)
    text = f"{'-' if offset < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"
    return f"{text}:{seconds:02d}" if seconds else text
