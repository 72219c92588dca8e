"""What a job knows of its export, attempt by attempt, on each job store."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from export_engine.jobs.job import Job
from export_engine.report import ExportReport
from tests.jobs.samples import MINUTE, NOW, AnyJobStore, claimed, new_job

REPORT = ExportReport(
    file_name="a.zip",
    bytes=2**40,
    sha256="00ff" * 16,
    members=8,
    conversations=7,
    rows=2**33,
    csv_bytes=99,
    first_time=None,
    last_time=None,
    replaced_surrogates=0,
    long_cells=0,
    doubled_ids=0,
    ignored_columns=(),
    split=(),
    backend="none",
    elapsed=1.5,
    archives=(),
)


def facts(store: AnyJobStore, job: Job) -> tuple[Any, ...]:
    """When the last attempt began, how far it came, and the archive's digest."""
    kept = store.get(job.workspace_id, job.id)
    assert kept is not None
    return kept.started_time, kept.rows, kept.conversations, kept.bytes, kept.sha256


UNKNOWN = (None, None, None, None, None)


def begun(at: datetime) -> tuple[Any, ...]:
    """What is known of an attempt that has begun."""
    return at, None, None, None, None


def test_a_job_that_is_finished(store: AnyJobStore) -> None:
    """What its export's report says."""
    job = new_job()
    store.create(job)
    assert facts(store, job) == UNKNOWN
    lease = store.claim(NOW, MINUTE)
    assert lease is not None
    assert facts(store, job) == begun(NOW)
    done = store.finish(lease, NOW + MINUTE, archive="a", file_name="a.zip", report=REPORT)
    assert facts(store, job) == (NOW, REPORT.rows, REPORT.conversations, REPORT.bytes, REPORT.sha256)
    assert store.get(job.workspace_id, job.id) == done


def test_without_a_report(store: AnyJobStore) -> None:
    """Nothing is made up."""
    lease = claimed(store)
    store.finish(lease, NOW, archive="a", file_name="a.zip")
    assert facts(store, lease.job) == (NOW, None, None, None, None)


def test_every_attempt_begins_anew(store: AnyJobStore) -> None:
    """Handed back, it is as if it had not begun; tried again, it begins later, with nothing."""
    lease = claimed(store)
    store.hand_back(lease)
    assert facts(store, lease.job) == UNKNOWN
    again = store.claim(NOW + MINUTE, MINUTE)
    assert again is not None
    assert facts(store, lease.job) == begun(NOW + MINUTE)
    store.retry(again, NOW + MINUTE, NOW + MINUTE, "down")
    last = store.claim(NOW + 2 * MINUTE, MINUTE)
    assert last is not None
    assert facts(store, lease.job) == begun(NOW + 2 * MINUTE)
    store.fail(last, NOW + 3 * MINUTE, "no")
    assert facts(store, lease.job) == begun(NOW + 2 * MINUTE)


def test_the_channel_as_it_was(store: AnyJobStore) -> None:
    """Its type and name stay with the job."""
    job = new_job(channel_type="LOCAL", channel_name="Käse \U0001f600")
    store.create(job)
    assert store.get(job.workspace_id, job.id) == job
