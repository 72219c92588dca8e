"""Times as text, an array at a time, against datetime's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export_engine.times import MAX_US, MIN_US
from export_engine.timetext import created_text, dos_times, time_text
from tests.reference import dos, iso

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PATIENT = settings(deadline=None, max_examples=60)
MOMENTS = st.integers(MIN_US, MAX_US) | st.integers(-(10**13), 2 * 10**15)
SECONDS = st.sampled_from([0, 28800, -18000, 29160, -17762, 86399, -86399, 60, -1]) | st.integers(-86399, 86399)


def expected_time(us: int, seconds: int) -> str:
    return iso((EPOCH + timedelta(microseconds=us)).astimezone(timezone(timedelta(seconds=seconds))))


@given(st.lists(MOMENTS, max_size=8), SECONDS)
@example([MIN_US, MAX_US], 86399)
@example([MIN_US, MAX_US], -86399)
@PATIENT
def test_time_text_one_offset(moments: list[int], seconds: int) -> None:
    """ISO 8601 in every year of four digits, as datetime writes it, at any offset."""
    written = time_text(np.array(moments, np.int64), np.array([seconds * 1_000_000]))
    assert written.type == pa.string()
    assert written.to_pylist() == [expected_time(us, seconds) for us in moments]


@given(st.lists(st.tuples(MOMENTS, SECONDS), min_size=1, max_size=8))
@example([(0, 0), (1, 3600)])
@example([(0, 3600), (1, -3600)])
@example([(0, 3600), (1, 3601), (2, 0)])
@PATIENT
def test_time_text_offset_a_row(pairs: list[tuple[int, int]]) -> None:
    """Each row in its own offset, whatever lengths the offsets' texts have."""
    written = time_text(np.array([us for us, _ in pairs]), np.array([s * 1_000_000 for _, s in pairs]))
    written.validate(full=True)
    assert written.to_pylist() == [expected_time(us, seconds) for us, seconds in pairs]


def test_time_text_of_the_seed() -> None:
    """The time that the seed shows."""
    moment = datetime(2026, 6, 11, 6, 50, 43, 861185, tzinfo=UTC)
    us = np.array([(moment - EPOCH) // timedelta(microseconds=1)])
    assert time_text(us, np.zeros(1, np.int64)).to_pylist() == ["2026-06-11T06:50:43.861185Z"]


@given(st.lists(st.integers(MIN_US - 86_400_000_000, MAX_US + 86_400_000_000), max_size=8))
@PATIENT
def test_created_text(moments: list[int]) -> None:
    """Local microseconds as file names have them, cut to the second, from 0001-01-01 to 9999-12-31."""
    local = [datetime(1970, 1, 1) + timedelta(microseconds=us) for us in moments]  # noqa: DTZ001  # local is naive
    assert created_text(np.array(moments, np.int64)) == [f"{t.isoformat()[:10]}_{t:%H%M%S}" for t in local]


@given(st.lists(st.datetimes(), max_size=8))
@example([datetime(1979, 12, 31, 23, 59, 59, 999_999), datetime(1980, 1, 1), datetime(1980, 1, 1, 0, 0, 1)])  # noqa: DTZ001
@example([datetime(2107, 12, 31, 23, 59, 59, 999_999), datetime(2108, 1, 1), datetime(2000, 2, 29, 12, 59, 59)])  # noqa: DTZ001
@PATIENT
def test_dos_times(stamps: list[datetime]) -> None:
    """Even seconds, rounded down; clamped to 1980-01-01 00:00:00 and 2107-12-31 23:59:58."""
    us = [(stamp.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1) for stamp in stamps]
    times, dates = dos_times(np.array(us, np.int64))
    low, high = datetime(1980, 1, 1), datetime(2107, 12, 31, 23, 59, 58)  # noqa: DTZ001  # as above
    expected = [dos(min(max(stamp, low), high)) for stamp in stamps]
    assert list(zip(times.tolist(), dates.tolist(), strict=True)) == expected
