"""No two members of one name, no conversation twice: the only memory an export has of what it has written.

Names are compared as the least forgiving file systems do (see `naming.collision_keys`). The first to come keeps its
name, the next gets ` (2)`, in the order of the source and whatever the batches were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from export_engine.errors import GroupingError
from export_engine.pipeline.digests import DigestSet, digests
from export_engine.pipeline.naming import collision_keys, numbered

__all__ = ["Uniqueness"]


class Uniqueness:
    """Conversation ids and member names that have been seen; about 16 bytes a conversation."""

    def __init__(self, budget: int) -> None:
        self._numbered = partial(numbered, budget=budget)
        self._ids = DigestSet()
        self._names = DigestSet()
        # Only names that did collide: the next number of so many digits to try behind a stem, and how many digits the
        # last number had that a name got.
        self._next: dict[tuple[int, int], int] = {}
        self._digits: dict[int, int] = {}

    def see(self, ids: Callable[[], Sequence[str]], seen: NDArray[np.uint64]) -> None:
        """Note conversations that begin; `seen` are their ids' digests. Raises GroupingError for one that was there.

        `ids` are asked for only then.
        """
        if self._ids.add_new(seen):
            return
        fresh: set[int] = set()
        for conversation, digest in zip(ids(), seen.tolist(), strict=True):
            if digest in fresh or digest in self._ids:
                raise GroupingError(conversation)
            fresh.add(digest)

    def claim(self, names: Sequence[str], keys: NDArray[np.uint64]) -> list[str] | None:
        """Take names, whose keys' digests are `keys`; what to call the members instead, or None where all were free."""
        if self._names.add_new(keys):
            return None
        taken: set[int] = set()
        claimed = []
        for name, key, seen in zip(names, keys.tolist(), self._names.seen(keys).tolist(), strict=True):
            if seen or key in taken:
                claimed.append(self._free(name, taken))
            else:
                claimed.append(name)
                taken.add(key)
        self._names.add_new(np.array(sorted(taken), np.uint64))
        return claimed

    def claim_one(self, name: str) -> str:
        """Take one name; what to call the member."""
        claimed = self.claim([name], digests(collision_keys([name])))
        return claimed[0] if claimed else name

    def _free(self, name: str, taken: set[int]) -> str:
        """The first of `X (2)`, `X (3)` ... that nobody has, X being what the budget leaves of the name.

        Long names that were different may leave the same X. What has been tried is remembered for each X, and not for
        each name, so that every number is tried once.
        """
        own = hash(name)
        digits = self._digits.get(own, 1)
        while True:
            first, end = max(2, 10 ** (digits - 1)), 10**digits
            # Numbers of as many digits leave the same room.
            stem = self._numbered(name, first).removesuffix(f" ({first}).csv")
            tried = int(digests(collision_keys([stem]))[0]), digits
            for number in range(self._next.get(tried, first), end):
                candidate = f"{stem} ({number}).csv"
                digest = int(digests(collision_keys([candidate]))[0])
                if digest not in taken and digest not in self._names:
                    taken.add(digest)
                    self._next[tried], self._digits[own] = number + 1, digits
                    return candidate
            self._next[tried] = end
            digits += 1
