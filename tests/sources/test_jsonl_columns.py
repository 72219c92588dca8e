"""The fast road for nested JSON Lines gives what the careful one gives, or nothing."""

from __future__ import annotations

import dataclasses
import io
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine import Contact, Conversation, Message
from export_engine.schema import MAX_BATCH_ROWS, ROW_SCHEMA
from export_engine.sources import SourceContext
from export_engine.sources.jsonl_columns import columnar, in_order
from export_engine.sources.jsonl_lines import Lines
from export_engine.sources.objects import from_conversations

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
IDS = TEXT.filter(bool)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=8)), timezone(-timedelta(hours=3, minutes=30))])
TIMES = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES)  # noqa: DTZ001  # the zone is drawn
MESSAGES = st.builds(
    Message,
    IDS,
    TIMES,
    TEXT,
    st.sampled_from(["bot", "agent", "customer"]),
    st.none() | TEXT,
    st.none() | TEXT,
    st.just(()) | st.lists(TEXT, max_size=3).map(tuple),
    st.none() | TEXT,
    st.none() | TEXT,
)
CONTACTS = st.builds(Contact, st.none() | TEXT, st.none() | TEXT)
CONVERSATIONS = st.builds(Conversation, IDS, CONTACTS, st.lists(MESSAGES, min_size=1, max_size=4), st.none() | TIMES)


def fast(block: bytes) -> list[pa.RecordBatch] | None:
    lines, context = Lines(1, block), SourceContext(UTC)
    made = columnar(lines, context)
    return None if made is None else in_order(lines, made, "a.jsonl", context)


def line_of(conversation: Conversation) -> bytes:
    return json.dumps(dataclasses.asdict(conversation), default=datetime.isoformat).encode() + b"\n"


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(CONVERSATIONS, min_size=1, max_size=4, unique_by=lambda c: str(c.id)))
def test_good_lines_give_the_objects_rows(given_ones: list[Conversation]) -> None:
    """Any text, any offset, any nulls that may be: the same table as from the objects themselves."""
    batches = fast(b"".join(map(line_of, given_ones)))
    assert batches is not None
    expected = list(from_conversations(given_ones).batches(SourceContext(UTC)))
    assert pa.Table.from_batches(batches, ROW_SCHEMA).equals(pa.Table.from_batches(expected, ROW_SCHEMA))


GOOD: dict[str, Any] = {
    "id": "c",
    "contact": {"name": "Jane", "phone": None},
    "created_at": None,
    "messages": [{"id": "m", "time": "2026-06-11T06:50:43Z", "direction": "inbound", "speaker_type": "customer"}],
}


def changed(**changes: object) -> dict[str, Any]:
    return GOOD | {"messages": [GOOD["messages"][0] | changes]}


@pytest.mark.parametrize(
    "line",
    [
        GOOD | {"extra": 1},
        GOOD | {"id": None},
        GOOD | {"id": 1},
        GOOD | {"contact": None},
        GOOD | {"contact": {"name": "Jane", "nick": "J"}},
        GOOD | {"messages": []},
        GOOD | {"messages": None},
        GOOD | {"messages": [None]},
        GOOD | {"created_at": "2026-06-11"},
        {key: value for key, value in GOOD.items() if key != "contact"},
        changed(extra=1),
        changed(id=None),
        changed(id=1),
        changed(direction=None),
        changed(speaker_type=None),
        changed(time=None),
        changed(time=1781160643),
        changed(id=""),
        changed(time="2026-02-30T06:50:43Z"),
        changed(time="0001-01-01T06:50:43Z"),
        changed(time="0000-01-01T06:50:43Z"),
        changed(media_urls=["u", None]),
        changed(media_urls="u"),
        GOOD | {"contact": {"name": "Jane", "phone": 12025550123}},
        changed(text="\ud800"),
        changed(text=5),
    ],
    ids=str,
)
def test_the_least_doubt_gives_nothing(line: dict[str, Any]) -> None:
    """Also for the good lines beside it: the careful road reads the whole block."""
    good = json.dumps(GOOD).encode() + b"\n"
    assert fast(good) is not None
    assert fast(good + json.dumps(line).encode() + b"\n" + good) is None


@pytest.mark.parametrize("block", [b"{\n", b"[1]\n", b"null\n", b'{"id": "\xff"}\n', b"\n"])
def test_what_is_no_conversation_gives_nothing(block: bytes) -> None:
    """Whatever it is instead is said by the careful road."""
    assert fast(block) is None


def test_two_objects_on_a_line_give_nothing() -> None:
    """One line, one conversation."""
    good = json.dumps(GOOD).encode()
    assert fast(good.rstrip(b"\n") + good) is None
    assert fast(good + b" null\n") is None
    other = json.dumps(GOOD | {"id": "d"}).encode()
    assert fast(good.rstrip(b"\n") + b"\r\n" + other) is not None
    assert fast(b"\n" + good) is None


@given(st.lists(st.sampled_from([b"a", b"\n", b"{"])).map(b"".join))
def test_lines_begin_where_they_do(block: bytes) -> None:
    """As the standard library cuts them."""
    lengths = [len(line) for line in io.BytesIO(block)]
    assert Lines(1, block).starts.tolist() == [sum(lengths[:at]) for at in range(len(lengths))]


def test_bounds() -> None:
    """Batches are bounded in rows, and a huge line is left to the road that holds less of it at a time."""
    many = json.dumps(changed(text="x") | {"messages": changed()["messages"] * (MAX_BATCH_ROWS + 1)}).encode()
    batches = fast(many)
    assert batches is not None
    assert [batch.num_rows for batch in batches] == [MAX_BATCH_ROWS, 1]
    assert fast(json.dumps(changed(text="x" * (9 << 20))).encode()) is None
