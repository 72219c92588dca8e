"""Rows as dictionaries and frames: what they give is what any other source of the same rows gives."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # its stubs are a package of their own
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_engine import Channel, DateRange, OptionError, RowError, SchemaError, SourceTypeError, export_conversations
from export_engine.schema import MAX_BATCH_BYTES, MAX_BATCH_ROWS, ROW_SCHEMA
from export_engine.sources import Source, SourceContext, from_arrow, from_rows
from export_engine.sources.open import source_of

FLAT = Path(__file__).parents[2] / "fixtures" / "conversations.parquet"
ROW = {
    "message_id": "m-1",
    "conversation_id": "c-1",
    "direction": "inbound",
    "speaker_type": "customer",
    "message_time": datetime(2026, 6, 2, 8, tzinfo=UTC),
}


def read(source: Source, **options: Any) -> pa.Table:
    return pa.Table.from_batches(source.batches(SourceContext(UTC, **options)), ROW_SCHEMA)


def exported(source: Any) -> bytes:
    june = DateRange(date(2026, 6, 1), date(2026, 6, 30))
    return b"".join(export_conversations(source, channel=Channel("x"), date_range=june, export_id="x"))


@pytest.mark.parametrize(
    "frame",
    [
        lambda table: from_rows(table.to_pylist()),
        lambda table: from_rows(map(MappingProxyType, table.to_pylist())),
        pl.DataFrame,
        pa.Table.to_pandas,
    ],
    ids=["dictionaries", "mappings", "polars", "pandas"],
)
def test_the_same_rows_give_the_same_archive(frame: Any) -> None:
    """Byte for byte, as from the file."""
    table = pq.read_table(FLAT)
    assert exported(frame(table)) == exported(table)


VALUES = {
    name: st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    for name in ("contact_name", "contact_phone", "speaker_name", "message_text", "status", "sender_account")
}


@pytest.mark.slow
@given(st.lists(st.fixed_dictionaries({}, optional={**VALUES, "surprise": st.integers()}), max_size=200))
def test_rows_are_the_table_of_them(found: list[dict[str, Any]]) -> None:
    """A missing key is null; others are told and left out."""
    rows = [{**row, **ROW, "message_id": number} for number, row in enumerate(found)]
    context = SourceContext(UTC)
    made = pa.Table.from_batches(from_rows(iter(rows)).batches(context), ROW_SCHEMA)
    columns = {name: [row.get(name) for row in rows] for name in ROW_SCHEMA.names}
    types = {field.name: field.type for field in ROW_SCHEMA} | {"message_id": pa.int64()}
    assert made == read(from_arrow(pa.table({name: pa.array(columns[name], types[name]) for name in columns})))
    assert context.ignored_columns == (("surprise",) if any("surprise" in row for row in rows) else ())


@pytest.mark.parametrize("column", ["message_text", "media_url"])
def test_batches_are_bounded(column: str) -> None:
    """In rows and in bytes, in the order of the rows, and no more is read ahead."""
    asked = 0

    def rows(text: Any) -> Iterator[Mapping[str, Any]]:
        nonlocal asked
        for number in range(40_000):
            asked = number + 1
            yield {**ROW, "message_id": number, column: text}

    batches = list(from_rows(rows("x")).batches(SourceContext(UTC)))
    assert max(batch.num_rows for batch in batches) <= MAX_BATCH_ROWS
    ids = [number for batch in batches for number in batch.column("message_id").to_pylist()]
    assert ids == list(map(str, range(40_000)))
    huge = "x" * (MAX_BATCH_BYTES // 8)
    reading = from_rows(rows([huge] if column == "media_url" else huge)).batches(SourceContext(UTC))
    assert next(reading).nbytes <= 2 * MAX_BATCH_BYTES
    assert asked < 30
    reading.close()


def test_an_iterator_is_closed() -> None:
    """When the batches are closed early; its own error arrives as it is."""
    closed = []

    def rows(problem: Exception | None = None) -> Iterator[Mapping[str, Any]]:
        try:
            while True:
                yield ROW
                if problem:
                    raise problem
        finally:
            closed.append(True)

    batches = from_rows(rows()).batches(SourceContext(UTC))
    next(batches)
    batches.close()
    problem = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        read(from_rows(rows(problem)))
    assert caught.value is problem
    assert closed == [True, True]


@pytest.mark.parametrize(
    ("change", "column", "says"),
    [
        ({"message_time": "noon"}, "message_time", "noon"),
        ({"message_id": ""}, "message_id", "is empty"),
        ({"direction": None}, "direction", "is missing"),
        ({"status": 7}, "status", "is not text; give a str or None"),
        *(
            ({column: nothing}, column, "give None where there is none")
            for column in ("status", "contact_phone")
            for nothing in (float("nan"), np.float32("nan"), pd.NA, pd.NaT)
        ),
        ({"contact_phone": 12025550123.0}, "contact_phone", "a float may have lost digits"),
    ],
)
def test_a_bad_value_is_named(change: dict[str, Any], column: str, says: str) -> None:
    """With the row, the conversation and the column; all rules are those of every source."""
    with pytest.raises(RowError, match=says) as caught:
        read(from_rows([ROW] * 100 + [ROW | {"message_id": "m-2"} | change] + [ROW]))
    assert (caught.value.row, caught.value.column, caught.value.conversation_id) == (101, column, "c-1")


def test_a_row_that_is_none() -> None:
    """It is said which, and what it is."""
    with pytest.raises(SchemaError, match="row 71 is list: give dictionaries"):
        read(from_rows([ROW] * 70 + [list(ROW)]))  # type: ignore[list-item]  # wrong on purpose
    with pytest.raises(SchemaError, match=r"columns 'message_id', .* are missing; the columns are id"):
        read(from_rows([{"id": 1}]))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (pl.LazyFrame({"a": [1]}), r"LazyFrame: pass what its \.collect\(\) returns"),
        ({"message_id": ["m-1"]}, r"dict: pass from_rows\(rows\).*pyarrow\.table"),
        ([ROW], r"rows as dict: pass from_rows\(rows\)"),
        (iter([ROW]), r"rows as dict: pass from_rows\(rows\)"),
        ("a.csv", r"str: .*open_source\(path\)"),
        (7, "int: pass conversations"),
    ],
)
def test_what_is_no_source_says_what_is(given: Any, says: str) -> None:
    """A TypeError, and an OptionError."""
    with pytest.raises(SourceTypeError, match=says) as caught:
        read(source_of(given))
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, OptionError)
    assert caught.value.option == "source"


def test_a_pandas_frame_with_odd_values_is_told() -> None:
    """A column of objects that are not of one kind, and numbers that lost their digits."""
    frame = pd.DataFrame([ROW, ROW | {"message_text": 7}])
    with pytest.raises(SchemaError, match="'message_text'"):
        read(source_of(frame))
    with pytest.raises(SchemaError, match="a float may have lost digits"):
        read(source_of(pd.DataFrame([ROW, ROW | {"contact_phone": 12025550123}])))


def test_rows_of_sqlite_are_rows() -> None:
    """They have keys and values, and are no mappings; beside dictionaries, too."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        query = ", ".join(f"'{value}' AS {name}" for name, value in ROW.items())
        given = connection.execute(f"SELECT {query}, 7 AS other UNION ALL SELECT {query}, 8").fetchall()  # fixed words
    context = SourceContext(UTC)
    (batch,) = from_rows([given[0], ROW, given[1]]).batches(context)
    assert batch.to_pylist() == [batch.to_pylist()[1]] * 3
    assert context.ignored_columns == ("other",)
    with pytest.raises(SourceTypeError, match="from_rows"):
        list(export_conversations(given, channel=Channel("D"), date_range=DateRange(date(2026, 6, 1))))


