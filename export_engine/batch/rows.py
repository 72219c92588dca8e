"""A run's rows as an export's source: counted, of one channel, and named in errors by what can be found in a lake."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from export_engine.batch.runs import Run, decoded
from export_engine.errors import RowError, SourceError
from export_engine.schema import ROW_SCHEMA
from export_engine.sources import SourceContext
from export_engine.sources.distinct import distinct
from export_engine.sources.tables import normalised, numbered
from export_engine.times import instant

__all__ = ["RunRows"]


class RunRows:
    """The rows of a run, to be read once.

    `count` are those that were read, `given` those that were handed on: fewer where `dedupe` makes one row of those
    that are alike. `first` and `last` are the span of their times (aware), None while there are none.
    """

    def __init__(self, run: Run, batches: Iterable[pa.RecordBatch], *, dedupe: bool = False) -> None:
        self._run = run
        self._batches = iter(batches)
        self._dedupe = dedupe
        self._now: pa.RecordBatch | None = None
        self.count = self.given = 0
        self.first: datetime | None = None
        self.last: datetime | None = None

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        """The rows in `ROW_SCHEMA`.

        Raises SourceError for a second name or phone number of the channel, and RowError, which knows its message's
        time, for a value that breaks a rule.
        """
        context.is_csv = True  # perhaps: what the lake's files are is not known here
        first = next(self._batches, None)
        if first is None:
            return
        names = [name for name in first.schema.names if name in ROW_SCHEMA.names]
        narrow = (batch.select(names) for batch in self._of_one_channel(first))
        read = self._counted(normalised(first.select(names).schema, numbered(narrow), context))
        try:
            for batch in distinct(read) if self._dedupe else read:
                self.given += batch.num_rows
                yield batch
        except RowError as error:
            with suppress(UnicodeDecodeError):  # what else is wrong must not hide what was found first
                error.time = None if error.column == "message_time" else self._time_of(error)
            raise

    def _of_one_channel(self, first: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        for batch in chain([first], self._batches):
            self._now = batch
            self._check_channel(batch)
            yield batch

    def _check_channel(self, batch: pa.RecordBatch) -> None:
        """Raise SourceError for a row that says another name or phone number of the channel than the run's first."""
        for name, said in (("channel_name", self._run.channel_name), ("channel_phone", self._run.channel_phone)):
            if name not in batch.schema.names:
                continue
            column = decoded(batch.column(name))
            other = column.is_valid() if said is None else pc.fill_null(pc.not_equal(column, said), True)
            at = pc.index(other, True).as_py()
            if at >= 0:
                place = [f"{kind} {batch.column(f'{kind}_id')[at].as_py()!r}" for kind in ("conversation", "message")]
                raise SourceError(
                    f"its rows have both {said!r} and {column[at].as_py()!r} as {name}, the latter first in "
                    f"{', '.join(place)}: give all rows of an archive the same, such as that of its latest message"
                )

    def _counted(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            us = batch.column("message_time").cast(pa.int64()).drop_null().to_numpy()
            self.count += batch.num_rows
            if len(us):
                first, last = instant(int(us.min())), instant(int(us.max()))
                self.first = first if self.first is None else min(self.first, first)
                self.last = last if self.last is None else max(self.last, last)
            yield batch

    def _time_of(self, error: RowError) -> str | None:
        """The time of an error's message, as its row has it; None where its ids do not tell which that is."""
        assert self._now is not None  # noqa: S101  # it is of one of its rows
        ids = (self._now.column(name).to_pylist() for name in ("conversation_id", "message_id"))
        for at, (conversation, message) in enumerate(zip(*ids, strict=True)):
            if (str(conversation), str(message)) == (error.conversation_id, error.message_id):
                time: str | None = self._now.column("message_time").slice(at, 1).cast(pa.string())[0].as_py()
                return time
        return None
