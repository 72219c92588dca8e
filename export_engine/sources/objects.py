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
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from itertools import accumulate, chain, compress, islice
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_engine.errors import RowError, SchemaError
from export_engine.model import Conversation, Message
from export_engine.schema import CREATED_AT, MAX_BATCH_BYTES, MAX_BATCH_ROWS, ROW_SCHEMA
from export_engine.sources import Source, SourceContext
from export_engine.times import MAX_US, MIN_US, from_local

__all__ = ["from_conversations", "gather"]

_TEXT = pa.string()
_INSTANT = pa.timestamp("us", tz="UTC")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # subtracting it is how naive times are told from aware ones
_LISTS = (list, tuple)
_SURROGATE = re.compile("[\ud800-\udfff]")

#: Messages pulled at a time: cheap per message, few enough that a run of huge texts is noticed early.
_BLOCK = 64
#: Characters that a row is taken to have beside its text, URLs and contact: identifiers, names, status.
_ROW_CHARACTERS = 200
#: What is enough to end a batch with a conversation.
_ENOUGH_ROWS = MAX_BATCH_ROWS * 3 // 4
_ENOUGH_CHARACTERS = MAX_BATCH_BYTES * 3 // 4

_OF_CONVERSATION = frozenset({"conversation_id", "contact_name", "contact_phone", CREATED_AT})

#: Stands for the one row of a conversation without messages; its time is replaced by null.
_NO_MESSAGE: Any = Message(None, _EPOCH, None, None)  # type: ignore[arg-type]  # all of its columns are null


def from_conversations(conversations: Iterable[Conversation]) -> Source:
    """Make a source of conversation objects.

    `conversations` and each one's `messages` may be any iterables (lists, generators, cursors) of objects with the
    attributes of `model.Conversation`, `Contact` and `Message`. They are read once, lazily and in their own order,
    never more than one batch ahead; a batch is bounded in rows and in characters, however long a conversation is. On
    an error, and when the batches are closed early, the iterators in use are closed if they have a `close()`.

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

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        return gather(self.conversations, context)


@dataclass(slots=True)
class _Held:
    """The rows of the next batch, and what their errors need to say where they stand."""

    context: SourceContext
    line_of: Callable[[Any], int] | None
    #: Number, in the source, of the first message.
    number: int = 1
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
    conversations: Iterable[Conversation], context: SourceContext, line_of: Callable[[Any], int] | None = None
) -> Generator[pa.RecordBatch, None, None]:
    """Yield the batches of `conversations`, as `from_conversations` describes.

    `line_of` gives the line a conversation was read from, which then is the `row` of its errors; without it `row` is
    the 1-based number of the message in the source.
    """
    source = iter(conversations)
    messages: Iterator[Message] = iter(())
    held = _Held(context, line_of)
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
                    held = _Held(context, line_of, number, held.pull)
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
        raise RowError(
            f"{reprlib.repr(messages)} cannot be iterated",
            column="messages",
            value=messages,
            conversation_id=_known(conversation),
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
        held.continued |= begun
        held.conversations.append(conversation)
        held.counts.append(count or 1)
    if len(held.messages) - len(held.texts) >= held.pull:
        _weigh(held)
    return count


def _hold_empty(held: _Held, conversation: Conversation) -> None:
    """Hold the one row of a conversation without messages."""
    if conversation.created_at is None:
        raise RowError(
            "a conversation without messages has no time to be named after",
            column=CREATED_AT,
            conversation_id=_known(conversation),
            row=held.line_of(conversation) if held.line_of else None,
            advice="give its created_at, or leave the conversation out",
        )
    held.empty.append(len(held.messages))
    held.messages.append(_NO_MESSAGE)


def _weigh(held: _Held) -> None:
    """Count the characters of the rows that came since the last time; pull fewer of such rows if they are huge."""
    rows = held.messages[len(held.texts) :]
    conversations = held.conversations[held.weighed :]
    try:
        contacts = [c.contact for c in conversations]
        repeated = [c.id for c in conversations] + [c.name for c in contacts] + [c.phone for c in contacts]
        texts = [m.text for m in rows]
        media = [m.media_urls for m in rows]
    except AttributeError as error:
        _lacks(error)
    held.texts += texts
    held.media += media
    held.weighed = len(held.conversations) - 1  # the last may go on
    weight = _ROW_CHARACTERS * len(rows)
    try:
        # A conversation's own texts come again in each of its rows: the longest stands for all, as a bound.
        weight += max(map(len, filter(None, repeated)), default=0) * len(rows) + sum(map(len, filter(None, texts)))
        if any(media):
            weight += sum(map(len, chain.from_iterable(filter(None, media))))
    except (TypeError, ValueError):
        pass  # a value without a length: it is refused, with its place, when its column is made
    held.size += weight
    held.pull = max(1, min(_BLOCK, 2 * held.pull, MAX_BATCH_BYTES // 4 * len(rows) // weight))


def _batch(held: _Held) -> pa.RecordBatch:
    """Make the record batch, a column at a time."""
    if len(held.texts) < len(held.messages):
        _weigh(held)
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
        created = [c.created_at for c in conversations]
        unknown = [at for at, time in enumerate(created) if time is None]
        created_at = _instants(held, CREATED_AT, [_EPOCH if time is None else time for time in created], unknown)
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
            _media_urls(held),
            _strings(held, "status", [m.status for m in rows]),
            _strings(held, "sender_account", [m.sender_account for m in rows]),
            created_at.take(of_row),
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
        raise _refusal(held, column, at, values[at], "is not text", advice) from error
    empty = () if column in _OF_CONVERSATION else held.empty
    if required and array.null_count > len(empty):
        at = next(at for at, value in enumerate(values) if value is None and at not in empty)
        raise _refusal(held, column, at, None, "is missing", "every message needs one")
    return array


def _mended(held: _Held, column: str, values: Sequence[Any]) -> list[Any]:
    """Replace lone surrogates, and count them: those of a conversation's own values where it begins."""
    mended = list(values)
    for at, value in enumerate(values):
        if isinstance(value, str) and _SURROGATE.search(value):
            if held.context.strict:
                problem, advice = (
                    "holds a lone surrogate, which UTF-8 cannot",
                    "mend the text, or export without strict",
                )
                raise _refusal(held, column, at, value, problem, advice)
            mended[at], count = _SURROGATE.subn("\ufffd", value)
            if at or not held.continued or column not in _OF_CONVERSATION:
                held.context.replaced_surrogates += count
    return mended


