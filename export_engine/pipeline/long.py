"""A conversation too long for one task: its CSV cut into pieces that any number of threads can deflate.

The cuts are every `PIECE` bytes from the member's own beginning, so that they do not depend on how the rows arrived;
what is left after the last cut is the last piece. Where the CSV would pass `MEMBER_LIMIT`, the conversation goes on
in another member, at a row's end and with the header again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256

import numpy as np

from export_engine.errors import ArchiveError
from export_engine.pipeline.deflate import PIECE, WINDOW, Backend, deflate_whole
from export_engine.pipeline.grouping import Group
from export_engine.pipeline.members import MemberSpec, Rendered, render_rows
from export_engine.pipeline.workers import Workers
from export_engine.pipeline.writer import LongMember, Writer
from export_engine.timetext import created_text, dos_times

__all__ = ["MEMBER_LIMIT", "LongConversation", "Step"]

#: What is to be done when its turn comes; yields bytes of the archive.
Step = Callable[[], Iterator[bytes]]

#: A member's CSV stays below this, so that no size in its headers overflows 32 bits, even where deflate makes it
#: larger.
MEMBER_LIMIT = 0xFFFFFFFF - (16 << 20)


class LongConversation:
    """One conversation on its way from rendered rows to steps for the writer.

    `feed` takes its rows, `end` ends it; both hand each step to `queue`, with its weight in bytes.
    """

    def __init__(
        self, spec: MemberSpec, workers: Workers, writer: Writer, queue: Callable[[Step, int], None], group: Group
    ) -> None:
        self._recipe = spec
        self._workers = workers
        self._writer = writer
        self._queue = queue
        self._id: str = group.batch.column("conversation_id")[0].as_py()
        self._member: _Cut | None = None
        self._members = 0
        self._template: tuple[str, int, int] | None = None
        queue(partial(writer.begin_conversation, self._id), 0)

    def feed(self, group: Group, rendered: Rendered) -> None:
        """Append a run of rows. Raises ArchiveError for a row that no member can hold."""
        rows, which = rendered.rows, self._recipe.selection
        if group.begins and rows.ids and (group.whole or not which.by_creation or which.covers(rows.created)[0]):
            (time,), (date,) = (column.tolist() for column in dos_times(rows.created))
            name = self._recipe.name_of(rows.names[0], rows.phones[0], created_text(rows.created)[0])
            self._template = (name, time, date)
            if group.whole:
                self._open()  # it is exported, be it as a header alone
        if self._template is None or not len(rows.us):
            return
        member = self._member or self._open()
        if member.long.csv_bytes + len(rendered.csv) <= MEMBER_LIMIT:
            member.append(rendered.csv, rows.us)
        else:
            # Once in 4 GiB: rendering again costs less than looking for the ends of all rows always.
            self._split(render_rows(self._recipe, group, by_row=True))

    def _split(self, rendered: Rendered) -> None:
        """Append rows that do not all fit in the member begun. Raises ArchiveError for one that no member can hold."""
        csv, cuts, us, at = rendered.csv, np.array(rendered.cuts), rendered.rows.us, 0
        while at < len(us):
            member = self._member or self._open()
            room = MEMBER_LIMIT - member.long.csv_bytes
            stop = int(np.searchsorted(cuts, cuts[at] + room, side="right")) - 1
            if stop > at:
                member.append(csv[cuts[at] : cuts[stop]], us[at:stop])
                at = stop
            elif member.long.rows:
                self._close(member)
            else:
                size = int(cuts[at + 1] - cuts[at])
                raise ArchiveError(
                    f"conversation {self._id!r}: one message makes {size} bytes of CSV, more than the {MEMBER_LIMIT} "
                    "that a member can hold: keep its text elsewhere and export a link to it"
                )

    def end(self) -> None:
        """No more rows come."""
        if self._member is not None:
            self._close(self._member)

    def _open(self) -> _Cut:
        assert self._template is not None  # noqa: S101  # feed() has seen the beginning
        name, time, date = self._template
        self._members += 1
        long = LongMember(self._id, self._members, name, time, date)
        self._member = _Cut(long, self._recipe, self._workers, self._writer, self._queue)
        return self._member

    def _close(self, member: _Cut) -> None:
        member.finish()
        self._queue(partial(self._writer.end_member, member.long), 0)
        self._member = None


class _Cut:
    """One member's CSV, cut into pieces."""

    def __init__(
        self, long: LongMember, spec: MemberSpec, workers: Workers, writer: Writer, queue: Callable[[Step, int], None]
    ) -> None:
        self.long = long
        self._backend = spec.backend
        self._workers = workers
        self._writer = writer
        self._queue = queue
        # What does not make a piece yet, without a copy.
        self._held: list[memoryview] = []
        self._size = 0
        self._dictionary = b""
        self._hash = sha256() if spec.hashed else None
        self._take(memoryview(spec.header))

    def append(self, csv: memoryview, us: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        """Append whole rows and their times (UTC microseconds)."""
        long, first, last = self.long, int(us.min()), int(us.max())
        long.rows += len(us)
        long.first = first if long.first is None else min(long.first, first)
        long.last = last if long.last is None else max(long.last, last)
        self._take(csv)

    def _take(self, data: memoryview) -> None:
        self.long.crc32 = self._backend.crc32(data, self.long.crc32)
        self.long.csv_bytes += len(data)
        if self._hash is not None:
            self._hash.update(data)
        # More must follow a piece, as the last one is made differently.
        while self._size + len(data) > PIECE:
            rest = PIECE - self._size
            self._deflate(b"".join((*self._held, data[:rest])) if self._held else data[:rest], last=False)
            self._held, self._size, data = [], 0, data[rest:]
        self._held.append(data)
        self._size += len(data)

    def finish(self) -> None:
        """Hand out what is left."""
        if self._hash is not None:
            self.long.sha256 = self._hash.hexdigest()
        if self._dictionary:
            self._deflate(b"".join(self._held), last=True)
        else:
            self.long.method = self._backend.whole_method
            self._submit(self._workers.submit(_whole, b"".join(self._held), self._backend), self._size)

    def _deflate(self, data: bytes | memoryview, *, last: bool) -> None:
        self._submit(self._workers.submit(self._backend.piece, data, self._dictionary, last), len(data))
        self._dictionary = bytes(data[-WINDOW:])

    def _submit(self, task: Callable[[], bytes], size: int) -> None:
        self._queue(lambda: self._writer.write_piece(self.long, task()), size)


def _whole(text: bytes, using: Backend) -> bytes:
    (data,), _ = deflate_whole([text], using)
    return data
