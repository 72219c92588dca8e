"""Flat JSON Lines, one message a line, to record batches.

Blocks of lines are decoded into structs of the twelve columns and gathered as any other flat table (`sources.tables`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any, cast

import msgspec
import pyarrow as pa

from export_engine.errors import RowError, SchemaError, SourceError
from export_engine.schema import COLUMN_NAMES, CREATED_AT
from export_engine.sources import Source, SourceContext
from export_engine.sources.inputs import FileSource, Given, Input
from export_engine.sources.jsonl_lines import line_blocks
from export_engine.sources.tables import Numbered, normalised, wanted_columns

__all__ = ["flat_batches", "read_flat_jsonl"]

#: Bytes decoded at a time; a longer line is read whole. Twice as many are a third slower: the decoded values no longer
#: fit a processor's cache.
_BLOCK = 512 << 10
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_flat_jsonl(given: Given) -> Source:
    """Make a source of JSON Lines with one message a line; see `from_arrow` for its keys.

    `given` is a path, `-` for standard input, or a binary file object; gzip, zstd and bz2 are told by its content. A
    missing key is null, an unknown one is ignored. Ids may be integers; times are ISO 8601 text; `media_url` is text
    or a list. Blank lines are skipped. `row` in errors is the line.
    """
    return FileSource(given, flat_batches)


_KEYS = (*COLUMN_NAMES, CREATED_AT)
_IDS = frozenset({"message_id", "conversation_id"})


def _kind(name: str) -> Any:
    if name in _IDS:
        return str | int | None
    return str | list[str | None] | None if name == "media_url" else str | None


_Row = msgspec.defstruct("_Row", [(name, _kind(name), None) for name in _KEYS], gc=False)
_DECODER = msgspec.json.Decoder(_Row)


def flat_batches(file: Input, context: SourceContext) -> Iterator[pa.RecordBatch]:
    """Read an opened input; see `read_flat_jsonl`."""
    schema = pa.schema([(name, pa.string()) for name in _KEYS])
    path = file.name
    blocks = line_blocks(file, _BLOCK)
    first = next(blocks, None)
    if first is None:
        return
    _check_keys(path, first[1], context)

    def batches() -> Iterator[Numbered]:
        number, block = first
        while block:
            rows, numbers = _rows(path, number, block)
            columns = [_column(name, rows, numbers, context) for name in _KEYS]
            yield pa.RecordBatch.from_arrays(columns, schema=schema), numbers
            number, block = next(blocks, (0, b""))

    yield from normalised(schema, batches(), context)


def _check_keys(path: str, block: bytes, context: SourceContext) -> None:
    """Hold the keys of the first line against the columns."""
    line = block.lstrip().split(b"\n", 1)[0]
    try:
        document = json.loads(line.decode("utf-8", "surrogatepass"), object_pairs_hook=tuple)
    except ValueError as error:
        raise SourceError(
            f"{path}: the first line is not JSON ({error}); write one whole JSON object a line"
        ) from error
    if not isinstance(document, tuple):
        raise SourceError(f"{path}: the first line is no JSON object; write one object a line")
    keys = [key for key, _ in document]
    doubled = [key for key, count in Counter(keys).items() if count > 1]
    if doubled:
        raise SchemaError(f"{path}: the key {doubled[0]!r} is there twice in a line: keep one", column=doubled[0])
    wanted_columns(keys, context)


def _rows(path: str, number: int, block: bytes) -> tuple[list[Any], Sequence[int]]:
    """The decoded lines of a block, and their numbers; one by one where a line is refused or blank or holds two."""
    lines = block.count(b"\n") + (not block.endswith(b"\n"))
    try:
        rows = cast("list[Any]", _DECODER.decode_lines(block))
    except (msgspec.DecodeError, UnicodeDecodeError):
        rows = []
    if len(rows) == lines:
        return rows, range(number, number + lines)
    full = [(at, line) for at, line in enumerate(block.split(b"\n"), number) if line and not line.isspace()]
    return [_row(path, at, line) for at, line in full], [at for at, _ in full]


def _row(path: str, number: int, line: bytes) -> Any:
    try:
        return _DECODER.decode(line)
    except msgspec.ValidationError as error:
        raise _mistyped(path, number, line, error) from error
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:  # lone surrogates are JSON to Python
            return msgspec.convert(json.loads(line.decode("utf-8", "surrogatepass")), _Row)
        except msgspec.ValidationError as error:
            raise _mistyped(path, number, line, error) from error
        except ValueError as error:
            raise SourceError(
                f"{path}, line {number} is not JSON ({error}); write one whole JSON object a line"
            ) from error


def _mistyped(path: str, number: int, line: bytes, error: Exception) -> SourceError:
    problem, _, place = str(error).partition(" - at `$.")
    name = re.split(r"[.`\[]", place)[0]
    document = json.loads(line.decode("utf-8", "surrogatepass"))
    if not isinstance(document, dict):
        return SourceError(f"{path}, line {number} is no JSON object; write one object a line")
    ids = [None if document.get(key) is None else str(document[key]) for key in ("conversation_id", "message_id")]
    return RowError(
        f"{problem}, in {path}",
        column=name,
        value=document.get(name),
        conversation_id=ids[0],
        message_id=ids[1],
        row=number,
        advice="write text as JSON strings" if name != "media_url" else "write text, or a list of strings",
    )


def _column(name: str, rows: list[Any], numbers: Sequence[int], context: SourceContext) -> pa.Array:
    values = list(map(attrgetter(name), rows))
    if name in _IDS and not all(type(value) is str for value in values):
        values = [str(value) if isinstance(value, int) else value for value in values]
    elif name == "media_url" and any(type(value) is list for value in values):
        values = [_joined(value, row, at) for value, row, at in zip(values, rows, numbers, strict=True)]
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        mended = [_mended(name, value, row, at, context) for value, row, at in zip(values, rows, numbers, strict=True)]
        return pa.array(mended, pa.string())


def _joined(value: Any, row: Any, number: int) -> str | None:
    if not isinstance(value, list):
        return cast("str | None", value)
    if None in value:
        raise _refused("media_url", value, row, number, "has a null among its URLs", "leave it out of the list")
    return ",".join(url.replace(",", "%2C") for url in value) or None


def _mended(name: str, value: str | None, row: Any, number: int, context: SourceContext) -> str | None:
    """The text with U+FFFD for lone surrogates, counted; RowError with `strict`."""
    if value is None:
        return None
    mended, count = _SURROGATE.subn("\ufffd", value)
    if count and context.strict:
        raise _refused(name, value, row, number, "has a lone surrogate", "mend the text, or export without strict")
    context.replaced_surrogates += count
    return mended


def _refused(name: str, value: Any, row: Any, number: int, problem: str, advice: str) -> RowError:
    ids = [None if i is None else str(i) for i in (row.conversation_id, row.message_id)]
    return RowError(
        f"{value!r} {problem}",
        column=name,
        value=value,
        conversation_id=ids[0],
        message_id=ids[1],
        row=number,
        advice=advice,
    )
