"""The worker's exports: done, failed, taken over by another, stopped. Real stores; the clock is the test's."""

from __future__ import annotations

import hashlib
import io
import logging
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from export_engine import Conversation, ExportOptions, OptionError, SourceError, export_conversations
from export_engine.jobs.backends.archives import ObjectArchives
from export_engine.jobs.job import Status
from export_engine.jobs.ports import Lease
from export_engine.sinks import Streamable
from tests import reference
from tests.jobs.harness import (
    CHANNEL,
    DATE_RANGE,
    JUNE,
    LEASE,
    SHORT,
    Flaky,
    Forgetful,
    Harness,
    OwnError,
    endless,
    one_message,
    open_harness,
    raising,
    run_until,
)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with open_harness(tmp_path) as opened:
        yield opened


# --- an export that goes well --------------------------------------------------------------------------------------


def test_from_queued_to_finished(harness: Harness) -> None:
    """The archive is that of the job's channel, range and id, and is kept under the attempt's own path."""
    job = harness.trigger()
    assert harness.worker().step() is True
    done = harness.current(job)
    assert (done.status, done.attempts, done.finished_time) == (Status.FINISHED, 1, harness.clock())
    assert done.file_name == f"SMS_Support_2026-06_{job.id[:8]}.zip"
    assert done.archive is not None
    assert done.archive.split("/")[::2] == [job.id, done.file_name]
    assert harness.source.asked == [(CHANNEL.id, DATE_RANGE)]
    expected = export_conversations(
        reference.some(20, JUNE),
        channel=CHANNEL.channel,
        date_range=DATE_RANGE,
        export_id=job.id[:8],
        options=ExportOptions(sha256=True),
    )
    archive = b"".join(expected)
    assert harness.bytes_of(done) == archive
    assert (done.rows, done.conversations) == (expected.report.rows, expected.report.conversations)
    assert (done.bytes, done.sha256) == (len(archive), hashlib.sha256(archive).hexdigest())
    assert harness.events == [("started", job.id), ("finished", job.id)]
    assert replace(harness.reports[0], elapsed=0) == replace(expected.report, elapsed=0)
    assert harness.archive_paths() == [done.archive]


def test_nothing_to_do(harness: Harness) -> None:
    """A step that finds nothing says so."""
    assert harness.worker().step() is False
    assert harness.events == []


def test_jobs_are_done_in_the_order_they_came(harness: Harness) -> None:
    """Each once, over its own range."""
    first, second = harness.trigger(), harness.trigger(day=2, created_time=harness.clock() + timedelta(seconds=1))
    worker = harness.worker()
    assert [worker.step() for _ in range(3)] == [True, True, False]
    assert [id_ for event, id_ in harness.events if event == "finished"] == [first.id, second.id]
    with zipfile.ZipFile(io.BytesIO(harness.bytes_of(harness.current(second)))) as archive:
        assert archive.namelist() == []


def test_options_of_the_export(harness: Harness) -> None:
    """They are passed on."""
    job = harness.trigger()
    harness.worker(options=ExportOptions(compression="store")).step()
    assert harness.bytes_of(harness.current(job)).count(b"message_id,conversation_id") == 20


