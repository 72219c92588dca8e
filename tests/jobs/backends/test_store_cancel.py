"""A job that is cancelled, on each job store."""

from __future__ import annotations

import pytest

from export_engine.jobs.errors import LeaseLostError
from export_engine.jobs.job import CANCELLED_MESSAGE, Status
from tests.jobs.samples import MINUTE, NOW, AnyJobStore, claimed, finished, new_job, rows

ADDRESS = "agent@example.com"


def test_a_queued_job(store: AnyJobStore) -> None:
    """It has failed, nobody takes it, nobody is told, and the range is free again."""
    job = new_job(notification_email=ADDRESS)
    store.create(job)
    done = store.cancel(job.workspace_id, job.id, NOW + MINUTE)
    assert done is not None
    assert (done.status, done.finished_time, done.error_message) == (Status.FAILED, NOW + MINUTE, CANCELLED_MESSAGE)
    assert store.claim(NOW + MINUTE, MINUTE) is None
    assert store.take_notice(NOW + MINUTE, MINUTE) is None
    store.create(new_job())


def test_a_started_job(store: AnyJobStore) -> None:
    """Its worker's lease is over, so that nothing it still does counts."""
    lease = claimed(store, notification_email=ADDRESS)
    store.cancel(lease.job.workspace_id, lease.job.id, NOW)
    for move in (
        lambda: store.renew(lease, NOW, MINUTE),
        lambda: store.finish(lease, NOW, archive="a", file_name="a.zip"),
        lambda: store.retry(lease, NOW, NOW, "down"),
    ):
        with pytest.raises(LeaseLostError):
            move()
    path = f"{lease.job.id}/{lease.token}/a.zip"
    assert store.wanted([path]) == {path: False}
    assert store.take_notice(NOW, MINUTE) is None


def test_a_finished_job(store: AnyJobStore) -> None:
    """It stays as it is; only its notice is closed."""
    job = finished(store, notification_email=ADDRESS)
    assert store.cancel(job.workspace_id, job.id, NOW) == job
    assert store.take_notice(NOW, MINUTE) is None


@pytest.mark.parametrize(("workspace", "job_id"), [(None, "x"), ("other", None), ("a\0", None), (None, "\ud800")])
def test_a_job_that_is_not_there(store: AnyJobStore, workspace: str | None, job_id: str | None) -> None:
    """Or not in that workspace: nothing happens."""
    job = new_job()
    store.create(job)
    before = rows(store)
    assert store.cancel(workspace or job.workspace_id, job_id or job.id, NOW) is None
    assert rows(store) == before
