"""The worker's exports: done, failed, taken over by another, stopped. Real stores; the clock is the test's."""

from __future__ import annotations

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

from export_engine import Conversation, ExportOptions, SourceError, export_conversations
from export_engine.jobs.backends.archives import ObjectArchives
from export_engine.jobs.job import Status
from export_engine.jobs.ports import Lease
from export_engine.sinks import Streamable
from tests import reference
from tests.jobs.fakes import (
    CHANNEL,
    DAYS,
    JUNE,
    LEASE,
    SHORT,
    Flaky,
    Forgetful,
    House,
    OwnError,
    endless,
    open_house,
    raising,
    run_until,
    talk,
)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with open_house(tmp_path) as opened:
        yield opened


# --- an export that goes well --------------------------------------------------------------------------------------


def test_from_queued_to_finished(house: House) -> None:
    """The archive is that of the job's channel, range and id, and is kept under the attempt's own path."""
    job = house.trigger()
    assert house.worker().step() is True
    done = house.look(job)
    assert (done.status, done.attempts, done.finished_time) == (Status.FINISHED, 1, house.clock())
    assert done.file_name == f"SMS_Support_2026-06_{job.id[:8]}.zip"
    assert done.archive is not None
    assert done.archive.split("/")[::2] == [job.id, done.file_name]
    assert house.source.asked == [(CHANNEL.id, DAYS)]
    expected = export_conversations(
        reference.some(20, JUNE), channel=CHANNEL.channel, date_range=DAYS, export_id=job.id[:8]
    )
    assert house.bytes_of(done) == b"".join(expected)
    assert house.happened == [("began", job.id), ("finished", job.id)]
    assert replace(house.reports[0], elapsed=0) == replace(expected.report, elapsed=0)
    assert house.kept() == [done.archive]


def test_nothing_to_do(house: House) -> None:
    """A step that finds nothing says so."""
    assert house.worker().step() is False
    assert house.happened == []


def test_jobs_are_done_in_the_order_they_came(house: House) -> None:
    """Each once, over its own range."""
    first, second = house.trigger(), house.trigger(day=2, created_time=house.clock() + timedelta(seconds=1))
    worker = house.worker()
    assert [worker.step() for _ in range(3)] == [True, True, False]
    assert [id_ for happening, id_ in house.happened if happening == "finished"] == [first.id, second.id]
    with zipfile.ZipFile(io.BytesIO(house.bytes_of(house.look(second)))) as archive:
        assert archive.namelist() == []


def test_options_of_the_export(house: House) -> None:
    """They are passed on."""
    job = house.trigger()
    house.worker(options=ExportOptions(compression="store")).step()
    assert house.bytes_of(house.look(job)).count(b"message_id,conversation_id") == 20


