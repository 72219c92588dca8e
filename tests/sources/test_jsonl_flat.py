"""Flat JSON Lines: what a line holds comes back as it went, or is refused by its number."""

from __future__ import annotations

import gzip
import json
from datetime import UTC
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.errors import SchemaError, SourceError
from export_engine.sources import Source, SourceContext
from export_engine.sources.jsonl_flat import read_flat_jsonl
from tests.sources.tables import batches, cells, refusal

LINE = {
    "message_id": "m1",
    "conversation_id": "c1",
    "direction": "inbound",
    "speaker_type": "customer",
    "message_time": "2026-06-11T06:50:43.861185Z",
}


def jsonl_of(folder: Path, *lines: dict[str, Any] | bytes, name: str = "t.jsonl") -> Source:
    data = b"\n".join(line if isinstance(line, bytes) else json.dumps({**LINE, **line}).encode() for line in lines)
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return read_flat_jsonl(folder / name)


def test_jsonl_values(tmp_path: Path) -> None:
    """Ids may be integers of any size, URLs text or a list; blank lines, a BOM, CRLF and compression do no harm."""
    lines: list[dict[str, Any]] = [
        {"message_id": 1},
        {"message_id": 10**30},
        {"media_url": "a,b"},
        {"media_url": ["a,", "b"]},
        {"media_url": []},
    ]
    data = b"\xef\xbb\xbf\n" + b"\r\n\r\n".join(json.dumps({**LINE, **line}).encode() for line in lines)
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(data))
    source = read_flat_jsonl(tmp_path / "t.jsonl.gz")
    assert cells(source, "message_id") == ["1", str(10**30), "m1", "m1", "m1"]
    assert cells(source, "media_url") == [None, None, "a,b", "a%2C,b", None]
    assert cells(source, "created_at") == [None] * 5


def test_jsonl_lone_surrogates(tmp_path: Path) -> None:
    """They become U+FFFD, each counted; pairs stay; strict refuses them by line."""
    source = jsonl_of(tmp_path, {}, b"", {"message_text": "a\ud800\udc00\udc00"}, {"media_url": ["\ud800"]})
    context = SourceContext(UTC)
    rows = pa.Table.from_batches(source.batches(context))
    assert rows["message_text"].to_pylist() == [None, "a\U00010000\ufffd", None]
    assert (rows["media_url"].to_pylist(), context.replaced_surrogates) == ([None, None, "\ufffd"], 2)
    error = refusal(source, strict=True)
    assert (error.column, error.row, error.message_id) == ("message_text", 3, "m1")


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ({"contact_phone": 12025550123.0}, "contact_phone"),
        ({"contact_phone": False}, "contact_phone"),
        ({"message_text": 5}, "message_text"),
        ({"message_text": {}}, "message_text"),
        ({"media_url": {}}, "media_url"),
        ({"message_id": 1e300}, "message_id"),
        ({"conversation_id": ""}, "conversation_id"),
        ({"message_id": True}, "message_id"),
        ({"media_url": ["a", None]}, "media_url"),
        ({"message_time": "yesterday"}, "message_time"),
        ({"direction": None}, "direction"),
    ],
)
def test_jsonl_errors_name_the_line(line: dict[str, Any], column: str, tmp_path: Path) -> None:
    """The line, blank ones counted, with column, value and message."""
    error = refusal(jsonl_of(tmp_path, {}, b"", b" \r", {"conversation_id": "c7", **line}))
    assert (error.row, error.column, error.value) == (4, column, line[column])
    assert error.conversation_id == ("c7" if column != "conversation_id" else "")


