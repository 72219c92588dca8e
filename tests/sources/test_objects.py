"""Conversation objects to record batches, against a row-by-row reference."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.errors import GroupingError, RowError, SchemaError
from export_engine.model import Contact, Conversation, Message
from export_engine.schema import MAX_BATCH_ROWS, ROW_SCHEMA
from export_engine.sources import SourceContext, objects
from export_engine.sources.objects import from_conversations
from export_engine.sources.sorting import sorted_rows
from export_engine.times import MAX_US, MIN_US

NEW_YORK = ZoneInfo("America/New_York")
NOON = datetime(2026, 6, 11, 12, tzinfo=UTC)
JANE = Contact("Jane", "+12025550123")

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


def rows_of(batches: Iterable[pa.RecordBatch]) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.to_pylist()]


def cut(rows: int, characters: int, block: int) -> Any:
    """Make batches end elsewhere."""
    return patch.multiple(
        objects,
        MAX_BATCH_ROWS=rows,
        MAX_BATCH_BYTES=characters,
        _ENOUGH_ROWS=max(1, rows * 3 // 4),
        _ENOUGH_CHARACTERS=max(1, characters * 3 // 4),
        _BLOCK=block,
    )


def message(number: int = 1, **changes: Any) -> Message:
    return dataclasses.replace(Message(f"m{number}", NOON, "inbound", "customer"), **changes)


def conversation(*messages: Message, **changes: Any) -> Conversation:
    return dataclasses.replace(Conversation("c1", JANE, messages), **changes)


def read(*conversations: Any, **options: Any) -> list[dict[str, Any]]:
    return rows_of(from_conversations(conversations).batches(SourceContext(**{"timezone": UTC, **options})))


# --- values -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
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


# --- errors -------------------------------------------------------------------------------------------------------

BAD = [
    (message(7, text=5), "message_text", 5, "m7"),
    (message(7, text="\ud800", status=["x"]), "status", ["x"], "m7"),
    (message(7, id=7.0), "message_id", 7.0, None),
    (message(7, id=True), "message_id", True, None),
    (message(7, id=Decimal("7.5")), "message_id", Decimal("7.5"), "7.5"),
    (message(7, id=""), "message_id", "", ""),
    (message(7, id=None), "message_id", None, None),
    (message(7, direction=None), "direction", None, "m7"),
    (message(7, speaker_type=None), "speaker_type", None, "m7"),
    (message(7, speaker_type=3.5), "speaker_type", 3.5, "m7"),
    (message(7, time=None), "message_time", None, "m7"),
    (message(7, time="yesterday"), "message_time", "yesterday", "m7"),
    (message(7, time=1781160643), "message_time", 1781160643, "m7"),
    (message(7, time=True), "message_time", True, "m7"),
    (message(7, time=NOON.date()), "message_time", NOON.date(), "m7"),
    (message(7, media_urls='["https://a", null]'), "media_url", '["https://a", null]', "m7"),
    (message(7, media_urls='["https://a", 7]'), "media_url", '["https://a", 7]', "m7"),
    (message(7, media_urls=b"https://a"), "media_url", b"https://a", "m7"),
    (message(7, media_urls={"a": "b"}), "media_url", {"a": "b"}, "m7"),
    (message(7, media_urls=["a", None]), "media_url", ["a", None], "m7"),
    (message(7, media_urls=7), "media_url", 7, "m7"),
]


@pytest.mark.parametrize(("bad", "column", "value", "message_id"), BAD)
@pytest.mark.parametrize("others_naive", [False, True])
def test_bad_value_of_a_message_is_named(
    bad: Message, column: str, value: object, message_id: str | None, others_naive: bool
) -> None:
    """Conversation, message, column, value and the number of the message in the source, over batches."""
    time = NOON.replace(tzinfo=None) if others_naive else NOON
    before = [message(n, time=time, text="\ud800") for n in range(25)]
    with cut(10, 1 << 20, 4), pytest.raises(RowError) as caught:
        read(conversation(*before[:5], id="c0"), conversation(*before[5:], bad, message(9)))
    error = caught.value
    assert (error.conversation_id, error.message_id, error.column, error.row) == ("c1", message_id, column, 26)
    assert error.value == value
    assert re.search(r"; (give|convert|every|say|write|leave)", str(error))


@pytest.mark.parametrize(
    ("changes", "column", "conversation_id"),
    [
        ({"id": 5.5}, "conversation_id", None),
        ({"id": ""}, "conversation_id", ""),
        ({"id": None}, "conversation_id", None),
        ({"contact": Contact(5)}, "contact_name", "c1"),  # type: ignore[arg-type]  # the case
        ({"contact": Contact(None, 5.5)}, "contact_phone", "c1"),  # type: ignore[arg-type]  # the case
        ({"created_at": "2026"}, "created_at", "c1"),
        ({"created_at": ""}, "created_at", "c1"),
        ({"messages": None}, "messages", "c1"),
    ],
)
def test_bad_value_of_a_conversation_is_named(
    changes: dict[str, Any], column: str, conversation_id: str | None
) -> None:
    """`row` is that of its first message."""
    with pytest.raises(RowError) as caught:
        read(conversation(message(), message(2)), conversation(message(3), **changes))
    assert (caught.value.column, caught.value.conversation_id) == (column, conversation_id)
    assert caught.value.message_id is None
    assert caught.value.row == (None if column == "messages" else 3)


@pytest.mark.parametrize(
    ("changed", "attribute"),
    [
        (conversation({"id": "m1"}), "text"),  # type: ignore[arg-type]  # the case
        (conversation(message(), contact=None), "name"),
        ({"id": "c1"}, "messages"),
    ],
)
def test_object_without_an_attribute_is_a_schema_error(changed: object, attribute: str) -> None:
    """The attribute and the object are named."""
    with pytest.raises(SchemaError, match=f"no attribute '{attribute}'; give objects") as caught:
        read(changed)
    assert caught.value.column == attribute


# --- reading ------------------------------------------------------------------------------------------------------


def test_nothing_is_read_before_it_is_asked_for() -> None:
    """Making the source and its batches pulls nothing; a batch pulls its own rows only."""
    pulled: list[int] = []

    def noted(numbers: Iterable[int]) -> Iterator[Message]:
        for number in numbers:
            pulled.append(number)
            yield message(number)

    def endless() -> Iterator[Conversation]:
        for start in range(0, 10**9, 20):
            yield conversation(id=f"c{start}", messages=noted(range(start, start + 20)))

    batches = from_conversations(endless()).batches(SourceContext(UTC))
    assert pulled == []
    rows = 0
    for batch in (next(batches) for _ in range(5)):
        rows += batch.num_rows
        assert pulled == list(range(rows))
        assert MAX_BATCH_ROWS // 2 < batch.num_rows <= MAX_BATCH_ROWS
        assert batch.num_rows % 20 == 0  # it ends with a conversation
    batches.close()


@pytest.mark.slow
def test_long_conversation_is_cut() -> None:
    """Of 100,000 messages no more than a batch is ever pulled ahead."""
    alive = [0]

    def messages() -> Iterator[Message]:
        for n in range(100_000):
            alive[0] += 1
            yield message(n)

    sizes = []
    for batch in from_conversations([conversation(messages=messages())]).batches(SourceContext(UTC)):
        sizes.append(batch.num_rows)
        assert alive[0] == sum(sizes)
    assert sum(sizes) == 100_000
    assert max(sizes) == MAX_BATCH_ROWS
    assert len(sizes) == -(-100_000 // MAX_BATCH_ROWS)


@pytest.mark.parametrize(
    "huge",
    [
        {"text": "x" * 100_000},
        {"media_urls": ["x" * 50_000] * 2},
        {"text": "x" * 50_000, "media_urls": ["x" * 50_000]},
    ],
)
def test_huge_messages_make_short_batches(huge: dict[str, Any]) -> None:
    """A batch stays about MAX_BATCH_BYTES, and no more is pulled than it holds."""
    pulled = [0]

    def messages() -> Iterator[Message]:
        for n in range(400):
            pulled[0] += 1
            yield message(n, **huge)

    rows = 0
    for batch in from_conversations([conversation(messages=messages())]).batches(SourceContext(UTC)):
        assert batch.nbytes < 6 << 20
        rows += batch.num_rows
        assert pulled[0] == rows
    assert rows == 400


def test_huge_contact_makes_short_batches() -> None:
    """What is repeated in every row counts in every row."""
    long = conversation(contact=Contact("x" * 100_000), messages=(message(n) for n in range(400)))
    assert max(b.num_rows for b in from_conversations([long]).batches(SourceContext(UTC))) < 100


class Closing:
    """An iterator that knows whether it was closed."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.items = iter(items)
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self.items)

    def close(self) -> None:
        """Note it."""
        self.closed += 1


