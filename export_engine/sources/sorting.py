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

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_engine.errors import RowError
from export_engine.schema import ROW_SCHEMA
from export_engine.sources import Source, SourceContext
from export_engine.sources.duck import MEMORY_LIMIT
from export_engine.sources.filtering import rows_selected

__all__ = ["SORT_KEYS", "sorted_rows"]

#: What rows are sorted by.
SORT_KEYS = ("conversation_id", "message_time", "message_id")

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
    return _Sorted(source, dedupe, memory_limit, spill_folder)


@dataclass(frozen=True, slots=True)
class _Sorted:
    source: Source
    dedupe: bool
    memory_limit: str
    spill_folder: str | os.PathLike[str] | None

    @property
    def paths(self) -> tuple[str | os.PathLike[str] | int, ...]:
        """What is read, so that nothing is written over it."""
        paths: tuple[str | os.PathLike[str] | int, ...] = getattr(self.source, "paths", ())
        return paths

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        query = f"SELECT * FROM rows ORDER BY {_ORDER}"  # noqa: S608  # of names alone
        context.in_parts = True
        # UTC, not the export's zone: what goes through here has no local times.
        read = _Counted()
        with (
            closing(self.source.batches(context)) as unsorted,
            rows_selected(
                read(unsorted), query, UTC, memory_limit=self.memory_limit, spill_folder=self.spill_folder
            ) as ordered,
        ):
            context.share = None  # it has been read; what is left is to hand it out
            written = _Counted()
            for batch in _distinct(written(ordered)) if self.dedupe else written(ordered):
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


# --- rows that are there twice ---------------------------------------------------------------------------------------


def _distinct(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Sorted batches without repeated rows. Raises RowError for a message id that is there twice, with other contents.

    Rows alike stand together; ids that are there twice may not, as their times can differ. So each conversation's ids
    are kept until it ends, as eight-byte hashes.
    """
    last: pa.RecordBatch | None = None
    seen = _Seen()
    for batch in batches:
        fresh = _fresh(batch, last)
        last = batch.slice(batch.num_rows - 1)
        kept = batch if fresh.all() else batch.filter(pa.array(fresh))
        if kept.num_rows:
            seen.add(kept)
            yield kept


def _fresh(batch: pa.RecordBatch, last: pa.RecordBatch | None) -> NDArray[np.bool_]:
    """Which rows differ from the one before, which for the first is `last`."""
    joined = batch if last is None else pa.concat_batches([last, batch])
    count = joined.num_rows - 1
    alike = np.ones(count, np.bool_)
    for column in (joined.column(name) for name in (*SORT_KEYS, *ROW_SCHEMA.names)):
        if not alike.any():  # nearly always after the first few
            break
        above, below = column.slice(0, count), column.slice(1)
        equal = pc.or_(pc.fill_null(pc.equal(above, below), False), pc.and_(above.is_null(), below.is_null()))
        alike &= equal.to_numpy(zero_copy_only=False)
    return ~alike if last is not None else np.concatenate(([True], ~alike))


class _Seen:
    """The message ids of the conversation that may go on in the next batch."""

    def __init__(self) -> None:
        self._conversation: str | None = None
        self._hashes: list[NDArray[np.int64]] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch's ids. Raises RowError for one that its conversation has had."""
        conversations, ids = batch.column("conversation_id"), batch.column("message_id")
        hashes = np.array(list(map(hash, ids.to_numpy(zero_copy_only=False))), np.int64)
        ends = pc.run_end_encode(conversations).run_ends.to_numpy()
        if conversations[0].as_py() == self._conversation:
            first = int(ends[0])
            before = np.sort(np.concatenate(self._hashes))
            at = np.minimum(np.searchsorted(before, hashes[:first]), len(before) - 1)
            self._refuse(batch, before[at] == hashes[:first])
        which = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
        order = np.lexsort((hashes, which))
        repeated = np.zeros(len(hashes), np.bool_)
        repeated[order[1:]] = (np.diff(which[order]) == 0) & (np.diff(hashes[order]) == 0)
        self._refuse(batch, repeated)
        start = int(ends[-2]) if len(ends) > 1 else 0
        name = conversations[-1].as_py()
        if name != self._conversation or start:
            self._conversation, self._hashes = name, []
        self._hashes.append(hashes[start:])

    @staticmethod
    def _refuse(batch: pa.RecordBatch, repeated: NDArray[np.bool_]) -> None:
        if repeated.any():  # an empty id stands for one that was refused
            repeated = repeated & pc.not_equal(batch.column("message_id"), "").to_numpy(zero_copy_only=False)
        if not repeated.any():
            return
        row = int(np.argmax(repeated))
        conversation, message = (batch.column(name)[row].as_py() for name in ("conversation_id", "message_id"))
        raise RowError(
            f"{message!r} is there twice, with different contents",
            column="message_id",
            value=message,
            conversation_id=conversation,
            message_id=message,
            advice="find out which is right and leave the other out",
        )
