"""Nested JSON Lines, one conversation a line, to record batches.

Blocks of lines go straight to columns where they can (`sources.jsonl_columns`). Else they are decoded into structs
with the model's attributes and gathered as any other conversation objects; a line that the fast decoder refuses is read
again by the standard library, which accepts lone surrogates and words its errors better.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, cast

import msgspec
import pyarrow as pa

from export_engine.errors import RowError, SourceError
from export_engine.model import Conversation
from export_engine.sources import Source, SourceContext
from export_engine.sources.inputs import FileSource, Given, Input
from export_engine.sources.jsonl_columns import columnar, line_starts
from export_engine.sources.jsonl_lines import line_blocks
from export_engine.sources.objects import gather

__all__ = ["looks_nested", "nested_batches", "read_nested_jsonl"]

#: Bytes of lines that are read at a time.
_BLOCK = 2 << 20
#: Keys whose column has another name, by the object they stand in.
_COLUMNS = {
    "messages": {"id": "message_id", "time": "message_time", "text": "message_text", "media_urls": "media_url"},
    "contact": {"name": "contact_name", "phone": "contact_phone"},
    "": {"id": "conversation_id"},
}


class _Contact(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str | None = None
    phone: str | None = None


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: str
    time: datetime
    direction: str
    speaker_type: str
    text: str | None = None
    speaker_name: str | None = None
    media_urls: tuple[str, ...] | None = ()
    status: str | None = None
    sender_account: str | None = None


# The dict holds the number of the line, for errors, where no key of the line can reach it.
class _Conversation(msgspec.Struct, forbid_unknown_fields=True, dict=True):
    id: str
    contact: _Contact
    messages: list[_Message]
    created_at: datetime | None = None


def read_nested_jsonl(given: Given) -> Source:
    r"""Make a source of JSON Lines with one conversation a line.

    The keys are the model's attributes (`Conversation`, `Contact`, `Message`), for example:

        {"id": "c1", "contact": {"name": "Jane Doe", "phone": "+12025550123"}, "created_at": "2026-04-08T03:24:43Z",
         "messages": [{"id": "m1", "time": "2026-06-11T06:50:43.861185Z", "direction": "outbound",
         "speaker_type": "agent", "text": "Hello", "speaker_name": "Ann Lee", "media_urls": ["https://example.com/a"],
         "status": "read", "sender_account": "ann@example.com"}]}

    (on one line). Required are `id`, `contact` and `messages`, and in a message `id`, `time`, `direction` and
    `speaker_type`; the rest may be null or left out. Times are RFC 3339, with an offset or naive (in the export's
    zone); digits beyond microseconds are rounded. A key that is not the model's is refused: a misspelt one would lose
    data without a word.

    `given` is a path, `-` for standard input, or a binary file object; gzip, zstd and bz2 are told by its content. The
    text is UTF-8, with or without a byte order mark. Blank lines are skipped. The input is opened when the batches are
    first asked for, and closed at the end, on an error, and with the batches. Memory is bounded by the longest line:
    one whole line is held, decoded, at a time (several times its size).

    Errors while reading: OSError of the file itself; SourceError for a line that is not JSON and damaged
    compression; RowError for a missing, unknown or mistyped key and wherever `from_conversations` raises it; `row` is
    the line.
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
    decoder = msgspec.json.Decoder(_Conversation)
    for first, block in line_blocks(file, _BLOCK):
        rows = columnar(block, line_starts(block))
        if rows is None:
            decoded = (_decode(decoder, line, number, file.name) for number, line in _lines(block, first))
            yield from gather(cast("Iterable[Conversation]", decoded), context, _line_of)
        else:
            yield from rows


def _line_of(conversation: Any) -> int:
    return cast("int", conversation.__dict__["line"])


def _decode(decoder: msgspec.json.Decoder[_Conversation], line: bytes, number: int, path: str) -> _Conversation:
    try:
        conversation = decoder.decode(line)
    except msgspec.ValidationError as error:
        raise _mismatch(error, line, number, path) from error
    except ValueError:
        conversation = _decode_slowly(line, number, path)
    conversation.__dict__["line"] = number
    return conversation


def _lines(block: bytes, first: int) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers."""
    for number, line in enumerate(io.BytesIO(block), first):
        if not line.isspace():
            yield number, line


def _decode_slowly(line: bytes, number: int, path: str) -> _Conversation:
    """Decode a line that may hold lone surrogates, escaped or as bytes; SourceError for one that is not JSON."""
    try:
        return msgspec.convert(json.loads(line.decode("utf-8", "surrogatepass")), _Conversation)
    except msgspec.ValidationError as error:
        raise _mismatch(error, line, number, path) from error
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg}, at character {error.colno}"
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8: {error.reason}, at byte {error.start + 1}"
    except UnicodeEncodeError:
        problem = "has a lone surrogate in a key or a time"
    except RecursionError:
        problem = "is nested too deeply"
    raise SourceError(f"{path}, line {number} {problem}; write one whole JSON object a line") from None


def _document(line: bytes) -> dict[str, Any]:
    """Give what can be known of a refused line; nothing of one that is not JSON or no object."""
    try:
        document = json.loads(line.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _mismatch(error: Exception, line: bytes, number: int, path: str) -> SourceError:
    """Say which key of which message is wrong: msgspec's "Expected `str`, got `int` - at `$.messages[3].id`"."""
    problem, _, place = str(error).partition(" - at `$")
    steps: list[str] = re.findall(r"\w+", place)
    keys = [step for step in steps if not step.isdecimal()]
    if field := re.search(r"field `(.*)`", problem):  # a missing or unknown one is named before the place
        steps.append(field[1])
        keys.append(field[1])
    if not keys:
        return SourceError(f"{path}, line {number}: {problem}; write one JSON object a line")
    value: Any = _document(line)
    conversation_id = value.get("id")
    message_id = None
    for step in steps:
        try:
            value = value[int(step) if isinstance(value, list) else step]
        except (LookupError, TypeError, ValueError):  # missing, or the line has a key twice
            value = None
        if step.isdecimal() and isinstance(value, dict):
            message_id = value.get("id")
    inside = keys[0] if len(keys) > 1 else ""
    known = {"": _Conversation, "contact": _Contact, "messages": _Message}[inside].__struct_fields__
    return RowError(
        f"line {number} of {path}: {problem}",
        column=_COLUMNS[inside].get(keys[1] if inside else keys[0], keys[-1]),
        value=value,
        conversation_id=conversation_id if isinstance(conversation_id, str) else None,
        message_id=message_id if isinstance(message_id, str) else None,
        row=number,
        advice=f"the keys here are {', '.join(known)}, as read_nested_jsonl describes",
    )
