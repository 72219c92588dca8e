"""A look before the export: its answer is the export's, for any rows, by any road."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export_engine import (
    DateRange,
    check_source,
    export_conversations,
)
from tests.checking import CHANNEL, JUNE, ROW, export_succeeds, exported, roads, rows

FAULTS: dict[str, st.SearchStrategy[Any]] = {
    "message_id": st.sampled_from([None, "", "m1", "x"]),
    "conversation_id": st.sampled_from([None, "", "c0", "c1", "c2"]),
    "direction": st.sampled_from([None, "", "in", "outbound"]),
    "speaker_type": st.sampled_from([None, "human", "agent", "bot"]),
    "message_time": st.sampled_from(
        [None, "", "2026-06-11", "11.06.2026 10:00", "2026-06-11 06:50", "2026-05-31T23:59:59Z", "9999-12-31T23:00:00Z"]
    ),
    "message_text": st.sampled_from(["=1", "x" * 40_000, "\ud800"]),
    "sender_account": st.sampled_from([None, "", "ann@example.com"]),
    "created_at": st.sampled_from([None, "2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z", "yesterday"]),
}
#: A row that moves to another conversation may tear one, which is no bad value: as likely as all of those.
FAULT = st.sampled_from(sorted(FAULTS)).flatmap(lambda name: st.tuples(st.just(name), FAULTS[name])) | st.tuples(
    st.just("conversation_id"), st.sampled_from(["c0", "c1", "c2"])
)


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows that are right but for a few faults, some of them no faults, and perhaps a column that is not there."""
    made = rows(*({"conversation_id": f"c{number // 3}"} for number in range(draw(st.integers(0, 12)))))
    for at, (name, value) in draw(st.lists(st.tuples(st.integers(0, 11), FAULT), max_size=4)):
        if at < len(made):
            made[at][name] = value
    for name in draw(st.lists(st.sampled_from([*ROW, "message_text"]), max_size=1 if draw(st.booleans()) else 0)):
        for row in made:
            row.pop(name, None)
    return made


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    tables(),
    st.sampled_from(["message_time", "created_at"]),
    st.booleans(),
    st.sampled_from([JUNE, DateRange(date.min)]),
)
def test_it_says_yes_exactly_when_the_export_succeeds(
    tmp_path_factory: pytest.TempPathFactory, made: list[dict[str, Any]], range_by: Any, strict: bool, days: DateRange
) -> None:
    """For any rows, by any road: and then its counts are the report's."""
    for road in roads(made, tmp_path_factory.mktemp("rows")):
        found = check_source(road(), date_range=days, range_by=range_by, strict=strict)
        report = exported(road(), days, range_by=range_by, strict=strict)
        assert found.ok is (report is not None), found
        json.dumps(found.as_json())
        if report is not None:
            assert (found.messages_in_range, found.conversations_in_range) == (report.rows, report.conversations)
            assert found.replaced_surrogates == report.replaced_surrogates


@pytest.mark.slow
@pytest.mark.parametrize("spool_limit", [0, 8 << 20])
@pytest.mark.parametrize("wrong", [0, 29_000])
def test_a_long_conversation_that_turns_out_to_be_older(spool_limit: int, wrong: int) -> None:
    """A value that breaks a rule counts where the export has stumbled over it before it knew that it leaves it out."""
    count, start = 30_000, datetime(2026, 6, 1, tzinfo=UTC)
    times = [start + timedelta(minutes=at) for at in range(count)]
    times[14_319] = datetime(2026, 5, 20, tzinfo=UTC)
    table = pa.table(
        {
            "message_id": [str(at) for at in range(count)],
            "conversation_id": ["long"] * (count - 1) + ["last"],
            "direction": ["in" if at == wrong else "inbound" for at in range(count)],
            "speaker_type": ["customer"] * count,
            "message_time": times,
        }
    )
    found = check_source(table, date_range=JUNE, range_by="created_at", spool_limit=spool_limit)
    assert found.ok is export_succeeds(table, range_by="created_at", spool_limit=spool_limit) is (spool_limit > 0)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from(["message_time", "created_at"]), st.sampled_from([0, 500, 8 << 20]))
def test_long_conversations(data: st.DataObject, range_by: Any, spool_limit: int) -> None:
    """Those too long for a group, whose creation a late message may change, too."""
    count, start = 30_000, datetime(2026, 6, 1, tzinfo=UTC)
    times = [start + timedelta(minutes=at) for at in range(count)]
    for at in data.draw(st.lists(st.integers(0, count - 1), max_size=2)):
        times[at] = data.draw(st.sampled_from([datetime(2026, 5, 20, tzinfo=UTC), datetime(2026, 8, 1, tzinfo=UTC)]))
    directions = ["inbound"] * count
    if data.draw(st.booleans()):
        directions[data.draw(st.integers(0, count - 1))] = "in"
    table = pa.table(
        {
            "message_id": [str(at) for at in range(count)],
            "conversation_id": ["long"] * (count - 1) + ["last"],
            "direction": directions,
            "speaker_type": ["customer"] * count,
            "message_time": times,
        }
    )
    found = check_source(table, date_range=JUNE, range_by=range_by, spool_limit=spool_limit)
    assert found.ok is export_succeeds(table, range_by=range_by, spool_limit=spool_limit), found
    if found.ok:
        export = export_conversations(
            table, channel=CHANNEL, date_range=JUNE, range_by=range_by, spool_limit=spool_limit
        )
        b"".join(export)
        assert found.messages_in_range == export.report.rows
        assert found.conversations_in_range == export.report.conversations
