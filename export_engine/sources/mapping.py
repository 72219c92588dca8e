"""`--map` and `--where` as SQL: files with columns of their own names become a query with this package's columns.

Every column of a CSV file and every key of a JSON object is text to the expressions, as nothing is guessed of its type:
`CAST(cents AS INTEGER)` where a number is wanted, `payload->>'$.author.name'` inside a JSON value. Parquet's columns
have their own types. A column that has the right name already needs no mapping. An expression that is the name of a
column, as it stands in the file, is that column and needs no quotes.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import duckdb

from export_engine.errors import OptionError, SchemaError
from export_engine.schema import COLUMN_NAMES, CREATED_AT, REQUIRED
from export_engine.sources.duck import check_expression, query_errors, reach

__all__ = ["MappedFormat", "check_names", "csv_table", "file_table", "mapped_query", "select_text"]

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
    check_names(columns, names)
    bound = {"files": [*files]}
    table, own = file_table(connection, bound, format, delimiter=delimiter, encoding=encoding, escape=escape)
    return select_text(connection, table, own, bound, columns=columns, where=where, names=names)


def check_names(columns: Mapping[str, str], names: Sequence[str] = _NAMES) -> None:
    """Raise OptionError (`map`) for a column that is none of the `names`."""
    for name in columns:
        if name not in names:
            raise OptionError(f"there is no column {name}: the columns are {', '.join(names)}", option="map")


def select_text(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    own: Sequence[str],
    bound: Mapping[str, Any],
    *,
    columns: Mapping[str, str],
    where: str | None,
    names: Sequence[str] = _NAMES,
    instead: str | None = None,
) -> str:
    """The SELECT from a table that has its `own` columns; in the text another may stand `instead`.

    Raises as `mapped_query` does.
    """
    given = {name: columns.get(name, name) for name in names if name in {*columns, *own}}
    picked = {name: _quoted(said) if said in own else said for name, said in given.items()}
    if not picked:
        raise SchemaError(
            f"none of the columns {', '.join(own)} has a name of this format's: say which is which with --map, such as "
            f"message_id={own[0] if own else 'id'}",
            column="message_id",
            missing=tuple(name for name in COLUMN_NAMES if name in REQUIRED),
            given=tuple(own),
        )
    # What follows is put together of SQL that is the caller's own: an expression is what it asks to be run.
    for name, expression in picked.items():
        query = f"SELECT ({expression}) FROM {table}"  # noqa: S608  # see above
        check_expression(connection, query, bound, "map", f"{name}={given[name]}")
    select = ",\n       ".join(
        _quoted(name) if expression == _quoted(name) else f"{expression} AS {_quoted(name)}"
        for name, expression in picked.items()
    )
    condition = ""
    if where is not None:
        condition = f"\nWHERE ({where})"
        check_expression(connection, f"SELECT 1 FROM {table}{condition}", bound, "where", where)  # noqa: S608  # the same
    return f"SELECT {select}\nFROM {instead or table}{condition}"  # the same


def file_table(
    connection: duckdb.DuckDBPyConnection,
    bound: Mapping[str, Any],
    format: MappedFormat,  # noqa: A002  # the word for it
    **options: Any,
) -> tuple[str, list[str]]:
    """What reads `$files` in a query, and the names of their columns; `options` are those of `csv_table`."""
    table = csv_table(**options) if format == "csv" else _READ[format]
    reach(connection, "", bound)
    with query_errors():
        described = connection.execute(f"DESCRIBE SELECT * FROM {table}", dict(bound)).fetchall()  # noqa: S608  # no text of a user's
    own = [name for name, *_ in described]
    return table if format != "jsonl" else _texts(table, own), own


#: The table functions that read `$files`, every value as it stands there. In Parquet what a folder's name says
#: (channel_id=007) is text too. In JSON the keys of an object become columns, be they many or rare, and their values
#: stay JSON (depth 1).
_READ = {
    "parquet": "read_parquet($files, union_by_name=true, hive_types_autocast=false)",
    "jsonl": "read_json($files, union_by_name=true, maximum_depth=1, sample_size=-1, map_inference_threshold=-1, "
    "field_appearance_threshold=0, maximum_object_size=67108864)",
}
#: What DuckDB calls the encodings that it reads, by Python's names.
_ENCODINGS = {"utf-8": "utf-8", "utf-8-sig": "utf-8", "utf-16": "utf-16", "iso8859-1": "latin-1"}


def csv_table(*, delimiter: str = ",", encoding: str = "utf-8", escape: str = '"', names: Sequence[str] = ()) -> str:
    """The table function that reads CSV, by the `names` instead of those in the file if there are any.

    Raises OptionError (`encoding`) for an encoding that DuckDB does not read.
    """
    known = _ENCODINGS.get(codecs.lookup(encoding).name)
    if known is None:
        raise OptionError(f"a query does not read {encoding}: convert the file to UTF-8", option="encoding")
    return (
        f"read_csv($files, header=true, all_varchar=true, union_by_name=true, delim={_literal(delimiter)}, "
        f"quote='\"', escape={_literal(escape)}, allow_quoted_nulls=false, strict_mode=true, null_padding=false, "
        f"encoding={_literal(known)}, sample_size=-1, max_line_size=67108864"
        + (f", names=[{', '.join(map(_literal, names))}])" if names else ")")
    )


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
