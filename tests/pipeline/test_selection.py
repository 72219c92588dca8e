"""What is exported, and whether it is valid: arrays against plain Python, a row at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.errors import RowError
from export_engine.model import DateRange
from export_engine.pipeline.grouping import Group
from export_engine.pipeline.selection import (
    Selected,
    check,
    check_creation,
    contradictions,
    earlier,
    given_creation,
    select,
    selection,
)
from export_engine.schema import CREATED_AT, ROW_SCHEMA

JUNE = DateRange(date(2026, 6, 1), date(2026, 6, 30))
ZONES = [UTC, ZoneInfo("Asia/Taipei"), ZoneInfo("America/New_York")]
PATIENT = settings(deadline=None, max_examples=150)

TIMES = st.datetimes(datetime(2026, 5, 30), datetime(2026, 7, 2)).map(lambda time: time.replace(tzinfo=UTC))  # noqa: DTZ001
#: A conversation: what its rows say of its creation, and its messages' times; none is a row without a message.
TALKS = st.lists(st.tuples(st.none() | TIMES, st.lists(TIMES, min_size=1, max_size=6)), min_size=1, max_size=6)


def group_of(talks: Any, **flags: bool) -> Group:
    rows: list[dict[str, Any]] = []
    bounds = [0]
    for number, (created, times) in enumerate(talks):
        for at, time in enumerate(times or [None]):
            rows.append(
                {
                    "message_id": None if time is None else f"m{at}",
                    "conversation_id": f"c{number}",
                    "contact_name": f"name {number}",
                    "direction": None if time is None else "inbound",
                    "speaker_type": None if time is None else "customer",
                    "message_time": time,
                    CREATED_AT: created,
                }
            )
        bounds.append(len(rows))
    loose = pa.schema([field.with_nullable(True) for field in ROW_SCHEMA])
    return Group(pa.RecordBatch.from_pylist(rows, loose), np.array(bounds), 100, **flags)


def us(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def within(time: datetime, zone: Any) -> bool:
    return JUNE.start <= time.astimezone(zone).date() <= JUNE.end


@pytest.mark.slow
@PATIENT
@given(TALKS, st.sampled_from(ZONES), st.booleans())
def test_whole_conversations(talks: Any, zone: Any, by_creation: bool) -> None:
    """By its messages' days, or whole by its creation: given by the rows, else the earliest message's."""
    got = select(group_of(talks), selection(JUNE, zone, by_creation=by_creation))
    expected = []
    for number, (given_, times) in enumerate(talks):
        created = given_ or min(times)
        chosen = [time for time in times if within(created if by_creation else time, zone)]
        if chosen:
            expected.append((f"c{number}", created, chosen))
    assert got.ids == [id_ for id_, _, _ in expected]
    assert got.names == [f"name {id_[1:]}" for id_ in got.ids]
    assert np.diff(got.bounds).tolist() == [len(chosen) for _, _, chosen in expected]
    assert got.us.tolist() == [us(time) for _, _, chosen in expected for time in chosen]
    assert int(got.wanted.sum()) == len(got.us) == got.batch.num_rows
    local = [created.astimezone(zone).replace(tzinfo=UTC) for _, created, _ in expected]
    assert got.created.tolist() == list(map(us, local))
    assert got.first.tolist() == [us(min(chosen)) for _, _, chosen in expected]
    assert got.last.tolist() == [us(max(chosen)) for _, _, chosen in expected]


@pytest.mark.parametrize("by_creation", [False, True])
def test_a_conversation_without_messages(by_creation: bool) -> None:
    """It is exported, with no rows, when it was created in the range."""
    inside, outside = datetime(2026, 6, 5, tzinfo=UTC), datetime(2026, 7, 5, tzinfo=UTC)
    group = group_of([(inside, [inside]), (inside, []), (outside, []), (inside, [inside])])
    got = select(group, selection(JUNE, UTC, by_creation=by_creation))
    assert got.ids == ["c0", "c1", "c3"]
    assert np.diff(got.bounds).tolist() == [1, 0, 1]


@pytest.mark.slow
@PATIENT
@given(st.lists(TIMES, min_size=1, max_size=20), st.booleans())
def test_what_a_run_of_rows_adds(times: list[datetime], by_creation: bool) -> None:
    """Each message that is earlier than all before it, and how many exported rows stand before it."""
    group = group_of([(None, times)], ends=False)
    got = select(group, selection(JUNE, UTC, by_creation=by_creation))
    assert got.ids == ["c0"]
    wanted = [by_creation or within(time, UTC) for time in times]
    assert got.wanted.tolist() == wanted
    found = earlier(group, got)
    rows = [at for at, time in enumerate(times) if not at or time < min(times[:at])]
    assert found.rows.tolist() == rows
    assert found.us.tolist() == [us(times[row]) for row in rows]
    assert found.wanted.tolist() == [wanted[row] for row in rows]
    assert found.after.tolist() == [sum(wanted[:row]) for row in rows]


@pytest.mark.parametrize("begins", [False, True])
def test_by_creation_a_run_of_rows_is_taken_unless_its_first_row_tells(begins: bool) -> None:
    """Whoever puts the runs together decides."""
    inside, outside = datetime(2026, 6, 5, tzinfo=UTC), datetime(2026, 7, 5, tzinfo=UTC)
    which = selection(JUNE, UTC, by_creation=True)
    for created, taken in ((inside, 2), (outside, 0 if begins else 2), (None, 2)):
        group = group_of([(created, [outside, inside])], begins=begins, ends=False)
        assert len(select(group, which).us) == taken
        assert given_creation(group) == (None if created is None else us(created))


def test_membership_by_creation() -> None:
    """The same question for one time: is a conversation created then exported, and can an earlier one be."""
    which = selection(JUNE, ZoneInfo("Asia/Taipei"), by_creation=True)
    start = us(datetime(2026, 5, 31, 16, tzinfo=UTC))
    assert [which.created_within(start + step) for step in (-1, 0)] == [False, True]
    assert [which.is_past(start + step) for step in (-1, 0)] == [True, False]
    end = us(datetime(2026, 6, 30, 16, tzinfo=UTC))
    assert [which.created_within(end + step) for step in (-1, 0)] == [True, False]
    assert not which.is_past(end)
    assert which.local(0) == 8 * 3600 * 1_000_000


# --- rules ---------------------------------------------------------------------------------------------------------

GOOD = {
    "message_id": "m",
    "conversation_id": "c",
    "direction": "inbound",
    "speaker_type": "customer",
    "message_time": datetime(2026, 6, 5, tzinfo=UTC),
}
WRONG = [
    ({"direction": "sideways"}, "direction", "'sideways' is not one of inbound, outbound; map your own"),
    ({"direction": "Inbound"}, "direction", "'Inbound' is not one of"),
    ({"direction": ""}, "direction", "'' is not one of"),
    ({"speaker_type": "human"}, "speaker_type", "'human' is not one of bot, agent, customer; map your own"),
    ({"sender_account": "a@b"}, "sender_account", "'a@b' is set on a message that no human agent sent; set it to null"),
    ({"speaker_type": "bot", "sender_account": "a"}, "sender_account", "'a' is set on a message that no human agent"),
]


def checked(*rows: dict[str, Any]) -> Selected:
    group = Group(pa.RecordBatch.from_pylist(list(rows), ROW_SCHEMA), np.array([0, len(rows)]), 100)
    got = select(group, selection(JUNE, UTC, by_creation=False))
    check(group, got)
    return got


@pytest.mark.parametrize(("change", "column", "said"), WRONG)
def test_a_wrong_value(change: dict[str, str], column: str, said: str) -> None:
    """The error says what, where, and how to mend it; a row out of the range is not asked."""
    out: dict[str, Any] = GOOD | change | {"message_time": datetime(2026, 9, 5, tzinfo=UTC)}
    with pytest.raises(
        RowError, match=f"conversation 'c', message 'bad', row 104, column '{column}': {said}"
    ) as caught:
        checked(GOOD, out, GOOD, GOOD | change | {"message_id": "bad"}, GOOD | change)
    assert (caught.value.row, caught.value.value) == (104, change[column])
    assert checked(GOOD, out).us.shape == (1,)


def test_accounts_of_agents_and_empty_ones() -> None:
    """An agent's account is right, and an empty one is none."""
    agent = GOOD | {"speaker_type": "agent", "direction": "outbound", "sender_account": "a@b"}
    assert len(checked(agent, GOOD | {"sender_account": ""}, GOOD).us) == 3


