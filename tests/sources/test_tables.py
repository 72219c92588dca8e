"""Flat tables to record batches: every accepted type, in memory and in files; bounds; errors that say where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine import EXCEL, Channel, DateRange, export_conversations
from export_engine.errors import RowError, SchemaError, SourceError
from export_engine.schema import COLUMNS, MAX_BATCH_BYTES, MAX_BATCH_ROWS, ROW_SCHEMA
from export_engine.sources import Source, SourceContext
from export_engine.sources import tables as arrow
from export_engine.sources.ipc import read_ipc
from export_engine.sources.parquet import read_parquet
from export_engine.sources.rows import from_rows
from export_engine.sources.tables import from_arrow

TAIPEI = ZoneInfo("Asia/Taipei")
MOMENT = datetime(2026, 6, 11, 6, 50, 43, 861185, tzinfo=UTC)
REQUIRED = [column.name for column in COLUMNS if column.required]


def table(rows: int = 2, **columns: Any) -> pa.Table:
    """The required columns, and those given."""
    given: dict[str, Any] = {
        "message_id": [f"m{row}" for row in range(1, rows + 1)],
        "conversation_id": ["c1"] * rows,
        "direction": ["inbound"] * rows,
        "speaker_type": ["customer"] * rows,
        "message_time": pa.array([MOMENT] * rows, pa.timestamp("us", "UTC")),
    }
    typed = {name: pa.array(cells, pa.string()) if isinstance(cells, list) else cells for name, cells in given.items()}
    return pa.table({**typed, **columns})


def batches(source: Source, **options: Any) -> list[pa.RecordBatch]:
    """What a source yields, held against what every source promises."""
    found = list(source.batches(SourceContext(**{"timezone": UTC, **options})))
    for batch in found:
        batch.validate(full=True)
        assert batch.schema.equals(ROW_SCHEMA)
        assert 0 < batch.num_rows <= MAX_BATCH_ROWS
        assert batch.num_rows == 1 or batch.nbytes < 1.5 * MAX_BATCH_BYTES
    return found


def cells(source: Source, name: str, **options: Any) -> list[Any]:
    return [cell for batch in batches(source, **options) for cell in batch.column(name).to_pylist()]


def refusal(source: Source, **options: Any) -> RowError:
    with pytest.raises(RowError) as caught:
        batches(source, **options)
    return caught.value


def parquet(given: pa.Table, folder: Path) -> Source:
    pq.write_table(given, folder / "t.parquet", row_group_size=2)
    return read_parquet(folder / "t.parquet")


def ipc_file(given: pa.Table, folder: Path) -> Source:
    with pa.ipc.new_file(folder / "t.arrow", given.schema) as sink:
        sink.write_table(given)
    return read_ipc(folder / "t.arrow")


def ipc_stream(given: pa.Table, folder: Path) -> Source:
    with pa.ipc.new_stream(folder / "t.arrows", given.schema) as sink:
        sink.write_table(given)
    return read_ipc(folder / "t.arrows")


WAYS: dict[str, Callable[[pa.Table, Path], Source]] = {
    "table": lambda given, _: from_arrow(given),
    "reader": lambda given, _: from_arrow(given.to_reader()),
    "iterator": lambda given, _: from_arrow(iter(given.to_batches())),
    "polars": lambda given, _: from_arrow(pl.from_arrow(given)),
    "parquet": parquet,
    "ipc file": ipc_file,
    "ipc stream": ipc_stream,
}

TEXT = ["é,", None, ""]
URLS = [["http://a/?x=1,2", "b"], None, []]
JOINED = ["http://a/?x=1%2C2,b", None, None]
RAW = [bytes(range(at, at + 16)) for at in range(3)]
UUIDS = pa.ExtensionArray.from_storage(pa.uuid(), pa.array(RAW, pa.binary(16)))
UUID_TEXTS = [str(UUID(bytes=octets)) for octets in RAW]
JSON = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['["a,", "b"]', None, "[]"]))


def _coded(lists: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(range(len(lists)), pa.int8()), lists)


def _runs(lists: pa.Array) -> pa.Array:
    return pa.RunEndEncodedArray.from_arrays(pa.array(range(1, len(lists) + 1), pa.int32()), lists)


# A column, an array of it, what it is read as.
VARIANTS: list[tuple[str, pa.Array, list[Any]]] = [
    *(("message_text", pa.array(TEXT, kind), TEXT) for kind in (pa.string(), pa.large_string(), pa.string_view())),
    ("message_text", pa.array(TEXT).dictionary_encode(), TEXT),
    ("message_text", pa.nulls(3), [None] * 3),
    ("message_id", pa.array([1, -2, 2**63 - 1]), ["1", "-2", "9223372036854775807"]),
    ("conversation_id", pa.array([0, 1, 2**64 - 1], pa.uint64()), ["0", "1", "18446744073709551615"]),
    ("message_text", pa.array([b"a", None, b""]), ["a", None, ""]),
    ("message_text", pa.array([b"a", None, b""], pa.large_binary()), ["a", None, ""]),
    ("message_text", pa.array([b"a", None, b""], pa.binary_view()), ["a", None, ""]),
    ("message_text", pa.array([b"ab", None, b"\xc3\xa9"], pa.binary(2)), ["ab", None, "é"]),
    ("message_text", pa.array([b"a", None, b"a"]).dictionary_encode(), ["a", None, "a"]),
    ("message_text", JSON, ['["a,", "b"]', None, "[]"]),
    ("media_url", JSON, ["a%2C,b", None, None]),
    ("message_text", pc.run_end_encode(pa.array(["a", "a", None])), ["a", "a", None]),
    ("conversation_id", pc.run_end_encode(pa.array([7, 7, 8])), ["7", "7", "8"]),
    *(
        ("message_text", pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int16()), values), ["é", "é", None])
        for values in (
            pa.array(["é", None], pa.string_view()),
            pa.array(["é", None]).dictionary_encode(),
            pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int8()), pa.array([None, "é"], pa.string_view())),
        )
    ),
    ("message_id", pa.RunEndEncodedArray.from_arrays(pa.array([1, 2, 3], pa.int32()), UUIDS), UUID_TEXTS),
    ("conversation_id", pa.array([7, 7, 8]).dictionary_encode(), ["7", "7", "8"]),
    ("message_id", pa.array([10**20, 5, -1], pa.decimal128(38, 0)), [str(10**20), "5", "-1"]),
    ("message_id", pa.array([Decimal("7.00"), Decimal(8), Decimal(9)], pa.decimal128(9, 2)), ["7", "8", "9"]),
    ("contact_phone", pa.array([12025550123, None, 1]), ["12025550123", None, "1"]),
    ("contact_phone", pa.array([12025550123, None, 1], pa.decimal128(20, 0)), ["12025550123", None, "1"]),
    ("message_time", pa.array([b"2026-06-11 06:50:43.861185 UTC"] * 3), [MOMENT] * 3),
    ("media_url", pa.array(["a,b", None, ""]), ["a,b", None, ""]),
    ("media_url", pa.array(['["a,", "b"]', "[x", "[]"]), ["a%2C,b", "[x", None]),
    *(
        ("media_url", pa.array(URLS, kind(text)), JOINED)
        for kind in (pa.list_, pa.large_list, pa.list_view, pa.large_list_view)
        for text in (pa.string(), pa.large_string(), pa.string_view())
    ),
    *(
        ("media_url", coded(pa.array([["a,", "b"], None, []], kind(text))), ["a%2C,b", None, None])
        for kind in (pa.list_, pa.large_list, pa.list_view, pa.large_list_view)
        for text in (pa.string(), pa.string_view(), pa.binary())
        for coded in (_coded, _runs)
    ),
    ("media_url", pa.DictionaryArray.from_arrays(pa.array([0, 0, None], pa.int8()), pa.nulls(1)), [None] * 3),
    ("media_url", pa.array([["a,", "b"], None, ["c", ""]], pa.list_(pa.string(), 2)), ["a%2C,b", None, "c,"]),
    ("created_at", pa.array([MOMENT, None, MOMENT], pa.timestamp("us")), [MOMENT, None, MOMENT]),
    ("created_at", pa.array(["2026-06-11T06:50:43.861185", None, None]), [MOMENT, None, None]),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "array", "expected"), VARIANTS, ids=lambda value: str(getattr(value, "type", "")))
def test_every_accepted_type(way: str, name: str, array: pa.Array, expected: list[Any], tmp_path: Path) -> None:
    """A column of any accepted type is read the same, from memory and from files, sliced or not."""
    try:
        source = WAYS[way](table(3, **{name: array}), tmp_path)
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError, pl.exceptions.PolarsError, BaseExceptionGroup) as error:
        pytest.skip(f"cannot be stored: {error}")
    assert cells(source, name) == expected
    assert cells(from_arrow(table(3, **{name: array}).slice(1)), name) == expected[1:]


@pytest.mark.parametrize("way", [way for way in WAYS if way != "polars"])  # polars has no UUIDs, only their bytes
def test_uuids_are_their_text(way: str, tmp_path: Path) -> None:
    """In both ids, sliced or not, with dictionaries where they can be stored."""
    given = table(3, message_id=UUIDS, conversation_id=UUIDS)
    assert cells(WAYS[way](given, tmp_path), "message_id") == UUID_TEXTS
    assert cells(WAYS[way](given, tmp_path), "conversation_id") == UUID_TEXTS
    coded = table(3, conversation_id=pa.DictionaryArray.from_arrays(pa.array([2, 0, 2]), UUIDS))
    assert cells(from_arrow(coded.slice(1)), "conversation_id") == [UUID_TEXTS[0], UUID_TEXTS[2]]


ASCII = [f"{at:016d}".encode() for at in range(3)]


@pytest.mark.parametrize("raw", [RAW, ASCII, [RAW[0], ASCII[1], b"\xff" * 16]], ids=["bytes", "ascii", "mixed"])
@pytest.mark.parametrize("way", [way for way in WAYS if way != "polars"])  # polars has bytes of any number
def test_sixteen_fixed_bytes_are_a_uuid(way: str, raw: list[bytes], tmp_path: Path) -> None:
    """All of a column's, whether some happen to be UTF-8 or not: its type tells, not its values."""
    column, expected = pa.array(raw, pa.binary(16)), [str(UUID(bytes=octets)) for octets in raw]
    given = table(3, message_id=column, conversation_id=column)
    assert cells(WAYS[way](given, tmp_path), "message_id") == expected
    assert cells(WAYS[way](given, tmp_path), "conversation_id") == expected
    for coded in (column.dictionary_encode(), pc.run_end_encode(column)):
        assert cells(from_arrow(table(3, message_id=coded)), "message_id") == expected
    with pytest.raises(SchemaError, match=r"'status' is .*: it must be text; cast it"):
        cells(WAYS[way](table(3, status=column), tmp_path), "status")


