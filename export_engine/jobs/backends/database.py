"""The database of jobs and keys: an engine that many threads and processes may use at once.

SQLite (a file) for one machine, PostgreSQL for several. What each needs to be safe is set up here and nowhere else:

- Transactions. Python's sqlite3 begins them by itself, late and not around everything, so that is switched off and
  SQLAlchemy begins them. One that writes takes SQLite's one write lock as it begins (`BEGIN IMMEDIATE`): a transaction
  that reads first and then wants the lock would fail at once, without waiting, if another had written in between.
  So every transaction that writes is one of `writing(engine)`.
- Waiting. SQLite keeps a write-ahead log, so readers and the writer do not wait for each other; writers wait their
  turn, for at most `BUSY_TIMEOUT` unless `open_database` is told otherwise. SQLite itself has no turns: who waits for
  its lock sleeps and looks again, ever longer, while others come and take it. So the threads of a process queue up
  first, and one of them at a time asks for the lock. It syncs each commit to disk (its default): a job that was
  accepted is not lost.
- Times. Microseconds and UTC survive on both: see `tables.UtcTime`.
- Privacy. A new SQLite file is its user's alone; errors do not hold the values of a statement.
- Releases. `tables` are what this release works with; `migrations` brings a database there, also an empty one.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from export_engine.errors import OptionError
from export_engine.jobs.backends import migrations
from export_engine.jobs.errors import RevisionError

__all__ = [
    "BUSY_TIMEOUT",
    "STAY_IN_TOUCH",
    "database_revision",
    "open_database",
    "storable",
    "upgrade_database",
    "writing",
]

#: How long a transaction on SQLite waits for its turn to write before it fails.
BUSY_TIMEOUT = timedelta(seconds=30)

# Whoever holds this (arbitrary) advisory lock of PostgreSQL's may change the tables. SQLite has its one write lock.
_UPGRADE_LOCK = 0x6578706F7274

#: How libpq finds out that a server's machine has gone: seconds, and milliseconds for what was sent and not received.
STAY_IN_TOUCH = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}

_DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


def open_database(url: str, *, patience: timedelta = BUSY_TIMEOUT) -> Engine:
    """An engine for the database at `url`; dispose of it when done.

    `url` is `sqlite:///path/to/file.db` or `postgresql://user:password@host/name`. An empty database gets its tables,
    and a SQLite file that an older release made is upgraded. Any number of processes may open the same database at
    once, also for the first time.

    `patience` is how long a transaction waits for a lock, and on PostgreSQL for one of the engine's connections and for
    each statement, before it fails. It does not bound the wait for a server that is frozen.

    Raises OptionError for a URL that is neither or a SQLite database that cannot be shared, RevisionError for a
    database that a newer release made, or on PostgreSQL an older one, ExportError for somebody else's tables, and
    SQLAlchemy's OperationalError if the database cannot be reached.
    """
    engine = _engine(url)
    try:
        _upgrade(engine, older=engine.dialect.name == "sqlite")
    finally:
        engine.dispose()
    return _engine(url, patience)


def upgrade_database(url: str) -> tuple[str | None, str]:
    """Bring the database at `url` to the revision that this release works with.

    Returns the revision it had (None: it was empty) and the one it has. Processes of the older release that have it
    open may go on; none can open it any more. Raises what `open_database` does.
    """
    engine = _engine(url)
    try:
        return _upgrade(engine, older=True)
    finally:
        engine.dispose()


def database_revision(url: str) -> str | None:
    """The revision of the database at `url`, or None if it is empty or a file that is not there. It is only read.

    Raises what `open_database` does, but no RevisionError.
    """
    engine = _engine(url)
    try:
        if engine.dialect.name == "sqlite" and engine.url.database and not Path(engine.url.database).exists():
            return None
        with engine.begin() as connection:
            return migrations.current(connection)
    finally:
        engine.dispose()


@contextmanager
def writing(engine: Engine, *, patience: timedelta | None = None) -> Iterator[Connection]:
    """A transaction that writes: committed at the end of the block, rolled back if that raises.

    It waits for the locks of others as long as the engine does, or for `patience`, if that is given: then, as for all
    that goes wrong with the database, SQLAlchemy's DBAPIError is raised. Within one, a thread begins no other.
    """
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            if patience is not None:  # in milliseconds; 0 would be for ever
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {max(1, _milliseconds(patience))}")
            yield connection
        return
    options = engine.get_execution_options()
    turns: _Turns = options["turns"]
    usual: timedelta = options["patience"]
    with (
        turns.next(usual if patience is None else patience) as left,
        engine.connect().execution_options(writing=True) as connection,
        _waiting(connection, left, usual),
        connection.begin(),
    ):
        yield connection


@contextmanager
def _waiting(connection: Connection, patience: timedelta, usual: timedelta) -> Iterator[None]:
    """Have SQLite wait so long for its lock, and as long as usual after the block."""
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute(f"PRAGMA busy_timeout = {_milliseconds(patience)}")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {_milliseconds(usual)}")


class _Turns:
    """The threads that write to one SQLite file, in the order in which they asked to."""

    def __init__(self) -> None:
        self._queue: deque[Event] = deque()
        self._changing = Lock()

    @contextmanager
    def next(self, patience: timedelta) -> Iterator[timedelta]:
        """Be the only one for the block; how much is left of the patience. Raises OperationalError if it is none."""
        end = time.monotonic() + patience.total_seconds()
        mine = Event()
        with self._changing:
            self._queue.append(mine)
            self._queue[0].set()
        try:
            if not mine.wait(patience.total_seconds()):
                raise OperationalError("BEGIN IMMEDIATE", None, sqlite3.OperationalError("database is locked"))
            yield timedelta(seconds=max(0.0, end - time.monotonic()))
        finally:
            with self._changing:
                self._queue.remove(mine)
                if self._queue:
                    self._queue[0].set()


def _milliseconds(length: timedelta) -> int:
    return length // timedelta(milliseconds=1)


def storable(value: str) -> bool:
    """Whether a database can hold the text at all: a NUL or half of a surrogate pair it cannot, so it has none such."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _engine(url: str, patience: timedelta | None = None) -> Engine:
    """An engine; without patience, as for upgrades, statements of PostgreSQL may take as long as they take."""
    waits = (patience or BUSY_TIMEOUT).total_seconds()
    try:
        parsed = make_url(url)
        parsed = parsed.set(drivername=_DRIVERS[parsed.drivername])
        if parsed.get_backend_name() == "postgresql":
            # The moves of jobs rely on what this level means: an update sees what was committed while it waited.
            engine = create_engine(
                parsed,
                isolation_level="READ COMMITTED",
                pool_pre_ping=True,
                hide_parameters=True,  # errors are logged, and addresses are none of a log's business
                pool_timeout=waits,
                connect_args=STAY_IN_TOUCH | {"connect_timeout": max(2, math.ceil(waits))},
            )
            if patience is not None:
                event.listen(engine, "connect", partial(_limit_waiting, milliseconds=_milliseconds(patience)))
            return engine
        engine = create_engine(
            parsed,
            poolclass=QueuePool,
            max_overflow=-1,  # one for each thread: nobody waits for a connection
            hide_parameters=True,
            connect_args={"timeout": waits},
            execution_options={"turns": _Turns(), "patience": patience or BUSY_TIMEOUT},
        )
    except (ArgumentError, KeyError, ValueError):
        raise OptionError(
            "the database's URL is neither sqlite:///path/to/file.db nor postgresql://user:password@host/name",
            option="url",
        ) from None
    if parsed.database and not (folder := Path(parsed.database).parent).is_dir():
        raise OptionError(f"there is no folder {folder} to keep the database in: make it first", option="url")
    event.listen(engine, "connect", _leave_transactions_alone)
    event.listen(engine, "begin", _begin)
    return engine


