"""A lake through DuckDB: every archive is what a plain loop makes of the channel's rows, and no row is lost."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine import DateRange, ExportOptions, SourceError
from export_engine.batch import BatchPlan, Lake, LakeCounts, count_lake, export_lake
from tests.batch.lakes import (
    TIME,
    archives,
    everything,
    expected,
    exported,
    generated,
    renamed,
    with_column,
    write_lake,
)

ZONES = ["UTC", "Asia/Taipei", "America/New_York", "America/Havana", "+05:30"]
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


# --- what comes out ------------------------------------------------------------------------------------------------

ids = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=4)
seconds = st.integers(0, 120 * 86400)


@st.composite
def lakes(draw: st.DrawFn) -> pa.Table:
    """A few channels and conversations, some of them with the time of their creation, in some rows or in all."""
    channels = draw(st.lists(ids, min_size=1, max_size=3, unique=True))
    conversations = draw(st.lists(ids, min_size=1, max_size=4, unique=True))
    born = draw(st.lists(st.none() | seconds, min_size=12, max_size=12))
    rows = draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), seconds, st.booleans()), min_size=1, max_size=30)
    )
    said = draw(st.booleans())
    table = []
    for number, (channel, conversation, second, told) in enumerate(rows):
        c, v = channel % len(channels), conversation % len(conversations)
        created = born[4 * c + v] if told else None
        table.append(
            {
                "channel_id": channels[c],
                "channel_name": f"Channel {c}",
                "message_id": f"m{number}",
                "conversation_id": conversations[v],
                "direction": "inbound",
                "speaker_type": "customer",
                "message_time": BEGIN + timedelta(seconds=second),
                "message_text": f"text {number}",
            }
            | ({"created_at": None if created is None else BEGIN + timedelta(seconds=created)} if said else {})
        )
    schema = pa.schema([(name, TIME if name in {"message_time", "created_at"} else pa.string()) for name in table[0]])
    return pa.Table.from_pylist(table, schema)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    lakes(),
    st.sampled_from(ZONES),
    st.sampled_from(["month", "day", "range"]),
    st.sampled_from(["message_time", "created_at"]),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_every_archive_is_that_of_a_plain_loop(
    table: pa.Table, zone: str, kind: Any, by: Any, start: int, days: int
) -> None:
    """To the byte, and there are no others; what is in no period is counted."""
    first = date(2026, 3, 1) + timedelta(days=start)
    with tempfile.TemporaryDirectory() as folder:
        plan = BatchPlan(
            target=f"{folder}/out",
            date_range=DateRange(first, first + timedelta(days=days)),
            period=kind,
            options=ExportOptions(timezone=zone, range_by=by, compression="store"),
        )
        lake = Lake.of_files([write_lake(table, Path(folder) / "lake")])
        counted: list[LakeCounts] = []
        results = list(export_lake(lake, plan, on_counts=counted.append))
        assert [result.error for result in results if result.error] == []
        wanted = expected(table, plan)
        assert archives(plan.target) == wanted
        assert {result.path for result in results} == wanted.keys()
        assert sum(result.rows for result in results) + counted[0].outside == table.num_rows


@pytest.mark.slow
def test_larger_lakes(plan: BatchPlan) -> None:
    """Many conversations, over many batches."""
    table = generated(30_000, 5)
    results = exported(table, plan)
    assert {result.status for result in results} == {"done"}
    assert archives(plan.target) == expected(table, plan)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["message_time", "created_at"])
def test_a_conversation_that_was_created_twice(plan: BatchPlan, by: Any) -> None:
    """It would be in two archives that say another thing each, or in two halves: it is named. A null is no other."""
    table = generated(50, 1)
    times = [BEGIN, *[None] * (table.num_rows - 1)]
    conversations = table["conversation_id"].to_pylist()
    times[-1] = BEGIN if conversations[-1] == conversations[0] else None
    plan = replace(plan, options=replace(plan.options, range_by=by))
    said = table.append_column("created_at", pa.array(times, TIME))
    assert {result.error for result in exported(said, plan)} <= {None}
    again = next(at for at, name in enumerate(conversations) if at and name == conversations[0])
    times[again] = BEGIN + timedelta(days=40)
    differing = table.append_column("created_at", pa.array(times, TIME))
    with pytest.raises(
        SourceError, match=rf"conversation '{conversations[0]}' of channel '000' has both .* and .* as cr"
    ):
        exported(differing, plan)


@pytest.mark.slow
def test_a_name_does_not_depend_on_the_period(plan: BatchPlan) -> None:
    """A conversation that goes on for months was created with its first message, in each of its archives."""
    table = generated(3000, 1)
    exported(table, plan)
    months = replace(plan, target=f"{plan.target}-2", date_range=DateRange(date(2026, 6, 1), date(2026, 6, 30)))
    exported(table, months)
    june = {path: data for path, data in archives(plan.target).items() if path.startswith("2026-06")}
    assert archives(months.target) == june


@pytest.mark.slow
def test_rows_alike_stand_in_one_order(plan: BatchPlan) -> None:
    """Two messages of one id and time: however the files are cut, the same bytes."""
    table = with_column(generated(400, 1), "message_id", pa.array(["m"] * 400))
    table = with_column(table, "message_time", pa.array([1_780_000_000_000_000] * 400, TIME))
    found = []
    for seed in range(3):
        other = replace(plan, target=f"{plan.target}-{seed}")
        with tempfile.TemporaryDirectory() as folder:
            lake = Lake.of_files([write_lake(table, Path(folder), files=seed + 1, seed=seed)])
            assert {result.status for result in export_lake(lake, other)} == {"done"}
        found.append(archives(other.target))
    assert found[0] == found[1] == found[2]


# --- what a channel is called --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_channel_that_was_renamed(plan: BatchPlan) -> None:
    """It is called what the latest message of a period says, which is told; empty names and nulls are none."""
    table, wanted = renamed(generated(3000, 3))
    results = exported(table, plan)
    assert archives(plan.target) == expected(wanted, plan)
    said = "channel_name is 'Renamed', that of its latest message; others have 'Channel 1'"
    warnings = {(r.channel_id, r.period): r.warning for r in results}
    assert {key: said for key, said in warnings.items() if said} == {("001", "2026-05"): said}
    again = exported(table, plan)
    assert {r.status for r in again} == {"kept"}
    assert {(r.channel_id, r.period): r.warning for r in again} == warnings


def test_names_of_one_moment(plan: BatchPlan, tmp_path: Path) -> None:
    """Two messages of one time: the one whose id is behind tells, however the files are cut; many names are counted."""
    count = 40
    table = with_column(generated(count, 1), "message_time", pa.array([1_780_000_000_000_000] * count, TIME))
    ids = table["message_id"].to_pylist()
    table = with_column(table, "channel_name", pa.array([f"Name {id_}" for id_ in ids]))
    latest = f"Name {max(ids)}"
    for seed in (1, 2):
        lake = Lake.of_files([write_lake(table, tmp_path / str(seed), files=seed, seed=seed)])
        (counted,) = count_lake(lake, plan).archives
        assert counted.warning == (
            f"channel_name is '{latest}', that of its latest message; others have "
            f"{', '.join(sorted(repr(f'Name {id_}') for id_ in ids)[:3])} and {count - 4} more"
        )


@pytest.mark.slow
def test_a_file_of_channels_goes_before_names_in_rows(plan: BatchPlan, tmp_path: Path) -> None:
    """Then there is nothing to warn of, but for what it does not say."""
    table, _ = renamed(generated(3000, 3))
    phones = pa.array([12025550100 + (n % 7 == 0) for n in range(3000)])
    table = table.append_column("channel_phone", phones)
    channels = tmp_path / "channels.csv"
    channels.write_text("channel_id,channel_name,channel_phone\n001,Told,\n000,,+1\n002,,+2\n")
    results = exported(table, plan, channels=channels)
    assert {r.status for r in results} == {"done"}
    assert {str(r.path).split("/")[1][:9] for r in results} == {"Told_2026", "Channel_0", "Channel_2"}
    warned = {r.channel_id: r.warning for r in results if r.warning}
    assert [*warned] == ["001"]
    assert "channel_phone is '1202555010" in str(warned["001"])


# --- runs after runs -----------------------------------------------------------------------------------------------


def test_a_query_with_parameters(plan: BatchPlan, tmp_path: Path) -> None:
    """Its values are bound, in each of its runs."""
    table = generated(900, 3)
    files = write_lake(table, tmp_path / "lake")
    query = "SELECT * FROM read_parquet($files) WHERE channel_id <> $left_out -- no more"
    lake = Lake(query=query, parameters={"files": files, "left_out": "002"})
    assert {result.status for result in export_lake(lake, plan)} == {"done"}
    wanted = table.filter(pc.not_equal(table["channel_id"], "002"))
    assert archives(plan.target) == expected(wanted, plan)


@pytest.mark.slow
def test_what_is_there_is_kept_and_what_changed_is_told(plan: BatchPlan) -> None:
    """By number, and by first and last time; the others are made. Another label makes others."""
    table = generated(2000, 2)
    first = exported(table, plan)
    before = everything(plan.target)
    gone = next(path for path in before if path.startswith("receipts"))
    (Path(plan.target) / gone).unlink()
    assert sorted(result.status for result in exported(table, plan)) == ["done"] + ["kept"] * (len(first) - 1)
    assert everything(plan.target) == before
    inside = next(n for n, t in enumerate(table["message_time"].to_pylist()) if t.month == 5 and 2 < t.day < 29)
    fewer = pa.concat_tables([table.slice(0, inside), table.slice(inside + 1)])
    results = exported(fewer, plan)
    failures = [result for result in results if result.status == "failed"]
    assert [(result.channel_id, result.period) for result in failures] == [
        (table["channel_id"][inside].as_py(), "2026-05")
    ]
    assert "has changed under the label '2026-07-01'" in str(failures[0].error)
    assert everything(plan.target) == before
    assert {result.status for result in exported(fewer, replace(plan, label="2026-07-02"))} == {"done"}
    assert before.items() < everything(plan.target).items()


@pytest.mark.slow
def test_counting_makes_nothing(plan: BatchPlan, tmp_path: Path) -> None:
    """It tells the rows of each archive, those in none, and what is there."""
    table = generated(2000, 2)
    lake = Lake.of_files([write_lake(table, tmp_path / "lake")])
    counts = count_lake(lake, plan)
    assert not Path(plan.target).exists()
    assert counts.there == ()
    results = list(export_lake(lake, plan))
    assert [(c.channel_id, c.period, c.rows) for c in counts.archives] == [
        (r.channel_id, r.period, r.rows) for r in results
    ]
    assert counts.rows + counts.outside == 2000
    assert [result.status for result in count_lake(lake, plan).there] == ["kept"] * 6


def test_nothing_in_the_range(plan: BatchPlan) -> None:
    """Is no archive and no error."""
    assert exported(generated(50), replace(plan, date_range=DateRange(date(2020, 1, 1), date(2020, 1, 31)))) == []


# --- rows that are there twice ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_rows_that_are_there_twice(plan: BatchPlan) -> None:
    """Are one with `dedupe`, whichever files they are in: the archives of the lake without them; and are kept so."""
    table = generated(1000, 3)
    again = pa.concat_tables([table, table.slice(100, 300), table.slice(150, 10)])
    once = replace(plan, dedupe=True)
    results = exported(again, once)
    assert {result.status for result in results} == {"done"}
    assert archives(plan.target) == expected(table, once)
    assert {result.status for result in exported(again, once)} == {"kept"}
    assert {result.status for result in exported(table, once)} == {"failed"}  # another lake
    assert {result.status for result in exported(again, plan)} == {"done"}  # another key
    assert len(archives(plan.target)) == 2 * len(results)


def test_a_message_id_with_two_contents(plan: BatchPlan) -> None:
    """Fails its archive alone, by conversation and message."""
    table = generated(1000, 3)
    other = with_column(table, "message_text", pa.array(["other"] * 1000)).slice(0, 1)
    inside = table["message_time"][0].as_py().astimezone(plan.options.tzinfo).month in (4, 5, 6)
    results = exported(pa.concat_tables([table, other]), replace(plan, dedupe=True))
    failed = [result for result in results if result.status == "failed"]
    assert len(failed) == inside == 1
    assert f"{table['message_id'][0].as_py()!r} is there twice, with different contents" in str(failed[0].error)
