"""The two calls without a web framework: whose day it is, whose types, and what is answered for no job."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from export_engine import jobs
from export_engine.jobs.testing import MemoryArchiveStore, MemoryDirectory, MemoryJobStore

WORKSPACE = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
VIBER = jobs.WorkspaceChannel("c3d4e5f6-0000-0000-0000-000000000000", WORKSPACE, "VIBER_BUSINESS", None, "+12025550123")
BODY = {"phone_number": "+12025550123", "start_date": "2026-06-12", "end_date": "2026-06-12"}
EVENING = datetime(2026, 6, 11, 20, tzinfo=UTC)
TAIPEI = ZoneInfo("Asia/Taipei")


def test_today_is_that_of_the_time_zone() -> None:
    """It is tomorrow in Taipei already."""
    store, directory = MemoryJobStore(), MemoryDirectory([VIBER])
    with pytest.raises(jobs.FutureStartError):
        jobs.trigger(BODY, workspace_id=WORKSPACE, store=store, directory=directory, now=EVENING)
    job = jobs.trigger(BODY, workspace_id=WORKSPACE, store=store, directory=directory, now=EVENING, timezone=TAIPEI)
    assert store.get(WORKSPACE, job.id) == job


def test_types_of_a_service_s_own() -> None:
    """A detailed type that the usual table does not have is reached by the coarse one that it is given."""
    store, directory = MemoryJobStore(), MemoryDirectory([VIBER])
    body = {**BODY, "channel_type": "sms"}
    with pytest.raises(jobs.NotFoundError):
        jobs.trigger(body, workspace_id=WORKSPACE, store=store, directory=directory, now=EVENING, timezone=TAIPEI)
    job = jobs.trigger(
        body,
        workspace_id=WORKSPACE,
        store=store,
        directory=directory,
        now=EVENING,
        timezone=TAIPEI,
        types={**jobs.COARSE_TYPES, "VIBER_BUSINESS": "sms"},
    )
    assert job.channel_id == VIBER.id


@pytest.mark.parametrize("job_id", ["79f13adf-f7dc-4744-8ad9-a16b4913e52c", "1", "\0", "\ud800"])
def test_no_such_job(job_id: str) -> None:
    """Whatever is asked for."""
    with pytest.raises(jobs.NotFoundError, match="No such export job"):
        jobs.poll(job_id, workspace_id=WORKSPACE, store=MemoryJobStore(), archives=MemoryArchiveStore(), now=EVENING)
