"""Has this been seen before? A growing set of 64-bit digests at eight bytes an item.

Conversation ids and member names must be unique over an archive of any size. A Python set of strings would take two
hundred bytes an item; here each is reduced to its 64-bit hash, kept in sorted runs that are merged as they grow. The
hash is SipHash, Python's own (PEP 456) or the kernel's with a key that Python's gives, new in each process unless
PYTHONHASHSEED says otherwise: nobody can make two items share it on purpose. Its value decides only whether two items
are equal, and never reaches the output.
Two different ones share it once in about 37 million archives of a million items; what the caller does then (a number
in a name, an advice to sort) is never a loss.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from export_engine.pipeline.cells import given

__all__ = ["KEY", "DigestSet", "column_digests", "digests"]

#: The kernel's key in this process.
KEY = struct.pack("<2q", hash("the first half of a key"), hash("the second half of a key"))


def digests(items: Iterable[str]) -> NDArray[np.uint64]:
    """One digest an item: equal for equal items, within this process."""
    texts = list(items)
    try:
        from export_engine._native import digest_rows  # noqa: PLC0415  # optional: built where there is a compiler
    except ImportError:
        return np.array(list(map(hash, texts)), np.int64).view(np.uint64)
    octets = [text.encode(errors="surrogatepass") for text in texts]
    ends = np.cumsum([0, *map(len, octets)], dtype=np.int32)
    column = (None, 0, ends.data, b"".join(octets))
    return np.frombuffer(digest_rows(column, len(octets), np.arange(len(octets)).data, KEY), np.uint64)


def column_digests(column: pa.Array, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The same of some rows of a string column; a null is the empty text."""
    try:
        from export_engine._native import digest_rows  # noqa: PLC0415  # optional: built where there is a compiler
    except ImportError:
        return digests(column.take(pa.array(rows)).fill_null("").to_pylist())
    return np.frombuffer(digest_rows(given(column), len(column), rows.data, KEY), np.uint64)


class DigestSet:
    """A set of digests that is added to a batch at a time."""

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []

    def __contains__(self, digest: int) -> bool:
        for run in self._runs:
            at = int(np.searchsorted(run, np.uint64(digest)))
            if at < len(run) and int(run[at]) == digest:
                return True
        return False

    def seen(self, batch: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of a batch are in the set, in the batch's order; fastest where it is sorted."""
        found = np.zeros(len(batch), np.bool_)
        for run in self._runs:
            at = np.searchsorted(run, batch)
            at[at == len(run)] = 0
            found |= run[at] == batch
        return found

    def add_new(self, batch: NDArray[np.uint64]) -> bool:
        """Add a batch if all of it is new and without repeats; else add nothing and return False."""
        ordered = np.sort(batch)
        if len(ordered) > 1 and (ordered[1:] == ordered[:-1]).any():
            return False
        if self.seen(ordered).any():
            return False
        if len(ordered):
            self._runs.append(ordered)
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            tail = np.concatenate([self._runs.pop(), self._runs.pop()])
            tail.sort(kind="stable")  # a merge of two sorted runs, linear
            self._runs.append(tail)
        return True
