"""A lake on a cluster: Spark puts its rows in order, partition by partition, and each task hands them to the core.

It costs several times the processor time of DuckDB on one machine: it is for lakes that one machine cannot sort.

- **Eager.** The work is done when `export_dataframe` returns. A lazy result would be computed again for each use of it.
- **Instants, never the session's clocks.** The period of a timestamp is told by its microseconds since 1970. That of a
  timestamp without a zone (TIMESTAMP_NTZ), which is in the plan's zone, is told by midnights without a zone.
- **Tasks may die, and may be run twice.** A receipt is the commit: what a dead task finished is kept by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from export_engine.batch.core import export_partition
from export_engine.batch.plan import BatchPlan
from export_engine.batch.receipts import ArchiveResult, several, warned
from export_engine.batch.runs import CHANNEL, LAKE_SCHEMA
from export_engine.engine import backend_name
from export_engine.errors import SchemaError, SourceError
from export_engine.schema import CREATED_AT, REQUIRED, TIMES

try:
    from pyspark.sql import functions as F  # noqa: N812  # what everybody calls them
    from pyspark.sql import types as T  # noqa: N812  # the same
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "Spark is missing: pip install 'export-engine[spark]', and a Java runtime", name="pyspark"
    ) from None

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["export_dataframe"]

_Break = TypeVar("_Break", int, date)

_KEYS = ("channel_id", "conversation_id", "message_id")

_RESULT = (
    "channel_id string, period string, status string, path string, rows long, conversations long, bytes long, "
    "sha256 string, error string, archives long, warning string"
)
_RESULT_SCHEMA = pa.schema(
    [
        (name, pa.int64() if kind == "long" else pa.string())
        for name, kind in (column.split() for column in _RESULT.split(", "))
    ]
)


def export_dataframe(lake: DataFrame, plan: BatchPlan, *, partitions: int, parallel: int = 8) -> list[ArchiveResult]:
    """Export a Spark DataFrame of many channels' rows; returns what became of each archive, by channel and period.

    - `lake` has the columns of the CSVs, `channel_id`, and perhaps `channel_name`, `channel_phone` and `created_at`.
      Times are timestamps, with or without a zone; ids are text or whole numbers, and so are a channel's name and phone
      number, of which an archive has those of its latest message that has one. It is computed two to five times, so it
      must give the same rows each time: cache one that costs much.
    - `partitions` is into how many tasks the rows are shuffled; all rows of an archive are in one. Two or three times
      the cluster's cores is a good number.
    - `parallel` is how many small archives a task makes side by side.

    The workers need this package, and the libraries of the driver's. A folder as the plan's target is one that all of
    them see. A result is `kept` where an earlier run, or an attempt that died, had made the archive.

    Raises SchemaError for a column that is missing or of a type that cannot hold it, SourceError for rows without an
    id or a time or with two times of creation in a conversation, and what Spark raises of a job that fails.
    """
    plan = replace(plan, backend=plan.backend or backend_name(plan.options))
    if "://" not in plan.target:
        plan = replace(plan, target=str(Path(plan.target).absolute()))
    typed = _typed(lake)
    rows = _with_creation(typed, said=_all_said(typed))
    when = CREATED_AT if plan.options.range_by == "created_at" else "message_time"
    names = [name for name in LAKE_SCHEMA.names if name in rows.columns]
    others = [name for name in names if name not in (*_KEYS, *CHANNEL, "message_time")]
    # Last all the others, nulls behind, as DuckDB has them: the same rows are in the same order everywhere.
    order = ["channel_id", "period", "conversation_id", "message_time", "message_id", *others]
    inside, warnings = _named(rows.withColumn("period", _period(rows, when, plan)).where(F.col("period") >= 0))
    ordered = (
        inside.select(*names, "period")
        .repartition(partitions, "channel_id", "period")
        .sortWithinPartitions(*(F.col(name).asc_nulls_last() for name in order))
    )
    found = ordered.mapInArrow(partial(_exported, plan, parallel), _RESULT).collect()
    periods = plan.periods()
    told = {(channel, periods[number].name): said for (channel, number), said in warnings.items()}
    results = (ArchiveResult(**row.asDict()) for row in found)
    return sorted(
        (warned(result, told.get((result.channel_id, result.period))) for result in results),
        key=lambda result: (result.channel_id, result.period),
    )


def _exported(plan: BatchPlan, parallel: int, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One task's work."""
    for result in export_partition(batches, plan, parallel=parallel):
        yield pa.RecordBatch.from_pylist([asdict(result)], _RESULT_SCHEMA)


def _typed(lake: DataFrame) -> DataFrame:
    """The columns that are known here, ids as text. Raises SchemaError."""
    for name in ("channel_id", *sorted(REQUIRED)):
        if name not in lake.columns:
            raise SchemaError(
                f"column {name!r} is missing; the columns are {', '.join(lake.columns)}: rename the one that holds it",
                column=name,
            )
    types = {field.name: field.dataType for field in lake.schema.fields}
    columns = []
    for name in (name for name in LAKE_SCHEMA.names if name in types and name != "period"):
        type_, column = types[name], F.col(name)
        if name in TIMES and not isinstance(type_, T.TimestampType | T.TimestampNTZType):
            raise SchemaError(
                f"column {name!r} is {type_.simpleString()}: it must be a timestamp; say in which zone it is, with "
                "to_timestamp, timestamp_micros or to_timestamp_ntz",
                column=name,
            )
        if name in (*_KEYS, *CHANNEL):
            whole = isinstance(type_, T.IntegralType) or (isinstance(type_, T.DecimalType) and type_.scale == 0)
            if not (whole or isinstance(type_, T.StringType | T.NullType)):
                raise SchemaError(
                    f"column {name!r} is {type_.simpleString()}: it must be text or a whole number; cast it",
                    column=name,
                )
            column = column.cast("string")
            if name not in _KEYS:
                column = F.when(column != "", column)
            column = column.alias(name)
        columns.append(column)
    if CREATED_AT in types and type(types[CREATED_AT]) is not type(types["message_time"]):
        raise SchemaError(
            f"columns {CREATED_AT!r} and 'message_time' are {types[CREATED_AT].simpleString()} and "
            f"{types['message_time'].simpleString()}: both must have a zone, or neither",
            column=CREATED_AT,
        )
    return lake.select(*columns)


