"""A lake on one machine: DuckDB reads its files, counts, and puts the rows in order, out of core.

One pass counts: the rows and the span of each channel and period, what has no time or no id and would vanish, and what
lies outside all periods. Where rows do not say when their conversation was created, another gives each the time of its
first message in the whole lake, so that a name does not depend on the period. Then one ordered stream of what has no
receipt yet goes to the core.

DuckDB tells times only to sort and to count by them: the core reads each row's own, by the rules of every source. Where
the two would disagree about a period, the archive is not made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from export_engine.batch.core import export_partition
from export_engine.batch.nested import conversations_query
from export_engine.batch.plan import BatchPlan
from export_engine.batch.receipts import ArchiveResult, Counted, kept_already
from export_engine.batch.runs import LAKE_SCHEMA
from export_engine.errors import OptionError, SchemaError, SourceError
from export_engine.model import DateRange
from export_engine.options import Epoch
from export_engine.sources import SourceContext
from export_engine.sources.duck import (
    THREAD_BYTES,
    check_expression,
    check_query,
    connected,
    query_errors,
    selected,
    told,
)
from export_engine.sources.mapping import JSON_THREAD_BYTES, MappedFormat, mapped_query
from export_engine.sources.tables import normalised
from export_engine.times import DAY, MAX_US, MIN_US, instant, utc_offsets

if TYPE_CHECKING:
    import duckdb

__all__ = ["Lake", "LakeCounts", "count_lake", "export_lake"]

_IDS = ("channel_id", "conversation_id", "message_id")
#: Columns that a lake may have, in the order of the core's schema.
_NAMES = tuple(name for name in LAKE_SCHEMA.names if name != "period")
_CHANNEL = ("channel_id", "channel_name", "channel_phone")
#: What a row gets from its channel, its conversation and its message, as text, and when it was sent.
_SORT = ("channel", "period", "conversation", "sent", "message")
_EPOCH = date(1970, 1, 1)
_MEMORY_LIMIT = "1GB"
#: Microseconds in a unit of a number that is a time.
_UNITS = {"s": "1000000", "ms": "1000", "us": "1", "ns": "0.001"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lake:
    """Where the rows are, and what may be used to put them in order.

    - `query` is one SELECT that DuckDB runs, its `$names` bound to `parameters`; its columns are the twelve of the
      CSVs, `channel_id`, and perhaps `channel_name`, `channel_phone` and `created_at`. It is run two to four times, so
      it must give the same rows each time.
    - `channels` is a file with the names and phone numbers of channels, by `channel_id`, in columns of those names:
      Parquet, CSV or JSON Lines, as its ending says. What it says goes before what the rows say.
    - DuckDB holds at most `memory_limit`, and spills what is more to a private folder inside `spill_folder`. Its sort
      needs about half a gigabyte where texts are some kilobytes long, as 2,048 rows may lie in as many blocks.
    - `thread_bytes` is what each of its threads is to have of the limit.
    """

    query: str
    parameters: Mapping[str, Any]
    channels: str | os.PathLike[str] | None = None
    memory_limit: str = _MEMORY_LIMIT
    spill_folder: str | os.PathLike[str] | None = None
    thread_bytes: int = THREAD_BYTES

    def connected(self, zone: tzinfo) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A connection within these bounds; see `export_engine.sources.duck.connected`."""
        return connected(
            zone, memory_limit=self.memory_limit, spill_folder=self.spill_folder, thread_bytes=self.thread_bytes
        )

    @classmethod
    def of_files(
        cls,
        files: Sequence[str | os.PathLike[str]],
        format: MappedFormat = "parquet",  # noqa: A002  # the word for it
        *,
        columns: Mapping[str, str] | None = None,
        where: str | None = None,
        delimiter: str = ",",
        encoding: str = "utf-8",
        escape: str = '"',
        **more: Any,
    ) -> Lake:
        """The rows of files of one format, whose columns are matched by name.

        `columns` and `where` are SQL over the files' own columns, as for `export_engine.sources.read_mapped`;
        `more` are the fields of a lake. The files are looked into for their columns. Raises OptionError (`map`,
        `where`), SchemaError, and SourceError for files that cannot be read.
        """
        paths = [os.fspath(file) for file in files]
        if format == "jsonl":
            more.setdefault("thread_bytes", JSON_THREAD_BYTES)
        lake = cls(query="", parameters={"files": paths}, **more)
        with lake.connected(UTC) as connection:
            query = mapped_query(
                connection,
                paths,
                format,
                columns=columns or {},
                where=where,
                delimiter=delimiter,
                encoding=encoding,
                escape=escape,
                more=_CHANNEL,
            )
        return replace(lake, query=query)

    @classmethod
    def of_conversations(
        cls, files: Sequence[str | os.PathLike[str]], *, where: str | None = None, **more: Any
    ) -> Lake:
        """The messages of files of JSON Lines with a conversation a line, each with its `channel_id`.

        See `export_engine.batch.nested` for the keys. `where` is SQL over the columns that they make. The files are
        read once for what is wrong with them: SchemaError and SourceError.
        """
        paths = [os.fspath(file) for file in files]
        lake = cls(query="", parameters={"files": paths}, **{"thread_bytes": JSON_THREAD_BYTES, **more})
        with lake.connected(UTC) as connection:
            query = conversations_query(connection, paths)
        return replace(lake, query=query).filtered(where)

    @classmethod
    def of_query(cls, query: str, parameters: Mapping[str, Any], *, where: str | None = None, **more: Any) -> Lake:
        """The rows of a query, perhaps those alone for which the condition `where` is true.

        Raises OptionError (`where`) for a condition that cannot be used, and as a query's reading does.
        """
        return cls(query=query, parameters=parameters, **more).filtered(where)

    def filtered(self, where: str | None) -> Lake:
        """Those of the rows for which a condition is true. Raises as `of_query` does."""
        if where is None:
            return self
        filtered = f"SELECT * FROM ({self.query}\n) AS rows WHERE ({where}\n)"  # noqa: S608  # both are the caller's own
        with self.connected(UTC) as connection:
            check_query(connection, self.query, self.parameters)  # what is wrong with it alone is said first
            condition = f"SELECT ({where}\n) FROM ({self.query}\n) AS rows"  # noqa: S608  # the same
            check_expression(connection, condition, self.parameters, "where", where)
        return replace(self, query=filtered)


