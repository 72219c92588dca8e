"""The conversations that are exported here: seeded, in many languages, made by arrays; and public ones.

A synthetic table looks like a contact centre's month: UUIDs, people with names in eight scripts (some without), bots
and agents with accounts, a few pictures, texts drawn half from `chatterbot-corpus` (28 languages) and half from
`chitchat-dataset` (English). The same arguments give the same table, on any machine with the same versions of
numpy and of the two data sets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_engine import Channel, Contact, Conversation, DateRange, Export, MemberRecord, Message, export_conversations
from export_engine.schema import CREATED_AT, MAX_BATCH_ROWS, ROW_SCHEMA
from fixtures import datasets

__all__ = ["JUNE", "DataSet", "chitchat", "conversations", "drain", "export", "repeated", "synthetic", "table"]

CHANNEL = Channel("SMS Support", "+12025550123")
JUNE = DateRange(date(2026, 6, 1), date(2026, 6, 30))

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_JUNE_1 = 20_605 * _DAY

# fmt: off
_GIVEN = (
    "Jane", "Ahmed", "小明", "たろう", "서연", "Иван", "Γιώργος", "Zoë",
    "מאיה", "प्रिया", "Nguyễn", "María", "João", "Åsa", "Çağla", "Wanjiru",
)
_FAMILY = (
    "Doe", "Al-Farsi", "王", "山田", "김", "Петров", "Παππάς", "O'Neill",
    "כהן", "शर्मा", "Thị Hoa", "García", "Silva", "Öberg", "Yılmaz", "Otieno",
)
# fmt: on
_AGENTS = ("Ann Lee", "Bjørn Dahl", "Chloé Martin", "Dmitri Orlov", "Emeka Obi", "Fatima Zahra", "王芳", "Hana Suzuki")
_STATUSES = ("read", "delivered", "sent", "failed")
_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint8).reshape(256, 2)


@dataclass(frozen=True, slots=True)
class DataSet:
    """Rows of `ROW_SCHEMA`, and a range of days that has them all."""

    name: str
    table: pa.Table
    days: DateRange


@lru_cache(maxsize=1)
def _texts() -> tuple[pa.StringArray, int]:
    """Message texts: first those in many languages, whose number is returned too, then as many English ones."""
    many = [message.text for talk in datasets.chatterbot() for message in talk.messages]
    english = _chitchat()["message_text"].slice(0, len(many)).combine_chunks()
    return pa.concat_arrays([pa.array(many, pa.string()), english]), len(many)


@lru_cache(maxsize=1)
def _chitchat() -> pa.Table:
    return datasets.flat_table(datasets.chitchat()).combine_chunks()


def chitchat(rows: int | None = None) -> DataSet:
    """The chitchat-dataset: 258,145 messages in 7,168 conversations, or its first `rows`."""
    return DataSet("chitchat-dataset", _chitchat().slice(0, rows), DateRange(date(2018, 4, 1), date(2018, 11, 30)))


def synthetic(rows_per_conversation: int, rows: int, seed: int = 1) -> DataSet:
    """A synthetic table with its days."""
    return DataSet("synthetic", table(rows_per_conversation, rows, seed), JUNE)


def table(rows_per_conversation: int, rows: int, seed: int = 1) -> pa.Table:
    """Rows of `ROW_SCHEMA`, in one chunk: exactly `rows`, in conversations of half to one and a half times the mean.

    Every message is of June 2026; conversations were created in May or June.
    """
    rng = np.random.default_rng(seed)
    low, high = (rows_per_conversation + 1) // 2, rows_per_conversation + rows_per_conversation // 2
    counts = rng.integers(low, high + 1, rows // low + 1)
    counts = counts[: int(np.searchsorted(np.cumsum(counts), rows)) + 1]
    counts[-1] -= int(counts.sum()) - rows
    talks = len(counts)
    of = np.repeat(np.arange(talks), counts)

    people = pa.array([f"{given} {family}" for given, family in product(_GIVEN, _FAMILY)])
    contact = pa.array(rng.integers(0, len(people), talks), mask=rng.random(talks) < 0.03)
    contact_name = people.take(contact).take(pa.array(of))
    kind = rng.choice(3, rows, p=(0.5, 0.2, 0.3))  # customer, bot, agent
    agent = pa.array(rng.integers(0, len(_AGENTS), talks)[of], mask=kind != 2)
    bot = pa.array(["Helper"]).take(pa.array(np.zeros(rows, np.int64)))
    speaker = pc.choose(pa.array(kind), contact_name, bot, pa.array(_AGENTS).take(agent))
    accounts = pa.array([f"{name.split()[0].lower()}@example.com" for name in _AGENTS])

    texts, many = _texts()
    text = rng.integers(0, many, rows) + np.where(rng.random(rows) < 0.5, 0, len(texts) - many)
    media = rng.random(rows) < 0.03
    start = _JUNE_1 + rng.integers(0, 20 * _DAY, talks)
    step = np.minimum(20 * 60 * _SECOND, 9 * _DAY // counts)[of]  # all of it within the month
    gaps = np.cumsum(rng.integers(1, step))
    time = start[of] + gaps - gaps[np.cumsum(counts) - counts][of]

    columns = {
        "message_id": _uuids(rng, rows),
        "conversation_id": _uuids(rng, talks).take(pa.array(of)),
        "contact_name": contact_name,
        "contact_phone": _spelt(b"+1202555", _digits(rng, talks, 7)).take(pa.array(of)),
        "direction": pa.array(["inbound", "outbound"]).take(pa.array((kind > 0).astype(np.int64))),
        "speaker_type": pa.array(["customer", "bot", "agent"]).take(pa.array(kind)),
        "speaker_name": speaker,
        "message_time": pa.array(time).cast(ROW_SCHEMA.field("message_time").type),
        "message_text": texts.take(pa.array(text, mask=media & (rng.random(rows) < 0.5))),
        "media_url": _urls(rng, media),
        "status": pa.array(_STATUSES).take(pa.array(rng.choice(4, rows, p=(0.6, 0.3, 0.08, 0.02)))),
        "sender_account": accounts.take(agent),
        CREATED_AT: pa.array((start - rng.integers(0, 30 * _DAY, talks))[of]).cast(ROW_SCHEMA.field(CREATED_AT).type),
    }
    return pa.table(columns, ROW_SCHEMA)


def _strings(text: NDArray[np.uint8]) -> pa.StringArray:
    """Rows of ASCII, all of one length, as strings."""
    count, width = text.shape
    ends = np.arange(0, width * (count + 1), width, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(text)))


def _uuids(rng: np.random.Generator, count: int) -> pa.StringArray:
    raw = rng.integers(0, 256, (count, 16), np.uint8)
    raw[:, 6] = raw[:, 6] & 0x0F | 0x40
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    return _strings(np.insert(_HEX[raw].reshape(count, 32), (8, 12, 16, 20), ord("-"), axis=1))


def _digits(rng: np.random.Generator, count: int, width: int) -> NDArray[np.uint8]:
    return rng.integers(ord("0"), ord("9") + 1, (count, width), np.uint8)


def _spelt(prefix: bytes, tail: NDArray[np.uint8]) -> pa.StringArray:
    head = np.broadcast_to(np.frombuffer(prefix, np.uint8), (len(tail), len(prefix)))
    return _strings(np.concatenate((head, tail), axis=1))


def _urls(rng: np.random.Generator, media: NDArray[np.bool_]) -> pa.StringArray:
    """URLs of pictures where `media` says so, now and then two of them."""
    one = pc.binary_join_element_wise("https://media.example.com/", _uuids(rng, int(media.sum())), ".jpg", "")
    two = pc.binary_join_element_wise(one, pc.replace_substring(one, ".jpg", "-2.jpg"), ",")
    urls = pc.if_else(pa.array(rng.random(len(one)) < 0.2), two, one)
    return urls.take(pa.array(np.cumsum(media) - 1, mask=~media))


def repeated(pool: pa.Table, rows: int, *, one_conversation: bool = False) -> Iterator[pa.RecordBatch]:
    """About `rows` rows, the pool a whole number of times: a lazy source of any size in the memory of a small one.

    Each time round the conversations get new ids and were created a second later, so that neither ids nor names
    repeat; or all of it is `one_conversation`.
    """
    batches = pool.to_batches(max_chunksize=MAX_BATCH_ROWS)
    at, created = ROW_SCHEMA.get_field_index("conversation_id"), ROW_SCHEMA.get_field_index(CREATED_AT)
    for turn in range(max(1, round(rows / len(pool)))):
        for batch in batches:
            if one_conversation:
                ids = pa.repeat("the-one-conversation", len(batch))
                later = pa.repeat(pool.column(created)[0], len(batch))
            else:
                ids = pc.binary_replace_slice(batch.column(at), 0, 8, f"{turn:08x}")
                later = pc.add(batch.column(created), pa.scalar(turn * _SECOND, pa.duration("us")))
            yield batch.set_column(at, ROW_SCHEMA.field(at), ids).set_column(created, ROW_SCHEMA.field(created), later)


def conversations(rows: pa.Table) -> list[Conversation]:
    """The same rows as objects, for exports from objects."""
    talks: list[Conversation] = []
    messages: list[Message] = []
    last = None
    for row in zip(*map(_values, rows.columns), strict=True):
        id_, talk, name, phone, direction, speaker, speaker_name, time, text, media, status, account, created = row
        if talk != last:
            messages = []
            talks.append(Conversation(talk, Contact(name, phone), messages, created))
            last = talk
        urls = tuple(media.split(",")) if media else ()
        messages.append(Message(id_, time, direction, speaker, text, speaker_name, urls, status, account))
    return talks


def _values(column: pa.ChunkedArray) -> list[Any]:
    if not pa.types.is_timestamp(column.type):
        values: list[Any] = column.to_pylist()
        return values
    # Arrow's own way is slow, and its zone is not the object that most code uses.
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return [epoch + timedelta(microseconds=us) for us in column.cast(pa.int64()).to_pylist()]


def export(source: Any, days: DateRange = JUNE, **options: Any) -> Export:
    """An export of this channel, with a fixed id."""
    return export_conversations(source, channel=CHANNEL, date_range=days, export_id="bench", **options)


def drain(
    source: Any,
    days: DateRange = JUNE,
    on_member: Callable[[MemberRecord], object] | None = None,
    **options: Any,
) -> Export:
    """The export run to its end, its bytes dropped."""
    made = export(source, days, **options)
    if on_member is not None:
        made.listen(on_member)
    deque(made, maxlen=0)
    return made
