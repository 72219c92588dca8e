"""What has been there before, in an archive of any size: sixteen bytes an item.

Kept is a 64-bit hash of each item and where the item is to be found again, so that who is told that two may be the
same can look. The hash is Python's own, keyed anew in each process (PEP 456).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["Seen", "cell_hashes", "hashes"]


def hashes(items: Iterable[str] | Iterable[bytes]) -> NDArray[np.int64]:
    """A hash an item, equal for equal items within this process."""
    return np.array(list(map(hash, items)), np.int64)


def cell_hashes(data: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """A hash for each of some pieces of `data`, equal for equal pieces within this process. None is empty."""
    keys = np.zeros(len(starts), np.uint64)
    if not len(starts):
        return keys.view(np.int64)
    widths = [int(lengths[0])] if lengths.min() == lengths.max() else np.unique(lengths).tolist()
    for width in widths:
        which = slice(None) if len(widths) == 1 else np.flatnonzero(lengths == width)
        if width > _WIDEST:
            pieces = map(data.__getitem__, map(slice, starts[which].tolist(), (starts[which] + width).tolist()))
            keys[which] = hashes(pieces).view(np.uint64)
            continue
        texts = np.zeros((len(starts[which]), -(-width // 8) * 8), np.uint8)
        view = np.ndarray((len(data) - width + 1,), f"V{width}", data, strides=(1,))
        texts[:, :width] = view[starts[which]].view(np.uint8).reshape(-1, width)
        keys[which] = _mixed(texts.view("<u8"), width)
    return keys.view(np.int64)


def _mixed(words: NDArray[np.uint64], width: int) -> NDArray[np.uint64]:
    """The sum of each row's words, each scattered over all bits in its own way (the finaliser of SplitMix64)."""
    total = np.full(len(words), _KEYS[-1]) * np.uint64(width | 1)
    for place in range(words.shape[1]):
        word = words[:, place] + _KEYS[place]
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            word ^= word >> np.uint64(shift)
            word *= np.uint64(factor)
        total += word ^ (word >> np.uint64(31))
    return total


#: Longer pieces are hashed one by one.
_WIDEST = 64
#: Drawn from the process's own key.
_KEYS = hashes(bytes([number]) for number in range(_WIDEST // 8 + 1)).view(np.uint64)


class Seen:
    """Hashes with the place of the first item of each, added a batch at a time."""

    def __init__(self) -> None:
        self._runs: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def add(self, keys: NDArray[np.int64], places: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Note a batch. Yields each item that may have been there before: its number, and the place noted first."""
        order = np.argsort(keys, kind="stable")
        keys, places = keys[order], places[order]
        again = keys[1:] == keys[:-1]
        if again.any():
            firsts = np.concatenate((np.zeros(1, np.int64), np.flatnonzero(~again) + 1))
            number = np.cumsum(np.concatenate((np.zeros(1, np.int64), ~again)))
            for at in (np.flatnonzero(again) + 1).tolist():
                yield int(order[at]), int(places[firsts[number[at]]])
            keys, places, order = keys[firsts], places[firsts], order[firsts]
        new = np.ones(len(keys), np.bool_)
        for run, noted in self._runs:
            where = np.minimum(np.searchsorted(run, keys), len(run) - 1)
            found = run[where] == keys
            if found.any():
                for item in np.flatnonzero(found).tolist():
                    yield int(order[item]), int(noted[where[item]])
                new &= ~found
        self._append(keys[new], places[new])

    def any_of(self, keys: NDArray[np.int64]) -> bool:
        """Whether any of some hashes has been noted."""
        for run, _ in self._runs:
            at = np.minimum(np.searchsorted(run, keys), len(run) - 1)
            if (run[at] == keys).any():
                return True
        return False

    def _append(self, keys: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        if not len(keys):
            return
        self._runs.append((keys, places))
        while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
            one, other = self._runs.pop(), self._runs.pop()
            keys, places = (np.concatenate(both) for both in zip(one, other, strict=True))
            order = np.argsort(keys, kind="stable")  # a merge of two sorted runs, linear
            self._runs.append((keys[order], places[order]))
