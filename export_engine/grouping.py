"""Record batches cut at conversation boundaries.

Sources deliver rows in batches that end anywhere; everything after this module wants whole conversations. A `Group`
holds some whole conversations, or, for one too long to hold, a run of its rows. Most groups are slices without a
copy; only the conversation that a batch happened to split is put together again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_engine.errors import RowError
from export_engine.schema import COLUMN_NAMES
from export_engine.sources import MAX_BYTES, MAX_ROWS

__all__ = ["Group", "groups"]

_ID = COLUMN_NAMES.index("conversation_id")


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one or more conversations, in order.

    `bounds` are the row numbers at which conversations begin, and the number of rows. `before` is how many rows the
    source delivered before these. A group that does not both begin and end its conversation holds rows of that one
    alone.
    """

    batch: pa.RecordBatch
    bounds: NDArray[np.int64]
    before: int
    begins: bool = True
    ends: bool = True

    @property
    def whole(self) -> bool:
        """Whether every conversation in it is here from its first row to its last."""
        return self.begins and self.ends


def groups(batches: Iterator[pa.RecordBatch]) -> Iterator[Group]:
    """Cut batches into groups; a conversation is taken to end where another begins.

    At most about one batch and `MAX_ROWS` rows or `MAX_BYTES` bytes are held. Raises RowError for a row without a
    conversation id.
    """
    tail = _Tail()
    read = 0
    for batch in batches:
        bounds = _bounds(batch, read)
        if tail.rows and batch.column(_ID)[0].as_py() == tail.conversation:
            head = int(bounds[1])
            yield from tail.extend(batch.slice(0, head))
            read += head
            batch, bounds = batch.slice(head), bounds[1:] - head  # noqa: PLW2901  # what is left of it
            if not len(bounds) > 1:
                continue
        last = int(bounds[-2])
        if last and tail.begins:
            # One task more would cost more than this copy.
            yield tail.followed_by(batch.slice(0, last), bounds[:-1])
        else:
            yield from tail.close()
            if last:
                yield Group(batch.slice(0, last), bounds[:-1], read)
        read += last
        tail = _Tail(read)
        yield from tail.extend(batch.slice(last))
        read += batch.num_rows - last
    yield from tail.close()


def _bounds(batch: pa.RecordBatch, read: int) -> NDArray[np.int64]:
    """Where runs of equal conversation ids begin, and the number of rows."""
    ids = batch.column(_ID)
    if ids.null_count:
        row = pc.index(ids.is_null(), True).as_py()
        raise RowError("is null", column="conversation_id", row=read + row + 1, advice="every message needs one")
    ends: NDArray[np.int64] = pc.run_end_encode(ids).run_ends.to_numpy().astype(np.int64)
    return np.concatenate((np.zeros(1, np.int64), ends))


class _Tail:
    """The rows, so far, of a conversation that may go on in the next batch."""

    def __init__(self, before: int = 0) -> None:
        self.rows = 0
        self.conversation: str | None = None
        self._before = before
        self._slices: list[pa.RecordBatch] = []
        self.begins = True

    def followed_by(self, batch: pa.RecordBatch, bounds: NDArray[np.int64]) -> Group:
        """A group of this conversation, which has ended, and those of a batch."""
        batch = pa.concat_batches([*self._slices, batch]) if self._slices else batch
        bounds = np.concatenate((np.zeros(1 if self.rows else 0, np.int64), bounds + self.rows))
        return Group(batch, bounds, self._before)

    def extend(self, rows: pa.RecordBatch) -> Iterator[Group]:
        """Take more rows; hand out those before them once they are too many to hold."""
        if self._slices:
            size = rows.nbytes + sum(held.nbytes for held in self._slices)
            if self.rows + rows.num_rows > MAX_ROWS or size > 2 * MAX_BYTES:
                yield self._group(ends=False)
                self.begins = False
        if self.conversation is None:
            self.conversation = rows.column(_ID)[0].as_py()
        self._slices.append(rows)
        self.rows += rows.num_rows

    def close(self) -> Iterator[Group]:
        """The conversation has ended."""
        if self._slices:
            yield self._group(ends=True)

    def _group(self, *, ends: bool) -> Group:
        batch = self._slices[0] if len(self._slices) == 1 else pa.concat_batches(self._slices)
        group = Group(batch, np.array([0, self.rows], np.int64), self._before, begins=self.begins, ends=ends)
        self._before += self.rows
        self._slices.clear()
        self.rows = 0
        return group
