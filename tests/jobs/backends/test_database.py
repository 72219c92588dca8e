"""The database: which URL gives an engine, that it is shared safely, keeps times whole and reads by index."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, event, inspect
from sqlalchemy.exc import IntegrityError, OperationalError, StatementError

from export_engine.errors import OptionError
from export_engine.jobs.backends import database as jobs_database
from export_engine.jobs.backends.database import open_database, storable, writing
from export_engine.jobs.backends.migrations import VERSION_TABLE
from export_engine.jobs.backends.store import SqlJobStore
from export_engine.jobs.backends.tables import export_job, metadata
from export_engine.jobs.job import LINK_LIFE, Status
from tests.jobs.samples import MINUTE, NOW, new_job


@pytest.mark.parametrize(
    "url", ["", "jobs.db", "mysql://root@localhost/jobs", "postgresql+psycopg2://host/jobs", "://"]
)
def test_a_url_that_is_neither(url: str) -> None:
    """The error says what a URL looks like."""
    with pytest.raises(OptionError, match="neither sqlite:///path") as caught:
        open_database(url)
    assert caught.value.option == "url"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    """No other connection would see it."""
    with pytest.raises(OptionError, match="keep it in a file"):
        open_database(url)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """The error names it; SQLite's own would not."""
    with pytest.raises(OptionError, match="missing"):
        open_database(f"sqlite:///{tmp_path}/missing/jobs.db")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """It is left as it is, and the error is the database's."""
    file = tmp_path / "jobs.db"
    file.write_bytes(b"message_id,conversation_id\r\n" * 100)
    with pytest.raises(Exception, match="not a database"):
        open_database(f"sqlite:///{file}")
    assert file.read_bytes().startswith(b"message_id")


def test_a_server_that_is_not_there() -> None:
    """The driver's error arrives as it was raised."""
    with pytest.raises(OperationalError):
        open_database("postgresql://nobody@127.0.0.1:1/nothing")


@pytest.mark.slow
def test_opening_again_keeps_what_is_there(database_url: str) -> None:
    """Tables are created if they are missing, and only then."""
    job = new_job()
    for turn in range(2):
        engine = open_database(database_url)
        store = SqlJobStore(engine)
        if turn == 0:
            store.create(job)
        assert store.get(job.workspace_id, job.id) == job
        engine.dispose()


@pytest.mark.slow
def test_opened_for_the_first_time_by_many_at_once(database_url: str) -> None:
    """Everyone finds every table, whoever made it."""
    gate = threading.Barrier(8)

    def opens(_: int) -> set[str]:
        gate.wait(240)
        engine = open_database(database_url)
        try:
            return set(inspect(engine).get_table_names())
        finally:
            engine.dispose()

    with ThreadPoolExecutor(8) as crowd:
        assert list(crowd.map(opens, range(8))) == [{*metadata.tables, VERSION_TABLE}] * 8


@pytest.mark.slow
def test_sqlite_is_switched_to_its_log_while_another_writes(tmp_path: Path) -> None:
    """SQLite itself would fail at once, "database is locked"; it is waited for."""
    file = tmp_path / "jobs.db"
    with ThreadPoolExecutor(1) as opener, closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("CREATE TABLE other (x)")
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO other VALUES (1)")
        with closing(sqlite3.connect(file)) as naive, pytest.raises(sqlite3.OperationalError, match="locked"):
            naive.execute("PRAGMA journal_mode=WAL")
        opened = opener.submit(open_database, f"sqlite:///{file}")
        assert not wait([opened], timeout=0.3).done
        other.execute("COMMIT")
        opened.result(240).dispose()
    with closing(sqlite3.connect(file)) as later:
        assert later.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_sqlite_that_stays_locked_as_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is SQLAlchemy's, as for all that a database refuses."""
    monkeypatch.setattr(jobs_database, "BUSY_TIMEOUT", timedelta(milliseconds=50))
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE other (x)")
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO other VALUES (1)")
        with pytest.raises(OperationalError, match="database is locked"):
            open_database(f"sqlite:///{tmp_path}/jobs.db")


def test_a_transaction_that_writes_is_alone_from_its_start(tmp_path: Path) -> None:
    """On SQLite it has the lock before it reads: so nobody writes between its reading and its writing."""
    engine = open_database(f"sqlite:///{tmp_path}/jobs.db")
    with writing(engine), closing(sqlite3.connect(tmp_path / "jobs.db", timeout=0)) as other:
        assert other.execute("SELECT count(*) FROM export_job").fetchone() == (0,)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
    engine.dispose()


def test_those_who_write_take_turns(tmp_path: Path) -> None:
    """On SQLite the threads of a process write in the order in which they asked to; who reads waits for none."""
    engine = open_database(f"sqlite:///{tmp_path}/jobs.db")
    queue = engine.get_execution_options()["turns"]._queue
    wrote: list[int] = []

    def write(number: int) -> None:
        with writing(engine):
            wrote.append(number)

    with ThreadPoolExecutor(20) as crowd, writing(engine):
        for number in range(20):
            crowd.submit(write, number)
            while len(queue) < number + 2:
                time.sleep(0.001)
        assert sum(SqlJobStore(engine).counts().values()) == 0
    assert wrote == list(range(20))
    engine.dispose()


