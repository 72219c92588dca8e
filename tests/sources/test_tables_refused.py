"""Flat tables that break a rule or are damaged: the error says where."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # its stubs are a package of their own
import polars as pl
import pyarrow as pa
import pytest

from export_engine import EXCEL, Channel, DateRange, export_conversations
from export_engine.errors import RowError, SchemaError, SourceError
from export_engine.sources import SourceContext
from export_engine.sources.tables import from_arrow
from tests.sources.tables import MOMENT, REQUIRED, UUIDS, batches, cells, ipc_file, ipc_stream, parquet, refusal, table


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


TWICE = pd.concat([pd.DataFrame({"message_id": ["a"]}), pd.DataFrame({"message_id": ["b"]})], axis=1)


@pytest.mark.parametrize(
    "given",
    [
        pl.Series(["a"]),
        pl.DataFrame({"message_id": pl.Series([1], dtype=pl.Int128)}),
        pd.DataFrame({"message_id": ["a", 5]}),
        TWICE,
    ],
)
def test_a_stream_of_something_else(given: Any) -> None:
    """What no table of Arrow's can hold is an error that says what was given."""
    with pytest.raises(SourceError, match=f"rows cannot be read from {type(given).__name__}: .*; give a table"):
        batches(from_arrow(given))


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_column_without_a_value(name: str) -> None:
    """Its type is null: the first row is refused, as any null is; without a row there is nothing wrong."""
    for nulls in (pa.nulls(2), pa.nulls(2).dictionary_encode()):
        error = refusal(from_arrow(table(**{name: nulls})))
        assert (error.column, error.row, error.rule) == (name, 1, "is missing")
    assert batches(from_arrow(table(**{name: pa.nulls(2)}).slice(2))) == []


EMPTY = {
    "no dictionaries": pa.Table.from_pylist([]),
    "polars": pl.DataFrame(),
    "polars' columns": pl.DataFrame({name: [] for name in REQUIRED}),
    "pandas": pd.DataFrame(),
    "pandas' columns": pd.DataFrame(columns=REQUIRED),
    "nulls": pa.table({name: pa.nulls(0) for name in REQUIRED}),
}


@pytest.mark.parametrize("given", EMPTY.values(), ids=EMPTY)
def test_a_table_of_nothing(given: Any, tmp_path: Path) -> None:
    """It has no rows, and perhaps no columns or types: so has the file made of it, and so has the export."""
    assert batches(from_arrow(given)) == []
    stored = given if isinstance(given, pa.Table) else pa.RecordBatchReader.from_stream(given).read_all()
    for way in (parquet, ipc_file, ipc_stream):
        assert batches(way(stored, tmp_path)) == []


def test_rows_without_columns(tmp_path: Path) -> None:
    """There are rows, of which nothing is known."""
    given = pa.table({"other": [1]}).select([])
    for source in (from_arrow(given), ipc_file(given, tmp_path), ipc_stream(given, tmp_path)):
        with pytest.raises(SchemaError, match="are missing; the columns are none"):
            batches(source)
