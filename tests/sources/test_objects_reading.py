"""How conversation objects are read: lazily, in bounded batches, and closed at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC
from typing import Any

import pytest

from export_engine.errors import RowError
from export_engine.model import Contact, Conversation, Message
from export_engine.schema import MAX_BATCH_ROWS
from export_engine.sources import SourceContext
from export_engine.sources.objects import from_conversations
from tests.sources.conversations import conversation, message


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
