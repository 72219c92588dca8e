"""Flat tables of every kind: what is accepted, what it becomes, and what is refused."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine import DateRange, OptionError, RowError, SchemaError, SourceError, export_conversations, open_source
from export_engine.model import Channel
from export_engine.schema import ROW_SCHEMA
from export_engine.sources import MAX_BYTES, MAX_ROWS, Intake, Source
from export_engine.sources.arrow import from_arrow
from export_engine.zone import MAX_US, MIN_US

NEW_YORK = ZoneInfo("America/New_York")
MOMENT = datetime(2026, 6, 11, 6, 50, 43, 861185, tzinfo=UTC)


def table(rows: int = 3, **columns: Any) -> pa.Table:
    """A small valid table; `columns` replace its own, None leaves one out."""
    given_: dict[str, Any] = {
        "message_id": pa.array([f"m{i}" for i in range(rows)]),
        "conversation_id": pa.array(["c"] * rows),
        "direction": pa.array(["inbound"] * rows),
        "speaker_type": pa.array(["customer"] * rows),
        "message_time": pa.array([MOMENT] * rows, pa.timestamp("us", "UTC")),
    }
    given_ |= columns
    return pa.table({name: column for name, column in given_.items() if column is not None})


def read(source: Source, zone: tzinfo = UTC, *, strict: bool = False) -> pa.Table:
    intake = Intake(zone, strict=strict)
    batches = list(source.batches(intake))
    for batch in batches:
        assert batch.schema.equals(ROW_SCHEMA)
        assert 0 < batch.num_rows <= MAX_ROWS
    return pa.Table.from_batches(batches, ROW_SCHEMA)


def one(source: Source | pa.Table, name: str, zone: tzinfo = UTC) -> list[Any]:
    values: list[Any] = read(from_arrow(source) if isinstance(source, pa.Table) else source, zone)[name].to_pylist()
    return values


# --- types ---------------------------------------------------------------------------------------------------------

TEXTS = ["é", None, ""]


@pytest.mark.parametrize(
    "type_",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.large_string()),
    ],
    ids=str,
)
def test_text_of_every_type(type_: pa.DataType) -> None:
    """Values, nulls and empty text come through, also from a slice."""
    column = pa.array(["pad", *TEXTS, "pad"]).cast(type_) if not pa.types.is_dictionary(type_) else None
    if column is None:
        column = pa.array(["pad", *TEXTS, "pad"], type_.value_type).dictionary_encode().cast(type_)
    made = table(5, message_text=column, contact_name=column).slice(1, 3)
    assert one(made, "message_text") == TEXTS
    assert one(made, "contact_name") == TEXTS


def test_a_dictionary_with_a_null_in_it() -> None:
    """A null value of the dictionary is a null, and no message's id."""
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["x", None]))
    assert one(table(message_text=column), "message_text") == ["x", None, None]
    with pytest.raises(RowError, match="is null"):
        one(table(message_id=column), "message_id")


def test_missing_and_null_typed_optional_columns_are_null() -> None:
    """Neither needs a value."""
    made = read(from_arrow(table(status=pa.nulls(3))))
    assert made["status"].to_pylist() == made["media_url"].to_pylist() == made["created_at"].to_pylist() == [None] * 3


