"""The end of the pipeline, where order counts: claim names, place bytes in the archive, hand out records.

One thread, the consumer's, hands it one event after another in the order of the source. Of a long conversation it
keeps what is held, what is streamed and what it is called, and nobody else does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from export_engine.errors import RowError
from export_engine.pipeline.archive import Members, pack, unpack
from export_engine.pipeline.deflate import DEFLATED
from export_engine.pipeline.digests import digests
from export_engine.pipeline.long import (
    ConversationBegins,
    Creation,
    LongEvent,
    MemberBegins,
    MemberEnds,
    Piece,
    RowsRefused,
)
from export_engine.pipeline.members import MemberBatch, MemberSpec
from export_engine.pipeline.naming import part
from export_engine.pipeline.sets import ArchiveSet, Cut
from export_engine.pipeline.uniqueness import Uniqueness
from export_engine.pipeline.workers import Result
from export_engine.report import MemberRecord, Progress
from export_engine.times import instant
from export_engine.timetext import created_text

__all__ = ["Event", "Totals", "WholeMembers", "Writer"]


@dataclass(slots=True)
class Totals:
    """What has been written so far; `first` and `last` are UTC microseconds, None before the first row."""

    rows: int = 0
    conversations: int = 0
    csv_bytes: int = 0
    long_cells: int = 0
    doubled_ids: int = 0
    first: int | None = None
    last: int | None = None
    split: list[str] = field(default_factory=list)

    def widen(self, first: int, last: int) -> None:
        """Take two more times into the span."""
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)


@dataclass(frozen=True, slots=True)
class WholeMembers:
    """The members of a group of whole conversations: `built()` waits for them; `weight` is the bytes of work."""

    built: Result[MemberBatch]
    weight: int


Event = WholeMembers | LongEvent


@dataclass(slots=True)
class _Conversation:
    """The long conversation being written. `created` and `name` are its first part's, once they are in a header."""

    begun: ConversationBegins
    name: str = ""
    created: Creation | None = None
    left_out: bool = False
    refused: RowError | None = None


@dataclass(slots=True)
class _Member:
    """The member of it being written. `held` are pieces that wait for its end or the spool limit."""

    part: int
    name: str = ""
    deflated_bytes: int = 0
    streamed: bool = False
    held: list[bytes] = field(default_factory=list)


