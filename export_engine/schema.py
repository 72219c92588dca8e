"""The twelve columns, once: their names, order, Arrow types and meaning (the seed's table "CSV columns").

Between a source and the renderer every row has the type of `ROW_SCHEMA`: the twelve columns, times as UTC
microseconds, and `created_at`, which is not exported as a column but names the CSV. Sources make record batches of
these rows within the bounds below, the pipeline takes them, and neither knows the other: this is their one joint.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

__all__ = [
    "CHANNEL_ID",
    "COLUMNS",
    "COLUMN_NAMES",
    "CREATED_AT",
    "DIRECTIONS",
    "IDS",
    "LONGEST_CELL",
    "MAX_BATCH_BYTES",
    "MAX_BATCH_ROWS",
    "REQUIRED",
    "ROW_SCHEMA",
    "SPEAKER_TYPES",
    "TIMES",
    "Column",
    "joined_pairs",
]

DIRECTIONS = ("inbound", "outbound")
SPEAKER_TYPES = ("bot", "agent", "customer")

_TEXT = pa.string()
_INSTANT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the CSV. A `required` column must exist in a table source and hold no null."""

    name: str
    type: pa.DataType
    required: bool
    meaning: str


COLUMNS = (
    Column("message_id", _TEXT, True, "Unique message ID."),
    Column("conversation_id", _TEXT, True, "ID of the conversation this message belongs to."),
    Column("contact_name", _TEXT, False, "The contact's name."),
    Column("contact_phone", _TEXT, False, "The contact's phone number."),
    Column("direction", _TEXT, True, "inbound (from the contact) or outbound (from the channel)."),
    Column("speaker_type", _TEXT, True, "Who sent the message: bot, agent, or customer."),
    Column("speaker_name", _TEXT, False, "The bot's name, the agent's full name or the contact's name."),
    Column("message_time", _INSTANT, True, "ISO 8601 timestamp of the message."),
    Column("message_text", _TEXT, False, "The message body."),
    Column("media_url", _TEXT, False, "Comma-separated media URLs; a comma inside a URL is %2C."),
    Column("status", _TEXT, False, "Delivery status of the message."),
    Column("sender_account", _TEXT, False, "The account of the sending agent, for human agents only."),
)
COLUMN_NAMES = tuple(column.name for column in COLUMNS)

#: When the conversation was created, as all its rows say alike; null in all means at its earliest message.
CREATED_AT = "created_at"

#: Whose a message is, where rows say it: all alike, for an archive is one channel's. It is not exported.
CHANNEL_ID = "channel_id"

#: Columns that every message fills.
REQUIRED = frozenset(column.name for column in COLUMNS if column.required)
#: Identifiers, which are never empty either.
IDS = frozenset({"message_id", "conversation_id"})
TIMES = frozenset({"message_time", CREATED_AT})

ROW_SCHEMA = pa.schema(
    [pa.field(c.name, c.type, nullable=not c.required) for c in COLUMNS] + [pa.field(CREATED_AT, _INSTANT)]
)

#: Bounds of one record batch: small enough for a flat memory, large enough that per-batch costs vanish. A batch of a
#: single row may have more bytes.
MAX_BATCH_ROWS = 12288
MAX_BATCH_BYTES = 4 << 20

#: The characters that a spreadsheet's cell holds at most, in UTF-16 units: Excel cuts longer text off.
LONGEST_CELL = 32_767

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def joined_pairs(text: str) -> str:
    """The text with each pair of surrogates as the one character that it stands for; lone ones stay.

    JSON escapes, CESU-8 and UTF-16 hand characters beyond U+FFFF on in two halves, and not every decoder joins them.
    """
    return _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
