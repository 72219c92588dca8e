"""A lake through DuckDB: every archive is what a plain loop makes of the channel's rows, and no row is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine import (
    Channel,
    DateRange,
    ExportError,
    ExportOptions,
    OptionError,
    SchemaError,
    SourceError,
    export_conversations,
)
from export_engine.batch import BatchPlan, Lake, count_lake, export_lake
from export_engine.batch.receipts import ArchiveResult
from tests.batch.lakes import TIME, archives, everything, expected, generated, write_lake

ZONES = ["UTC", "Asia/Taipei", "America/New_York", "America/Havana", "+05:30"]
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def plan(tmp_path: Path) -> BatchPlan:
    """Three months in Taipei."""
    return BatchPlan(
        target=str(tmp_path / "out"),
        date_range=DateRange(date(2026, 4, 1), date(2026, 6, 30)),
        options=ExportOptions(timezone="Asia/Taipei"),
        label="2026-07-01",
    )


def run(table: pa.Table, plan: BatchPlan, **more: Any) -> list[ArchiveResult]:
    with tempfile.TemporaryDirectory() as folder:
        return list(export_lake(Lake.of_files([write_lake(table, Path(folder))], **more), plan))


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


def with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


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
        outside = count_lake(lake, plan).outside
        results = list(export_lake(lake, plan))
        assert [result.error for result in results if result.error] == []
        wanted = expected(table, plan)
        assert archives(plan.target) == wanted
        assert {result.path for result in results} == wanted.keys()
        assert sum(result.rows for result in results) + outside == table.num_rows


@pytest.mark.slow
def test_larger_lakes(plan: BatchPlan) -> None:
    """Many conversations, over many batches."""
    table = generated(30_000, 5)
    results = run(table, plan)
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
    assert {result.error for result in run(said, plan)} <= {None}
    again = next(at for at, name in enumerate(conversations) if at and name == conversations[0])
    times[again] = BEGIN + timedelta(days=40)
    differing = table.append_column("created_at", pa.array(times, TIME))
    with pytest.raises(
        SourceError, match=rf"conversation '{conversations[0]}' of channel '000' has both .* and .* as cr"
    ):
        run(differing, plan)


@pytest.mark.parametrize("text", ["soon", "infinity", "2026-02-30T00:00:00Z", "1777680000"])
def test_a_creation_that_cannot_be_read(text: str, plan: BatchPlan) -> None:
    """It is no null, which the first message would stand for."""
    said = generated(50, 1).append_column("created_at", pa.array(["2026-03-01T00:00:00Z", text] * 25))
    with pytest.raises(SourceError, match="25 rows have a created_at that cannot be read"):
        run(said, plan)


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
    assert {result.error for result in run(table, plan)} == {None}
    aware = pa.array([*instants.values()], TIME)
    assert archives(plan.target) == expected(with_column(table, "message_time", aware), plan)


@pytest.mark.slow
def test_a_name_does_not_depend_on_the_period(plan: BatchPlan) -> None:
    """A conversation that goes on for months was created with its first message, in each of its archives."""
    table = generated(3000, 1)
    run(table, plan)
    months = replace(plan, target=f"{plan.target}-2", date_range=DateRange(date(2026, 6, 1), date(2026, 6, 30)))
    run(table, months)
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


# --- types ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_naive_times_are_the_zone_s_own(plan: BatchPlan) -> None:
    """Also where the session's or the machine's zone would put them into another month."""
    table = generated(2000, 2)
    shifted = table["message_time"].cast(pa.int64()).to_numpy() + 8 * 3_600_000_000
    naive = with_column(table, "message_time", pa.array(shifted, pa.timestamp("us")))
    assert {result.status for result in run(naive, plan)} == {"done"}
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
        assert {result.status for result in run(with_column(table, "message_time", column), other)} == {"done"}
        assert archives(other.target) == expected(table, other)
    with pytest.raises(SchemaError, match="--epoch"):
        run(with_column(table, "message_time", us), plan)


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_nanoseconds_are_cut(zone: str | None, plan: BatchPlan) -> None:
    """A message in a month's last microsecond stays in it."""
    plan = replace(plan, options=ExportOptions())
    end = 1_777_593_600_000_000_000  # the first of May
    table = generated(4, 1)
    times = pa.array([end - 1, end - 999, end, end + 999], pa.timestamp("ns", zone))
    assert [result.rows for result in run(with_column(table, "message_time", times), plan)] == [2, 2]


