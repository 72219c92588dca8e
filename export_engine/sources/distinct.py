"""Sorted rows without those that are there twice: of an archive's or a lake's, whatever sorted them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_engine.errors import RowError
from export_engine.schema import ROW_SCHEMA

__all__ = ["SORT_KEYS", "distinct"]

#: What rows are sorted by, the others behind.
SORT_KEYS = ("conversation_id", "message_time", "message_id")


def distinct(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
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
