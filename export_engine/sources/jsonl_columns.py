"""The fast road for nested JSON Lines: a block of lines straight to columns, with no Python object a message.

pyarrow's JSON reader parses whole blocks into Arrow's structs and lists, outside the interpreter's lock, so that the
workers deflate meanwhile. It is taken only for blocks in which everything is as it should be: the least doubt (an
unknown key, a null that must not be, a time in another form, a character that is none) gives None, and the block takes
the road on which each value is looked at and an error can name its place. Where both give rows, they give the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson

from export_engine.schema import CREATED_AT, MAX_BATCH_BYTES, MAX_BATCH_ROWS, ROW_SCHEMA
from export_engine.times import MAX_US, MIN_US

__all__ = ["columnar", "line_starts"]

_TEXT = pa.string()
_INSTANT = ROW_SCHEMA.field(CREATED_AT).type
_MESSAGE = {
    "id": "message_id",
    "time": "message_time",
    "direction": "direction",
    "speaker_type": "speaker_type",
    "text": "message_text",
    "speaker_name": "speaker_name",
    "media_urls": "media_url",
    "status": "status",
    "sender_account": "sender_account",
}
_SCHEMA = pa.schema(
    [
        ("id", _TEXT),
        ("contact", pa.struct([("name", _TEXT), ("phone", _TEXT)])),
        ("created_at", _TEXT),
        ("messages", pa.list_(pa.struct([(k, pa.list_(_TEXT) if k == "media_urls" else _TEXT) for k in _MESSAGE]))),
    ]
)
_PARSE = pajson.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="error")
# What both roads read the same: RFC 3339 with an offset, and no digits beyond microseconds.
_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-][01]\d:[0-5]\d)$"
_T_AT = len("2026-06-11")


def line_starts(block: bytes) -> list[int]:
    """Where the lines of a block begin; none in an empty one."""
    starts = [0]
    while end := block.find(b"\n", starts[-1]) + 1:
        starts.append(end)
    if starts[-1] == len(block):
        starts.pop()
    return starts


def columnar(block: bytes, starts: list[int]) -> list[pa.RecordBatch] | None:
    """The rows of whole lines that begin at `starts`, in `ROW_SCHEMA` and bounded; None where another road is taken."""
    if not 0 < len(block) <= 2 * MAX_BATCH_BYTES:
        return None
    # pyarrow 26 crashes on a line that is null; such a line must not reach it, nor may any that begins otherwise.
    if (np.frombuffer(block, np.uint8)[starts] != ord("{")).any() or not _is_utf8(block):
        return None
    try:
        options = pajson.ReadOptions(block_size=len(block) + 1, use_threads=False)
        table = pajson.read_json(pa.BufferReader(block), options, _PARSE)
        rows = _rows(table.combine_chunks(), len(starts))
    except pa.ArrowInvalid:
        return None
    return None if rows is None else list(_bounded(rows))


def _is_utf8(block: bytes) -> bool:
    """Whether a block is UTF-8; then so is every string in it, which the reader does not check itself."""
    if block.isascii():
        return True
    whole = pa.Array.from_buffers(
        _TEXT, 1, [None, pa.py_buffer(np.array([0, len(block)], np.int32)), pa.py_buffer(block)]
    )
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _rows(table: pa.Table, lines: int) -> pa.RecordBatch | None:
    """One row a message; None at the least doubt."""
    if table.num_rows != lines:
        return None
    conversations = {name: table[name].chunk(0) for name in _SCHEMA.names}
    lists, contact = conversations["messages"], conversations["contact"]
    lengths = pc.list_value_length(lists)
    if any(conversations[name].null_count for name in ("id", "contact", "messages")) or pc.min(lengths).as_py() == 0:
        return None
    messages = lists.flatten()
    columns = {column: pc.struct_field(messages, key) for key, column in _MESSAGE.items()}
    if messages.null_count or any(columns[_MESSAGE[k]].null_count for k in ("id", "time", "direction", "speaker_type")):
        return None
    media = _joined(columns["media_url"])
    time, created = _instants(columns["message_time"]), _instants(conversations["created_at"])
    if media is None or time is None or created is None:
        return None
    of_row = pa.array(np.repeat(np.arange(lines), lengths.to_numpy()))
    columns["contact_name"] = pc.struct_field(contact, "name").take(of_row)
    columns["contact_phone"] = pc.struct_field(contact, "phone").take(of_row)
    columns["conversation_id"] = conversations["id"].take(of_row)
    columns |= {"media_url": media, "message_time": time, CREATED_AT: created.take(of_row)}
    speaker = columns["speaker_name"]
    if speaker.null_count:
        unnamed = pc.and_(speaker.is_null(), pc.equal(columns["speaker_type"], "customer"))
        columns["speaker_name"] = pc.if_else(unnamed, columns["contact_name"], speaker)
    return pa.RecordBatch.from_arrays([columns[name] for name in ROW_SCHEMA.names], schema=ROW_SCHEMA)


def _instants(text: pa.Array) -> pa.Array | None:
    """The times; None if one is in another form or out of bounds."""
    if not _is_usual(text) and pc.match_substring_regex(text, _TIME).false_count:
        return None
    instants = text.cast(_INSTANT)
    us = instants.cast(pa.int64()).drop_null()
    span = pc.min_max(us).as_py()
    return None if len(us) and not MIN_US <= span["min"] <= span["max"] <= MAX_US else instants


def _is_usual(text: pa.Array) -> bool:
    """Whether all times are what `_TIME` allows, with `Z`, if the cast takes them; ten times faster than to match them.

    The cast takes a blank for the `T`, no seconds, and no `Z`. Digits beyond microseconds it refuses.
    """
    if text.null_count or not len(text):
        return False
    _, offsets, data = text.buffers()
    bounds = np.frombuffer(offsets, np.int32)[text.offset : text.offset + len(text) + 1]
    lengths = np.diff(bounds)
    if lengths.min() < len("2026-06-11T06:50:43Z") or lengths.max() > len("2026-06-11T06:50:43.861185Z"):
        return False
    octets = np.frombuffer(data, np.uint8)
    return bool((octets[bounds[:-1] + _T_AT] == ord("T")).all() and (octets[bounds[1:] - 1] == ord("Z")).all())


def _joined(lists: pa.Array) -> pa.Array | None:
    """The URLs of each message, commas inside them escaped; None if one is null."""
    urls = lists.flatten()
    if urls.null_count:
        return None
    if not len(urls):
        return pa.nulls(len(lists), _TEXT)
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    offsets = pa.array(np.concatenate(([0], np.cumsum(lengths.to_numpy()))).astype(np.int32))
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, pc.replace_substring(urls, ",", "%2C")), ",")
    return pc.if_else(pc.greater(lengths, 0), joined, pa.nulls(len(lists), _TEXT))


def _bounded(rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Slices of at most `MAX_BATCH_ROWS` rows; their bytes are bounded by the block's."""
    for start in range(0, rows.num_rows, MAX_BATCH_ROWS):
        yield rows.slice(start, MAX_BATCH_ROWS)