@pytest.mark.slow
def test_an_hour_that_comes_twice_is_kept(plan: BatchPlan) -> None:
    """Whichever of the two an engine means by a naive time in it, a second run finds nothing changed."""
    plan = replace(
        plan,
        options=ExportOptions(timezone="America/New_York"),
        date_range=DateRange(date(2026, 11, 1), date(2026, 11, 1)),
        period="day",
    )
    times = pa.array([datetime(2026, 11, 1, 1, 10), datetime(2026, 11, 1, 1, 30)], pa.timestamp("us"))  # noqa: DTZ001  # that is what is tested
    table = with_column(generated(2, 1), "message_time", times)
    assert [(result.status, result.rows) for result in run(table, plan)] == [("done", 2)]
    assert [result.status for result in run(table, plan)] == ["kept"]


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
    assert {result.status for result in run(with_column(table, "channel_id", given_ids), plan)} == {"done"}
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


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["channel_id", "conversation_id", "message_id", "message_time"])
def test_rows_that_would_vanish_are_counted(name: str, plan: BatchPlan) -> None:
    """And refused before anything is made, with a way out that the message names."""
    table = generated(100, 2)
    values = table[name].to_pylist()
    values[3] = values[77] = None
    table = with_column(table, name, pa.array(values, table.schema.field(name).type))
    with pytest.raises(SourceError, match=rf"2 rows have no {name}, .*--where '{name} IS NOT NULL'"):
        run(table, plan)
    assert not Path(plan.target).exists()
    assert {result.status for result in run(table, plan, where=f"{name} IS NOT NULL")} == {"done"}


@pytest.mark.parametrize("text", ["", "soon", "infinity", "2026-13-01T00:00:00Z"])
def test_what_is_no_time_is_counted(text: str, plan: BatchPlan) -> None:
    """Text that says nothing of when."""
    table = generated(100, 2)
    times = [time.isoformat() for time in table["message_time"].to_pylist()]
    times[5] = text
    with pytest.raises(SourceError, match="1 rows have no message_time, or none that can be read"):
        run(with_column(table, "message_time", pa.array(times)), plan)


@pytest.mark.parametrize("name", ["channel_id", "conversation_id", "message_id"])
def test_an_empty_id_is_none(name: str, plan: BatchPlan) -> None:
    """As for a single export."""
    table = generated(100, 2)
    values = table[name].to_pylist()
    values[9] = ""
    with pytest.raises(SourceError, match=f"1 rows have no {name}"):
        run(with_column(table, name, pa.array(values)), plan)


@pytest.mark.parametrize("name", ["channel_id", "conversation_id", "message_id", "message_time", "direction"])
def test_a_lake_without_a_column(name: str, plan: BatchPlan) -> None:
    """Names it."""
    with pytest.raises(SchemaError, match=f"column '{name}' is missing"):
        run(generated(10).drop_columns([name]), plan)


@pytest.mark.parametrize("name", ["channel_id", "conversation_id", "message_id"])
def test_ids_that_may_have_lost_digits(name: str, plan: BatchPlan) -> None:
    """A float is no id."""
    table = generated(10)
    with pytest.raises(SchemaError, match=f"column '{name}' is double"):
        run(with_column(table, name, pa.array(np.arange(10.0))), plan)


@pytest.mark.parametrize(
    ("query", "parameters", "error", "said"),
    [
        ("SELECT 1; SELECT 2", {}, OptionError, "one SELECT is wanted"),
        ("SELECT * FROM read_parquet($files)", {}, OptionError, "which has no value"),
        ("SELECT 1 AS channel_id", {"files": "x"}, OptionError, "not in the query"),
        ("SELECT * FROM nowhere", {}, SourceError, "the query failed: .*nowhere"),
        ("SELECT * FROM read_parquet('missing.parquet')", {}, SourceError, "missing.parquet"),
    ],
)
def test_queries_that_cannot_be_run(
    query: str, parameters: dict[str, Any], error: type[ExportError], said: str, plan: BatchPlan
) -> None:
    """As for a single export."""
    with pytest.raises(error, match=said):
        list(export_lake(Lake(query=query, parameters=parameters), plan))


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
    first = run(table, plan)
    before = everything(plan.target)
    gone = next(path for path in before if path.startswith("receipts"))
    (Path(plan.target) / gone).unlink()
    assert sorted(result.status for result in run(table, plan)) == ["done"] + ["kept"] * (len(first) - 1)
    assert everything(plan.target) == before
    inside = next(n for n, t in enumerate(table["message_time"].to_pylist()) if t.month == 5 and 2 < t.day < 29)
    fewer = pa.concat_tables([table.slice(0, inside), table.slice(inside + 1)])
    results = run(fewer, plan)
    failures = [result for result in results if result.status == "failed"]
    assert [(result.channel_id, result.period) for result in failures] == [
        (table["channel_id"][inside].as_py(), "2026-05")
    ]
    assert "has changed under the label '2026-07-01'" in str(failures[0].error)
    assert everything(plan.target) == before
    assert {result.status for result in run(fewer, replace(plan, label="2026-07-02"))} == {"done"}
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
    assert run(generated(50), replace(plan, date_range=DateRange(date(2020, 1, 1), date(2020, 1, 31)))) == []


# --- bounds --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A lake that is more in memory than the limit under which it is exported."""
    return write_lake(generated(1_000_000, 20), tmp_path_factory.mktemp("large"))


