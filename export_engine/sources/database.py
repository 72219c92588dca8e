"""A source of a query's rows out of a database: PostgreSQL, MySQL or MariaDB, SQLite.

- **Bounded.** The rows come through a server-side cursor, in pieces of bounded rows, and of bounded bytes once a few
  have been seen: PostgreSQL's `DECLARE … CURSOR`, an unbuffered cursor of PyMySQL, SQLite's own stepping. ADBC's driver
  for PostgreSQL reads by COPY, which takes no parameters: where a query has some it holds the whole result.
- **Read only.** The transaction is read only, and SQLite's file is opened so.
- **Bound.** Parameters go to the database beside the query, never in its text.
- **Silent about secrets.** A password is in no error, representation or log; only a pickle of the source has it.

Text, times, UUIDs and JSON are taken as the text that PostgreSQL sends, and become columns without an object for each.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta, tzinfo
from pathlib import Path
from typing import Any

import pyarrow as pa

from export_engine.errors import OptionError, SourceError
from export_engine.schema import CHANNEL_ID, MAX_BATCH_BYTES, ROW_SCHEMA
from export_engine.sources import Source, SourceContext
from export_engine.sources.rows import batch_of
from export_engine.sources.tables import wanted_columns
from export_engine.times import offset_text, zone_name

try:
    import sqlalchemy as sa
except ModuleNotFoundError:  # pragma: no cover - the tests have it
    raise ModuleNotFoundError(
        "SQLAlchemy is missing, which databases need: pip install 'export-engine[database]'", name="sqlalchemy"
    ) from None

__all__ = ["parameter_names", "query_columns", "read_database", "streamed", "text_or_bytes"]

#: Rows fetched at first: few, as they may be huge, and so that the first bytes of an archive leave soon.
_FIRST_ROWS = 256
#: Rows fetched at most. Three times as many took three times the memory, as Python objects, and were no faster.
_MOST_ROWS = 4096

_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "sqlite": "sqlite+pysqlite",
}
#: What is installed where a driver is missing.
_EXTRA = {"postgresql": "export-engine[database]", "mysql": "pymysql"}
#: Types of PostgreSQL that are taken as text: what is said in text is brought to columns whole, not value by value.
_AS_TEXT = ("uuid", "json", "jsonb", "timestamp", "timestamptz")


def read_database(
    url: str,
    query: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    statement_timeout: timedelta | None = None,
) -> Source:
    r"""Make a source of one SELECT, run by a database, streamed in bounded memory.

    `url` is `postgresql://user@host/name`, `mysql://user@host/name` or `sqlite:///path/to/file.db`. Characters of a
    password that mean something in a URL are written as %40 and so on; without one PostgreSQL's library takes
    `PGPASSWORD` or `~/.pgpass`, as it does everywhere.

    The query's columns are the twelve of the CSVs and perhaps `created_at`, in any order; see `from_arrow` for what may
    be missing. Its rows must stand together by conversation: end it with `ORDER BY conversation_id, message_time`, or
    sort (`sorted_rows`). `parameters` are the values of its `:names`: they are bound, never put into the text. A
    colon that begins no name is written as `\:`, in comments too. They come as they are, so a text that is a number is
    cast in the query: `CAST(:inbox AS integer)`.

    Text, UUIDs, whole numbers, numeric, timestamps with and without a zone, arrays of text and JSON become what
    `from_arrow` makes of them. A timestamp without a zone is in the export's time zone, which is also the session's.

    `statement_timeout` is how long the database may work on the query's next rows (on MySQL: on all). It is whole
    milliseconds; SQLite has none.

    The connection is made when the batches are asked for, and closed at the end, on an error and by closing them.

    Raises OptionError (`database`, `statement_timeout`) for an URL or a time that cannot be used, FileNotFoundError for
    an SQLite file that is not there, ModuleNotFoundError for a missing driver. While reading: OptionError (`param`) for
    parameters that are missing or not used; SourceError for a database that cannot be reached and for a query that
    fails; and those of `from_rows`. `row` in errors is the number of the query's row.
    """
    place = _place(url)
    if statement_timeout is not None:
        if place.get_backend_name() == "sqlite":
            raise OptionError("SQLite has no time-out for statements: leave it out", option="statement_timeout")
        if statement_timeout < timedelta(milliseconds=1):
            raise OptionError(
                f"a statement_timeout of {statement_timeout} is none: give a millisecond or more",
                option="statement_timeout",
            )
    return _Database(place, query, dict(parameters or {}), statement_timeout)


def parameter_names(query: str) -> frozenset[str]:
    """The names of a query's parameters."""
    return frozenset(sa.text(query).compile().params)