@pytest.mark.parametrize("before", [0, 1, 99])
@pytest.mark.parametrize("key", ["status", "message_id", "media_url"])
def test_key_that_is_there_twice_is_refused(key: str, before: int, tmp_path: Path) -> None:
    """In any line, also where one of the two is escaped: which value is meant nobody knows."""
    again = json.dumps({**LINE, key: "a"})[:-1] + f', "\\u{ord(key[0]):04x}{key[1:]}": "b"}}'
    error = refusal(jsonl_of(tmp_path, *[{}] * before, again.encode(), {}))
    assert (error.row, error.column, str(error).count("twice; keep one")) == (before + 1, key, 1)


def test_other_keys_may_be_there_twice(tmp_path: Path) -> None:
    """They are not exported; nor are those inside them."""
    line = json.dumps(LINE)[:-1].encode() + b', "x": {"status": 1, "status": 2}, "x": NaN}'
    for beside in ({}, {"message_text": "\ud800"}):
        assert len(cells(jsonl_of(tmp_path, {"x": 1}, line, beside), "message_id")) == 3


VALUES = [
    {},
    {"message_id": 5, "conversation_id": 7},
    {"contact_phone": 12025550123},
    {"media_url": ["a,", "b"]},
    {"media_url": '["a,", "b"]'},
    {"message_text": "\ud800"},
    {"message_text": "\ud83d\ude02"},
    {"message_time": "2026-06-11 06:50:43,8611859 UTC"},
    {"message_time": "2026-06-11T06:50:43"},
    {"message_time": 1781160643},
    {"message_time": 1781160643.8611859},
    {"created_at": 1781160643, "speaker_name": "J"},
    {"message_id": 10**30},
]


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(VALUES), min_size=1, max_size=20))
def test_both_roads_give_the_same(tmp_path_factory: pytest.TempPathFactory, given_ones: list[dict[str, Any]]) -> None:
    """Lines of any kinds, mixed as they come: what one line alone gives does not depend on those around it."""
    folder = tmp_path_factory.mktemp("roads")
    context = SourceContext(UTC, epoch="s")
    together = [row for batch in jsonl_of(folder, *given_ones).batches(context) for row in batch.to_pylist()]
    alone, count = [], 0
    for one in given_ones:
        blank = SourceContext(UTC, epoch="s")
        alone += [row for batch in jsonl_of(folder, one, b" ").batches(blank) for row in batch.to_pylist()]
        count += blank.replaced_surrogates
    assert (together, context.replaced_surrogates) == (alone, count)


@pytest.mark.parametrize("line", [b"{", b"[1]", b'"x"', b"{} {}", b'{"a":\n1}', b'{"status": "\xff"}'])
def test_jsonl_that_is_not_json_lines(line: bytes, tmp_path: Path) -> None:
    """A line that is not one JSON object is refused by its number."""
    with pytest.raises(SourceError, match="line 3"):
        batches(jsonl_of(tmp_path, {}, {}, line))


@pytest.mark.parametrize("key", ["message_id", "other"])
def test_an_integer_of_more_digits_than_python_reads(key: str, tmp_path: Path) -> None:
    """The error says what to do, and not how Python is set."""
    line = json.dumps({"conversation_id": "c", "message_time": "2026-06-11T06:50:43Z"})
    (tmp_path / "t.jsonl").write_text(f'{line[:-1]}, "{key}": {"9" * 5000}}}\n')
    with pytest.raises(SourceError, match=r"t.jsonl, line 1 has a whole number of more than 4,300 digits; write it as"):
        batches(read_flat_jsonl(tmp_path / "t.jsonl"))


def test_a_page_is_no_row(tmp_path: Path) -> None:
    """An object alone whose rows stand in a list: no name for its columns would help, and `check` asks for none."""
    page = b'{"offset": 0, "items": [{"id": "m1"}]}'
    with pytest.raises(SchemaError, match="as in 'items', are taken out by a query") as caught:
        cells(jsonl_of(tmp_path, page), "message_id")
    assert not caught.value.missing
    with pytest.raises(SchemaError, match="as in 'items', are taken out by a query") as caught:
        cells(jsonl_of(tmp_path, page, page), "message_id")
    assert caught.value.missing
