"""Periods, keys and names of a batch: held against `zoneinfo`, a row at a time."""

from __future__ import annotations

import pickle
from bisect import bisect_right
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine import EXCEL, DateRange, ExportOptions, OptionError
from export_engine.batch.plan import BatchPlan, PeriodKind

ZONES = ["UTC", "Asia/Taipei", "America/New_York", "America/Havana", "Africa/Cairo", "Pacific/Apia", "+05:30"]
PLAN = BatchPlan(target="out", date_range=DateRange(date(2026, 4, 10), date(2026, 6, 30)))

days = st.dates(date(1950, 1, 1), date(2100, 1, 1))


def plain_period(plan: BatchPlan, moment: datetime) -> int:
    """The period of the day that the moment has on the zone's clocks."""
    local = moment.astimezone(plan.options.tzinfo).date()
    found = [n for n, p in enumerate(plan.periods()) if p.date_range.start <= local <= p.date_range.end]
    return found[0] if found else -1


def us(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_months_are_cut_by_the_range() -> None:
    """The first and the last are as much of them as the range has."""
    assert [(p.name, str(p.date_range.start), str(p.date_range.end)) for p in PLAN.periods()] == [
        ("2026-04", "2026-04-10", "2026-04-30"),
        ("2026-05", "2026-05-01", "2026-05-31"),
        ("2026-06", "2026-06-01", "2026-06-30"),
    ]
    assert [p.name for p in replace(PLAN, period="range").periods()] == ["2026-04-10_2026-06-30"]


@given(days, st.integers(0, 400), st.sampled_from(["month", "day", "range"]))
def test_periods_are_the_range_s_days_each_once(start: date, length: int, kind: Any) -> None:
    """Nothing is left out, nothing is there twice."""
    plan = replace(PLAN, date_range=DateRange(start, start + timedelta(days=length)), period=kind)
    covered = [
        period.date_range.start + timedelta(days=n)
        for period in plan.periods()
        for n in range((period.date_range.end - period.date_range.start).days + 1)
    ]
    assert covered == [start + timedelta(days=n) for n in range(length + 1)]


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.sampled_from(ZONES),
    days,
    st.integers(0, 40),
    st.sampled_from(["month", "day"]),
    st.lists(st.integers(-3 * 86400, 45 * 86400), min_size=1, max_size=20),
)
def test_times_fall_where_zoneinfo_says(zone: str, start: date, length: int, kind: Any, seconds: list[int]) -> None:
    """By the array and by the breaks alike."""
    plan = replace(
        PLAN,
        date_range=DateRange(start, start + timedelta(days=length)),
        period=kind,
        options=ExportOptions(timezone=zone),
    )
    begin = datetime(start.year, start.month, start.day, tzinfo=UTC)
    moments = [begin + timedelta(seconds=s) for s in seconds]
    times = [us(moment) for moment in moments]
    expected = [plain_period(plan, moment) for moment in moments]
    assert plan.period_of(np.array(times)).tolist() == expected
    starts, which = zip(*plan.breaks(), strict=True)
    assert [which[at - 1] if (at := bisect_right(starts, t)) else -1 for t in times] == expected


@pytest.mark.parametrize("zone", ["America/Havana", "Africa/Cairo", "America/Sao_Paulo", "Asia/Beirut"])
def test_clocks_that_change_at_midnight(zone: str) -> None:
    """Every hour of years in which a midnight was skipped or came twice."""
    options = ExportOptions(timezone=zone)
    plan = replace(PLAN, date_range=DateRange(date(2010, 1, 1), date(2013, 12, 31)), period="day", options=options)
    moments = [datetime(2009, 12, 30, tzinfo=UTC) + timedelta(minutes=30 * n) for n in range(48 * 366 * 4)]
    found = plan.period_of(np.array([us(moment) for moment in moments]))
    local = [moment.astimezone(ZoneInfo(zone)).date() for moment in moments]
    assert found.tolist() == [(d - date(2010, 1, 1)).days if 2010 <= d.year <= 2013 else -1 for d in local]


def test_ids_change_with_everything_that_makes_the_bytes() -> None:
    """Channel, period, label and every option; not with what only makes them faster, nor with the target."""
    april, may = PLAN.periods()[:2]
    keys = {PLAN.key("c", april).hash, PLAN.key("d", april).hash, PLAN.key("c", may).hash}
    keys.add(replace(PLAN, label="2026-07-01").key("c", april).hash)
    others: list[dict[str, Any]] = [
        {"timezone": "Asia/Taipei"},
        {"range_by": "created_at"},
        {"compression": "small"},
        {"dialect": EXCEL},
        {"name_budget": 100},
        {"spool_limit": 1},
        {"strict": True},
    ]
    keys |= {replace(PLAN, options=ExportOptions(**other)).key("c", april).hash for other in others}
    assert len(keys) == 4 + len(others)
    same = replace(PLAN, target="elsewhere", options=ExportOptions(threads=7, sha256=True))
    assert same.key("c", april) == PLAN.key("c", april)
    assert PLAN.key("c", april).export_id == PLAN.key("c", april).hash[:8]


def test_a_plan_pickles() -> None:
    """Another process comes to the same keys."""
    again = pickle.loads(pickle.dumps(PLAN))  # noqa: S301  # our own bytes
    assert again == PLAN
    assert again.key("c", again.periods()[0]) == PLAN.key("c", PLAN.periods()[0])


@pytest.mark.parametrize(
    ("fields", "option"),
    [
        ({"period": "week"}, "period"),
        ({"layout": "{year}"}, "layout"),
        ({"layout": "{"}, "layout"),
        ({"layout": "{}"}, "layout"),
        ({"layout": "{channel.__class__}"}, "layout"),
        ({"layout": "{period:>300}"}, "layout"),
        ({"layout": "{period!r}"}, "layout"),
        ({"layout": "../{period}"}, "layout"),
        ({"layout": "a/./b"}, "layout"),
        ({"layout": "a//b"}, "layout"),
        ({"layout": "\udcff"}, "layout"),
        ({"label": "\udcff"}, "label"),
    ],
)
def test_what_cannot_work(fields: dict[str, Any], option: str) -> None:
    """The error names the field."""
    with pytest.raises(OptionError) as caught:
        replace(PLAN, **fields)
    assert caught.value.option == option


@pytest.mark.parametrize("layout", ["", "/", "{period}", "/a/{channel}/", "{{a}}/{channel_id}", "..{period}"])
def test_layouts_inside_the_target(layout: str) -> None:
    """Slashes around them mean nothing; none at all is the target itself."""
    assert replace(PLAN, layout=layout).layout == layout


@pytest.mark.parametrize("period", ["month", "day"])
def test_an_open_range_is_not_listed(period: PeriodKind) -> None:
    """Up to the year 9999 there are three million days: who has no lake to look at must say an end."""
    with pytest.raises(OptionError, match=f"has too many {period}s to list"):
        BatchPlan(target="x", date_range=DateRange(date(2026, 4, 1)), period=period).periods()
    assert len(BatchPlan(target="x", date_range=DateRange(date(2026, 4, 1)), period="range").periods()) == 1
