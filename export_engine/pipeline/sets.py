"""One export's archives, where each may have so many bytes: what would grow past that goes on in another.

The cut is between members, as late as it can be: an archive takes the next member if, with it and its central directory
closed, the whole file stays within the limit. One that is larger than the limit by itself has an archive of its own. So
where the cuts are follows from the members alone, whatever the batches and threads were.

A member that streams has no known size. It can be written at once where it stands first; behind others it is held in a
file of the caller's until it has ended, or has grown past the archive's room: then it is the next archive's first.
Nothing else is written a second time, and memory does not grow with the limit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import IO, Final

import numpy as np

from export_engine.pipeline.archive import Archive, Members, Packed, pack, unpack

__all__ = ["CUT", "ArchiveSet", "Cut", "Ended"]

_READ = 1 << 20


class Cut:
    """Stands between two archives: what came before is one, and complete."""


CUT: Final = Cut()


@dataclass(frozen=True, slots=True)
class Ended:
    """An archive that is complete: its size in bytes and the number of its members."""

    bytes: int
    members: int


class ArchiveSet:
    """Archives being written, as `Archive` is, with a `CUT` between one and the next.

    `limit` is the most bytes of each, None for a single archive of any size. `spool` opens an empty file, for reading
    and writing, that is gone when it is closed; without it a set cannot have members that stream.
    """

    def __init__(self, limit: int | None = None, spool: Callable[[], IO[bytes]] | None = None) -> None:
        self.ended: list[Ended] = []
        self._before = Ended(0, 0)
        self._archive = Archive()
        self._limit = limit
        self._spool = spool
        self._held: IO[bytes] | None = None
        self._held_bytes = 0

    @property
    def number(self) -> int:
        """Which archive is being written, from 1."""
        return len(self.ended) + 1

    @property
    def position(self) -> int:
        """The bytes that were sent, of all archives."""
        return self._before.bytes + self._archive.position

    @property
    def members(self) -> int:
        """The members that were sent, of all archives."""
        return self._before.members + self._archive.members

    def cuts(self, packed: Packed) -> list[int]:
        """Before which of some members a new archive begins, if they are the next: to be given to `add`."""
        limit, count = self._limit, len(packed.starts)
        if limit is None or self._archive.size_with(packed, 0, count) <= limit:
            return []
        found: list[int] = []
        archive, start = self._archive, 0
        while True:
            taken = bisect_right(
                range(start + 1, count + 1), limit, key=lambda stop: archive.size_with(packed, start, stop)
            )
            if not (taken or archive.members):
                taken = 1  # larger than the limit by itself
            start += taken
            if start == count:
                return found
            found.append(start)
            archive = Archive()

    def add(self, packed: Packed, members: Members, cuts: list[int]) -> Iterator[bytes | Cut]:
        """Append members that were laid out without `base`."""
        if not cuts:
            yield self._archive.add(packed, members)
            return
        data = unpack(packed, members)
        ends = np.cumsum([0, *members.deflated_bytes.tolist()])
        start = 0
        for stop in [*cuts, len(members)]:
            if stop > start:
                its, bytes_ = _slice(members, start, stop), data[ends[start] : ends[stop]]
                yield self._archive.add(pack(its, bytes_), its)
            if stop < len(members):
                yield from self._cut()
            start = stop

    def begin(self, member: Members) -> Iterator[bytes | Cut]:
        """Begin one streamed member, whose sizes are not known yet."""
        self._begun = member
        if self._limit is None or not self._archive.members:
            yield self._archive.begin(member)
            return
        assert self._spool is not None  # noqa: S101  # a set has one
        self._held, self._held_bytes = self._spool(), 0

    def stream(self, data: bytes) -> Iterator[bytes | Cut]:
        """Take more deflated data of the member begun."""
        if self._held is None:
            yield self._archive.stream(data)
            return
        try:
            self._held.write(data)
        except OSError as error:
            where = "it was to hold a long CSV, beside the archives or, of a store's, in TMPDIR"
            raise OSError(error.errno, f"{error.strerror}: {where}") from None
        self._held_bytes += len(data)
        assert self._limit is not None  # noqa: S101  # else nothing is held
        if self._archive.size_with_streamed(self._begun, self._held_bytes) > self._limit:
            yield from self._cut()
            yield from self._release()

    def end(self, member: Members) -> Iterator[bytes | Cut]:
        """End the member begun, whose CRC-32 and sizes are now known."""
        yield from self._release()
        yield self._archive.end(member)

    def finish(self) -> Iterator[bytes]:
        """The central directory and the end of the last archive, in chunks."""
        yield from self._archive.finish()
        self.ended.append(Ended(self._archive.position, self._archive.members))
        self._before = Ended(self.position, self.members)
        self._archive = Archive()

    def close(self) -> None:
        """Let go of what is held."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def _cut(self) -> Iterator[bytes | Cut]:
        yield from self.finish()
        yield CUT

    def _release(self) -> Iterator[bytes]:
        """Write what is held of a member where it belongs."""
        held = self._held
        if held is None:
            return
        yield self._archive.begin(self._begun)
        held.seek(0)
        while data := held.read(_READ):
            yield self._archive.stream(data)
        self.close()


def _slice(members: Members, start: int, stop: int) -> Members:
    return Members(**{column.name: getattr(members, column.name)[start:stop] for column in fields(Members)})