@pytest.mark.parametrize("octets", [RAW[1], b"\xff\x00", b"a\x00b", b"\x1fabc"])
@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view(), None])
@pytest.mark.parametrize("name", ["message_id", "conversation_id"])
def test_bytes_that_are_no_text_are_no_id(name: str, kind: pa.DataType | None, octets: bytes) -> None:
    """Neither what is not UTF-8 nor what is by accident; the error says what to do with a UUID's bytes."""
    values = [b"a", octets, b"c"]
    if kind is not None:
        source = from_arrow(table(3, **{name: pa.array(values, kind)}))
    else:
        source = from_rows([row | {name: values[at]} for at, row in enumerate(table(3).to_pylist())])
    error = refusal(source)
    assert (error.column, error.row, error.value) == (name, 2, octets)
    assert "is bytes that are no text; give a UUID as Arrow's type, 16 fixed bytes" in str(error)


def test_polars_categories_and_lists() -> None:
    """What polars makes of categories (a dictionary of views) and lists is read."""
    frame = pl.DataFrame({**table().to_pydict(), "status": ["x", None], "media_url": [["a,"], []]})
    source = from_arrow(frame.with_columns(pl.col("status").cast(pl.Categorical)))
    assert cells(source, "status") == ["x", None]
    assert cells(source, "media_url") == ["a%2C", None]


