"""Conversation objects to record batches.

Strategy: messages are pulled in short blocks into one flat list, and only when a batch is full is each field gathered
into a list of its own and turned into an Arrow column in one call. What belongs to a conversation is gathered once a
conversation and repeated by index. Nothing is checked value by value: a column that Arrow refuses is searched for its
first bad value afterwards, so good input never pays for the error message.

A batch ends with a conversation once it is three quarters full, so that only conversations of more than a quarter of a
batch are ever cut. Where the batches end never shows in the output: every rule looks at one value at a time.
"""

from __future__ import annotations

import reprlib
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import accumulate, chain, islice
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from export_engine.errors import RowError, SchemaError
from export_engine.model import Conversation, Message
from export_engine.schema import CREATED_AT, MAX_BATCH_BYTES, MAX_BATCH_ROWS, ROW_SCHEMA
from export_engine.sources import Source, SourceContext
from export_engine.sources.values import BadValue, column_of, converted, named, row_error
from export_engine.sources.whole import each_once, line_place
from export_engine.times import EPOCH

__all__ = ["from_conversations", "gather"]

_LISTS = (list, tuple)

#: Messages pulled at a time: cheap per message, few enough that a run of huge texts is noticed early.
_BLOCK = 64
#: Characters that a row is taken to have beside its text, URLs and contact: identifiers, names, status.
_ROW_CHARACTERS = 200
#: What is enough to end a batch with a conversation.
_ENOUGH_ROWS = MAX_BATCH_ROWS * 3 // 4
_ENOUGH_CHARACTERS = MAX_BATCH_BYTES * 3 // 4

_OF_CONVERSATION = frozenset({"conversation_id", "contact_name", "contact_phone", CREATED_AT})

#: Stands for the one row of a conversation without messages; its time is replaced by null.
_NO_MESSAGE: Any = Message(None, EPOCH, None, None)  # type: ignore[arg-type]  # all of its columns are null


def from_conversations(conversations: Iterable[Conversation]) -> Source:
    """Make a source of conversation objects.

    `conversations` and each one's `messages` may be any iterables (lists, generators, cursors) of objects with the
    attributes of `model.Conversation`, `Contact` and `Message`. They are read once, lazily and in their own order,
    never more than one batch ahead; a batch is bounded in rows and in characters, however long a conversation is. On
    an error, and when the batches are closed early, the iterators in use are closed if they have a `close()`.

    Text is `str`, or bytes that are UTF-8. A pair of surrogates is the character that it stands for; lone ones become
    U+FFFD. Ids, never null or empty, may also be integers, `uuid.UUID` or whole `Decimal`; `phone` integers or whole
    `Decimal`. Times are `datetime` (also pandas' `Timestamp`, cut down to microseconds), text in the forms of
    `sources.instants.FORMS`, or, with the option `epoch`, numbers. Naive times are in the export's zone; one that
    occurs twice is its first occurrence, whatever its `fold`. `media_urls` may also be text: a JSON array of strings,
    or URLs parted by commas. A customer's message without `speaker_name` has the contact's name. A conversation without
    messages becomes one row whose message columns are all null.

    Errors while reading: RowError for a value of the wrong type, a missing id, time, direction or speaker type, an
    empty id, a time outside `times.MIN_US` to `times.MAX_US`, an empty conversation without `created_at`, and, with
    `strict`, a lone surrogate; GroupingError for two conversations with one id; SchemaError for an object without one
    of the attributes. The iterables' own exceptions are not wrapped.
    """
    return _Conversations(conversations)


@dataclass(frozen=True, slots=True)
class _Conversations:
    conversations: Iterable[Conversation]

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        return gather(self.conversations, context)


@dataclass(slots=True)
class _Held:
    """The rows of the next batch, and what their errors need to say where they stand."""

    context: SourceContext
    line_of: Callable[[Any], int] | None
    #: The file that lines are of.
    name: str
    #: Numbers, in the source, of the first message and the first conversation.
    number: int = 1
    nth: int = 1
    #: Messages to pull at a time: fewer while they are huge, and first of all while it is not known whether they are.
    pull: int = 1
    conversations: list[Conversation] = field(default_factory=list)
    #: Rows of each conversation.
    counts: list[int] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    #: Positions of the rows that stand for conversations without messages.
    empty: list[int] = field(default_factory=list)
    #: Whether the first conversation has rows in an earlier batch.
    continued: bool = False
    #: Texts and URLs of the rows weighed so far, their characters (about), and the conversations weighed for good.
    texts: list[str | None] = field(default_factory=list)
    media: list[Sequence[str]] = field(default_factory=list)
    size: int = 0
    weighed: int = 0


