"""Channels and conversations out of a SQL database: SQLite or PostgreSQL, with the tables of `sql_schema`.

How it is read, and why memory stays bounded: by one statement, so by one state of the database, through a server-side
cursor (SQLite's cursors step through their rows anyway), in pieces of bounded rows and, after the first few, of bounded
bytes. The statement walks a channel's conversations along `conversation_order` and, within each, the range's messages
along `message_order`. Both databases see that this is nearly the order asked for, and sort one conversation at a time
("Incremental Sort", "RIGHT PART OF ORDER BY"), never the whole. What it costs is a look into the index for each
conversation of the channel, be it outside the range: 3 microseconds each where the index is in memory. Without the two
indexes, the database sorts everything on its own disk first.

Both classes pickle: what is made of the pickle connects anew, by the same URL, its password included. Who hands one to
another process hands over the way into the database.

A connection is held while an archive is read. PostgreSQL keeps old rows for that long; SQLite should be in WAL mode
(`PRAGMA journal_mode=WAL`), or those who write wait for the export.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from export_engine.errors import OptionError, RowError, SourceError
from export_engine.jobs.backends.database import STAY_IN_TOUCH, storable
from export_engine.jobs.backends.sql_schema import CHANNEL, CONVERSATION, MESSAGE, SCHEMA, has_instants
from export_engine.jobs.identifiers import stored_uuid, uuid_spellings
from export_engine.jobs.phones import LAST_DIGITS, same_number
from export_engine.jobs.ports import ChannelPlace, WorkspaceChannel
from export_engine.model import DateRange
from export_engine.options import ExportOptions
from export_engine.schema import CREATED_AT, ROW_SCHEMA
from export_engine.sources.database import streamed, text_or_bytes

__all__ = ["SqlConversations", "SqlDirectory", "open_engine", "open_sql", "span", "spelling"]

_MICROSECONDS = "an integer, the microseconds since 1970-01-01 in UTC"
#: Seconds until a server that does not answer is given up, frozen or gone, so that no process hangs as it begins.
_IN_TOUCH = STAY_IN_TOUCH | {"connect_timeout": 10}
#: The ends of the calendar.
_FIRST, _LAST = (moment.replace(tzinfo=UTC) for moment in (datetime.min, datetime.max))  # noqa: DTZ901  # given one here


def open_sql(url: str) -> tuple[SqlDirectory, SqlConversations]:
    """The channels and conversations of a database; both share an engine, whose `dispose()` lets go of it.

    `url` is `sqlite:///path/to/file.db` or `postgresql://user:password@host/name`. Raises OptionError for another,
    FileNotFoundError for an SQLite file that is not there, SourceError for a database without the tables and columns,
    SQLAlchemy's OperationalError for one that cannot be reached.
    """
    engine = open_engine(url, SCHEMA.sorted_tables)
    return SqlDirectory(engine), SqlConversations(engine)


def open_engine(url: str, tables: Sequence[sa.Table]) -> sa.Engine:
    """An engine of a database that has these tables; raises as `open_sql` does."""
    try:
        place = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise _unusable() from None
    if place.drivername == "postgresql":
        place = place.set(drivername="postgresql+psycopg")
    if place.get_backend_name() not in ("postgresql", "sqlite"):
        raise _unusable()
    if place.get_backend_name() == "sqlite" and place.database and not _is_there(place.database):
        # SQLite would make an empty one of it.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place.database)
    engine = _connect_to(place)
    try:
        _check_tables(engine, tables)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _connect_to(url: sa.URL) -> sa.Engine:
    # What the URL says of these counts.
    touch = {name: value for name, value in _IN_TOUCH.items() if name not in url.query}
    of = touch if url.get_backend_name() == "postgresql" else {}
    engine = sa.create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=of)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _on_connect)
    return engine


def _on_connect(connection: sqlite3.Connection, _: object) -> None:
    connection.text_factory = text_or_bytes


def _unusable() -> OptionError:
    advice = "give sqlite:///path/to/file.db or postgresql://user:password@host/name"
    return OptionError(f"conversations cannot be read from a database with such a URL: {advice}", option="url")


def _is_there(database: str) -> bool:
    return database == ":memory:" or database.startswith("file:") or Path(database).exists()


def _check_tables(engine: sa.Engine, tables: Sequence[sa.Table]) -> None:
    """Raise SourceError unless every table or view has its columns."""
    found = sa.inspect(engine)
    missing = []
    for table in tables:
        if found.has_table(table.name):
            names = {column["name"] for column in found.get_columns(table.name)}
            missing += [f"{table.name}.{column.name}" for column in table.columns if column.name not in names]
        else:
            missing.append(table.name)
    if missing:
        raise SourceError(
            f"{engine.url!r} has no {', '.join(missing)}: make the tables with create_schema of "
            "export_engine.jobs.backends.sql_schema, or views with their names and columns"
        )
    if MESSAGE in tables and not has_instants(engine.dialect):
        with engine.connect() as connection:
            kind = connection.scalar(sa.select(sa.func.typeof(MESSAGE.c.message_time)).limit(1))
        if kind not in (None, "integer"):  # such times lie in no range: every export would be empty
            raise SourceError(
                f"{engine.url!r} has {kind} in message.message_time: it must be {_MICROSECONDS}; convert it"
            )


class _Untyped(sa.types.UserDefinedType[str]):
    """Text that the database takes for what it is compared with, be that text or its own `uuid`."""

    cache_ok = True


@dataclass(frozen=True, slots=True)
class SqlDirectory:
    """The channels of the table `channel`."""

    engine: sa.Engine

    def __reduce__(self) -> tuple[Any, ...]:
        """The database's URL: an engine belongs to one process."""
        return _reopened, (SqlDirectory, self.engine.url)

    def find(
        self, workspace_id: str, *, channel_id: str | None = None, phone_number: str | None = None
    ) -> list[WorkspaceChannel]:
        """The workspace's channels with that id, or with that phone number, by id; exactly one of the two is given.

        Raises SourceError for a table that has been changed for the worse, and OperationalError.
        """
        if not (storable(workspace_id) and storable(channel_id or phone_number or "")):
            return []
        wanted = (
            _spelled(CHANNEL.c.id, channel_id or "")
            if phone_number is None
            else CHANNEL.c.phone_number.endswith(phone_number[-LAST_DIGITS:], autoescape=True)  # and then looked at
        )
        statement = sa.select(CHANNEL).where(_spelled(CHANNEL.c.workspace_id, workspace_id), wanted)
        found = self._read(statement)
        if phone_number is not None:
            found = [each for each in found if each.phone_number and same_number(each.phone_number, phone_number)]
        return sorted(found, key=lambda channel: channel.id)

    def page(self, workspace_id: str, *, limit: int, after: ChannelPlace | None = None) -> list[WorkspaceChannel]:
        """The first `limit` of the workspace's channels, of those behind `after`, by name and id.

        None are behind what a database cannot hold. Raises as `find`.
        """
        if not all(map(storable, (workspace_id, *(after or ())))):
            return []
        # By bytes, whatever the collations are of a table or a view that others made.
        name, id_ = (
            _bytewise(column, self.engine.dialect)
            for column in (sa.func.coalesce(CHANNEL.c.name, ""), _digits(CHANNEL.c.id))
        )
        statement = sa.select(CHANNEL).where(_spelled(CHANNEL.c.workspace_id, workspace_id))
        if after is not None:
            behind = (after.name, after.id.lower().replace("-", ""))
            statement = statement.where(sa.tuple_(name, id_) > sa.tuple_(*behind, types=[sa.Text(), sa.Text()]))
        return self._read(statement.order_by(name, id_).limit(limit))

    def _read(self, statement: sa.Select[Any]) -> list[WorkspaceChannel]:
        try:
            with self.engine.connect() as connection:
                return [_channel(row) for row in connection.execute(statement)]
        except (sa.exc.ProgrammingError, sa.exc.DataError) as error:  # the table is others', who may change it
            raise SourceError(f"the table channel cannot be read any more: {error.orig}") from error


