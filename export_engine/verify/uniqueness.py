"""No two members of one name, no conversation twice, and parts in their order: what members have to do with each other.

Only hashes are held; where two are equal, the archive is asked whether the names or ids are.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from export_engine.errors import ArchiveError
from export_engine.readback.directory import Entry, entry_at
from export_engine.readback.packed import chunks
from export_engine.readback.rows import first_row
from export_engine.schema import COLUMN_NAMES
from export_engine.verify.names import collision_keys, part_of
from export_engine.verify.seen import Seen, hashes

__all__ = ["Homes"]

_CONVERSATION = COLUMN_NAMES.index("conversation_id")

#: How an archive that goes on from another is called.
_NUMBERED = re.compile(r"-[1-9][0-9]*(?:\.[^.]*)?\Z")

_Complain = Callable[[str], object]


class Homes:
    """Names and conversations that have been there, and where: in one archive, or in several of one export.

    `begin` is called for each archive. Places are as if they stood one behind the other in one file.
    """

    def __init__(self, complain: _Complain, listed: Callable[[], bool]) -> None:
        self._paths: list[Path] = []
        self._bases: list[int] = []
        self._stop = 0
        self._goes_on = False
        self._complain = complain
        self._listed = listed
        self._names = Seen()
        self._ids = Seen()
        self._part = 1
        self._conversation: bytes | None = b""
        # The channel in the first member's name, where that ends as a part's does: it may be called so.
        self._channel: str | None = None
        self._doubted: str | None = None

    def begin(self, path: Path, size: int) -> None:
        """The next archive. Where its name has a number, its first member may be a later part of a conversation."""
        self._goes_on = not self._paths and _NUMBERED.search(path.name) is not None
        self._paths.append(path)
        self._bases.append(self._stop)
        self._stop += size

    def add_names(self, names: list[str], at: NDArray[np.int64]) -> None:
        """Note names, whose records stand at `at`; complain of those that a file system may take for one before."""
        keys = collision_keys(names)
        for number, place in self._names.add(hashes(keys), at + self._bases[-1]):
            # A problem that is only counted is not worth looking.
            other = self._entry(place).name if self._listed() else names[number]
            if collision_keys([other]) == [keys[number]]:
                self._complain(f"{names[number]!r}: a file system may take this name and {other!r} for the same")

    def has_name(self, name: str) -> bool:
        """Whether a name is likely to be one that was added."""
        return self._names.any_of(hashes(collision_keys([name])))

    def add(self, names: list[str], ids: list[bytes | None], at: NDArray[np.int64]) -> list[int]:
        """Note the members' conversations: empty without rows, None where unknown. Which part of its own each is."""
        parts = [1] * len(names)
        if " (part " in "\n".join(names) or self._doubted is not None:
            parts = [self._part_of(name, id_) for name, id_ in zip(names, ids, strict=True)]
        elif names:
            self._channel = self._channel or _channel(names[0])
            self._part, self._conversation = 1, ids[-1]
        fresh = [number for number, part in enumerate(parts) if part == 1 and ids[number]]
        some = [ids[number] or b"" for number in fresh]
        for number, place in self._ids.add(hashes(some), at[fresh] + self._bases[-1]):
            name, id_ = names[fresh[number]], some[number]
            other = self._entry(place).name if self._listed() else None
            if other is None or self._conversation_at(place) == id_:
                home = "another member" if other is None else repr(other)
                shown = id_[:80].decode(errors="backslashreplace")
                self._complain(f"{name!r}: column 'conversation_id': {shown!r} is also that of {home}")
        return parts

    def finish(self) -> None:
        """There are no more members."""
        if self._doubted is not None:
            self._orphan(self._doubted)

    def _part_of(self, name: str, id_: bytes | None) -> int:
        """Which part of its conversation a member is: one more than the one before where its name says so."""
        number, channel = part_of(name), _channel(name)
        if self._doubted is not None:
            if not channel.startswith(self._channel or ""):
                self._orphan(self._doubted)
            self._doubted = None
        goes_on = (
            number > 1 and number == self._part + 1 and (id_ == self._conversation or None in (id_, self._conversation))
        )
        self._conversation = id_
        self._part = number if goes_on or id_ is None else 1
        if self._channel is None and number > 1 and self._goes_on:
            self._channel, self._part = channel, number
            return number
        if self._channel is None:
            self._channel = channel
            self._doubted = name if number > 1 else None
        elif number > 1 and not goes_on and channel != self._channel:
            self._orphan(name)
        return number if goes_on else 1

    def _entry(self, place: int) -> Entry:
        path, base = self._file_of(place)
        with path.open("rb") as file:
            return entry_at(file, place - base)

    def _conversation_at(self, place: int) -> bytes | None:
        path, base = self._file_of(place)
        with path.open("rb") as file:
            return _conversation(file, entry_at(file, place - base))

    def _file_of(self, place: int) -> tuple[Path, int]:
        number = bisect_right(self._bases, place) - 1
        return self._paths[number], self._bases[number]

    def _orphan(self, name: str) -> None:
        number = part_of(name)
        self._complain(f"{name!r} is part {number} of a conversation, but part {number - 1} does not stand before it")


def _channel(name: str) -> str:
    return name.removesuffix(".csv").rpartition("--")[2]


def _conversation(file: IO[bytes], entry: Entry) -> bytes | None:
    """The conversation of a member's first row; None where there is none to be read."""
    try:
        row = first_row(chunks(file, entry))
    except ArchiveError:
        return None
    return row.cells[_CONVERSATION] if row is not None and len(row.cells) == len(COLUMN_NAMES) else None