def test_an_observer_that_raises(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the job done."""

    def observe(*_: object) -> None:
        raise OwnError

    job = house.trigger()
    house.worker(observe=observe).step()
    assert house.look(job).status is Status.FINISHED
    assert "OwnError" in caplog.text


# --- an export that fails ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (lambda: [talk("a"), talk("b"), talk("a")], ["conversation 'a'", "sort the data by conversation"]),
        (lambda: [talk("a", direction="up")], ["conversation 'a'", "message 'a-m'", "direction 'up'", "Correct it"]),
        (lambda: [talk("a", direction=7)], ["conversation 'a'", "message 'a-m'", "direction of type int"]),
        (lambda: raising(SourceError("/srv/data/chats.jsonl is cut short")), ["cannot be read", "name the job"]),
        (lambda: raising(OwnError("postgresql://user:secret@db.internal")), ["a reason of ours", "name the job"]),
        (lambda: [object()], ["cannot be exported"]),
        (lambda: 7, ["a reason of ours"]),
        (lambda: [talk("x" * 5000, direction="y" * 5000)], ["direction 'yyy"]),
    ],
)
def test_an_export_that_fails(
    house: House, caplog: pytest.LogCaptureFixture, source: Callable[[], Any], words: list[str]
) -> None:
    """The job fails, with advice where there is any; the rest is for the log, which names the job. Nothing is kept."""
    house.source.make = source
    job = house.trigger()
    assert house.worker().step() is True
    done = house.look(job)
    assert (done.status, done.attempts, done.archive) == (Status.FAILED, 1, None)
    message = done.error_message or ""
    assert all(word in message for word in words)
    assert len(message) <= 1000
    for secret in ("/srv", "secret", "db.internal", "Traceback"):
        assert secret not in message
    assert house.kept() == []
    assert house.happened == [("began", job.id), ("failed", job.id)]
    record = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert job.id in record.getMessage()
    assert record.exc_info is not None


def test_a_channel_that_is_gone(house: House) -> None:
    """The job fails and says so."""
    house.directory.channels = []
    job = house.trigger()
    house.worker().step()
    assert house.look(job).error_message == "The channel is not there any more."


def test_an_archive_store_that_fails(house: House) -> None:
    """The job fails, for a reason of ours."""
    job = house.trigger()
    house.worker(archives=Flaky(house.archives, write=1)).step()
    done = house.look(job)
    assert done.status is Status.FAILED
    assert "a reason of ours" in (done.error_message or "")
    assert "db.internal" not in (done.error_message or "")


# --- leases --------------------------------------------------------------------------------------------------------


def test_a_lease_lost_during_the_export(house: House) -> None:
    """The export is ended, nothing of it is kept, and the other worker's result counts."""
    other: list[Lease] = []
    house.source.make = lambda: endless(lambda: other.append(house.take_over()))
    job = house.trigger()
    house.worker(lease=SHORT).step()
    assert house.happened == [("began", job.id), ("lost", job.id)]
    assert house.kept() == []
    assert house.look(job).status is Status.STARTED
    house.store.finish(other[0], house.clock(), archive=f"{job.id}/{other[0].token}/a.zip", file_name="a.zip")


class Interrupted(ObjectArchives):
    """An archive store in whose `write` something happens at the end."""

    def __init__(self, then: Callable[[], object]) -> None:
        super().__init__(MemoryStore())
        self._then = then

    def write(self, path: str, export: Streamable) -> None:
        """As ever, and then that."""
        super().write(path, export)
        self._then()


def test_a_lease_lost_after_the_export(house: House) -> None:
    """What was written is deleted."""
    house.archives = Interrupted(house.take_over)
    job = house.trigger()
    store = Flaky(house.store)
    house.worker(store=store).step()
    assert store.called.count("finish") == 1  # a refusal is no failure to try again
    assert house.happened == [("began", job.id), ("lost", job.id)]
    assert house.kept() == []
    assert house.look(job).attempts == 2


def test_a_lease_lost_before_the_failure(house: House) -> None:
    """The failure is void: the other worker may fare better."""

    def source() -> Iterator[Conversation]:
        house.take_over()
        yield from raising(OwnError())

    house.source.make = source
    job = house.trigger()
    house.worker().step()
    assert house.happened == [("began", job.id), ("lost", job.id)]
    assert house.look(job).status is Status.STARTED


def test_an_answer_that_is_lost(house: House) -> None:
    """A job that did finish keeps its archive, though the worker was not told."""
    job = house.trigger()
    house.worker(store=Forgetful(house.store, finish=1)).step()
    done = house.look(job)
    assert done.status is Status.FINISHED
    assert house.kept() == [done.archive]


def test_the_lease_is_renewed_while_the_export_runs(house: House) -> None:
    """Also when the store fails now and then."""
    store = Flaky(house.store, renew=2)

    def source() -> Iterator[Conversation]:
        for _ in range(6000):
            if store.called.count("renew") >= 4:  # two that failed, one that did not, and another begun
                break
            time.sleep(0.01)
        yield from reference.some(20, JUNE)

    house.source.make = source
    job = house.trigger()
    house.worker(store=store, lease=SHORT).step()
    assert house.look(job).status is Status.FINISHED
    assert store.called.count("renew") >= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lease-")]


# --- stopping ------------------------------------------------------------------------------------------------------


def test_a_stop_during_an_export_that_goes_on_too_long(house: House) -> None:
    """After the grace the job is handed back, as if nothing had been; another worker does it."""
    stop = threading.Event()

    def source() -> Iterator[Conversation]:
        for number, conversation in enumerate(endless(stop.set)):
            yield conversation
            if number % 100 == 0 and stop.is_set():
                house.clock.now += timedelta(seconds=10)

    house.source.make = source
    job = house.trigger()
    before = house.look(job)
    house.worker(grace=timedelta(seconds=30)).run(stop)
    assert house.look(job) == before
    assert house.happened == [("began", job.id), ("handed_back", job.id)]
    assert house.kept() == []
    house.source.make = lambda: reference.some(20, JUNE)
    house.worker().step()
    assert house.look(job).status is Status.FINISHED


def test_a_stop_during_an_export_that_soon_ends(house: House) -> None:
    """It finishes within the grace, and no other is begun."""
    stop = threading.Event()

    def source() -> Iterator[Conversation]:
        stop.set()
        for number, conversation in enumerate(endless()):
            if number == 200:
                return
            yield conversation

    house.source.make = source
    jobs = [house.trigger(), house.trigger(day=2)]
    house.worker(grace=timedelta(seconds=30)).run(stop)
    assert sorted(house.look(job).status for job in jobs) == [Status.FINISHED, Status.QUEUED]


def test_a_stop_while_idle(house: House) -> None:
    """The loop ends, without waiting for its poll."""
    stop = threading.Event()
    thread = threading.Thread(target=house.worker(poll=timedelta(hours=1)).run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


# --- a store that fails --------------------------------------------------------------------------------------------


def test_a_store_that_is_down_for_a_while(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """The loop goes on, and does the job when the store is back."""
    job = house.trigger()
    store = Flaky(house.store, expired=1, claim=3, finish=4)
    run_until(
        house.worker(store=store, poll=timedelta(milliseconds=1)),
        lambda: house.look(job).status is Status.FINISHED,
    )
    assert store.left == {"expired": 0, "claim": 0, "finish": 0}
    assert len(house.kept()) == 1
    assert "db.internal" in caplog.text


@pytest.mark.parametrize("failures", [{"finish": 100, "fail": 0}, {"finish": 0, "fail": 100}])
def test_a_store_that_is_down_for_too_long(house: House, failures: dict[str, int]) -> None:
    """The job is taken up again when its lease has run out; what was written is swept."""
    if failures["fail"]:
        house.source.make = lambda: raising(OwnError())
    job = house.trigger()
    with pytest.raises(OSError, match="is down"):
        house.worker(store=Flaky(house.store, **failures)).step()
    assert house.look(job).status is Status.STARTED
    house.clock.now += 2 * LEASE
    house.source.make = lambda: reference.some(20, JUNE)
    house.worker().step()
    done = house.look(job)
    assert (done.status, done.attempts) == (Status.FINISHED, 2)
    house.worker(orphan_age=timedelta(0)).sweep()
    assert house.kept() == [done.archive]


def test_a_store_that_is_down_when_the_worker_stops(house: House) -> None:
    """Handing back is tried again too."""
    stop = threading.Event()
    house.source.make = lambda: endless(stop.set)
    job = house.trigger()
    house.worker(store=Flaky(house.store, hand_back=2), grace=timedelta(0)).step(stop)
    assert house.look(job).status is Status.QUEUED
