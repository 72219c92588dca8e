"""Ordered record batches cut into runs: the rows of one channel and period, one run after the other, none held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from export_engine.schema import ROW_SCHEMA

__all__ = ["CHANNEL", "LAKE_COLUMNS", "LAKE_SCHEMA", "Run", "decoded", "runs"]

#: A lake's rows: whose channel's and in which period of the plan (its number) they are, and the row itself.
LAKE_SCHEMA = pa.schema(
    [
        pa.field("channel_id", pa.string(), nullable=False),
        pa.field("channel_name", pa.string()),
        pa.field("channel_phone", pa.string()),
        pa.field("period", pa.int64(), nullable=False),
        *ROW_SCHEMA,
    ]
)

#: The columns that a lake may have: all but the period, which the plan tells.
LAKE_COLUMNS = tuple(name for name in LAKE_SCHEMA.names if name != "period")
#: What a row says of its channel.
CHANNEL = ("channel_id", "channel_name", "channel_phone")
_KEYS = (*CHANNEL, "period")


@dataclass(slots=True)
class Run:
    """The rows of one channel and period, to be read once; what is not read is passed over."""

    channel_id: str
    channel_name: str | None
    channel_phone: str | None
    period: int
    batches: Iterator[pa.RecordBatch] = field(repr=False)


def runs(batches: Iterable[pa.RecordBatch]) -> Iterator[Run]:
    """Cut batches of `LAKE_SCHEMA`, whatever the encoding of their columns, where channel or period change.

    A run ends where the next one's first row stands: two runs with the same key are two runs. The channel's name and
    phone are those of the run's first row.
    """
    rest = _Rest(iter(batches))
    while (batch := rest.peek()) is not None:
        row = {name: batch.column(name)[0].as_py() for name in _KEYS if name in batch.schema.names}
        channel_id, period = row["channel_id"], row["period"]
        rows = rest.same(channel_id, period)
        yield Run(channel_id, row.get("channel_name"), row.get("channel_phone"), period, rows)
        for _ in rows:  # what nobody wanted
            pass


class _Rest:
    """What has not been handed out yet."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._held: pa.RecordBatch | None = None

    def peek(self) -> pa.RecordBatch | None:
        """The next rows, without taking them; None at the end."""
        while self._held is None or not self._held.num_rows:
            batch = next(self._batches, None)
            if batch is None:
                return None
            self._held = batch
        return self._held

    def same(self, channel_id: str, period: int) -> Iterator[pa.RecordBatch]:
        """Take the rows of a key, as far as they stand together."""
        while (batch := self.peek()) is not None:
            alike = pc.and_(
                pc.equal(decoded(batch.column("channel_id")), pa.scalar(channel_id, pa.string())),
                pc.equal(decoded(batch.column("period")), pa.scalar(period, pa.int64())),
            )
            stop = pc.index(alike, False).as_py()
            if not stop:
                return
            count = batch.num_rows if stop < 0 else stop
            self._held = batch.slice(count)
            yield batch.slice(0, count)


def decoded(column: pa.Array) -> pa.Array:
    """A column as plain values, for comparing."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    return column.cast(pa.int64() if pa.types.is_integer(column.type) else pa.string())
