"""Which rows and conversations of a group are exported, and whether they are valid.

A row is exported when the day it shows, in the export's time zone, lies in the date range; a conversation when it has
such a row. With `Selection.by_creation` a conversation is exported whole when it was created in the range. A row
without a message id stands for a conversation without messages: it is exported, as a CSV with only the header, when
it was created in the range.

A conversation was created when the `created_at` of its rows says, which all say the same, exported or not: two that
differ, or one that is null beside one that is not, are an error. (A null cannot be taken for what a later row says: a
long conversation is named before its end is read, and what is an error must not depend on how long it is, nor on where
batches end.) Where all are null, it was created at its earliest
message, whatever the order of its rows and whether they are exported. Of a group that is not whole that cannot be
known: `earlier` gives what it adds, and whoever puts the groups together decides (see `pipeline.long`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_engine.errors import RowError
from export_engine.model import DateRange
from export_engine.pipeline.cells import words
from export_engine.pipeline.grouping import Group
from export_engine.schema import COLUMN_NAMES, CREATED_AT, DIRECTIONS, ROW_SCHEMA, SPEAKER_TYPES
from export_engine.times import DAY, EPOCH, MAX_US, instant, utc_offsets

__all__ = [
    "BrokenRule",
    "Earlier",
    "Selected",
    "Selection",
    "broken_rules",
    "check",
    "check_creation",
    "contradiction",
    "contradictions",
    "earlier",
    "given_creation",
    "select",
    "selection",
]

_MESSAGE_ID, _CONVERSATION_ID, _NAME, _PHONE, _DIRECTION, _SPEAKER, _TIME, _ACCOUNT = map(
    COLUMN_NAMES.index,
    (
        "message_id",
        "conversation_id",
        "contact_name",
        "contact_phone",
        "direction",
        "speaker_type",
        "message_time",
        "sender_account",
    ),
)
_CREATED = ROW_SCHEMA.get_field_index(CREATED_AT)

#: Later than any time there is: what stands where there is no message.
_NEVER = MAX_US + 1


@dataclass(frozen=True, slots=True)
class Selection:
    """The date range in local microseconds since 1970, the end excluded, and what it is held against."""

    zone: tzinfo
    start: int
    end: int
    by_creation: bool

    def covers(self, local: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each local time lies in the range."""
        return (local >= self.start) & (local < self.end)

    def local(self, us: int) -> int:
        """Local microseconds of a UTC time."""
        return us + int(utc_offsets(np.array([us]), self.zone)[0])

    def created_within(self, us: int) -> bool:
        """Whether a conversation created at a UTC time is exported where the range goes by creation."""
        return self.start <= self.local(us) < self.end

    def is_past(self, us: int) -> bool:
        """Whether a UTC time is earlier than the range: no earlier one can be in it."""
        return self.local(us) < self.start


def selection(days: DateRange, zone: tzinfo, *, by_creation: bool) -> Selection:
    """The selection of whole local days, both ends included."""
    start, end = ((day - EPOCH.date()).days * DAY for day in (days.start, days.end))
    return Selection(zone, start, end + DAY, by_creation)


@dataclass(frozen=True, slots=True)
class Selected:
    """What of a group is exported: its rows, and its conversations as parallel arrays.

    `wanted` tells which of the group's rows they are. `us` and `offsets` are their times as UTC microseconds and their
    distance from UTC (one for all where it is the same). `bounds` are row numbers as in `Group`. `begins` are the rows
    of the group with which the conversations begin, `facts` the columns that those say of them: ids, contacts' names
    and phones. `created` is local. `first` and `last` are UTC microseconds, meaningless where a conversation has no
    rows.
    """

    batch: pa.RecordBatch
    wanted: NDArray[np.bool_]
    us: NDArray[np.int64]
    offsets: NDArray[np.int64]
    bounds: NDArray[np.int64]
    begins: NDArray[np.int64]
    facts: tuple[pa.Array, pa.Array, pa.Array]
    created: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    @property
    def ids(self) -> list[str]:
        """The conversations' ids, made when they are asked for, as are names and phones."""
        return self._said(0)

    @property
    def names(self) -> list[str | None]:
        """The contacts' names."""
        return self._said(1)

    @property
    def phones(self) -> list[str | None]:
        """The contacts' phone numbers."""
        return self._said(2)

    def _said(self, which: int) -> list[Any]:
        # Several times as fast as `to_pylist`.
        values: list[Any] = self.facts[which].take(pa.array(self.begins)).to_numpy(zero_copy_only=False).tolist()
        return values


