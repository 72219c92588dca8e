"""Conversation objects to record batches, against a row-by-row reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.errors import GroupingError, RowError
from export_engine.model import Contact, Conversation, Message
from export_engine.schema import ROW_SCHEMA
from export_engine.sources import SourceContext
from export_engine.sources.objects import from_conversations
from export_engine.times import MAX_US, MIN_US
from tests.sources.conversations import NOON, conversation, cut, message, read, rows_of

NEW_YORK = ZoneInfo("America/New_York")

# --- the reference: one row at a time, plain Python ---------------------------------------------------------------


def plain(text: str | None, counted: list[int]) -> str | None:
    """Join surrogates that are a pair, as UTF-16 has them, and replace each lone one."""
    if text is None:
        return None
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    counted.append(joined.count("\ufffd") - text.count("\ufffd"))
    return joined


def instant(time: datetime | None, zone: ZoneInfo) -> datetime | None:
    if time is None:
        return None
    return (time.replace(tzinfo=zone, fold=0) if time.tzinfo is None else time).astimezone(UTC)


def reference(conversations: Iterable[Conversation], zone: ZoneInfo) -> tuple[list[dict[str, Any]], int]:
    """Rows, and how many surrogates were replaced."""
    rows: list[dict[str, Any]] = []
    count: list[int] = []
    for c in conversations:
        shared = {
            "conversation_id": plain(c.id, count),
            "contact_name": plain(c.contact.name, count),
            "contact_phone": plain(c.contact.phone, count),
            "created_at": instant(c.created_at, zone),
        }
        begun = False
        for m in c.messages:
            begun = True
            row = {
                "message_id": plain(m.id, count),
                "direction": plain(m.direction, count),
                "speaker_type": plain(m.speaker_type, count),
                "speaker_name": plain(m.speaker_name, count),
                "message_time": instant(m.time, zone),
                "message_text": plain(m.text, count),
                "media_url": plain(",".join(u.replace(",", "%2C") for u in m.media_urls), count),
                "status": plain(m.status, count),
                "sender_account": plain(m.sender_account, count),
            }
            if not m.media_urls:
                row["media_url"] = None
            if m.speaker_name is None and m.speaker_type == "customer":
                row["speaker_name"] = shared["contact_name"]
            rows.append({**row, **shared})
        if not begun:
            rows.append({**dict.fromkeys(ROW_SCHEMA.names), **shared})
    return rows, sum(count)


# --- strategies ---------------------------------------------------------------------------------------------------

texts = st.text(st.characters(), max_size=5) | st.text("a,\ud800\udfff😀", max_size=5)
ids = texts.filter(bool)
maybe = st.none() | texts
zones: st.SearchStrategy[Any] = st.sampled_from(
    [None, UTC, NEW_YORK, timezone(timedelta(hours=8)), ZoneInfo("Asia/Kathmandu")]
)
years = st.datetimes(datetime(1960, 1, 1), datetime(2040, 1, 1), timezones=zones, allow_imaginary=False)  # noqa: DTZ001
one_message: st.SearchStrategy[Message] = st.builds(
    Message,
    id=ids,
    time=years,
    direction=st.sampled_from(["inbound", "outbound"]),
    speaker_type=st.sampled_from(["bot", "agent", "customer"]),
    text=maybe,
    speaker_name=maybe,
    media_urls=st.lists(texts, max_size=3) | st.just(()),
    status=maybe,
    sender_account=maybe,
)
shapes: list[Callable[[list[Message]], Iterable[Message]]] = [list, tuple, iter, lambda items: (item for item in items)]


@st.composite
def one_conversation(draw: st.DrawFn) -> Conversation:
    messages = draw(st.lists(one_message, max_size=12))
    created_at = draw(years if not messages else st.none() | years)
    id_ = draw(ids | st.sampled_from("ab"))
    return Conversation(id_, draw(st.builds(Contact, maybe, maybe)), messages, created_at)


# --- values -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(one_conversation(), max_size=6), st.data())
def test_rows_equal_the_reference_however_batches_are_cut(
    conversations: list[Conversation], data: st.DataObject
) -> None:
    """Rows, the count of surrogates and what is refused depend on the conversations only.

    Not on batches or the kind of iterable. Two conversations in a row that have one id are refused.
    """
    named = [plain(c.id, []) for c in conversations]
    twice = next((at for at in range(1, len(named)) if named[at] == named[at - 1]), None)
    wanted, count = reference(conversations, NEW_YORK)
    rows, block = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 8))
    shape = data.draw(st.sampled_from(shapes))
    given_ones = (dataclasses.replace(c, messages=shape(list(c.messages))) for c in conversations)
    with cut(rows, data.draw(st.integers(1, 4000)), block):
        context = SourceContext(NEW_YORK)
        if twice is not None:
            with pytest.raises(GroupingError) as caught:
                list(from_conversations(given_ones).batches(context))
            assert caught.value.conversation_id == named[twice]
            assert caught.value.places == (f"conversation number {twice}", f"conversation number {twice + 1}")
            return
        batches = list(from_conversations(given_ones).batches(context))
    assert rows_of(batches) == [{name: row[name] for name in ROW_SCHEMA.names} for row in wanted]
    assert context.replaced_surrogates == count
    assert all(batch.schema.equals(ROW_SCHEMA) and 0 < batch.num_rows <= rows for batch in batches)


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC"])
def test_naive_and_aware_times_in_one_batch(zone: str) -> None:
    """Naive times are in the export's zone, aware ones in their own, side by side."""
    home = ZoneInfo(zone)
    bare = [datetime(2026, 1, 1) + timedelta(hours=7 * n, microseconds=n) for n in range(1500)]  # noqa: DTZ001
    aware = [time.replace(tzinfo=NEW_YORK) for time in bare]
    times = [time for pair in zip(bare, aware, strict=True) for time in pair]
    for given_ones in (times, bare, aware):
        rows = read(conversation(*[message(time=time) for time in given_ones]), timezone=home)
        assert [row["message_time"] for row in rows] == [instant(time, home) for time in given_ones]


