"""Parquet files, row group by row group."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from export_engine.errors import SourceError
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
        opened = _opened(file, "us")
    with opened as table:
        names = table.schema_arrow.names
        wanted = wanted_columns(names, context) if names else []
        schema = pa.schema([table.schema_arrow.field(name) for name in wanted])
        batches = _counted(file, _row_groups(table, wanted), table.metadata.num_rows)
        old = [name for name in wanted if _is_int96(table, name)]
        if old:
            with _opened(file, "s") as again:
                batches = map(_without_wrapped, batches, _row_groups(again, wanted, old))
                yield from normalised(schema, numbered(told(file.name, _KIND, batches)), context)
        else:
            yield from normalised(schema, numbered(told(file.name, _KIND, batches)), context)


def _opened(file: Input, unit: str) -> pq.ParquetFile:
    # INT96 as nanoseconds, the default, holds the years 1677 to 2262 and gives wrong times beyond without a word.
    return pq.ParquetFile(file.mapped(_KIND), pre_buffer=False, coerce_int96_timestamp_unit=unit)


def _is_int96(table: pq.ParquetFile, name: str) -> bool:
    return any(column.path == name and column.physical_type == "INT96" for column in table.schema)


def _without_wrapped(batch: pa.RecordBatch, in_seconds: pa.RecordBatch) -> pa.RecordBatch:
    """INT96 holds more years than microseconds in 64 bits: what wrapped around becomes a time that will be refused."""
    for name in in_seconds.schema.names:
        at = batch.schema.get_field_index(name)
        us, seconds = (part.column(name).cast(pa.int64()) for part in (batch, in_seconds))
        wrapped = us.fill_null(0).to_numpy() // 1_000_000 != seconds.fill_null(0).to_numpy()
        if wrapped.any():
            mended = pc.if_else(pa.array(wrapped), pa.scalar(np.iinfo(np.int64).max), us).cast(batch.column(at).type)
            batch = batch.set_column(at, batch.schema.field(at), mended)
    return batch


def _row_groups(table: pq.ParquetFile, wanted: list[str], columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Some columns of those wanted; fewer rows at a time where these are long: decoded rows are all that is held."""
    for at in range(table.num_row_groups):
        group = table.metadata.row_group(at)
        rows = _rows_within(group.num_rows, group.total_byte_size)
        if rows < MAX_BATCH_ROWS and len(wanted) < len(table.schema_arrow):  # or other columns are long
            rows = _rows_within(group.num_rows, _size(table, at, wanted))
        yield from table.iter_batches(rows, row_groups=[at], columns=columns or wanted, use_threads=False)


def _rows_within(rows: int, size: int) -> int:
    """How many rows to read at a time, where some have a size in bytes together."""
    return max(1, min(MAX_BATCH_ROWS, MAX_BATCH_BYTES * rows // max(size, 1)))


def _counted(file: Input, batches: Iterator[pa.RecordBatch], total: int) -> Iterator[pa.RecordBatch]:
    """The same batches, of `total` rows, of which the input's share is. Raises SourceError for other than so many."""
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        if rows > total:
            break
        file.known_share = rows / total
        yield batch
    if rows != total:
        found = "more" if rows > total else f"{rows:,}"
        raise SourceError(
            f"{file.name} is damaged: it has {found} rows, and its footer says {total:,}; make or fetch it again"
        )


def _size(table: pq.ParquetFile, at: int, wanted: list[str]) -> int:
    """Bytes of the wanted columns in a row group, encoded."""
    # What pyarrow 26 finds wrong with a column as it is asked for ends the process; as it is read it is an error.
    next(table.iter_batches(1, row_groups=[at], columns=wanted, use_threads=False), None)
    group = table.metadata.row_group(at)
    leaves = [leaf for leaf, column in enumerate(table.schema) if column.path.split(".")[0] in wanted]
    return sum(group.column(leaf).total_uncompressed_size for leaf in leaves)
