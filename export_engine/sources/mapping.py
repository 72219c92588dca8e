"""`--map` and `--where` as SQL: files with columns of their own names become a query with this package's columns.

Every column of a CSV file and every key of a JSON object is text to the expressions, as nothing is guessed of its type:
`CAST(cents AS INTEGER)` where a number is wanted, `payload->>'$.author.name'` inside a JSON value. Parquet's columns
have their own types. A column that has the right name already needs no mapping.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Literal

import duckdb
import pyarrow as pa

from export_engine.errors import OptionError, SchemaError
from export_engine.schema import COLUMN_NAMES, CREATED_AT
from export_engine.sources import SourceContext
from export_engine.sources.duck import MEMORY_LIMIT, check_expression, connected, query_errors, selected, told
from export_engine.sources.tables import normalised, numbered

__all__ = ["Mapped", "MappedFormat", "mapped_query", "read_mapped"]

#: The kinds of file that can be mapped.
MappedFormat = Literal["csv", "jsonl", "parquet"]

_NAMES = (*COLUMN_NAMES, CREATED_AT)


def read_mapped(
    *files: str | os.PathLike[str],
    columns: Mapping[str, str],
    where: str | None = None,
    format: MappedFormat,  # noqa: A002  # the word for it
    encoding: str = "utf-8",
    delimiter: str = ",",
    escape: str = '"',
    memory_limit: str = MEMORY_LIMIT,
    spill_folder: str | os.PathLike[str] | None = None,
) -> Mapped:
    """Make a source of files whose columns have other names: `columns` are SQL expressions by the column they make.

    `{"message_id": "Sid", "direction": "CASE WHEN Direction = 'inbound' THEN 'inbound' ELSE 'outbound' END"}`. They and
    the condition `where`, which leaves out the rows for which it is not true, see all the columns of the files, those
    of CSV and JSON as text. A column that has the right name already is taken as it is. All files are of one `format`;
    columns that not all of them have are null elsewhere. DuckDB is bounded as in `read_sql`.

    Errors while reading: OptionError (`map`, `where`) for a column that is none of this package's and an expression
    that cannot be used; those of `read_sql`.
    """
    return Mapped(
        tuple(os.fspath(file) for file in files),
        format,
        dict(columns),
        where,
        encoding,
        delimiter,
        escape,
        memory_limit,
        spill_folder,
    )


@dataclass(frozen=True, slots=True)
class Mapped:
    """What `read_mapped` makes."""

    files: tuple[str, ...]
    format: MappedFormat
    columns: Mapping[str, str]
    where: str | None
    encoding: str
    delimiter: str
    escape: str
    memory_limit: str
    spill_folder: str | os.PathLike[str] | None

    @property
    def paths(self) -> tuple[str, ...]:
        """What is read, so that nothing is written over it."""
        return self.files

    def query(self) -> str:
        """The query that is run, with the files as `$files`: `read_sql` gives the same for it."""
        with connected(UTC, memory_limit=self.memory_limit, spill_folder=self.spill_folder) as connection:
            return self._query(connection)

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        """Run it."""
        with connected(context.timezone, memory_limit=self.memory_limit, spill_folder=self.spill_folder) as connection:
            query = self._query(connection)
            with selected(connection, query, {"files": [*self.files]}) as reader:
                yield from normalised(reader.schema, numbered(told(iter(reader))), context)

    def _query(self, connection: duckdb.DuckDBPyConnection) -> str:
        return mapped_query(
            connection,
            self.files,
            self.format,
            columns=self.columns,
            where=self.where,
            delimiter=self.delimiter,
            encoding=self.encoding,
            escape=self.escape,
        )


def mapped_query(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    format: MappedFormat,  # noqa: A002  # the word for it
    *,
    columns: Mapping[str, str],
    where: str | None = None,
    delimiter: str = ",",
    encoding: str = "utf-8",
    escape: str = '"',
    more: Sequence[str] = (),
) -> str:
    """The SELECT that reads `files`, bound as `$files`, with `columns` and the rows for which `where` is true.

    `columns` are SQL expressions over the files' own columns, by the column that they make. The files are looked into
    for their columns' names; JSON is read to its end for it. `more` are columns that there may be besides. Raises
    OptionError (`map`, `where`) for a column that is none of this package's or an expression that is not valid,
    SchemaError for files without any of the columns.
    """
    names = (*_NAMES, *more)
    for name in columns:
        if name not in names:
            raise OptionError(f"there is no column {name}: the columns are {', '.join(names)}", option="map")
    table = _table(format, delimiter, encoding, escape)
    bound = {"files": [*files]}
    with query_errors():
        described = connection.execute(f"DESCRIBE SELECT * FROM {table}", bound).fetchall()  # noqa: S608  # no text of a user's
    own = [name for name, *_ in described]
    picked = {name: columns.get(name, _quoted(name)) for name in names if name in columns or name in own}
    if not picked:
        raise SchemaError(
            f"none of the columns {', '.join(own)} has a name of this format's: say which is which with --map, such as "
            f"message_id={own[0]}",
            column="message_id",
        )
    source = table if format != "jsonl" else _texts(table, own)
    # What follows is put together of SQL that is the caller's own: an expression is what it asks to be run.
    for name, expression in picked.items():
        said = f"{name}={expression}"
        check_expression(connection, f"SELECT ({expression}) FROM {source}", bound, "map", said)  # noqa: S608
    select = ",\n       ".join(
        _quoted(name) if expression == _quoted(name) else f"{expression} AS {_quoted(name)}"
        for name, expression in picked.items()
    )
    query = f"SELECT {select}\nFROM {source}"
    if where is None:
        return query
    check_expression(connection, f"SELECT 1 FROM {source} WHERE ({where})", bound, "where", where)  # noqa: S608
    return f"{query}\nWHERE ({where})"


def _table(format: MappedFormat, delimiter: str, encoding: str, escape: str) -> str:  # noqa: A002  # the word for it
    """The table function that reads the files, every value as it stands there."""
    if format == "parquet":
        # What a folder's name says (channel_id=007) is text too.
        return "read_parquet($files, union_by_name=true, hive_types_autocast=false)"
    if format == "csv":
        return (
            f"read_csv($files, header=true, all_varchar=true, union_by_name=true, delim={_literal(delimiter)}, "
            f"quote='\"', escape={_literal(escape)}, allow_quoted_nulls=false, strict_mode=true, null_padding=false, "
            f"encoding={_literal(encoding)}, sample_size=-1, max_line_size=67108864)"
        )
    # Depth 1: objects' keys become columns, and their values stay JSON.
    return "read_json($files, union_by_name=true, maximum_depth=1, sample_size=-1)"


def _texts(table: str, own: Sequence[str]) -> str:
    """JSON values as text: strings without their quotes, null as null, all else as it is written."""
    columns = ", ".join(f"{name} ->> '$' AS {name}" for name in map(_quoted, own))
    return f"(SELECT {columns} FROM {table})"  # noqa: S608  # quoted names


def _quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
