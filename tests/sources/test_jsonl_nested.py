"""Nested JSON Lines to record batches: the same as the objects they describe, and errors that name the line."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.errors import GroupingError, RowError, SourceError
from export_engine.model import Contact, Conversation, Message
from export_engine.schema import ROW_SCHEMA, joined_pairs
from export_engine.sources import SourceContext, inputs, jsonl_nested, open_source
from export_engine.sources.inputs import opened
from export_engine.sources.jsonl_nested import looks_nested, read_nested_jsonl
from export_engine.sources.objects import from_conversations

TAIPEI = ZoneInfo("Asia/Taipei")
MESSAGE: dict[str, Any] = {
    "id": "m1",
    "time": "2026-06-11T06:50:43.861185Z",
    "direction": "inbound",
    "speaker_type": "customer",
}
LINE: dict[str, Any] = {"id": "c1", "contact": {"name": "Jane"}, "messages": [MESSAGE]}

texts = st.text(st.characters(), max_size=5) | st.text("a,\ud800\udfff😀", max_size=5)
ids = texts.filter(bool)
maybe = st.none() | texts
zones: st.SearchStrategy[Any] = st.sampled_from([None, UTC, ZoneInfo("Asia/Kathmandu")])
years = st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1), timezones=zones)  # noqa: DTZ001  # some are naive
messages = st.builds(
    Message, ids, years, texts, texts, maybe, maybe, st.lists(texts, max_size=2), status=maybe, sender_account=maybe
)
conversations = st.builds(
    Conversation, ids, st.builds(Contact, maybe, maybe), st.lists(messages, max_size=4), created_at=years
)


def written(path: Path, *lines: dict[str, Any] | bytes) -> Path:
    """Write a file, bytes as they are."""
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return path


def numbered(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines with ids of their own."""
    return [line | {"id": f"n{number}"} for number, line in enumerate(lines)]


def rows(path: str | os.PathLike[str], **options: Any) -> list[dict[str, Any]]:
    batches = read_nested_jsonl(path).batches(SourceContext(**{"timezone": TAIPEI, **options}))
    return [row for batch in batches for row in batch.to_pylist()]


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(conversations, max_size=4, unique_by=lambda c: joined_pairs(c.id)), st.booleans())
def test_file_equals_the_objects_in_it(
    tmp_path_factory: pytest.TempPathFactory, given_ones: list[Conversation], escaped: bool
) -> None:
    """Rows and the count of surrogates are those of the objects, whether surrogates are escaped or raw bytes."""
    path = tmp_path_factory.mktemp("nested") / "a.jsonl"
    with path.open("wb") as file:
        for c in given_ones:
            line = json.dumps(dataclasses.asdict(c), default=datetime.isoformat, ensure_ascii=escaped)
            file.write(line.encode("utf-8", "surrogatepass") + b"\n")
    from_file, from_objects = SourceContext(TAIPEI), SourceContext(TAIPEI)
    batches = list(read_nested_jsonl(path).batches(from_file))
    expected = list(from_conversations(given_ones).batches(from_objects))
    assert pa.Table.from_batches(batches, ROW_SCHEMA).equals(pa.Table.from_batches(expected, ROW_SCHEMA))
    assert from_file.replaced_surrogates == from_objects.replaced_surrogates


def test_example_of_the_docstring_is_read(tmp_path: Path) -> None:
    """What the documentation shows is the format, every key of it."""
    documented = read_nested_jsonl.__doc__ or ""
    example = json.loads(documented[documented.index("{") : documented.index("(on one line)")])
    assert set(example) == {f.name for f in dataclasses.fields(Conversation)}
    assert set(example["messages"][0]) == {f.name for f in dataclasses.fields(Message)}
    (row,) = rows(written(tmp_path / "a", example))
    assert None not in row.values()
    assert row["message_time"] == datetime(2026, 6, 11, 6, 50, 43, 861185, UTC)


def test_null_and_missing_are_the_same(tmp_path: Path) -> None:
    """A key that may be left out may be null."""
    nulls = dict.fromkeys(["text", "speaker_name", "media_urls", "status", "sender_account"])
    full = {**LINE, "contact": {"name": "Jane", "phone": None}, "created_at": None, "messages": [MESSAGE | nulls]}
    assert rows(written(tmp_path / "a", full)) == rows(written(tmp_path / "b", LINE))


