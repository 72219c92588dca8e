"""An SQL query's rows as a source: its types, its parameters, its zone, and what is refused."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_engine import Channel, DateRange, OptionError, RowError, SchemaError, SourceError, export_conversations
from export_engine.sources import SourceContext, duck
from export_engine.sources.mapped import read_mapped
from export_engine.sources.open import open_source
from export_engine.sources.sql import read_sql

ROOT = Path(__file__).parents[2]
PARQUET = ROOT / "fixtures" / "conversations.parquet"
JUNE = DateRange(date(2026, 6, 1), date(2026, 6, 30))
ROW = "'m-1' AS message_id, 'c-1' AS conversation_id, 'inbound' AS direction, 'customer' AS speaker_type"


def rows(query: str, parameters: dict[str, Any] | None = None, zone: tzinfo = UTC) -> list[dict[str, Any]]:
    return [row for batch in read_sql(query, parameters).batches(SourceContext(zone)) for row in batch.to_pylist()]


def test_a_file_through_sql_is_the_file() -> None:
    """Byte for byte."""
    sources = (open_source(PARQUET), read_sql("SELECT * FROM read_parquet($files)", {"files": str(PARQUET)}))
    channel = Channel("SMS Support")
    first, second = (
        b"".join(export_conversations(source, channel=channel, date_range=JUNE, export_id="x")) for source in sources
    )
    assert first == second


@pytest.mark.parametrize(
    ("expression", "column", "value"),
    [
        ("'550e8400-e29b-41d4-a716-446655440000'::UUID", "message_id", "550e8400-e29b-41d4-a716-446655440000"),
        ("7::BIGINT", "message_id", "7"),
        ("'read'::ENUM('sent', 'read')", "status", "read"),
        ("'\"x\"'::JSON", "message_text", '"x"'),
        (
            "['https://a.example/1,2', 'https://a.example/3']",
            "media_url",
            "https://a.example/1%2C2,https://a.example/3",
        ),
        ("[]::VARCHAR[]", "media_url", None),
        ("NULL", "message_text", None),
        ("''", "message_text", ""),
    ],
)
def test_types_are_taken_as_duckdb_has_them(expression: str, column: str, value: object) -> None:
    """As text where the column is text, lists as URLs."""
    others = ROW.replace("'m-1' AS message_id, ", "") if column == "message_id" else ROW
    (row,) = rows(f"SELECT {others}, TIMESTAMPTZ '2026-06-02 08:00:00+00' AS message_time, {expression} AS {column}")
    assert row[column] == value


@pytest.mark.parametrize(
    "zone",
    [
        UTC,
        ZoneInfo("Asia/Taipei"),
        ZoneInfo("America/New_York"),
        timezone(timedelta(hours=5, minutes=30)),
        timezone(-timedelta(hours=3)),
    ],
)
def test_local_times_are_in_the_export_s_zone(zone: tzinfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both those without a zone and those that the query itself makes, whatever the machine's zone is."""
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    expected = datetime(2026, 6, 2, 8, tzinfo=zone)
    for time in ("TIMESTAMP '2026-06-02 08:00:00'", "CAST(TIMESTAMP '2026-06-02 08:00:00' AS TIMESTAMPTZ)"):
        (row,) = rows(f"SELECT {ROW}, {time} AS message_time", zone=zone)
        assert row["message_time"] == expected


@pytest.mark.slow
@given(st.text())
def test_a_parameter_stays_a_value(text: str) -> None:
    """Any text at all comes back as it is: nothing of it is SQL."""
    if "\0" in text or (not text.isprintable() and text.encode("utf-8", "replace").decode() != text):
        return
    query = f"SELECT {ROW}, TIMESTAMPTZ '2026-06-02 08:00:00+00' AS message_time, $text AS message_text"
    assert rows(query, {"text": text})[0]["message_text"] == text


@pytest.mark.parametrize(
    ("query", "parameters", "option", "says"),
    [
        ("SELECT 1; SELECT 2", {}, "sql", "one SELECT is wanted"),
        ("INSTALL httpfs", {}, "sql", "one SELECT is wanted"),
        ("COPY (SELECT 1) TO 'x.csv'", {}, "sql", "one SELECT is wanted"),
        ("SET memory_limit='1TB'", {}, "sql", "one SELECT is wanted"),
        ("", {}, "sql", "nothing"),
        ("SELECT $x", {}, "param", r"\$x, which has no value"),
        ("SELECT $x", {"x": 1, "y": 2}, "param", r"y is not in the query; it has \$x"),
    ],
)
def test_what_is_not_one_select(query: str, parameters: dict[str, Any], option: str, says: str) -> None:
    """It is refused, with the option that it came by."""
    with pytest.raises(OptionError, match=says) as caught:
        rows(query, parameters)
    assert caught.value.option == option


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT nope FROM range(3)", "nope"),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM 'none.parquet'", "none.parquet"),
        ("SELECT * FROM 'hf://datasets/x.parquet'", "no extension is loaded"),
        ("SELECT * FROM read_xlsx('x.xlsx')", "no extension is loaded"),
        (f"SELECT {ROW}, error('boom') AS message_time", "boom"),
    ],
)
def test_a_query_that_fails(query: str, says: str) -> None:
    """One line that says what DuckDB said; nothing is downloaded."""
    with pytest.raises(SourceError, match=says) as caught:
        rows(query)
    assert "\n" not in str(caught.value)


