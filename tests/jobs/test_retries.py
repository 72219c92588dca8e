"""Exports that failed of what may pass are tried again, later each time; those that failed for good are not."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import obstore
import psycopg
import pytest
import sqlalchemy as sa
from obstore.store import S3Store

from export_engine import GroupingError, OptionError, RowError, SchemaError, SourceError
from export_engine.jobs.backends.sql import SqlConversations
from export_engine.jobs.errors import LeaseLostError, NotFoundError
from export_engine.jobs.failures import failure_message, is_transient
from export_engine.jobs.job import MAX_ATTEMPTS, Status
from export_engine.jobs.worker import LONGEST_RETRY
from export_engine.options import ExportOptions
from tests import reference
from tests.jobs import rows as databases
from tests.jobs.harness import JUNE, Flaky, Harness, OwnError, open_harness, raising
from tests.jobs.samples import MINUTE, NOW, AnyJobStore, claimed, new_job

PAUSE = timedelta(seconds=10)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with open_harness(tmp_path) as opened:
        yield opened


# --- the worker ----------------------------------------------------------------------------------------------------


def test_an_archive_store_that_is_down_for_a_while(harness: Harness) -> None:
    """The job is queued again and left alone for a while, four times as long the second time; then it is done."""
    archives = Flaky(harness.archives, write=2)
    worker = harness.worker(archives=archives, retry_export=PAUSE)
    job = harness.trigger()
    for pause in (PAUSE, 4 * PAUSE):
        assert worker.step() is True
        assert harness.current(job).status is Status.QUEUED
        harness.clock.now += pause - timedelta(microseconds=1)
        assert worker.step() is False
        harness.clock.now += timedelta(microseconds=1)
    assert worker.step() is True
    done = harness.current(job)
    assert (done.status, done.attempts, done.error_message) == (Status.FINISHED, 3, None)
    events = [event for event, _ in harness.events]
    assert events == ["started", "retried", "started", "retried", "started", "finished"]


def test_a_source_that_is_down_for_good(harness: Harness) -> None:
    """After the last attempt the job has failed. Its message says that it may pass, and nothing of where it was."""
    harness.source.make = lambda: raising(ConnectionResetError("postgresql://user:secret@db.internal"))
    job = harness.trigger()
    worker = harness.worker()
    for _ in range(MAX_ATTEMPTS):
        assert worker.step() is True
        harness.clock.now += LONGEST_RETRY
    assert worker.step() is False
    done = harness.current(job)
    assert (done.status, done.attempts) == (Status.FAILED, MAX_ATTEMPTS)
    message = done.error_message or ""
    assert "a fault that passes: trigger the export again later" in message
    assert job.id in message
    assert "db.internal" not in message
    assert [event for event, _ in harness.events].count("retried") == MAX_ATTEMPTS - 1


def test_others_are_done_meanwhile(harness: Harness) -> None:
    """A job that waits for its next try is in nobody's way."""
    sources = iter([raising(ConnectionResetError()), reference.some(20, JUNE)])
    harness.source.make = lambda: next(sources)
    first, second = harness.trigger(), harness.trigger(day=2, created_time=harness.clock() + timedelta(seconds=1))
    worker = harness.worker()
    assert [worker.step() for _ in range(3)] == [True, True, False]
    assert harness.current(first).status is Status.QUEUED
    assert harness.current(second).status is Status.FINISHED


def test_what_will_not_pass(harness: Harness) -> None:
    """It has failed at once, and the message does not advise to trigger it again."""
    harness.source.make = lambda: raising(OwnError("a bug"))
    job = harness.trigger()
    harness.worker().step()
    done = harness.current(job)
    assert (done.status, done.attempts) == (Status.FAILED, 1)
    assert "will not mend" in (done.error_message or "")


