"""Every job store, one caller at a time: every question and move; a move that is not allowed changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from export_engine.errors import OptionError
from export_engine.jobs.errors import ActiveExportError, LeaseLostError, TransitionError
from export_engine.jobs.job import LINK_LIFE, MAX_ATTEMPTS, Job, Status
from export_engine.jobs.ports import JobStore, Lease
from export_engine.report import Progress
from tests.jobs.samples import MINUTE, NOW, AnyJobStore, claimed, finished, new_job, rows


def test_it_is_a_job_store(store: AnyJobStore) -> None:
    """The protocol, to the letter: mypy reads this."""
    port: JobStore = store
    assert port.claim(NOW, MINUTE) is None


def test_no_attempt_at_all(new_store: Callable[..., AnyJobStore]) -> None:
    """A job is tried at least once."""
    with pytest.raises(OptionError, match="at least once"):
        new_store(max_attempts=0)


@pytest.mark.parametrize("email", [None, "agent@example.com"])
def test_created_and_read(store: AnyJobStore, email: str | None) -> None:
    """A job comes back as it was given."""
    job = new_job(notification_email=email)
    store.create(job)
    assert store.get(job.workspace_id, job.id) == job


@pytest.mark.parametrize("other", ["", "b", "\0", "\ud800", "x" * 100_000, "'; DROP TABLE export_job; --"])
def test_of_another_workspace(store: AnyJobStore, other: str) -> None:
    """It is not there, nor is a job of any text for an id."""
    job = new_job()
    store.create(job)
    assert store.get(other, job.id) is None
    assert store.get(job.workspace_id, other) is None


@pytest.mark.parametrize("status", [Status.STARTED, Status.FINISHED, Status.FAILED])
def test_a_job_begins_queued(store: AnyJobStore, status: Status) -> None:
    """Any other beginning is no move of its life cycle."""
    with pytest.raises(TransitionError, match="begins queued"):
        store.create(new_job(status=status, finished_time=NOW))
    assert rows(store) == {}


def test_one_active_export(store: AnyJobStore) -> None:
    """While a job is queued or started another of its workspace, channel and range is refused; then no more."""
    again = new_job
    first = store.create(again())
    before = rows(store)
    with pytest.raises(ActiveExportError) as caught:
        store.create(again())
    assert caught.value.status == 409
    assert caught.value.body == {
        "detail": {
            "message": "An export for this channel and date range is already in progress.",
            "export_job_id": first.id,
        }
    }
    assert rows(store) == before
    lease = store.claim(NOW, MINUTE)
    assert lease is not None
    with pytest.raises(ActiveExportError):
        store.create(again())
    store.hand_back(lease)
    with pytest.raises(ActiveExportError):
        store.create(again())
    lease = store.claim(NOW, MINUTE)
    assert lease is not None
    store.finish(lease, NOW, archive="a", file_name="a.zip")
    store.create(again())
    lease = store.claim(NOW, MINUTE)
    assert lease is not None
    store.fail(lease, NOW, "no")
    store.create(again())
    assert store.counts() == {Status.QUEUED: 1, Status.STARTED: 0, Status.FINISHED: 1, Status.FAILED: 1}


@pytest.mark.parametrize(
    "field",
    [
        {"workspace_id": "b"},
        {"channel_id": "b"},
        {"start_date": date(2026, 6, 2)},
        {"end_date": date(2026, 7, 1)},
    ],
)
def test_another_export(store: AnyJobStore, field: dict[str, Any]) -> None:
    """Whatever differs in workspace, channel or either day is another export."""
    store.create(new_job())
    store.create(new_job(**field))


def test_an_id_used_twice(store: AnyJobStore) -> None:
    """That is no active export, and is not told as one."""
    job = new_job("1")
    store.create(job)
    before = rows(store)
    with pytest.raises((IntegrityError, ValueError)):
        store.create(new_job("2", id=job.id))
    assert rows(store) == before


def test_claimed_oldest_first(store: AnyJobStore) -> None:
    """By the time they were created, then by id."""
    late = new_job("1", created_time=NOW + timedelta(microseconds=1), id="a")
    tied = [new_job(f"2{name}", id=name) for name in "cb"]
    for job in (late, *tied):
        store.create(job)
    leases = [store.claim(NOW, MINUTE) for _ in range(4)]
    assert [lease and lease.job.id for lease in leases] == ["b", "c", "a", None]


def test_a_claim_starts_the_job(store: AnyJobStore) -> None:
    """What the lease says is what the store has."""
    lease = claimed(store)
    assert (lease.job.status, lease.job.attempts) == (Status.STARTED, 1)
    assert store.get(lease.job.workspace_id, lease.job.id) == lease.job
    assert len(lease.token) == 32


def test_a_lease_runs_out(store: AnyJobStore) -> None:
    """Not before its time, and at it; the next claim has a token of its own and counts."""
    first = claimed(store)
    assert store.claim(NOW + MINUTE - timedelta(microseconds=1), MINUTE) is None
    second = store.claim(NOW + MINUTE, MINUTE)
    assert second is not None
    assert (second.job.id, second.job.attempts) == (first.job.id, 2)
    assert second.token != first.token
    assert rows(store)[first.job.id]["lease_until"] == NOW + 2 * MINUTE


def test_a_lease_renewed(store: AnyJobStore) -> None:
    """It lasts from then on; also one that had run out, if nobody took the job."""
    lease = claimed(store)
    store.renew(lease, NOW + 2 * MINUTE, MINUTE)
    assert store.claim(NOW + 3 * MINUTE - timedelta(microseconds=1), MINUTE) is None
    assert store.claim(NOW + 3 * MINUTE, MINUTE) is not None


def test_progress(store: AnyJobStore) -> None:
    """It is kept with the lease, until there is newer, and not held against the next attempt."""
    lease = claimed(store)
    for progress, kept in ((None, (None, None, None)), (Progress(9, 8, 7, 6), (8, 7, 6)), (None, (8, 7, 6))):
        store.renew(lease, NOW, MINUTE, progress=progress)
        assert so_far(store, lease.job) == kept
    store.renew(lease, NOW, MINUTE, progress=Progress(10, 2**40, 8, 2**41))
    assert so_far(store, lease.job) == (2**40, 8, 2**41)
    store.hand_back(lease)
    assert store.claim(NOW, MINUTE) is not None
    assert so_far(store, lease.job) == (None, None, None)


def so_far(store: AnyJobStore, job: Job) -> tuple[int | None, int | None, int | None]:
    """What the store has of an export's progress: messages, conversations, bytes."""
    kept = store.get(job.workspace_id, job.id)
    assert kept is not None
    return kept.rows, kept.conversations, kept.bytes


