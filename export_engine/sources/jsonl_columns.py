"""Nested JSON Lines from pyarrow's columns: structs and lists of one row a conversation to rows of one a message."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson

from export_engine.schema import CREATED_AT, MAX_BATCH_ROWS, TIMES
from export_engine.sources import SourceContext
from export_engine.sources.jsonl_lines import INTEGER, NUMBER, Lines, in_columns
from export_engine.sources.values import BadValue, batch_of_columns, column
from export_engine.sources.whole import each_once, line_place

__all__ = ["MESSAGE_KEYS", "Columnar", "columnar", "in_order"]

#: A message's keys, and the columns that they are.
MESSAGE_KEYS = {
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
_TEXT = pa.string()


class Columnar(NamedTuple):
    """The ids of conversations, and one row a message."""

    ids: pa.StringArray
    rows: pa.RecordBatch


def columnar(lines: Lines, context: SourceContext) -> Columnar | None:
    """What whole lines hold, in `ROW_SCHEMA`; None where another road is taken, and counts its own."""
    usual = dict.fromkeys(("conversation_id", "contact_phone", "message_id", "message_time", CREATED_AT), _TEXT)
    found = in_columns(lines, _options(**usual))
    if found is None:
        kinds = usual | _kinds(lines)
        found = in_columns(lines, _options(**kinds)) if kinds != usual else None
    try:
        return None if found is None else _rows(found, context)
    except BadValue:
        return None


def in_order(lines: Lines, made: Columnar, name: str, context: SourceContext) -> list[pa.RecordBatch]:
    """The rows of lines of the file `name`, behind those before them, bounded.

    Raises GroupingError for a conversation that the line before has, too.
    """
    each_once(made.ids, lambda at: line_place(lines.number + at, name), context)  # no line is blank here
    return list(_bounded(made.rows))


@lru_cache
def _options(**types: pa.DataType) -> pajson.ParseOptions:
    """How to read lines in which the columns that may be numbers have some types."""
    message = [
        (key, types.get(name, pa.list_(_TEXT) if name == "media_url" else _TEXT)) for key, name in MESSAGE_KEYS.items()
    ]
    schema = pa.schema(
        [
            ("id", types["conversation_id"]),
            ("contact", pa.struct([("name", _TEXT), ("phone", types["contact_phone"])])),
            (CREATED_AT, types[CREATED_AT]),
            ("messages", pa.list_(pa.struct(message))),
        ]
    )
    return pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")


def _kinds(lines: Lines) -> dict[str, pa.DataType]:
    """Which columns are numbers in the first line."""
    end = lines.starts[1] if len(lines.starts) > 1 else len(lines.block)
    try:
        line: dict[str, Any] = json.loads(lines.block[:end])
        message = line["messages"][0]
        found = {
            "conversation_id": line["id"],
            "contact_phone": line["contact"].get("phone"),
            "message_id": message["id"],
            "message_time": message["time"],
            CREATED_AT: line.get(CREATED_AT),
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}
    return {
        name: INTEGER if isinstance(value, int) else NUMBER
        for name, value in found.items()
        if isinstance(value, int | float if name in TIMES else int) and not isinstance(value, bool)
    }


def _rows(conversations: pa.RecordBatch, context: SourceContext) -> Columnar | None:
    """What conversations hold; None at the least doubt, BadValue for what breaks a rule."""
    lists, contact = conversations.column("messages"), conversations.column("contact")
    lengths = pc.list_value_length(lists)
    if lists.null_count or contact.null_count or pc.min(lengths).as_py() == 0:
        return None
    messages = lists.flatten()
    if messages.null_count:
        return None
    found = {name: pc.struct_field(messages, key) for key, name in MESSAGE_KEYS.items()}
    of_conversation = {
        "conversation_id": conversations.column("id"),
        "contact_name": pc.struct_field(contact, "name"),
        "contact_phone": pc.struct_field(contact, "phone"),
        CREATED_AT: conversations.column(CREATED_AT),
    }
    of_row = pa.array(np.repeat(np.arange(len(lists)), lengths.to_numpy()))
    columns = {name: column(name, given, context, sound=True) for name, given in found.items()}
    shared = {name: column(name, given, context, sound=True) for name, given in of_conversation.items()}
    columns |= {name: given.take(of_row) for name, given in shared.items()}
    return Columnar(shared["conversation_id"], batch_of_columns(columns))


def _bounded(rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Slices of at most `MAX_BATCH_ROWS` rows; their bytes are bounded by the block's."""
    for start in range(0, rows.num_rows, MAX_BATCH_ROWS):
        yield rows.slice(start, MAX_BATCH_ROWS)