def test_columns_and_values_are_held_against_the_rules() -> None:
    """As any table's."""
    with pytest.raises(SchemaError, match=r"columns 'message_id', .* are missing"):
        rows("SELECT 1 AS id")
    with pytest.raises(RowError, match="noon"):
        rows(f"SELECT {ROW}, 'noon' AS message_time")


def test_nothing_is_written_to_standard_output() -> None:
    """No bar of progress, whatever runs long: an archive may be going there."""
    setting = "current_setting('enable_progress_bar')::VARCHAR AS message_text"
    assert (
        rows(f"SELECT {ROW}, TIMESTAMP '2026-06-02 08:00:00' AS message_time, {setting}")[0]["message_text"] == "false"
    )


def test_memory_that_does_not_suffice_is_said() -> None:
    """With what to do."""
    text = "string_agg(repeat('x', 1000), '') AS message_text"
    query = f"SELECT {ROW}, now() AS message_time, {text} FROM range(300000)"  # noqa: S608  # fixed words
    with pytest.raises(SourceError, match=r"twice as much with --memory-limit \(in Python memory_limit\)"):
        list(read_sql(query, memory_limit="20MB").batches(SourceContext(UTC)))


@pytest.mark.parametrize(("limit", "threads"), [("20MB", 1), ("256MB", 2), ("1GB", 7), ("4GB", 16)])
def test_threads_are_as_many_as_there_is_memory_for(monkeypatch: pytest.MonkeyPatch, limit: str, threads: int) -> None:
    """With the sixteen of a large machine the default limit would not do to read a file."""
    monkeypatch.setattr(duck, "_processors", lambda: 16)
    with duck.connected(UTC, memory_limit=limit) as connection:
        assert connection.execute("SELECT current_setting('threads')").fetchone() == (threads,)


@pytest.mark.parametrize("behind", [",", ", \n", "", '{"message_id": "m2"'])
def test_a_json_array_that_is_cut_short_is_refused(behind: str, tmp_path: Path) -> None:
    """Also behind a comma, where DuckDB takes it for whole, deep in folders; what begins otherwise is not looked at."""
    row = '{"message_id": "m1", "conversation_id": "c", "direction": "inbound", "speaker_type": "bot", '
    row += '"message_time": "2026-06-02T08:00:00Z"}'
    (tmp_path / "a" / "b").mkdir(parents=True)
    path = tmp_path / "a" / "b" / "day.json"
    query = "SELECT * FROM read_json($files)"
    given = {"files": str(tmp_path / "**" / "*.json")}
    for content in (f"[{row}]", f"[\n{row}\n]\n\n", f"{row}\n"):
        path.write_text(content)
        assert len(rows(query, given)) == 1
    path.write_text(f"[{row}{behind}")
    with pytest.raises(SourceError, match=r"day\.json is a JSON array without its end: it is cut short; make or fetch"):
        rows(query, given)
    assert read_sql(query, given).paths == (str(path),)  # type: ignore[attr-defined]  # what no sink writes over


@pytest.mark.parametrize("behind", [",", ", \n", ""])
@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("SELECT * FROM read_json($files)", {"files": ["whole.json", "day.json.gz"]}),
        ("SELECT * FROM read_json('day.json.gz')", {}),
        ("WITH x AS (SELECT * FROM read_json(['whole.json', 'da?.json'])) SELECT * FROM x", {}),
        ("SELECT * FROM 'day.json'", {}),
    ],
)
def test_a_cut_array_is_refused_wherever_it_is_named(
    query: str, parameters: dict[str, Any], behind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compressed, among several, and in the query's own text."""
    monkeypatch.chdir(tmp_path)
    row = json.dumps({"message_id": "m1", "conversation_id": "c", "direction": "inbound", "speaker_type": "bot"})
    row = row[:-1] + ', "message_time": "2026-06-02T08:00:00Z"}'
    for end, fails in (("]\n", False), (behind, True)):
        text = f"[{row}{end}".encode()
        (tmp_path / "whole.json").write_text(f"[{row}]")
        (tmp_path / "day.json").write_bytes(text)
        (tmp_path / "day.json.gz").write_bytes(gzip.compress(text))
        if fails:
            with pytest.raises(SourceError, match=r"day\.json(\.gz)? is a JSON array without its end"):
                rows(query, parameters)
        else:
            assert rows(query, parameters)


def test_files_in_the_query_s_text_are_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those among its parameters."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.json", "b1.csv", "b2.csv", "c.parquet", "none"):
        (tmp_path / name).touch()
    query = "SELECT '*' FROM read_json('a.json') JOIN 'c.parquet' ON true JOIN (FROM read_csv(['b*.csv', 'x'])) ON true"
    assert set(read_sql(query).paths) == {"a.json", "b1.csv", "b2.csv", "c.parquet"}  # type: ignore[attr-defined]  # as above
    assert read_sql("no query").paths == ()  # type: ignore[attr-defined]  # the same


