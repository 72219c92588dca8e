"""Exports in a process of their own: what hangs is ended, and nothing is left. Real processes."""

from __future__ import annotations

import json
import logging
import os
import random
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from obstore.store import S3Store

from export_engine.errors import OptionError
from export_engine.jobs import runs
from export_engine.jobs.backends.archives import ObjectArchives, open_archives
from export_engine.jobs.backends.files import FileConversations
from export_engine.jobs.backends.sql import SqlConversations
from export_engine.jobs.backends.store import SqlJobStore
from export_engine.jobs.errors import LimitError, spoken
from export_engine.jobs.job import Job, Status
from export_engine.jobs.testing import MemoryDirectory
from export_engine.jobs.worker import Worker
from tests import s3
from tests.jobs.harness import CHANNEL, run_until
from tests.jobs.sites import REAL_PROCESSES, SHORT, Site, nothing_left, until

pytestmark = REAL_PROCESSES


def patient(worker: Worker) -> None:
    """Have a worker wait longer for what its next exports do: a machine may stand still meanwhile."""
    worker._runs._max_silence = timedelta(minutes=5)


def failed_in_time(site: Site, worker: Worker, hangs: Job, well: Job) -> str:
    """Two jobs of which one hangs: it has failed, the other is done, nothing is left. What the first one says."""
    with nothing_left(site):
        assert worker.step() is True
        patient(worker)
        assert worker.step() is True
        worker.close()
    done = site.current(hangs)
    assert (done.status, done.archive) == (Status.FAILED, None)
    assert site.current(well).status is Status.FINISHED
    assert [event for event, _ in site.events] == ["started", "failed", "started", "finished"]
    assert len(list(site.archives.paths())) == 1
    return done.error_message or ""


@pytest.mark.parametrize("way", ["hang", "hang_deaf"])
def test_a_source_that_hangs(site: Site, way: str) -> None:
    """Silent for too long it is ended, and killed where it heeds no signal; the message says that it may pass."""
    worker = site.worker(max_silence=SHORT)
    message = failed_in_time(site, worker, site.trigger(way), site.trigger())
    assert "nothing could be read or written for 2 seconds" in message
    assert "a fault that passes: trigger the export again later" in message


def test_a_pipe_for_a_channels_file(site: Site) -> None:
    """It is opened, and nobody ever writes to it."""
    other = "a1b2c3d4-1111-2222-3333-444455556666"
    places = site.folder / "conversations"
    places.mkdir()
    os.mkfifo(places / f"{CHANNEL.id}.jsonl")
    (places / f"{other}.jsonl").write_text(
        json.dumps({"id": "c", "contact": {}, "created_at": "2026-06-02T00:00:00Z", "messages": []}) + "\n"
    )
    hangs, well = site.trigger(), site.trigger(channel=other)
    directory = MemoryDirectory([CHANNEL, _renamed(other)])
    worker = site.worker(source=FileConversations(site.folder), directory=directory, max_silence=SHORT)
    assert "nothing could be read or written" in failed_in_time(site, worker, hangs, well)


def _renamed(id_: str) -> Any:
    return type(CHANNEL)(id_, CHANNEL.workspace_id, CHANNEL.type)


@contextmanager
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_database_that_takes_a_connection_and_says_nothing(site: Site) -> None:
    """As a server does that is frozen."""
    with silent() as port:
        engine = sa.create_engine(f"postgresql+psycopg://user@127.0.0.1:{port}/chats")
        hangs = site.trigger()
        with nothing_left(site):
            worker = site.worker(source=SqlConversations(engine), max_silence=SHORT / 4)
            assert worker.step() is True
            worker.close()
    assert site.current(hangs).status is Status.FAILED
    assert "nothing could be read or written" in (site.current(hangs).error_message or "")


