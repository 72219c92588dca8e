"""Files whose columns have names of their own, read through a query that `sources.mapping` makes.

CSV is read as `read_csv` reads it, with its encodings and its errors, and the query sees the rows; JSON and Parquet are
DuckDB's to read, from a copy in the spill folder where they are no plain files.
"""

from __future__ import annotations

import os
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from export_engine.errors import OptionError, RowError
from export_engine.schema import CHANNEL_ID, COLUMN_NAMES, CREATED_AT
from export_engine.sources import SourceContext
from export_engine.sources.csv_file import check_once, csv_columns
from export_engine.sources.duck import MEMORY_LIMIT, connected, selected, streamed, told
from export_engine.sources.inputs import Given, checked_inputs, name_of, opened, path_of
from export_engine.sources.mapping import (
    JSON_THREAD_BYTES,
    MappedFormat,
    check_names,
    csv_table,
    file_table,
    select_text,
)
from export_engine.sources.misread import check_arrays
from export_engine.sources.open import expanded
from export_engine.sources.tables import normalised, numbered
from export_engine.sources.text import text
from export_engine.sources.urls import is_url
from export_engine.sources.values import BadValue, converted, row_error

if TYPE_CHECKING:
    import duckdb

__all__ = ["Mapped", "read_mapped"]

#: What the CSV's rows are called in a query.
_ROWS = "input"
_COPIED = 1 << 20
_KNOWN = {*COLUMN_NAMES, CREATED_AT, CHANNEL_ID}


def read_mapped(
    *inputs: Given,
    columns: Mapping[str, str],
    where: str | None = None,
    format: MappedFormat,  # noqa: A002  # the word for it
    encoding: str | None = None,
    delimiter: str | None = None,
    escape: str | None = None,
    memory_limit: str = MEMORY_LIMIT,
    spill_folder: str | os.PathLike[str] | None = None,
) -> Mapped:
    """Make a source of files whose columns have other names: `columns` are SQL expressions by the column they make.

    `{"message_id": "Sid", "direction": "CASE WHEN Direction = 'inbound' THEN 'inbound' ELSE 'outbound' END"}`. They and
    the condition `where`, which leaves out the rows for which it is not true, see all the columns of the files, those
    of CSV and JSON as text (a JSON value that is no string as JSON writes it: 1.50 and 15e-1 are 1.5). A column
    that has the right name already is taken as it is; an expression that is a column's name, letter by letter, is that
    column.

    `inputs` are as in `open_source`, all of one `format`: CSV, JSON Lines or a JSON array of objects, Parquet. Columns
    that not all of them have are null elsewhere. `encoding`, `delimiter` and `escape` are `read_csv`'s. DuckDB is
    bounded as in `read_sql`.

    Raises OptionError for a column that is none of this package's (`map`), and as `open_source` does. Errors while
    reading: OptionError (`map`, `where`) for an expression that cannot be used; SchemaError for files of which no
    column is known, or, of JSON and Parquet, two differ only by case; SourceError for a number in JSON that has more
    digits than a double; and those of `read_csv` and `read_sql`.
    """
    check_names(columns)
    if not inputs:
        raise OptionError("no file was given: pass one path or more", option="inputs")
    inputs = expanded(inputs)
    checked_inputs(inputs)
    given = {"encoding": encoding, "delimiter": delimiter, "escape": escape}
    csv = {name: value for name, value in given.items() if value is not None}
    if csv and format != "csv":
        raise OptionError(f"{next(iter(csv))} is for CSV, and the inputs are {format}", option=next(iter(csv)))
    return Mapped(inputs, format, dict(columns), where, csv, memory_limit, spill_folder)


