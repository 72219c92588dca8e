"""From groups of rows to the archive's bytes: a bounded window of tasks, left strictly in the order of the source.

A group of whole conversations is one task and one step: its members are written when it is the oldest. A conversation
too long for a group takes two rounds: its rows are rendered, a run of rows a task; then its CSV is cut, and each
piece is a task again. That is why there are two queues, `_planned` for what is to be turned into steps, `_steps` for
what is to be written in its turn.

The window is bounded by the bytes of what is in it. The first chunk leaves when it is full, or at the end of the
source.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa

from export_engine.pipeline import long
from export_engine.pipeline.grouping import Group, groups
from export_engine.pipeline.long import LongConversation, Step
from export_engine.pipeline.members import MemberBatch, MemberSpec, Rendered, build, render_rows
from export_engine.pipeline.workers import Workers
from export_engine.pipeline.writer import Writer
from export_engine.schema import MAX_BATCH_BYTES

__all__ = ["Pipeline"]


#: What a row weighs in the window besides its own bytes: times, quotes, commas, and its part of what is made of it.
_ROW_WEIGHT = 256


class Pipeline:
    """One archive in the making, on `threads` workers."""

    def __init__(self, spec: MemberSpec, workers: Workers, writer: Writer, threads: int) -> None:
        self._recipe = spec
        self._workers = workers
        self._writer = writer
        self._read = 0
        # Each with whether it has to wait for a task.
        self._planned: deque[tuple[Callable[[], None], bool]] = deque()
        self._steps: deque[tuple[Step, int]] = deque()
        self._weight = 0
        # A task of an only thread runs when its result is asked for: a window would hold work, not get it done.
        self._ahead, self._room = (0, 0) if threads == 1 else (threads, (threads + 2) * MAX_BATCH_BYTES)
        self._long: LongConversation | None = None

    def chunks(self, batches: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
        """The whole archive, from the rows of a source."""
        for group in groups(batches):
            self._read += group.batch.num_rows
            self._admit(group)
            self._plan(self._ahead)
            yield from self._write(self._room)
        self._plan(0)
        yield from self._write(0)
        yield from self._writer.archive.finish()
        self._writer.tell(self._read)

    def _admit(self, group: Group) -> None:
        """Start a group's task and note what follows from it, behind all that was admitted before."""
        size = group.batch.nbytes + _ROW_WEIGHT * group.batch.num_rows
        if not group.whole:
            self._admit_rows(group)
        elif 3 * size > long.MEMBER_LIMIT:
            # A member could overflow: each conversation takes the way on which it can be split.
            for start, stop in zip(group.bounds[:-1].tolist(), group.bounds[1:].tolist(), strict=True):
                rows = group.batch.slice(start, stop - start)
                self._admit_rows(Group(rows, np.array([0, stop - start]), group.before + start))
        else:
            task = self._workers.submit(build, self._recipe, group)
            self._planned.append((partial(self._queue, partial(_write_group, self._writer, task), size), False))

    def _admit_rows(self, group: Group) -> None:
        """The same for rows of one conversation."""
        task = self._workers.submit(render_rows, self._recipe, group)
        self._planned.append((partial(self._cut, group, task), True))

    def _cut(self, group: Group, task: Callable[[], Rendered]) -> None:
        if group.begins or self._long is None:
            self._long = LongConversation(self._recipe, self._workers, self._writer, self._queue, group)
        self._long.feed(group, task())
        if group.ends:
            self._long.end()

    def _plan(self, ahead: int) -> None:
        """Turn tasks into steps, leaving at most `ahead` from the first that has to be waited for."""
        while self._planned and (len(self._planned) > ahead or not self._planned[0][1]):
            planning, _ = self._planned.popleft()
            planning()

    def _queue(self, step: Step, size: int) -> None:
        self._steps.append((step, size))
        self._weight += size

    def _write(self, room: int) -> Iterator[bytes]:
        """Take steps, oldest first, until at most `room` bytes of work are left."""
        while self._steps and (self._weight > room or not room):
            step, size = self._steps.popleft()
            self._weight -= size
            yield from filter(None, step())
            self._writer.tell(self._read)


def _write_group(writer: Writer, task: Callable[[], MemberBatch]) -> Iterator[bytes]:
    return writer.write_group(task())
