"""JSON whose keys have names of their own: nothing of it is lost, or it is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export_engine import SchemaError, SourceError
from export_engine.schema import ROW_SCHEMA
from export_engine.sources import SourceContext, duck, read_mapped

TIME = datetime(2026, 6, 2, 8, tzinfo=UTC)


def read(source: Any, **options: Any) -> pa.Table:
    return pa.Table.from_batches(source.batches(SourceContext(UTC, **options)), ROW_SCHEMA)


ONE = {"conversation_id": "'c'", "direction": "'inbound'", "speaker_type": "'customer'", "message_time": f"'{TIME}'"}


@pytest.mark.parametrize("before", [0, 5000])
@pytest.mark.parametrize(
    "rows",
    [
        [{"Body": "x", "body": "y"}],
        [{"Body": "x"}, {"body": "y"}],
        [{"Body": "x"}, {"body": "y", "body_1": "z"}],
    ],
)
@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_names_that_differ_by_case_alone_are_refused(
    tmp_path: Path, format_: Any, rows: list[dict[str, str]], before: int
) -> None:
    """Of two such columns SQL would see one, whichever is asked for: both are named."""
    if format_ == "jsonl":
        made = [{"id": f"m{at}"} for at in range(before)] + [{"id": "m", **row} for row in rows]
        (tmp_path / "a").write_text("".join(json.dumps(row) + "\n" for row in made))
    else:
        names = list(dict.fromkeys(name for row in rows for name in row))
        table = pa.table({"id": [f"m{at}" for at in range(before + 1)], **{n: ["x"] * (before + 1) for n in names}})
        pq.write_table(table, tmp_path / "a")
    for said in ("body", '"Body"', "'no'"):
        source = read_mapped(tmp_path / "a", columns=ONE | {"message_id": "id", "message_text": said}, format=format_)
        with pytest.raises(SchemaError, match=r"'Body' and 'body' differ only by case.*: rename one"):
            read(source)


def test_numbered_names_of_parquet_are_names(tmp_path: Path) -> None:
    """One that ends as DuckDB would number it is read as it is."""
    pq.write_table(pa.table({"id": ["m"], "body": ["x"], "body_1": ["y"]}), tmp_path / "a")
    columns = ONE | {"message_id": "id", "message_text": "body_1"}
    assert read(read_mapped(tmp_path / "a", columns=columns, format="parquet"))["message_text"].to_pylist() == ["y"]


LOST = [
    "1781160643.861185999",
    "0.12345678901234567890",
    "12345678901234567.5",
    "12345678901234567890e3",
    "-1.00000000000000001",
]


@pytest.mark.slow
@pytest.mark.parametrize("number", LOST)
@pytest.mark.parametrize("place", ['"n": {}', '"n": [1, {}]', '"n":{{"m":\t{}}}'])
@pytest.mark.parametrize("array", [False, True])
def test_a_number_that_would_lose_digits_is_refused(tmp_path: Path, number: str, place: str, array: bool) -> None:
    """It is shown, wherever it stands, and the advice is to write it as text; then it is kept."""
    path = tmp_path / "a.jsonl"
    columns = ONE | {"message_id": "id", "message_text": "n"}
    object_ = '{"id": "m", ' + place.format(number) + "}"
    path.write_text(f"[{object_}]" if array else object_)
    with pytest.raises(SourceError, match=f"the number {number} has more digits.*as text"):
        read(read_mapped(path, columns=columns, format="jsonl"))
    path.write_text('{"id": "m", ' + place.format(f'"{number}"') + "}")
    assert number in read(read_mapped(path, columns=columns, format="jsonl"))["message_text"].to_pylist()[0]


@pytest.mark.slow
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text("0123456789.:,[e- ", max_size=30))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_that_are_kept_are_not_refused(tmp_path: Path, value: float | str) -> None:
    """Whole ones of any length, what a double holds, and text that looks like others."""
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"id": "m", "n": value}))
    found = read(read_mapped(path, columns=ONE | {"message_id": "id", "message_text": "n"}, format="jsonl"))
    (text,) = found["message_text"].to_pylist()
    assert text == value if isinstance(value, str) else Decimal(text) == Decimal(json.dumps(value))


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_large_json_is_read_within_the_default_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """However many processors there are: each thread holds the longest object that there may be."""
    monkeypatch.setattr(duck, "_processors", lambda: 16)
    line = json.dumps({"id": "m", "text": "x" * 2000}).encode() + b"\n"
    data = line * 40_000
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(gzip.compress(data, 1) if ending else data)
    found = read(read_mapped(path, columns=ONE | {"message_id": "id", "message_text": "text"}, format="jsonl"))
    assert found.num_rows == 40_000


def test_an_empty_key_keeps_no_other_from_being_read(tmp_path: Path) -> None:
    """It has no name in SQL."""
    (tmp_path / "a.jsonl").write_text('{"": "x", "id": "m", "text": "y"}')
    columns = ONE | {"message_id": "id", "message_text": "text"}
    assert read(read_mapped(tmp_path / "a.jsonl", columns=columns, format="jsonl"))["message_text"].to_pylist() == ["y"]


@pytest.mark.parametrize("wrap", [bytes, gzip.compress, bz2.compress])
@pytest.mark.parametrize("content", [b"", b"\n\n", b"[]", b"[ \n]", b"\xef\xbb\xbf[]\n"])
def test_json_without_an_object_has_no_rows(content: bytes, wrap: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """As JSON Lines without a line have none: there is nothing to map."""
    path = tmp_path / "a.json"
    path.write_bytes(wrap(content))
    assert read(read_mapped(path, columns={"message_id": "id"}, format="jsonl")).num_rows == 0


@pytest.mark.parametrize("content", ["{}", "null", "5", "[1]", '"x"', "[[{}]]"])
def test_json_without_a_key_is_refused(content: str, tmp_path: Path) -> None:
    """It is something else than objects, whose keys are columns."""
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(SchemaError, match="no JSON object with a key, and so no column: give objects, one a line"):
        read(read_mapped(tmp_path / "a.json", columns={"message_id": "id"}, format="jsonl"))


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a.bin"])
@pytest.mark.parametrize("behind", ["", ",", ",\n ", '{"id"'])
def test_a_json_array_that_is_cut_short_is_refused(behind: str, name: str, tmp_path: Path) -> None:
    """Also behind a comma, where DuckDB would take it for whole, in a file, compressed, or from a pipe."""
    rows = [{"id": f"m{at}", "c": "c", "d": "inbound", "s": "customer", "t": "2026-06-02T08:00:00Z"} for at in range(3)]
    columns = {"message_id": "id", "conversation_id": "c", "direction": "d", "speaker_type": "s", "message_time": "t"}
    whole = json.dumps(rows).encode()
    cut = (json.dumps(rows)[:-1] + behind).encode()
    for content, fails in ((whole, False), (b"\xef\xbb\xbf" + whole + b" \n", False), (cut, True)):
        packed = gzip.compress(content) if name != "a.json" else content
        (tmp_path / name).write_bytes(packed)
        for file in (tmp_path / name, io.BytesIO(packed)):
            source = read_mapped(file, columns=columns, format="jsonl")
            if fails:
                called = name if isinstance(file, Path) else "the file object"
                with pytest.raises(SourceError, match=rf"{called} is a JSON array without its end: it is cut short"):
                    read(source)
            else:
                assert read(source).num_rows == 3


def test_a_json_integer_of_any_number_of_digits_is_text(tmp_path: Path) -> None:
    """Also beside a number that is looked at for its digits."""
    row = {"conversation_id": "c", "direction": "inbound", "speaker_type": "customer"}
    digits = "7" * 5000
    line = json.dumps(row)[:-1] + f', "message_id": {digits}, "rate": 1.0000000000000000}}\n'
    (tmp_path / "a.jsonl").write_text(line)
    source = read_mapped(tmp_path / "a.jsonl", columns={"message_time": "'2026-06-02T08:00:00Z'"}, format="jsonl")
    assert read(source)["message_id"].to_pylist() == [digits]
