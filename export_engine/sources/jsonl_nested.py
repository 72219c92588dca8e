"""Nested JSON Lines, one conversation a line, to record batches.

Blocks of lines go straight to columns where they can (`sources.jsonl_columns`). Else their lines are decoded into
structs with the model's attributes and gathered as any other conversation objects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import pyarrow as pa

from export_engine.errors import RowError, SourceError
from export_engine.sources import Source, SourceContext
from export_engine.sources.inputs import FileSource, Given, Input
from export_engine.sources.jsonl_columns import Columnar, columnar, in_order
from export_engine.sources.jsonl_lines import Lines, by_two_roads, decoded, line_blocks, read_lines
from export_engine.sources.objects import gather
from export_engine.sources.values import row_error

__all__ = ["looks_nested", "nested_batches", "read_nested_jsonl"]

#: Bytes of lines that are read at a time.
_BLOCK = 2 << 20
#: Keys whose column has another name, by the object they stand in.
_COLUMNS = {
    "messages": {"id": "message_id", "time": "message_time", "text": "message_text", "media_urls": "media_url"},
    "contact": {"name": "contact_name", "phone": "contact_phone"},
    "": {"id": "conversation_id"},
}


# What the keys are, and no more: the values' rules are those of any conversation objects.
class _Contact(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: Any = None
    phone: Any = None


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: Any
    time: Any
    direction: Any
    speaker_type: Any
    text: Any = None
    speaker_name: Any = None
    media_urls: Any = ()
    status: Any = None
    sender_account: Any = None


# The dict holds the number of the line, for errors, where no key of the line can reach it.
class _Conversation(msgspec.Struct, forbid_unknown_fields=True, dict=True):
    id: Any
    contact: _Contact
    messages: list[_Message]
    created_at: Any = None


def read_nested_jsonl(given: Given) -> Source:
    r"""Make a source of JSON Lines with one conversation a line.

    The keys are the model's attributes (`Conversation`, `Contact`, `Message`), for example:

        {"id": "c1", "contact": {"name": "Jane Doe", "phone": "+12025550123"}, "created_at": "2026-04-08T03:24:43Z",
         "messages": [{"id": "m1", "time": "2026-06-11T06:50:43.861185Z", "direction": "outbound",
         "speaker_type": "agent", "text": "Hello", "speaker_name": "Ann Lee", "media_urls": ["https://example.com/a"],
         "status": "read", "sender_account": "ann@example.com"}]}

    (on one line). Required are `id`, `contact` and `messages`, and in a message `id`, `time`, `direction` and
    `speaker_type`; the rest may be null or left out. Ids and phones may be integers; `media_urls` a list or text, as
    `from_arrow` describes; times are text in the forms of `sources.instants.FORMS` or, with the option `epoch`,
    numbers, exactly as they are written. What is finer than a microsecond is cut off. A key that is not the model's is
    refused, as a misspelt one would lose data without a word, and so is one that an object has twice.

    `given` is a path, `-` for standard input, or a binary file object; gzip, zstd and bz2 are told by its content. The
    text is UTF-8, with or without a byte order mark. Blank lines are skipped. The input is opened when the batches are
    first asked for, and closed at the end, on an error, and with the batches. Memory is bounded by the longest line:
    one whole line is held, decoded, at a time (several times its size).

    Errors while reading: OSError of the file itself; SourceError for a line that is not JSON or damaged compressed
    data; RowError for a missing, unknown or doubled key, and RowError and GroupingError wherever `from_conversations`
    raises them; `row` is the line.
    """
    return FileSource(given, nested_batches)


def looks_nested(line: bytes) -> bool:
    """Tell whether a line is a JSON object with a `messages` key.

    False too for a line that is not JSON: the reader says what is wrong with it.
    """
    try:
        return "messages" in msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):  # a lone surrogate, or worse
        return "messages" in _document(line)


def nested_batches(file: Input, context: SourceContext) -> Iterator[pa.RecordBatch]:
    """Read an opened input; see `read_nested_jsonl`."""

    def careful(lines: Lines) -> Iterator[list[pa.RecordBatch]]:
        conversations = read_lines(lines, lambda number, line: _conversation(line, number, file.name), context)
        for batch in gather(conversations, context, _line_of, file.name):
            yield [batch]

    def taken(lines: Lines, made: Columnar) -> list[pa.RecordBatch]:
        return in_order(lines, made, file.name, context)

    for batches in by_two_roads(line_blocks(file, _BLOCK), columnar, taken, careful, context):
        yield from batches


def _line_of(conversation: Any) -> int:
    return cast("int", conversation.__dict__["line"])


class _Repeated(Exception):  # noqa: N818  # on its way to the RowError
    """A key that an object has twice, and the object."""

    def __init__(self, key: str, found: dict[str, Any]) -> None:
        super().__init__(key)
        self.key = key
        self.found = found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Repeated(next(key for at, (key, _) in enumerate(pairs) if key in dict(pairs[:at])), found)
    return found


def _conversation(line: bytes, number: int, name: str) -> Any:
    """Decode a line by the careful road."""
    try:
        conversation = msgspec.convert(decoded(line, number, name, _object), _Conversation)
    except _Repeated as repeated:
        raise _doubled(repeated.key, repeated.found, number, name) from None
    except msgspec.ValidationError as error:
        raise _mismatch(error, line, number, name) from error
    except UnicodeEncodeError:
        raise SourceError(
            f"{name}, line {number} has a lone surrogate in a key; write one whole JSON object a line"
        ) from None
    conversation.__dict__["line"] = number
    return conversation


def _doubled(key: str, found: dict[str, Any], number: int, name: str) -> RowError:
    inside = "" if "messages" in found else "messages" if "direction" in found else "contact"
    return row_error(
        f"line {number} of {name}: an object has the key {key!r} twice",
        column=_COLUMNS[inside].get(key, key),
        value=None,
        conversation_id=None if inside else found.get("id"),
        message_id=found.get("id") if inside == "messages" else None,
        row=number,
        advice="keep one of them",
        rule="is there twice in an object",
    )


def _document(line: bytes) -> dict[str, Any]:
    """Give what can be known of a refused line; nothing of one that is not JSON or no object."""
    try:
        document = json.loads(line.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _mismatch(error: Exception, line: bytes, number: int, name: str) -> SourceError:
    """Say which key of which message is wrong: msgspec's "Expected `str`, got `int` - at `$.messages[3].id`"."""
    problem, _, place = str(error).partition(" - at `$")
    steps: list[str] = re.findall(r"\w+", place)
    keys = [step for step in steps if not step.isdecimal()]
    if field := re.search(r"field `(.*)`", problem):  # a missing or unknown one is named before the place
        steps.append(field[1])
        keys.append(field[1])
    if not keys:
        return SourceError(f"{name}, line {number}: {problem}; write one JSON object a line")
    value: Any = _document(line)
    conversation_id = value.get("id")
    message_id = None
    for step in steps:
        try:
            value = value[int(step) if isinstance(value, list) else step]
        except (LookupError, TypeError, ValueError):  # missing
            value = None
        if step.isdecimal() and isinstance(value, dict):
            message_id = value.get("id")
    inside = keys[0] if len(keys) > 1 else ""
    known = {"": _Conversation, "contact": _Contact, "messages": _Message}[inside].__struct_fields__
    return row_error(
        f"line {number} of {name}: {problem}",
        column=_COLUMNS[inside].get(keys[1] if inside else keys[0], keys[-1]),
        value=value,
        conversation_id=conversation_id,
        message_id=message_id,
        row=number,
        advice=f"the keys here are {', '.join(known)}, as read_nested_jsonl describes; what has others is read by a "
        "query (--sql, in Python read_sql)",
        rule=problem,
    )