def test_close_closes_the_callers_iterators() -> None:
    """Both the messages and the conversations in use."""
    messages = Closing(message(n) for n in range(100_000))
    conversations = Closing([conversation(messages=messages)])
    batches = from_conversations(conversations).batches(SourceContext(UTC))
    next(batches)
    assert (messages.closed, conversations.closed) == (0, 0)
    batches.close()
    assert (messages.closed, conversations.closed) == (1, 1)


@pytest.mark.slow
def test_error_closes_the_callers_iterators() -> None:
    """A refused value ends the reading, and its iterators."""
    messages = Closing(message(n, text=n) for n in range(100_000))
    conversations = Closing([conversation(messages=messages)])
    with pytest.raises(RowError):
        list(from_conversations(conversations).batches(SourceContext(UTC)))
    assert (messages.closed, conversations.closed) == (1, 1)


def test_end_closes_nothing() -> None:
    """An iterator read to its end is the caller's to close: it may be a cursor in use for the next conversation."""
    messages = Closing([message()])
    conversations = Closing([conversation(messages=messages)])
    list(from_conversations(conversations).batches(SourceContext(UTC)))
    assert (messages.closed, conversations.closed) == (0, 0)


@pytest.mark.parametrize(
    "error", [ValueError("mine"), AttributeError("mine", name="text"), TypeError(), KeyboardInterrupt()]
)
@pytest.mark.parametrize("of_messages", [True, False])
def test_callers_own_exception_is_not_wrapped(error: BaseException, of_messages: bool) -> None:
    """It arrives as it was raised, whatever its type."""

    def failing(first: Any) -> Iterator[Any]:
        yield first
        raise error

    conversations: Iterable[Conversation] = [conversation(messages=failing(message()))]
    if not of_messages:
        conversations = failing(conversation(message()))
    with pytest.raises(type(error)) as caught:
        list(from_conversations(conversations).batches(SourceContext(UTC)))
    assert caught.value is error
    assert caught.value.__cause__ is None


