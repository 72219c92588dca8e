"""Has this been seen before? A growing set of 64-bit digests at eight bytes an item.

Conversation ids and member names must be unique over an archive of any size. A Python set of strings would take two
hundred bytes an item; here each is reduced to its 64-bit hash, kept in sorted runs that are merged as they grow. The
hash is Python's own, SipHash (PEP 456), keyed anew in each process unless PYTHONHASHSEED says otherwise: nobody can
make two items share it on purpose. Its value decides only whether two items are equal, and never reaches the output.
Two different ones share it once in about 37 million archives of a million items; what the caller does then (a number
in a name, an advice to sort) is never a loss.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["DigestSet", "digests"]


def digests(items: Iterable[str]) -> NDArray[np.uint64]:
    """One digest an item: equal for equal items, within this process."""
    return np.array(list(map(hash, items)), np.int64).view(np.uint64)


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