def gather(
    conversations: Iterable[Conversation],
    context: SourceContext,
    line_of: Callable[[Any], int] | None = None,
    name: str = "",
) -> Generator[pa.RecordBatch, None, None]:
    """Yield the batches of `conversations`, as `from_conversations` describes.

    `line_of` gives the line of the file `name` a conversation was read from, which then is the `row` of its errors;
    without it `row` is the 1-based number of the message in the source.
    """
    source = iter(conversations)
    messages: Iterator[Message] = iter(())
    held = _Held(context, line_of, name)
    try:
        for conversation in source:
            given = _messages(conversation)
            # A short list needs no iterator: most conversations are one, and small enough for that to tell.
            room = min(held.pull, MAX_BATCH_ROWS - len(held.messages))
            short = type(given) in _LISTS and 0 < len(given) <= room
            if not short:
                messages = _iterated(held, conversation, given)
            begun = ended = False
            while not ended:
                if short:
                    _hold_list(held, conversation, given)
                    ended = True
                else:
                    asked = min(held.pull, MAX_BATCH_ROWS - len(held.messages))
                    ended = _hold(held, conversation, islice(messages, asked), begun=begun) < asked
                    begun = True
                rows, size = (_ENOUGH_ROWS, _ENOUGH_CHARACTERS) if ended else (MAX_BATCH_ROWS, MAX_BATCH_BYTES)
                if len(held.messages) >= rows or held.size >= size:
                    yield _batch(held)
                    number = held.number + len(held.messages) - len(held.empty)
                    held = _Held(context, line_of, name, number, held.nth + len(held.conversations), held.pull)
            del conversation, given  # a huge one need not wait for the next
        if held.messages:
            yield _batch(held)
    except BaseException:
        with ExitStack() as stack:
            for abandoned in (source, messages):
                if callable(close := getattr(abandoned, "close", None)):
                    stack.callback(close)
        raise


def _messages(conversation: Conversation) -> Any:
    """Ask a conversation for its messages."""
    try:
        return conversation.messages
    except AttributeError as error:
        _lacks(error)


def _iterated(held: _Held, conversation: Conversation, messages: Any) -> Iterator[Message]:
    """Begin to iterate a conversation's messages."""
    if not hasattr(messages, "__iter__"):
        raise row_error(
            "cannot be iterated",
            column="messages",
            value=messages,
            conversation_id=getattr(conversation, "id", None),
            message_id=None,
            row=held.line_of(conversation) if held.line_of else None,
            advice="give any iterable of messages, an empty one where there are none",
        )
    return iter(messages)


def _hold_list(held: _Held, conversation: Conversation, messages: Sequence[Message]) -> None:
    """Take all messages of a conversation: no more of them than are weighed at a time."""
    held.messages += messages
    held.conversations.append(conversation)
    held.counts.append(len(messages))
    if len(held.messages) - len(held.texts) >= held.pull:
        _weigh(held)


def _hold(held: _Held, conversation: Conversation, messages: Iterable[Message], *, begun: bool) -> int:
    """Pull the next messages of a conversation, begun before or not; return how many came."""
    before = len(held.messages)
    held.messages.extend(messages)
    count = len(held.messages) - before
    if not count and not begun:
        _hold_empty(held, conversation)
    if begun and held.counts:
        held.counts[-1] += count
    elif count or not begun:
        if begun:
            held.continued = True
            held.nth -= 1
        held.conversations.append(conversation)
        held.counts.append(count or 1)
    if len(held.messages) - len(held.texts) >= held.pull:
        _weigh(held)
    return count


def _hold_empty(held: _Held, conversation: Conversation) -> None:
    """Hold the one row of a conversation without messages."""
    if conversation.created_at is None:
        error = row_error(
            "a conversation without messages has no time to be named after",
            column=CREATED_AT,
            value=None,
            conversation_id=getattr(conversation, "id", None),
            message_id=None,
            row=held.line_of(conversation) if held.line_of else None,
            advice="give its created_at, or leave the conversation out",
        )
        if held.context.refused is None:
            raise error
        held.context.refused(error)
    held.empty.append(len(held.messages))
    held.messages.append(_NO_MESSAGE)