@pytest.mark.slow
def test_a_low_limit_spills(large: str, plan: BatchPlan, tmp_path: Path) -> None:
    """More than fits goes through the private folder, which is gone at the end; the archives are the same."""
    files = large
    spill = tmp_path / "spill"
    spill.mkdir()
    seen = 0
    for result in export_lake(Lake.of_files([files], memory_limit="120MB", spill_folder=spill), plan):
        assert result.status == "done"
        seen = max(seen, sum(path.stat().st_size for path in spill.rglob("*") if path.is_file()))
    assert seen > 1 << 20
    assert list(spill.iterdir()) == []
    roomy = replace(plan, target=f"{plan.target}-2")
    list(export_lake(Lake.of_files([files], memory_limit="2GB"), roomy))
    assert everything(roomy.target) == everything(plan.target)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own, with room for little."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs")
def test_a_full_spill_disk(large: str, plan: BatchPlan, tmp_path: Path) -> None:
    """Is told as such, and nothing is half there."""
    with small_disk(tmp_path / "spill", "8m") as spill:
        with pytest.raises(SourceError, match="the spill folder"):
            list(export_lake(Lake.of_files([large], memory_limit="120MB", spill_folder=spill), plan))
        assert list(spill.iterdir()) == []
    assert not any(path.endswith(".part") for path in everything(plan.target))
    assert len(archives(plan.target)) * 2 == len(everything(plan.target))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs")
def test_a_full_target_disk(plan: BatchPlan, tmp_path: Path) -> None:
    """What does not fit fails with that reason; what is there is whole, and another run with room makes the rest."""
    table = generated(40_000, 6)
    files = write_lake(table, tmp_path / "lake")
    wanted = expected(table, plan)
    with small_disk(tmp_path / "out", f"{sum(map(len, wanted.values())) // 2048}k") as target:
        results = list(export_lake(Lake.of_files([files]), plan))
        assert {result.status for result in results} == {"done", "failed"}
        assert all("No space left on device" in str(result.error) for result in results if result.status == "failed")
        found = everything(target)
        assert archives(target).items() < wanted.items()
        assert len(found) == 2 * len(archives(target)) == 2 * sum(result.status == "done" for result in results)
        room = replace(plan, target=str(tmp_path / "room"))
        shutil.copytree(target, room.target)
    assert {result.status for result in export_lake(Lake.of_files([files]), room)} == {"done", "kept"}
    assert archives(room.target) == wanted


# --- rows that are there twice ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_rows_that_are_there_twice(plan: BatchPlan) -> None:
    """Are one with `dedupe`, whichever files they are in: the archives of the lake without them; and are kept so."""
    table = generated(1000, 3)
    again = pa.concat_tables([table, table.slice(100, 300), table.slice(150, 10)])
    once = replace(plan, dedupe=True)
    results = run(again, once)
    assert {result.status for result in results} == {"done"}
    assert archives(plan.target) == expected(table, once)
    assert {result.status for result in run(again, once)} == {"kept"}
    assert {result.status for result in run(table, once)} == {"failed"}  # another lake
    assert {result.status for result in run(again, plan)} == {"done"}  # another key
    assert len(archives(plan.target)) == 2 * len(results)


def test_a_message_id_with_two_contents(plan: BatchPlan) -> None:
    """Fails its archive alone, by conversation and message."""
    table = generated(1000, 3)
    other = with_column(table, "message_text", pa.array(["other"] * 1000)).slice(0, 1)
    inside = table["message_time"][0].as_py().astimezone(plan.options.tzinfo).month in (4, 5, 6)
    results = run(pa.concat_tables([table, other]), replace(plan, dedupe=True))
    failed = [result for result in results if result.status == "failed"]
    assert len(failed) == inside == 1
    assert f"{table['message_id'][0].as_py()!r} is there twice, with different contents" in str(failed[0].error)


# --- an open range ---------------------------------------------------------------------------------------------------


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
    results = run(table, opened)
    assert {result.status for result in results} == {"done"}
    assert archives(plan.target) == expected(table, replace(opened, date_range=closed))
    assert {result.status for result in run(table, opened)} == {"kept"}


@pytest.mark.slow
def test_an_open_range_by_creation(plan: BatchPlan) -> None:
    """It is that of the conversations' creation."""
    table = generated(300, 2)
    opened = replace(
        plan, date_range=DateRange(date.min), period="day", options=replace(plan.options, range_by="created_at")
    )
    results = run(table, opened)
    assert sum(result.rows for result in results) == 300


def test_an_open_range_of_nothing(plan: BatchPlan) -> None:
    """Is no error: there is nothing to export."""
    assert run(generated(10, 1).slice(0, 0), replace(plan, date_range=DateRange(date.min))) == []


def test_a_time_of_another_age(plan: BatchPlan) -> None:
    """Makes an open range too long to list: it is told with its days."""
    table = generated(10, 1)
    old = pa.array([datetime(1, 5, 1, tzinfo=UTC), *table["message_time"].to_pylist()[1:]], TIME)
    with pytest.raises(
        OptionError, match=r"the range from 0001-05-01 to 2026-.* has too many months to list"
    ) as caught:
        run(with_column(table, "message_time", old), replace(plan, date_range=DateRange(date.min)))
    assert caught.value.option == "end"