@pytest.mark.parametrize("type_", [pa.int64(), pa.uint8(), pa.int16()], ids=str)
def test_ids_may_be_integers(type_: pa.DataType) -> None:
    """They are written as they are read; a phone number may not, as it would lose its `+`."""
    made = table(message_id=pa.array([1, 2, 3], type_), conversation_id=pa.array([7, 7, 7], type_))
    assert one(made, "message_id") == ["1", "2", "3"]
    assert one(made, "conversation_id") == ["7", "7", "7"]
    with pytest.raises(SchemaError) as caught:
        one(table(contact_phone=pa.array([12025550123] * 3)), "contact_phone")
    assert caught.value.column == "contact_phone"


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["s", "ms", "us", "ns"]),
    st.sampled_from([None, "UTC", "Asia/Taipei", "-03:30"]),
    st.lists(st.none() | st.datetimes(datetime(1700, 1, 1), datetime(2250, 1, 1)), min_size=1, max_size=4),  # noqa: DTZ001  # the type has the zone
)
def test_timestamps_of_every_unit_and_zone(unit: str, zone: str | None, moments: list[datetime | None]) -> None:
    """Aware ones are instants; naive ones are the export's zone's; finer than microseconds is cut off."""
    ticks = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    epoch = datetime(1970, 1, 1)  # noqa: DTZ001  # the same
    values = [None if m is None else (m - epoch) // timedelta(microseconds=1) * ticks // 10**6 for m in moments]
    column = pa.array(values, pa.int64()).cast(pa.timestamp(unit, zone))
    cut = [None if v is None else epoch + timedelta(microseconds=v * 10**6 // ticks) for v in values]
    expected = [None if m is None else m.replace(tzinfo=UTC if zone else NEW_YORK).astimezone(UTC) for m in cut]
    assert one(table(len(values), created_at=column), "created_at", NEW_YORK) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-06-11T06:50:43.861185Z", MOMENT),
        ("2026-06-11 06:50:43.861185z", MOMENT),
        ("2026-06-11T06:50:43.861185999Z", MOMENT),
        ("2026-06-11T14:50:43.861185+08:00", MOMENT),
        ("2026-06-11T14:50:43.861185+0800", MOMENT),
        ("2026-06-11T03:20:43.861185-03:30", MOMENT),
        ("2026-06-11T14:50:43.861185+08", MOMENT),
        ("2026-06-11T02:50:43.861185", MOMENT),
        ("2026-06-11 06:50:43Z", MOMENT.replace(microsecond=0)),
        ("2026-06-11T06:50:43.8Z", MOMENT.replace(microsecond=800000)),
    ],
)
def test_times_as_text(text: str, expected: datetime) -> None:
    """ISO 8601 with an offset, or naive in the export's zone; all in one column, nulls between."""
    column = pa.array([text, "2026-01-01T00:00:00Z", text])
    assert one(table(message_time=column), "message_time", NEW_YORK)[::2] == [expected] * 2
    assert one(table(created_at=pa.array([None, text, None])), "created_at", NEW_YORK) == [None, expected, None]


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-06-11", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "1750000000", ""]
)
def test_text_that_is_no_time(text: str) -> None:
    """The row is named, and how to write it."""
    with pytest.raises(RowError, match="ISO 8601") as caught:
        one(table(message_time=pa.array(["2026-06-11T06:50:43Z", text, "x"])), "message_time")
    error = caught.value
    assert (error.conversation_id, error.message_id, error.row) == ("c", "m1", 2)
    assert (error.column, error.value) == ("message_time", text)


