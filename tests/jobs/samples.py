"""Jobs to test with, and whole rows to compare."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, select

from export_engine.jobs.backends.database import export_job
from export_engine.jobs.backends.store import SqlJobStore
from export_engine.jobs.job import Job
from export_engine.jobs.ports import Lease

__all__ = ["MINUTE", "NOW", "claimed", "finished", "new_job", "rows"]

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


def rows(engine: Engine) -> dict[str, dict[str, Any]]:
    """Everything the database has of every job, by its id."""
    with engine.begin() as connection:
        return {row["id"]: dict(row) for row in connection.execute(select(export_job)).mappings()}


def claimed(store: SqlJobStore, **fields: Any) -> Lease:
    """A job that was created and claimed `NOW` for a minute."""
    store.create(new_job(**fields))
    lease = store.claim(NOW, MINUTE)
    assert lease is not None
    return lease


def finished(store: SqlJobStore, **fields: Any) -> Job:
    """A job that was created, claimed and finished `NOW`."""
    lease = claimed(store, **fields)
    return store.finish(lease, NOW, archive=f"{lease.job.id}/{lease.token}/a.zip", file_name="a.zip")
