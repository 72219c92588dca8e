"""What a lake lacks is told before anything is made, with a way out."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from export_engine import ExportError, OptionError, SchemaError, SourceError
from export_engine.batch import BatchPlan, Lake, export_lake
from tests.batch.lakes import exported, generated, with_column


@pytest.mark.parametrize("text", ["soon", "infinity", "2026-02-30T00:00:00Z", "1777680000"])
def test_a_creation_that_cannot_be_read(text: str, plan: BatchPlan) -> None:
    """It is no null, which the first message would stand for."""
    said = generated(50, 1).append_column("created_at", pa.array(["2026-03-01T00:00:00Z", text] * 25))
    with pytest.raises(SourceError, match="25 rows have a created_at that cannot be read"):
        exported(said, plan)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["channel_id", "conversation_id", "message_id", "message_time"])
def test_rows_that_would_vanish_are_counted(name: str, plan: BatchPlan) -> None:
    """And refused before anything is made, with a way out that the message names."""
    table = generated(100, 2)
    values = table[name].to_pylist()
    values[3] = values[77] = None
    table = with_column(table, name, pa.array(values, table.schema.field(name).type))
    with pytest.raises(SourceError, match=rf"2 rows have no {name}, .*--where '{name} IS NOT NULL'"):
        exported(table, plan)
    assert not Path(plan.target).exists()
    assert {result.status for result in exported(table, plan, where=f"{name} IS NOT NULL")} == {"done"}


@pytest.mark.parametrize(
    "text", ["", "soon", "infinity", "epoch", "-2026-05-01T00:00:00Z", "12026-05-01T00:00:00Z", "2026-13-01T00:00:00Z"]
)
def test_what_is_no_time_is_counted(text: str, plan: BatchPlan) -> None:
    """Text that says nothing of when, or what DuckDB alone knows, is no message out of the range; its place is told."""
    table = generated(100, 2)
    times = [time.isoformat() for time in table["message_time"].to_pylist()]
    times[5] = text
    ids = (f"{name} '{table[f'{name}_id'][5].as_py()}'" for name in ("channel", "conversation", "message"))
    said = (
        f"1 rows have no message_time, or none that can be read, .* the first in {', '.join(ids)} \\('{text}'\\): mend"
    )
    with pytest.raises(SourceError, match=said):
        exported(with_column(table, "message_time", pa.array(times)), plan)


@pytest.mark.parametrize("name", ["channel_id", "conversation_id", "message_id"])
def test_an_empty_id_is_none(name: str, plan: BatchPlan) -> None:
    """As for a single export; the way out leaves out what is null too."""
    table = generated(100, 2)
    values = table[name].to_pylist()
    values[9], values[11] = "", None
    table = with_column(table, name, pa.array(values))
    with pytest.raises(SourceError, match=f"2 rows have no {name}, .*--where \"{name} <> ''\", or in the query"):
        exported(table, plan)
    assert {result.status for result in exported(table, plan, where=f"{name} <> ''")} == {"done"}


@pytest.mark.parametrize("name", ["channel_id", "conversation_id", "message_id", "message_time", "direction"])
def test_a_lake_without_a_column(name: str, plan: BatchPlan) -> None:
    """Names it."""
    with pytest.raises(SchemaError, match=f"column '{name}' is missing"):
        exported(generated(10).drop_columns([name]), plan)


@pytest.mark.parametrize("name", ["channel_id", "channel_phone", "conversation_id", "message_id"])
def test_ids_that_may_have_lost_digits(name: str, plan: BatchPlan) -> None:
    """A float is no id, and no phone number."""
    table = generated(10).append_column("channel_phone", pa.array(["+12025550100"] * 10))
    with pytest.raises(SchemaError, match=f"column '{name}' is double"):
        exported(with_column(table, name, pa.array(np.arange(10.0))), plan)


def json_lake(folder: Path, **keys: Any) -> Path:
    """Two messages as JSON Lines, one of them with other values."""
    row: dict[str, Any] = {
        "message_id": "m",
        "conversation_id": "c",
        "channel_id": "7",
        "direction": "inbound",
        "message_text": None,
    }
    row |= {"speaker_type": "customer", "message_time": "2026-05-01T00:00:00Z", "media_url": ["https://a/b,c"]}
    path = folder / "lake.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in (row | {"message_id": 10**24}, row | keys)))
    return path


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"message_text": True},
            "1 messages have a value of 'message_text' that is no text, the first conversation 'c', ",
        ),
        ({"message_text": {"a": 1}}, "message 'm' ({\"a\":1}): mend them, or take their text as it is, with --map"),
        ({"message_text": 5.5}, "'message_text' that is no text"),
        ({"message_id": 1.5}, "'message_id' that is neither text nor a whole number"),
        ({"channel_id": [7]}, "'channel_id' that is neither text nor a whole number"),
        ({"contact_phone": 1.2025550100e10}, "'contact_phone' that is neither text nor a whole number"),
        ({"media_url": {"a": 1}}, "'media_url' that is neither text nor a list"),
        ({"message_text": "\ud83d"}, "DuckDB reads no half of a character (\\ud800 without its other): write \\ufffd"),
    ],
    ids=repr,
)
def test_json_of_another_kind(keys: dict[str, Any], said: str, plan: BatchPlan, tmp_path: Path) -> None:
    """Is refused as by a single export: SQL would make text of it. Mapped, it is the caller's own."""
    path = json_lake(tmp_path, **keys)
    with pytest.raises(SourceError) as caught:
        Lake.of_files([path], "jsonl")
    assert said in str(caught.value)
    if "message_text" in keys and "ud83d" not in repr(keys):
        lake = Lake.of_files([path], "jsonl", columns={"message_text": "message_text"})
        assert [(result.status, result.rows) for result in export_lake(lake, plan)] == [("done", 2)]


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


