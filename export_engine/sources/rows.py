"""Rows as dictionaries to record batches: a list per column and block of rows, then an Arrow column in one call."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import pyarrow as pa

from export_engine.errors import RowError, SchemaError
from export_engine.schema import CHANNEL_ID, MAX_BATCH_BYTES, MAX_BATCH_ROWS, ROW_SCHEMA
from export_engine.sources import Source, SourceContext
from export_engine.sources.channels import one_channel
from export_engine.sources.tables import wanted_columns
from export_engine.sources.values import BadValue, batch_of_columns, column_of, converted, row_error

__all__ = ["batch_of", "from_rows"]

#: Rows pulled at a time: cheap per row, few enough that a run of huge texts is noticed early.
_BLOCK = 64
#: Characters that a row is taken to have beside its text and URLs.
_ROW_CHARACTERS = 200
_LONG = ("message_text", "media_url")
_KNOWN = frozenset(ROW_SCHEMA.names)
_NAMES = (*ROW_SCHEMA.names, CHANNEL_ID)


def from_rows(rows: Iterable[Mapping[str, Any]]) -> Source:
    """Make a source of rows, a dictionary a message: any iterable of mappings whose keys are the columns' names.

    What has `keys()` and values by them will do, such as `sqlite3.Row`.

    The keys are those of the CSVs and perhaps `created_at`; see `from_arrow` for which are required. A missing key is
    null, as None is; others are ignored and named in the report. Values are as in `from_conversations`; `media_url` is
    a list of URLs, or text. Rows are read once, lazily and in their own order, at most a batch ahead; they must stand
    together by conversation. On an error, and when the batches are closed early, the iterator is closed if it has a
    `close()`.

    Errors while reading: SchemaError for a row that is no mapping, and where the first lacks a required column;
    RowError for a value that breaks a rule. `row` in errors is the row's number, from 1. The iterable's own exceptions
    are not wrapped.
    """
    return _Rows(rows)


@dataclass(frozen=True, slots=True)
class _Rows:
    rows: Iterable[Mapping[str, Any]]

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        rows = iter(self.rows)
        try:
            for columns, numbers in _gathered(rows, context):
                yield batch_of(columns, numbers, context)
        finally:
            close = getattr(rows, "close", None)
            if close is not None:
                close()


def _gathered(
    rows: Iterator[Mapping[str, Any]], context: SourceContext
) -> Iterator[tuple[dict[str, list[Any]], Sequence[int]]]:
    """The values of a batch's rows by column, and the rows' numbers, as often as one is full."""
    number, pull, size, begun = 1, 1, 0, False
    held: dict[str, list[Any]] = {name: [] for name in _NAMES}
    numbers: list[int] = []
    ignored = set[str]()
    while taken := list(islice(rows, pull)):
        numbered: Iterable[int] = range(number, number + len(taken))
        number += len(taken)
        try:
            block = {name: [row.get(name) for row in taken] for name in held}
        except AttributeError:
            made = _as_dictionaries(taken, numbered, context)
            if not made:
                continue
            numbered, taken = made.keys(), [*made.values()]
            block = {name: [row.get(name) for row in taken] for name in held}
        _note_keys(taken, ignored, context, first=not begun)
        begun = True
        numbers += numbered
        weight = _ROW_CHARACTERS * len(taken) + sum(_characters(block[name]) for name in _LONG)
        for name, values in block.items():
            held[name] += values
        size += weight
        if len(numbers) >= MAX_BATCH_ROWS - _BLOCK or size >= MAX_BATCH_BYTES * 3 // 4:
            yield held, numbers
            held, numbers, size = {name: [] for name in held}, [], 0
        pull = max(1, min(_BLOCK, 2 * pull, MAX_BATCH_BYTES // 4 * len(taken) // weight))
    if numbers:
        yield held, numbers


def _note_keys(rows: Sequence[Mapping[str, Any]], ignored: set[str], context: SourceContext, *, first: bool) -> None:
    """Note the keys that are not exported. Raises SchemaError where the first row lacks a required one."""
    if first:
        wanted_columns(rows[0], context)
    others = set().union(*rows) - _KNOWN - ignored
    if others:
        ignored |= others
        fresh = (key for key in chain.from_iterable(rows) if key in others and key not in context.ignored_columns)
        context.ignored_columns += tuple(dict.fromkeys(fresh))


def _as_dictionaries(
    rows: Sequence[Any], numbers: Iterable[int], context: SourceContext
) -> dict[int, Mapping[str, Any]]:
    """By their numbers, rows of which some have keys and values, but are no mappings.

    Raises SchemaError for others; they are left out where the context wants to be told of all.
    """
    made: dict[int, Mapping[str, Any]] = {}
    for at, row in zip(numbers, rows, strict=True):
        if hasattr(row, "get"):
            made[at] = row
        elif hasattr(row, "keys") and hasattr(row, "__getitem__"):
            keys = list(row.keys())
            for key in keys:
                if keys.count(key) > 1 and key in _KNOWN:
                    raise SchemaError(f"row {at} has {key!r} {keys.count(key)} times: keep one", column=key)
            made[at] = dict(zip(keys, map(row.__getitem__, keys), strict=True))
        else:
            error = SchemaError(
                f"row {at} is {type(row).__name__}: give dictionaries whose keys are the columns", column="message_id"
            )
            if context.refused is None:
                raise error
            context.refused(error)
    return made


def _characters(values: Sequence[Any]) -> int:
    """The characters of texts, and of those in lists."""
    return sum(
        len(value) if isinstance(value, str | bytes) else sum(len(part) for part in value if isinstance(part, str))
        for value in values
        if isinstance(value, str | bytes | list | tuple)
    )


def batch_of(columns: Mapping[str, Sequence[Any]], numbers: Sequence[int], context: SourceContext) -> pa.RecordBatch:
    """Make a batch of every column's values, a column at a time; `numbers` are what errors call the rows.

    Raises RowError for a value that breaks a rule, and for a row of another channel than those before.
    """

    def row(at: int) -> tuple[Any, Any, int]:
        return columns["conversation_id"][at], columns["message_id"][at], numbers[at]

    one_channel(columns[CHANNEL_ID], row, context)
    return batch_of_columns({name: _column(name, columns, numbers, context) for name in ROW_SCHEMA.names})


def _column(
    name: str, columns: Mapping[str, Sequence[Any]], numbers: Sequence[int], context: SourceContext
) -> pa.Array:
    values = columns[name]

    def error(bad: BadValue) -> RowError:
        return row_error(
            bad.problem,
            column=name,
            value=values[bad.at],
            conversation_id=columns["conversation_id"][bad.at],
            message_id=columns["message_id"][bad.at],
            row=numbers[bad.at],
            advice=bad.advice,
        )

    return converted(name, len(values), lambda low, high: column_of(name, values[low:high], context), error, context)