def test_finished(store: AnyJobStore) -> None:
    """The job has its archive, its name and its time; its lease is gone."""
    lease = claimed(store)
    job = store.finish(lease, NOW + MINUTE, archive="path", file_name="SMS_Support_2026-06_1c4639da.zip")
    assert (job.status, job.archive, job.file_name) == (Status.FINISHED, "path", "SMS_Support_2026-06_1c4639da.zip")
    assert (job.finished_time, job.error_message) == (NOW + MINUTE, None)
    assert store.get(job.workspace_id, job.id) == job
    assert rows(store)[job.id]["token"] is None
    assert store.claim(NOW + LINK_LIFE, MINUTE) is None


def test_finished_late(store: AnyJobStore) -> None:
    """A worker that was slow, but was not replaced, has not worked in vain."""
    lease = claimed(store)
    assert store.finish(lease, NOW + 5 * MINUTE, archive="path", file_name="a.zip").status is Status.FINISHED


def test_failed(store: AnyJobStore) -> None:
    """The job has its message and its time, and no archive."""
    lease = claimed(store)
    job = store.fail(lease, NOW + MINUTE, "The source cannot be read.")
    assert (job.status, job.error_message) == (Status.FAILED, "The source cannot be read.")
    assert (job.finished_time, job.archive, job.file_name) == (NOW + MINUTE, None, None)
    assert store.get(job.workspace_id, job.id) == job


def test_failed_with_a_message_no_database_holds(store: AnyJobStore) -> None:
    """A job fails whatever its message: what cannot be kept of it is replaced."""
    assert store.fail(claimed(store), NOW, "a\0b \ud83d é😀").error_message == "a\ufffdb ? é😀"


def test_handed_back(store: AnyJobStore) -> None:
    """The job is as it was before the claim."""
    job = new_job()
    store.create(job)
    before = rows(store)
    for _ in range(MAX_ATTEMPTS + 2):  # more often than a job is tried
        lease = store.claim(NOW, MINUTE)
        assert lease is not None
        assert lease.job.attempts == 1
        store.hand_back(lease)
        assert rows(store) == before