def _limit_waiting(connection: Any, _: ConnectionPoolEntry, *, milliseconds: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET statement_timeout = {milliseconds}")
        cursor.execute(f"SET lock_timeout = {milliseconds}")
    connection.commit()


def _leave_transactions_alone(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    """Keep sqlite3 from beginning transactions by itself; `_begin` does."""
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _keep_write_ahead_log(engine: Engine) -> None:
    """Switch the file to a write-ahead log, for good.

    If another connection is writing just then (perhaps switching, too), SQLite does not wait but fails at once; so
    this waits until nobody is at the file and tries again.
    """
    try:
        with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
            while (mode := _switched(cursor)) is None:
                cursor.execute("BEGIN EXCLUSIVE")
                cursor.execute("ROLLBACK")
    except sqlite3.Error as error:  # SQLAlchemy has not seen it
        raise OperationalError("PRAGMA journal_mode", None, error) from error
    if mode != "wal":
        raise OptionError(
            "this SQLite database cannot be shared (it is in memory, or on a drive without shared memory): "
            "keep it in a file on a local disk, or use PostgreSQL",
            option="url",
        )


def _switched(cursor: Any) -> str | None:
    """What the file's journal is now; None if somebody was writing."""
    try:
        mode: str = cursor.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            return None
        raise
    return mode


def _upgrade(engine: Engine, *, older: bool) -> tuple[str | None, str]:
    """Make what an empty database lacks, and with `older` what an older one lacks; the revisions before and after."""
    latest = migrations.latest()
    file = engine.url.database or ":memory:"
    if engine.dialect.name == "sqlite" and not file.startswith((":memory:", "file:")):
        _make_private(file)
    with engine.begin() as connection:
        found = _checked(connection, latest, older=older)
    if engine.dialect.name == "sqlite":
        _keep_write_ahead_log(engine)
    if found == latest:
        return found, latest
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
        found = _checked(connection, latest, older=older)  # another may have been first
        if found != latest:
            migrations.upgrade(connection)
    return found, latest


def _make_private(file: str) -> None:
    """Make a file that is not there for this user alone, whatever the umask; SQLite's own beside it take after it."""
    with suppress(OSError):  # SQLite says better what is wrong
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))


def _checked(connection: Connection, latest: str, *, older: bool) -> str | None:
    """The database's revision, if this release can work with it or bring it there. Raises RevisionError."""
    found = migrations.current(connection)
    where = connection.engine.url.render_as_string(hide_password=True)
    if found is not None and not migrations.is_known(found):
        raise RevisionError(
            f"{where} was made by a newer release (revision {found}, this one knows those up to {latest}): "
            "upgrade export-engine",
            revision=found,
        )
    if found not in (None, latest) and not older:
        raise RevisionError(
            f"{where} was made by an older release (revision {found}, this one needs {latest}): "
            "run export-engine database upgrade",
            revision=found,
        )
    return found