@dataclass(frozen=True, slots=True)
class LakeCounts:
    """What there is: the rows of each archive, what its receipts say of those that are there, and rows in no period.

    `plan` is the one that was given; where its range is open, it ends here on the day of the lake's last message.
    """

    archives: tuple[Counted, ...]
    there: tuple[ArchiveResult, ...]
    outside: int
    plan: BatchPlan

    @property
    def rows(self) -> int:
        """All rows that lie in a period."""
        return sum(archive.rows for archive in self.archives)


def count_lake(lake: Lake, plan: BatchPlan) -> LakeCounts:
    """Count a lake without exporting anything. Raises as `export_lake` does before its first result."""
    with _counted(lake, plan) as opened:
        return opened.counts


def export_lake(
    lake: Lake, plan: BatchPlan, *, parallel: int = 8, on_counts: Callable[[LakeCounts], object] | None = None
) -> Generator[ArchiveResult, None, None]:
    """Export a lake, a result for each channel and period: what was there already first, the others in order.

    `parallel` is how many small archives are made side by side; `on_counts` is called before anything is exported. A
    range that begins on `date.min`, or ends on `date.max`, is open: it is that of the lake's first and last message
    then, by another look at its times.

    Raises SchemaError for a lake without a column that is needed or with one of a type that cannot hold it, SourceError
    for rows without an id or a time (they would be in no archive) and for a query that fails, and as `export_partition`
    does.
    """
    with _counted(lake, plan) as opened:
        counts = opened.counts
        if on_counts is not None:
            on_counts(counts)
        yield from counts.there
        taken = [result.path for result in counts.there if result.path is not None]
        if len(counts.there) < len(counts.archives):
            yield from export_partition(opened.ordered(), counts.plan, parallel=parallel, taken=taken)


@contextmanager
def _counted(lake: Lake, plan: BatchPlan) -> Iterator[_Counted]:
    zone = plan.options.tzinfo
    with lake.connected(zone) as connection:
        yield _Counted(connection, lake, plan)