def test_a_row_that_has_a_column_twice_is_refused() -> None:
    """A join gives such rows; which of the two is meant nobody knows."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        given = connection.execute("SELECT 'm' AS message_id, 'n' AS message_id").fetchall()
    with pytest.raises(SchemaError, match="row 1 has 'message_id' 2 times: keep one"):
        list(from_rows(given).batches(SourceContext(UTC)))


@pytest.mark.parametrize("bad", [[0], [2], [0, 1, 70, 71], [*range(100)]])
def test_what_is_no_mapping_is_left_out_where_all_is_to_be_told(bad: list[int]) -> None:
    """The rows around it are read, with the numbers that they have, and each is told."""
    given: list[Any] = [ROW | {"message_id": f"m{at}", "status": 5.5 if at % 50 == 3 else None} for at in range(100)]
    for at in bad:
        given[at] = at
    told: list[str] = []

    def refused(error: Any) -> bool:
        told.append(str(error))
        return True

    found = read(from_rows(given), refused=refused)
    assert found["message_id"].to_pylist() == [f"m{at}" for at in range(100) if at not in bad]
    wanted = {f"row {at + 1} is int: give dictionaries whose keys are the columns" for at in bad}
    assert wanted <= {*told}
    others = sorted(line.split("row ")[1].split(",")[0] for line in told if line not in wanted)
    assert others == [f"{at + 1}" for at in (3, 53) if at not in bad]


@pytest.mark.parametrize("name", ["message_id", "contact_phone", "message_text", "message_time", "media_url"])
def test_an_integer_of_more_digits_than_python_writes(name: str) -> None:
    """It is refused as any other value, and shown by other digits."""
    value: Any = [10**5000] if name == "media_url" else 10**5000
    with pytest.raises(RowError, match=rf"row 1, column '{name}': \[?0x31e20801.* (is not|has|holds) .*; ") as caught:
        read(from_rows([ROW | {name: value}]))
    assert isinstance(caught.value.value, str)
