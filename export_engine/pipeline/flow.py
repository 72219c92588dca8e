"""From groups of rows to the archive's bytes: a bounded window of tasks, left strictly in the order of the source.

A group of whole conversations is one task and one event: its members are written when it is the oldest. A conversation
too long for a group takes two rounds: its rows are rendered, a run of rows a task; then its CSV is cut, and each
piece is a task again. That is why there are two queues, `_planned` for what is to be turned into events, `_events` for
what is to be written in its turn.

The window is bounded by the bytes of what is in it. What is oldest leaves as soon as it is done, and is waited for when
the window is full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa

from export_engine.pipeline.grouping import Group, groups
from export_engine.pipeline.long import LongConversation, Piece
from export_engine.pipeline.members import MemberSpec, Rendered, build, render_rows
from export_engine.pipeline.sets import Cut
from export_engine.pipeline.workers import Workers
from export_engine.pipeline.writer import Event, WholeMembers, Writer
from export_engine.schema import MAX_BATCH_BYTES, MAX_BATCH_ROWS

__all__ = ["Pipeline"]


#: How many groups, about, are in the window besides one a thread: they wait for a thread, so that none stands idle
#: while the consumer's is at work.
_SPARE = 4

#: What a row weighs in the window besides its own bytes: times, quotes, commas, and its part of what is made of it.
_ROW_WEIGHT = 256


class Pipeline:
    """One archive in the making, on `threads` workers; `max_rows` and `max_bytes` bound a group (see `groups`)."""

    def __init__(
        self,
        spec: MemberSpec,
        workers: Workers,
        writer: Writer,
        threads: int,
        *,
        max_rows: int = MAX_BATCH_ROWS,
        max_bytes: int = MAX_BATCH_BYTES,
    ) -> None:
        self._spec = spec
        self._workers = workers
        self._writer = writer
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._read = 0
        # Each with whether it has to wait for a task.
        self._planned: deque[tuple[Callable[[], Iterable[Event]], bool]] = deque()
        self._events: deque[Event] = deque()
        self._weight = 0
        # A task of an only thread runs when its result is asked for: a window would hold work, not get it done.
        self._ahead, self._room = (0, 0) if threads == 1 else (threads, (threads + _SPARE) * max_bytes)
        self._long: LongConversation

    def chunks(self, batches: Iterator[pa.RecordBatch]) -> Iterator[bytes | Cut]:
        """The whole archive, from the rows of a source; of a set each, with a cut between one and the next."""
        yield from self.chunks_of(groups(batches, self._max_rows, self._max_bytes))

    def chunks_of(self, made: Iterable[Group]) -> Iterator[bytes | Cut]:
        """The same from groups that were made with this pipeline's bounds."""
        for group in made:
            self._read += group.batch.num_rows
            self._admit(group)
            self._plan(self._ahead)
            yield from self._write(self._room)
        self._plan(0)
        yield from self._write(0)
        yield from self._writer.archives.finish()
        self._writer.tell(self._read)

    def _admit(self, group: Group) -> None:
        """Start a group's task and note what follows from it, behind all that was admitted before."""
        size = group.batch.nbytes + _ROW_WEIGHT * group.batch.num_rows
        if not group.whole:
            self._admit_rows(group)
        elif 3 * size > self._spec.member_limit:
            # A member could overflow: each conversation takes the way on which it can be split.
            for start, stop in zip(group.bounds[:-1].tolist(), group.bounds[1:].tolist(), strict=True):
                rows = group.batch.slice(start, stop - start)
                self._admit_rows(Group(rows, np.array([0, stop - start]), group.before + start))
        else:
            whole = WholeMembers(self._workers.submit(build, self._spec, group), size)
            self._planned.append((lambda: (whole,), False))

    def _admit_rows(self, group: Group) -> None:
        """The same for rows of one conversation."""
        task = self._workers.submit(render_rows, self._spec, group)
        self._planned.append((partial(self._cut, group, task), True))

    def _cut(self, group: Group, task: Callable[[], Rendered]) -> Iterator[Event]:
        if group.begins:
            self._long = LongConversation(self._spec, self._workers)
        yield from self._long.add(group, task())
        if group.ends:
            yield from self._long.end()

    def _plan(self, ahead: int) -> None:
        """Turn tasks into events, leaving at most `ahead` from the first that has to be waited for."""
        while self._planned and (len(self._planned) > ahead or not self._planned[0][1]):
            planned, _ = self._planned.popleft()
            for event in planned():
                self._events.append(event)
                self._weight += _weight(event)

    def _write(self, room: int) -> Iterator[bytes | Cut]:
        """Have events written, oldest first: what is done, and the rest until at most `room` bytes of work are left."""
        while self._events and (self._weight > room or not room or _is_done(self._events[0])):
            event = self._events.popleft()
            self._weight -= _weight(event)
            yield from filter(None, self._writer.write(event))
            self._writer.tell(self._read)


def _is_done(event: Event) -> bool:
    """Whether nothing has to be waited for to write an event."""
    match event:
        case WholeMembers():
            return event.built.done()
        case Piece():
            return event.deflated.done()
        case _:
            return True


def _weight(event: Event) -> int:
    """The bytes of work that an event stands for."""
    match event:
        case WholeMembers():
            return event.weight
        case Piece():
            return event.csv_bytes
        case _:
            return 0