def select(group: Group, which: Selection) -> Selected:
    """Take what is exported from a group; `check` holds it against the rules.

    Of a group that is not whole, the conversation is always taken, be it with no rows, and `created` is meaningless
    unless its rows say so. With `by_creation` all its rows are taken unless they show that none is
    wanted: the caller knows when it was created, or will.
    """
    batch, starts = group.batch, group.bounds[:-1]
    us = _microseconds(batch.column(_TIME))
    real = _real(batch)
    created = _created(batch, us, starts, real)
    offsets = utc_offsets(us, which.zone)
    local_created = created + utc_offsets(created, which.zone)
    born = which.covers(local_created)
    counts = np.diff(group.bounds)
    wanted = _wanted(group, us + offsets, np.repeat(born, counts), which)
    if real is not None:
        wanted &= real
    rows = counts if wanted.all() else np.add.reduceat(wanted, starts, dtype=np.int64)
    kept = rows > 0
    if real is not None:
        kept |= born & ~np.logical_or.reduceat(real, starts)
    if not group.whole:
        kept[:] = True
    if rows is not counts:
        batch, us = batch.filter(pa.array(wanted)), us[wanted]
        offsets = offsets if len(offsets) == 1 else offsets[wanted]
    facts = tuple(map(group.batch.column, (_CONVERSATION_ID, _NAME, _PHONE)))
    bounds = np.concatenate((np.zeros(1, np.int64), np.cumsum(rows[kept])))
    first, last = _extent(us, bounds)
    return Selected(batch, wanted, us, offsets, bounds, starts[kept], facts, local_created[kept], first, last)


def _microseconds(column: pa.Array) -> NDArray[np.int64]:
    """The values of a timestamp column, without a copy where none is null; nulls are 1970."""
    if column.null_count:
        column = column.fill_null(0)
    data = column.buffers()[1]
    return np.frombuffer(data, np.int64, len(column), 8 * column.offset)


def given_creation(group: Group) -> int | None:
    """When the rows of the only conversation say that it was created (UTC microseconds), None where they do not."""
    column = group.batch.column(_CREATED)
    return int(_microseconds(column)[0]) if column[0].is_valid else None


def contradictions(group: Group) -> NDArray[np.int64]:
    """The rows whose `created_at` is another than that of the row before, which is of the same conversation."""
    column = group.batch.column(_CREATED)
    if column.null_count == len(column):
        return np.zeros(0, np.int64)
    us = _microseconds(column)
    differ = us[1:] != us[:-1]
    if column.null_count:
        said = column.is_valid().to_numpy(zero_copy_only=False)
        differ |= said[1:] != said[:-1]
    differ[group.bounds[1:-1] - 1] = False
    return np.flatnonzero(differ) + 1


_ONE_CREATION = (
    'give all rows of a conversation the same (--sort --map "created_at=min(created_at) OVER (PARTITION BY '
    'conversation_id)", or so in a query), or none any (--map created_at=NULL): then it is that of the earliest message'
)


def contradiction(group: Group, row: int, before: int | None) -> RowError:
    """The error of a row of a group, where the row before it has the `created_at` that is `before`."""
    batch, number = group.batch, group.before + row + 1
    now = batch.column(_CREATED)[row]
    values = [None if us is None else instant(us) for us in (now.value, before)]
    shown = ["null" if value is None else value.isoformat() for value in values]
    return RowError(
        f"is {shown[0]}, and {shown[1]} in row {number - 1}, of the same conversation",
        column=CREATED_AT,
        value=values[0],
        conversation_id=batch.column(_CONVERSATION_ID)[row].as_py(),
        message_id=batch.column(_MESSAGE_ID)[row].as_py(),
        row=number,
        advice=_ONE_CREATION,
        rule="is not the same in all rows of a conversation",
    )


def check_creation(group: Group) -> None:
    """Raise RowError for the first row that says another `created_at` than the row before."""
    rows = contradictions(group)
    if len(rows):
        row = int(rows[0])
        raise contradiction(group, row, group.batch.column(_CREATED)[row - 1].value)


@dataclass(frozen=True, slots=True)
class Earlier:
    """The messages of one conversation that are earlier than all before them in their group, in order.

    `us` are their times (UTC microseconds, falling), `rows` their numbers in the group, `wanted` tells which are
    exported, and `after` how many exported rows stand before each.
    """

    us: NDArray[np.int64]
    rows: NDArray[np.int64]
    wanted: NDArray[np.bool_]
    after: NDArray[np.int64]