def query_columns(url: str, query: str) -> tuple[str, ...]:
    """The names of a query's columns, of which the database gives no row; its parameters are null.

    Raises as `read_database`, and as its source does while reading.
    """
    place = _place(url)
    none = f"SELECT * FROM (\n{query.rstrip().rstrip(';')}\n) AS query WHERE 1 = 0"  # noqa: S608  # the operator's own
    statement = _statement(none, dict.fromkeys(parameter_names(query)))
    with _told(place, "the query failed"), _connected(place) as connection, _executed(connection, statement) as result:
        return tuple(result.keys())


def _place(url: str) -> sa.URL:
    try:
        place = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # its text may hold the password
        raise _unusable() from None
    driver = _DRIVERS.get(place.get_backend_name())
    if driver is None or place.drivername not in (place.get_backend_name(), driver):
        raise _unusable()
    if "@" in (place.host or ""):
        raise OptionError(
            "the database's host has an @, which is a part of the password: write that as %40", option="database"
        )
    place = place.set(drivername=driver)
    if place.get_backend_name() == "sqlite":
        if not place.database or place.query:
            raise _unusable()
        if not Path(place.database).exists():  # SQLite would make an empty one of it
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place.database)
    return place


def _unusable() -> OptionError:
    advice = "postgresql://user@host/name, mysql://user@host/name or sqlite:///path/to/file.db"
    return OptionError(f"there is no database with such a URL: give {advice}", option="database")


@dataclass(frozen=True, slots=True)
class _Database:
    place: sa.URL  # its representation has *** for the password
    query: str
    parameters: dict[str, Any] = field(repr=False)
    statement_timeout: timedelta | None

    @property
    def paths(self) -> tuple[str, ...]:
        """SQLite's file, so that nothing is written over it."""
        is_file = self.place.get_backend_name() == "sqlite" and self.place.database
        return (self.place.database,) if is_file and self.place.database else ()

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        statement = _statement(self.query, self.parameters)
        with _told(self.place, "the query failed"), _connected(self.place) as connection:
            _prepare(connection, context.timezone, self.statement_timeout)
            with _executed(connection, statement) as result:
                if not result.returns_rows:
                    raise SourceError("the query has no rows: give a SELECT")
                names = list(result.keys())
                wanted = wanted_columns(names, context, of_query=True)

                def made(rows: Sequence[Sequence[Any]], number: int) -> pa.RecordBatch:
                    return _batch(names, wanted, number, rows, context)

                yield from streamed(result, made)


@contextmanager
def _executed(connection: sa.Connection, statement: sa.TextClause) -> Iterator[sa.CursorResult[Any]]:
    """A statement's result, closed at the end."""
    result = connection.execute(statement)
    try:
        yield result
    except BaseException:
        if connection.dialect.name == "mysql":
            # PyMySQL reads all the rest as it closes a cursor: the server is told that there is none.
            driver: Any = connection.connection.driver_connection
            with suppress(sa.exc.SQLAlchemyError), connection.engine.connect() as other:
                other.execute(sa.text(f"KILL QUERY {driver.thread_id():d}"))
            with suppress(connection.dialect.loaded_dbapi.Error):
                result.close()
        raise
    finally:
        with suppress(sa.exc.SQLAlchemyError):
            result.close()


def _statement(query: str, parameters: Mapping[str, Any]) -> sa.TextClause:
    """The query with its parameters, of no type: the database takes them for what it needs."""
    wanted = parameter_names(query)
    if missing := sorted(wanted - parameters.keys()):
        raise OptionError(
            f"the query has :{missing[0]}, which has no value: give one, as {missing[0]}=…; a colon that begins no "
            "name is written \\:",
            option="param",
        )
    if unused := sorted(parameters.keys() - wanted):
        raise OptionError(
            f"{unused[0]} is not in the query; it has {', '.join(f':{name}' for name in sorted(wanted)) or 'none'}",
            option="param",
        )
    return sa.text(query).bindparams(
        *(sa.bindparam(name, value, type_=sa.types.NULLTYPE) for name, value in parameters.items())
    )


def _sqlite(address: str) -> sqlite3.Connection:
    """Open a file; ATTACH would make one where there is none, whatever the first was opened for."""
    connection = sqlite3.connect(address, uri=True, check_same_thread=False)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.text_factory = text_or_bytes
    return connection


def text_or_bytes(octets: bytes) -> str | bytes:
    """SQLite's text; its bytes where they are not UTF-8, which the rules on values refuse with their row.

    It costs 5 % of an export. sqlite3's own reading, which costs nothing, knows neither row nor what to do.
    """
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets


@contextmanager
def _connected(place: sa.URL) -> Iterator[sa.Connection]:
    """A connection of its own, in a read-only transaction; its cursor is the server's."""
    how: dict[str, Any] = {"poolclass": sa.pool.NullPool, "hide_parameters": True}
    if place.get_backend_name() == "sqlite" and place.database:
        address = f"{Path(place.database).absolute().as_uri()}?mode=ro"
        how["creator"] = lambda: _sqlite(address)
    try:
        engine = sa.create_engine(place, **how)
    except ModuleNotFoundError as error:
        extra = _EXTRA.get(place.get_backend_name(), "export-engine[database]")
        raise ModuleNotFoundError(
            f"{error.name} is missing, which {place.get_backend_name()} needs: pip install '{extra}'", name=error.name
        ) from None
    options = {"stream_results": True}
    if engine.dialect.name == "postgresql":
        options["postgresql_readonly"] = True
    try:
        with _told(place, "the database cannot be reached"):
            connection = engine.connect()
        with connection:
            yield connection.execution_options(**options)
    finally:
        engine.dispose()


def _prepare(connection: sa.Connection, zone: tzinfo, timeout: timedelta | None) -> None:
    """Set the session's time zone and time-out, by the driver: SQLAlchemy would stream these too."""
    milliseconds = None if timeout is None else timeout // timedelta(milliseconds=1)
    fixed = zone.utcoffset(None)
    name = zone_name(zone) if fixed is None else _offset(fixed)
    settings: list[tuple[str, list[Any]]] = []
    if connection.dialect.name == "postgresql":
        adapters: Any = connection.connection.driver_connection
        for type_ in _AS_TEXT:
            adapters.adapters.register_loader(type_, _text_loader())
        if fixed is not None:  # as PostgreSQL writes such zones: a name, and the offset west
            name = f"<{name}>{_offset(-fixed)}"
        set_ = "SELECT set_config(%s, %s, true)"
        settings += [(set_, ["TimeZone", name]), (set_, ["DateStyle", "ISO, YMD"])]
        if milliseconds is not None:
            settings.append((set_, ["statement_timeout", f"{milliseconds}"]))
    elif connection.dialect.name == "mysql":
        settings.append(("SET time_zone = %s", [name]))
        if milliseconds is not None and getattr(connection.dialect, "is_mariadb", False):
            settings.append(("SET SESSION max_statement_time = %s", [milliseconds / 1000]))
        elif milliseconds is not None:
            settings.append(("SET SESSION max_execution_time = %s", [milliseconds]))
        settings.append(("START TRANSACTION READ ONLY", []))
    cursor = connection.connection.cursor()
    try:
        for statement, values in settings:
            cursor.execute(statement, values)
    except connection.dialect.loaded_dbapi.Error as error:
        raise SourceError(f"the session cannot be prepared: {' '.join(str(error).split())}") from None
    finally:
        cursor.close()


def _offset(offset: timedelta) -> str:
    return offset_text(offset // timedelta(microseconds=1)).replace("Z", "+00:00")


def _text_loader() -> Any:
    from psycopg.types.string import TextLoader  # noqa: PLC0415  # psycopg is there where this is asked

    return TextLoader


def streamed(
    result: sa.CursorResult[Any], made: Callable[[Sequence[Sequence[Any]], int], pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """What is `made` of a result's rows, in pieces: few at first, then as many as are about a batch.

    `made` is called with a piece's rows and the number of the first of them, from 1.
    """
    number, size = 1, _FIRST_ROWS
    while rows := result.fetchmany(size):
        batch = made(rows, number)
        yield batch
        number += len(rows)
        size = max(1, min(2 * size, _MOST_ROWS, MAX_BATCH_BYTES * len(rows) // batch.nbytes))


def _batch(
    names: Sequence[str], wanted: Sequence[str], number: int, rows: Sequence[Sequence[Any]], context: SourceContext
) -> pa.RecordBatch:
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    nothing = (None,) * len(rows)
    given = {name: columns[name] if name in wanted else nothing for name in (*ROW_SCHEMA.names, CHANNEL_ID)}
    return batch_of(given, range(number, number + len(rows)), context)


@contextmanager
def _told(place: sa.URL, what: str) -> Iterator[None]:
    """What the database raises, as a SourceError that says it in one line and without the password."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        said = " ".join(str(getattr(error, "orig", None) or error).split())
        if place.password:
            said = said.replace(place.password, "***")
        raise SourceError(f"{what}: {said}") from None
