"""Whole exports against a plain reference: the same names, the same bytes, whatever way the rows came."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine import (
    Contact,
    Conversation,
    CsvDialect,
    DateRange,
    Message,
    RowError,
    export_conversations,
    open_source,
)
from export_engine.options import RangeBy
from export_engine.sources import Source, SourceContext, read_mapped, sorted_rows
from export_engine.sources.open import source_of
from tests import reference
from tests.pipeline.exporting import CHANNEL, JUNE, members, rows_of

ZONES = {name: ZoneInfo(name) for name in ("America/New_York", "Asia/Taipei", "Asia/Kathmandu")} | {"UTC": UTC}

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(["=1+1", "'", '"', "", "\r\n"])
TIMES = st.datetimes(
    datetime(2026, 5, 31, 9),  # noqa: DTZ001  # the zone is drawn
    datetime(2026, 7, 1, 15),  # noqa: DTZ001  # the same
    timezones=st.sampled_from([None, UTC, *ZONES.values()]),
)


@st.composite
def messages(draw: st.DrawFn, conversation: str, number: int) -> Message:
    speaker = draw(st.sampled_from(["bot", "agent", "customer"]))
    return Message(
        f"{conversation}/{number}",
        draw(TIMES),
        "inbound" if speaker == "customer" else "outbound",
        speaker,  # type: ignore[arg-type]  # one of the three
        draw(st.none() | TEXT),
        draw(st.none() | TEXT),
        draw(st.just(()) | st.lists(st.sampled_from(["https://a/1", "https://b/2?x=1,2"]), max_size=3)),
        draw(st.none() | st.sampled_from(["sent", "read"])),
        draw(st.none() | TEXT) if speaker == "agent" else None,
    )


@st.composite
def archives(draw: st.DrawFn) -> list[Conversation]:
    made = []
    for number in range(draw(st.integers(0, 6))):
        id_ = f"c{number}"
        contact = draw(
            st.sampled_from(
                [("Jane Doe", "+1202"), ("jane doe", None), ("王小明", "+886"), (None, "+33"), (None, None)]
            )
        )
        count = draw(st.integers(0, 5))
        own = [draw(messages(id_, index)) for index in range(count)]
        created = draw(TIMES if not count else st.none() | TIMES)
        made.append(Conversation(id_, Contact(*contact), own, created))
    return made


def archive(source: object, zone: tzinfo | str = UTC, days: DateRange = JUNE, **options: object) -> bytes:
    return b"".join(
        export_conversations(source, channel=CHANNEL, date_range=days, timezone=zone, export_id="x", **options)  # type: ignore[arg-type]  # many kinds of option
    )


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    archives(),
    st.sampled_from(list(ZONES)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["\r\n", "\n"]),
)
def test_every_byte_is_the_reference_s(
    made: list[Conversation], zone: str, by_creation: bool, bom: bool, guard: bool, line_end: str
) -> None:
    """Selection, order, names, numbering, rendering and the guard agree with the row-by-row export."""
    got = archive(
        made,
        zone,
        range_by="created_at" if by_creation else "message_time",
        dialect=CsvDialect(bom=bom, line_end=line_end, formula_guard=guard, digits_guard=guard),  # type: ignore[arg-type]  # a literal
    )
    expected = reference.csvs(
        made, CHANNEL, JUNE, ZONES[zone], by_creation=by_creation, bom=bom, line_end=line_end, guard=guard, digits=guard
    )
    assert members(got) == list(expected)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(archives(), st.sampled_from(list(ZONES)), st.integers(1, 7), st.sampled_from([1, 2, 7]))
def test_any_cutting_and_any_threads_give_the_same_bytes(
    made: list[Conversation], zone: str, step: int, threads: int
) -> None:
    """How rows are batched, and how many threads deflate, leaves no trace."""

    def cut() -> Iterator[pa.RecordBatch]:
        for batch in source_of(made).batches(SourceContext(ZONES[zone])):
            for start in range(0, batch.num_rows, step):
                yield batch.slice(start, step)

    class Cut:
        def batches(self, context: SourceContext) -> Iterator[pa.RecordBatch]:
            assert context.timezone is ZONES[zone] or context.timezone == ZONES[zone]
            return cut()

    assert archive(Cut(), zone, threads=threads) == archive(made, zone, threads=1)


def some_rows() -> list[Conversation]:
    return list(reference.some(60, datetime(2026, 5, 31, 22, tzinfo=UTC), rows=40))


def test_objects_json_lines_parquet_and_tables_give_the_same_bytes(tmp_path: Path) -> None:
    """The kind of source leaves no trace."""
    made = some_rows()
    expected = archive(made)
    (tmp_path / "nested.jsonl").write_bytes(b"".join(msgspec.json.encode(c) + b"\n" for c in made))
    table = rows_of(made, UTC)
    pq.write_table(table, tmp_path / "flat.parquet", row_group_size=777)
    with pa.OSFile(str(tmp_path / "flat.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=91)
    for name in ("nested.jsonl", "flat.parquet", "flat.arrow"):
        assert archive(open_source(tmp_path / name)) == expected, name
    for given_ in (
        table,
        table.to_reader(13),
        iter(table.to_batches(17)),
        (Conversation(c.id, c.contact, iter(c.messages), c.created_at) for c in made),
    ):
        assert archive(given_) == expected


def test_several_files_are_one_source(tmp_path: Path) -> None:
    """Files are read one after the other; a conversation may go on in the next."""
    table = rows_of(some_rows(), UTC)
    paths = [tmp_path / "1.parquet", tmp_path / "2.parquet"]
    pq.write_table(table.slice(0, 1001), paths[0])
    pq.write_table(table.slice(1001), paths[1])
    assert archive(open_source(*paths)) == archive(table)


@pytest.mark.slow
def test_hash_seed_time_zone_and_locale_leave_no_trace() -> None:
    """Three processes in three surroundings write the same bytes."""
    program = (
        "import hashlib; from tests.test_export import *; "
        "print(hashlib.sha256(archive(some_rows(), 'Asia/Taipei')).hexdigest())"
    )
    seen = set()
    for seed, zone, locale in (("0", "UTC", "C"), ("1", "America/New_York", "C.UTF-8"), ("77", "Asia/Tokyo", "POSIX")):
        env = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale}
        done = subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, check=True, cwd=Path(__file__).parent.parent
        )
        seen.add(done.stdout)
    assert len(seen) == 1


# --- the range -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "day", "inside", "outside"),
    [
        (
            "UTC",
            "2026-06-01",
            ["2026-06-01T00:00:00Z", "2026-06-01T23:59:59.999999Z"],
            ["2026-05-31T23:59:59.999999Z", "2026-06-02T00:00:00Z"],
        ),
        (
            "Asia/Taipei",
            "2026-06-01",
            ["2026-05-31T16:00:00Z", "2026-06-01T15:59:59.999999Z"],
            ["2026-05-31T15:59:59.999999Z", "2026-06-01T16:00:00Z"],
        ),
        # 23 hours: clocks go from 02:00 to 03:00.
        (
            "America/New_York",
            "2026-03-08",
            ["2026-03-08T05:00:00Z", "2026-03-09T03:59:59.999999Z"],
            ["2026-03-08T04:59:59.999999Z", "2026-03-09T04:00:00Z"],
        ),
        # 25 hours: clocks go from 02:00 back to 01:00.
        (
            "America/New_York",
            "2026-11-01",
            ["2026-11-01T04:00:00Z", "2026-11-02T04:59:59.999999Z"],
            ["2026-11-01T03:59:59.999999Z", "2026-11-02T05:00:00Z"],
        ),
        # Midnight itself is skipped: the day begins at 01:00.
        (
            "America/Sao_Paulo",
            "2018-11-04",
            ["2018-11-04T03:00:00Z", "2018-11-05T01:59:59.999999Z"],
            ["2018-11-04T02:59:59.999999Z", "2018-11-05T02:00:00Z"],
        ),
        # A day that does not exist there.
        ("Pacific/Apia", "2011-12-30", [], ["2011-12-30T09:59:59.999999Z", "2011-12-30T10:00:00Z"]),
    ],
)
def test_a_day_is_the_zone_s_own(zone: str, day: str, inside: list[str], outside: list[str]) -> None:
    """The first and the last microsecond of a local day are in, their neighbours are out."""
    moments = sorted(datetime.fromisoformat(text) for text in inside + outside)
    talk = [Message(str(i), moment, "inbound", "customer") for i, moment in enumerate(moments)]
    days = DateRange(date.fromisoformat(day), date.fromisoformat(day))
    got = members(archive([Conversation("c", Contact("Jane"), talk)], zone, days))
    written = got[0][1].decode().splitlines()[1:] if got else []
    shown = [line.split(",")[7].strip('"') for line in written]
    assert [datetime.fromisoformat(text) for text in shown] == sorted(datetime.fromisoformat(text) for text in inside)
    assert all(text.startswith(day) for text in shown)


@pytest.mark.parametrize("range_by", ["message_time", "created_at"])
def test_newest_first(range_by: RangeBy) -> None:
    """A conversation without `created_at` was created at its earliest message, whatever the order of its rows."""
    moments = ("2026-06-20T08:02:00Z", "2026-06-02T08:01:00Z", "2026-05-11T08:00:00Z")
    talk = [Message(str(i), datetime.fromisoformat(text), "inbound", "customer") for i, text in enumerate(moments)]
    got = members(archive([Conversation("c", Contact("Ana"), talk)], range_by=range_by))
    if range_by == "created_at":
        assert got == []
    else:
        ((name, csv),) = got
        assert name == "Ana--2026-05-11_080000--SMS Support (+12025550123).csv"
        assert csv.count(b"\r\n") == 3


def test_times_carry_the_zone_s_offset_of_their_moment() -> None:
    """Summer and winter rows of one CSV differ in offset; UTC is `Z`; microseconds are always there."""
    moments = [
        datetime(2026, 1, 1, 12, tzinfo=UTC),
        datetime(2026, 6, 11, 6, 50, 43, 861185, tzinfo=timezone(timedelta(hours=9))),
    ]
    talk = [Message(str(i), moment, "inbound", "customer") for i, moment in enumerate(moments)]
    days = DateRange(date(2026, 1, 1), date(2026, 12, 31))
    for zone, shown in (
        ("UTC", ["2026-01-01T12:00:00.000000Z", "2026-06-10T21:50:43.861185Z"]),
        ("America/New_York", ["2026-01-01T07:00:00.000000-05:00", "2026-06-10T17:50:43.861185-04:00"]),
    ):
        ((_, csv),) = members(archive([Conversation("c", Contact("Jane"), talk)], zone, days))
        assert [line.split(",")[7].strip('"') for line in csv.decode().splitlines()[1:]] == shown


def test_an_export_of_nothing_is_an_empty_archive() -> None:
    """Valid, and the report says that there is nothing in it."""
    export = export_conversations([], channel=CHANNEL, date_range=JUNE)
    data = b"".join(export)
    assert members(data) == []
    assert (export.report.members, export.report.rows, export.report.first_time) == (0, 0, None)


def test_the_archives_hash() -> None:
    """The report has it if it was asked for."""
    export = export_conversations(some_rows(), channel=CHANNEL, date_range=JUNE, sha256=True)
    assert hashlib.sha256(b"".join(export)).hexdigest() == export.report.sha256
    export = export_conversations(some_rows(), channel=CHANNEL, date_range=JUNE)
    assert b"".join(export)
    assert export.report.sha256 is None


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_creation_that_not_all_rows_say(ending: str, tmp_path: Path) -> None:
    """It is an error, in whatever rows the null stands; each of the two ways that it names works."""
    row = {"conversation_id": "c", "direction": "inbound", "speaker_type": "customer"}
    rows: list[dict[str, str | None]] = [
        {**row, "message_id": f"{day}", "message_time": f"2026-06-0{day}T00:00:00Z", "created_at": created}
        for day, created in ((2, None), (3, "2026-05-01T00:00:00Z"), (4, None))
    ]
    path = tmp_path / f"a.{ending}"
    if ending == "csv":
        pacsv.write_csv(pa.Table.from_pylist(rows), path)
    elif ending == "jsonl":
        path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)

    def exported(source: Source) -> list[tuple[str, bytes]]:
        return members(b"".join(export_conversations(source, channel=CHANNEL, date_range=JUNE, export_id="x")))

    with pytest.raises(RowError, match=r"is 2026-05-01.*and null in row 1.*, or none any") as caught:
        exported(open_source(path))
    said = [*re.findall(r"--map (?:\"([^\"]+)\"|([^ )]+))", str(caught.value))]
    names = []
    for expression in map("".join, said):
        mapped = read_mapped(path, columns=dict([expression.split("=", 1)]), format=ending)  # type: ignore[arg-type]  # one of the three
        ((name, _),) = exported(sorted_rows(mapped))
        names.append(name.split("--")[1])
    assert names == ["2026-05-01_000000", "2026-06-02_000000"]
