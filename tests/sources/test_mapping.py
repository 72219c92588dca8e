"""Files with columns of their own names: whatever they are, and however they are compressed or encoded."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine import OptionError, RowError, SchemaError, SourceError
from export_engine.schema import COLUMN_NAMES, ROW_SCHEMA
from export_engine.sources import SourceContext, from_rows, read_mapped, read_sql

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", "NULL", "null", '"', ",", "\r\n", "\n", "\r", "\0", "'", "é", "😂", "[1]", "{}", "1.0", "007", " x "]
)
#: What a column may be called.
NAME = st.sampled_from(["from", "SELECT", 'a"b', "a'b", "a b", "message_id", "a_1", "1", "é", "$files"]) | st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8
).filter(str.strip)
TIME = datetime(2026, 6, 2, 8, tzinfo=UTC)


def read(source: Any, **options: Any) -> pa.Table:
    return pa.Table.from_batches(source.batches(SourceContext(UTC, **options)), ROW_SCHEMA)


def texts(source: Any) -> list[str | None]:
    found: list[str | None] = read(source)["message_text"].to_pylist()
    return found


# --- any table, renamed ----------------------------------------------------------------------------------------------


def as_csv(columns: list[str], rows: list[dict[str, Any]], path: Path) -> None:
    """Null as nothing, text in quotes, as this library writes them."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerow(columns)
        for row in rows:
            cells = ("" if row[c] is None else '"' + row[c].replace('"', '""') + '"' for c in columns)
            file.write(",".join(cells) + "\r\n")


def as_jsonl(columns: list[str], rows: list[dict[str, Any]], path: Path) -> None:
    """Missing or null, and text escaped or not."""
    lines = [
        json.dumps({c: row[c] for c in columns if at % 2 or row[c] is not None or not at}, ensure_ascii=at % 3 == 0)
        for at, row in enumerate(rows)
    ]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")


def as_array(columns: list[str], rows: list[dict[str, Any]], path: Path) -> None:
    path.write_text(json.dumps([{c: row[c] for c in columns} for row in rows], indent=1), encoding="utf-8")


def as_parquet(columns: list[str], rows: list[dict[str, Any]], path: Path) -> None:
    pq.write_table(pa.table({c: pa.array([row[c] for row in rows], pa.string()) for c in columns}), path)


WRITERS: list[tuple[str, Callable[[list[str], list[dict[str, Any]], Path], None]]] = [
    ("csv", as_csv),
    ("jsonl", as_jsonl),
    ("jsonl", as_array),
    ("parquet", as_parquet),
]


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    number = draw(st.integers(1, 6))
    return [
        {
            "message_id": f"m{at}",
            "conversation_id": "c",
            "direction": draw(st.sampled_from(["inbound", "outbound"])),
            "speaker_type": "agent",
            "message_time": TIME.isoformat(),
            **{
                name: draw(st.none() | TEXT)
                for name in ("contact_name", "contact_phone", "speaker_name", "message_text", "status")
            },
            "media_url": draw(st.none() | st.just("https://a/1,https://a/2")),
            "sender_account": draw(st.none() | TEXT),
        }
        for at in range(number)
    ]


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    rows(),
    st.lists(NAME, min_size=12, max_size=14, unique_by=str.casefold),
    st.randoms(use_true_random=False),
)
@pytest.mark.parametrize(("format_", "write"), WRITERS, ids=["csv", "jsonl", "array", "parquet"])
def test_any_table_renamed_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    format_: Any,
    write: Callable[[list[str], list[dict[str, Any]], Path], None],
    found: list[dict[str, Any]],
    names: list[str],
    random: Random,
) -> None:
    """With columns of any names, in any order, some of no use: each is what it was."""
    own = dict(zip(COLUMN_NAMES, names, strict=False))
    renamed = [
        {own[name]: row[name] for name in COLUMN_NAMES} | dict.fromkeys(names[len(COLUMN_NAMES) :], "x")
        for row in found
    ]
    random.shuffle(names)
    path = tmp_path_factory.mktemp("mapped") / "rows"
    write(names, renamed, path)
    columns = {name: own[name] if at % 2 else quoted(own[name]) for at, name in enumerate(COLUMN_NAMES)}
    source = read_mapped(path, columns=columns, format=format_)
    expected = read(from_rows(found))
    assert read(source) == expected
    if format_ != "csv" or not any("\r" in (v or "") or "\n" in (v or "") for row in found for v in row.values()):
        assert read(read_sql(source.query(), {"files": str(path)})) == expected


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


