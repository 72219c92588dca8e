"""A source of an SQL query's rows, over whatever files DuckDB reads."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from export_engine.errors import SchemaError, SourceError
from export_engine.sources import Source, SourceContext
from export_engine.sources.csv_file import csv_columns
from export_engine.sources.duck import MEMORY_LIMIT, check_query, connected, selected, told
from export_engine.sources.inputs import opened
from export_engine.sources.misread import check_files, meant, named_in, values
from export_engine.sources.tables import normalised, numbered
from export_engine.sources.urls import is_url

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
    for a query that fails, and for a file that DuckDB would read as something else: a JSON array cut short behind a
    comma, and Parquet's decimals of more than 38 digits where the query names their column; and those of `from_arrow`.
    `row` in errors is the number of the query's row.
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
        """What is read (a pattern is all that it fits), so that nothing is written over it."""
        named = [*values(self.parameters), *named_in(self.query, self.parameters)]
        return tuple(meant(name for name in named if not is_url(name)))

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        with connected(context.timezone, memory_limit=self.memory_limit, spill_folder=self.spill_folder) as connection:
            check_query(connection, self.query, self.parameters)
            check_files(connection, self.query, self.parameters)
            with _csv_told(), selected(connection, self.query, self.parameters) as reader:
                yield from normalised(reader.schema, numbered(told(iter(reader))), context, of_query=True)


@contextmanager
def _csv_told() -> Iterator[None]:
    """Say which row of a CSV file is wrong, where DuckDB says only that none of its guesses reads the file."""
    try:
        yield
    except SourceError as error:
        found = re.search('when sniffing file "(.+?)"', str(error))
        if found is None:
            raise
        with suppress(SchemaError, OSError), opened(found[1]) as file:  # the first: separated by something else
            for _ in csv_columns(file)[1]:
                pass
        raise
