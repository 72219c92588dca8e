"""A conversation too long for one task, turned into events: its CSV cut into pieces that any threads can deflate.

Like h11's, the events are small frozen values, each of which says what happens next; nothing here knows what the
writer makes of them, and the writer alone keeps what is held, streamed and named.

    ConversationBegins (MemberBegins Piece+ MemberEnds)*

**Cuts** fall every `MemberSpec.piece` bytes from a member's own beginning, so that they do not depend on how the rows
arrived; what is left after the last cut is the last piece. Where the CSV would pass `MemberSpec.member_limit`, the
conversation goes on in another member, at a row's end and with the header again.

**When it was created** is said by its rows, all alike, or else by its earliest message, which may be any. So each piece
says what is known at its end, as `Creation`: the earliest of the messages that begin before that byte, where one that
is not exported stands at the last byte of the exported one before it. That, too, does not depend on how the rows
arrived. A name is needed when a header is written, not before: at the spool limit or the member's end. What comes to be
known after that must not change it; the writer sees to it.

Where the range goes by creation and that is not known, rows are cut and deflated as if they were wanted, until a
message is earlier than the range: then nothing that follows can bring the conversation back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from export_engine.errors import ArchiveError, RowError
from export_engine.pipeline.deflate import DEFLATED, WINDOW, Backend
from export_engine.pipeline.grouping import Group
from export_engine.pipeline.members import MemberSpec, Rendered, row_cuts
from export_engine.pipeline.selection import contradiction, given_creation
from export_engine.pipeline.workers import Result, Workers
from export_engine.schema import COLUMN_NAMES
from export_engine.times import MAX_US

__all__ = [
    "ConversationBegins",
    "Creation",
    "LongConversation",
    "LongEvent",
    "MemberBegins",
    "MemberEnds",
    "Piece",
    "RowsRefused",
]

_MESSAGE_ID, _CONVERSATION_ID, _NAME, _PHONE = map(
    COLUMN_NAMES.index, ("message_id", "conversation_id", "contact_name", "contact_phone")
)


@dataclass(frozen=True, slots=True)
class Creation:
    """When a conversation was created, as far as is known: UTC microseconds, and the message that says so.

    `row` is that message's number in the source, from 1. Both are None where `created_at` was given.
    """

    us: int
    message_id: str | None = None
    row: int | None = None


@dataclass(frozen=True, slots=True)
class ConversationBegins:
    """A long conversation begins; it may turn out to have no member."""

    conversation_id: str
    contact_name: str | None
    contact_phone: str | None


@dataclass(frozen=True, slots=True)
class MemberBegins:
    """A member of it begins: its `part`, from 1."""

    part: int


@dataclass(frozen=True, slots=True)
class Piece:
    """The next piece of the member: `deflated()` waits for its bytes, made of `csv_bytes` of CSV.

    `creation` is what is known at the piece's end.
    """

    deflated: Result[bytes]
    csv_bytes: int
    creation: Creation


@dataclass(frozen=True, slots=True)
class MemberEnds:
    """All pieces of the member have been given.

    `method` is the ZIP method. `first` and `last` are its earliest and latest times (UTC microseconds), None without
    rows. `sha256` is the CSV's (hex), where it was asked for. `long_cells` and `doubled_ids` are those of the rows that
    came with it.
    """

    rows: int
    csv_bytes: int
    crc32: int
    method: int
    first: int | None
    last: int | None
    sha256: str | None
    creation: Creation
    long_cells: int = 0
    doubled_ids: int = 0


@dataclass(frozen=True, slots=True)
class RowsRefused:
    """Rows before what follows break a rule: an error if the conversation is exported."""

    error: RowError


LongEvent = ConversationBegins | MemberBegins | Piece | MemberEnds | RowsRefused


class LongConversation:
    """One conversation on its way from rendered rows to events: `add` takes its rows, group by group, `end` ends it."""

    def __init__(self, spec: MemberSpec, workers: Workers) -> None:
        self._spec = spec
        self._workers = workers
        self._id = ""
        self._creation = Creation(MAX_US)
        self._given: int | None = None
        # Whether the range goes by creation, and rows yet to come may decide.
        self._undecided = False
        self._left_out = False
        self._member: _Member | None = None
        self._parts = 0
        self._last_id: str | None = None

    def add(self, group: Group, rendered: Rendered) -> Iterator[LongEvent]:
        """Append the rows of a group. Raises RowError for a wrong one, ArchiveError for one that no member can hold."""
        if group.begins:
            yield self._begin(group, rendered)
        elif given_creation(group) != self._given:
            raise contradiction(group, 0, self._given)
        if self._left_out:
            return
        if rendered.problem is not None:
            if not self._undecided:
                raise rendered.problem
            yield RowsRefused(rendered.problem)
        known = _Known(self._creation, group, rendered, given=self._given is not None)
        for event in self._cut(group, rendered, known):
            yield event
            if self._undecided and isinstance(event, Piece) and self._spec.selection.is_past(event.creation.us):
                self._left_out = True
                return
        self._creation = known.before(len(rendered.csv))

    def end(self) -> Iterator[LongEvent]:
        """No more rows come."""
        if self._member is not None and not self._left_out:
            yield from self._member.end(self._creation)

    def _begin(self, group: Group, rendered: Rendered) -> ConversationBegins:
        which, given = self._spec.selection, given_creation(group)
        id_, name, phone = (group.batch.column(index)[0].as_py() for index in (_CONVERSATION_ID, _NAME, _PHONE))
        self._id, self._given = id_, given
        if given is not None:
            self._creation = Creation(given)
        elif len(rendered.earlier.us):  # the first message is always known
            self._creation = _Known(self._creation, group, rendered, given=False).at(0)
        if group.whole:
            self._left_out = not rendered.rows.ids
        elif which.by_creation:
            self._undecided = given is None
            self._left_out = given is not None and not which.created_within(given)
        return ConversationBegins(id_, name, phone)

    def _cut(self, group: Group, rendered: Rendered, known: _Known) -> Iterator[LongEvent]:
        csv, us, limit = rendered.csv, rendered.rows.us, self._spec.member_limit
        if not len(us) and not group.whole:
            return  # a whole one is exported, be it as a header alone
        member = self._member
        if member is None:
            member, begins = self._next_member()
            yield begins
        member.long_cells += rendered.long_cells
        member.doubled_ids += rendered.doubled_ids + self._goes_on_alike(rendered)
        if member.csv_bytes + len(csv) <= limit:
            yield from member.add(csv, us, 0, known)
            return
        # Once in 4 GiB: rendering again costs less than looking for the ends of all rows always.
        cuts, at = row_cuts(self._spec, group), 0
        while at < len(us):
            room = limit - member.csv_bytes
            stop = int(np.searchsorted(cuts, cuts[at] + room, side="right")) - 1
            if stop > at:
                yield from member.add(csv[cuts[at] : cuts[stop]], us[at:stop], int(cuts[at]), known)
                at = stop
            elif member.rows:
                yield from member.end(known.before(int(cuts[at])))
                member, begins = self._next_member()
                yield begins
            else:
                size = int(cuts[at + 1] - cuts[at])
                raise ArchiveError(
                    f"conversation {self._id!r}: one message makes {size} bytes of CSV, more than the {limit} that a "
                    "member can hold: keep its text elsewhere and export a link to it"
                )

    def _goes_on_alike(self, rendered: Rendered) -> bool:
        """Whether the first message of some rows has the id of the last before them."""
        ids = rendered.rows.batch.column(_MESSAGE_ID)
        if not len(ids):
            return False
        before, self._last_id = self._last_id, ids[-1].as_py()
        return bool(ids[0].as_py() == before)

    def _next_member(self) -> tuple[_Member, MemberBegins]:
        self._parts += 1
        self._member = _Member(self._spec, self._workers)
        return self._member, MemberBegins(self._parts)


class _Known:
    """When a conversation was created, as far as is known within a group of its rows: `creation` before them."""

    def __init__(self, creation: Creation, group: Group, rendered: Rendered, *, given: bool) -> None:
        self._creation = creation
        self._group = group
        self._earlier = rendered.earlier
        self._places = rendered.places
        self._given = given

    def before(self, byte: int) -> Creation:
        """What the messages say that stand before a byte of the group's CSV."""
        at = int(np.searchsorted(self._places, byte)) - 1
        if self._given or at < 0 or self._earlier.us[at] >= self._creation.us:
            return self._creation
        return self.at(at)

    def at(self, at: int) -> Creation:
        """What one of the group's earlier messages says."""
        row = int(self._earlier.rows[at])
        message_id = self._group.batch.column(_MESSAGE_ID)[row].as_py()
        return Creation(int(self._earlier.us[at]), message_id, self._group.before + row + 1)


