"""Jobs to test with, and whole rows to compare."""

from __future__ import annotations

import uuid
from dataclasses import asdict, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import select

from export_engine.jobs.backends.store import SqlJobStore
from export_engine.jobs.backends.tables import export_job
from export_engine.jobs.job import Job
from export_engine.jobs.ports import JobStore, Lease
from export_engine.jobs.testing import MemoryJobStore

AnyJobStore = SqlJobStore | MemoryJobStore

__all__ = ["MINUTE", "NOW", "OF_STORE", "AnyJobStore", "claimed", "finished", "new_job", "rows"]

#: What every store knows of a job beside the job.
OF_STORE = (
    *("token", "lease_until", "retry_time"),
    *("notified_time", "notice_time", "notice_tries", "notice_given_up"),
)
NOW = datetime(2026, 6, 11, 6, 50, 43, 861185, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def new_job(channel: str = "b2c3d4e5-7777-8888-9999-000011112222", *, day: int = 1, **fields: Any) -> Job:
    """A queued job of its own id, created `NOW`, for June 2026 from that day on."""
    given: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "workspace_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "channel_id": channel,
        "start_date": date(2026, 6, day),
        "end_date": date(2026, 6, 30),
        "created_time": NOW,
    }
    return Job(**given | fields)


def rows(store: AnyJobStore) -> dict[str, dict[str, Any]]:
    """What the store has of every job, by its id: the job, and what only the store knows of it."""
    if isinstance(store, MemoryJobStore):
        return {row.job.id: {**asdict(row.job), **_of_store(row)} for row in store._rows.values()}
    with store._engine.begin() as connection:
        columns = [export_job.c[name] for name in (*(field.name for field in fields(Job)), *OF_STORE)]
        return {row["id"]: dict(row) for row in connection.execute(select(*columns)).mappings()}


def _of_store(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in OF_STORE}


def claimed(store: JobStore, **fields: Any) -> Lease:
    """A job that was created and claimed `NOW` for a minute."""
    store.create(new_job(**fields))
    lease = store.claim(NOW, MINUTE)
    assert lease is not None
    return lease


def finished(store: JobStore, **fields: Any) -> Job:
    """A job that was created, claimed and finished `NOW`."""
    lease = claimed(store, **fields)
    return store.finish(lease, NOW, archive=f"{lease.job.id}/{lease.token}/a.zip", file_name="a.zip")
