"""Any source's rows in order: by conversation, then time, then message id; out of core.

The rows are sorted as they are in `ROW_SCHEMA`, so that times are instants and ids text, whatever they came from, and
text is compared bytewise. Rows alike in all three keys stand in the order of their other columns: the same rows give
the same order, however they were shuffled.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from operator import truediv

import pyarrow as pa

from export_engine.schema import ROW_SCHEMA
from export_engine.sources import Source, SourceContext
from export_engine.sources.distinct import SORT_KEYS, distinct
from export_engine.sources.duck import MEMORY_LIMIT
from export_engine.sources.filtering import Queried

__all__ = ["SORT_KEYS", "sorted_rows"]

_ORDER = ", ".join([*SORT_KEYS, *(name for name in ROW_SCHEMA.names if name not in SORT_KEYS)])


def sorted_rows(
    source: Source,
    *,
    dedupe: bool = False,
    memory_limit: str = MEMORY_LIMIT,
    spill_folder: str | os.PathLike[str] | None = None,
) -> Source:
    """Make a source of another's rows, sorted: for input in which conversations are torn or overlap.

    The order is conversation_id, message_time, message_id, the ids as text and bytewise. The whole of `source` is read
    before the first row is handed on. With `dedupe` rows that are alike in every column are one row.

    Conversation objects and lines of nested JSON may have an id in common: their messages are one conversation's.

    DuckDB holds at most `memory_limit` (256MB) and spills what is more to a private folder inside `spill_folder`, which
    is removed whatever happens.

    Errors while reading: those of `source`; with `dedupe` a RowError for a message id that a conversation has twice
    with different contents.
    """
    return _Sorted(source, memory_limit, spill_folder, dedupe)


@dataclass(frozen=True, slots=True)
class _Sorted(Queried):
    dedupe: bool

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        query = f"SELECT * FROM rows ORDER BY {_ORDER}"  # noqa: S608  # of names alone
        context.in_parts = True
        read = _Counted()
        with (
            closing(self.source.batches(context)) as unsorted,
            # UTC, not the export's zone: what goes through here has no local times.
            self.selected(read(unsorted), query, UTC) as ordered,
        ):
            context.share = None  # it has been read; what is left is to hand it out
            written = _Counted()
            for batch in distinct(written(ordered)) if self.dedupe else written(ordered):
                context.share = partial(truediv, written.rows, read.rows)
                yield batch


class _Counted:
    """Batches that pass, and how many rows they had."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self.rows += batch.num_rows
            yield batch
