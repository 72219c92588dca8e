"""An archive is one channel's: rows that say two are refused, whatever source they come by, and never merged."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from export_engine import Channel, DateRange, RowError, export_conversations, open_source
from export_engine.check import check_source
from export_engine.sources import Source, from_arrow, from_rows, read_database, read_mapped, read_sql, sorted_rows
from tests.pipeline.exporting import JUNE, members

ONE, OTHER = "a1", "b'2"


def rows(*channels: Any) -> list[dict[str, Any]]:
    """Messages of one conversation's id, one of each channel."""
    row = {"conversation_id": "k", "direction": "inbound", "speaker_type": "customer", "message_text": "x"}
    row["message_time"] = "2026-06-02T00:00:00Z"
    return [{"message_id": f"m{n}", **row, "channel_id": channel} for n, channel in enumerate(channels)]


def exported(source: Any, days: DateRange = JUNE) -> list[tuple[str, bytes]]:
    return members(b"".join(export_conversations(source, channel=Channel("Desk"), date_range=days, export_id="t")))


def a_parquet(table: pa.Table, folder: Path) -> Path:
    pq.write_table(table, folder / "l.parquet")
    return folder / "l.parquet"


def a_csv(table: pa.Table, folder: Path) -> Path:
    pacsv.write_csv(table, folder / "l.csv")
    return folder / "l.csv"


def some_jsonl(table: pa.Table, folder: Path) -> Path:
    path = folder / "l.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    return path


def an_ipc_file(table: pa.Table, folder: Path) -> Path:
    with pa.ipc.new_file(folder / "l.arrow", table.schema) as writer:
        writer.write_table(table)
    return folder / "l.arrow"


def an_ipc_stream(table: pa.Table, folder: Path) -> Path:
    with pa.ipc.new_stream(folder / "l.arrows", table.schema) as writer:
        writer.write_table(table)
    return folder / "l.arrows"


def a_database(table: pa.Table, folder: Path) -> Source:
    with sqlite3.connect(folder / "l.db") as database:
        database.execute(f"CREATE TABLE message ({', '.join(table.column_names)})")
        marks = ", ".join("?" * table.num_columns)
        database.executemany(f"INSERT INTO message VALUES ({marks})", [(*row.values(),) for row in table.to_pylist()])  # noqa: S608  # question marks
    database.close()
    return read_database(f"sqlite:///{folder / 'l.db'}", "SELECT * FROM message")


SOURCES: dict[str, Callable[[pa.Table, Path], Source]] = {
    "table": lambda table, _: from_arrow(table),
    "batches": lambda table, _: from_arrow(batch for batch in table.to_batches(1)),
    "rows": lambda table, _: from_rows(table.to_pylist()),
    "parquet": lambda table, folder: open_source(a_parquet(table, folder)),
    "csv": lambda table, folder: open_source(a_csv(table, folder)),
    "jsonl": lambda table, folder: open_source(some_jsonl(table, folder)),
    "ipc file": lambda table, folder: open_source(an_ipc_file(table, folder)),
    "ipc stream": lambda table, folder: open_source(an_ipc_stream(table, folder)),
    "database": a_database,
    "query": lambda table, folder: read_sql("FROM read_parquet($files)", {"files": str(a_parquet(table, folder))}),
    "mapped": lambda table, folder: read_mapped(a_csv(table, folder), columns={"status": "'sent'"}, format="csv"),
    "sorted": lambda table, folder: sorted_rows(open_source(a_csv(table, folder))),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_two_channels(kind: str, tmp_path: Path) -> None:
    """The error names both, the rows, and what to do; a row in which nothing stands is of no other channel."""
    table = pa.Table.from_pylist(rows(None, ONE, None, ONE, OTHER))
    with pytest.raises(RowError) as caught:
        exported(SOURCES[kind](table, tmp_path))
    error = caught.value
    assert (error.column, error.value, error.row) == ("channel_id", OTHER, 5)
    assert (error.conversation_id, error.message_id) == ("k", "m4")
    assert "another channel than 'a1' in row 2" in str(error)
    assert "--where \"channel_id = 'a1'\"" in str(error)
    assert "export-engine batch" in str(error)


@pytest.mark.parametrize("kind", SOURCES)
def test_one_channel(kind: str, tmp_path: Path) -> None:
    """Its column changes nothing, and is told as one that is not exported."""
    table = pa.Table.from_pylist(rows(None, ONE, None, ONE, ONE))
    made = export_conversations(SOURCES[kind](table, tmp_path), channel=Channel("Desk"), date_range=JUNE, export_id="t")
    found = members(b"".join(made))
    assert [name for name, _ in found] == ["Unknown contact--2026-06-02_000000--Desk.csv"]
    assert found[0][1].count(b"\r\n") == 6
    assert made.report.ignored_columns == ("channel_id",)


@pytest.mark.parametrize(("write", "kind"), [(a_parquet, "parquet"), (a_csv, "csv"), (some_jsonl, "jsonl")])
def test_the_advice_helps(write: Callable[[pa.Table, Path], Path], kind: Any, tmp_path: Path) -> None:
    """`--where` keeps one channel's rows; who makes the conversations' ids of the channels wants all of them."""
    path = write(pa.Table.from_pylist(rows(OTHER, ONE, ONE)), tmp_path)
    with pytest.raises(RowError, match="channel_id = 'b''2'"):
        exported(read_mapped(path, columns={}, where="direction = 'inbound'", format=kind))
    assert exported(read_mapped(path, columns={}, where="channel_id = 'b''2'", format=kind))[0][1].count(b"\r\n") == 2
    both = read_mapped(path, columns={"conversation_id": "Channel_ID || '/' || conversation_id"}, format=kind)
    assert len(exported(both)) == 2


UUIDS = [UUID(int=n).bytes for n in (1, 1, 2)]

#: Columns of many types, and what their first and last value are called.
TYPES = {
    "integers": (pa.array([7, 7, 8]), "7", "8"),
    "decimals": (pa.array([Decimal(7), None, Decimal(8)]), "7", "8"),
    "floats": (pa.array([7.0, float("nan"), 8.0]), "7.0", "8.0"),
    "booleans": (pa.array([True, True, False]), "True", "False"),
    "uuids": (pa.array(UUIDS, pa.uuid()), str(UUID(int=1)), str(UUID(int=2))),
    "fixed bytes": (pa.array(UUIDS, pa.binary(16)), str(UUID(int=1)), str(UUID(int=2))),
    "bytes": (pa.array([b"a", b"\xff", b"a"]), "a", "\\xff"),
    "no UTF-8": (pa.array([b"a", b"a", b"\xff"]).view(pa.string()), "a", "\\xff"),
    "views": (pa.array(["a", None, "b" * 30], pa.string_view()), "a", "b" * 30),
    "a dictionary": (pa.array(["a", "a", "b"]).dictionary_encode(), "a", "b"),
    "runs": (pa.array(["a", "a", "b"]), "a", "b"),
    "structs": (pa.array([{"id": 1}, None, {"id": 2}]), "{'id': 1}", "{'id': 2}"),
    "lists": (pa.array([[1], [1], [2]]), "[1]", "[2]"),
}


@pytest.mark.parametrize("kind", TYPES)
def test_columns_of_any_type(kind: str) -> None:
    """An id of whatever type is held against the others; nothing of the kind is refused for its type."""
    column, first, other = TYPES[kind]
    if kind == "runs":
        column = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3]), pa.array(["a", "b"]))
    table = pa.Table.from_pylist(rows(None, None, None)).drop_columns(["channel_id"])
    with pytest.raises(RowError) as caught:
        exported(table.append_column("channel_id", column))
    assert (caught.value.value, f"than {first!r} in row 1" in str(caught.value)) == (other, True)
    alike = column.slice(0, 1)
    assert exported(table.slice(0, 1).append_column("channel_id", alike))