def test_naive_times_are_in_the_exports_zone(tmp_path: Path) -> None:
    """Offsets count where there are any."""
    times = ["2026-06-11T08:00:00", "2026-06-11T08:00:00+08:00", "2026-06-11T00:00:00Z"]
    path = written(tmp_path / "a", LINE | {"messages": [MESSAGE | {"time": time} for time in times]})
    assert {row["message_time"] for row in rows(path)} == {datetime(2026, 6, 11, tzinfo=UTC)}


def is_nested(path: Path) -> bool:
    with opened(path) as file:
        return looks_nested(file.first_line())


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".GZ"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_gzip_byte_order_mark_and_blank_lines(tmp_path: Path, ending: str, newline: bytes) -> None:
    """None of them is part of the data; blank lines count as lines."""
    lines = [b"\xef\xbb\xbf", b"", json.dumps(LINE).encode(), b" \t", b'{"id": 5}', b""]
    content = newline.join(lines)
    path = tmp_path / f"a{ending}"
    path.write_bytes(gzip.compress(content) if ending.lower().endswith(".gz") else content)
    assert is_nested(path)
    with pytest.raises(RowError) as caught:
        rows(path)
    assert caught.value.row == 5
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + lines[2]) if "g" in ending.lower() else b"\xef\xbb\xbf" + lines[2])
    assert len(rows(os.fspath(path))) == 1


def test_empty_file_has_no_batches(tmp_path: Path) -> None:
    """Nor has one of blank lines."""
    assert rows(written(tmp_path / "a")) == []
    assert rows(written(tmp_path / "b", b"\n \n")) == []


@pytest.mark.parametrize(
    "encode", [lambda s: json.dumps(s).encode(), lambda s: f'"{s}"'.encode("utf-8", "surrogatepass")]
)
def test_strict_refuses_a_surrogate_by_line(tmp_path: Path, encode: Callable[[str], bytes]) -> None:
    """`row` is the line, not the number of the message."""
    bad = (
        b'{"id":"c2","contact":{},"messages":['
        + json.dumps(MESSAGE | {"text": "@"}).encode().replace(b'"@"', encode("\ud800"))
        + b"]}"
    )
    path = written(tmp_path / "a", LINE | {"messages": [MESSAGE] * 9}, b"", bad)
    assert rows(path)[-1]["message_text"] == "\ufffd"
    with pytest.raises(RowError, match="lone surrogate") as caught:
        rows(path, strict=True)
    error = caught.value
    assert (error.row, error.conversation_id, error.message_id, error.column) == (3, "c2", "m1", "message_text")


def with_message(**changes: Any) -> dict[str, Any]:
    return LINE | {"messages": [MESSAGE, MESSAGE | {"id": "m2"} | changes]}


@pytest.mark.parametrize(
    ("line", "column", "value", "message_id"),
    [
        (with_message(time="yesterday"), "message_time", "yesterday", "m2"),
        (with_message(time="9999-12-31T00:00:00Z"), "message_time", "9999-12-31T00:00:00Z", "m2"),
        (with_message(time=1781160643), "message_time", 1781160643, "m2"),
        (with_message(time=1781160643.5), "message_time", 1781160643.5, "m2"),
        (with_message(id=7.5), "message_id", 7.5, None),
        (with_message(id=""), "message_id", "", ""),
        (with_message(text=7), "message_text", 7, "m2"),
        (with_message(status=[]), "status", [], "m2"),
        (with_message(media_urls=["a", None]), "media_url", ["a", None], "m2"),
        (with_message(media_urls=["a", 7]), "media_url", ["a", 7], "m2"),
        (with_message(media_urls={"a": "b"}), "media_url", {"a": "b"}, "m2"),
        (with_message(txt="hi"), "txt", "hi", "m2"),
        (LINE | {"messages": [{"id": "m2"}]}, "message_time", None, "m2"),
        (LINE | {"messages": ["hi"]}, "messages", "hi", None),
        (LINE | {"messages": None}, "messages", None, None),
        (LINE | {"contact": {"name": 5}}, "contact_name", 5, None),
        (LINE | {"contact": {"nmae": "x"}}, "nmae", "x", None),
        (LINE | {"contact": None}, "contact", None, None),
        (LINE | {"created_at": 5}, "created_at", 5, None),
        (LINE | {"line": 5}, "line", 5, None),
        ({"id": "c1", "contact": {}}, "messages", None, None),
        (LINE | {"messages": []}, "created_at", None, None),
        (with_message(text="\ud800", status=7), "status", 7, "m2"),
    ],
)
def test_wrong_key_is_named(
    tmp_path: Path, line: dict[str, Any], column: str, value: object, message_id: str | None
) -> None:
    """Line, conversation, message, column and value; one misspelt is refused, not lost."""
    with pytest.raises(RowError, match="; ") as caught:
        rows(written(tmp_path / "a.jsonl", LINE, line))
    error = caught.value
    assert (error.row, error.conversation_id, error.message_id, error.column) == (2, "c1", message_id, column)
    assert error.value == value


