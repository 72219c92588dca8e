"""A range without a start or an end is that of the lake's messages."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from export_engine import DateRange, OptionError
from export_engine.batch import BatchPlan
from tests.batch.lakes import TIME, archives, expected, exported, generated, with_column


@pytest.mark.slow
@pytest.mark.parametrize(
    ("period", "zone", "start", "end"),
    [
        ("month", "Asia/Taipei", date.min, date.max),
        ("day", "America/New_York", date(2026, 4, 1), date.max),
        ("range", "UTC", date.min, date(2026, 5, 2)),
    ],
)
def test_an_open_range_is_the_lake_s(period: Any, zone: str, start: date, end: date, plan: BatchPlan) -> None:
    """It begins and ends on the days of the first and the last message, by the plan's clocks."""
    table = generated(300, 2)
    options = replace(plan.options, timezone=zone)
    days = [time.astimezone(options.tzinfo).date() for time in table["message_time"].to_pylist()]
    closed = DateRange(max(start, min(days)), min(end, max(days)))
    opened = replace(plan, date_range=DateRange(start, end), period=period, options=options)
    results = exported(table, opened)
    assert {result.status for result in results} == {"done"}
    assert archives(plan.target) == expected(table, replace(opened, date_range=closed))
    assert {result.status for result in exported(table, opened)} == {"kept"}


@pytest.mark.slow
def test_an_open_range_by_creation(plan: BatchPlan) -> None:
    """It is that of the conversations' creation."""
    table = generated(300, 2)
    opened = replace(
        plan, date_range=DateRange(date.min), period="day", options=replace(plan.options, range_by="created_at")
    )
    results = exported(table, opened)
    assert sum(result.rows for result in results) == 300


def test_an_open_range_of_nothing(plan: BatchPlan) -> None:
    """Is no error: there is nothing to export."""
    assert exported(generated(10, 1).slice(0, 0), replace(plan, date_range=DateRange(date.min))) == []


def test_a_time_of_another_age(plan: BatchPlan) -> None:
    """Makes an open range too long to list: it is told with its days."""
    table = generated(10, 1)
    old = pa.array([datetime(1, 5, 1, tzinfo=UTC), *table["message_time"].to_pylist()[1:]], TIME)
    with pytest.raises(
        OptionError, match=r"the range from 0001-05-01 to 2026-.* has too many months to list"
    ) as caught:
        exported(with_column(table, "message_time", old), replace(plan, date_range=DateRange(date.min)))
    assert caught.value.option == "end"