def test_an_observer_that_raises(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the job done."""

    def observe(*_: object) -> None:
        raise OwnError

    job = harness.trigger()
    harness.worker(observe=observe).step()
    assert harness.current(job).status is Status.FINISHED
    assert "OwnError" in caplog.text


# --- an export that fails ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            lambda: [one_message("a"), one_message("b"), one_message("a")],
            ["conversation 'a'", "sort the data by conversation"],
        ),
        (
            lambda: [one_message("a", direction="up")],
            ["conversation 'a'", "message 'a-m'", "direction 'up'", "Correct it"],
        ),
        (lambda: [one_message("a", direction=7)], ["conversation 'a'", "message 'a-m'", "direction of type int"]),
        (lambda: raising(SourceError("/srv/data/chats.jsonl is cut short")), ["cannot be read", "name the job"]),
        (lambda: raising(OwnError("postgresql://user:secret@db.internal")), ["a reason of ours", "name the job"]),
        (lambda: [object()], ["cannot be exported"]),
        (lambda: 7, ["a reason of ours"]),
        (lambda: [one_message("x" * 5000, direction="y" * 5000)], ["direction 'yyy"]),
    ],
)
def test_an_export_that_fails(
    harness: Harness, caplog: pytest.LogCaptureFixture, source: Callable[[], Any], words: list[str]
) -> None:
    """The job fails, with advice where there is any; the rest is for the log, which names the job. Nothing is kept."""
    harness.source.make = source
    job = harness.trigger()
    assert harness.worker().step() is True
    done = harness.current(job)
    assert (done.status, done.attempts, done.archive) == (Status.FAILED, 1, None)
    message = done.error_message or ""
    assert all(word in message for word in words)
    assert len(message) <= 1000
    for secret in ("/srv", "secret", "db.internal", "Traceback"):
        assert secret not in message
    assert harness.archive_paths() == []
    assert harness.events == [("started", job.id), ("failed", job.id)]
    record = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert job.id in record.getMessage()
    assert record.exc_info is not None


def test_a_channel_that_is_gone(harness: Harness) -> None:
    """The job fails and says so."""
    harness.directory.channels = []
    job = harness.trigger()
    harness.worker().step()
    assert harness.current(job).error_message == "The channel is not there any more."


# --- leases --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_lease_lost_during_the_export(harness: Harness) -> None:
    """The export is ended, nothing of it is kept, and the other worker's result counts."""
    other: list[Lease] = []
    harness.source.make = lambda: endless(lambda: other.append(harness.take_over()))
    job = harness.trigger()
    harness.worker(lease=SHORT).step()
    assert harness.events == [("started", job.id), ("lease_lost", job.id)]
    assert harness.archive_paths() == []
    assert harness.current(job).status is Status.STARTED
    harness.store.finish(other[0], harness.clock(), archive=f"{job.id}/{other[0].token}/a.zip", file_name="a.zip")


class Interrupted(ObjectArchives):
    """An archive store in whose `write` something happens at the end."""

    def __init__(self, then: Callable[[], object]) -> None:
        super().__init__(MemoryStore())
        self._then = then

    def write(self, path: str, export: Streamable) -> None:
        """As ever, and then that."""
        super().write(path, export)
        self._then()


def test_a_lease_lost_after_the_export(harness: Harness) -> None:
    """What was written is deleted."""
    harness.archives = Interrupted(harness.take_over)
    job = harness.trigger()
    store = Flaky(harness.store)
    harness.worker(store=store).step()
    assert store.called.count("finish") == 1  # a refusal is no failure to try again
    assert harness.events == [("started", job.id), ("lease_lost", job.id)]
    assert harness.archive_paths() == []
    assert harness.current(job).attempts == 2


def test_a_lease_lost_before_the_failure(harness: Harness) -> None:
    """The failure is void: the other worker may fare better."""

    def source() -> Iterator[Conversation]:
        harness.take_over()
        yield from raising(OwnError())

    harness.source.make = source
    job = harness.trigger()
    harness.worker().step()
    assert harness.events == [("started", job.id), ("lease_lost", job.id)]
    assert harness.current(job).status is Status.STARTED


def test_an_answer_that_is_lost(harness: Harness) -> None:
    """A job that did finish keeps its archive, though the worker did not hear of it."""
    job = harness.trigger()
    harness.worker(store=Forgetful(harness.store, finish=1)).step()
    done = harness.current(job)
    assert done.status is Status.FINISHED
    assert harness.archive_paths() == [done.archive]


def test_the_lease_is_renewed_while_the_export_runs(harness: Harness) -> None:
    """Also when the store fails now and then."""
    store = Flaky(harness.store, renew=2)

    def source() -> Iterator[Conversation]:
        for _ in range(6000):
            if store.called.count("renew") >= 4:  # two that failed, one that did not, and another begun
                break
            time.sleep(0.01)
        yield from reference.some(20, JUNE)

    harness.source.make = source
    job = harness.trigger()
    harness.worker(store=store, lease=SHORT).step()
    assert harness.current(job).status is Status.FINISHED
    assert store.called.count("renew") >= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lease-")]


# --- stopping ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_stop_during_an_export_that_goes_on_too_long(harness: Harness) -> None:
    """After the grace the job is handed back, as if nothing had been; another worker does it."""
    stop = threading.Event()

    def source() -> Iterator[Conversation]:
        for number, conversation in enumerate(endless(stop.set)):
            yield conversation
            if number % 100 == 0 and stop.is_set():
                harness.clock.now += timedelta(seconds=10)

    harness.source.make = source
    job = harness.trigger()
    before = harness.current(job)
    harness.worker(grace=timedelta(seconds=30)).run(stop)
    assert harness.current(job) == before
    assert harness.events == [("started", job.id), ("handed_back", job.id)]
    assert harness.archive_paths() == []
    harness.source.make = lambda: reference.some(20, JUNE)
    harness.worker().step()
    assert harness.current(job).status is Status.FINISHED


@pytest.mark.slow
def test_a_stop_during_an_export_that_soon_ends(harness: Harness) -> None:
    """It finishes within the grace, and no other is begun."""
    stop = threading.Event()

    def source() -> Iterator[Conversation]:
        stop.set()
        for number, conversation in enumerate(endless()):
            if number == 200:
                return
            yield conversation

    harness.source.make = source
    jobs = [harness.trigger(), harness.trigger(day=2)]
    harness.worker(grace=timedelta(seconds=30)).run(stop)
    assert sorted(harness.current(job).status for job in jobs) == [Status.FINISHED, Status.QUEUED]


def test_a_stop_while_idle(harness: Harness) -> None:
    """The loop ends, without waiting for its poll."""
    stop = threading.Event()
    thread = threading.Thread(target=harness.worker(poll=timedelta(hours=1)).run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


# --- a store that fails --------------------------------------------------------------------------------------------


def test_a_store_that_is_down_for_a_while(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """The loop goes on, and does the job when the store is back."""
    job = harness.trigger()
    store = Flaky(harness.store, expired=1, claim=3, finish=4)
    run_until(
        harness.worker(store=store, poll=timedelta(milliseconds=1)),
        lambda: harness.current(job).status is Status.FINISHED and not any(store.left.values()),
    )
    assert len(harness.archive_paths()) == 1
    assert "db.internal" in caplog.text


@pytest.mark.parametrize("failures", [{"finish": 100, "fail": 0}, {"finish": 0, "fail": 100}])
def test_a_store_that_is_down_for_too_long(harness: Harness, failures: dict[str, int]) -> None:
    """The job is taken up again when its lease has run out; what was written is swept."""
    if failures["fail"]:
        harness.source.make = lambda: raising(OwnError())
    job = harness.trigger()
    with pytest.raises(OSError, match="is down"):
        harness.worker(store=Flaky(harness.store, **failures)).step()
    assert harness.current(job).status is Status.STARTED
    harness.clock.now += 2 * LEASE
    harness.source.make = lambda: reference.some(20, JUNE)
    harness.worker().step()
    done = harness.current(job)
    assert (done.status, done.attempts) == (Status.FINISHED, 2)
    harness.worker().sweep()
    assert harness.archive_paths() == [done.archive]


@pytest.mark.slow
def test_a_store_that_is_down_when_the_worker_stops(harness: Harness) -> None:
    """Handing back is tried again too."""
    stop = threading.Event()
    harness.source.make = lambda: endless(stop.set)
    job = harness.trigger()
    harness.worker(store=Flaky(harness.store, hand_back=2), grace=timedelta(0)).step(stop)
    assert harness.current(job).status is Status.QUEUED


def test_a_job_has_one_archive(harness: Harness) -> None:
    """A limit of its size is refused before there is a job."""
    with pytest.raises(OptionError, match="a job's export is one ZIP") as caught:
        harness.worker(options=ExportOptions(max_archive_size="2GB"))
    assert caught.value.option == "max_archive_size"