# --- CSV -------------------------------------------------------------------------------------------------------------

HEADER = "Sid,Who,Dir,Sent,Body"
COLUMNS = {
    "message_id": "Sid",
    "conversation_id": "Who",
    "direction": "lower(Dir)",
    "speaker_type": "'agent'",
    "message_time": "Sent",
    "message_text": "Body",
}
LINES = [f"m{at},c,Inbound,2026-06-02T08:00:00Z,text é {at}" for at in range(3)]
BODY = "\n".join([HEADER, *LINES, ""])
EXPECTED = ["text é 0", "text é 1", "text é 2"]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (BODY.encode(), {}),
        (BODY.replace("\n", "\r\n").encode("utf-8-sig"), {}),
        (BODY.encode("utf-16"), {"encoding": "utf-16"}),
        (BODY.encode("cp1252"), {"encoding": "cp1252"}),
        (BODY.replace(",", ";").encode(), {"delimiter": ";"}),
        (BODY.replace(",", "\t").encode(), {"delimiter": "\t"}),
        (gzip.compress(BODY.encode(), mtime=0), {}),
        (bz2.compress(BODY.encode()), {}),
        (pa.compress(BODY.encode(), "zstd", asbytes=True), {}),
    ],
)
def test_csv_is_read_as_without_a_mapping(content: bytes, options: dict[str, str], tmp_path: Path) -> None:
    """Encodings, delimiters and compression, from a file, a file object and a pipe."""
    path = tmp_path / "log"
    path.write_bytes(content)
    assert texts(read_mapped(path, columns=COLUMNS, format="csv", **options)) == EXPECTED
    given = io.BytesIO(content)
    assert texts(read_mapped(given, columns=COLUMNS, format="csv", **options)) == EXPECTED


def test_an_escape_and_its_error_are_those_of_csv(tmp_path: Path) -> None:
    """Text after a closing quote is refused with the option that reads it."""
    path = tmp_path / "log.csv"
    path.write_text(f'{HEADER}\nm,c,inbound,2026-06-02,"she said \\"hello\\""\n'.replace("06-02", "06-02T08:00:00Z"))
    with pytest.raises(RowError, match="--csv-escape"):
        read(read_mapped(path, columns=COLUMNS, format="csv"))
    assert texts(read_mapped(path, columns=COLUMNS, format="csv", escape="\\")) == ['she said "hello"']


def test_rows_of_another_length_are_refused(tmp_path: Path) -> None:
    """As without a mapping: nothing is filled in, and nothing left out."""
    path = tmp_path / "log.csv"
    path.write_text(f"{BODY}m9,c\n")
    with pytest.raises(SourceError, match="has 2 cells, and the header 5"):
        read(read_mapped(path, columns=COLUMNS, format="csv"))


def test_text_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    """With its column and row."""
    path = tmp_path / "log.csv"
    path.write_bytes(BODY.encode().replace(b"text \xc3\xa9 1", b"text \xe9 1"))
    with pytest.raises(RowError, match="UTF-8") as caught:
        read(read_mapped(path, columns=COLUMNS, format="csv"))
    assert (caught.value.column, caught.value.row) == ("Body", 2)