def test_duckdb_relation() -> None:
    """A DuckDB relation is read in its order."""
    given = table(20_000)
    with duckdb.connect() as connection:
        source = from_arrow(connection.from_arrow(given).order("message_id DESC"))
        assert cells(source, "message_id") == sorted(given["message_id"].to_pylist(), reverse=True)


def test_types_that_match_are_not_copied() -> None:
    """Columns of the right type are slices of the same memory."""
    given = table(3, message_text=["a", "b", "c"])
    (batch,) = batches(from_arrow(given))
    for name in ("message_id", "message_time", "message_text"):
        assert batch.column(name).buffers()[-1].address == given[name].chunk(0).buffers()[-1].address


def test_other_columns_are_ignored_and_named() -> None:
    """Columns that are not exported are named in the input's order."""
    context = SourceContext(UTC)
    list(from_arrow(table(zebra=[1, 2], apple=[{}, {}])).batches(context))
    assert context.ignored_columns == ("zebra", "apple")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9)), st.sampled_from([pa.string(), pa.string_view(), pa.dictionary(pa.int8(), "utf8")]))
def test_any_split_gives_the_same_rows(sizes: list[int], kind: pa.DataType) -> None:
    """However the rows are cut into batches, the same rows come out, numbered alike in errors."""
    rows = sum(sizes)
    given = table(rows, status=pa.array([f"s{row % 3}" for row in range(rows)]).cast(kind))
    parts = [given.slice(sum(sizes[:at]), size).combine_chunks() for at, size in enumerate(sizes)]
    pieces = [batch for part in parts for batch in part.to_batches()]
    whole = pa.Table.from_batches(batches(from_arrow(given)), ROW_SCHEMA)
    assert pa.Table.from_batches(batches(from_arrow(iter(pieces))), ROW_SCHEMA).equals(whole)


