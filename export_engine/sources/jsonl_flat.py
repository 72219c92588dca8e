"""Flat JSON Lines, one message a line, to record batches.

Blocks of lines go straight to columns where they can, and are then as any other flat table (`sources.tables`). Else
their lines are decoded one by one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.json as pajson

from export_engine.errors import RowError, SchemaError, SourceError
from export_engine.schema import CHANNEL_ID, ROW_SCHEMA, TIMES
from export_engine.sources import Source, SourceContext
from export_engine.sources.channels import one_channel
from export_engine.sources.inputs import FileSource, Given, Input
from export_engine.sources.jsonl_lines import (
    INTEGER,
    NUMBER,
    Lines,
    by_two_roads,
    decoded,
    in_columns,
    line_blocks,
    read_lines,
)
from export_engine.sources.tables import check_channel, rows, wanted_columns
from export_engine.sources.text import NUMBERED
from export_engine.sources.values import BadValue, batch_of_columns, column_of, converted, row_error

__all__ = ["flat_batches", "read_flat_jsonl"]

#: Bytes read at a time; a longer line is read whole.
_BLOCK = 1 << 20
_TEXT = pa.string()


def read_flat_jsonl(given: Given) -> Source:
    """Make a source of JSON Lines with one message a line; see `from_arrow` for its keys.

    `given` is a path, `-` for standard input, or a binary file object; gzip, zstd and bz2 are told by its content. A
    missing key is null, an unknown one is ignored, one that is there twice in a line is refused. Ids and phones may
    be integers; times are text or, with the option `epoch`, numbers, exactly as they are written; `media_url` is text
    or a list. Blank lines are skipped. `row` in errors is the line.
    """
    return FileSource(given, flat_batches)


def flat_batches(file: Input, context: SourceContext) -> Iterator[pa.RecordBatch]:
    """Read an opened input; see `read_flat_jsonl`."""

    def careful(lines: Lines) -> Iterator[pa.RecordBatch]:
        yield from _careful(lines, file.name, context)

    def taken(lines: Lines, made: _Fast) -> pa.RecordBatch | None:
        return _taken(lines, made, context)

    blocks = _checked(line_blocks(file, _BLOCK), file.name, context)
    yield from by_two_roads(blocks, _fast, taken, careful, context)


def _checked(blocks: Iterator[Lines], name: str, context: SourceContext) -> Iterator[Lines]:
    """The same blocks, the keys of the first line held against the columns."""
    for lines in blocks:
        _check_keys(lines, name, context)
        yield lines
        break
    yield from blocks


class _Object(dict[str, Any]):
    """An object of JSON that knows a key of this format's that it has twice."""

    __slots__ = ("doubled",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.doubled: str | None = None
        if len(self) < len(pairs):
            known = [key for key, _ in pairs if key in ROW_SCHEMA.names]
            self.doubled = next((key for at, key in enumerate(known) if key in known[:at]), None)


def _check_keys(lines: Lines, name: str, context: SourceContext) -> None:
    """Hold the keys of the first line against the columns."""
    number, line = next(iter(lines))
    found = _object(line, number, name)
    try:
        wanted_columns(found, context)
    except SchemaError as error:
        within = next((key for key, value in found.items() if _is_list_of_objects(value)), None)
        if within is None:
            raise
        raise SchemaError(
            f"{error}; rows that stand in a list, as in {within!r}, are taken out by a query (--sql, in Python "
            "read_sql)",
            column=error.column,
            # An object that stands alone is a page, and no name for its columns would help.
            missing=error.missing if sum(1 for _ in lines) > 1 else (),
            given=error.given,
        ) from None


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _object(line: bytes, number: int, name: str) -> _Object:
    """A line's object. Raises SourceError for anything else, RowError for one with a key that is there twice."""
    found = decoded(line, number, name, _Object)
    if not isinstance(found, _Object):
        raise SourceError(f"{name}, line {number} is no JSON object; write one object a line")
    if found.doubled is not None:
        problem = f"line {number} of {name}: the key {found.doubled!r} is there twice"
        rule = "is there twice in a line"
        raise _refusal(problem, found.doubled, None, found, number, "keep one of them", rule)
    return found


def _refusal(
    problem: str, column: str, value: object, found: _Object, number: int, advice: str, rule: str | None = None
) -> RowError:
    return row_error(
        problem,
        column=column,
        value=value,
        conversation_id=found.get("conversation_id"),
        message_id=found.get("message_id"),
        row=number,
        advice=advice,
        rule=rule,
    )


# --- the fast road -------------------------------------------------------------------------------------------------


class _Fast(NamedTuple):
    """Rows as they were read, and what was made of them."""

    found: pa.RecordBatch
    made: pa.RecordBatch


def _fast(lines: Lines, context: SourceContext) -> _Fast | None:
    """The rows of lines; None where another road is taken."""
    found = in_columns(lines, _options())
    if found is None:
        kinds = _kinds(lines)
        found = in_columns(lines, _options(**kinds)) if kinds else None
    if found is None:
        return None
    try:
        return _Fast(found, rows(found, _numbers(lines), context, sound=True))
    except RowError:
        return None


def _taken(lines: Lines, fast: _Fast, context: SourceContext) -> pa.RecordBatch | None:
    """The rows, where they are of the channel of those before; None where another road says what is wrong."""
    apart = context.apart()
    try:
        check_channel(fast.found.column(CHANNEL_ID), fast.found, _numbers(lines), apart)
    except RowError:
        return None
    context.channel = apart.channel
    return fast.made


def _numbers(lines: Lines) -> range:
    """The numbers of lines of which none is blank."""
    return range(lines.number, lines.number + len(lines.starts))


@lru_cache
def _options(**types: pa.DataType) -> pajson.ParseOptions:
    """How to read lines in which some columns are no text."""
    schema = pa.schema([(name, types.get(name, _TEXT)) for name in (*ROW_SCHEMA.names, CHANNEL_ID)])
    return pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")


def _kinds(lines: Lines) -> dict[str, pa.DataType]:
    """Which columns are numbers in the first line, or lists in any."""
    end = lines.starts[1] if len(lines.starts) > 1 else len(lines.block)
    try:
        line: Any = json.loads(lines.block[:end])
    except (ValueError, RecursionError):
        return {}
    if not isinstance(line, dict):
        return {}
    kinds: dict[str, pa.DataType] = {}
    for name in NUMBERED | TIMES | {CHANNEL_ID}:
        value = line.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            kinds[name] = INTEGER
        elif isinstance(value, float) and name in TIMES:
            kinds[name] = NUMBER
    if re.search(rb'"media_url"[ \t]*:[ \t]*\[', lines.block):
        kinds["media_url"] = pa.list_(_TEXT)
    return kinds


# --- the careful road ----------------------------------------------------------------------------------------------


def _careful(lines: Lines, name: str, context: SourceContext) -> Iterator[pa.RecordBatch]:
    numbered = [*read_lines(lines, lambda number, line: (number, _object(line, number, name)), context)]
    if not numbered:
        return
    one_channel([found.get(CHANNEL_ID) for _, found in numbered], lambda at: _row(*numbered[at]), context)
    yield batch_of_columns({column: _column(column, numbered, context) for column in ROW_SCHEMA.names})


def _row(number: int, found: _Object) -> tuple[Any, Any, int]:
    return found.get("conversation_id"), found.get("message_id"), number


def _column(name: str, numbered: Sequence[tuple[int, _Object]], context: SourceContext) -> pa.Array:
    values = [found.get(name) for _, found in numbered]

    def error(bad: BadValue) -> RowError:
        number, found = numbered[bad.at]
        return _refusal(bad.problem, name, values[bad.at], found, number, bad.advice)

    return converted(name, len(values), lambda low, high: column_of(name, values[low:high], context), error, context)