def test_columns_that_differ_by_case_alone_are_told_apart(tmp_path: Path) -> None:
    """Names in SQL are the same in any case: the expression that means neither is refused, and says what there is."""
    path = tmp_path / "log.csv"
    path.write_text("Sid,sid,Who,Dir,Sent,Body\nx,y,c,inbound,2026-06-02T08:00:00Z,z\n")
    with pytest.raises(OptionError, match="Sid_1"):
        read(read_mapped(path, columns=COLUMNS, format="csv"))
    found = read(read_mapped(path, columns=COLUMNS | {"message_id": "sid_2"}, format="csv"))
    assert found["message_id"].to_pylist() == ["y"]


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """One of this package's, which would be lost under a number; others have theirs, and so have mapped ones."""
    path = tmp_path / "log.csv"
    path.write_text("Sid,Body,Body,Who,Dir,Sent,status,status\nx,a,b,c,inbound,2026-06-02T08:00:00Z,sent,read\n")
    columns = {name: said for name, said in COLUMNS.items() if name != "message_text"}
    for wanted in (columns, columns | {"message_text": "Body_2"}):
        with pytest.raises(SchemaError, match=r"log\.csv: column 'status' is there 2 times: keep one"):
            read(read_mapped(path, columns=wanted, format="csv"))
    columns |= {"message_text": "Body_2", "status": "status_2"}
    (row,) = read(read_mapped(path, columns=columns, format="csv")).to_pylist()
    assert (row["message_text"], row["status"]) == ("b", "read")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("Sid;Who;Dir;Sent;Body", "the columns are separated by ';': read it with --delimiter ';' "),
        ("Sid\tWho\tDir\tSent\tBody", r"the columns are separated by '\t': read it with --delimiter '\t' "),
        (
            "sep=;\nSid;Who;Dir;Sent;Body",
            "its first line, sep=;, is for a spreadsheet and names no columns: take it away",
        ),
        ('Sid;Who;"Sent, when";Body', "or say what separates the cells (--delimiter, delimiter= in Python)"),
    ],
)
def test_what_would_read_the_columns_is_said(header: str, says: str, tmp_path: Path) -> None:
    """Rather than that no column is called as the mapping says."""
    path = tmp_path / "log.csv"
    path.write_text(f"{header}\nx;c;inbound;2026-06-02T08:00:00Z;Hi\n")
    for where in (None, "Sid <> ''"):
        with pytest.raises(SourceError) as caught:
            read(read_mapped(path, columns={} if where else COLUMNS, where=where, format="csv"))
        assert says in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["csv", "jsonl", "parquet"])