# --- times ---------------------------------------------------------------------------------------------------------

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


# --- bounds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), "utf8")])
def test_big_cells_are_cut_to_size(kind: pa.DataType) -> None:
    """Cells far above the bound come out whole, a few at a time; repeated ones too."""
    texts = ["x" * (3 << 20), "y" * (6 << 20), None, "z"] * 3
    assert cells(from_arrow(table(12, message_text=pa.array(texts).cast(kind))), "message_text") == texts


ID_TYPES = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.int64(),
    pa.dictionary(pa.int32(), pa.string()),
]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.sampled_from(ID_TYPES), st.integers(2, 12))
@settings(deadline=None, max_examples=50)
def test_cuts_between_conversations(runs: list[int], kind: pa.DataType, limit: int) -> None:
    """A batch ends where a conversation does, unless the one that goes on is all of it or began too far back."""
    nearby = 6
    ids = [10 + number for number, run in enumerate(runs) for _ in range(run)]
    column = pa.array(ids, pa.int64()).cast(pa.string()).cast(pa.large_string())
    column = column.dictionary_encode() if pa.types.is_dictionary(kind) else column.cast(kind)
    rows = table(len(ids), conversation_id=column)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow, "MAX_BATCH_ROWS", limit)
        patch.setattr(arrow, "_NEARBY", nearby)
        found = batches(from_arrow(rows))
    at = 0
    for batch in found:
        start, at = at, at + len(batch)
        assert batch.column("conversation_id").to_pylist() == list(map(str, ids[start:at]))
        if at < len(ids):
            torn = ids[at - 1] == ids[at]
            assert not torn or (len(batch) == limit and len({*ids[max(start, at - nearby) : at]}) == 1)
            if not torn and len(batch) < limit:  # no later end was possible
                assert at + ids.count(ids[at]) > start + limit
    assert at == len(ids)