@dataclass(frozen=True, slots=True)
class Mapped:
    """What `read_mapped` makes."""

    inputs: tuple[Given, ...]
    format: MappedFormat
    columns: Mapping[str, str]
    where: str | None
    csv: Mapping[str, str]
    memory_limit: str
    spill_folder: str | os.PathLike[str] | None

    @property
    def paths(self) -> tuple[str | os.PathLike[str] | int, ...]:
        """What is read, so that nothing is written over it."""
        return tuple(path for given in self.inputs for path in path_of(given))

    def query(self) -> str:
        """A query with the inputs as `$files`, for which `read_sql` gives the same.

        Raises OptionError (`encoding`) for CSV that DuckDB cannot read as it is, and the errors of reading.
        """
        with self._connected(UTC) as connection, ExitStack() as stack:
            if self.format == "csv":
                own = _schema_of(self._csv_files(stack))
                connection.register(_ROWS, own.empty_table())
                # DuckDB takes the blanks around a name away, and numbers names in its own way.
                odd = len(self.inputs) == 1 and any(n != n.strip() or n[-1].isdigit() for n in own.names)
                table = csv_table(**self.csv, names=own.names if odd else ())
                return select_text(connection, _ROWS, own.names, {}, instead=table, **self._wanted)
            return select_text(connection, *self._table(connection), **self._wanted)

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        """Run it."""
        with self._connected(context.timezone) as connection, ExitStack() as stack:
            if self.format == "csv":
                context.is_csv = True
                files = self._csv_files(stack)
                own = _schema_of(files)
                connection.register(_ROWS, own.empty_table())
                query = select_text(connection, _ROWS, own.names, {}, **self._wanted)
                found = stack.enter_context(streamed(connection, _ROWS, own, _csv_rows(files, own, context), query))
            else:
                table, names, bound = self._table(connection)
                if not names and not connection.execute(f"SELECT 1 FROM {table} LIMIT 1", bound).fetchall():  # noqa: S608  # no text of a user's
                    return  # JSON without an object: an empty file, or array
                query = select_text(connection, table, names, bound, **self._wanted)
                found = stack.enter_context(selected(connection, query, bound))
            yield from normalised(found.schema, numbered(told(iter(found))), context)

    @property
    def _said(self) -> str:
        """The text of all expressions."""
        return " ".join([*self.columns.values(), self.where or ""])

    @property
    def _wanted(self) -> dict[str, Any]:
        # Whoever makes a column of the channel has seen that there are several.
        made = any(re.search(rf"\b{CHANNEL_ID}\b", said, re.IGNORECASE) for said in self.columns.values())
        names = (*COLUMN_NAMES, CREATED_AT, *(() if made else (CHANNEL_ID,)))
        return {"columns": self.columns, "where": self.where, "names": names}

    def _connected(self, zone: tzinfo) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        # CSV is read by the caller's thread: with one thread DuckDB's work is done in it too.
        found = partial(connected, zone, memory_limit=self.memory_limit, spill_folder=self.spill_folder)
        if self.format == "csv":
            return found(threads=1)
        return found(thread_bytes=JSON_THREAD_BYTES) if self.format == "jsonl" else found()

    # --- JSON and Parquet: DuckDB reads them ---

    def _table(self, connection: duckdb.DuckDBPyConnection) -> tuple[str, list[str], dict[str, Any]]:
        """What reads the files, the columns that they have, and the paths that are to be bound."""
        bound = {"files": [_local(given, at, self.format, connection) for at, given in enumerate(self.inputs)]}
        return *file_table(connection, bound, self.format, self._said), bound

    # --- CSV: rows that were read already ---

    def _csv_files(self, stack: ExitStack) -> list[_Csv]:
        """The inputs, with the names of their columns; a single one is opened once and stays open."""
        if len(self.inputs) == 1:
            file = stack.enter_context(opened(self.inputs[0]))
            names, batches = csv_columns(file, **self.csv)
            return [_Csv(self._distinct(file.name, names), lambda: batches)]
        return [
            _Csv(self._distinct(name_of(given), self._header(given)), partial(_again, given, self.csv))
            for given in self.inputs
        ]

    def _distinct(self, name: str, names: list[str]) -> list[str]:
        """Names that are all different; SchemaError for one of this package's that is there twice and not mapped."""
        check_once(name, names, lambda column: column in _KNOWN and column not in self.columns)
        return _distinct(names)

    def _header(self, given: Given) -> list[str]:
        if not (is_url(given) or (isinstance(given, str | os.PathLike) and os.path.isfile(given))):  # noqa: PTH113
            raise OptionError(
                f"{name_of(given)} is no file on disk, and of several inputs the columns' names are read first: give "
                "it alone, or save it to a file",
                option="inputs",
            )
        with opened(given) as file:
            return csv_columns(file, **self.csv)[0]