def earlier(group: Group, selected: Selected) -> Earlier:
    """What a group adds to what is known of the earliest message of its only conversation."""
    us = _microseconds(group.batch.column(_TIME))
    real = _real(group.batch)
    if real is not None:
        us = np.where(real, us, _NEVER)
    if us[0] != _NEVER and us.min() == us[0]:  # nearly always: messages come in the order of their times
        rows, after = np.zeros((2, 1), np.int64)
    else:
        before = np.concatenate((np.full(1, _NEVER), np.minimum.accumulate(us[:-1])))
        rows = np.flatnonzero(us < before)
        after = np.cumsum(selected.wanted)[rows] - selected.wanted[rows]
    return Earlier(us[rows], rows, selected.wanted[rows], after)


def _created(
    batch: pa.RecordBatch, us: NDArray[np.int64], starts: NDArray[np.int64], real: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """When each conversation was created: as its rows say, else at its earliest message."""
    column = batch.column(_CREATED)
    given = _microseconds(column)[starts]
    if not column.null_count:
        return given
    earliest = np.minimum.reduceat(us if real is None else np.where(real, us, MAX_US), starts)
    if column.null_count == len(column):
        return earliest
    return np.where(column.is_null().to_numpy(zero_copy_only=False)[starts], earliest, given)


def _wanted(group: Group, local: NDArray[np.int64], born: NDArray[np.bool_], which: Selection) -> NDArray[np.bool_]:
    """Whether each row is exported, as far as the range goes."""
    if not which.by_creation:
        return which.covers(local)
    known = group.whole or (group.begins and given_creation(group) is not None)
    return born if known else np.ones(len(local), np.bool_)


def _real(batch: pa.RecordBatch) -> NDArray[np.bool_] | None:
    """Which rows are messages; None where all are."""
    ids = batch.column(_MESSAGE_ID)
    return ids.is_valid().to_numpy(zero_copy_only=False) if ids.null_count else None


def _extent(us: NDArray[np.int64], bounds: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The earliest and latest time of each conversation."""
    first, last = np.zeros((2, len(bounds) - 1), np.int64)
    filled = bounds[:-1] < bounds[1:]
    if filled.any():
        first[filled] = np.minimum.reduceat(us, bounds[:-1][filled])
        last[filled] = np.maximum.reduceat(us, bounds[:-1][filled])
    return first, last


# --- rules on values -----------------------------------------------------------------------------------------------


def check(group: Group, selected: Selected) -> None:
    """Hold a group's exported rows against the rules of the seed's column table.

    Raises RowError for the first direction, else speaker type, else sender account that breaks its rule.
    """
    for broken in broken_rules(selected.batch):
        row = pc.index(broken.wrong, True).as_py()
        raise broken.error(selected.batch, row, group.before + int(np.flatnonzero(selected.wanted)[row]) + 1)


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """A rule that some exported rows break: on the column `index`, by the rows that are `wrong`."""

    index: int
    wrong: pa.Array
    problem: str
    advice: str

    def error(self, batch: pa.RecordBatch, row: int, number: int) -> RowError:
        """The error of one of them, which is the source's row `number`."""
        value = batch.column(self.index)[row].as_py()
        time = batch.column(_TIME)[row].value
        return RowError(
            f"{value!r} {self.problem}",
            column=COLUMN_NAMES[self.index],
            value=value,
            conversation_id=batch.column(_CONVERSATION_ID)[row].as_py(),
            message_id=batch.column(_MESSAGE_ID)[row].as_py(),
            row=number,
            time=None if time is None else instant(time),  # a time that is broken too is told by itself
            advice=self.advice,
            rule=self.problem,
        )


def broken_rules(batch: pa.RecordBatch) -> Iterator[BrokenRule]:
    """The rules that exported rows break, in the order of the columns."""
    for index, allowed in ((_DIRECTION, DIRECTIONS), (_SPEAKER, SPEAKER_TYPES)):
        spoken = words(batch.column(index), allowed)
        wrong = spoken == len(allowed)
        if wrong.any():
            problem = "is not one of " + ", ".join(allowed)
            yield BrokenRule(index, pa.array(wrong), problem, "map your own values to these")
    account = batch.column(_ACCOUNT)
    stray = pc.and_(account.is_valid(), pa.array(spoken != SPEAKER_TYPES.index("agent")))
    if stray.true_count:
        stray = pc.and_(stray, pc.greater(pc.binary_length(account), 0))
        if stray.true_count:
            problem, advice = "is set on a message that no human agent sent", "set it to null for bots and customers"
            yield BrokenRule(_ACCOUNT, stray, problem, advice)
