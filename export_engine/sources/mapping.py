"""`--map` and `--where` as SQL: files with columns of their own names become a query with this package's columns.

Every column of a CSV file and every key of a JSON object is text to the expressions, as nothing is guessed of its type:
`CAST(cents AS INTEGER)` where a number is wanted, `payload->>'$.author.name'` inside a JSON value. Parquet's columns
have their own types. A column that has the right name already needs no mapping. An expression that is the name of a
column, as it stands in the file, is that column and needs no quotes.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Literal

import duckdb

from export_engine.errors import OptionError, SchemaError, SourceError
from export_engine.schema import CHANNEL_ID, COLUMN_NAMES, CREATED_AT, REQUIRED
from export_engine.sources.csv_file import check_once, csv_columns
from export_engine.sources.duck import check_expression, query_errors, reach
from export_engine.sources.inputs import opened
from export_engine.sources.misread import check_arrays, check_decimals, meant, names

__all__ = [
    "JSON_THREAD_BYTES",
    "MappedFormat",
    "check_names",
    "csv_table",
    "file_table",
    "mapped_query",
    "select_text",
]

#: The kinds of file that can be mapped.
MappedFormat = Literal["csv", "jsonl", "parquet"]

_NAMES = (*COLUMN_NAMES, CREATED_AT)
_KNOWN = {*_NAMES, CHANNEL_ID, "channel_name", "channel_phone"}
_REQUIRED = tuple(name for name in COLUMN_NAMES if name in REQUIRED)


def mapped_query(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    format: MappedFormat,  # noqa: A002  # the word for it
    *,
    columns: Mapping[str, str],
    where: str | None = None,
    delimiter: str = ",",
    encoding: str = "utf-8",
    escape: str | None = None,
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
    said = " ".join([*columns.values(), where or ""])
    table, own = file_table(connection, bound, format, said, delimiter=delimiter, encoding=encoding, escape=escape)
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
    if not own:
        raise SchemaError(
            "the files hold no JSON object with a key, and so no column: give objects, one a line or in one array",
            column="message_id",
            missing=_REQUIRED,
        )
    given = {name: columns.get(name, name) for name in names if name in {*columns, *own}}
    picked = {name: _quoted(said) if said in own else said for name, said in given.items()}
    if not picked:
        raise SchemaError(
            f"none of the columns {', '.join(own)} has a name of this format's: say which is which with --map, such as "
            f"message_id={own[0] if own else 'id'}",
            column="message_id",
            missing=_REQUIRED,
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
    said: str,
    **options: Any,
) -> tuple[str, list[str]]:
    """What reads `$files` in a query, and the names of their columns; `options` are those of `csv_table`.

    `said` is the text of all expressions over them. Raises SchemaError for a column that it names, or that is one of
    this package's, and is there twice, SourceError for one that DuckDB reads as something else.
    """

    def is_used(name: str) -> bool:
        return name in _KNOWN or names(said, name)

    reach(connection, "", bound)
    if format == "jsonl":
        return _json_table(connection, bound)
    if format == "csv":
        _csv_names(bound["files"][0], options)  # what is wrong with it is said as a single export says it
    table = csv_table(**options) if format == "csv" else _PARQUET
    with query_errors(), _csv_errors(bound["files"] if format == "csv" else (), options):
        described = connection.execute(f"DESCRIBE SELECT * FROM {table}", dict(bound)).fetchall()  # noqa: S608  # no text of a user's
        own = [name for name, *_ in described]
        if format == "parquet":
            check_decimals(connection, list(bound["files"]), is_used)
            if any(_NUMBERED.search(name) for name in own):  # perhaps not the file's own name
                query = "SELECT DISTINCT name FROM parquet_schema($files) ORDER BY name"
                _tell_apart([name for (name,) in connection.execute(query, dict(bound)).fetchall()], own)
    # Perhaps not the file's own name either, or several in one, or a comment's.
    if format == "csv" and (len({name.rstrip("0123456789_") for name in own}) < len(own) or any(map(_ODD.search, own))):
        for file in meant(bound["files"]):
            check_once(file, _csv_names(file, options), is_used)
    return table, own


@contextmanager
def _csv_errors(files: Sequence[str], options: Mapping[str, Any]) -> Iterator[None]:
    """Say of CSV that DuckDB cannot read what a single export says of it: the file and the row."""
    try:
        yield
    except duckdb.Error:
        for file in meant(files):
            with opened(file) as given:
                for _ in csv_columns(given, **options)[1]:
                    pass
        raise


def _csv_names(file: str, options: Mapping[str, Any]) -> list[str]:
    """The names of a CSV file's columns, as they stand there."""
    with opened(file) as given:
        return csv_columns(given, **options)[0]