def test_decimals_that_a_query_makes_floats_of_are_refused(tmp_path: Path) -> None:
    """By name, where they are used: as text the floats of many are one, and so would be their conversations."""
    path = tmp_path / "a.parquet"
    ids = pa.array([Decimal(10**45 + at) for at in range(2)], pa.decimal256(50, 0))
    columns = {"Id": ids, "big": ids, "message_time": ["2026-06-02T08:00:00Z"] * 2}
    pq.write_table(pa.table(columns | {"conversation_id": ["c"] * 2}), path)
    others = "message_time, conversation_id, 'inbound' AS direction, 'bot' AS speaker_type"
    for expression in ("Id", "CAST(Id AS VARCHAR)", "id"):
        with pytest.raises(
            SourceError, match="'Id' holds decimals of up to 50 digits, and a query keeps 38: write it as"
        ):
            rows(f"SELECT {expression} AS message_id, {others} FROM read_parquet($files)", {"files": str(path)})  # noqa: S608  # the test's own
        source = read_mapped(
            path,
            columns={"message_id": expression, "direction": "'inbound'", "speaker_type": "'bot'"},
            format="parquet",
        )
        with pytest.raises(SourceError, match="'Id' holds decimals of up to 50 digits"):
            list(source.batches(SourceContext(UTC)))
    with_others = f"SELECT uuid()::VARCHAR AS message_id, {others} FROM read_parquet($files)"  # noqa: S608  # the same
    assert len(rows(with_others, {"files": str(path)})) == 2
    table = pq.read_table(path).rename_columns({"Id": "message_id"})
    table = table.append_column("direction", pa.array(["inbound"] * 2)).append_column(
        "speaker_type", pa.array(["bot"] * 2)
    )
    pq.write_table(table, path)  # the advice for who needs no query
    plain = [row for batch in open_source(path).batches(SourceContext(UTC)) for row in batch.to_pylist()]
    assert [row["message_id"] for row in plain] == [f"1{'0' * 44}{at}" for at in range(2)]


@pytest.mark.parametrize("row", ["m2,c,inbound,bot", "m2,c,inbound,bot,2026-06-02T08:00:00Z,x,y", "#,c", '#"'])
def test_a_row_that_a_query_cannot_read_is_named(row: str, tmp_path: Path) -> None:
    """Not what DuckDB tried: to leave rows out is no advice."""
    header = "message_id,conversation_id,direction,speaker_type,message_time,message_text"
    fine = "m1,c,inbound,bot,2026-06-02T08:00:00Z,hi"
    (tmp_path / "a.csv").write_text("\n".join([header, *[fine] * 3, row, fine, ""]))
    query = "SELECT * FROM read_csv($files, header = true, all_varchar = true, delim = ',', quote = '\"', comment = '')"
    with pytest.raises(SourceError, match=r"a\.csv, row 4 \(line 5\)|row 4, .*a\.csv") as caught:
        rows(query, {"files": str(tmp_path / "a.csv")})
    assert "ignore" not in str(caught.value)


def test_a_zip_is_no_table(tmp_path: Path) -> None:
    """It is refused by name, with what to do."""
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04rest")
    with pytest.raises(SourceError, match=r"a\.zip is a ZIP: unpack it, and give what is in it"):
        rows("SELECT * FROM read_json($files)", {"files": str(tmp_path / "a.zip")})


def test_a_query_without_a_column_says_so_in_its_own_terms() -> None:
    """No --map can stand beside it."""
    with pytest.raises(SchemaError, match=r"say in the query what makes them, as in SELECT … AS message_id;") as caught:
        rows("SELECT 1 AS id")
    assert "--map" not in str(caught.value)


def test_a_parameter_that_is_a_url_is_not_fetched() -> None:
    """Unless it stands in a FROM: it may be part of an address that the query makes."""
    query = f"SELECT {ROW}, TIMESTAMPTZ '2026-06-02 08:00:00+00' AS message_time, $server || '/a' AS media_url"
    (row,) = rows(query, {"server": "https://nobody.invalid/x"})
    assert row["media_url"] == "https://nobody.invalid/x/a"
