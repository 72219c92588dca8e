"""A lake's times and ids are read as a single export reads them, whatever their types and wherever they stand."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from export_engine import Channel, DateRange, ExportOptions, SchemaError, SourceError, export_conversations
from export_engine.batch import BatchPlan, Lake, export_lake
from tests.batch.lakes import TIME, archives, expected, exported, generated, with_column, write_lake


def one_row(time: str, number: int = 0) -> pa.Table:
    return with_column(generated(1, 1), "message_time", pa.array([time])).set_column(
        2, "message_id", pa.array([f"m{number}"])
    )


def instant_of(table: pa.Table, plan: BatchPlan) -> datetime | None:
    """The time of a table's one row, as a single export reads it; None if it refuses it."""
    made = export_conversations(
        table.drop_columns(["channel_id", "channel_name"]),
        channel=Channel(id="c"),
        date_range=plan.date_range,
        options=plan.options,
    )
    try:
        b"".join(made)
    except SourceError:
        return None
    return made.report.first_time


@pytest.mark.slow
@pytest.mark.parametrize("seconds", ["", ":05", ":05:06", ":05:06.1", ":05:06,123456"])
@pytest.mark.parametrize("between", ["T", "t", " "])
def test_whatever_a_source_takes_for_a_time_a_lake_does(between: str, seconds: str, plan: BatchPlan) -> None:
    """Each way to write an offset that a single export knows: the archive is that of the time it reads."""
    offsets = [
        f"{blank}{o}" for blank in ("", " ") for o in ("", "Z", "z", "UTC", "utc", "GMT", "+08:00", "-0330", "+08")
    ]
    times = [f"2026-05-02{between}04{seconds}{offset}" for offset in offsets]
    instants = {time: found for time in times if (found := instant_of(one_row(time), plan)) is not None}
    read = [*instants]
    assert len(read) > 10
    table = pa.concat_tables([one_row(time, number) for number, time in enumerate(read)])
    assert {result.error for result in exported(table, plan)} == {None}
    aware = pa.array([*instants.values()], TIME)
    assert archives(plan.target) == expected(with_column(table, "message_time", aware), plan)


@pytest.mark.slow
def test_naive_times_are_the_zone_s_own(plan: BatchPlan) -> None:
    """Also where the session's or the machine's zone would put them into another month."""
    table = generated(2000, 2)
    shifted = table["message_time"].cast(pa.int64()).to_numpy() + 8 * 3_600_000_000
    naive = with_column(table, "message_time", pa.array(shifted, pa.timestamp("us")))
    assert {result.status for result in exported(naive, plan)} == {"done"}
    assert archives(plan.target) == expected(table, plan)


@pytest.mark.slow
def test_times_as_text_and_as_numbers(plan: BatchPlan) -> None:
    """As for a single export: numbers need the option epoch."""
    table = generated(2000, 2)
    us = table["message_time"].cast(pa.int64())
    forms = {
        "text": pa.array([time.isoformat() for time in table["message_time"].to_pylist()]),
        "us": us,
        "ns": pa.array(us.to_numpy() * 1000 + 999),
        "text of numbers": pa.array([str(one) for one in us.to_pylist()]),
    }
    for name, column in forms.items():
        options = plan.options if name == "text" else replace(plan.options, epoch="ns" if name == "ns" else "us")
        other = replace(plan, target=f"{plan.target} {name}", options=options)
        assert {result.status for result in exported(with_column(table, "message_time", column), other)} == {"done"}
        assert archives(other.target) == expected(table, other)
    with pytest.raises(SchemaError, match="--epoch"):
        exported(with_column(table, "message_time", us), plan)


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_nanoseconds_are_cut(zone: str | None, plan: BatchPlan) -> None:
    """A message in a month's last microsecond stays in it."""
    plan = replace(plan, options=ExportOptions())
    end = 1_777_593_600_000_000_000  # the first of May
    table = generated(4, 1)
    times = pa.array([end - 1, end - 999, end, end + 999], pa.timestamp("ns", zone))
    assert [result.rows for result in exported(with_column(table, "message_time", times), plan)] == [2, 2]


def local_times(zone: str) -> list[datetime]:
    """Naive times, a quarter of an hour apart, around each change of a zone's clocks in 2027, and one in winter."""
    hours = [datetime(2027, 1, 1, tzinfo=UTC) + timedelta(hours=number) for number in range(365 * 24)]
    east = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    changes = [hour for hour, before, after in zip(hours, east, east[1:], strict=False) if before != after]
    around = [change + timedelta(minutes=minutes) for change in changes for minutes in range(-180, 180, 15)]
    local = {time.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for time in (*around, hours[24])}
    return sorted(local)


@pytest.mark.parametrize(
    ("zone", "form"),
    [
        ("America/Havana", "timestamp"),
        ("America/Havana", "nanoseconds"),
        ("America/Havana", "text"),
        ("Africa/Casablanca", "timestamp"),
        ("America/New_York", "text"),
    ],
)
def test_naive_times_around_a_change_of_clocks(zone: str, form: str, plan: BatchPlan) -> None:
    """The zone data are Python's, of an hour that comes twice the first is meant, and a second run finds no change."""
    times = local_times(zone)
    naive = pa.array([time.isoformat() for time in times]) if form == "text" else pa.array(times, pa.timestamp("us"))
    aware = pa.array([time.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) for time in times], TIME)
    table = generated(len(times), 1)
    plan = replace(
        plan,
        options=ExportOptions(timezone=zone),
        date_range=DateRange(date(2027, 1, 1), date(2027, 12, 31)),
        period="day",
    )
    lake = with_column(table, "message_time", naive.cast(pa.timestamp("ns")) if form == "nanoseconds" else naive)
    assert {(result.status, result.error) for result in exported(lake, plan)} == {("done", None)}
    assert archives(plan.target) == expected(with_column(table, "message_time", aware), plan)
    assert {result.status for result in exported(lake, plan)} == {"kept"}