def _weigh(held: _Held) -> None:
    """Count the characters of the rows that came since the last time; pull fewer of such rows if they are huge."""
    rows = held.messages[len(held.texts) :]
    conversations = held.conversations[held.weighed :]
    repeated: list[Any] = []
    try:
        for conversation in conversations:
            contact = conversation.contact
            repeated += (conversation.id, contact.name, contact.phone)
        texts = [m.text for m in rows]
        media = [m.media_urls for m in rows]
    except AttributeError as error:
        _lacks(error)
    held.texts += texts
    held.media += media
    held.weighed = len(held.conversations) - 1  # the last may go on
    weight = _ROW_CHARACTERS * len(rows)
    # A conversation's own texts come again in each of its rows: the longest stands for all, as a bound.
    weight += _characters(repeated, _longest) * len(rows) + _characters(texts, sum)
    weight += _characters(chain.from_iterable(filter(None, media)), sum)
    held.size += weight
    held.pull = max(1, min(_BLOCK, 2 * held.pull, MAX_BATCH_BYTES // 4 * len(rows) // weight))


def _characters(values: Iterable[Any], of: Callable[[Iterable[int]], int]) -> int:
    """The sum or the largest of the lengths of values; those without one are refused, or numbers, later."""
    try:
        return of(map(len, filter(None, values)))
    except (TypeError, ValueError):
        return of(len(value) for value in values if isinstance(value, str))


def _longest(lengths: Iterable[int]) -> int:
    return max(lengths, default=0)


def _batch(held: _Held) -> pa.RecordBatch:
    """Make the record batch, a column at a time."""
    if len(held.texts) < len(held.messages):
        _weigh(held)
    rows, conversations = held.messages, held.conversations
    of_row = pa.array(np.repeat(np.arange(len(conversations)), held.counts))
    try:
        conversation_id = _column(held, "conversation_id", [c.id for c in conversations])
        contacts = [c.contact for c in conversations]
        contact_name = _column(held, "contact_name", [c.name for c in contacts]).take(of_row)
        speaker_type = _column(held, "speaker_type", [m.speaker_type for m in rows])
        speaker_name = _column(held, "speaker_name", [m.speaker_name for m in rows])
        columns = [
            _column(held, "message_id", [m.id for m in rows]),
            conversation_id.take(of_row),
            contact_name,
            _column(held, "contact_phone", [c.phone for c in contacts]).take(of_row),
            _column(held, "direction", [m.direction for m in rows]),
            speaker_type,
            named(speaker_name, speaker_type, contact_name),
            _column(held, "message_time", [m.time for m in rows]),
            _column(held, "message_text", held.texts),
            _column(held, "media_url", held.media),
            _column(held, "status", [m.status for m in rows]),
            _column(held, "sender_account", [m.sender_account for m in rows]),
            _created(held).take(of_row),
        ]
    except AttributeError as error:
        _lacks(error)
    each_once(conversation_id, lambda at: _place(held, at), held.context, continued=held.continued)
    return pa.RecordBatch.from_arrays(columns, schema=ROW_SCHEMA)


def _place(held: _Held, at: int) -> str:
    """Where a conversation stands, for an error."""
    if held.line_of is None:
        return f"conversation number {held.nth + at}"
    return line_place(held.line_of(held.conversations[at]), held.name)


def _created(held: _Held) -> pa.TimestampArray:
    """When the conversations were created, null where they do not say."""
    created = [c.created_at for c in held.conversations]
    unknown = [at for at, time in enumerate(created) if time is None]
    return _column(held, CREATED_AT, [EPOCH if time is None else time for time in created], unknown)


def _column(held: _Held, name: str, values: Sequence[Any], blanks: Sequence[int] = ()) -> pa.Array:
    """Make a column. Lone surrogates of a conversation's own values are counted where it begins."""
    of_conversation = name in _OF_CONVERSATION
    counted = int(of_conversation and held.continued)
    blanks = blanks if of_conversation else held.empty

    def convert(low: int, high: int) -> pa.Array:
        inside = [at - low for at in blanks if low <= at < high] if blanks else ()
        return column_of(name, values[low:high], held.context, blanks=inside, counted=0 if low else counted)

    def error(bad: BadValue) -> RowError:
        return _refusal(held, name, values, bad)

    return converted(name, len(values), convert, error, held.context)


def _refusal(held: _Held, column: str, values: Sequence[Any], bad: BadValue) -> RowError:
    """Say where a bad value stands: it counts conversations for their own columns, else rows of the batch."""
    of_conversation = column in _OF_CONVERSATION
    row = sum(held.counts[: bad.at]) if of_conversation else bad.at
    message = held.messages[row]
    conversation = held.conversations[bisect_right(list(accumulate(held.counts)), row)]
    number = None if message is _NO_MESSAGE else held.number + row - bisect_right(held.empty, row)
    return row_error(
        bad.problem,
        column=column,
        value=values[bad.at],
        conversation_id=getattr(conversation, "id", None),
        message_id=None if of_conversation else getattr(message, "id", None),
        row=held.line_of(conversation) if held.line_of else number,
        advice=bad.advice,
    )


def _lacks(error: AttributeError) -> NoReturn:
    """Say which attribute an object lacks; an error that is not about an attribute stays what it is."""
    if error.name is None:
        raise error
    raise SchemaError(
        f"{reprlib.repr(error.obj)}: {error}; give objects with all attributes of export_engine.model's Conversation, "
        "Contact and Message",
        column=error.name,
    ) from error