@pytest.mark.parametrize("us", [MIN_US - 1, MAX_US + 1, -(2**63) + 1, 2**63 - 1])
@pytest.mark.parametrize("unit", ["s", "us"])
def test_times_out_of_bounds(us: int, unit: str) -> None:
    """They cannot be written with four digits of year."""
    column = pa.array([us if unit == "us" or abs(us) > 10**18 else us // 10**6] * 3).cast(pa.timestamp(unit, "UTC"))
    with pytest.raises(RowError, match="out of bounds") as caught:
        one(table(message_time=column), "message_time")
    assert (caught.value.column, caught.value.row) == ("message_time", 1)


@pytest.mark.parametrize("make", [pa.list_, pa.large_list, pa.list_view, lambda inner: pa.list_(inner, 2)])
def test_lists_of_urls(make: Callable[[pa.DataType], pa.DataType]) -> None:
    """Joined by commas; one inside a URL is %2C; none is null."""
    lists = [["https://a/1", "https://b/?x=1,2"], None, ["u", "v"]]
    column = pa.array([["pad", "pad"], *lists], make(pa.string())).slice(1)
    assert one(table(media_url=column), "media_url") == ["https://a/1,https://b/?x=1%2C2", None, "u,v"]
    with pytest.raises(RowError, match="null among") as caught:
        one(table(media_url=pa.array([["u", "v"], ["u", None], None], make(pa.string()))), "media_url")
    assert caught.value.row == 2


def test_empty_lists_and_plain_urls() -> None:
    """No URL is null; text is taken as it is."""
    assert one(table(media_url=pa.array([[], ["u"], None], pa.list_(pa.string()))), "media_url") == [None, "u", None]
    assert one(table(media_url=pa.array([[], None, []], pa.list_(pa.null()))), "media_url") == [None] * 3
    assert one(table(media_url=pa.array(["a,b", "", None])), "media_url") == ["a,b", "", None]


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["message_id", "conversation_id", "direction", "speaker_type", "message_time"])
def test_a_required_column(name: str) -> None:
    """Missing, it is one error before the first row; null, it is that row's."""
    with pytest.raises(SchemaError, match="is missing; the columns are") as caught:
        read(from_arrow(table().drop_columns(name)))
    assert caught.value.column == name
    full = table()[name].to_pylist()
    column = pa.array([full[0], None, full[2]], table()[name].type)
    with pytest.raises(RowError, match="is null") as refused:
        read(from_arrow(table(**{name: column})))
    assert (refused.value.column, refused.value.row) == (name, 2)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("message_text", pa.array([1, 2, 3])),
        ("message_text", pa.array([b"a", b"b", b"c"])),
        ("message_time", pa.array([1, 2, 3])),
        ("message_time", pa.array([1, 2, 3], pa.date32())),
        ("media_url", pa.array([[1], [2], [3]])),
        ("direction", pa.nulls(3)),
        ("message_id", pa.array([1.5, 2.5, 3.5])),
    ],
)
def test_an_impossible_type(name: str, column: pa.Array) -> None:
    """It is one error before the first row, with what is accepted."""
    with pytest.raises(SchemaError, match="must be") as caught:
        read(from_arrow(table(**{name: column})))
    assert caught.value.column == name


def test_a_column_twice() -> None:
    """Nobody knows which is meant."""
    made = table()
    with pytest.raises(SchemaError, match="2 times"):
        read(from_arrow(made.append_column("message_id", made["message_id"])))


def test_other_columns_are_ignored_and_said_once() -> None:
    """The report names them in their own order."""
    made = table(zeta=pa.array([1, 2, 3]), alpha=pa.array([1, 2, 3]))
    days = DateRange(MOMENT.date(), MOMENT.date())
    export = export_conversations(iter(made.to_batches(1)), channel=Channel("x"), date_range=days)
    b"".join(export)
    assert export.report.ignored_columns == ("zeta", "alpha")
    assert export.report.rows == 3


def test_text_that_is_not_utf_8() -> None:
    """Broken bytes are refused, not written."""
    column = pa.array([b"ok", b"\xff\xfe", b"ok"]).view(pa.string())
    with pytest.raises(RowError, match="not UTF-8") as caught:
        read(from_arrow(table(message_text=column)))
    assert (caught.value.row, caught.value.column) == (2, "message_text")


def test_batches_of_other_columns() -> None:
    """All batches of an iterator must have the schema of the first."""
    other = table(status=pa.array(["x"] * 3)).to_batches()
    with pytest.raises(SchemaError, match="another schema"):
        read(from_arrow(iter(table().to_batches() + other)))


# --- size and laziness ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [pa.array, lambda texts: pa.array(texts).dictionary_encode(), lambda texts: pa.array(texts, pa.string_view())],
)
def test_batches_are_bounded_in_bytes(wrap: Callable[[list[str]], pa.Array]) -> None:
    """Big cells make small batches; nothing is lost."""
    big = "x" * 300_000
    texts = [big + str(i % 3) for i in range(40)]
    source = from_arrow(table(40, message_text=wrap(texts)))
    batches = list(source.batches(Intake(UTC)))
    assert max(batch.nbytes for batch in batches) < 2 * MAX_BYTES
    assert [text for batch in batches for text in batch["message_text"].to_pylist()] == texts