def test_columns_that_not_all_files_have(format_: Any, tmp_path: Path) -> None:
    """They are null in the others, wherever they first appear: late in a file, or in the last one."""
    first = [dict(zip(HEADER.split(","), line.split(","), strict=True)) for line in LINES]
    if format_ == "jsonl":
        first = first * 30_000
    second = [row | {"Late": "x"} for row in first[:1]]
    write = {"csv": as_csv, "jsonl": as_jsonl, "parquet": as_parquet}[format_]
    write([*HEADER.split(",")], first, tmp_path / "a")
    write(["Late", *HEADER.split(",")], second, tmp_path / "b")
    files = [tmp_path / "a", tmp_path / "b"]
    if format_ == "jsonl":
        files = [tmp_path / "ab"]
        files[0].write_bytes((tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes())
    found = read(read_mapped(*files, columns=COLUMNS | {"status": "Late"}, format=format_))["status"].to_pylist()
    assert found == [None] * len(first) + ["x"]


# --- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda data: data, gzip.compress, bz2.compress])
def test_json_is_read_from_pipes_and_compressed(wrap: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """What DuckDB does not read it gets as a copy, which is gone afterwards."""
    rows = [dict(zip(HEADER.split(","), line.split(","), strict=True)) for line in LINES]
    as_jsonl(HEADER.split(","), rows, tmp_path / "rows")
    content = wrap((tmp_path / "rows").read_bytes())
    (tmp_path / "packed").write_bytes(content)
    spill = tmp_path / "spill"
    spill.mkdir()
    for found in (tmp_path / "packed", io.BytesIO(content)):
        assert texts(read_mapped(found, columns=COLUMNS, format="jsonl", spill_folder=spill)) == EXPECTED
    assert list(spill.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_a_fifo_is_read_once(format_: Any, tmp_path: Path) -> None:
    """From its beginning to its end."""
    rows = [dict(zip(HEADER.split(","), line.split(","), strict=True)) for line in LINES]
    (as_csv if format_ == "csv" else as_jsonl)(HEADER.split(","), rows, tmp_path / "rows")
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=((tmp_path / "rows").read_bytes(),))
    writer.start()
    assert texts(read_mapped(tmp_path / "pipe", columns=COLUMNS, format=format_)) == EXPECTED
    writer.join()


def test_json_values_are_text(tmp_path: Path) -> None:
    """Strings without quotes, whole numbers of any length, objects as they are written; a path goes into them."""
    path = tmp_path / "a.jsonl"
    row = {"id": 123456789012345678901234567890, "who": {"name": "Ana"}, "at": TIME.isoformat(), "text": "null"}
    path.write_text(json.dumps(row))
    columns = {
        "message_id": "id",
        "conversation_id": "who",
        "contact_name": "who ->> '$.name'",
        "direction": "'inbound'",
        "speaker_type": "'customer'",
        "message_time": "at",
        "message_text": "text",
    }
    (found,) = read(read_mapped(path, columns=columns, format="jsonl")).to_pylist()
    assert found["message_id"] == "123456789012345678901234567890"
    assert (found["conversation_id"], found["contact_name"], found["message_text"]) == ('{"name":"Ana"}', "Ana", "null")


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """As in all readers of JSON."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"Sid": 1, "Sid": 2}')
    with pytest.raises(SourceError, match="duplicate key"):
        read(read_mapped(path, columns={"message_id": "Sid"}, format="jsonl"))


def test_names_of_files_are_no_patterns(tmp_path: Path) -> None:
    """A file is read under its own name."""
    rows = [dict(zip(HEADER.split(","), line.split(","), strict=True)) for line in LINES]
    for name in ("a[1]*?.jsonl", "a1.jsonl"):
        as_jsonl(HEADER.split(","), rows, tmp_path / name)
    assert texts(read_mapped(tmp_path / "a[1]*?.jsonl", columns=COLUMNS, format="jsonl")) == EXPECTED


# --- what is refused -------------------------------------------------------------------------------------------------


def test_what_is_refused(tmp_path: Path) -> None:
    """With the option that it came by."""
    path = tmp_path / "a.csv"
    path.write_text(BODY)
    with pytest.raises(SchemaError, match="message_id=Sid"):
        read(read_mapped(path, columns={}, where="Sid = 'x'", format="csv"))
    for columns, where, option in (
        ({"surprise": "Sid"}, None, "map"),
        ({"message_id": "nope"}, None, "map"),
        ({"message_id": "Sid; SELECT 1"}, None, "map"),
        (COLUMNS, "nope", "where"),
    ):
        with pytest.raises(OptionError) as caught:
            read(read_mapped(path, columns=columns, where=where, format="csv"))
        assert caught.value.option == option
    with pytest.raises(OptionError, match=r"single quotes"):
        read(read_mapped(path, columns=COLUMNS | {"speaker_type": "agent"}, format="csv"))
    with pytest.raises(OptionError, match="delimiter is for CSV"):
        read_mapped(path, columns=COLUMNS, format="jsonl", delimiter=";")
    with pytest.raises(OptionError, match="is no file on disk"):
        read(read_mapped(io.BytesIO(BODY.encode()), path, columns=COLUMNS, format="csv"))
    with pytest.raises(OptionError, match="does not read cp1252"):
        read_mapped(path, columns=COLUMNS, format="csv", encoding="cp1252").query()


def test_ids_that_a_spreadsheet_has_rounded_are_refused(tmp_path: Path) -> None:
    """As without a mapping."""
    path = tmp_path / "log.csv"
    path.write_text("Sid,Who,Dir,Sent,Body\nx,9.00719925474099E+15,inbound,2026-06-02T08:00:00Z,z\n")
    with pytest.raises(RowError, match="a number that a spreadsheet has rounded") as caught:
        read(read_mapped(path, columns=COLUMNS, format="csv"))
    assert (caught.value.column, caught.value.row) == ("conversation_id", 1)