class _Member:
    """One member's CSV, cut into pieces."""

    def __init__(self, spec: MemberSpec, workers: Workers) -> None:
        self.rows = 0
        self.long_cells = 0
        self.doubled_ids = 0
        self.csv_bytes = len(spec.header)
        self._spec = spec
        self._workers = workers
        # What does not make a piece yet, without a copy.
        self._held = [memoryview(spec.header)]
        self._size = self.csv_bytes
        self._cut = 0
        self._dictionary = b""
        self._crc32 = spec.backend.crc32(spec.header)
        self._hash = sha256(spec.header) if spec.hashed else None
        self._first: int | None = None
        self._last: int | None = None

    def add(
        self, csv: memoryview, us: np.ndarray[tuple[int], np.dtype[np.int64]], start: int, known: _Known
    ) -> Iterator[Piece]:
        """Append whole rows and their times (UTC microseconds); their CSV begins at `start` in their group's."""
        self.rows += len(us)
        if len(us):
            first, last = int(us.min()), int(us.max())
            self._first = first if self._first is None else min(self._first, first)
            self._last = last if self._last is None else max(self._last, last)
        self._crc32 = self._spec.backend.crc32(csv, self._crc32)
        if self._hash is not None:
            self._hash.update(csv)
        begun = self.csv_bytes - start
        self.csv_bytes += len(csv)
        # More must follow a piece, as the last one is made differently.
        while self._size + len(csv) > self._spec.piece:
            rest = self._spec.piece - self._size
            block = b"".join((*self._held, csv[:rest])) if self._held else csv[:rest]
            self._held, self._size, csv = [], 0, csv[rest:]
            self._cut += self._spec.piece
            yield self._piece(block, known.before(self._cut - begun), last=False)
        self._held.append(csv)
        self._size += len(csv)

    def end(self, creation: Creation) -> Iterator[Piece | MemberEnds]:
        """Give what is left, and the member's facts."""
        backend, rest = self._spec.backend, b"".join(self._held)
        if self.csv_bytes > self._spec.one_call:
            method = DEFLATED
            yield self._piece(rest, creation, last=True)
        else:
            method = backend.whole_method
            yield Piece(self._workers.submit(_whole, rest, self._spec.header, backend), len(rest), creation)
        hash_ = None if self._hash is None else self._hash.hexdigest()
        yield MemberEnds(
            rows=self.rows,
            csv_bytes=self.csv_bytes,
            crc32=self._crc32,
            method=method,
            first=self._first,
            last=self._last,
            sha256=hash_,
            creation=creation,
            long_cells=self.long_cells,
            doubled_ids=self.doubled_ids,
        )

    def _piece(self, data: bytes | memoryview, creation: Creation, *, last: bool) -> Piece:
        task = self._workers.submit(self._spec.backend.piece, data, self._dictionary, last)
        self._dictionary = bytes(data[-WINDOW:])
        return Piece(task, len(data), creation)


def _whole(text: bytes, header: bytes, using: Backend) -> bytes:
    csv = memoryview(text)[len(header) :]
    return using.members(csv, np.array([0, len(csv)]), header).data