def _local(given: Given, at: int, format: MappedFormat, connection: duckdb.DuckDBPyConnection) -> str:  # noqa: A002  # the word for it
    """A path that DuckDB reads: the input's own, or that of a plain copy in the spill folder."""
    if is_url(given) and format == "parquet":
        return str(given)
    with opened(given) as file:
        array = format == "jsonl" and file.peek(_COPIED).removeprefix(BOM_UTF8).lstrip().startswith(b"[")
        if array and file.peek(len(BOM_UTF8)) == BOM_UTF8:  # DuckDB would see no array
            file.read(len(BOM_UTF8))
        elif isinstance(given, str | os.PathLike) and os.path.isfile(given):  # noqa: PTH113  # any kind of path
            path = os.fspath(given)
            plain = format == "parquet" or file.compression is None
            packed = (file.compression, path[path.rfind(".") :].lower())
            # What is packed cannot be seen to end.
            if plain or (not array and packed in {("gzip", ".gz"), ("zstd", ".zst")}):
                return _unpatterned(path)
        (folder,) = connection.execute("SELECT current_setting('temp_directory')").fetchone() or ("",)
        copy = Path(folder) / f"input-{at}"
        with copy.open("wb") as into:
            while data := file.read(_COPIED):
                into.write(data)
        if array:
            check_arrays([str(copy)], file.name)
        return str(copy)


def _unpatterned(path: str) -> str:
    """A path that DuckDB does not take for a pattern."""
    return re.sub(r"([*?\[])", r"[\1]", path)


# --- CSV -------------------------------------------------------------------------------------------------------------


class _Csv(NamedTuple):
    """One file's columns, by names that are all different, and what reads its rows, once."""

    names: list[str]
    read: Callable[[], Iterator[pa.RecordBatch]]


def _again(given: Given, options: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    with opened(given) as file:
        yield from csv_columns(file, **options)[1]


def _distinct(names: Sequence[str]) -> list[str]:
    """Names as SQL tells them apart, which is not by case: those that are there more than once get their number.

    One that is blank is called after its place, as DuckDB does.
    """
    names = [name if name.strip() else f"column{at}" for at, name in enumerate(names)]
    folded = [name.casefold() for name in names]
    return [
        f"{name}_{folded[: at + 1].count(key)}" if folded.count(key) > 1 else name
        for at, (name, key) in enumerate(zip(names, folded, strict=True))
    ]


def _schema_of(files: Sequence[_Csv]) -> pa.Schema:
    """All columns of all files, in the order in which they are met."""
    names: dict[str, str] = {}
    for file in files:
        for name in file.names:
            names.setdefault(name.casefold(), name)
    return pa.schema([(name, pa.string()) for name in names.values()])


def _csv_rows(files: Sequence[_Csv], schema: pa.Schema, context: SourceContext) -> Iterator[pa.RecordBatch]:
    """The rows of all files; a column that a file does not have is null."""
    for file in files:
        places = {name.casefold(): at for at, name in enumerate(file.names)}
        before = 0
        for batch in file.read():
            columns = [
                _text(name, batch.column(places[key]), before, context)
                if (key := name.casefold()) in places
                else pa.nulls(batch.num_rows, pa.string())
                for name in schema.names
            ]
            before += batch.num_rows
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _text(name: str, column: pa.Array, before: int, context: SourceContext) -> pa.Array:
    """Strings that are UTF-8. Raises RowError for others."""

    def error(bad: BadValue) -> RowError:
        return row_error(
            bad.problem,
            column=name,
            value=None,
            conversation_id=None,
            message_id=None,
            row=before + bad.at + 1,
            advice=bad.advice,
        )

    # It is not a column of this package's yet, even if it is called so.
    return converted("", len(column), lambda low, high: text(column.slice(low, high - low), context), error, context)