@pytest.mark.parametrize("bad", [-1, 0, 1 << 30])
def test_wrong_offsets_near_a_cut(bad: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for a conversation's end trusts no offset of a table that perhaps came from a file."""
    monkeypatch.setattr(arrow, "MAX_BATCH_ROWS", 4)
    offsets = np.arange(0, 14, 2, dtype=np.int32)
    offsets[3] = bad
    column = pa.StringArray.from_buffers(6, pa.py_buffer(offsets), pa.py_buffer(b"aabbccddeeff"))
    with pytest.raises(SourceError, match="column of type string is damaged"):
        batches(from_arrow(table(6, conversation_id=column)))


def test_slices_beyond_two_gib() -> None:
    """The end of a large_string column of more than 2 GiB is read, though its offsets are too large for a string."""
    data = np.zeros(2**31 + 8, np.uint8)  # never touched, so never in memory
    data[-8:] = list(b"onetwo!!")
    offsets = pa.py_buffer(np.array([2**31, 2**31 + 3, 2**31 + 8]))
    column = pa.LargeStringArray.from_buffers(2, offsets, pa.py_buffer(data))
    assert cells(from_arrow(table(message_text=column)), "message_text") == ["one", "two!!"]


@pytest.mark.slow
def test_long_rows_of_parquet_are_read_few_at_a_time(tmp_path: Path) -> None:
    """Rows in hand follow the size of rows, not only their number."""
    random = np.random.default_rng(1)
    texts = [random.bytes(50_000).hex() for _ in range(1000)]
    given = table(1000, message_text=texts)
    pq.write_table(given, tmp_path / "t.parquet", use_dictionary=False, write_batch_size=10)  # pages of a usual size
    pool = pa.default_memory_pool()
    rows = read_parquet(tmp_path / "t.parquet").batches(SourceContext(UTC))
    before = pool.bytes_allocated()
    peak = max(pool.bytes_allocated() - before for _ in rows)
    assert peak < 10 * MAX_BATCH_BYTES < sum(map(len, texts)) / 2


def test_an_iterator_is_pulled_batch_by_batch() -> None:
    """One batch in, its pieces out, then the next; closing closes the iterator."""
    events: list[str] = []

    def given() -> Iterator[pa.RecordBatch]:
        try:
            for at in range(3):
                events.append(f"read {at}")
                yield table().to_batches()[0]
        finally:
            events.append("closed")

    rows = from_arrow(given()).batches(SourceContext(UTC))
    assert events == []
    next(rows)
    events.append("handed on")
    next(rows)
    rows.close()
    assert events == ["read 0", "handed on", "read 1", "closed"]


# --- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "column"),
    [
        *((table().drop_columns([name]), name) for name in REQUIRED),
        (table(message_time=[1, 2]), "message_time"),
        (table(message_time=pa.array([1, 2], pa.date32())), "message_time"),
        (table(contact_phone=[12025550123.0, None]), "contact_phone"),
        (table(contact_phone=[True, None]), "contact_phone"),
        (table(message_id=[1.5, 2]), "message_id"),
        (table(message_text=[1, 2]), "message_text"),
        (table(message_text=UUIDS.slice(1)), "message_text"),
        (table(contact_phone=UUIDS.slice(1)), "contact_phone"),
        (table(message_text=pa.array([1.5, 2]).dictionary_encode()), "message_text"),
        (table(message_text=pa.array([Decimal(1), None])), "message_text"),
        (table(message_time=pa.array([1.5, 2])), "message_time"),
        (table(message_id=[{"a": 1}, {"a": 2}]), "message_id"),
        (table(media_url=pa.array([[["a"]], [["b"]]])), "media_url"),
        (table(status=[True, None]), "status"),
        (table(media_url=[[1], []]), "media_url"),
        (table(message_id=pa.nulls(2)), "message_id"),
        (
            pa.Table.from_arrays([*table().columns, table()["direction"]], [*REQUIRED[:4], "direction", "direction"]),
            None,
        ),
    ],
)
def test_schema_is_checked_before_any_row(given: pa.Table, column: str | None) -> None:
    """A missing, doubled or impossible column is named before a row is read."""

    def never() -> Iterator[pa.RecordBatch]:
        raise AssertionError
        yield

    with pytest.raises(SchemaError) as caught:
        next(from_arrow(pa.RecordBatchReader.from_batches(given.schema, never())).batches(SourceContext(UTC)))
    assert column is None or caught.value.column == column


