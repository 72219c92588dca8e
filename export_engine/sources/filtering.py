"""Any source's rows through DuckDB, as they are in `ROW_SCHEMA`: by a query over the table `rows`, or a condition."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import tzinfo

import pyarrow as pa

from export_engine.schema import ROW_SCHEMA
from export_engine.sources import Source, SourceContext
from export_engine.sources.duck import MEMORY_LIMIT, check_expression, connected, streamed, told

__all__ = ["Queried", "filtered"]


def filtered(
    source: Source,
    where: str,
    *,
    memory_limit: str = MEMORY_LIMIT,
    spill_folder: str | os.PathLike[str] | None = None,
) -> Source:
    """Make a source of those of another's rows for which an SQL condition is true: `direction = 'inbound'`.

    The condition sees the twelve columns of the CSVs and `created_at`, text as VARCHAR and the two times as TIMESTAMP
    WITH TIME ZONE; the session's zone is the export's, so that `message_time >= '2026-06-11'` means its midnight there.
    For which it is null, a row is left out. The rows' order stays. DuckDB is bounded as in `sorted_rows`.

    Errors while reading: those of `source`; OptionError (`where`) for a condition that is none.
    """
    return _Filtered(source, memory_limit, spill_folder, where)


@dataclass(frozen=True, slots=True)
class Queried:
    """What is a source of another's rows after they went through DuckDB."""

    source: Source
    memory_limit: str
    spill_folder: str | os.PathLike[str] | None

    @property
    def paths(self) -> tuple[str | os.PathLike[str] | int, ...]:
        """What is read, so that nothing is written over it."""
        paths: tuple[str | os.PathLike[str] | int, ...] = getattr(self.source, "paths", ())
        return paths

    @contextmanager
    def selected(
        self, rows: Iterator[pa.RecordBatch], query: str, zone: tzinfo, *, where: str | None = None
    ) -> Iterator[Iterator[pa.RecordBatch]]:
        """Batches of a query over `rows`, which gives all its columns; a condition `where` in it is checked first.

        One thread works, so that the rows are read by the caller's: a database's cursor may belong to it.
        """
        with connected(zone, threads=1, memory_limit=self.memory_limit, spill_folder=self.spill_folder) as connection:
            if where is not None:
                connection.register("rows", ROW_SCHEMA.empty_table())
                check_expression(connection, f"SELECT 1 FROM rows WHERE ({where})", {}, "where", where)  # noqa: S608  # the caller's own
            with streamed(connection, "rows", ROW_SCHEMA, rows, query) as reader:
                yield map(_of_schema, told(iter(reader)))


@dataclass(frozen=True, slots=True)
class _Filtered(Queried):
    where: str

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        query = f"SELECT * FROM rows WHERE ({self.where})"  # noqa: S608  # the condition is SQL of the caller's own
        with (
            closing(self.source.batches(context)) as rows,
            self.selected(rows, query, context.timezone, where=self.where) as kept,
        ):
            yield from kept


def _of_schema(batch: pa.RecordBatch) -> pa.RecordBatch:
    """DuckDB says of every column that it may be null."""
    return pa.RecordBatch.from_arrays(batch.columns, schema=ROW_SCHEMA)