@pytest.mark.parametrize("nothing", [None, "", float("nan")])
def test_nothing_is_no_channel(nothing: object) -> None:
    """Null, empty text, and what data frames have instead."""
    assert exported(from_rows(rows(ONE, nothing, ONE, nothing)))
    assert exported(from_rows(rows(nothing, nothing)))


def test_channels_in_json_of_two_kinds(tmp_path: Path) -> None:
    """7 and "7" are one channel, as they are one id; the road that the lines took is no matter."""
    path = tmp_path / "l.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(7, "7", 7)))
    assert exported(open_source(path))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(*[7] * 100, *["7"] * 100, 8)))
    with pytest.raises(RowError, match=r"row 201, .*than '7' in row 1,"):
        exported(open_source(path))


def test_several_inputs(tmp_path: Path) -> None:
    """The error says in which of them each row is."""
    for name, channel in (("1.jsonl", ONE), ("2.jsonl", OTHER)):
        (tmp_path / name).write_text(json.dumps(rows(channel)[0]) + "\n")
    with pytest.raises(RowError) as caught:
        exported(sorted_rows(open_source(tmp_path)))
    assert f"than 'a1' in row 1 of {tmp_path}/1.jsonl," in str(caught.value)
    assert caught.value.__notes__ == [f"this is in {tmp_path}/2.jsonl"]


def test_folders_that_are_called_after_channels(tmp_path: Path) -> None:
    """What a path says counts as what a row says, as query engines have it."""
    for number, channel in enumerate(("a%2F1", "__HIVE_DEFAULT_PARTITION__", "b")):
        folder = tmp_path / f"channel_id={channel}"
        folder.mkdir()
        pq.write_table(pa.Table.from_pylist(rows("x")).drop_columns(["channel_id"]), folder / f"{number}.parquet")
    assert exported(
        sorted_rows(open_source(tmp_path / "channel_id=a%2F1", tmp_path / "channel_id=__HIVE_DEFAULT_PARTITION__"))
    )
    with pytest.raises(RowError, match=r"'b' is another channel than 'a/1' in row 1 of .*0.parquet"):
        exported(sorted_rows(open_source(tmp_path)))


def test_check_counts_the_rows_of_other_channels() -> None:
    """And goes on looking."""
    table = pa.Table.from_pylist([*rows(ONE, OTHER, ONE, OTHER), {**rows(ONE)[0], "direction": "sideways"}])
    report = check_source(table, date_range=JUNE)
    assert not report.ok
    assert [(problem.column, problem.count) for problem in report.problems] == [("channel_id", 2), ("direction", 1)]
    assert [example.row for example in report.problems[0].examples] == [2, 4]