def test_a_row_out_of_the_selection_has_its_number() -> None:
    """Row numbers are the source's, whatever was left out before."""
    group = group_of([(None, [datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 2, tzinfo=UTC)])])
    columns = {name: group.batch.column(name) for name in group.batch.schema.names}
    columns["direction"] = pa.array(["x", "y"])
    wrong = replace(group, batch=pa.RecordBatch.from_pydict(columns, group.batch.schema))
    with pytest.raises(RowError) as caught:
        check(wrong, select(wrong, selection(JUNE, UTC, by_creation=False)))
    assert (caught.value.row, caught.value.value) == (102, "y")


# --- one creation --------------------------------------------------------------------------------------------------

CREATIONS = st.none() | st.sampled_from([datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)])


@PATIENT
@given(st.lists(st.lists(CREATIONS, min_size=1, max_size=5), min_size=1, max_size=5), st.booleans())
def test_rows_of_a_conversation_say_one_creation(said: list[list[datetime | None]], exported: bool) -> None:
    """One that differs, or is null beside one that is not (1970 is no null), is found, whether rows are exported."""
    time = datetime(2026, 6 if exported else 1, 5, tzinfo=UTC)
    group = group_of([(None, [time] * len(rows)) for rows in said])
    flat = [created for rows in said for created in rows]
    column = pa.array(flat, ROW_SCHEMA.field(CREATED_AT).type)
    at = ROW_SCHEMA.get_field_index(CREATED_AT)
    group = replace(group, batch=group.batch.set_column(at, group.batch.schema.field(at), column))
    starts = set(group.bounds.tolist())
    expected = [row for row in range(1, len(flat)) if row not in starts and flat[row] != flat[row - 1]]
    assert contradictions(group).tolist() == expected
    if not expected:
        check_creation(group)
        return
    row = expected[0]
    with pytest.raises(RowError) as caught:
        check_creation(group)
    shown = [value.isoformat() if value else "null" for value in (flat[row], flat[row - 1])]
    assert f"'created_at': is {shown[0]}, and {shown[1]} in row {100 + row}, " in str(caught.value)
    assert (caught.value.value, caught.value.row) == (flat[row], 101 + row)
