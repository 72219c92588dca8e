"""A lake on one machine: DuckDB reads its files, counts, and puts the rows in order, out of core.

One pass counts: the rows and the span of each channel and period, what has no time or no id and would vanish, and what
lies outside all periods. Where rows do not say when their conversation was created, another gives each the time of its
first message in the whole lake, so that a name does not depend on the period. Then one ordered stream of what has no
receipt yet goes to the core.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from export_engine.batch.core import export_partition
from export_engine.batch.plan import BatchPlan
from export_engine.batch.receipts import ArchiveResult, Counted, kept_already
from export_engine.batch.runs import LAKE_SCHEMA
from export_engine.errors import SchemaError, SourceError
from export_engine.sources.duck import MEMORY_LIMIT, connected, query_errors, selected, told

if TYPE_CHECKING:
    import duckdb

__all__ = ["Lake", "LakeCounts", "count_lake", "export_lake"]

_IDS = ("channel_id", "conversation_id", "message_id")
_REQUIRED = (*_IDS, "message_time")
#: Columns that a lake may have, in the order of the core's schema.
_NAMES = tuple(name for name in LAKE_SCHEMA.names if name != "period")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lake:
    """Where the rows are, and what may be used to put them in order.

    `query` is one SELECT that DuckDB runs, its `$names` bound to `parameters`; its columns are the twelve of the CSVs,
    `channel_id`, and perhaps `channel_name`, `channel_phone` and `created_at`. It is run two or three times. DuckDB
    holds at most `memory_limit` and spills what is more to a private folder inside `spill_folder`.
    """

    query: str
    parameters: Mapping[str, Any]
    memory_limit: str = MEMORY_LIMIT
    spill_folder: str | os.PathLike[str] | None = None

    @classmethod
    def of_files(cls, files: Sequence[str], **more: Any) -> Lake:
        """The rows of Parquet files (paths or globs), whose columns are matched by name."""
        query = "SELECT * FROM read_parquet($files, union_by_name=true)"
        return cls(query=query, parameters={"files": [*files]}, **more)


@dataclass(frozen=True, slots=True)
class LakeCounts:
    """What there is: the rows of each archive, how many of the archives are there already, and rows in no period."""

    archives: tuple[Counted, ...]
    kept: int
    outside: int

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

    `parallel` is how many small archives are made side by side; `on_counts` is called before anything is exported.

    Raises SchemaError for a lake without a column that is needed, SourceError for rows without an id or a time (they
    would be in no archive) and for a query that fails, and as `export_partition` does.
    """
    with _counted(lake, plan) as opened:
        if on_counts is not None:
            on_counts(opened.counts)
        yield from opened.kept
        yield from export_partition(opened.ordered(), plan, parallel=parallel)


@contextmanager
def _counted(lake: Lake, plan: BatchPlan) -> Iterator[_Counted]:
    zone = plan.options.tzinfo
    with connected(zone, memory_limit=lake.memory_limit, spill_folder=lake.spill_folder) as connection:
        yield _Counted(connection, lake, plan)


