"""Flat tables to record batches: every accepted type, in memory and in files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.errors import SchemaError
from export_engine.schema import ROW_SCHEMA
from export_engine.sources import Source, SourceContext
from export_engine.sources.rows import from_rows
from export_engine.sources.tables import from_arrow
from tests.sources.tables import MOMENT, RAW, UUIDS, batches, cells, ipc_file, ipc_stream, parquet, refusal, table

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
