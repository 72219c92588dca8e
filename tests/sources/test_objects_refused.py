"""Conversation objects that break a rule: the error says which, where and how to mend it."""

from __future__ import annotations

import re
from datetime import UTC
from decimal import Decimal
from typing import Any

import pytest

from export_engine.errors import GroupingError, RowError, SchemaError
from export_engine.model import Contact, Message
from export_engine.schema import MAX_BATCH_ROWS
from export_engine.sources import SourceContext
from export_engine.sources.objects import from_conversations
from export_engine.sources.sorting import sorted_rows
from tests.sources.conversations import NOON, conversation, cut, message, read, rows_of

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
