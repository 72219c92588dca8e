"""What a worker does besides exporting: it sweeps. Real stores, the test's clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from export_engine import ExportOptions, export_conversations
from export_engine.jobs.backends.archives import open_archives
from export_engine.jobs.job import Status
from export_engine.jobs.testing import RecordingMailer
from tests.jobs.harness import CHANNEL, DATE_RANGE, LEASE, Flaky, Harness, Panic, Panicking, open_harness, run_until


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
    """An earlier attempt's goes at once, a stranger's when it is a day old; jobs' and running attempts' stay."""
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
    assert sorted(harness.archive_paths()) == sorted([kept, running, "nobody/knows/this.zip"])
    harness.worker(orphan_age=timedelta(0)).sweep()
    assert sorted(harness.archive_paths()) == sorted([kept, running])
    harness.clock.now += timedelta(hours=26)
    worker.sweep()
    assert harness.archive_paths() == [running]


def test_what_killed_uploads_have_left(harness: Harness, tmp_path: Path) -> None:
    """It goes with the first sweep after the lease is another's; a stranger's, and a running attempt's, stay."""
    harness.archives = open_archives(str(tmp_path / "archives"))
    job = harness.trigger()
    dead = harness.store.claim(harness.clock(), LEASE)
    assert dead is not None
    live = harness.take_over()
    parts = [f"{job.id}/{dead.token}/a.zip#1", f"{job.id}/{live.token}/a.zip#2", "other/place/a.zip#1"]
    for part in parts:
        path = tmp_path / "archives" / part
        path.parent.mkdir(parents=True)
        path.write_bytes(b"PK")
    harness.clock.now = datetime.now(UTC)

    def left() -> set[str]:
        return {str(path.relative_to(tmp_path / "archives")) for path in (tmp_path / "archives").rglob("*.zip#*")}

    harness.worker().sweep()
    assert left() == set(parts[1:])
    assert not (tmp_path / "archives" / job.id / dead.token).exists()
    harness.clock.now += timedelta(days=2)
    harness.worker().sweep()
    assert left() == {parts[1]}


@pytest.mark.parametrize("before", [True, False])
def test_an_attempt_that_finishes_while_it_is_looked_at(harness: Harness, *, before: bool) -> None:
    """Its archive stays, whenever it finishes: once it has been listed, it is wanted."""
    harness.trigger()
    lease = harness.take_over()
    path = f"{lease.job.id}/{lease.token}/a.zip"
    harness.archives.write(path, export_conversations([], channel=CHANNEL.channel, date_range=DATE_RANGE))
    harness.clock.now += timedelta(hours=1)

    class Finishing(Flaky):
        """A store at which the attempt ends just before or after the question about it."""

        def __getattr__(self, name: str) -> Any:
            asked = super().__getattr__(name)

            def answer(*args: Any, **kwargs: Any) -> Any:
                if name == "wanted" and before:
                    harness.store.finish(lease, harness.clock(), archive=path, file_name="a.zip")
                given = asked(*args, **kwargs)
                if name == "wanted" and not before:
                    harness.store.finish(lease, harness.clock(), archive=path, file_name="a.zip")
                return given

            return answer

    harness.worker(store=Finishing(harness.store), orphan_age=timedelta(0)).sweep()
    assert harness.archive_paths() == [path]


def test_the_loop_sweeps_now_and_then(harness: Harness) -> None:
    """At the start, and whenever the clock has gone on by `sweep_every`."""
    store = Flaky(harness.store)
    worker = harness.worker(store=store, poll=timedelta(milliseconds=1), sweep_every=timedelta(minutes=5))
    run_until(worker, lambda: store.called.count("claim") > 20 and "expired" in store.called)
    assert store.called.count("expired") == 1

    def later() -> bool:
        harness.clock.now += timedelta(minutes=5)
        return store.called.count("expired") > 3

    run_until(worker, later)


def test_loops_outlive_a_panic(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """Of any of them: a job is done, an archive swept and a notice sent all the same."""
    expired = harness.trigger()
    harness.worker().step()
    harness.clock.now += timedelta(hours=24)
    job = harness.trigger(day=2, notification_email="agent@example.com")
    store = Panicking(harness.store, claim=1, expired=1, take_notice=1)
    mailer = RecordingMailer()
    sweep_every = timedelta(0)
    worker = harness.worker(store=store, mailer=mailer, poll=timedelta(milliseconds=1), sweep_every=sweep_every)
    run_until(worker, lambda: bool(mailer.sent) and harness.current(expired).archive is None)
    assert [notified.id for notified, _ in mailer.sent] == [job.id]
    assert harness.current(job).status is Status.FINISHED
    assert not any(store.left.values())
    assert sum(isinstance(record.exc_info and record.exc_info[1], Panic) for record in caplog.records) == 3
