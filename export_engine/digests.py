"""Has this been seen before? A growing set of 64-bit digests at eight bytes an item.

Conversation ids and member names must be unique over an archive of any size. A Python set of strings would take two
hundred bytes an item; here each is reduced to eight bytes of BLAKE2b, unseeded and so the same in every process, kept
in sorted runs that are merged as they grow. Two different items share a digest once in about 37 million archives of a
million items; what the caller does then (a number in a name, an advice to sort) is never a loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

__all__ = ["DigestSet", "digests"]


def digests(items: Iterable[str]) -> NDArray[np.uint64]:
    """One digest an item."""
    packed = b"".join([blake2b(item.encode("utf-8", "surrogatepass"), digest_size=8).digest() for item in items])
    return np.frombuffer(packed, np.dtype("<u8"))


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

    def add_new(self, batch: NDArray[np.uint64]) -> bool:
        """Add a batch if all of it is new and without repeats; else add nothing and return False."""
        ordered = np.sort(batch)
        if len(ordered) > 1 and (ordered[1:] == ordered[:-1]).any():
            return False
        for run in self._runs:
            at = np.searchsorted(run, ordered)
            at[at == len(run)] = 0
            if (run[at] == ordered).any():
                return False
        if len(ordered):
            self._runs.append(ordered)
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            tail = np.concatenate([self._runs.pop(), self._runs.pop()])
            tail.sort(kind="stable")  # a merge of two sorted runs, linear
            self._runs.append(tail)
        return True
