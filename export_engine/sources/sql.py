"""A source of an SQL query's rows, over whatever files DuckDB reads."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from glob import glob
from typing import Any

import pyarrow as pa

from export_engine.sources import Source, SourceContext
from export_engine.sources.duck import MEMORY_LIMIT, connected, selected, told
from export_engine.sources.formats import check_arrays
from export_engine.sources.tables import normalised, numbered

__all__ = ["read_sql"]


def read_sql(
    query: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    memory_limit: str = MEMORY_LIMIT,
    spill_folder: str | os.PathLike[str] | None = None,
) -> Source:
    """Make a source of one SELECT, run by DuckDB over files: `SELECT … FROM read_json($files)`.

    The query's columns are the twelve of the CSVs and perhaps `created_at`, in any order; see `from_arrow` for what may
    be missing and which types they may have. Its rows must stand together by conversation: end it with
    `ORDER BY conversation_id, message_time`, or sort (`sorted_rows`). `parameters` are the values of its `$names`: they
    are bound, never put into the text; a list of paths is one value. A TIMESTAMP without a zone is in the export's time
    zone, which is also the session's.

    DuckDB holds at most `memory_limit` (256MB) and spills what is more to a private folder inside `spill_folder`, which
    is removed whatever happens. No extension is loaded. What the query names at `s3://`, `gs://`, `az://` and
    `https://` is read through obstore, as in `open_source`; that needs `pip install 'export-engine[cloud]'`.

    Errors while reading: OptionError for a query that is not one SELECT, or a parameter without a value; SourceError
    for a query that fails, and for a file among the parameters that is a JSON array cut short (behind a comma DuckDB
    takes it for whole; not looked for in compressed files and at URLs); and those of `from_arrow`. `row` in errors is
    the number of the query's row.
    """
    return _Sql(query, dict(parameters or {}), memory_limit, spill_folder)


@dataclass(frozen=True, slots=True)
class _Sql:
    query: str
    parameters: dict[str, Any] = field(repr=False)
    memory_limit: str
    spill_folder: str | os.PathLike[str] | None

    @property
    def paths(self) -> tuple[str, ...]:
        """What is read, as far as it is a parameter (a pattern is all it fits), so that nothing is written over it."""
        given = [
            v for value in self.parameters.values() for v in (value if isinstance(value, list | tuple) else [value])
        ]
        patterns = [os.fspath(value) for value in given if isinstance(value, str | os.PathLike)]
        return tuple(path for pattern in patterns for path in glob(pattern, recursive=True))  # noqa: PTH207  # absolute ones too

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        check_arrays(self.paths)
        with (
            connected(context.timezone, memory_limit=self.memory_limit, spill_folder=self.spill_folder) as connection,
            selected(connection, self.query, self.parameters) as reader,
        ):
            yield from normalised(reader.schema, numbered(told(iter(reader))), context)
