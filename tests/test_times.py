"""Time zones over arrays against zoneinfo and datetime, one value at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.times import MAX_US, MIN_US, from_local, local_offsets, offset_text, utc_offsets

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LOCAL_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # local times are naive
MICROSECOND = timedelta(microseconds=1)
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR

# Half-hour saving, Ramadan, changes at midnight, skipped days (one of them 31 December), changes on 1 January.
NAMES = [
    "America/New_York",
    "Asia/Taipei",
    "Europe/London",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Africa/Accra",
]
FIXED = [timezone(timedelta(seconds=s)) for s in (0, 8 * 3600, -3 * 3600 - 1800, 20_700, 1, -1, 86_399, -86_399)]
ZONES: list[tzinfo] = [UTC, ZoneInfo("UTC"), *map(ZoneInfo, NAMES), *FIXED]
PATIENT = settings(deadline=None, max_examples=50)
FEW = settings(deadline=None, max_examples=25)


def offset_at(us: int, zone: tzinfo) -> int:
    """Microseconds east of UTC at a UTC time, by datetime."""
    offset = (EPOCH + timedelta(microseconds=us)).astimezone(zone).utcoffset()
    assert offset is not None
    return offset // MICROSECOND


def utc_of(local: int, zone: tzinfo) -> int:
    """The UTC time of a naive local one, fold=0 (PEP 495), by datetime."""
    moment = (LOCAL_EPOCH + timedelta(microseconds=local)).replace(tzinfo=zone, fold=0)
    return (moment - EPOCH) // MICROSECOND


@cache
def transitions(name: str) -> list[int]:
    """Every change of offset between 1900 and 2100, UTC microseconds, found an hour at a time where a week differs."""
    zone = ZoneInfo(name)
    start, stop = ((datetime(year, 1, 1, tzinfo=UTC) - EPOCH) // MICROSECOND for year in (1900, 2101))
    found = []
    for week in range(start, stop, 7 * DAY):
        edges = [(at, offset_at(at, zone)) for at in (week, week + 3 * DAY, week + 5 * DAY, week + 7 * DAY)]
        if len({offset for _, offset in edges}) == 1:
            continue
        for hour in range(week, week + 7 * DAY, HOUR):
            low, high, before = hour, hour + HOUR, offset_at(hour, zone)
            if offset_at(high, zone) == before:
                continue
            while high - low > SECOND:
                middle = (low + high) // 2 // SECOND * SECOND
                low, high = (middle, high) if offset_at(middle, zone) == before else (low, middle)
            found.append(high)
    return found


def around(name: str) -> list[int]:
    """Times at every transition and just beside it."""
    steps = (-DAY, -HOUR, -SECOND, -1, 0, 1, SECOND, HOUR // 2, HOUR, DAY)
    return [moment + step for moment in transitions(name) for step in steps]


def offsets_of(us: list[int], zone: tzinfo) -> list[int]:
    """What the code under test says, one an item."""
    got = utc_offsets(np.array(us, np.int64), zone)
    assert len(got) in {1, len(us)}
    return [int(offset) for offset in np.broadcast_to(got, len(us))]


# --- to local ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_transition(name: str) -> None:
    """Exact to the microsecond at every change of offset from 1900 to 2100, in one array and one by one."""
    zone, us = ZoneInfo(name), around(name)
    expected = [offset_at(at, zone) for at in us]
    assert len(transitions(name)) >= 2
    assert offsets_of(us, zone) == expected
    assert [offsets_of([at], zone)[0] for at in us] == expected


@given(st.sampled_from(ZONES), st.integers(1850, 2150), st.data())
@PATIENT
def test_offsets_of_any_times(zone: tzinfo, year: int, data: st.DataObject) -> None:
    """Any times in any order; one offset alone where all are the same."""
    start = (datetime(year, 1, 1, tzinfo=UTC) - EPOCH) // MICROSECOND
    us = data.draw(st.lists(st.integers(start - 400 * DAY, start + 400 * DAY), min_size=1, max_size=12))
    expected = [offset_at(at, zone) for at in us]
    assert offsets_of(us, zone) == expected
    if min(us) == max(us):
        assert len(utc_offsets(np.array(us), zone)) == 1


@pytest.mark.slow
@given(st.sampled_from(NAMES), st.data())
@FEW
def test_stray_years(name: str, data: st.DataObject) -> None:
    """Times centuries apart, some of them beside a change, are as exact as those of one year."""
    zone, times = ZoneInfo(name), st.integers(MIN_US + DAY, MAX_US - DAY) | st.sampled_from(around(name))
    us = data.draw(st.lists(times, min_size=1, max_size=6))
    assert offsets_of(us, zone) == [offset_at(at, zone) for at in us]
    assert from_local(np.array(us), zone).tolist() == [utc_of(at, zone) for at in us]


@pytest.mark.parametrize("name", NAMES)
def test_spans_of_local_times_are_those_of_from_local(name: str) -> None:
    """The last offset whose beginning is reached is the one, also before the first."""
    zone, years = ZoneInfo(name), range(2005, 2030)
    begins, offsets = np.array(local_offsets(zone, years)).T
    at = [us for us in around(name) if 2004 < (EPOCH + timedelta(microseconds=us)).year < 2030]
    local = np.array([us + step for us in at for step in (0, -9 * HOUR, 9 * HOUR)])
    which = np.maximum(np.searchsorted(begins, local, side="right") - 1, 0)
    assert (local - offsets[which]).tolist() == [utc_of(us, zone) for us in local.tolist()]
    assert (offsets[1:] != offsets[:-1]).all()


def test_spans_where_clocks_never_change() -> None:
    """Are one."""
    assert [offset for _, offset in local_offsets(FIXED[1], range(2000, 2010))] == [8 * HOUR]
    assert [offset for _, offset in local_offsets(UTC, range(2000, 2010))] == [0]


@pytest.mark.slow
def test_one_offset_within_a_season() -> None:
    """Times between two changes share one element, from the season's first microsecond to its last."""
    zone = ZoneInfo("America/New_York")
    spring, autumn = (at for at in transitions("America/New_York") if EPOCH.year + at // (365.2425 * DAY) == 2026)
    assert utc_offsets(np.array([autumn - 1, spring]), zone).tolist() == [-4 * HOUR]
    assert len(utc_offsets(np.array([autumn, spring]), zone)) == 2
    assert len(utc_offsets(np.array([autumn - 1, spring - 1]), zone)) == 2


@pytest.mark.parametrize("zone", ZONES, ids=str)
@pytest.mark.parametrize("us", [MIN_US, MIN_US + 1, MIN_US + DAY, MIN_US + 400 * DAY, MAX_US - DAY, MAX_US])
def test_extremes(us: int, zone: tzinfo) -> None:
    """The first and the last times allowed have an offset in every zone."""
    assert offsets_of([us], zone) == [offset_at(us, zone)]


def test_bounds_in_words() -> None:
    """The bounds are 0001-01-02 and the last microsecond of 9999-12-30."""
    assert EPOCH + timedelta(microseconds=MIN_US) == datetime(1, 1, 2, tzinfo=UTC)
    assert EPOCH + timedelta(microseconds=MAX_US) == datetime(9999, 12, 30, 23, 59, 59, 999_999, tzinfo=UTC)


# --- from local ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_gap_and_fold(name: str) -> None:
    """Local times in and around every gap and fold are what PEP 495 says of fold=0."""
    zone = ZoneInfo(name)
    local = sorted({at + offset_at(moment + side, zone) + step
                    for moment in transitions(name) for side in (-1, 0) for at in (moment,)
                    for step in (-HOUR, -HOUR // 2, -SECOND, -1, 0, 1, SECOND, HOUR // 2, HOUR)})  # fmt: skip
    expected = [utc_of(at, zone) for at in local]
    assert from_local(np.array(local), zone).tolist() == expected
    assert [int(from_local(np.array([at]), zone)[0]) for at in local] == expected


@given(st.sampled_from(ZONES), st.integers(1850, 2150), st.data())
@PATIENT
def test_from_any_local(zone: tzinfo, year: int, data: st.DataObject) -> None:
    """Any local times in any order, as datetime has them."""
    start = (datetime(year, 1, 1, tzinfo=UTC) - EPOCH) // MICROSECOND
    local = data.draw(st.lists(st.integers(start - 400 * DAY, start + 400 * DAY), max_size=12))
    assert from_local(np.array(local, np.int64), zone).tolist() == [utc_of(at, zone) for at in local]


@pytest.mark.parametrize(
    ("zone", "local", "utc"),
    [
        ("America/New_York", "2026-03-08T02:30:00", "2026-03-08T07:30:00"),  # skipped: the offset before, -5
        ("America/New_York", "2026-11-01T01:30:00", "2026-11-01T05:30:00"),  # twice: the first, -4
        ("Australia/Lord_Howe", "2026-10-04T02:15:00", "2026-10-03T15:45:00"),  # half an hour skipped, +10:30
        ("Australia/Lord_Howe", "2026-04-05T01:45:00", "2026-04-04T14:45:00"),  # half an hour twice, +11
        ("Pacific/Apia", "2011-12-30T12:00:00", "2011-12-30T22:00:00"),  # a day that was not, -10
        ("America/Sao_Paulo", "2018-11-04T00:30:00", "2018-11-04T03:30:00"),  # midnight skipped, -3
    ],
)
def test_gaps_and_folds_by_hand(zone: str, local: str, utc: str) -> None:
    """Written out by hand from the zones' laws."""
    got = from_local(np.array([local], "M8[us]").astype(np.int64), ZoneInfo(zone))
    assert got.astype("M8[us]").astype("M8[s]").astype(str).tolist() == [utc]


@pytest.mark.parametrize("zone", ZONES, ids=str)
@pytest.mark.parametrize("local", [MIN_US, MIN_US + DAY, MAX_US - DAY, MAX_US])
def test_local_extremes(local: int, zone: tzinfo) -> None:
    """The first and the last times allowed as local times."""
    assert from_local(np.array([local]), zone).tolist() == [utc_of(local, zone)]


@pytest.mark.parametrize("zone", ZONES[:4], ids=str)
def test_no_times(zone: tzinfo) -> None:
    """No times have no trouble."""
    assert from_local(np.array([], np.int64), zone).tolist() == []
    assert utc_offsets(np.array([], np.int64), zone).tolist() == [0]


# --- text ----------------------------------------------------------------------------------------------------------


@given(st.integers(-86_399, 86_399))
@PATIENT
def test_offset_text(seconds: int) -> None:
    """Offsets as datetime writes them, but `Z` for none."""
    written = EPOCH.astimezone(timezone(timedelta(seconds=seconds))).isoformat()[19:]
    assert offset_text(seconds * SECOND) == ("Z" if written == "+00:00" else written)