def _channel(row: sa.Row[Any]) -> WorkspaceChannel:
    id_, workspace_id = (stored_uuid(str(each)) or str(each) for each in (row.id, row.workspace_id))
    return WorkspaceChannel(id_, workspace_id, row.type, row.name, row.phone_number)


def _spelled(column: sa.ColumnElement[Any], uuid: str) -> sa.ColumnElement[bool]:
    """Whether a column has a UUID, in one of `uuid_spellings`, or any other text as it is.

    The column may be text or PostgreSQL's `uuid`; its index is used for either.
    """
    return _one_of(column, uuid_spellings(uuid))


def spelling(connection: sa.Connection, column: sa.ColumnElement[Any], uuid: str) -> list[str]:
    """The spellings of a UUID that a column has: one, in a table that has it at all and is written in one way."""
    one_each = [sa.select(column).where(_one_of(column, [each])).limit(1) for each in uuid_spellings(uuid)]
    found = [connection.execute(one, execution_options={"stream_results": False}).scalars().all() for one in one_each]
    return list(dict.fromkeys(str(each) for values in found for each in values)) or [uuid]


def _digits(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """A UUID without hyphens and in lower case, which sorts as it does with them, however it is written."""
    return sa.func.lower(sa.func.replace(sa.cast(column, sa.Text), "-", ""))


def _bytewise(text: sa.ColumnElement[str], dialect: sa.Dialect) -> sa.ColumnElement[str]:
    """Text that is compared by its bytes, which in UTF-8 is by its code points."""
    return sa.collate(text, "C" if dialect.name == "postgresql" else "BINARY")


@dataclass(frozen=True, slots=True)
class SqlConversations:
    """The conversations of the tables `conversation` and `message`."""

    engine: sa.Engine

    def __reduce__(self) -> tuple[Any, ...]:
        """The database's URL: an engine belongs to one process."""
        return _reopened, (SqlConversations, self.engine.url)

    def conversations(
        self, channel: WorkspaceChannel, date_range: DateRange, options: ExportOptions
    ) -> Generator[pa.RecordBatch, None, None]:
        """The channel's messages that the export needs, in batches with its columns.

        That is those of the date range, or by `created_at` all of the conversations that were created in it. They come
        by their conversation's `created_at`, its id, their time and their id.

        The connection is taken at the first batch, and given back at the end, on an error and by `close()`. Errors
        while reading: RowError for a value of another type than its column should have (SQLite lets it in), and
        SQLAlchemy's, whose texts hold the statement.
        """
        with self.engine.connect().execution_options(stream_results=True) as connection:
            # In one way of writing its id the index gives the rows in their order, with no sorting.
            ids = spelling(connection, CONVERSATION.c.channel_id, channel.id)
            statement = _statement(self.engine.dialect, ids, date_range, options)
            # An open server-side cursor would outlive its transaction.
            with connection.execute(statement) as result:
                yield from streamed(result, _batch)


def _reopened(kind: type[SqlDirectory | SqlConversations], url: sa.URL) -> SqlDirectory | SqlConversations:
    """What was pickled, over an engine of this process. It connects when it is first asked."""
    return kind(_connect_to(url))


def _statement(
    dialect: sa.Dialect, channel_ids: Sequence[str], date_range: DateRange, options: ExportOptions
) -> sa.Select[Any]:
    """Select the columns of `ROW_SCHEMA`, in its order; moments as microseconds, the quickest to make arrays of."""
    c, m = CONVERSATION.c, MESSAGE.c
    first, after = span(date_range, options.tzinfo)
    held = c.created_at if options.range_by == "created_at" else m.message_time
    columns: dict[str, sa.ColumnElement[Any]] = {
        **m,
        "message_id": _as_text(m.id, dialect),
        "conversation_id": _as_text(m.conversation_id, dialect),
        "speaker_name": sa.func.coalesce(m.speaker_name, sa.case((m.speaker_type == "customer", c.contact_name))),
        "message_time": _microseconds(m.message_time, dialect),
        CREATED_AT: _microseconds(c.created_at, dialect),
        "contact_name": c.contact_name,
        "contact_phone": c.contact_phone,
    }
    chosen = [columns[name].label(name) for name in ROW_SCHEMA.names]
    return (
        sa.select(*chosen)
        .join_from(CONVERSATION, MESSAGE, m.conversation_id == c.id)
        .where(_one_of(c.channel_id, channel_ids), held >= first, held < after)
        .order_by(c.created_at, c.id, m.message_time, m.id)
    )


def _one_of(column: sa.ColumnElement[Any], values: Sequence[str]) -> sa.ColumnElement[bool]:
    untyped = [sa.literal(value, _Untyped()) for value in values]
    return column == untyped[0] if len(untyped) == 1 else column.in_(untyped)


def _as_text(id_: sa.ColumnElement[Any], dialect: sa.Dialect) -> sa.ColumnElement[Any]:
    """An id that PostgreSQL may have as `uuid` or a number; SQLite, which takes any value for text, is looked at."""
    return sa.cast(id_, sa.Text) if has_instants(dialect) else id_


def _microseconds(column: sa.ColumnElement[datetime], dialect: sa.Dialect) -> sa.ColumnElement[int]:
    if has_instants(dialect):
        return sa.cast(sa.extract("epoch", column) * 1_000_000, sa.BigInteger)
    return sa.type_coerce(column, sa.BigInteger)


def span(date_range: DateRange, timezone: tzinfo) -> tuple[datetime, datetime]:
    """From when, and until before when, a moment may show a day of the range on the time zone's clocks.

    At the edges it may be wider than the range, never narrower: where clocks change about midnight, the earlier
    beginning and the later end are taken, and the export leaves out what does not show a day of the range.
    """
    return min(_midnights(date_range.start, timezone)), max(_midnights(date_range.end, timezone, days_on=1))


def _midnights(day: date, timezone: tzinfo, days_on: int = 0) -> Iterator[datetime]:
    """The beginning of a day, or of one further on, by the offset before and by that after a change of clocks."""
    for fold in (0, 1):
        try:
            midnight = datetime.combine(day + timedelta(days_on), time(fold=fold), timezone)
            yield midnight.astimezone(UTC)
        except OverflowError:  # within a day of the end of the calendar
            yield _LAST if day.year > 1 else _FIRST


def _batch(rows: Sequence[Sequence[Any]], number: int) -> pa.RecordBatch:
    """Make the record batch, a column at a time; `number` is that of its first row."""
    arrays = []
    for field, values in zip(ROW_SCHEMA, zip(*rows, strict=True), strict=True):
        try:
            arrays.append(pa.array(values, field.type))
        except (pa.ArrowException, ValueError) as error:
            raise _refusal(field, rows, values, number) from error
    return pa.RecordBatch.from_arrays(arrays, schema=ROW_SCHEMA)


def _refusal(field: pa.Field, rows: Sequence[Sequence[Any]], values: Sequence[Any], number: int) -> RowError:
    """Say which of the values is of the wrong type."""
    at = next(at for at, value in enumerate(values) if not _fits(value, field.type))
    what = "text" if field.type == pa.string() else _MICROSECONDS
    return RowError(
        f"{values[at]!r} ({type(values[at]).__name__}) is not {what}",
        column=field.name,
        value=values[at],
        conversation_id=str(rows[at][1]),
        message_id=str(rows[at][0]),
        row=number + at,
        advice="correct it in the database, or cast it in a view",
    )


def _fits(value: Any, type_: pa.DataType) -> bool:
    try:
        pa.array([value], type_)
    except (pa.ArrowException, ValueError):
        return False
    return True