REPEATED = [
    (b'{"id":"c1","contact":{},"messages":[],"messages":[]}', "messages", "c1", None),
    (b'{"id":"c1","id":"c1","contact":{},"messages":[]}', "conversation_id", "c1", None),
    (b'{"id":"c1","contact":{"name":"J","name":"K"},"messages":[]}', "contact_name", None, None),
    (
        b'{"id":"c1","contact":{},"messages":[{"id":"m1","direction":"inbound","text":"a","te\\u0078t":"b"}]}',
        *("message_text", None, "m1"),
    ),
]


@pytest.mark.parametrize(("bad", "column", "conversation_id", "message_id"), REPEATED)
@pytest.mark.parametrize("good_lines", [0, 1, 99])
def test_key_that_is_there_twice_is_refused(
    tmp_path: Path, bad: bytes, column: str, conversation_id: str | None, message_id: str | None, good_lines: int
) -> None:
    """In any object of any line, also where one of the two is escaped: which value is meant nobody knows."""
    with pytest.raises(RowError, match="twice; keep one") as caught:
        rows(written(tmp_path / "a", *numbered([LINE] * good_lines), bad, LINE))
    error = caught.value
    assert (error.row, error.column) == (good_lines + 1, column)
    assert (error.conversation_id, error.message_id) == (conversation_id, message_id)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"id": "c1", "contact"', "is not JSON: Expecting ':' delimiter, at character 23"),
        (b"{'id'}", "is not JSON"),
        (b'{"id": "\xff"}', "is not UTF-8: invalid start byte, at byte 9"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"\\ud800": 1}', "has a lone surrogate in a key"),
        (b'"\\ud800"' + b"[" * 100_000, "is not JSON"),
        (b"[" * 100_000, "is nested too deeply"),
    ],
)
def test_line_that_is_no_conversation(tmp_path: Path, line: bytes, problem: str) -> None:
    """File and line are named."""
    path = written(tmp_path / "a.jsonl", LINE, b"", line)
    with pytest.raises(SourceError, match="write one") as caught:
        rows(path)
    assert problem in str(caught.value)
    assert f"{path}, line 3" in str(caught.value)