@pytest.mark.parametrize("name", REQUIRED)
def test_a_null_in_a_required_column(name: str) -> None:
    """It is refused with its place, also where a dictionary's value is the null."""
    column = table()[name].to_pylist()
    arrays = [pa.array([column[0], None])]
    if name != "message_time":
        arrays.append(pa.DictionaryArray.from_arrays([0, 1], pa.array([column[0], None])))
    for array in arrays:
        error = refusal(from_arrow(table(**{name: array})))
        assert (error.column, error.row, error.value) == (name, 2, None)


def test_numbers_as_times_need_the_option() -> None:
    """Before any row is read: the error names the option; with it they are times."""
    given = table(message_time=pa.array([1781160643, 1781160644]))
    with pytest.raises(SchemaError, match="--epoch"):
        batches(from_arrow(given))
    assert cells(from_arrow(given), "message_time", epoch="s")[0] == MOMENT.replace(microsecond=0)
    with pytest.raises(RowError, match="out of bounds"):
        batches(from_arrow(table(message_time=pa.array([1, 2**62]))), epoch="ms")


@pytest.mark.parametrize("name", ["message_id", "conversation_id"])
def test_an_empty_id(name: str) -> None:
    """It is refused with its place, whatever the type."""
    for column in (["a", ""], pa.array(["a", ""]).dictionary_encode(), pa.array([b"a", b""])):
        error = refusal(from_arrow(table(2, **{name: column})))
        assert (error.column, error.row, str(error).count("is empty")) == (name, 2, 1)


def test_customer_without_name_has_the_contacts() -> None:
    """Only null, and only a customer's, is the contact's name."""
    given = table(
        5,
        speaker_type=["customer", "customer", "customer", "agent", "bot"],
        speaker_name=[None, "", "J.", None, None],
        contact_name=["Jane"] * 5,
    )
    assert cells(from_arrow(given), "speaker_name") == ["Jane", "", "J.", None, None]
    assert cells(from_arrow(given.drop_columns(["speaker_name"])), "speaker_name") == ["Jane"] * 3 + [None] * 2


def _broken(kind: str) -> pa.Array:
    text = pa.array([b"fine", b"caf\xe9"]).view(pa.string())
    if kind == "dictionary":
        return pa.DictionaryArray.from_arrays([0, 1], text)
    if kind == "string_view":
        return pa.array([b"fine", b"caf\xe9"], pa.binary_view()).view(pa.string_view())
    return text if kind == "string" else pa.array([b"fine", b"caf\xe9"], pa.large_binary()).view(pa.large_string())


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "dictionary"])
def test_text_that_is_not_utf8(kind: str) -> None:
    """Readers do not check it; it is refused by conversation, message, row and bytes."""
    error = refusal(from_arrow(table(message_text=_broken(kind))))
    assert (error.conversation_id, error.message_id, error.row) == ("c1", "m2", 2)
    assert (error.column, error.value) == ("message_text", b"caf\xe9")


def test_a_url_that_is_null_or_not_utf8() -> None:
    """An item of a list is refused with the row of its list."""
    for items in (pa.array(["a", "b", None]), pa.array([b"a", b"b", b"\xff"]).view(pa.string())):
        error = refusal(from_arrow(table(3, media_url=pa.ListArray.from_arrays(pa.array([0, 1, 1, 3]), items))))
        assert (error.column, error.row, error.message_id) == ("media_url", 3, "m3")


def test_errors_of_the_caller_arrive_as_they_are() -> None:
    """Neither an iterator's error nor a reader's is wrapped."""

    def given() -> Iterator[pa.RecordBatch]:
        yield table().to_batches()[0]
        raise KeyError("mine")

    for data in (given(), pa.RecordBatchReader.from_batches(table().schema, given())):
        with pytest.raises(KeyError, match="mine"):
            batches(from_arrow(data))