def test_an_iterator_is_pulled_a_batch_at_a_time() -> None:
    """Nothing is read ahead, and closing reaches the iterator."""
    events: list[object] = []

    def given_() -> Iterator[pa.RecordBatch]:
        try:
            for number in range(5):
                events.append(number)
                yield table().to_batches()[0]
        finally:
            events.append("closed")

    batches = from_arrow(given_()).batches(Intake(UTC))
    assert events == []
    next(batches)
    next(batches)
    assert events == [0, 1]
    batches.close()
    assert events == [0, 1, "closed"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=6))
def test_any_split_into_batches(cuts: list[int]) -> None:
    """The rows are the same."""
    made = table(40, message_text=pa.array([str(i) for i in range(40)]))
    bounds = sorted({0, *cuts, 40})
    batches = [b for a, z in pairwise(bounds) for b in made.slice(a, z - a).to_batches()]
    assert read(from_arrow(iter(batches))).equals(read(from_arrow(made)))


def test_other_libraries_frames() -> None:
    """Whatever has an Arrow stream is a table."""
    made = table(message_text=pa.array(TEXTS))
    expected = read(from_arrow(made))
    frame = pl.from_arrow(made)
    assert read(from_arrow(frame)).equals(expected)
    with duckdb.connect() as connection:
        connection.register("made", made)
        assert read(from_arrow(connection.sql("FROM made"))).equals(expected)
    assert read(from_arrow(made.to_batches()[0])).equals(expected)


# --- files ---------------------------------------------------------------------------------------------------------

FULL = table(
    contact_name=pa.array(['Jane "J" Doe', None, ""]),
    message_text=pa.array(["line\r\nline", None, ""]),
    media_url=pa.array(["https://a/1,https://b/2", None, ""]),
    created_at=pa.array([MOMENT, None, None], pa.timestamp("us", "UTC")),
)


def as_text(made: pa.Table) -> pa.Table:
    for name in ("message_time", "created_at"):
        texts = [None if m is None else m.isoformat() for m in made[name].to_pylist()]
        made = made.set_column(made.schema.get_field_index(name), name, pa.array(texts, pa.string()))
    return made


def write_lines(made: pa.Table, path: Path, opener: Any = open) -> None:
    with opener(path, "wb") as file:
        for row in as_text(made).to_pylist():
            file.write(json.dumps(row).encode() + b"\n\n")


def write_csv(made: pa.Table, path: Path) -> None:
    pacsv.write_csv(as_text(made), path, pacsv.WriteOptions(quoting_style="all_valid"))


def write_stream(made: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, made.schema) as writer:
        writer.write_table(made)


def write_ipc(made: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, made.schema) as writer:
        writer.write_table(made)


WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "a.parquet": pq.write_table,
    "a.arrow": write_ipc,
    "a.feather": write_ipc,
    "a.arrows": write_stream,
    "a.csv": write_csv,
    "a.jsonl": write_lines,
    "a.ndjson.gz": lambda made, path: write_lines(made, path, gzip.open),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file(name: str, tmp_path: Path) -> None:
    """The same rows from each, null and empty text told apart; closed early, it closes its file."""
    WRITERS[name](FULL, tmp_path / name)
    source = open_source(tmp_path / name)
    assert read(source).equals(read(from_arrow(FULL)))
    batches = source.batches(Intake(UTC))
    next(batches)
    batches.close()