class _Counted:
    """A lake that has been counted.

    What follows is put together of the caller's own query and of names of this package; values are bound.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, lake: Lake, plan: BatchPlan) -> None:
        self._connection = connection
        self._parameters = dict(lake.parameters)
        self._schema = _schema(connection, lake, plan)
        self._names = self._schema.names
        self._channels = lake.channels is not None
        if lake.channels is not None:
            _load_channels(connection, os.fspath(lake.channels))
        epoch = plan.options.epoch
        created = self._instant("created_at", epoch) if "created_at" in self._names else "NULL::TIMESTAMPTZ"
        self._typed = (
            'SELECT lake."channel_id"::VARCHAR AS channel, lake."conversation_id"::VARCHAR AS conversation, '  # noqa: S608  # see above
            f'lake."message_id"::VARCHAR AS message, {self._instant("message_time", epoch)} AS sent, {created} AS own, '
            f"{', '.join(_quoted(name) for name in self._names)} FROM ({lake.query}\n) AS lake"
        )
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
        self.counts = LakeCounts(tuple(counted), tuple(there), outside, plan)

    def ordered(self) -> Iterator[pa.RecordBatch]:
        """The rows of the archives that are not there yet, as the core wants them."""
        own = {name: f"found.{_quoted(name)}" for name in self._names} | {"channel_id": "channel", "created_at": "born"}
        join = ""
        if self._channels:
            join = " LEFT JOIN channels ON channels.id = found.channel"
            for name in _CHANNEL[1:]:
                said = f", {own[name]}::VARCHAR" if name in own else ""
                own[name] = f"coalesce(channels.{name}{said})"
        columns = ", ".join(f"{own[name]} AS {_quoted(name)}" for name in _NAMES if name in own)
        # Last all the others: the same rows are in the same order, however they were spread over the files.
        rest = [_quoted(name) for name in _NAMES if name in self._names and name not in _IDS]
        query = (
            f"SELECT {columns}, period FROM ({self._rows}) AS found SEMI JOIN wanted USING (channel, period){join} "  # noqa: S608  # see above
            f"ORDER BY {', '.join(f'found.{name}' for name in (*_SORT, *rest))}"
        )
        with selected(self._connection, query, self._parameters) as reader:
            yield from told(iter(reader))

    def _instant(self, name: str, epoch: Epoch | None) -> str:
        """A time column as an instant, in the session's zone where it has none; what is no time is null.

        Cut to microseconds as everywhere: DuckDB would round nanoseconds.
        """
        column, type_ = f"lake.{_quoted(name)}", self._schema.field(name).type
        if pa.types.is_timestamp(type_):
            if type_.unit != "ns":
                return f"{column}::TIMESTAMPTZ"
            us = f"(epoch_ns({column}) - (epoch_ns({column}) % 1000 + 1000) % 1000) // 1000"
            return f"make_timestamptz({us})" if type_.tz else f"make_timestamp({us})::TIMESTAMPTZ"
        number = "NULL::TIMESTAMPTZ"
        if epoch is not None:
            us = f"floor(TRY_CAST({column} AS DECIMAL(28, 9)) * {_UNITS[epoch]})"
            number = f"CASE WHEN {us} BETWEEN {MIN_US} AND {MAX_US} THEN make_timestamptz({us}::BIGINT) END"
        if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
            return number
        if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
            text = f"TRY_CAST({_duck_time(column)} AS TIMESTAMPTZ)"
        else:
            text = f"TRY_CAST({column} AS TIMESTAMPTZ)"
        return f"coalesce(CASE WHEN isfinite({text}) THEN {text} END, {number})"

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
            raise SourceError(
                f"{unread} rows have a created_at that cannot be read: mend them, or have it null where it is not known"
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

    def _query(self, query: str) -> tuple[Any, ...] | None:
        """The first row of what a query gives."""
        with query_errors():
            return self._connection.execute(query, self._parameters).fetchone()

    def _closed(self, plan: BatchPlan, span: str) -> BatchPlan:
        """The plan, an open end of its range put where the lake has its first or last time, in the plan's zone."""
        start, end = plan.date_range.start, plan.date_range.end
        if start > date.min and end < date.max:
            return plan
        with query_errors():
            found = self._connection.execute(span, self._parameters).fetchone()
        if found is None or found[0] is None:  # there is nothing to export
            return replace(plan, date_range=DateRange(max(start, _EPOCH), max(start, _EPOCH)))
        us = np.array(found, np.int64)
        first, last = (_EPOCH + timedelta(int(day)) for day in (us + utc_offsets(us, plan.options.tzinfo)) // DAY)
        start, end = max(start, first), min(end, last)
        return replace(plan, date_range=DateRange(start, max(start, end)))

    def _count(self, plan: BatchPlan) -> tuple[list[Counted], int]:
        """The rows of each archive, and how many are in none. Raises SourceError for rows that would vanish."""
        query = (
            "SELECT channel, period, count(*), count(nullif(channel, '')), count(nullif(conversation, '')), "  # noqa: S608  # see above
            "count(nullif(message, '')), count(sent), epoch_us(min(sent)), epoch_us(max(sent)) "
            f"FROM ({self._rows}) AS found GROUP BY ALL ORDER BY ALL"
        )
        with query_errors():
            found = self._connection.execute(query, self._parameters).fetchall()
        for at, name in enumerate((*_IDS, "message_time"), 3):
            if count := sum(row[2] - row[at] for row in found):
                raise SourceError(
                    f"{count} rows have no {name}, or none that can be read, and would be in no archive: mend them, or "
                    f"leave them out (--where '{name} IS NOT NULL', or in the query)"
                )
        periods = plan.periods()
        counted = [
            Counted(channel, periods[number].name, rows, instant(first), instant(last))
            for channel, number, rows, *_, first, last in found
            if number >= 0
        ]
        return counted, sum(row[2] for row in found if row[1] < 0)

    def _keep(self, plan: BatchPlan, counted: list[Counted], there: list[ArchiveResult]) -> None:
        """A table of the archives that are still to be made."""
        numbers = {period.name: number for number, period in enumerate(plan.periods())}
        done = {(result.channel_id, result.period) for result in there}
        wanted = [(c.channel_id, numbers[c.period]) for c in counted if (c.channel_id, c.period) not in done]
        channels, which = zip(*wanted, strict=True) if wanted else ((), ())
        table = pa.table({"channel": pa.array(channels, pa.string()), "period": pa.array(which, pa.int64())})
        self._connection.register("wanted", table)


def _schema(connection: duckdb.DuckDBPyConnection, lake: Lake, plan: BatchPlan) -> pa.Schema:
    """The columns that are known here, and their types. Raises SchemaError, as any source does, for what is amiss."""
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
    type_ = schema.field("channel_id").type
    if not (pa.types.is_string(type_) or pa.types.is_integer(type_) or pa.types.is_decimal(type_)):
        raise SchemaError(
            f"column 'channel_id' is {type_}: an id is text or a whole number; cast it", column="channel_id"
        )
    return schema.empty_table().select([name for name in _NAMES if name in schema.names]).schema


def _load_channels(connection: duckdb.DuckDBPyConnection, path: str) -> None:
    """A table of the channels' names and phone numbers. Raises OptionError for a file that cannot be it."""
    kinds: dict[str, MappedFormat] = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    format_ = kinds.get(Path(path).suffix.lower())
    if format_ is None:
        raise OptionError(f"{path} is to be a .parquet, .csv or .jsonl file", option="channels")
    try:
        query = mapped_query(connection, [path], format_, columns={}, more=_CHANNEL)
        with selected(connection, f"SELECT * FROM ({query}\n) LIMIT 0", {"files": [path]}) as reader:  # noqa: S608  # names of ours
            names = reader.schema.names
    except (SchemaError, SourceError) as error:
        raise OptionError(f"{path} cannot be read: {error}", option="channels") from None
    if "channel_id" not in names or len({*names} & {*_CHANNEL}) < 2:
        raise OptionError(
            f"{path} has the columns {', '.join(names)}: channel_id is needed, and channel_name or channel_phone",
            option="channels",
        )
    columns = ", ".join(f"{name}::VARCHAR AS {name}" if name in names else f"NULL AS {name}" for name in _CHANNEL[1:])
    with query_errors():
        connection.execute(
            f"CREATE TEMP TABLE channels AS SELECT channel_id::VARCHAR AS id, {columns} FROM ({query}\n)",  # noqa: S608  # names of ours
            {"files": [path]},
        )
        twice = connection.execute("SELECT id FROM channels GROUP BY id HAVING count(*) > 1 ORDER BY id").fetchone()
    if twice is not None:
        raise OptionError(f"{path} has the channel_id {twice[0]!r} more than once: keep one row", option="channels")


def _period(when: str, breaks: Sequence[tuple[int, int]], before: int = -1) -> str:
    """The number of the period that an instant falls in, as an expression: the breaks, halved until none is left."""
    if not breaks:
        return str(before)
    middle = len(breaks) // 2
    us, number = breaks[middle]
    return (
        f"CASE WHEN {when} >= make_timestamptz({us}) THEN {_period(when, breaks[middle + 1 :], number)} "
        f"ELSE {_period(when, breaks[:middle], before)} END"
    )


def _duck_time(column: str) -> str:
    """A time's text, written as DuckDB reads it, which knows fewer ways than this package's own sources.

    They take small letters, a comma before the fraction, hours alone, and a blank, or none, before any kind of offset.
    """
    text = f"replace(upper({column}), ',', '.')"
    text = f"regexp_replace({text}, ' ?(Z|UTC|GMT)$', '+00')"
    text = f"regexp_replace({text}, ' ([+-][0-9:]+)$', '\\1')"
    return f"regexp_replace({text}, '^([^T ]+[T ][0-9]{{2}})([+-][0-9:]+)?$', '\\1:00\\2')"


def _quoted(name: str) -> str:
    return f'"{name}"'
