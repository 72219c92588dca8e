"""What a worker does besides exporting: it sweeps. Real stores, the test's clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from export_engine import ExportOptions, export_conversations
from export_engine.jobs.job import Status
from tests.jobs.harness import CHANNEL, DATE_RANGE, LEASE, Flaky, Harness, open_harness, run_until


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with open_harness(tmp_path) as opened:
        yield opened


# --- sweeping ------------------------------------------------------------------------------------------------------


def test_an_expired_archive_is_deleted(harness: Harness) -> None:
    """24 hours after completion, not before; the job is remembered without it."""
    job = harness.trigger()
    worker = harness.worker()
    worker.step()
    harness.clock.now += timedelta(hours=24) - timedelta(seconds=1)
    worker.sweep()
    assert len(harness.archive_paths()) == 1
    harness.clock.now += timedelta(seconds=1)
    worker.sweep()
    assert harness.archive_paths() == []
    done = harness.current(job)
    assert (done.status, done.archive) == (Status.FINISHED, None)


@pytest.mark.slow
def test_more_expired_archives_than_are_given_at_once(harness: Harness) -> None:
    """All are deleted in one sweep."""
    for number in range(230):
        harness.trigger(end_date=date(2026, 7, 1) + timedelta(days=number))
    harness.source.make = list
    worker = harness.worker(options=ExportOptions(threads=1))
    while worker.step():
        pass
    assert len(harness.archive_paths()) == 230
    harness.clock.now += timedelta(hours=24)
    worker.sweep()
    assert harness.archive_paths() == []


def test_an_archive_that_cannot_be_deleted(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """The others are; it is next time."""
    jobs = [harness.trigger(), harness.trigger(day=2)]
    worker = harness.worker(archives=Flaky(harness.archives, delete=1))
    worker.step()
    worker.step()
    harness.clock.now += timedelta(hours=24)
    worker.sweep()
    [left] = harness.archive_paths()
    assert left in [harness.current(job).archive for job in jobs]
    assert left in caplog.text
    worker.sweep()
    assert harness.archive_paths() == []


def test_an_archive_that_no_job_has(harness: Harness) -> None:
    """It goes when it is a day old; those of jobs and of running attempts stay."""
    harness.trigger()
    worker = harness.worker()
    worker.step()
    [kept] = harness.archive_paths()
    harness.trigger(day=2)
    lease = harness.store.claim(harness.clock(), LEASE)
    assert lease is not None
    running = f"{lease.job.id}/{lease.token}/running.zip"
    for path in (running, f"{lease.job.id}/earlier/lost.zip", "nobody/knows/this.zip"):
        harness.archives.write(path, export_conversations([], channel=CHANNEL.channel, date_range=DATE_RANGE))
    harness.clock.now += timedelta(hours=1)
    worker.sweep()
    assert len(harness.archive_paths()) == 4
    harness.worker(orphan_age=timedelta(0)).sweep()
    assert sorted(harness.archive_paths()) == sorted([kept, running])
    harness.clock.now += timedelta(hours=26)
    worker.sweep()
    assert harness.archive_paths() == [running]


def test_an_attempt_that_finishes_while_it_is_looked_at(harness: Harness) -> None:
    """Its archive stays: whether it is active is asked before whether it is kept."""
    harness.trigger()
    lease = harness.take_over()
    path = f"{lease.job.id}/{lease.token}/a.zip"
    harness.archives.write(path, export_conversations([], channel=CHANNEL.channel, date_range=DATE_RANGE))
    harness.clock.now += timedelta(hours=1)

    class Finishing(Flaky):
        """A store at which the attempt ends just after the first question about it."""

        done = False

        def __getattr__(self, name: str) -> Any:
            asked = super().__getattr__(name)

            def answer(*args: Any, **kwargs: Any) -> Any:
                given = asked(*args, **kwargs)
                if name in ("active", "keeps") and not self.done:
                    self.done = True
                    harness.store.finish(lease, harness.clock(), archive=path, file_name="a.zip")
                return given

            return answer

    harness.worker(store=Finishing(harness.store), orphan_age=timedelta(0)).sweep()
    assert harness.archive_paths() == [path]


def test_the_loop_sweeps_now_and_then(harness: Harness) -> None:
    """At the start, and whenever the clock has gone on by `sweep_every`."""
    store = Flaky(harness.store)
    worker = harness.worker(store=store, poll=timedelta(milliseconds=1), sweep_every=timedelta(minutes=5))
    run_until(worker, lambda: store.called.count("claim") > 20)
    assert store.called.count("expired") == 1

    def later() -> bool:
        harness.clock.now += timedelta(minutes=5)
        return store.called.count("expired") > 3

    run_until(worker, later)