def test_what_holds_no_record_batches() -> None:
    """Something else is a SourceError, as is something else among the batches."""
    with pytest.raises(SourceError, match="int"):
        from_arrow(1)
    with pytest.raises(SourceError, match="int"):
        batches(from_arrow([1]))


@pytest.mark.parametrize("binary", [False, True])
def test_anything_may_stand_under_a_null_of_views(binary: bool) -> None:
    """A view there leads nowhere and has any length, even below zero: it is not followed."""
    kind = pa.binary_view() if binary else pa.string_view()
    _, views, data = pa.array(["x" * 30] * 4, pa.string_view()).buffers()
    entries = np.frombuffer(views, np.int32).reshape(-1, 4).copy()
    entries[1] = (-(2**31), 7, 7, 7)
    column = pa.Array.from_buffers(kind, 4, [pa.py_buffer(b"\x0d"), pa.py_buffer(entries), data])
    assert cells(from_arrow(table(4, message_text=column)), "message_text") == ["x" * 30, None, "x" * 30, "x" * 30]
    assert cells(from_arrow(table(4, message_text=column).slice(1)), "message_text") == [None, "x" * 30, "x" * 30]
    coded = pa.DictionaryArray.from_arrays(pa.array([0, 1, 3]), column)
    assert cells(from_arrow(table(3, message_text=coded)), "message_text") == ["x" * 30, None, "x" * 30]


def _torn(octets: bytes) -> pa.Array:
    """Three texts, of which the second goes on far beyond the data."""
    ends = pa.py_buffer(np.array([0, 1, 2**40, len(octets)], np.int64))
    return pa.Array.from_buffers(pa.large_string(), 3, [None, ends, pa.py_buffer(octets)])


@pytest.mark.parametrize("wrapped", ["plain", "list", "dictionary"])
def test_a_wrong_offset_behind_text_that_is_not_utf8(wrapped: str) -> None:
    """It is looked for also where pyarrow's own check stops at the text before it."""
    column = _torn(b"\xffbc")
    if wrapped == "list":
        column = pa.LargeListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int64()), column)
    elif wrapped == "dictionary":
        column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), column, safe=False)
    name = "media_url" if wrapped == "list" else "message_text"
    with pytest.raises(SourceError, match="is damaged"):
        batches(from_arrow(table(3, **{name: column})))


def test_an_error_does_not_read_a_damaged_id() -> None:
    """The value, and the ids that could be read; one whose offsets lead out of its text is left out."""
    error = refusal(from_arrow(table(3, message_id=pa.array(["a", None, "b"]), conversation_id=_torn(b"abc"))))
    assert (error.column, error.row, error.conversation_id) == ("message_id", 2, None)


def test_offsets_may_be_followed_by_anything() -> None:
    """A buffer longer than its column needs, by however many bytes."""
    ends = pa.py_buffer(np.array([0, 1, 3, 3], np.int32).tobytes() + b"odd")
    column = pa.Array.from_buffers(pa.string(), 3, [None, ends, pa.py_buffer(b"a\xc3\xa9")])
    us = pa.py_buffer(np.full(3, 1_781_160_643_000_000).tobytes() + b"odd")
    times = pa.Array.from_buffers(pa.timestamp("us", "UTC"), 3, [None, us])
    given = table(3, message_text=column, media_url=column, message_time=times)
    assert cells(from_arrow(given), "message_text") == ["a", "é", ""]
    june = DateRange(date(2026, 6, 1), date(2026, 6, 30))
    export = export_conversations(given, channel=Channel("Desk"), date_range=june, dialect=EXCEL)
    assert b"".join(export)
    assert export.report.rows == 3


@pytest.mark.parametrize("given", [pl.Series(["a"]), pl.DataFrame({"message_id": pl.Series([1], dtype=pl.Int128)})])
def test_a_stream_of_something_else(given: Any) -> None:
    """What no table of Arrow's can hold is an error that says what was given."""
    with pytest.raises(SourceError, match=f"rows cannot be read from {type(given).__name__}: .*; give a table"):
        batches(from_arrow(given))