@pytest.mark.parametrize("damage", [lambda b: b[:-12], lambda b: b"no" + b, lambda b: b[:30] + b"\xff\xff" + b[32:]])
def test_damaged_gzip_is_a_source_error(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """The file is named."""
    path = tmp_path / "a.gz"
    path.write_bytes(damage(gzip.compress(json.dumps(LINE).encode() * 3)))
    for reading in (rows, is_nested):
        with pytest.raises(SourceError, match=r"a\.gz.*damaged"):
            reading(path)


def test_missing_file_is_the_operating_systems_error(tmp_path: Path) -> None:
    """It is raised when the file is first read, not before."""
    batches = read_nested_jsonl(tmp_path / "none").batches(SourceContext(UTC))
    with pytest.raises(FileNotFoundError):
        next(batches)


@pytest.mark.parametrize("end", ["end", "error", "close"])
def test_file_is_closed(tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end, on an error, and when the batches are closed."""
    files = []

    def noted(path: str | os.PathLike[str], *_: Any, **__: Any) -> Any:
        files.append(Path(path).open("rb"))  # noqa: SIM115  # the reader's to close
        return files[-1]

    monkeypatch.setattr(inputs, "open", noted, raising=False)
    long = LINE | {"messages": [MESSAGE] * 30_000}
    path = written(tmp_path / "a", *numbered([long, long, LINE]), *([b"{"] if end == "error" else []))
    batches = read_nested_jsonl(path).batches(SourceContext(UTC))
    next(batches)
    assert not files[0].closed
    if end == "end":
        list(batches)
    elif end == "error":
        with pytest.raises(SourceError):
            list(batches)
    else:
        batches.close()
    assert files[0].closed


def test_lines_are_read_as_they_are_needed(tmp_path: Path) -> None:
    """A bad line far behind does not keep the batches before it from coming."""
    path = written(tmp_path / "a", *numbered([LINE | {"messages": [MESSAGE] * 100}] * 100), b"{")
    batches = read_nested_jsonl(path).batches(SourceContext(UTC))
    assert isinstance(next(batches), pa.RecordBatch)
    with pytest.raises(SourceError, match="line 101"):
        list(batches)


def test_fractions_of_a_microsecond_are_cut(tmp_path: Path) -> None:
    """No message moves into the next day."""
    (row,) = rows(written(tmp_path / "a", LINE | {"messages": [MESSAGE | {"time": "2026-01-01T23:59:59.9999999Z"}]}))
    assert row["message_time"] == datetime(2026, 1, 1, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "answer"),
    [
        (json.dumps(LINE).encode(), True),
        (b'\n\r\n {"messages": 5}', True),
        (b'{"id": "\\ud800", "messages": []}', True),
        (b'{"messages": "\xed\xa0\x80"}', True),
        (b'{"text": "messages", "m": {"messages": []}}', False),
        (b'["messages"]', False),
        (b'"messages"', False),
        (b'{"messages": [', False),
        (b"[" * 100_000, False),
        (b'{"a":' * 100_000, False),
        (b"messages\xff", False),
        (b"", False),
        (b"{}\n" + json.dumps(LINE).encode(), False),
    ],
)
def test_nested_is_told_by_the_first_line(tmp_path: Path, first: bytes, answer: bool) -> None:
    """A `messages` key of the first object that is not blank, and nothing else."""
    assert is_nested(written(tmp_path / "a", first)) is answer


# --- one id, one line ---------------------------------------------------------------------------------------------

ODD = {"contact": {"name": "J\ud800"}}  # takes the careful road


@pytest.mark.parametrize("block", [1, 300, 2 << 20])
@pytest.mark.parametrize("blank", [b"", b"\n \n"])
@pytest.mark.parametrize("odd", [(), (3,), (4,), (3, 4), (1, 6)])
@pytest.mark.parametrize("same", [2, 3, 4, 5])
def test_two_lines_of_one_id_are_refused_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, blank: bytes, odd: tuple[int, ...], same: int
) -> None:
    """In whatever blocks and by whichever road the lines are read; a blank line parts nothing."""
    monkeypatch.setattr(jsonl_nested, "_BLOCK", block)
    lines = [LINE | {"id": f"c{n - (n > same)}"} | (ODD if n in odd else {}) for n in range(1, 8)]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(json.dumps(line).encode() + blank * (n == same) for n, line in enumerate(lines, 1)))
    with pytest.raises(GroupingError) as caught:
        rows(path)
    assert caught.value.conversation_id == f"c{same}"
    assert caught.value.places == (f"line {same} of {path}", f"line {same + 1 + blank.count(10)} of {path}")


def test_integer_and_its_digits_are_one_id(tmp_path: Path) -> None:
    """As they are in the CSV."""
    with pytest.raises(GroupingError, match=r"'7' comes back: line 1 of .* and line 2 of "):
        rows(written(tmp_path / "a", LINE | {"id": 7}, LINE | {"id": "7"}))


def test_last_line_of_a_file_and_first_of_the_next(tmp_path: Path) -> None:
    """A conversation that two files have is refused where one follows the other, too, and both files are named."""
    paths = [written(tmp_path / f"{name}.jsonl", LINE) for name in "ab"]
    with pytest.raises(GroupingError) as caught:
        list(open_source(*paths).batches(SourceContext(TAIPEI)))
    assert caught.value.places == tuple(f"line 1 of {path}" for path in paths)


@pytest.mark.parametrize("nested_first", [True, False])
def test_rows_in_another_file_are_not_a_whole_conversations(tmp_path: Path, nested_first: bool) -> None:
    """Those that follow it, or come before it, with its id are refused; both files are named."""
    row = {"message_id": "m2", "conversation_id": "c1", "message_time": MESSAGE["time"]}
    flat = written(tmp_path / "flat.jsonl", row | {"direction": "inbound", "speaker_type": "customer"})
    paths = [written(tmp_path / "nested.jsonl", LINE), flat][:: 1 if nested_first else -1]
    with pytest.raises(GroupingError) as caught:
        list(open_source(*paths).batches(SourceContext(TAIPEI)))
    assert caught.value.places == tuple(map(str, paths))