def test_times_with_and_without_an_offset_stand_in_one_order(plan: BatchPlan) -> None:
    """Of an hour that comes twice, too: what has none is in the first, before what says that it is in the second."""
    plan = replace(plan, options=ExportOptions(timezone="America/New_York"), period="range")
    plan = replace(plan, date_range=DateRange(date(2026, 11, 1), date(2026, 11, 1)))
    texts = ["2026-11-01T01:10-05:00", "2026-11-01T01:20", "2026-11-01T01:30-04:00", "2026-11-01T01:40"]
    table = pa.concat_tables([one_row(text, number) for number, text in enumerate(texts)])
    assert [(result.status, result.rows) for result in exported(table, plan)] == [("done", 4)]
    aware = pa.array([datetime(2026, 11, 1, 6 if n == 0 else 5, 10 + 10 * n, tzinfo=UTC) for n in range(4)], TIME)
    assert archives(plan.target) == expected(with_column(table, "message_time", aware), plan)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["integer", "uuid", "dictionary", "large"])
def test_ids_of_other_types(kind: str, plan: BatchPlan) -> None:
    """Are the text that they are written as."""
    table = generated(600, 3)
    numbers = table["channel_id"].cast(pa.int64())
    if kind == "integer":
        text = numbers.cast(pa.string())
        given_ids: Any = numbers
    elif kind == "uuid":
        uuids = [UUID(int=7919 * n + 1) for n in numbers.to_pylist()]
        text = pa.array([str(one) for one in uuids])
        given_ids = pa.array([one.bytes for one in uuids], pa.uuid())
    else:
        text = table["channel_id"]
        types = {"dictionary": pa.dictionary(pa.int8(), pa.string()), "large": pa.large_string()}
        given_ids = text.cast(types[kind])
    assert {result.status for result in exported(with_column(table, "channel_id", given_ids), plan)} == {"done"}
    assert archives(plan.target) == expected(with_column(table, "channel_id", text), plan)


@pytest.mark.slow
def test_folders_that_say_whose_rows_they_hold(plan: BatchPlan, tmp_path: Path) -> None:
    """`channel_id=007` is text, zeros and all."""
    table = generated(600, 3)
    for name in ("000", "001", "002"):
        its = table.filter(pc.equal(table["channel_id"], name)).drop_columns(["channel_id"])
        write_lake(its, tmp_path / "lake" / f"channel_id={name}", files=1)
    results = list(export_lake(Lake.of_files([f"{tmp_path}/lake/*/*.parquet"]), plan))
    assert {result.status for result in results} == {"done"}
    assert archives(plan.target) == expected(table, plan)


@pytest.mark.slow
def test_files_may_lack_columns(plan: BatchPlan, tmp_path: Path) -> None:
    """Columns are matched by name, and null where a file has none."""
    table = generated(600, 3)
    write_lake(table.slice(0, 300), tmp_path / "lake" / "a")
    write_lake(table.slice(300).drop_columns(["message_text"]), tmp_path / "lake" / "b")
    results = list(export_lake(Lake.of_files([f"{tmp_path}/lake/*/*.parquet"]), plan))
    assert {result.status for result in results} == {"done"}
    texts = pa.chunked_array([table["message_text"].slice(0, 300).combine_chunks(), pa.nulls(300, pa.string())])
    assert archives(plan.target) == expected(with_column(table, "message_text", texts), plan)


@pytest.mark.slow
@pytest.mark.parametrize("where", [None, "message_id IS NOT NULL"])
def test_many_files_of_json(
    where: str | None, plan: BatchPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many processors would read them at once, each thread has the room that the longest line takes."""
    monkeypatch.setattr("export_engine.sources.duck._processors", lambda: 16)
    table = generated(400)
    rows = [{**row, "message_time": str(row["message_time"])} for row in table.to_pylist()]
    for number in range(16):
        lines = (json.dumps(row) + "\n" for row in rows[number::16])
        (tmp_path / f"{number}.jsonl").write_text("".join(lines), "utf-8")
    files = sorted(tmp_path.glob("*.jsonl"))
    results = list(export_lake(Lake.of_files(files, "jsonl", where=where, memory_limit="256MB"), plan))
    assert [result.error for result in results if result.error] == []
    assert archives(plan.target) == expected(table, plan)


@pytest.mark.slow
def test_a_leap_second_is_the_last_microsecond_before_it(plan: BatchPlan) -> None:
    """Of its month too; any other sixtieth second fails its archive."""
    plan = replace(plan, options=ExportOptions())
    times = ["2026-04-30T23:59:60Z", "2026-05-01T07:59:60+08:00", "2026-04-30 23:59:60.5 UTC"]
    table = pa.concat_tables([one_row(time, number) for number, time in enumerate(times)])
    assert [(result.status, result.period, result.rows) for result in exported(table, plan)] == [("done", "2026-04", 3)]
    assert [result.status for result in exported(table, plan)] == ["kept"]
    (result,) = exported(one_row("2026-05-01T10:10:60Z"), plan)
    assert "'2026-05-01T10:10:60Z' is not a time" in str(result.error)