def _all_said(rows: DataFrame) -> bool:
    """Whether all rows say when their conversation was created. Raises SourceError for rows that would vanish."""
    missing = {name: (F.col(name) == "") | F.col(name).isNull() for name in _KEYS}
    missing["message_time"] = F.col("message_time").isNull()
    if CREATED_AT in rows.columns:
        missing[CREATED_AT] = F.col(CREATED_AT).isNull()
    counted = rows.agg(*(F.count(F.when(is_missing, 1)).alias(name) for name, is_missing in missing.items())).first()
    counts = counted.asDict()
    unsaid = counts.pop(CREATED_AT, None)
    for name, count in counts.items():
        if count:
            raise SourceError(
                f"{count} rows have no {name}, and would be in no archive: mend them, or leave them out "
                f"(where {name} IS NOT NULL{'' if name == 'message_time' else f' AND length({name}) > 0'})"
            )
    return bool(unsaid == 0)


def _with_creation(rows: DataFrame, *, said: bool) -> DataFrame:
    """The rows with when their conversation was created: as they say (all where `said`), else its first message's time.

    That is the first in the whole lake, so that it does not depend on the period.

    Raises SourceError for two that differ.
    """
    conversation = ["channel_id", "conversation_id"]
    first = F.min("message_time")
    if CREATED_AT in rows.columns:
        span = rows.groupBy(*conversation).agg(F.min(CREATED_AT).alias("first"), F.max(CREATED_AT).alias("last"))
        differing = span.where(F.col("first") < F.col("last")).first()
        if differing is not None:
            raise SourceError(
                f"conversation {differing['conversation_id']!r} of channel {differing['channel_id']!r} has both "
                f"{differing['first']} and {differing['last']} as created_at: give all its rows the same"
            )
        if said:
            return rows
        first = F.coalesce(F.min(CREATED_AT), first)
    created = rows.groupBy(*conversation).agg(first.alias(CREATED_AT))
    return rows.drop(CREATED_AT).join(created, conversation, "left")


def _named(rows: DataFrame) -> tuple[DataFrame, dict[tuple[str, int], str]]:
    """The rows, those of an archive with one name and phone number of their channel, and warnings where they had more.

    They are those of the latest message that has one, as a lake's on one machine.
    """
    key = ["channel_id", "period"]
    names = [name for name in CHANNEL[1:] if name in rows.columns]
    if not names:
        return rows, {}
    columns: list[Column] = []
    differ = F.lit(False)
    for name in names:
        order = F.struct("message_time", "message_id", "conversation_id", name)
        last = F.max(F.when(F.col(name).isNotNull(), order))
        columns += [last[name].alias(name), F.collect_set(name).alias(f"{name}s")]
        differ |= (F.count(name) > 0) & ((F.count(name) < F.count("*")) | (F.min(name) < F.max(name)))
    mixed = rows.groupBy(*key).agg(*columns, differ.alias("differ")).where("differ").drop("differ").collect()
    if not mixed:
        return rows, {}
    warnings = {}
    for row in mixed:
        said = [several(name, row[f"{name}s"], row[name]) for name in names if len(row[f"{name}s"]) > 1]
        if said:
            warnings[row["channel_id"], row["period"]] = "; ".join(said)
    schema = ", ".join(["channel_id string", "period long", *(f"latest_{name} string" for name in names)])
    latest = rows.sparkSession.createDataFrame([tuple(row[name] for name in (*key, *names)) for row in mixed], schema)
    joined = rows.join(F.broadcast(latest), key, "left")
    return joined.withColumns({name: F.coalesce(f"latest_{name}", name) for name in names}), warnings


def _period(rows: DataFrame, name: str, plan: BatchPlan) -> Column:
    """The number of the period that a time falls in."""
    if isinstance(rows.schema[name].dataType, T.TimestampType):
        us = F.unix_micros(F.col(name))
        return _halved(plan.breaks(), -1, lambda at: us >= F.lit(at))
    days = [(period.date_range.start, number) for number, period in enumerate(plan.periods())]
    end = plan.date_range.end
    after = [(end + timedelta(days=1), -1)] if end < date.max else []
    return _halved([*days, *after], -1, lambda day: F.col(name) >= F.expr(f"TIMESTAMP_NTZ '{day} 00:00:00'"))


def _halved(breaks: Sequence[tuple[_Break, int]], before: int, reached: Callable[[_Break], Column]) -> Column:
    """Comparisons with breaks, halved until none is left."""
    if not breaks:
        return F.lit(before).cast("long")
    middle = len(breaks) // 2
    at, number = breaks[middle]
    later = _halved(breaks[middle + 1 :], number, reached)
    return F.when(reached(at), later).otherwise(_halved(breaks[:middle], before, reached))
