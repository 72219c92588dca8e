"""An archive is one channel's: rows that say whose they are, in a column `channel_id`, all say the same.

The column is not exported and need not be there. Without this rule the messages of two channels would stand in one
archive, and where they have a conversation's id in common in one CSV, and nobody would be told. A row in which nothing
stands is of no other channel.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from export_engine.errors import RowError
from export_engine.schema import CHANNEL_ID
from export_engine.sources import SourceContext
from export_engine.sources.refusal import row_error
from export_engine.sources.text import as_bytes, is_uuid, unviewed, uuid_text

__all__ = ["folder_channel", "one_channel"]

#: How a lake's folders say whose the files in them are, and what stands there for none.
_FOLDER = re.compile(rf"(?:^|[/\\]){CHANNEL_ID}=([^/\\]+)[/\\]")
_NONE = "__HIVE_DEFAULT_PARTITION__"

#: What errors say of a row: its conversation's and its message's id, and its number.
_Row = tuple[object, object, int]


def one_channel(values: pa.Array | Sequence[Any], row: Callable[[int], _Row], context: SourceContext) -> None:
    """Take what the next rows say, as a sound column of any type or as a list; `row` tells of one by its place in it.

    Raises RowError for the first row of another channel than those before it.
    """
    if isinstance(values, pa.Array):
        values = _comparable(values)
    if _says_nothing(values):
        return
    if context.channel is None:
        first = next((at for at, value in enumerate(values) if _text(value) is not None), None)
        if first is None:
            return
        context.channel = str(_text(values[first])), f"row {row(first)[2]}"
    channel, there = context.channel
    if _all_say(values, channel):
        return
    for at, value in enumerate(map(_text, values)):
        if value not in (None, channel):
            error = _error(value, channel, there, row(at))
            if context.refused is None:
                raise error
            if not context.refused(error):
                return


def folder_channel(path: str) -> str | None:
    """The channel that a path says is that of a file's rows, as `lake/channel_id=7/june.parquet` does."""
    found = _FOLDER.search(path)
    return None if found is None or found[1] == _NONE else unquote(found[1])


def _comparable(column: pa.Array) -> pa.Array:
    """A column, but dictionaries decoded, UUIDs as their characters, and text, which need not be UTF-8, as bytes."""
    if isinstance(column, pa.DictionaryArray):
        return _comparable(column.dictionary.take(column.indices))
    if is_uuid(column.type):
        return uuid_text(column)
    return as_bytes(unviewed(column.storage if isinstance(column, pa.ExtensionArray) else column))


def _says_nothing(values: pa.Array | Sequence[Any]) -> bool:
    """Whether all are null."""
    nulls = values.null_count if isinstance(values, pa.Array) else values.count(None)
    return bool(nulls == len(values))


def _all_say(values: pa.Array | Sequence[Any], channel: str) -> bool:
    """Whether all that are not null are one value, which says a channel; False at the least doubt."""
    if not isinstance(values, pa.Array):
        return _text(values[0]) == channel and values.count(values[0]) == len(values)
    said = values.drop_null()
    try:
        return _text(said[0]) == channel and bool(pc.equal(said, said[0]).true_count == len(said))
    except pa.ArrowNotImplementedError:  # structs and lists, which no id is
        return False


def _text(value: Any) -> str | None:
    """A channel's id as text, whatever its type; None for none: null, empty text, and what data frames have for it."""
    if isinstance(value, pa.Scalar):
        value = value.as_py()
    if value is None or value in ("", b"") or value != value:  # noqa: PLR0124  # NaN
        return None
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def _error(value: str, channel: str, there: str, row: _Row) -> RowError:
    conversation_id, message_id, number = row
    literal = channel.replace("'", "''")
    return row_error(
        f"is another channel than {channel!r} in {there}, and an archive is one channel's",
        column=CHANNEL_ID,
        value=value,
        conversation_id=conversation_id,
        message_id=message_id,
        row=number,
        advice=f"keep one channel's rows, as by --where \"{CHANNEL_ID} = '{literal}'\" (in Python read_mapped; in a "
        "query, WHERE), or have an archive of each made by export-engine batch",
        rule="is not the same in all rows, and an archive is one channel's",
    )
