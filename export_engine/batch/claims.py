"""Who had a name first: of any number of names, sixteen bytes each."""

from __future__ import annotations

from hashlib import blake2b
from threading import Lock

import numpy as np
from numpy.typing import NDArray

__all__ = ["Claims"]

#: Names that are held as they came, before they are sorted in among the others.
_RECENT = 4096

_Run = tuple[NDArray[np.uint64], NDArray[np.uint64]]


class Claims:
    """Names and their owners, as 64-bit hashes; used from several threads at once.

    Two different names have one hash once in some hundred thousand batches of ten million. Then one of them seems to
    be taken, and its archive is refused, never lost.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._recent: dict[int, int] = {}
        # Sorted, each at least twice as long as the next.
        self._runs: list[_Run] = []

    def claim(self, name: str, owner: str) -> bool | None:
        """Have a name: None if nobody had it, else whether that was the same owner."""
        key, value = _hash(name), _hash(owner)
        with self._lock:
            before = self._owner(key)
            if before is not None:
                return before == value
            self._recent[key] = value
            if len(self._recent) == _RECENT:
                self._settle()
        return None

    def _owner(self, key: int) -> int | None:
        if key in self._recent:
            return self._recent[key]
        for keys, owners in self._runs:
            at = int(np.searchsorted(keys, np.uint64(key)))
            if at < len(keys) and int(keys[at]) == key:
                return int(owners[at])
        return None

    def _settle(self) -> None:
        """Sort the recent names in."""
        self._runs.append(
            _sorted([np.array(list(side), np.uint64) for side in zip(*self._recent.items(), strict=True)])
        )
        self._recent.clear()
        while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
            sides = zip(self._runs.pop(), self._runs.pop(), strict=True)
            self._runs.append(_sorted([np.concatenate(side) for side in sides]))


def _sorted(run: list[NDArray[np.uint64]]) -> _Run:
    keys, owners = run
    order = np.argsort(keys, kind="stable")
    return keys[order], owners[order]


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
