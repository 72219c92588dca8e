"""`--map` and `--where` as SQL: files with columns of their own names become a query with this package's columns.

Every column of a CSV file and every key of a JSON object is text to the expressions, as nothing is guessed of its type:
`CAST(cents AS INTEGER)` where a number is wanted, `payload->>'$.author.name'` inside a JSON value. Parquet's columns
have their own types. A column that has the right name already needs no mapping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import duckdb

from export_engine.errors import OptionError, SchemaError
from export_engine.schema import COLUMN_NAMES, CREATED_AT
from export_engine.sources.duck import query_errors

__all__ = ["MappedFormat", "mapped_query"]

#: The kinds of file that can be mapped.
MappedFormat = Literal["csv", "jsonl", "parquet"]

_NAMES = (*COLUMN_NAMES, CREATED_AT)


def mapped_query(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    format: MappedFormat,  # noqa: A002  # the word for it
    *,
    columns: Mapping[str, str],
    where: str | None = None,
    delimiter: str = ",",
    encoding: str = "utf-8",
) -> str:
    """The SELECT that reads `files`, bound as `$files`, with `columns` and the rows for which `where` is true.

    `columns` are SQL expressions over the files' own columns, by the column that they make. The files are looked into
    for their columns' names; JSON is read to its end for it. Raises OptionError (`map`, `where`) for a column that is
    none of this package's or an expression that is not valid, SchemaError for files without any of the columns.
    """
    for name in columns:
        if name not in _NAMES:
            raise OptionError(f"there is no column {name}: the columns are {', '.join(_NAMES)}", option="map")
    table = _table(format, delimiter, encoding)
    with query_errors():
        described = connection.execute(f"DESCRIBE SELECT * FROM {table}", {"files": [*files]}).fetchall()  # noqa: S608  # no text of a user's
    own = [name for name, *_ in described]
    picked = {name: columns.get(name, _quoted(name)) for name in _NAMES if name in columns or name in own}
    if not picked:
        raise SchemaError(
            f"none of the columns {', '.join(own)} has a name of this format's: say which is which with --map, such as "
            f"message_id={own[0]}",
            column="message_id",
        )
    source = table if format != "jsonl" else _texts(table, own)
    # What follows is put together of SQL that is the caller's own: an expression is what it asks to be run.
    for name, expression in picked.items():
        _check(connection, files, f"SELECT {expression} FROM {source}", "map", f"{name}={expression}")  # noqa: S608
    select = ", ".join(f"{expression} AS {_quoted(name)}" for name, expression in picked.items())
    query = f"SELECT {select}\nFROM {source}"
    if where is None:
        return query
    _check(connection, files, f"SELECT 1 FROM {source} WHERE ({where}\n)", "where", where)  # noqa: S608
    return f"{query}\nWHERE ({where}\n)"


def _table(format: MappedFormat, delimiter: str, encoding: str) -> str:  # noqa: A002  # the word for it
    """The table function that reads the files, every value as it stands there."""
    if format == "parquet":
        return "read_parquet($files, union_by_name=true)"
    if format == "csv":
        return (
            f"read_csv($files, header=true, all_varchar=true, union_by_name=true, delim={_literal(delimiter)}, "
            "quote='\"', escape='\"', allow_quoted_nulls=false, strict_mode=true, null_padding=false, "
            f"encoding={_literal(encoding)}, sample_size=-1, max_line_size=67108864)"
        )
    # Depth 1: objects' keys become columns, and their values stay JSON.
    return "read_json($files, union_by_name=true, maximum_depth=1, sample_size=-1)"


def _texts(table: str, own: Sequence[str]) -> str:
    """JSON values as text: strings without their quotes, null as null, all else as it is written."""
    columns = ", ".join(f"{name} ->> '$' AS {name}" for name in map(_quoted, own))
    return f"(SELECT {columns} FROM {table})"  # noqa: S608  # quoted names


def _check(connection: duckdb.DuckDBPyConnection, files: Sequence[str], query: str, option: str, said: str) -> None:
    """Have DuckDB bind an expression alone, so that its error names it."""
    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1:
            raise OptionError(f"{said!r} is more than one expression", option=option)
        connection.execute(f"EXPLAIN {query}", {"files": [*files]}).fetchall()
    except duckdb.Error as error:
        problem = " ".join(str(error).split("LINE ")[0].split())
        raise OptionError(f"{said!r} cannot be used: {problem}", option=option) from None


def _quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