def test_a_bucket_that_takes_a_connection_and_says_nothing(site: Site) -> None:
    """It fails in the limit, whatever the store's own is; the next job, when the bucket answers, is done."""
    with s3.serving() as server:
        bucket = server.new_bucket()
        archives = ObjectArchives(S3Store(bucket.name, **bucket.config))
        worker = site.worker(archives=archives, max_silence=SHORT)
        hangs, well = site.trigger(), site.trigger(day=2)
        with nothing_left(site):
            with server.holding("PUT"):
                assert worker.step() is True
            patient(worker)
            assert worker.step() is True
            worker.close()
            archives = None  # type: ignore[assignment]  # its connections go with it
    assert site.current(hangs).status is Status.FAILED
    assert site.current(well).status is Status.FINISHED


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("jobs", [5, pytest.param(50, marks=pytest.mark.scale)])
def test_a_bucket_half_of_whose_requests_fail(site: Site, jobs: int) -> None:
    """Every job is done, be it at a later attempt; the bucket has the archives and nothing else."""
    chance = random.Random(20260611)  # noqa: S311  # a seed for tests
    store = SqlJobStore(site.store._engine, max_attempts=20)
    with s3.serving() as server:
        bucket = server.new_bucket()
        config = bucket.config | {"retry_config": {"max_retries": 0}}
        worker = site.worker(store=store, archives=ObjectArchives(S3Store(bucket.name, **config)))
        waiting = [site.trigger(end_date=date(2026, 8, 1) + timedelta(days=number)) for number in range(jobs)]
        server.failing = lambda: chance.random() < 0.5
        while worker.step():
            pass
        server.failing = lambda: False
        worker.close()
        done = [site.current(job) for job in waiting]
        assert {job.status for job in done} == {Status.FINISHED}
        assert sorted(bucket.keys()) == sorted(job.archive or "" for job in done)
    retried = [event for event, _ in site.events].count("retried")
    assert retried > 0
    print(f"{jobs} jobs, {retried} attempts failed")  # noqa: T201  # for who runs it by hand


def test_an_export_that_takes_too_long(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has failed for good, though there are attempts left: the message advises what can help."""
    monkeypatch.setattr(runs, "_PATIENCE", 60.0)  # it leaves nothing if it has the time to tidy up
    store = SqlJobStore(site.store._engine, max_attempts=5)
    job = site.trigger("endless")
    with nothing_left(site):
        worker = site.worker(store=store, max_run=timedelta(seconds=1))
        worker.step()
        worker.close()
    done = site.current(job)
    assert (done.status, done.attempts) == (Status.FAILED, 1)
    assert "took longer than 1 second" in (done.error_message or "")
    assert "ask for a shorter range" in (done.error_message or "")
    assert list(site.archives.paths()) == []


def test_silence_is_tried_again(site: Site) -> None:
    """As often as there are attempts."""
    store = SqlJobStore(site.store._engine, max_attempts=2)
    job = site.trigger("hang")
    worker = site.worker(store=store, max_silence=SHORT / 4)
    assert [worker.step(), worker.step(), worker.step()] == [True, True, False]
    worker.close()
    assert [event for event, _ in site.events] == ["started", "retried", "started", "failed"]
    assert site.current(job).attempts == 2


def test_an_export_that_is_slow(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row now and then is no silence, however long they take together."""
    now = 0.0

    class Slowly(runs._Child):
        """A child of which something is heard every second and a half, as the worker's clock has it."""

        def heard(self, seconds: float) -> object:
            nonlocal now
            found = super().heard(seconds)
            now += 1.5 * (found is not None)
            return found

    monkeypatch.setattr(runs, "_Child", Slowly)
    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: now))
    job = site.trigger("slow")
    worker = site.worker(max_silence=timedelta(seconds=2))
    worker.step()
    worker.close()
    assert site.current(job).status is Status.FINISHED
    assert now >= 4.5


@pytest.mark.parametrize("option", ["max_run", "max_silence", "lease"])
def test_no_time_at_all(site: Site, option: str) -> None:
    """A limit is longer than nothing."""
    with pytest.raises(OptionError) as caught:
        site.worker(**{option: timedelta(0)})
    assert caught.value.option == option