def _media_urls(held: _Held) -> pa.StringArray:
    """Make the column of URLs; most batches have none."""
    try:
        if not any(held.media):
            return pa.nulls(len(held.media), _TEXT)
        values = [_joined(urls) if urls else None for urls in held.media]
    except (TypeError, ValueError) as error:
        at = _first_bad(held.media, lambda one: _joined(one[0]) if any(one) else None, error)
        raise _refusal(held, "media_url", at, held.media[at], "is not a list of URLs", "give a list of str") from error
    return _strings(held, "media_url", values)


def _joined(urls: Sequence[str]) -> str:
    """Join URLs so that splitting on commas gives them back."""
    if isinstance(urls, str):
        raise TypeError("a str is a sequence of its characters")
    joined = ",".join(urls)
    return joined if joined.count(",") == len(urls) - 1 else ",".join([url.replace(",", "%2C") for url in urls])


def _instants(held: _Held, column: str, times: Sequence[Any], empty: Sequence[int] = ()) -> pa.TimestampArray:
    """Make a column of times, null at the `empty` positions whatever time stands there."""
    try:
        since = _microseconds(times, held.context.timezone)
    except (TypeError, ValueError) as error:
        at = _first_bad(times, lambda one: _microseconds(one, held.context.timezone), error)
        if isinstance(times[at], datetime):
            problem, advice = "is outside 0001-01-02 to 9999-12-30", "correct it"
        else:
            problem, advice = "is not a datetime", "give a datetime, for example by datetime.fromisoformat()"
        raise _refusal(held, column, at, times[at], problem, advice) from error
    mask = None
    if empty:
        mask = np.zeros(len(since), bool)
        mask[list(empty)] = True
    return pa.array(since, _INSTANT, mask=mask)


def _microseconds(times: Sequence[Any], zone: tzinfo) -> NDArray[np.int64]:
    """Count UTC microseconds since 1970; TypeError for what is no datetime, ValueError outside the bounds."""
    try:
        since = _since(times, _EPOCH)
    except TypeError:  # so some are naive
        naive = [datetime.utcoffset(time) is None for time in times]
        since = np.empty(len(times), np.int64)
        since[np.invert(naive)] = _since([time for time, bare in zip(times, naive, strict=True) if not bare], _EPOCH)
        local = _since(list(compress(times, naive)), _NAIVE_EPOCH)
        since[naive] = from_local(local, zone)
    if len(since) and (since.min() < MIN_US or since.max() > MAX_US):
        raise ValueError("outside the bounds of time")
    return since


def _since(times: Sequence[Any], epoch: datetime) -> NDArray[np.int64]:
    """Subtract `epoch`: a quarter of the time that Arrow or numpy takes for the datetimes themselves."""
    since: NDArray[np.int64] = pa.array([time - epoch for time in times], pa.duration("us")).to_numpy().view(np.int64)
    return since


def _first_bad(values: Sequence[Any], make: Callable[[list[Any]], object], error: Exception) -> int:
    """Find the value for which `make` raised `error`, by making a column of each alone."""
    for at, value in enumerate(values):
        try:
            make([value])
        except (TypeError, ValueError, pa.ArrowException):
            return at
    raise error


def _refusal(held: _Held, column: str, at: int, value: object, problem: str, advice: str) -> RowError:
    """Say where a bad value stands: `at` counts conversations for their own columns, else rows of the batch."""
    of_conversation = column in _OF_CONVERSATION
    row = sum(held.counts[:at]) if of_conversation else at
    message = held.messages[row]
    conversation = held.conversations[bisect_right(list(accumulate(held.counts)), row)]
    number = None if message is _NO_MESSAGE else held.number + row - bisect_right(held.empty, row)
    return RowError(
        problem if value is None else f"{reprlib.repr(value)} ({type(value).__name__}) {problem}",
        column=column,
        value=value,
        conversation_id=_known(conversation),
        message_id=None if of_conversation else _known(message),
        row=held.line_of(conversation) if held.line_of else number,
        advice=advice,
    )


def _known(thing: Conversation | Message) -> str | None:
    """Give an id for an error's text, if there is one to name."""
    identifier: object = getattr(thing, "id", None)
    return identifier if isinstance(identifier, str) else None


def _lacks(error: AttributeError) -> NoReturn:
    """Say which attribute an object lacks; an error that is not about an attribute stays what it is."""
    if error.name is None:
        raise error
    raise SchemaError(
        f"{reprlib.repr(error.obj)}: {error}; give objects with all attributes of export_engine.model's Conversation, "
        "Contact and Message",
        column=error.name,
    ) from error