CSV = "channel_id,conversation_id,message_id,direction,speaker_type,message_time,message_text"
CSV_ROW = "x,c,m,inbound,bot,2026-05-02T08:00:00Z,hi"


@pytest.mark.parametrize(
    ("header", "row", "says"),
    [
        (f"{CSV},message_text", f"{CSV_ROW},ho", "column 'message_text' is there 2 times: keep one"),
        (f"{CSV},Kind,Kind", f"{CSV_ROW},1,2", "column 'Kind' is there 2 times: keep one"),
        (CSV.replace(",", ";"), CSV_ROW.replace(",", ";"), "separated by ';': read it with --delimiter ';'"),
        (f"sep=;\n{CSV}", CSV_ROW, "its first line, sep=;, is for a spreadsheet"),
        (f"{CSV},Kind", CSV_ROW, r"row 1 \(line 2\) has 7 cells, and the header 8"),
        (f"{CSV},Kind", f"#\n{CSV_ROW},1", r"row 1 \(line 2\) has 1 cells, and the header 8"),
        (f"# by us\n{CSV},Kind", CSV_ROW, r"row 1 \(line 2\) has 8 cells, and the header 1"),
    ],
)
def test_csv_that_duckdb_would_read_as_something_else(header: str, row: str, says: str, tmp_path: Path) -> None:
    """It renames columns, takes another line for the header and others for comments: here they are refused, by name."""
    (tmp_path / "a.csv").write_text(f"{CSV},Kind\n{CSV_ROW},1\n")
    (tmp_path / "b.csv").write_text(f"{header}\n{row}\n")
    for files in (["b.csv"], ["a.csv", "b.csv"]):
        with pytest.raises(SourceError, match=says):
            Lake.of_files([tmp_path / name for name in files], "csv", columns={"status": "Kind"})


def test_ids_that_a_spreadsheet_has_rounded(tmp_path: Path, plan: BatchPlan) -> None:
    """They fail their archive, as they fail a single export."""
    (tmp_path / "a.csv").write_text(f"{CSV}\n{CSV_ROW.replace(',c,', ',9.00719925474099E+15,')}\n")
    (result,) = export_lake(Lake.of_files([tmp_path / "a.csv"], "csv"), plan)
    assert result.status == "failed"
    assert "a number that a spreadsheet has rounded" in str(result.error)


def test_a_column_that_is_there_twice_and_of_no_use(tmp_path: Path) -> None:
    """It is ignored, as in a single export."""
    (tmp_path / "a.csv").write_text(f"{CSV},Kind,Kind\n{CSV_ROW},1,2\n")
    assert Lake.of_files([tmp_path / "a.csv"], "csv").ignored_columns == ("Kind", "Kind_1")


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_an_array_that_is_cut_short(name: str, tmp_path: Path) -> None:
    """Behind a comma DuckDB takes it for whole, compressed or not, from files and by a query."""
    row = json.dumps(dict(zip(CSV.split(","), CSV_ROW.split(","), strict=True)))
    path = tmp_path / name
    path.write_bytes((gzip.compress if name.endswith("gz") else bytes)(f"[{row},".encode()))
    makers: list[Callable[[], Lake]] = [
        lambda: Lake.of_files([path], "jsonl"),
        lambda: Lake.of_query("SELECT * FROM read_json($files)", {"files": str(path)}),
        lambda: Lake.of_query(f"SELECT * FROM read_json('{path}')", {}),  # noqa: S608  # the test's own
    ]
    for make in makers:
        with pytest.raises(SourceError, match=rf"{name} is a JSON array without its end"):
            make()