def test_a_stop_while_an_export_hangs(site: Site) -> None:
    """After the grace the job is handed back; the worker ends."""
    job = site.trigger("hang_deaf")
    with nothing_left(site):
        run_until(site.worker(grace=timedelta(0)), (site.folder / "hangs").exists)
    assert [event for event, _ in site.events] == ["started", "handed_back"]
    assert (site.current(job).status, site.current(job).attempts) == (Status.QUEUED, 0)


def test_a_job_that_is_cancelled(site: Site) -> None:
    """Its export is ended with the next beat, though it is silent."""
    job = site.trigger("hang")
    worker = site.worker(lease=timedelta(seconds=0.9))
    with nothing_left(site):
        thread = threading.Thread(target=worker.step)
        thread.start()
        until((site.folder / "hangs").exists)
        site.store.cancel(job.workspace_id, job.id, datetime.now(UTC))
        thread.join(60)
        assert not thread.is_alive()
        worker.close()
    assert [event for event, _ in site.events] == ["started", "lease_lost"]


def test_progress_is_kept_while_the_export_runs(site: Site) -> None:
    """The store has the rows, conversations and bytes so far."""
    job = site.trigger("endless")
    worker = site.worker(lease=timedelta(seconds=0.3))
    columns = "SELECT rows, conversations, bytes FROM export_job"

    def some() -> bool:
        with site.store._engine.begin() as connection:
            row = connection.exec_driver_sql(columns).one()
        return all(number is not None and number > 0 for number in row)

    thread = threading.Thread(target=worker.step)
    thread.start()
    try:
        until(some)
    finally:
        site.store.cancel(job.workspace_id, job.id, datetime.now(UTC))
        thread.join(60)
        worker.close()
    assert not thread.is_alive()


def test_parts_that_do_not_pickle(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Their exports are made in this process, which the log says once."""
    worker = site.worker(archives=open_archives("memory://"))
    for day in (1, 2):
        site.trigger(day=day)
        worker.step()
    assert site.source.processes() == [os.getpid()]
    assert [event for event, _ in site.events] == ["started", "finished"] * 2
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "where one that hangs cannot be ended: TypeError" in record.getMessage()


def test_parts_of_a_module_that_the_process_has_not(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The same: they pickle, and nothing can be made of that."""

    class Local(MemoryDirectory):
        """Found by its name here alone."""

    Local.__qualname__ = "Local"
    Local.__module__ = "__main__"
    sys.modules["__main__"].Local = Local  # type: ignore[attr-defined]  # for a while
    try:
        job = site.trigger()
        with nothing_left(site):
            worker = site.worker(directory=Local([CHANNEL]))
            worker.step()
            worker.close()
    finally:
        del sys.modules["__main__"].Local
    assert site.current(job).status is Status.FINISHED
    assert site.source.processes() == [os.getpid()]
    assert "AttributeError" in caplog.text


def test_too_long_in_the_worker_s_thread(site: Site) -> None:
    """It is ended when it reads or writes the next time."""
    job = site.trigger("endless")
    site.worker(archives=open_archives("memory://"), max_run=timedelta(seconds=0.2)).step()
    assert "took longer than 0.2 seconds" in (site.current(job).error_message or "")


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (timedelta(hours=6), "6 hours"),
        (timedelta(hours=1), "1 hour"),
        (timedelta(minutes=90), "90 minutes"),
        (timedelta(minutes=10), "10 minutes"),
        (timedelta(seconds=90), "90 seconds"),
        (timedelta(seconds=0.5), "0.5 seconds"),
        (timedelta(0), "0 seconds"),
    ],
)
def test_a_time_as_people_say_it(time: timedelta, words: str) -> None:
    """In the largest unit that is whole."""
    assert spoken(time) == words
    assert words in str(LimitError("max_silence", time))
