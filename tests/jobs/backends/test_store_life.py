"""Every job store against a model: any life that jobs can lead, move by move, each row compared after each move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from export_engine.jobs.errors import ActiveExportError, LeaseLostError
from export_engine.jobs.job import LINK_LIFE, Job, Status
from export_engine.jobs.ports import Lease, Notice
from export_engine.report import Progress
from tests.jobs.samples import NOW, OF_STORE, AnyJobStore, new_job, rows

MAX_ATTEMPTS = 2
#: What a job has of an export that has told nothing.
NOTHING_KNOWN: dict[str, Any] = {"rows": None, "conversations": None, "bytes": None}
LENGTHS = st.sampled_from([timedelta(microseconds=1), timedelta(minutes=1), timedelta(hours=30)])


@dataclass
class Kept:
    """What the model knows of a job."""

    job: Job
    token: str | None = None
    lease_until: datetime | None = None
    notified_time: datetime | None = None
    retry_time: datetime | None = None
    notice_time: datetime | None = None
    notice_tries: int = 0
    notice_given_up: bool = False

    @property
    def active(self) -> bool:
        """It has not ended."""
        return self.job.status in (Status.QUEUED, Status.STARTED)

    def end(self, **fields: Any) -> Job:
        """Its lease is over, and so may be its life."""
        self.job = replace(self.job, **fields)
        self.token = self.lease_until = None
        return self.job


class Lives(RuleBasedStateMachine):
    """Jobs of few channels, so that they meet; workers that keep every lease they ever had, and use it at any time."""

    new_store: ClassVar[Callable[..., AnyJobStore]]
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.store = type(self).new_store(max_attempts=MAX_ATTEMPTS)
        self.kept: dict[str, Kept] = {}
        self.now = NOW
        # The same in each run: they decide between jobs of one time, and Hypothesis runs a life again to shorten it.
        self.ids = (f"{number:08d}-0000-4000-8000-000000000000" for number in count(1))

    @rule(length=LENGTHS)
    def time_passes(self, length: timedelta) -> None:
        """A moment, a minute, or more than a day."""
        self.now += length

    @rule(
        channel=st.sampled_from("ab"),
        day=st.sampled_from([1, 2]),
        email=st.sampled_from([None, "agent@example.com"]),
        age=st.sampled_from([timedelta(0), timedelta(seconds=1)]),
    )
    def create(self, channel: str, day: int, email: str | None, age: timedelta) -> None:
        """Ask for one of four exports, now or a second ago."""
        job = new_job(channel, id=next(self.ids), day=day, notification_email=email, created_time=self.now - age)
        export = (channel, job.start_date)
        if any(kept.active and (kept.job.channel_id, kept.job.start_date) == export for kept in self.kept.values()):
            with pytest.raises(ActiveExportError):
                self.store.create(job)
        else:
            self.store.create(job)
            self.kept[job.id] = Kept(job)

    @rule(target=leases, length=LENGTHS)
    def claim(self, length: timedelta) -> Any:
        """A worker comes by."""
        lease = self.store.claim(self.now, length)
        expected = self.expected_claim()
        if expected is None:
            assert lease is None
            return multiple()
        assert lease is not None
        assert lease.token not in {kept.token for kept in self.kept.values()}
        begun: dict[str, Any] = {"status": Status.STARTED, "started_time": self.now, **NOTHING_KNOWN}
        expected.job = replace(expected.job, attempts=expected.job.attempts + 1, **begun)
        expected.token, expected.lease_until, expected.retry_time = lease.token, self.now + length, None
        assert lease.job == expected.job
        return lease

    def expected_claim(self) -> Kept | None:
        """The job that a claim takes; those it gives up on its way are given up."""
        free = [k for k in self.kept.values() if k.active and self.due(k.lease_until) and self.due(k.retry_time)]
        for kept in sorted(free, key=lambda kept: (kept.job.created_time, kept.job.id)):
            if kept.job.status is Status.QUEUED or kept.job.attempts < MAX_ATTEMPTS:
                return kept
            message = f"The export was interrupted {MAX_ATTEMPTS} times and has been given up. Trigger it again."
            kept.end(status=Status.FAILED, finished_time=self.now, error_message=message)
        return None

    def due(self, time: datetime | None) -> bool:
        """Whether it is not still to come."""
        return time is None or time <= self.now

    def move(self, lease: Lease, call: Callable[[], object]) -> Kept | None:
        """Make a move; the model's job if the move is one, None if it was refused as it had to be."""
        kept = self.kept[lease.job.id]
        if kept.token == lease.token:
            call()
            return kept
        with pytest.raises(LeaseLostError):
            call()
        return None

    @rule(lease=leases, length=LENGTHS, rows=st.none() | st.integers(0, 2**40))
    def renew(self, lease: Lease, length: timedelta, rows: int | None) -> None:
        """A worker lives, and may tell how far it is."""
        progress = None if rows is None else Progress(rows_read=9, rows_written=rows, members=8, bytes_written=7)
        if kept := self.move(lease, lambda: self.store.renew(lease, self.now, length, progress=progress)):
            kept.lease_until = self.now + length
            if rows is not None:
                kept.job = replace(kept.job, rows=rows, conversations=8, bytes=7)

    @rule(lease=leases)
    def finish(self, lease: Lease) -> None:
        """A worker has an archive."""
        archive = f"{lease.job.id}/{lease.token}/a.zip"
        finish = partial(self.store.finish, lease, self.now, archive=archive, file_name="a.zip")
        if kept := self.move(lease, finish):
            ended = {"finished_time": self.now, "archive": archive, "file_name": "a.zip", **NOTHING_KNOWN}
            kept.end(status=Status.FINISHED, **ended)

    @rule(lease=leases)
    def fail(self, lease: Lease) -> None:
        """A worker gives up."""
        if kept := self.move(lease, lambda: self.store.fail(lease, self.now, "The source cannot be read.")):
            kept.end(status=Status.FAILED, finished_time=self.now, error_message="The source cannot be read.")

    @rule(lease=leases)
    def hand_back(self, lease: Lease) -> None:
        """A worker stops."""
        if kept := self.move(lease, lambda: self.store.hand_back(lease)):
            kept.end(status=Status.QUEUED, attempts=kept.job.attempts - 1, started_time=None, **NOTHING_KNOWN)

    @rule(lease=leases, length=LENGTHS)
    def retry(self, lease: Lease, length: timedelta) -> None:
        """What a worker failed of may pass."""
        at = self.now + length
        if kept := self.move(lease, lambda: self.store.retry(lease, self.now, at, "down")):
            if kept.job.attempts < MAX_ATTEMPTS:
                kept.end(status=Status.QUEUED)
                kept.retry_time = at
            else:
                kept.end(status=Status.FAILED, finished_time=self.now, error_message="down")

    @rule(lease=consumes(leases))
    def worker_is_killed(self, lease: Lease) -> None:
        """Its lease is never used again."""

    @rule(length=LENGTHS, then=st.sampled_from(["sent", "given up", "put off", "died"]))
    def take_notice(self, length: timedelta, then: str) -> None:
        """A worker writes an e-mail, or tries to."""
        notice = self.store.take_notice(self.now, length)
        told = [k for k in self.kept.values() if not k.active and k.job.notification_email and not k.notified_time]
        kept = min((k for k in told if self.due(k.notice_time)), key=_end, default=None)
        if kept is None:
            assert notice is None
            return
        kept.notice_tries += 1
        kept.notice_time = self.now + length
        assert notice == Notice(kept.job, kept.notice_tries)
        if then in ("sent", "given up"):
            self.store.close_notice(kept.job.id, self.now, given_up=then == "given up")
            kept.notified_time, kept.notice_given_up = self.now, then == "given up"
        elif then == "put off":
            self.store.put_off_notice(kept.job.id, self.now + 2 * length)
            kept.notice_time = self.now + 2 * length

    @rule(deleted=st.booleans())
    def sweep(self, deleted: bool) -> None:
        """The dead links' archives are looked for, and perhaps deleted."""
        dead = [k for k in self.kept.values() if k.job.archive and k.job.expires_at and k.job.expires_at <= self.now]
        assert self.store.expired(self.now) == [kept.job for kept in sorted(dead, key=_end)]
        for kept in dead if deleted else []:
            self.store.forget_archive(kept.job.id)
            kept.job = replace(kept.job, archive=None)

    @rule(lease=leases)
    def whose_archive(self, lease: Lease) -> None:
        """An archive belongs to a lease or a job, or to nobody."""
        archive = f"{lease.job.id}/{lease.token}/a.zip"
        kept = self.kept[lease.job.id]
        assert self.store.wanted([archive]) == {archive: kept.token == lease.token or kept.job.archive == archive}

    @invariant()
    def every_row_is_as_expected(self) -> None:
        """Nothing else has changed."""
        expected = {
            job_id: asdict(kept.job) | {name: getattr(kept, name) for name in OF_STORE}
            for job_id, kept in self.kept.items()
        }
        assert rows(self.store) == expected

    @invariant()
    def counts_and_single_jobs_are_as_expected(self) -> None:
        """What is told of jobs is what they are."""
        statuses = [kept.job.status for kept in self.kept.values()]
        assert self.store.counts() == {status: statuses.count(status) for status in Status}
        for kept in list(self.kept.values())[-1:]:
            assert self.store.get(kept.job.workspace_id, kept.job.id) == kept.job

    def teardown(self) -> None:
        """However it went, every job ends in bounded time if workers go on claiming and dying."""
        for _ in range(MAX_ATTEMPTS + 1):
            self.now += LINK_LIFE * 2
            while self.store.claim(self.now, timedelta(minutes=1)) is not None:
                pass
        assert {row["status"] for row in rows(self.store).values()} <= {Status.FINISHED, Status.FAILED}


def _end(kept: Kept) -> tuple[datetime, str]:
    assert kept.job.finished_time is not None
    return kept.job.finished_time, kept.job.id


@pytest.mark.slow
def test_any_life(request: pytest.FixtureRequest, new_store: Callable[..., AnyJobStore]) -> None:
    """The store does what the model does, and refuses what it has to; the slower server is asked less often."""

    class LivesHere(Lives):
        pass

    LivesHere.new_store = staticmethod(new_store)
    examples = 15 if "postgresql" in request.node.name else 50
    how = settings(max_examples=examples, stateful_step_count=40, deadline=None)
    run_state_machine_as_test(LivesHere, settings=how)
