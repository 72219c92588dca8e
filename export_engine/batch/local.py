"""A lake on one machine: DuckDB reads its files, counts, and puts the rows in order, out of core.

First it is counted (see `export_engine.batch.counted`), then one ordered stream of what has no receipt yet goes to the
core.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from export_engine.batch.core import export_partition
from export_engine.batch.counted import CountedLake, LakeCounts
from export_engine.batch.lake import Lake
from export_engine.batch.plan import BatchPlan
from export_engine.batch.receipts import ArchiveResult, warned

__all__ = ["count_lake", "export_lake"]


def count_lake(lake: Lake, plan: BatchPlan) -> LakeCounts:
    """Count a lake without exporting anything. Raises as `export_lake` does before its first result."""
    with lake.connected(plan.options.tzinfo) as connection:
        return CountedLake(connection, lake, plan).counts


def export_lake(
    lake: Lake, plan: BatchPlan, *, parallel: int = 8, on_counts: Callable[[LakeCounts], object] | None = None
) -> Generator[ArchiveResult, None, None]:
    """Export a lake, a result for each channel and period: what was there already first, the others in order.

    `parallel` is how many small archives are made side by side; `on_counts` is called before anything is exported. A
    range that begins on `date.min`, or ends on `date.max`, is open: it is that of the lake's first and last message
    then, by another look at its times.

    Raises SchemaError for a lake without a column that is needed or with one of a type that cannot hold it, SourceError
    for rows without an id or a time (they would be in no archive) and for a query that fails, and as `export_partition`
    does: for a target that cannot be written to before the lake is read.
    """
    with lake.connected(plan.options.tzinfo) as connection:
        opened = CountedLake(connection, lake, plan)
        counts = opened.counts
        if on_counts is not None:
            on_counts(counts)
        yield from counts.there
        taken = [result.path for result in counts.there if result.path is not None]
        if len(counts.there) < len(counts.archives):
            warnings = {(c.channel_id, c.period): c.warning for c in counts.archives if c.warning}
            for result in export_partition(opened.ordered(), counts.plan, parallel=parallel, taken=taken):
                yield warned(result, warnings.get((result.channel_id, result.period)))