def test_an_exported_csv_is_read_back(tmp_path: Path) -> None:
    """What the engine writes, it reads."""
    export = export_conversations(FULL, channel=Channel("x"), date_range=DateRange(MOMENT.date(), MOMENT.date()))
    with zipfile.ZipFile(export.write_to(tmp_path)) as opened:
        (name,) = opened.namelist()
        (tmp_path / "back.csv").write_bytes(opened.read(name))
    back = read(open_source(tmp_path / "back.csv"))
    assert back.drop_columns("created_at").equals(read(from_arrow(FULL)).drop_columns("created_at"))


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("a.parquet", b"no parquet", SourceError, "Parquet"),
        ("a.arrow", b"no arrow", SourceError, "Arrow IPC"),
        ("a.csv", b"", SourceError, "CSV"),
        (
            "a.csv",
            b"message_id,conversation_id,direction,speaker_type,message_time\n1,2\n",
            SourceError,
            "Expected 5 columns",
        ),
        ("a.csv", b"a,b\n1,2\n", SchemaError, "missing"),
        ("a.jsonl", b"{\n", SourceError, "not JSON"),
        ("a.jsonl", b"[1]\n", SourceError, "no JSON object"),
        ("a.jsonl", b'{"message_id": "1"}\n', SchemaError, "missing"),
    ],
)
def test_a_file_that_is_none(name: str, content: bytes, error: type[Exception], words: str, tmp_path: Path) -> None:
    """The file is named, and what it should be."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=words):
        read(open_source(tmp_path / name))


def line(**changes: object) -> bytes:
    keys = {"message_id": "m", "conversation_id": "c", "direction": "inbound", "speaker_type": "bot"}
    return json.dumps(keys | {"message_time": "2026-06-11T06:50:43Z"} | changes).encode() + b"\n"


@pytest.mark.parametrize(
    ("bad", "column"),
    [
        ({"message_text": 5}, "message_text"),
        ({"media_url": ["u", None]}, "media_url"),
        ({"message_time": 1}, "message_time"),
    ],
)
def test_a_value_of_the_wrong_kind_in_json_lines(bad: dict[str, object], column: str, tmp_path: Path) -> None:
    """Its line, ids and column are named."""
    (tmp_path / "a.jsonl").write_bytes(line() + line(message_id="bad", **bad))
    with pytest.raises(RowError) as caught:
        read(open_source(tmp_path / "a.jsonl"))
    error = caught.value
    assert (error.row, error.column, error.conversation_id, error.message_id) == (2, column, "c", "bad")


def test_a_broken_line_in_json_lines(tmp_path: Path) -> None:
    """Its number is given, whatever was good before."""
    (tmp_path / "a.jsonl").write_bytes(line() * 3 + b'{"message_id": "m\n' + line())
    with pytest.raises(SourceError, match="line 4"):
        read(open_source(tmp_path / "a.jsonl"))


def test_json_lines_with_integers_lists_and_surrogates(tmp_path: Path) -> None:
    """Integer ids, lists or text as URLs, and lone surrogates replaced and counted, or refused."""
    content = line(message_id=1, media_url=["a,b", "c"]) + line(media_url="u", message_text="x\ud800y", other=1)
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + content)
    intake = Intake(UTC)
    (batch,) = open_source(tmp_path / "a.jsonl").batches(intake)
    assert batch["message_id"].to_pylist() == ["1", "m"]
    assert batch["media_url"].to_pylist() == ["a%2Cb,c", "u"]
    assert batch["message_text"].to_pylist() == [None, "x\ufffdy"]
    assert intake.replaced_surrogates == 1
    with pytest.raises(RowError, match="surrogate") as caught:
        read(open_source(tmp_path / "a.jsonl"), strict=True)
    assert caught.value.row == 2


def test_the_ending_tells_the_format(tmp_path: Path) -> None:
    """An unknown one is refused unless the format is given; a missing file is the system's error."""
    path = tmp_path / "chats.data"
    write_lines(FULL, path)
    with pytest.raises(OptionError, match="ending") as caught:
        open_source(path)
    assert caught.value.option == "format"
    assert read(open_source(path, format="jsonl")).num_rows == 3
    with pytest.raises(OptionError):
        open_source(path, format="xml")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(OptionError):
        open_source()
    with pytest.raises(FileNotFoundError):
        open_source(tmp_path / "none.csv")


def test_offsets_of_other_zones_in_text() -> None:
    """A fixed offset and the zone of the export agree on the moment."""
    moment = datetime(2026, 3, 8, 12, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    assert one(table(message_time=pa.array([moment.isoformat()] * 3)), "message_time", NEW_YORK) == [moment] * 3
