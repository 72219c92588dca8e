"""What a lake is to DuckDB: a query, and what may be used to run it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any

from export_engine.batch.kinds import check_flat
from export_engine.batch.nested import conversations_query
from export_engine.batch.runs import LAKE_COLUMNS
from export_engine.sources.duck import THREAD_BYTES, check_expression, check_query, connected
from export_engine.sources.mapping import JSON_THREAD_BYTES, MappedFormat, check_names, file_table, select_text
from export_engine.sources.misread import check_files

if TYPE_CHECKING:
    import duckdb

__all__ = ["Lake"]

_MEMORY_LIMIT = "1GB"


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
    - `ignored_columns` are those of its files that are neither known here nor in an expression; of a query's columns
      they are found when it is counted.
    """

    query: str
    parameters: Mapping[str, Any]
    channels: str | os.PathLike[str] | None = None
    memory_limit: str = _MEMORY_LIMIT
    spill_folder: str | os.PathLike[str] | None = None
    thread_bytes: int = THREAD_BYTES
    ignored_columns: tuple[str, ...] = ()

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
        escape: str | None = None,
        **more: Any,
    ) -> Lake:
        """The rows of files of one format, whose columns are matched by name.

        `columns` and `where` are SQL over the files' own columns, as for `export_engine.sources.read_mapped`;
        `more` are the fields of a lake. The files are looked into for their columns. Raises OptionError (`map`,
        `where`), SchemaError, and SourceError for files that cannot be read, or JSON whose values are of another kind
        than a single export takes.
        """
        paths = [os.fspath(file) for file in files]
        if format == "jsonl":
            more.setdefault("thread_bytes", JSON_THREAD_BYTES)
        lake = cls(query="", parameters={"files": paths}, **more)
        said = columns or {}
        check_names(said, LAKE_COLUMNS)
        used = " ".join([*said.values(), where or ""])
        with lake.connected(UTC) as connection:
            table, own = file_table(
                connection, lake.parameters, format, used, delimiter=delimiter, encoding=encoding, escape=escape
            )
            query = select_text(connection, table, own, lake.parameters, columns=said, where=where, names=LAKE_COLUMNS)
            if format == "jsonl":
                check_flat(connection, lake.parameters, [name for name in own if name not in said])
        ignored = tuple(name for name in own if name not in LAKE_COLUMNS and name not in used)
        return replace(lake, query=query, ignored_columns=ignored)

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
        lake = cls(query=query, parameters=parameters, **more)
        with lake.connected(UTC) as connection:
            check_query(connection, query, parameters)
            check_files(connection, query, parameters)
        return lake.filtered(where)

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