class Writer:
    """An archive, or a set of them, what is in it, and the listeners to tell.

    `archives` are those to write to (one of any size by default). No two of their members have one name.
    """

    def __init__(
        self,
        spec: MemberSpec,
        *,
        archives: ArchiveSet | None = None,
        on_member: Callable[[MemberRecord], object] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> None:
        self.totals = Totals()
        self.archives = archives or ArchiveSet()
        self._spec = spec
        self._on_member = on_member
        self._on_progress = on_progress
        self._unique = Uniqueness(spec.budget)
        self._conversation: _Conversation
        self._member: _Member

    def tell(self, rows_read: int) -> None:
        """Report progress."""
        if self._on_progress is not None:
            archives = self.archives
            self._on_progress(Progress(rows_read, self.totals.rows, archives.members, archives.position))

    def write(self, event: Event) -> Iterator[bytes | Cut]:
        """Take the next event; the archives' bytes that follow from it.

        Raises GroupingError for a conversation that was there before, RowError for a message that would change a name
        already written, and what the event's task raises.
        """
        match event:
            case WholeMembers():
                yield from self._write_whole(event.built())
            case ConversationBegins():
                self._unique.see(lambda: [event.conversation_id], digests([event.conversation_id]))
                self._conversation = _Conversation(event)
            case RowsRefused():
                self._refuse(event.error)
            case MemberBegins():
                self._member = _Member(event.part)
            case Piece():
                yield from self._write_piece(event)
            case MemberEnds():
                yield from self._end_member(event)

    def _write_whole(self, built: MemberBatch) -> Iterator[bytes | Cut]:
        self._unique.see(built.ids.to_pylist, built.id_digests)
        members, rows, totals = built.members, built.rows, self.totals
        if not len(members):
            return
        packed = built.packed
        claimed = self._unique.claim(members.names, built.name_digests)
        if claimed is not None:
            members = replace(members, names=claimed)
            packed = pack(members, unpack(packed, built.members))
        number, cuts = self.archives.number, self.archives.cuts(packed)
        yield from self.archives.add(packed, members, cuts)
        totals.rows += int(rows.sum())
        totals.conversations += len(members)
        totals.csv_bytes += int(members.csv_bytes.sum())
        totals.long_cells += built.long_cells
        totals.doubled_ids += built.doubled_ids
        if rows.any():
            totals.widen(int(built.first[rows > 0].min()), int(built.last[rows > 0].max()))
        if self._on_member is not None:
            ids = built.ids.take(pa.array(built.exported)).to_pylist()
            numbers = number + np.searchsorted(cuts, np.arange(len(members)), side="right")
            columns = (
                rows,
                members.csv_bytes,
                members.deflated_bytes,
                members.crc32s,
                built.first,
                built.last,
                numbers,
            )
            for name, id_, count, csv_bytes, deflated_bytes, crc32, first, last, archive, hash_ in zip(
                members.names, ids, *(column.tolist() for column in columns), built.hashes, strict=True
            ):
                begun, ended = (instant(first), instant(last)) if count else (None, None)
                self._on_member(
                    MemberRecord(name, id_, 1, count, csv_bytes, deflated_bytes, crc32, begun, ended, hash_, archive)
                )

    # --- long conversations ------------------------------------------------------------------------------------------

    def _write_piece(self, piece: Piece) -> Iterator[bytes | Cut]:
        """Write a piece of the member, or hold it."""
        member = self._member
        self._hold_to(piece.creation)
        if self._conversation.left_out:
            return
        data = piece.deflated()
        member.deflated_bytes += len(data)
        if member.streamed:
            yield from self.archives.stream(data)
            return
        member.held.append(data)
        if member.deflated_bytes > self._spec.spool_limit:
            held, member.held = member.held, []
            if self._name(piece.creation):
                member.streamed = True
                yield from self.archives.begin(self._facts())
                yield from self.archives.stream(b"".join(held))

    def _end_member(self, ended: MemberEnds) -> Iterator[bytes | Cut]:
        """Write what is left of the member."""
        member, conversation = self._member, self._conversation
        self._hold_to(ended.creation)
        if conversation.left_out or not (member.streamed or self._name(ended.creation)):
            return
        facts = self._facts(ended)
        if member.streamed:
            yield from self.archives.end(facts)
        else:
            data = b"".join(member.held)
            packed = pack(facts, data)
            yield from self.archives.add(packed, facts, self.archives.cuts(packed))
        totals, id_ = self.totals, conversation.begun.conversation_id
        totals.rows += ended.rows
        totals.conversations += member.part == 1
        totals.csv_bytes += ended.csv_bytes
        totals.long_cells += ended.long_cells
        totals.doubled_ids += ended.doubled_ids
        if ended.first is not None and ended.last is not None:
            totals.widen(ended.first, ended.last)
        if member.part == 2:
            totals.split.append(id_)
        if self._on_member is not None:
            self._on_member(
                MemberRecord(
                    name=member.name,
                    conversation_id=id_,
                    part=member.part,
                    rows=ended.rows,
                    csv_bytes=ended.csv_bytes,
                    deflated_bytes=member.deflated_bytes,
                    crc32=ended.crc32,
                    first_time=None if ended.first is None else instant(ended.first),
                    last_time=None if ended.last is None else instant(ended.last),
                    sha256=ended.sha256,
                    archive=self.archives.number,
                )
            )

    def _name(self, creation: Creation) -> bool:
        """Name the member, whose header is due; False if the conversation turns out to be left out."""
        conversation, member, which = self._conversation, self._member, self._spec.selection
        if member.part == 1:
            conversation.created = creation
            conversation.left_out = which.by_creation and not which.created_within(creation.us)
            if conversation.left_out:
                return False
            if conversation.refused is not None:
                raise conversation.refused
            begun = conversation.begun
            wish = self._spec.name_of(begun.contact_name, begun.contact_phone, self._created_text(creation))
            conversation.name = member.name = self._unique.claim_one(wish)
        else:
            member.name = self._unique.claim_one(part(conversation.name, member.part, budget=self._spec.budget))
        return True

    def _hold_to(self, creation: Creation) -> None:
        """Raise RowError where a message would have changed what is in the archive already, or was left out of it."""
        conversation, which = self._conversation, self._spec.selection
        if conversation.created is None or conversation.created.us == creation.us:
            return
        was, now = self._created_text(conversation.created), self._created_text(creation)
        if conversation.left_out:
            if not which.created_within(creation.us):
                return
            done = "left out"
        elif was != now:
            done = "named"
        else:
            return
        raise RowError(
            f"is from {now}, but its conversation, too long to hold, had been {done} as created at {was} by then",
            column="message_time",
            value=instant(creation.us),
            conversation_id=conversation.begun.conversation_id,
            message_id=creation.message_id,
            row=creation.row,
            advice="give created_at in the conversation's rows, or sort its messages by time, earliest first",
        )

    def _refuse(self, error: RowError) -> None:
        """Raise the error, unless the conversation is not exported; keep it while that is not known."""
        conversation = self._conversation
        if conversation.name:
            raise error
        conversation.refused = conversation.refused or error

    def _created_text(self, creation: Creation) -> str:
        (text,) = created_text(np.array([self._spec.selection.local(creation.us)]))
        return text

    def _facts(self, ended: MemberEnds | None = None) -> Members:
        """What the archive has to know of the member: its sizes are not known before it has ended."""
        created = self._conversation.created
        assert created is not None  # noqa: S101  # it has a name
        method, crc32, csv_bytes = (DEFLATED, 0, 0) if ended is None else (ended.method, ended.crc32, ended.csv_bytes)
        return Members(
            names=[self._member.name],
            created=np.array([self._spec.selection.local(created.us)]),
            methods=np.array([method]),
            crc32s=np.array([crc32]),
            deflated_bytes=np.array([self._member.deflated_bytes]),
            csv_bytes=np.array([csv_bytes]),
            streamed=np.array([self._member.streamed]),
        )