#: The table function that reads `$files` of Parquet. What a folder's name says (channel_id=007) is text too.
_PARQUET = "read_parquet($files, union_by_name=true, hive_types_autocast=false)"
#: What a thread that reads JSON takes: two objects of the longest that there may be, and a thread's share of the query.
JSON_THREAD_BYTES = 256_000_000
#: How DuckDB ends a name that another has but for case.
_NUMBERED = re.compile("_[0-9]+$")
#: What parts names elsewhere.
_ODD = re.compile("[,;\t|]")
#: The objects of JSON as they are written, and what may be a number of more digits than DuckDB keeps of it: sixteen
#: with a point among them, or before an exponent. Whole numbers keep all.
_OBJECTS = "read_json_objects($files, maximum_object_size=67108864)"
_LONG_NUMBER = (
    r"[:\[,][ \t\r\n]*-?([0-9]{16,}[.eE]|"
    + "|".join(rf"[0-9]{{{whole}}}\.[0-9]{{{16 - whole},}}" for whole in range(1, 16))
    + ")"
)


def _json_table(connection: duckdb.DuckDBPyConnection, bound: Mapping[str, Any]) -> tuple[str, list[str]]:
    """What reads JSON, the keys of whose objects are columns, be they many or rare, and their values text.

    Raises SchemaError for keys that SQL does not tell apart, SourceError for a number of which digits would be lost and
    for an array that is cut short.
    """
    check_arrays(meant(bound["files"]))
    query = (
        f"SELECT json_keys(json) AS keys, bool_or(regexp_matches(json, {_literal(_LONG_NUMBER)})) FROM {_OBJECTS} "  # noqa: S608  # no text of a user's
        "GROUP BY keys ORDER BY count(*) DESC, keys"
    )
    with query_errors():
        found = connection.execute(query, dict(bound)).fetchall()
        # One that is empty has no name in SQL, and no expression can ask for it.
        own = list(dict.fromkeys(key for keys, _ in found for key in keys or () if key))
        _tell_apart(own, own)
        if any(long for _, long in found):
            _check_numbers(connection, bound)
    if not own:
        return _OBJECTS, own
    columns = ", ".join(f"{_literal(name)}: 'JSON'" for name in own)
    return _texts(f"read_json($files, records=true, columns={{{columns}}}, maximum_object_size=67108864)", own), own


def _tell_apart(names: Sequence[str], own: Sequence[str]) -> None:
    """Raise SchemaError for names of which SQL sees only one: those that differ in the case of ASCII letters alone."""
    first: dict[str, str] = {}
    for name in names:
        key = name.lower() if name.isascii() else re.sub("[A-Z]", lambda letter: letter[0].lower(), name)
        if first.setdefault(key, name) != name:
            raise SchemaError(
                f"columns {first[key]!r} and {name!r} differ only by case, which SQL does not tell apart: rename one, "
                "or leave it out",
                column=name,
                given=tuple(own),
            )


def _check_numbers(connection: duckdb.DuckDBPyConnection, bound: Mapping[str, Any]) -> None:
    """Raise SourceError for a number with a fraction or an exponent that DuckDB changes: it makes a double of it."""

    def exact(written: str) -> None:
        if Decimal(written) != Decimal(repr(float(written))):
            raise SourceError(
                f"the number {written} has more digits than a query keeps of one with a fraction or an exponent: write "
                "it as text, in quotes"
            )

    query = f"SELECT json FROM {_OBJECTS} WHERE regexp_matches(json, {_literal(_LONG_NUMBER)})"  # noqa: S608  # the same
    found = connection.execute(query, dict(bound))
    while rows := found.fetchmany(1024):
        for (text,) in rows:
            json.loads(text, parse_float=exact, parse_int=str)


#: What DuckDB calls the encodings that it reads, by Python's names.
_ENCODINGS = {"utf-8": "utf-8", "utf-8-sig": "utf-8", "utf-16": "utf-16", "iso8859-1": "latin-1"}


def csv_table(
    *, delimiter: str = ",", encoding: str = "utf-8", escape: str | None = None, names: Sequence[str] = ()
) -> str:
    """The table function that reads CSV, by the `names` instead of those in the file if there are any.

    Raises OptionError (`encoding`) for an encoding that DuckDB does not read.
    """
    known = _ENCODINGS.get(codecs.lookup(encoding).name)
    if known is None:
        raise OptionError(f"a query does not read {encoding}: convert the file to UTF-8", option="encoding")
    return (
        f"read_csv($files, header=true, all_varchar=true, union_by_name=true, delim={_literal(delimiter)}, "
        f"quote='\"', escape={_literal(escape or chr(34))}, comment='', skip=0, allow_quoted_nulls=false, "
        f"strict_mode=true, null_padding=false, encoding={_literal(known)}, sample_size=-1, max_line_size=67108864"
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