def test_time_that_occurs_twice_is_its_first_occurrence() -> None:
    """`fold` of a naive time is not looked at; that of an aware one is."""
    twice = datetime(2026, 11, 1, 1, 30, fold=1)  # noqa: DTZ001
    rows = read(conversation(message(time=twice), message(time=twice.replace(tzinfo=NEW_YORK))), timezone=NEW_YORK)
    assert [row["message_time"].hour for row in rows] == [5, 6]


def test_bounds_of_time_are_times() -> None:
    """The first and the last microsecond that can be written are taken, those around them refused."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    low, high = (epoch + timedelta(microseconds=bound) for bound in (MIN_US, MAX_US))
    assert [row["message_time"] for row in read(conversation(message(time=low), message(time=high)))] == [low, high]
    for outside in (low - timedelta(microseconds=1), high + timedelta(microseconds=1)):
        with pytest.raises(RowError, match="between 0001-01-02 and 9999-12-30") as caught:
            read(conversation(message(), message(2, time=outside)))
        assert (caught.value.column, caught.value.message_id, caught.value.value) == ("message_time", "m2", outside)


def test_customer_without_name_has_the_contacts() -> None:
    """Only None, and only a customer's, is the contact's name."""
    given_ones = [("customer", None), ("customer", ""), ("customer", "J."), ("agent", None), ("bot", None)]
    rows = read(conversation(*[message(speaker_type=kind, speaker_name=name) for kind, name in given_ones]))
    assert [row["speaker_name"] for row in rows] == ["Jane", "", "J.", None, None]


def test_commas_in_urls_are_escaped() -> None:
    """Splitting on commas gives as many URLs as were given."""
    rows = read(conversation(message(media_urls=["https://a/1,2", "b"]), message(), message(media_urls=[""])))
    assert [row["media_url"] for row in rows] == ["https://a/1%2C2,b", None, ""]


def test_conversation_without_messages_is_a_row_of_its_own() -> None:
    """Its message columns are null, its own are set; it is no message when rows are numbered."""
    empty = Conversation("c0", Contact("Joe"), iter(()), NOON)
    row, other = read(empty, conversation(message()))
    assert row == dict.fromkeys(ROW_SCHEMA.names) | {
        "conversation_id": "c0",
        "contact_name": "Joe",
        "created_at": NOON,
    }
    assert other["message_id"] == "m1"
    with pytest.raises(RowError) as caught:
        read(empty, conversation(message(), message(status=1)))
    assert caught.value.row == 2


@pytest.mark.parametrize("rows", [1, 2, 3, 50])
@pytest.mark.parametrize("bad", [{"status": 1}, {"direction": None}, {"time": None}, {"id": None}])
def test_conversations_without_messages_are_not_numbered(rows: int, bad: dict[str, Any]) -> None:
    """Nor do their nulls pass for the missing value, wherever the batches end."""
    empties = [conversation(id=f"e{n}", created_at=NOON) for n in range(5)]
    with cut(rows, 1 << 20, 4), pytest.raises(RowError) as caught:
        read(empties[0], conversation(message()), *empties[1:], conversation(message(2), message(3, **bad), id="c2"))
    assert (caught.value.row, caught.value.conversation_id) == (3, "c2")


def test_conversation_without_messages_needs_created_at() -> None:
    """There is no time to name its file after."""
    with pytest.raises(RowError, match="created_at") as caught:
        read(conversation())
    assert (caught.value.column, caught.value.conversation_id) == ("created_at", "c1")


def test_duck_typed_objects_are_read() -> None:
    """Anything with the attributes will do, and str subclasses are text."""

    class Word(str):
        __slots__ = ()

    class Thing:
        def __init__(self, **attributes: Any) -> None:
            self.__dict__ |= attributes

    text = Thing(**{f.name: getattr(message(text="hi"), f.name) for f in dataclasses.fields(Message)})
    text.id = Word("m1")  # type: ignore[attr-defined]  # set on purpose
    rows = read(Thing(id="c1", contact=Thing(name=None, phone=None), created_at=None, messages=[text]))
    assert (rows[0]["message_id"], rows[0]["message_text"], rows[0]["created_at"]) == ("m1", "hi", None)


# --- lone surrogates ----------------------------------------------------------------------------------------------


def test_surrogates_of_a_contact_are_counted_once() -> None:
    """However many rows and batches repeat the contact's name."""
    context = SourceContext(UTC)
    long = conversation(contact=Contact("J\ud800"), messages=(message(n) for n in range(100)))
    with cut(7, 1 << 20, 3):
        rows = rows_of(from_conversations([long, conversation(message(text="\ud83d\ude00"), id="c2")]).batches(context))
    assert {row["contact_name"] for row in rows} == {"J\ufffd", "Jane"}
    assert {row["speaker_name"] for row in rows} == {"J\ufffd", "Jane"}
    assert rows[-1]["message_text"] == "😀"  # a pair is the character that it stands for
    assert context.replaced_surrogates == 1


@pytest.mark.parametrize(
    ("changed", "column", "message_id"),
    [
        (conversation(message(), message(2, text="\udfff")), "message_text", "m2"),
        (conversation(message(media_urls=["\udfff"])), "media_url", "m1"),
        (conversation(message(), contact=Contact("\udfff")), "contact_name", None),
    ],
)
def test_strict_refuses_a_surrogate(changed: Conversation, column: str, message_id: str | None) -> None:
    """The error names conversation, message and column."""
    with pytest.raises(RowError, match=f"'c1'.*{column}.*lone surrogate") as caught:
        read(changed, strict=True)
    assert (caught.value.column, caught.value.message_id, caught.value.conversation_id) == (column, message_id, "c1")