@pytest.mark.parametrize("holder", ["a thread", "another process"])
def test_who_waits_too_long_to_write(tmp_path: Path, holder: str) -> None:
    """Has the same error, whoever was at it, and holds up nobody; the next one has as much patience as ever."""
    engine = open_database(f"sqlite:///{tmp_path}/jobs.db", patience=timedelta(milliseconds=50))

    def check() -> str:
        with pytest.raises(OperationalError) as caught:
            SqlJobStore(engine).check()
        return str(caught.value.orig)

    with ExitStack() as stack, ThreadPoolExecutor(3) as crowd:
        if holder == "a thread":
            stack.enter_context(writing(engine))
        else:
            other = stack.enter_context(closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)))
            other.execute("BEGIN IMMEDIATE")
        assert [each.result() for each in [crowd.submit(check) for _ in range(3)]] == ["database is locked"] * 3
        with pytest.raises(OperationalError), writing(engine, patience=timedelta(0)):
            pass
    SqlJobStore(engine).check()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 50
    engine.dispose()


def test_a_transaction_rolled_back_leaves_nothing(database: Engine) -> None:
    """Not even SQLite commits half of it."""
    with writing(database) as connection:
        connection.execute(export_job.insert().values(_row(new_job())))
        connection.rollback()
    assert sum(SqlJobStore(database).counts().values()) == 0


def _row(job: Any) -> dict[str, Any]:
    return {column.name: getattr(job, column.name) for column in export_job.c if hasattr(job, column.name)}


TIMES = st.datetimes(
    datetime(1900, 1, 1),  # noqa: DTZ001  # hypothesis asks for naive bounds and adds the zone
    datetime(2200, 1, 1),  # noqa: DTZ001  # the same
    timezones=st.integers(-14 * 60 + 1, 14 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


@given(time=TIMES)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_time_comes_back_whole(database: Engine, time: datetime) -> None:
    """In UTC, to the microsecond, whatever its zone or the server's."""
    job = new_job(created_time=time)
    with writing(database) as connection:
        connection.execute(export_job.delete())
        connection.execute(export_job.insert().values(_row(job)))
    read = SqlJobStore(database).get(job.workspace_id, job.id)
    assert read is not None
    assert (read.created_time, read.created_time.utcoffset()) == (time, timedelta(0))


@pytest.mark.slow
@given(one=TIMES, other=TIMES)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_times_sort_as_time_does(database: Engine, one: datetime, other: datetime) -> None:
    """Also as text."""
    jobs = [new_job("1", created_time=one), new_job("2", created_time=other)]
    with writing(database) as connection:
        connection.execute(export_job.delete())
    store = SqlJobStore(database)
    for job in jobs:
        store.create(job)
    first = store.claim(NOW, MINUTE)
    assert first is not None
    assert first.job.created_time == min(one, other)


def test_a_naive_time_is_refused(database: Engine) -> None:
    """It would pass for local time."""
    with pytest.raises(StatementError, match="give an aware datetime"):
        SqlJobStore(database).create(new_job(created_time=NOW.replace(tzinfo=None)))


@pytest.mark.parametrize(
    "impossible",
    [
        {"status": Status.STARTED},
        {"status": Status.STARTED, "token": "t"},
        {"token": "t", "lease_until": NOW},
        {"status": Status.FINISHED},
        {"finished_time": NOW},
    ],
)
def test_a_row_that_no_job_can_be_in(database: Engine, impossible: dict[str, Any]) -> None:
    """Started means leased and ended means when: the database itself holds that."""
    with pytest.raises(IntegrityError), writing(database) as connection:
        connection.execute(export_job.insert().values(_row(new_job()) | impossible))


@pytest.mark.parametrize(("text", "can"), [("", True), ("é😀", True), ("a\0b", False), ("\ud83d", False)])
def test_what_a_database_can_hold(text: str, can: bool) -> None:
    """Neither a NUL nor half of a surrogate pair."""
    assert storable(text) is can


ASKED: dict[str, Callable[[SqlJobStore], object]] = {
    "claim": lambda store: store.claim(NOW, MINUTE),
    "take_notice": lambda store: store.take_notice(NOW, MINUTE),
    "expired": lambda store: store.expired(NOW + LINK_LIFE),
    "wanted": lambda store: store.wanted(["job/token/a.zip", "other/token/b.zip"]),
    "get": lambda store: store.get("workspace", "job"),
    "counts": lambda store: store.counts(),
}


@contextmanager
def recorded(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """The queries that an engine runs."""
    queries: list[tuple[str, Any]] = []

    def record(_: Connection, __: object, statement: str, parameters: Any, *___: object) -> None:
        if statement.startswith("SELECT"):
            queries.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", record)
    yield queries
    event.remove(engine, "before_cursor_execute", record)


@pytest.mark.parametrize("question", ASKED)
def test_what_is_asked_again_and_again_has_an_index(database: Engine, question: str) -> None:
    """The table grows for ever; no question reads all of it."""
    with recorded(database) as queries:
        ASKED[question](SqlJobStore(database))
    assert len(queries) == 1
    ((query, parameters),) = queries
    with database.begin() as connection:
        if database.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # the table is too small to say otherwise
            plan = [str(row) for row in connection.exec_driver_sql(f"EXPLAIN {query}", parameters)]
            assert not [line for line in plan if "Seq Scan" in line], plan
        else:
            plan = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", parameters)]
            # The few that are active are put in order by hand: workspaces take turns, which no index knows.
            assert not [line for line in plan if "INDEX" not in line and line != "USE TEMP B-TREE FOR ORDER BY"], plan
