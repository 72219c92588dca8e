"""A flat table's times, as numbers and as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.sources.tables import from_arrow
from tests.sources.tables import TAIPEI, cells, refusal, table

zones = st.sampled_from([UTC, TAIPEI, ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe")])
moments = st.datetimes(datetime(1680, 1, 1), datetime(2260, 1, 1))  # noqa: DTZ001  # naive on purpose


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(moments, min_size=1, max_size=5), st.sampled_from(["s", "ms", "us", "ns"]), zones, st.booleans())
def test_timestamps_of_any_unit_and_zone(given: list[datetime], unit: str, zone: ZoneInfo, aware: bool) -> None:
    """A timestamp with a zone is that instant; one without is local time, as Python's datetime has it."""
    step = {"s": 1_000_000, "ms": 1000}.get(unit, 1)
    given = [moment - timedelta(microseconds=moment.microsecond % step) for moment in given]
    array = pa.array(given, pa.timestamp("us")).cast(pa.timestamp(unit)).view(pa.int64())
    array = array.view(pa.timestamp(unit, tz=str(zone) if aware else None))
    expected = [moment.replace(tzinfo=UTC if aware else zone).astimezone(UTC) for moment in given]
    assert cells(from_arrow(table(len(given), message_time=array)), "message_time", timezone=zone) == expected


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            moments,
            st.sampled_from("T "),
            st.sampled_from(["seconds", "milliseconds", "microseconds", "minutes"]),
            st.none() | st.integers(-86_399, 86_399) | st.integers(-1439, 1439).map(lambda minutes: 60 * minutes),
            st.booleans(),
        ),
        min_size=1,
        max_size=4,
    ),
    zones,
)
def test_iso_text_as_datetime_reads_it(given: list[tuple[Any, ...]], zone: ZoneInfo) -> None:
    """Times as text, mixed within a column, are what datetime.fromisoformat says they are."""
    texts = []
    for moment, separator, timespec, offset, compact in given:
        aware = moment if offset is None else moment.replace(tzinfo=timezone(timedelta(seconds=offset)))
        text = aware.isoformat(separator, timespec)
        head, tail = text[:16], text[16:]
        texts.append(head + (tail if not compact or offset is None else _without_colons(tail)))
    read = [datetime.fromisoformat(text) for text in texts]
    expected = [(moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC) for moment in read]
    assert cells(from_arrow(table(len(texts), message_time=texts)), "message_time", timezone=zone) == expected


def _without_colons(tail: str) -> str:
    """The same seconds and offset, the offset's colons left out."""
    at = max(tail.rfind("+"), tail.rfind("-"))
    return tail[:at] + tail[at:].replace(":", "")


@pytest.mark.parametrize("beside", ["2026-06-11T06:50:43Z", "2026-06-11T06:50:43", "2026-06-11T06:50:43.123456789Z"])
@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "2026-06-11", "2026-06-11Z", "2026-02-30T00:00:00Z", "2026-06-11T24:00:00Z", "2026-06-11T06:60Z"),
        *("2026-06-11T06:50:60Z", "2026-06-11T06:50:43+24:00", "2026-06-11T06:50:43+08:60", "2026-06-11T06:50:43.Z"),
        *(
            "2026-06-11T06:50:437Z",
            "2026-06-11T06:50:43.12-",
            "2026-06-11T06:50:43Z ",
            "1781160643",
            "20260611T065043Z",
        ),
    ],
)
def test_text_that_is_no_time(text: str, beside: str) -> None:
    """It is refused whatever else is in the column, by row and value."""
    error = refusal(from_arrow(table(3, message_time=[beside, text, beside])))
    assert (error.column, error.value, error.row, error.message_id) == ("message_time", text, 2, "m2")


def test_finer_than_microseconds_is_cut_off() -> None:
    """Nanoseconds go down to the microsecond, before 1970 too, in numbers and in text."""
    for column in (pa.array([-1, 1999], pa.timestamp("ns", "UTC")), ["1969-12-31T23:59:59.9999999Z"] * 2):
        first = cells(from_arrow(table(message_time=column)), "message_time")[0]
        assert first == datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("zone", [None, "UTC"])
@pytest.mark.parametrize("tick", [2**62, -(2**62), 2**63 - 1, -(2**63) + 1])
def test_times_out_of_bounds(unit: str, zone: str | None, tick: int) -> None:
    """No unit overflows: what four digits of year cannot hold is refused."""
    error = refusal(from_arrow(table(message_time=pa.array([0, tick], pa.timestamp(unit, zone)))), timezone=TAIPEI)
    assert (error.column, error.row) == ("message_time", 2)
