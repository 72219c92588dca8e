"""Conversation objects to record batches.

Strategy: messages are pulled in short blocks into one flat list, and only when a batch is full is each field gathered
into a list of its own and turned into an Arrow column in one call. What belongs to a conversation is gathered once a
conversation and repeated by index. Nothing is checked value by value: a column that Arrow refuses is searched for its
first bad value afterwards, so good input never pays for the error message.

A batch ends with a conversation once it is three quarters full, so that only conversations of more than a quarter of a
batch are ever cut. Where the batches end never shows in the output: every rule looks at one value at a time.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from itertools import chain, islice
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_engine.errors import RowError, SchemaError
from export_engine.model import Conversation, Message
from export_engine.schema import CREATED_AT, ROW_SCHEMA
from export_engine.sources import MAX_BYTES, MAX_ROWS, Intake, Source
from export_engine.zone import MAX_US, MIN_US, from_local

__all__ = ["from_conversations", "gather"]

_TEXT = pa.string()
_INSTANT = pa.timestamp("us", tz="UTC")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # subtracting it is how naive times are told from aware ones
_SURROGATE = re.compile("[\ud800-\udfff]")

#: Messages pulled at a time: cheap per message, few enough that a run of huge texts is noticed early.
_BLOCK = 64
#: Characters that a row is taken to have beside its text, URLs and contact: identifiers, names, status.
_ROW_CHARACTERS = 200
#: Share of a batch that is full enough to end it with a conversation.
_ENOUGH = 0.75

#: Model attributes whose column has another name.
_COLUMN_OF = {"id": "message_id", "time": "message_time", "text": "message_text", "media_urls": "media_url"}

#: Stands for the one row of a conversation without messages; its time is replaced by null.
_NO_MESSAGE: Any = Message(None, _EPOCH, None, None)  # type: ignore[arg-type]  # all of its columns are null


def from_conversations(conversations: Iterable[Conversation]) -> Source:
    """Make a source of conversation objects.

    `conversations` and each one's `messages` may be any iterables (lists, generators, cursors) of objects with the
    attributes of `model.Conversation`, `Contact` and `Message`. They are read once, lazily and in their own order, never
    more than one batch ahead; a batch is bounded in rows and in characters, however long a conversation is. An iterator
    that is left before its end, by an error or by closing the batches, is closed if it has a `close()`.

    Text is `str` (or bytes-like UTF-8, as Arrow takes it). Naive times are in the export's zone; one that occurs twice
    is its first occurrence, whatever its `fold`. A customer's message without `speaker_name` has the contact's name. A
    conversation without messages becomes one row whose message columns are all null.

    Errors while reading: RowError for a value of the wrong type, a missing id, time, direction or speaker type, a time
    outside `zone.MIN_US` to `zone.MAX_US`, an empty conversation without `created_at`, and, with `strict`, a lone
    surrogate; SchemaError for an object without one of the attributes. The iterables' own exceptions are not wrapped.
    """
    return _Conversations(conversations)


@dataclass(frozen=True, slots=True)
class _Conversations:
    conversations: Iterable[Conversation]

    def batches(self, intake: Intake) -> Iterator[pa.RecordBatch]:
        return gather(self.conversations, intake)


@dataclass(slots=True)
class _Held:
    """The rows of the next batch, and what their errors need to say where they stand."""

    intake: Intake
    line_of: Callable[[Any], int] | None
    #: Number, in the source, of the first message.
    first_row: int
    conversations: list[Conversation] = field(default_factory=list)
    #: Rows of each conversation.
    counts: list[int] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    texts: list[str | None] = field(default_factory=list)
    media: list[Sequence[str]] = field(default_factory=list)
    #: Positions of the rows that stand for conversations without messages.
    empty: list[int] = field(default_factory=list)
    #: Characters, about.
    size: int = 0
    #: Whether the first conversation has rows in an earlier batch.
    continued: bool = False


def gather(
    conversations: Iterable[Conversation], intake: Intake, line_of: Callable[[Any], int] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of `conversations`, as `from_conversations` describes.

    `line_of` gives the line a conversation was read from, which then is the `row` of its errors; without it `row` is
    the 1-based number of the message in the source.
    """
    source = iter(conversations)
    messages: Iterator[Message] = iter(())
    held = _Held(intake, line_of, 1)
    pull = 1
    try:
        for conversation in source:
            messages = _begin(held, conversation)
            begun = ended = False
            while not ended:
                asked = min(pull, MAX_ROWS - len(held.messages))
                block = list(islice(messages, asked))
                ended = len(block) < asked
                if block or not begun:
                    weight = _hold(held, conversation, block, begun=begun)
                    begun = True
                    # Huge texts are pulled a few at a time; the source's first ones show whether they are.
                    pull = max(1, min(_BLOCK, 2 * pull, MAX_BYTES // 4 * len(block) // weight))
                rows, size = (_ENOUGH_ROWS, _ENOUGH_BYTES) if ended else (MAX_ROWS, MAX_BYTES)
                if len(held.messages) >= rows or held.size >= size:
                    yield _batch(held)
                    held = _Held(intake, line_of, held.first_row + len(held.messages) - len(held.empty))
        if held.messages:
            yield _batch(held)
    except BaseException:
        with ExitStack() as stack:
            for abandoned in (source, messages):
                if callable(close := getattr(abandoned, "close", None)):
                    stack.callback(close)
        raise


def _begin(held: _Held, conversation: Conversation) -> Iterator[Message]:
    """Ask a conversation for its messages."""
    try:
        messages = conversation.messages
    except AttributeError as error:
        _lacks(error)
    if not hasattr(messages, "__iter__"):
        raise RowError(
            f"{reprlib.repr(messages)} cannot be iterated",
            column="messages",
            value=messages,
            conversation_id=_known(conversation),
            row=held.line_of(conversation) if held.line_of else None,
            advice="give any iterable of messages, an empty one where there are none",
        )
    return iter(messages)


def _hold(held: _Held, conversation: Conversation, block: list[Message], *, begun: bool) -> int:
    """Put a block into the batch; return about how many characters it has."""
    if not block:
        if conversation.created_at is None:
            raise RowError(
                "a conversation without messages has no time to be named after",
                column=CREATED_AT,
                conversation_id=_known(conversation),
                row=held.line_of(conversation) if held.line_of else None,
                advice="give its created_at, or leave the conversation out",
            )
        held.empty.append(len(held.messages))
        block.append(_NO_MESSAGE)
    try:
        contact = conversation.contact
        fixed = (conversation.id, contact.name, contact.phone)
        texts = [m.text for m in block]
        media = [m.media_urls for m in block]
    except AttributeError as error:
        _lacks(error)
    if begun and held.conversations:
        held.counts[-1] += len(block)
    else:
        held.continued |= begun
        held.conversations.append(conversation)
        held.counts.append(len(block))
    held.messages += block
    held.texts += texts
    held.media += media
    weight = _ROW_CHARACTERS * len(block)
    try:
        weight += sum(map(len, filter(None, fixed))) * len(block) + sum(map(len, filter(None, texts)))
        if any(media):
            weight += sum(map(len, chain.from_iterable(filter(None, media))))
    except (TypeError, ValueError):
        pass  # a value without a length: it is refused, with its place, when its column is made
    held.size += weight
    return weight


def _batch(held: _Held) -> pa.RecordBatch:
    """Make the record batch, a column at a time."""
    rows, conversations = held.messages, held.conversations
    of_row = pa.array(np.repeat(np.arange(len(conversations)), held.counts))
    try:
        contacts = [c.contact for c in conversations]
        contact_name = _strings(held, "contact_name", [c.name for c in contacts]).take(of_row)
        speaker_type = _strings(held, "speaker_type", [m.speaker_type for m in rows], required=True)
        speaker_name = _strings(held, "speaker_name", [m.speaker_name for m in rows])
        if speaker_name.null_count:
            unnamed = pc.and_(pc.is_null(speaker_name), pc.equal(speaker_type, "customer"))
            speaker_name = pc.if_else(unnamed, contact_name, speaker_name)
        columns = [
            _strings(held, "message_id", [m.id for m in rows], required=True),
            _strings(held, "conversation_id", [c.id for c in conversations], required=True).take(of_row),
            contact_name,
            _strings(held, "contact_phone", [c.phone for c in contacts]).take(of_row),
            _strings(held, "direction", [m.direction for m in rows], required=True),
            speaker_type,
            speaker_name,
            _instants(held, "message_time", [m.time for m in rows], held.empty),
            _strings(held, "message_text", held.texts),
            _strings(held, "media_url", _joined(held)) if any(held.media) else pa.nulls(len(rows), _TEXT),
            _strings(held, "status", [m.status for m in rows]),
            _strings(held, "sender_account", [m.sender_account for m in rows]),
            _created(held).take(of_row),
        ]
    except AttributeError as error:
        _lacks(error)
    return pa.RecordBatch.from_arrays(columns, schema=ROW_SCHEMA)


def _strings(held: _Held, column: str, values: Sequence[Any], *, required: bool = False) -> pa.StringArray:
    """Make a text column."""
    try:
        array = pa.array(values, _TEXT)
    except UnicodeEncodeError:
        return _strings(held, column, _mended(held, column, values), required=required)
    except pa.ArrowException as error:
        at = _first_bad(values, lambda one: pa.array(one, _TEXT), error)
        advice = "convert it with str()" if column.endswith("_id") else f"give a str{'' if required else ' or None'}"
        raise _refusal(held, column, at, values[at], f"is {_kind(values[at])}, not text", advice) from error
    if required and array.null_count > (0 if column in _OF_CONVERSATION else len(held.empty)):
        at = next(i for i, v in enumerate(values) if v is None and (held.messages[i] is not _NO_MESSAGE))
        raise _refusal(held, column, at, None, "is None", "it must have a value")
    return array