class _Counted:
    """A lake that has been counted."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, lake: Lake, plan: BatchPlan) -> None:
        self._connection = connection
        self._parameters = dict(lake.parameters)
        self._lake = f"({lake.query}\n)"
        self._types = self._described(lake.query)
        self._by_creation = plan.options.range_by == "created_at"
        self._born = self._creation()
        connection.execute("CREATE TEMP TABLE breaks (since TIMESTAMPTZ, number BIGINT)")
        connection.executemany("INSERT INTO breaks VALUES (make_timestamptz(?), ?)", [[*b] for b in plan.breaks()])
        counted, outside = self._count(plan)
        self.kept = kept_already(counted, plan)
        self._keep(plan, counted)
        self.counts = LakeCounts(tuple(counted), len(self.kept), outside)

    def ordered(self) -> Iterator[pa.RecordBatch]:
        """The rows of the archives that are not there yet, as the core wants them."""
        own = {name: f'lake."{name}"' for name in _NAMES if name in self._types}
        own |= {"channel_id": 'lake."channel_id"::VARCHAR', "created_at": self._born}
        columns = ", ".join(f'{value} AS "{name}"' for name, value in own.items())
        # Last all the others: the same rows are in the same order, however they were spread over the files.
        rest = ", ".join(f'"{name}"' for name in _NAMES if name in self._types and name not in _REQUIRED)
        query = (
            f"SELECT {columns}, wanted.number AS period FROM {self._rows} JOIN wanted "  # noqa: S608  # names of ours
            'ON wanted.channel = lake."channel_id"::VARCHAR AND wanted.number = coalesce(breaks.number, -1) '
            f'ORDER BY 1, period, lake."conversation_id"::VARCHAR, {self._instant("message_time")}, '
            f'lake."message_id"::VARCHAR{", " if rest else ""}{rest}'
        )
        with selected(self._connection, query, self._parameters) as reader:
            yield from told(iter(reader))

    def _described(self, query: str) -> dict[str, str]:
        """The columns that are known here, and DuckDB's types of them. Raises SchemaError."""
        nothing = f"SELECT * FROM ({query}\n) LIMIT 0"  # noqa: S608  # the caller's own query
        with selected(self._connection, nothing, self._parameters):
            pass  # one SELECT, with all of its parameters
        with query_errors():
            described = self._connection.execute(f"DESCRIBE {query}", self._parameters).fetchall()
        types = {name: kind for name, kind, *_ in described}
        for name in _REQUIRED:
            if name not in types:
                raise SchemaError(
                    f"column {name!r} is missing; the columns are {', '.join(types)}: name the one that holds it",
                    column=name,
                )
        for name in _IDS:
            if types[name] in ("FLOAT", "DOUBLE", "BOOLEAN"):
                raise SchemaError(f"column {name!r} is {types[name]}: an id is text or a whole number", column=name)
        return {name: types[name] for name in _NAMES if name in types}

    def _instant(self, name: str) -> str:
        """A time column as an instant, in the session's zone where it has none; text that is no time is null."""
        return f'TRY_CAST(lake."{name}" AS TIMESTAMPTZ)'

    def _creation(self) -> str:
        """When each row's conversation was created, as an expression; where rows do not say, a table is made for it."""
        time = self._instant("message_time")
        own = self._instant("created_at") if "created_at" in self._types else None
        with query_errors():
            if own is not None:
                query = f"SELECT count(*) - count({own}) FROM {self._lake} AS lake"  # noqa: S608  # names of ours
                found = self._connection.execute(query, self._parameters).fetchone()
                if found == (0,):
                    self._rows = f"{self._lake} AS lake"
                    return self._joined(own)
            first = f"coalesce(min({own}), min({time}))" if own is not None else f"min({time})"
            self._connection.execute(
                'CREATE TEMP TABLE created AS SELECT "channel_id"::VARCHAR AS channel, "conversation_id"::VARCHAR AS '  # noqa: S608  # names of ours
                f"conversation, {first} AS born FROM {self._lake} AS lake GROUP BY ALL",
                self._parameters,
            )
        self._rows = (
            f'{self._lake} AS lake LEFT JOIN created ON created.channel = lake."channel_id"::VARCHAR '
            'AND created.conversation = lake."conversation_id"::VARCHAR'
        )
        return self._joined("created.born")

    def _joined(self, born: str) -> str:
        """Add to the rows which period each falls into; gives `born` back."""
        self._when = born if self._by_creation else self._instant("message_time")
        self._rows += f" ASOF LEFT JOIN breaks ON {self._when} >= breaks.since"
        return born

    def _count(self, plan: BatchPlan) -> tuple[list[Counted], int]:
        """The rows of each archive, and how many are in none. Raises SourceError for rows that would vanish."""
        time = self._instant("message_time")
        query = (
            'SELECT lake."channel_id"::VARCHAR, coalesce(breaks.number, -1), count(*), count(lake."conversation_id"), '  # noqa: S608  # names of ours
            f'count(lake."message_id"), count({time}), count({self._when}), min({time}), max({time}) FROM {self._rows} '
            "GROUP BY ALL ORDER BY ALL"
        )
        with query_errors():
            found = self._connection.execute(query, self._parameters).fetchall()
        lost = {
            "channel_id": sum(row[2] for row in found if row[0] is None),
            "conversation_id": sum(row[2] - row[3] for row in found),
            "message_id": sum(row[2] - row[4] for row in found),
            "message_time": sum(row[2] - row[5] for row in found),
        }
        for name, count in lost.items():
            if count:
                raise SourceError(
                    f"{count} rows have no {name}, or none that can be read, and would be in no archive: mend them, or "
                    f"leave them out in the query (WHERE {name} IS NOT NULL)"
                )
        periods = plan.periods()
        counted = [
            Counted(channel, periods[number].name, rows, _utc(first), _utc(last))
            for channel, number, rows, *_, first, last in found
            if number >= 0
        ]
        return counted, sum(row[2] for row in found if row[1] < 0)

    def _keep(self, plan: BatchPlan, counted: list[Counted]) -> None:
        """A table of the archives that are still to be made."""
        numbers = {period.name: number for number, period in enumerate(plan.periods())}
        there = {(result.channel_id, result.period) for result in self.kept}
        wanted = [(c.channel_id, numbers[c.period]) for c in counted if (c.channel_id, c.period) not in there]
        channels, which = zip(*wanted, strict=True) if wanted else ((), ())
        table = pa.table({"channel": pa.array(channels, pa.string()), "number": pa.array(which, pa.int64())})
        self._connection.register("wanted", table)


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.astimezone(UTC)
