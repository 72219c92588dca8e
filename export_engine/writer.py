"""The end of the pipeline, where order counts: claim names, place bytes in the archive, hand out records.

One thread, the consumer's, calls it, with one thing after another in the order of the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from export_engine.archive import Archive, Member, pack
from export_engine.digests import digests
from export_engine.members import Built
from export_engine.naming import part
from export_engine.report import MemberRecord, Progress
from export_engine.uniqueness import Uniqueness

__all__ = ["LongMember", "Totals", "Writer", "instant"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(us: int) -> datetime:
    """UTC microseconds as an aware datetime."""
    return _EPOCH + timedelta(microseconds=us)


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

    `member.name` is the first part's until the name is claimed. `held` are pieces that wait for the member's end or the
    spool limit. `first` and `last` are UTC microseconds, None without rows.
    """

    conversation_id: str
    part: int
    member: Member
    rows: int = 0
    first: int | None = None
    last: int | None = None
    sha256: str | None = None
    held: list[bytes] = field(default_factory=list)


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

    def write_group(self, built: Built) -> Iterator[bytes]:
        """Write the members of a group. Raises GroupingError for a conversation that was there before."""
        self._unique.see(built.all_ids, built.id_digests)
        if not built.members:
            return
        claimed = self._unique.claim([member.name for member in built.members], built.name_digests)
        packed = built.packed
        if claimed is not None:
            for member, name in zip(built.members, claimed, strict=True):
                member.name = name
            packed = pack(built.members, built.data)
        yield self.archive.add(packed, built.members, built.data)
        rows, totals = built.rows, self.totals
        totals.rows += len(rows.us)
        totals.conversations += len(built.members)
        totals.csv_bytes += sum([member.csv_bytes for member in built.members])
        if len(rows.us):
            totals.widen(int(rows.us.min()), int(rows.us.max()))
        if self._on_member is not None:
            counts = np.diff(rows.bounds).tolist()
            spans = zip(rows.first.tolist(), rows.last.tolist(), strict=True)
            for member, id_, count, (first, last), sha256 in zip(
                built.members, rows.ids, counts, spans, built.hashes, strict=True
            ):
                self._on_member(
                    _record(member, id_, 1, count, first if count else None, last if count else None, sha256)
                )

    def begin_conversation(self, conversation_id: str) -> Iterator[bytes]:
        """A long conversation begins. Raises GroupingError for one that was there before."""
        self._unique.see([conversation_id], digests([conversation_id]))
        yield from ()

    def write_piece(self, long: LongMember, piece: bytes) -> Iterator[bytes]:
        """Write the next piece of a member, or hold it."""
        member = long.member
        member.deflated_bytes += len(piece)
        if member.streamed:
            yield self.archive.stream(piece)
            return
        long.held.append(piece)
        if member.deflated_bytes > self._spool_limit:
            member.streamed = True
            self._name(long)
            yield self.archive.begin(member)
            yield self.archive.stream(b"".join(long.held))
            long.held.clear()

    def end_member(self, long: LongMember) -> Iterator[bytes]:
        """Write what is left of a member whose pieces have all been given."""
        member, totals = long.member, self.totals
        if member.streamed:
            yield self.archive.end(member)
        else:
            self._name(long)
            data = [b"".join(long.held)]
            yield self.archive.add(pack([member], data), [member], data)
        totals.rows += long.rows
        totals.conversations += long.part == 1
        totals.csv_bytes += member.csv_bytes
        if long.first is not None and long.last is not None:
            totals.widen(long.first, long.last)
        if long.part == 2:
            totals.split.append(long.conversation_id)
        if self._on_member is not None:
            self._on_member(
                _record(member, long.conversation_id, long.part, long.rows, long.first, long.last, long.sha256)
            )

    def _name(self, long: LongMember) -> None:
        wish = long.member.name if long.part == 1 else part(self._first_part, long.part, budget=self._budget)
        long.member.name = self._unique.claim_one(wish)
        if long.part == 1:
            self._first_part = long.member.name


def _record(
    member: Member,
    conversation_id: str,
    number: int,
    rows: int,
    first: int | None,
    last: int | None,
    sha256: str | None,
) -> MemberRecord:
    """The record of a member; `first` and `last` are UTC microseconds."""
    return MemberRecord(
        name=member.name,
        conversation_id=conversation_id,
        part=number,
        rows=rows,
        csv_bytes=member.csv_bytes,
        deflated_bytes=member.deflated_bytes,
        crc32=member.crc32,
        first_time=None if first is None else instant(first),
        last_time=None if last is None else instant(last),
        sha256=sha256,
    )