# --- which is which ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
        TimeoutError(),
        OSError("Generic S3 error: Server returned error response: 503 Service Unavailable"),
        OSError(errno.ENOSPC, "No space left on device"),
        sa.exc.OperationalError("SELECT", {}, psycopg.OperationalError("server closed the connection")),
        sa.exc.OperationalError("SELECT", {}, sqlite3.OperationalError("database is locked")),
        sa.exc.InterfaceError("SELECT", {}, psycopg.InterfaceError("connection already closed")),
        sa.exc.TimeoutError("QueuePool limit reached"),
        psycopg.errors.AdminShutdown("terminating connection due to administrator command"),
    ],
)
def test_what_may_pass(error: Exception) -> None:
    """Connections and servers."""
    assert is_transient(error)
    wrapped = SourceError("chats.parquet could not be read")
    wrapped.__cause__ = error
    assert is_transient(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        RowError("is wrong", column="direction"),
        GroupingError("c1"),
        SchemaError("is missing", column="direction"),
        SourceError("cut short"),
        NotFoundError("The channel is not there any more."),
        OptionError("cannot work", option="timezone"),
        FileNotFoundError(errno.ENOENT, "none"),
        PermissionError(errno.EACCES, "no"),
        sa.exc.ProgrammingError("SELECT", {}, psycopg.errors.UndefinedColumn("no such column")),
        ValueError("a bug"),
        OwnError("a bug"),
    ],
)
def test_what_stays(error: Exception) -> None:
    """Data, options, files that are not there, programs."""
    assert not is_transient(error)


def test_a_conversation_given_twice() -> None:
    """Is not sorted away: it says so, and what may pass is not promised. Places are not shown: they may be paths."""
    message = failure_message(GroupingError("c1", ("line 1 of a.jsonl", "line 2 of a.jsonl")), "job")
    assert message.startswith("The channel's data have two whole conversations 'c1': make one of them")
    assert "a.jsonl" not in message


def test_an_object_store_that_cannot_be_reached() -> None:
    """Its own error may pass."""
    store = S3Store(
        "bucket",
        endpoint="http://127.0.0.1:1",
        region="eu-west-1",
        access_key_id="a",
        secret_access_key="b",  # noqa: S106  # nobody looks at it
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    with pytest.raises(obstore.exceptions.GenericError) as caught:
        obstore.put(store, "a", b"a")
    assert is_transient(caught.value)


@pytest.mark.slow
def test_a_source_whose_connection_is_killed(source: SqlConversations) -> None:
    """What it raises in the middle of reading may pass."""
    if source.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no connection that could be killed")
    databases.many(source, 20_000)
    batches = iter(source.conversations(databases.SMS, databases.JUNE, ExportOptions()))
    next(batches)
    with source.engine.connect() as other:
        other.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE state = 'idle in transaction' AND pid <> pg_backend_pid()"
            )
        )
    with pytest.raises(Exception) as caught:  # which one it is, is what is tested
        for _ in batches:
            pass
    assert is_transient(caught.value)


# --- the stores ----------------------------------------------------------------------------------------------------


def test_a_retry(store: AnyJobStore) -> None:
    """Nobody gets the job before its time; then the oldest comes first again. Its old lease is over."""
    lease = claimed(store)
    at = NOW + MINUTE
    queued = store.retry(lease, NOW, at, "down")
    assert (queued.status, queued.attempts, queued.error_message) == (Status.QUEUED, 1, None)
    store.create(new_job(day=2, created_time=NOW + timedelta(seconds=1)))
    with pytest.raises(LeaseLostError):
        store.renew(lease, NOW, MINUTE)
    with pytest.raises(LeaseLostError):
        store.retry(lease, NOW, at, "down")
    other = store.claim(at - timedelta(microseconds=1), MINUTE)
    assert other is not None
    assert other.job.id != lease.job.id
    assert store.claim(at - timedelta(microseconds=1), MINUTE) is None
    again = store.claim(at, MINUTE)
    assert again is not None
    assert (again.job.id, again.job.attempts) == (lease.job.id, 2)


def test_a_retry_that_is_taken_and_lost(store: AnyJobStore) -> None:
    """The time of a retry that is over does not hold the job back."""
    lease = claimed(store)
    store.retry(lease, NOW, NOW + MINUTE, "down")
    assert store.claim(NOW + MINUTE, MINUTE) is not None
    assert store.claim(NOW + 2 * MINUTE, MINUTE) is not None


def test_the_last_attempt(store: AnyJobStore) -> None:
    """It fails with the message."""
    lease = claimed(store)
    for number in range(1, MAX_ATTEMPTS):
        assert store.retry(lease, NOW, NOW, "down").attempts == number
        again = store.claim(NOW, MINUTE)
        assert again is not None
        lease = again
    done = store.retry(lease, NOW, NOW, "down")
    assert (done.status, done.finished_time, done.error_message) == (Status.FAILED, NOW, "down")