# --- one id, one conversation -------------------------------------------------------------------------------------


def test_two_conversations_of_one_id_are_refused_by_name_and_place() -> None:
    """Merged, they would be a CSV that nobody wrote; the error says where both stand and how to mend it."""
    given_ones = [conversation(message(), id="c0"), conversation(message()), conversation(message(2))]
    with pytest.raises(GroupingError) as caught:
        read(*given_ones)
    assert str(caught.value) == (
        "conversation 'c1' comes back: conversation number 2 and conversation number 3 are whole conversations with "
        "this one id; give each its own, or give all messages in one, or put their rows together with --sort (in "
        "Python sorted_rows(source))"
    )


@pytest.mark.parametrize("second", [7, "7", b"7", Decimal(7)])
def test_ids_are_compared_as_they_are_written(second: Any) -> None:
    """An integer and its digits are one id."""
    with pytest.raises(GroupingError, match="conversation '7' comes back"):
        read(conversation(message(), id="7"), conversation(message(2), id=second))


@pytest.mark.slow
@pytest.mark.parametrize("messages", [0, 1, MAX_BATCH_ROWS - 1, MAX_BATCH_ROWS, MAX_BATCH_ROWS + 1, 2 * MAX_BATCH_ROWS])
def test_conversation_of_the_same_id_in_the_next_batch_is_refused(messages: int) -> None:
    """Wherever the batches end."""
    long = conversation(*[message(n) for n in range(messages)], created_at=NOON)
    assert len({row["conversation_id"] for row in read(long)}) == 1
    with pytest.raises(GroupingError) as caught:
        read(conversation(message(), id="c0"), long, conversation(message(-1)))
    assert caught.value.places == ("conversation number 2", "conversation number 3")


def test_sorted_conversations_of_one_id_are_one() -> None:
    """Who sorts puts rows together by their id: that is what the error advises."""
    source = sorted_rows(from_conversations([conversation(message(2)), conversation(message(1))]))
    assert [row["message_id"] for row in rows_of(source.batches(SourceContext(UTC)))] == ["m1", "m2"]