@pytest.mark.parametrize(("attempts", "times"), [(1, "once"), (2, "2 times"), (3, "3 times")])
def test_interrupted_too_often(new_store: Callable[..., AnyJobStore], attempts: int, times: str) -> None:
    """After its last attempt a job fails, honestly, and the claim goes on to the next."""
    store = new_store(max_attempts=attempts)
    doomed = [new_job("1"), new_job("2")]
    for job in doomed:
        store.create(job)
    for attempt in range(attempts):
        now = NOW + attempt * MINUTE
        assert {lease and lease.job.id for lease in (store.claim(now, MINUTE) for _ in range(2))} == {
            job.id for job in doomed
        }
    now = NOW + attempts * MINUTE
    waiting = new_job("3", created_time=now)
    store.create(waiting)
    lease = store.claim(now, MINUTE)
    assert lease is not None
    assert lease.job.id == waiting.id
    for job in doomed:
        ended = store.get(job.workspace_id, job.id)
        assert ended is not None
        assert (ended.status, ended.attempts, ended.finished_time) == (Status.FAILED, attempts, now)
        assert ended.error_message == f"The export was interrupted {times} and has been given up. Trigger it again."


def test_interrupted_too_often_and_nothing_else_to_do(store: AnyJobStore) -> None:
    """The claim ends without a job."""
    claimed(store)
    for attempt in range(1, MAX_ATTEMPTS):
        assert store.claim(NOW + attempt * MINUTE, MINUTE) is not None
    assert store.claim(NOW + MAX_ATTEMPTS * MINUTE, MINUTE) is None
    assert store.counts()[Status.FAILED] == 1


MOVES: dict[str, Callable[[AnyJobStore, Lease], object]] = {
    "renew": lambda store, lease: store.renew(lease, NOW, MINUTE),
    "finish": lambda store, lease: store.finish(lease, NOW, archive="other", file_name="other.zip"),
    "fail": lambda store, lease: store.fail(lease, NOW, "other"),
    "hand_back": lambda store, lease: store.hand_back(lease),
    "retry": lambda store, lease: store.retry(lease, NOW, NOW, "other"),
}


def _handed_back_and_taken(store: AnyJobStore, lease: Lease) -> None:
    store.hand_back(lease)
    assert store.claim(NOW, MINUTE) is not None


LOST: dict[str, Callable[[AnyJobStore, Lease], object]] = {
    "taken over": lambda store, _: store.claim(NOW + MINUTE, MINUTE),
    "given up": lambda store, _: [store.claim(NOW + turn * MINUTE, MINUTE) for turn in range(1, 4)],
    "finished": lambda store, lease: store.finish(lease, NOW, archive="path", file_name="a.zip"),
    "failed": lambda store, lease: store.fail(lease, NOW, "failed"),
    "handed back": lambda store, lease: store.hand_back(lease),
    "handed back and taken": _handed_back_and_taken,
}


@pytest.mark.slow
@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("how", LOST)
def test_a_lease_that_is_lost(store: AnyJobStore, how: str, move: str) -> None:
    """Whatever its worker tries then is refused and changes nothing at all."""
    lease = claimed(store)
    LOST[how](store, lease)
    before = rows(store)
    with pytest.raises(LeaseLostError, match=lease.job.id):
        MOVES[move](store, lease)
    assert rows(store) == before


@pytest.mark.parametrize("move", MOVES)
def test_a_lease_of_no_job(store: AnyJobStore, move: str) -> None:
    """A made-up token or job is refused the same way."""
    lease = claimed(store)
    before = rows(store)
    for forged in (Lease(lease.job, "0" * 32), Lease(new_job(), lease.token)):
        with pytest.raises(LeaseLostError):
            MOVES[move](store, forged)
    assert rows(store) == before


def test_counted(store: AnyJobStore) -> None:
    """Each status has its number, also 0."""
    assert store.counts() == dict.fromkeys(Status, 0)
    finished(store, channel="1")
    claimed(store, channel="2")
    for channel in "345":
        store.create(new_job(channel))
    assert store.counts() == {Status.QUEUED: 3, Status.STARTED: 1, Status.FINISHED: 1, Status.FAILED: 0}
