"""A lake in DuckDB: counted by channel and period, then its rows in order.

One pass counts: the rows and the span of each channel and period, what has no time or no id and would vanish, what lies
outside all periods, and where the rows of an archive give their channel several names. Where rows do not say when their
conversation was created, another gives each the time of its first message in the whole lake, so that a name does not
depend on the period.

DuckDB tells times only to sort and to count by them: the core reads each row's own, by the rules of every source. Where
the two would disagree about a period, the archive is not made. Clocks are read by the same zone data in both: DuckDB's
own may be of another year, and mean the second of an hour that comes twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from export_engine.batch.lake import Lake
from export_engine.batch.plan import BatchPlan
from export_engine.batch.receipts import ArchiveResult, Counted, kept_already, several
from export_engine.batch.runs import CHANNEL, LAKE_COLUMNS
from export_engine.batch.target import open_target
from export_engine.errors import OptionError, SchemaError, SourceError
from export_engine.model import DateRange
from export_engine.options import Epoch
from export_engine.schema import ROW_SCHEMA
from export_engine.sources import SourceContext
from export_engine.sources.duck import check_query, query_errors, selected, told
from export_engine.sources.mapping import MappedFormat, mapped_query
from export_engine.sources.tables import normalised
from export_engine.times import DAY, MAX_US, MIN_US, instant, local_offsets, utc_offsets

if TYPE_CHECKING:
    import duckdb

__all__ = ["CountedLake", "LakeCounts"]

_IDS = ("channel_id", "conversation_id", "message_id")
#: What a row gets from its channel, its conversation and its message, as text, and when it was sent.
_SORT = ("channel", "period", "conversation", "sent", "message")
#: Those that no row may lack, by what they are called in a lake.
_TYPED = {"channel_id": "channel", "conversation_id": "conversation", "message_id": "message", "message_time": "sent"}
_EPOCH = date(1970, 1, 1)
#: Microseconds in a unit of a number that is a time.
_UNITS = {"s": "1000000", "ms": "1000", "us": "1", "ns": "0.001"}
#: In these the changes of clocks are told to DuckDB; whose messages have times of other years has wrong ones.
_YEARS = range(1970, 2071)
#: The microseconds of what is no time.
_NONE = "NULL::BIGINT"


@dataclass(frozen=True, slots=True)
class LakeCounts:
    """What there is: the rows of each archive, what its receipts say of those that are there, and rows in no period.

    `plan` is the one that was given; where its range is open, it ends here on the day of the lake's last message.
    `ignored_columns` are those of the lake that nothing is known of.
    """

    archives: tuple[Counted, ...]
    there: tuple[ArchiveResult, ...]
    outside: int
    plan: BatchPlan
    ignored_columns: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """All rows that lie in a period."""
        return sum(archive.rows for archive in self.archives)


@dataclass(frozen=True, slots=True)
class _Time:
    """A column of times as SQL: microseconds since 1970, of those without an offset by their own clocks, else null."""

    utc: str = _NONE
    local: str = _NONE


class CountedLake:
    """A lake that has been counted.

    What follows is put together of the caller's own query and of names of this package; values are bound.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, lake: Lake, plan: BatchPlan) -> None:
        open_target(plan.target).check()
        self._connection = connection
        self._parameters = dict(lake.parameters)
        self._schema, ignored = _schema(connection, lake, plan)
        self._names = self._schema.names
        self._said = [name for name in CHANNEL[1:] if name in self._names]
        self._channels = lake.channels is not None
        if lake.channels is not None:
            _load_channels(connection, os.fspath(lake.channels))
        sent, own = (self._time(name, plan.options.epoch) for name in ("message_time", "created_at"))
        self._typed = (
            'SELECT lake."channel_id"::VARCHAR AS channel, lake."conversation_id"::VARCHAR AS conversation, '  # noqa: S608  # see above
            f'lake."message_id"::VARCHAR AS message, {", ".join(map(self._given, self._names))}, '
            f"{sent.utc} AS sent_utc, {sent.local} AS sent_local, {own.utc} AS own_utc, {own.local} AS own_local "
            f"FROM ({lake.query}\n) AS lake"
        )
        # Computed below, and used here: an expression that stands in another a hundred times is not computed as often.
        instants = ", ".join(_instant(name, time, plan.options.tzinfo) for name, time in (("sent", sent), ("own", own)))
        self._typed = f"SELECT * EXCLUDE (sent_utc, sent_local, own_utc, own_local), {instants} FROM ({self._typed})"  # noqa: S608  # the same
        born = self._creation()
        when = born if plan.options.range_by == "created_at" else "sent"
        typed = f"({self._typed}) AS typed"
        if born != "own":
            typed += " LEFT JOIN created USING (channel, conversation)"
        plan = self._closed(plan, f"SELECT epoch_us(min({when})), epoch_us(max({when})) FROM {typed}")  # noqa: S608  # see above
        self._rows = f"SELECT *, {born} AS born, {_period(when, plan.breaks())} AS period FROM {typed}"  # noqa: S608  # the same
        counted, outside = self._count(plan)
        there = kept_already(counted, plan)
        self._keep(plan, counted, there)
        self.counts = LakeCounts(tuple(counted), tuple(there), outside, plan, lake.ignored_columns + ignored)

    def ordered(self) -> Iterator[pa.RecordBatch]:
        """The rows of the archives that are not there yet, as the core wants them."""
        own = {name: f"found.{_quoted(name)}" for name in self._names} | {"channel_id": "channel", "created_at": "born"}
        join = ""
        if self._mixed:
            join += " LEFT JOIN latest USING (channel, period)"
            own |= {name: f"coalesce(latest.{name}, {own[name]})" for name in self._said}
        if self._channels:
            join += " LEFT JOIN channels ON channels.id = found.channel"
            own |= {name: f"coalesce(channels.{name}, {own.get(name, 'NULL')})" for name in CHANNEL[1:]}
        columns = ", ".join(f"{own[name]} AS {_quoted(name)}" for name in LAKE_COLUMNS if name in own)
        # Last all the others: the same rows are in the same order, however they were spread over the files.
        rest = [_quoted(name) for name in ROW_SCHEMA.names if name in self._names and name not in _IDS]
        query = (
            f"SELECT {columns}, period FROM ({self._rows}) AS found SEMI JOIN wanted USING (channel, period){join} "  # noqa: S608  # see above
            f"ORDER BY {', '.join(f'found.{name}' for name in (*_SORT, *rest))}"
        )
        with selected(self._connection, query, self._parameters) as reader:
            yield from told(iter(reader))

    def _given(self, name: str) -> str:
        """A column as it is, but for the channel's name and phone number: text there, and null where it is empty."""
        return f"nullif(lake.{name}::VARCHAR, '') AS {name}" if name in self._said else f"lake.{_quoted(name)}"

    def _time(self, name: str, epoch: Epoch | None) -> _Time:
        """A time column as microseconds, cut as everywhere: DuckDB would round nanoseconds."""
        if name not in self._names:
            return _Time()
        column, type_ = f"lake.{_quoted(name)}", self._schema.field(name).type
        if pa.types.is_timestamp(type_):
            us = f"epoch_us({column})"
            if type_.unit == "ns":
                us = f"(epoch_ns({column}) - (epoch_ns({column}) % 1000 + 1000) % 1000) // 1000"
            return _Time(utc=us) if type_.tz else _Time(local=us)
        number = _NONE
        if epoch is not None:
            us = f"floor(TRY_CAST({column} AS DECIMAL(28, 9)) * {_UNITS[epoch]})"
            number = f"CASE WHEN {us} BETWEEN {MIN_US} AND {MAX_US} THEN {us}::BIGINT END"
        if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
            return _Time(utc=number)
        if not (pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)):
            return _Time(utc=number, local=f"epoch_us(TRY_CAST({column} AS TIMESTAMP))")
        text = _duck_time(column)
        has_offset = f"regexp_matches({text}, ':[0-9.]+[+-][0-9:]+$')"
        return _Time(
            utc=f"coalesce(CASE WHEN {has_offset} THEN epoch_us(TRY_CAST({text} AS TIMESTAMPTZ)) END, {number})",
            local=f"CASE WHEN NOT {has_offset} THEN epoch_us(TRY_CAST({text} AS TIMESTAMP)) END",
        )

    def _creation(self) -> str:
        """The column that says when a row's conversation was created; where not all say it, a table is made for it.

        Rows that do not say it were created when others of their conversation say. Raises SourceError for two that
        differ: the conversation could be in two archives, and neither could tell.
        """
        if "created_at" not in self._names:
            self._query("CREATE TEMP TABLE created AS " + self._creations("min(sent) AS first"))
            return "created.first"
        differing = self._query(
            self._creations("min(own)::VARCHAR, max(own)::VARCHAR", "min(own) < max(own) ORDER BY ALL LIMIT 1")
        )
        if differing is not None:
            channel, conversation, first, last = differing
            raise SourceError(
                f"conversation {conversation!r} of channel {channel!r} has both {first} and {last} as created_at: give "
                "all its rows the same"
            )
        missing, unread = self._query(
            f"SELECT count(*) - count(own), count(created_at) - count(own) FROM ({self._typed}) AS typed"  # noqa: S608  # see above
        ) or (0, 0)
        if unread:
            first = self._first("created_at", "created_at IS NOT NULL AND own IS NULL")
            raise SourceError(
                f"{unread} rows have a created_at that cannot be read, the first {first}: mend them, or have it null "
                "where it is not known"
            )
        if not missing:
            return "own"
        self._query("CREATE TEMP TABLE created AS " + self._creations("coalesce(min(own), min(sent)) AS first"))
        return "created.first"

    def _creations(self, columns: str, having: str = "true") -> str:
        """Of each conversation some columns, where a condition holds."""
        return (
            f"SELECT channel, conversation, {columns} FROM ({self._typed}) AS typed "  # noqa: S608  # see above
            f"GROUP BY channel, conversation HAVING {having}"
        )

    def _first(self, name: str, condition: str) -> str:
        """Where the first row stands that is wrong in a column, and what it has there."""
        row = self._query(
            f"SELECT channel, conversation, message, {name}::VARCHAR FROM ({self._typed}) AS typed "  # noqa: S608  # see above
            f"WHERE {condition} ORDER BY ALL LIMIT 1"
        )
        *ids, value = row or (None,) * 4
        place = [
            f"{what} {id_!r}" for what, id_ in zip(("channel", "conversation", "message"), ids, strict=True) if id_
        ]
        return f"in {', '.join(place) or 'a row without ids'} ({'null' if value is None else repr(value)})"

    def _without(self, name: str, condition: str) -> str:
        """How rows are left out that have nothing in a column, or what is as good as nothing."""
        (said,) = self._query(f"SELECT count({name}) FROM ({self._typed}) AS typed WHERE {condition}") or (0,)  # noqa: S608  # see above
        if not said:
            return f"--where '{name} IS NOT NULL', or in the query"
        return "in the query" if name == "message_time" else f"--where \"{name} <> ''\", or in the query"

    def _query(self, query: str) -> tuple[Any, ...] | None:
        """The first row of what a query gives."""
        with query_errors():
            return self._connection.execute(query, self._parameters).fetchone()

    def _closed(self, plan: BatchPlan, span: str) -> BatchPlan:
        """The plan, an open end of its range put where the lake has its first or last time, in the plan's zone."""
        start, end = plan.date_range.start, plan.date_range.end
        if start > date.min and end < date.max:
            return plan
        found = self._query(span)
        if found is None or found[0] is None:  # there is nothing to export
            return replace(plan, date_range=DateRange(max(start, _EPOCH), max(start, _EPOCH)))
        us = np.array(found, np.int64)
        first, last = (_EPOCH + timedelta(int(day)) for day in (us + utc_offsets(us, plan.options.tzinfo)) // DAY)
        start, end = max(start, first), min(end, last)
        return replace(plan, date_range=DateRange(start, max(start, end)))

    def _count(self, plan: BatchPlan) -> tuple[list[Counted], int]:
        """The rows of each archive, and how many are in none. Raises SourceError for rows that would vanish."""
        named = "".join(f", count({name}), coalesce(min({name}) < max({name}), false)" for name in self._said)
        query = (
            "SELECT channel, period, count(*), count(nullif(channel, '')), count(nullif(conversation, '')), "  # noqa: S608  # see above
            f"count(nullif(message, '')), count(sent), epoch_us(min(sent)), epoch_us(max(sent)){named} "
            f"FROM ({self._rows}) AS found GROUP BY ALL ORDER BY ALL"
        )
        with query_errors():
            found = self._connection.execute(query, self._parameters).fetchall()
        for at, (name, key) in enumerate(_TYPED.items(), 3):
            if count := sum(row[2] - row[at] for row in found):
                condition = f"{key} IS NULL" if key == "sent" else f"nullif({key}, '') IS NULL"
                raise SourceError(
                    f"{count} rows have no {name}, or none that can be read, and would be in no archive, the first "
                    f"{self._first(name, condition)}: mend them, or leave them out ({self._without(name, condition)})"
                )
        inside = [row for row in found if row[1] >= 0]
        warnings = self._named(
            [
                row[:2]
                for row in inside
                if any(differ or 0 < count < row[2] for count, differ in zip(row[9::2], row[10::2], strict=True))
            ]
        )
        periods = plan.periods()
        counted = [
            Counted(channel, periods[number].name, rows, instant(first), instant(last), warnings.get((channel, number)))
            for channel, number, rows, _, _, _, _, first, last, *_ in inside
        ]
        return counted, sum(row[2] for row in found if row[1] < 0)

    def _named(self, mixed: Sequence[tuple[str, int]]) -> dict[tuple[str, int], str]:
        """Decide what the channel is called in archives whose rows differ in that, or do not all say it; the warnings.

        It is what the latest message says that says something: a channel that was renamed is called what it is now.
        """
        self._mixed = bool(mixed)
        if not mixed:
            return {}
        self._connection.register("mixed", _keys(mixed))
        columns = ", ".join(
            f"arg_max({name}, ROW(sent, message, conversation, {name})) FILTER ({name} IS NOT NULL) AS {name}, "
            f"list(DISTINCT {name}) FILTER ({name} IS NOT NULL) AS {name}s"
            for name in self._said
        )
        self._query(
            f"CREATE TEMP TABLE latest AS SELECT channel, period, {columns} FROM ({self._rows}) AS found "  # noqa: S608  # see above
            "SEMI JOIN mixed USING (channel, period) GROUP BY channel, period"
        )
        warnings: dict[tuple[str, int], str] = {}
        for name in self._said:
            unknown = f"NOT EXISTS (FROM channels WHERE id = channel AND channels.{name} IS NOT NULL)"
            found = self._connection.execute(
                f"SELECT channel, period, {name}, {name}s FROM latest WHERE len({name}s) > 1"  # noqa: S608  # names of ours
                f"{f' AND {unknown}' if self._channels else ''}"
            )
            for channel, number, latest, values in found.fetchall():
                said = several(name, values, latest)
                before = warnings.get((channel, number))
                warnings[channel, number] = said if before is None else f"{before}; {said}"
        return warnings

    def _keep(self, plan: BatchPlan, counted: list[Counted], there: list[ArchiveResult]) -> None:
        """A table of the archives that are still to be made."""
        numbers = {period.name: number for number, period in enumerate(plan.periods())}
        done = {(result.channel_id, result.period) for result in there}
        wanted = [(c.channel_id, numbers[c.period]) for c in counted if (c.channel_id, c.period) not in done]
        self._connection.register("wanted", _keys(wanted))


def _keys(keys: Sequence[tuple[str, int]]) -> pa.Table:
    """Channels and the numbers of periods, to be joined with."""
    channels, periods = zip(*keys, strict=True) if keys else ((), ())
    return pa.table({"channel": pa.array(channels, pa.string()), "period": pa.array(periods, pa.int64())})


def _schema(connection: duckdb.DuckDBPyConnection, lake: Lake, plan: BatchPlan) -> tuple[pa.Schema, tuple[str, ...]]:
    """The columns that are known here, with their types, and the names of the others.

    Raises SchemaError, as any source does, for what is amiss.
    """
    check_query(connection, lake.query, lake.parameters)
    nothing = f"SELECT * FROM ({lake.query}\n) LIMIT 0"  # noqa: S608  # the caller's own query
    with selected(connection, nothing, lake.parameters) as reader:
        schema: pa.Schema = reader.schema
    for _ in normalised(schema, (), SourceContext(plan.options.tzinfo, epoch=plan.options.epoch)):
        pass
    if "channel_id" not in schema.names:
        raise SchemaError(
            f"column 'channel_id' is missing; the columns are {', '.join(schema.names)}: name the one that says "
            "whose a message is",
            column="channel_id",
        )
    for name in (name for name in CHANNEL if name in schema.names):
        type_ = schema.field(name).type
        whole = pa.types.is_integer(type_) or (pa.types.is_decimal(type_) and type_.scale == 0)
        if not (whole or pa.types.is_string(type_) or pa.types.is_null(type_)):
            raise SchemaError(f"column {name!r} is {type_}: it must be text or a whole number; cast it", column=name)
    known = schema.empty_table().select([name for name in LAKE_COLUMNS if name in schema.names]).schema
    return known, tuple(name for name in schema.names if name not in LAKE_COLUMNS)


def _load_channels(connection: duckdb.DuckDBPyConnection, path: str) -> None:
    """A table of the channels' names and phone numbers. Raises OptionError for a file that cannot be it."""
    kinds: dict[str, MappedFormat] = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    format_ = kinds.get(Path(path).suffix.lower())
    if format_ is None:
        raise OptionError(f"{path} is to be a .parquet, .csv or .jsonl file", option="channels")
    try:
        query = mapped_query(connection, [path], format_, columns={}, more=CHANNEL)
        with selected(connection, f"SELECT * FROM ({query}\n) LIMIT 0", {"files": [path]}) as reader:  # noqa: S608  # names of ours
            names = reader.schema.names
    except (SchemaError, SourceError) as error:
        raise OptionError(f"{path} cannot be read: {error}", option="channels") from None
    if "channel_id" not in names or len({*names} & {*CHANNEL}) < 2:
        raise OptionError(
            f"{path} has the columns {', '.join(names)}: channel_id is needed, and channel_name or channel_phone",
            option="channels",
        )
    columns = ", ".join(
        f"{name}::VARCHAR AS {name}" if name in names else f"NULL::VARCHAR AS {name}" for name in CHANNEL[1:]
    )
    with query_errors():
        connection.execute(
            f"CREATE TEMP TABLE channels AS SELECT channel_id::VARCHAR AS id, {columns} FROM ({query}\n)",  # noqa: S608  # names of ours
            {"files": [path]},
        )
        twice = connection.execute("SELECT id FROM channels GROUP BY id HAVING count(*) > 1 ORDER BY id").fetchone()
    if twice is not None:
        raise OptionError(f"{path} has the channel_id {twice[0]!r} more than once: keep one row", option="channels")


def _period(when: str, breaks: Sequence[tuple[int, int]]) -> str:
    """The number of the period that an instant falls in, as an expression."""
    return _halved(breaks, -1, lambda us: f"{when} >= make_timestamptz({us})")


def _instant(name: str, time: _Time, zone: tzinfo) -> str:
    """A time as an instant; null for what is none."""
    if time.local == _NONE:
        return f"make_timestamptz({name}_utc) AS {name}"
    (_, first), *breaks = local_offsets(zone, _YEARS)
    local = f"least(greatest({name}_local, {MIN_US}), {MAX_US})"  # what is out of bounds stays there
    east = _halved(breaks, first, lambda us: f"{name}_local >= {us}")
    placed = f"CASE WHEN {name}_local IS NOT NULL THEN {local} - {east} END"
    return f"make_timestamptz(coalesce({name}_utc, {placed})) AS {name}"


def _halved(breaks: Sequence[tuple[int, int]], before: int, reached: Callable[[int], str]) -> str:
    """What holds from the last break on that is reached, as an expression: the breaks, halved until none is left."""
    if not breaks:
        return str(before)
    middle = len(breaks) // 2
    at, value = breaks[middle]
    return (
        f"CASE WHEN {reached(at)} THEN {_halved(breaks[middle + 1 :], value, reached)} "
        f"ELSE {_halved(breaks[:middle], before, reached)} END"
    )


def _duck_time(column: str) -> str:
    """A time's text, written as DuckDB reads it, which knows fewer ways than this package's own sources.

    They take small letters, a comma before the fraction, hours alone, a leap second, and a blank, or none, before any
    kind of offset. What does not begin with a year, which DuckDB may know, is none.
    """
    text = f"replace(upper({column}), ',', '.')"
    text = f"CASE WHEN regexp_matches({text}, '^[0-9]{{4}}-') THEN {text} END"
    text = f"regexp_replace({text}, '^([^T ]+[T ][0-9]{{2}}:[0-9]{{2}}):60([.][0-9]+)?', '\\1:59.999999')"
    text = f"regexp_replace({text}, ' ?(Z|UTC|GMT)$', '+00')"
    text = f"regexp_replace({text}, ' ([+-][0-9:]+)$', '\\1')"
    return f"regexp_replace({text}, '^([^T ]+[T ][0-9]{{2}})([+-][0-9:]+)?$', '\\1:00\\2')"


def _quoted(name: str) -> str:
    return f'"{name}"'
