"""Record batches cut at conversation boundaries.

Sources deliver rows in batches that end anywhere; everything after this module wants whole conversations. A `Group`
holds some whole conversations, or, for one too long to hold, a run of its rows. A batch of the usual size that ends
where a conversation does becomes a group without a copy; small batches are put together, and so is what a batch tore.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_engine.errors import RowError
from export_engine.schema import COLUMN_NAMES, MAX_BATCH_BYTES, MAX_BATCH_ROWS, ROW_SCHEMA

__all__ = ["Group", "groups"]

_ID = COLUMN_NAMES.index("conversation_id")
_TEXTS = [index for index, field in enumerate(ROW_SCHEMA) if field.type == pa.string()]

#: What the cells of a row take besides their text: offsets and times.
_ROW_BYTES = 64


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


def groups(
    batches: Iterator[pa.RecordBatch], max_rows: int = MAX_BATCH_ROWS, max_bytes: int = MAX_BATCH_BYTES
) -> Iterator[Group]:
    """Cut batches into groups; a conversation is taken to end where another begins.

    A batch is held until the next one tells whether its last conversation goes on, and for as long as the next fits
    into `max_rows` rows and `max_bytes` bytes with it: a group has its costs, however few rows are in it. At most about
    two batches and as much as that are in memory.

    A conversation is whole in a group where it has at most `max_rows` rows and twice `max_bytes` bytes, and else is
    not, whatever the batches were, provided that none has more than those bounds.

    Raises RowError for a row without a conversation id.
    """
    limits = max_rows, max_bytes
    held = _Held(*limits)
    read = 0
    for batch in batches:
        bounds = _bounds(batch, read)
        goes_on = bool(held.slices) and batch.column(_ID)[0].as_py() == held.last_id
        if held.has_room(batch):
            held.append(batch, bounds, goes_on=goes_on)
        elif goes_on:
            yield from held.whole()
            head = int(bounds[1])
            yield from held.extend(batch.slice(0, head))
            rest, bounds = batch.slice(head), bounds[1:] - head
            if rest.num_rows and held.begins:
                held.append(rest, bounds, goes_on=False)  # a group more would cost more than this copy
            elif rest.num_rows:
                yield from held.close()
                held = _Held(*limits, read + head, rest, bounds)
        else:
            yield from held.close()
            held = _Held(*limits, read, batch, bounds)
        read += batch.num_rows
    yield from held.close()


def _bounds(batch: pa.RecordBatch, read: int) -> NDArray[np.int64]:
    """Where runs of equal conversation ids begin, and the number of rows."""
    ids = batch.column(_ID)
    if ids.null_count:
        row = pc.index(ids.is_null(), True).as_py()
        raise RowError("is null", column="conversation_id", row=read + row + 1, advice="every message needs one")
    ends: NDArray[np.int64] = pc.run_end_encode(ids).run_ends.to_numpy().astype(np.int64)
    return np.concatenate((np.zeros(1, np.int64), ends))


def _size(batch: pa.RecordBatch) -> int:
    """What rows take: text, and a few bytes a cell. Unlike that of `nbytes`, the sum over slices is the whole's."""
    size: int = _ROW_BYTES * batch.num_rows
    for index in _TEXTS:
        column = batch.column(index)
        if (offsets := column.buffers()[1]) is not None:
            places = memoryview(offsets).cast("B").cast("i")
            size += places[column.offset + len(column)] - places[column.offset]
    return size


class _Held:
    """Whole conversations, and after them the rows, so far, of one that may go on in the next batch."""

    def __init__(
        self,
        max_rows: int,
        max_bytes: int,
        before: int = 0,
        batch: pa.RecordBatch | None = None,
        bounds: NDArray[np.int64] | None = None,
    ) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self.slices = [] if batch is None else [batch]
        self._size = 0 if batch is None else batch.nbytes
        # Bytes of the only conversation here, once they had to be counted.
        self._own: int | None = None
        self.begins = True
        self._before = before
        self._bounds = np.zeros(1, np.int64) if bounds is None else bounds

    @property
    def last_id(self) -> str | None:
        """The conversation that may go on."""
        last: str | None = self.slices[-1].column(_ID)[-1].as_py()
        return last

    def whole(self) -> Iterator[Group]:
        """Hand out the conversations that have ended: all but the last."""
        last = int(self._bounds[-2])
        if last:
            batch = self._joined()
            yield Group(batch.slice(0, last), self._bounds[:-1], self._before)
            self.slices = [batch.slice(last)]
            self._size = self.slices[0].nbytes
            self._before += last
            self._bounds = self._bounds[-2:] - last

    def extend(self, rows: pa.RecordBatch) -> Iterator[Group]:
        """Take more rows of the one conversation there is; hand out those before if they are too many to hold."""
        count = int(self._bounds[-1])
        own = sum(map(_size, self.slices)) if self._own is None else self._own
        size = _size(rows)
        if self.slices and (count + rows.num_rows > self._max_rows or own + size > 2 * self._max_bytes):
            yield self._group(ends=False)
            self._before += count
            self.slices, self._size, own = [], 0, 0
            self._bounds = np.zeros(2, np.int64)
            self.begins = False
        self.slices.append(rows)
        self._size += rows.nbytes
        self._own = own + size
        self._bounds = np.array([0, self._bounds[-1] + rows.num_rows])

    def has_room(self, batch: pa.RecordBatch) -> bool:
        """Whether a batch fits into a group with what is here."""
        if not self.slices or not self.begins or int(self._bounds[-1]) + batch.num_rows > self._max_rows:
            return False
        return bool(self._size + batch.nbytes <= self._max_bytes)

    def append(self, batch: pa.RecordBatch, bounds: NDArray[np.int64], *, goes_on: bool) -> None:
        """Take a batch, the first conversation of which `goes_on` from the last here or follows it."""
        rows = self._bounds[-1]
        self.slices.append(batch)
        self._size += batch.nbytes
        self._own = None
        self._bounds = np.concatenate((self._bounds[:-1] if goes_on else self._bounds, bounds[1:] + rows))

    def close(self) -> Iterator[Group]:
        """Hand out all: the last conversation has ended, too."""
        if self.slices:
            yield self._group(ends=True)

    def _group(self, *, ends: bool) -> Group:
        return Group(self._joined(), self._bounds, self._before, begins=self.begins, ends=ends)

    def _joined(self) -> pa.RecordBatch:
        return self.slices[0] if len(self.slices) == 1 else pa.concat_batches(self.slices)
