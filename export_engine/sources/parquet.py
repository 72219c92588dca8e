"""Parquet files, row group by row group."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from export_engine.schema import MAX_BATCH_BYTES, MAX_BATCH_ROWS
from export_engine.sources import Source, SourceContext
from export_engine.sources.inputs import FileSource, Given, Input, reading, told
from export_engine.sources.tables import normalised, numbered, wanted_columns

__all__ = ["parquet_batches", "read_parquet"]

_KIND = "a Parquet file"


def read_parquet(given: Given) -> Source:
    """Make a source of a Parquet file; see `from_arrow` for its columns.

    `given` is a path or a binary file object that can seek. A path's file is mapped, so it must not be cut short
    meanwhile. INT96 timestamps, which older Spark, Hive and Impala write, are read to the microsecond. Memory: a page
    and some rows of each column.
    """
    return FileSource(given, parquet_batches)


def parquet_batches(file: Input, context: SourceContext) -> Iterator[pa.RecordBatch]:
    """Read an opened input; see `read_parquet`."""
    with reading(file.name, _KIND):
        # INT96 as nanoseconds, the default, holds the years 1677 to 2262 and gives wrong times beyond without a word.
        opened = pq.ParquetFile(file.mapped(_KIND), pre_buffer=False, coerce_int96_timestamp_unit="us")
    with opened as table:
        wanted = wanted_columns(table.schema_arrow.names, context)
        schema = pa.schema([table.schema_arrow.field(name) for name in wanted])
        yield from normalised(schema, numbered(told(file.name, _KIND, _row_groups(table, wanted))), context)


def _row_groups(table: pq.ParquetFile, wanted: list[str]) -> Iterator[pa.RecordBatch]:
    """Fewer rows at a time where they are long: the decoded rows are all that is held."""
    for at in range(table.num_row_groups):
        group = table.metadata.row_group(at)
        chunks = map(group.column, range(group.num_columns))
        size = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] in wanted)
        rows = max(1, min(MAX_BATCH_ROWS, MAX_BATCH_BYTES * group.num_rows // max(size, 1)))
        yield from table.iter_batches(rows, row_groups=[at], columns=wanted, use_threads=False)
