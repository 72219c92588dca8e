"""The end of the pipeline, where order counts: claim names, place bytes in the archive, hand out records.

One thread, the consumer's, calls it, with one thing after another in the order of the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from export_engine.pipeline.archive import Archive, Members, pack
from export_engine.pipeline.deflate import DEFLATED
from export_engine.pipeline.digests import digests
from export_engine.pipeline.members import MemberBatch
from export_engine.pipeline.naming import part
from export_engine.pipeline.uniqueness import Uniqueness
from export_engine.report import MemberRecord, Progress
from export_engine.times import instant

__all__ = ["LongMember", "Totals", "Writer"]


@dataclass(slots=True)
class Totals:
    """What has been written so far; `first` and `last` are UTC microseconds, None before the first row."""

    rows: int = 0
    conversations: int = 0
    csv_bytes: int = 0
    first: int | None = None
    last: int | None = None
    split: list[str] = field(default_factory=list)

    def widen(self, first: int, last: int) -> None:
        """Take two more times into the span."""
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)


@dataclass(slots=True)
class LongMember:
    """A member whose deflated pieces arrive one by one.

    `name` is that of the conversation's first part until it is claimed. `csv_bytes` and `crc32` are known when the last
    piece is given. `held` are pieces that wait for the member's end or the spool limit. `first` and `last` are UTC
    microseconds, None without rows.
    """

    conversation_id: str
    part: int
    name: str
    time: int
    date: int
    method: int = DEFLATED
    crc32: int = 0
    csv_bytes: int = 0
    deflated_bytes: int = 0
    streamed: bool = False
    rows: int = 0
    first: int | None = None
    last: int | None = None
    sha256: str | None = None
    held: list[bytes] = field(default_factory=list)

    def members(self) -> Members:
        """What the archive has to know of it."""
        return Members(
            names=[self.name],
            times=np.array([self.time]),
            dates=np.array([self.date]),
            methods=np.array([self.method]),
            crc32s=np.array([self.crc32]),
            deflated_bytes=np.array([self.deflated_bytes]),
            csv_bytes=np.array([self.csv_bytes]),
            streamed=np.array([self.streamed]),
        )


class Writer:
    """An archive, what is in it, and the listeners to tell."""

    def __init__(
        self,
        *,
        budget: int,
        spool_limit: int,
        on_member: Callable[[MemberRecord], object] | None,
        on_progress: Callable[[Progress], object] | None,
    ) -> None:
        self.totals = Totals()
        self.archive = Archive()
        self._budget = budget
        self._spool_limit = spool_limit
        self._on_member = on_member
        self._on_progress = on_progress
        self._unique = Uniqueness(budget)
        # The name that the last long conversation's first part got: its other parts are called after it.
        self._first_part = ""

    def tell(self, rows_read: int) -> None:
        """Report progress."""
        if self._on_progress is not None:
            archive = self.archive
            self._on_progress(Progress(rows_read, self.totals.rows, archive.members, archive.position))

    def write_group(self, built: MemberBatch) -> Iterator[bytes]:
        """Write the members of a group. Raises GroupingError for a conversation that was there before."""
        self._unique.see(built.all_ids, built.id_digests)
        members, rows, totals = built.members, built.rows, self.totals
        if not len(members):
            return
        packed = built.packed
        claimed = self._unique.claim(members.names, built.name_digests)
        if claimed is not None:
            members.names = claimed
            packed = pack(members, built.data)
        yield self.archive.add(packed, members, built.data)
        totals.rows += len(rows.us)
        totals.conversations += len(members)
        totals.csv_bytes += int(members.csv_bytes.sum())
        if len(rows.us):
            totals.widen(int(rows.us.min()), int(rows.us.max()))
        if self._on_member is not None:
            counts = np.diff(rows.bounds).tolist()
            columns = (members.csv_bytes, members.deflated_bytes, members.crc32s, rows.first, rows.last)
            for name, id_, count, csv_bytes, deflated_bytes, crc32, first, last, hash_ in zip(
                members.names, rows.ids, counts, *(column.tolist() for column in columns), built.hashes, strict=True
            ):
                begun, ended = (instant(first), instant(last)) if count else (None, None)
                self._on_member(
                    MemberRecord(name, id_, 1, count, csv_bytes, deflated_bytes, crc32, begun, ended, hash_)
                )

    def begin_conversation(self, conversation_id: str) -> Iterator[bytes]:
        """A long conversation begins. Raises GroupingError for one that was there before."""
        self._unique.see([conversation_id], digests([conversation_id]))
        yield from ()

    def write_piece(self, long: LongMember, piece: bytes) -> Iterator[bytes]:
        """Write the next piece of a member, or hold it."""
        long.deflated_bytes += len(piece)
        if long.streamed:
            yield self.archive.stream(piece)
            return
        long.held.append(piece)
        if long.deflated_bytes > self._spool_limit:
            long.streamed = True
            self._name(long)
            yield self.archive.begin(long.members())
            yield self.archive.stream(b"".join(long.held))
            long.held.clear()

    def end_member(self, long: LongMember) -> Iterator[bytes]:
        """Write what is left of a member whose pieces have all been given."""
        if long.streamed:
            yield self.archive.end(long.members())
        else:
            self._name(long)
            members, data = long.members(), [b"".join(long.held)]
            yield self.archive.add(pack(members, data), members, data)
        totals = self.totals
        totals.rows += long.rows
        totals.conversations += long.part == 1
        totals.csv_bytes += long.csv_bytes
        if long.first is not None and long.last is not None:
            totals.widen(long.first, long.last)
        if long.part == 2:
            totals.split.append(long.conversation_id)
        if self._on_member is not None:
            self._on_member(
                MemberRecord(
                    name=long.name,
                    conversation_id=long.conversation_id,
                    part=long.part,
                    rows=long.rows,
                    csv_bytes=long.csv_bytes,
                    deflated_bytes=long.deflated_bytes,
                    crc32=long.crc32,
                    first_time=None if long.first is None else instant(long.first),
                    last_time=None if long.last is None else instant(long.last),
                    sha256=long.sha256,
                )
            )

    def _name(self, long: LongMember) -> None:
        wish = long.name if long.part == 1 else part(self._first_part, long.part, budget=self._budget)
        long.name = self._unique.claim_one(wish)
        if long.part == 1:
            self._first_part = long.name
