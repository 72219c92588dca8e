"""The calls of the API without a web framework: trigger an export, poll its job, cancel it.

Whoever has checked the key calls these, and answers with what they return, or with the status and body of the
RequestError they raise. Bodies are checked before anything is asked of a store, in the order of the API's tables: form
(422), the day (400), the channel (404, 409), what runs already (409).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from uuid import uuid4

from export_engine.jobs.channels import COARSE_TYPES, find_channel
from export_engine.jobs.errors import NotFoundError
from export_engine.jobs.identifiers import uuid_of
from export_engine.jobs.job import Job, status_document
from export_engine.jobs.ports import ArchiveStore, ChannelDirectory, JobStore
from export_engine.jobs.request import ExportRequest

__all__ = ["cancel", "poll", "trigger"]


def trigger(
    body: Any,
    *,
    workspace_id: str,
    store: JobStore,
    directory: ChannelDirectory,
    now: datetime,
    timezone: tzinfo = UTC,
    types: Mapping[str, str] = COARSE_TYPES,
    key_id: str | None = None,
) -> Job:
    """Queue the export that a request's body asks for; `accepted_document` of the job is the answer (202).

    `now` is aware; the range's days and today are those of `timezone`, as of the workers' options. `types` has the
    coarse type of each detailed one. `key_id`, what `KeyStore.check` returned, is kept with the job. Raises
    InvalidRequestError, FutureStartError, NotFoundError, AmbiguousChannelError, ActiveExportError or QueueFullError.
    """
    wanted = ExportRequest.from_mapping(body, today=now.astimezone(timezone).date())
    channel = find_channel(directory, workspace_id, wanted, types=types)
    job = Job(
        id=str(uuid4()),
        workspace_id=workspace_id,
        channel_id=channel.id,
        start_date=wanted.start_date,
        end_date=wanted.end_date,
        created_time=now,
        notification_email=wanted.notification_email,
        key_id=key_id,
    )
    store.create(job)
    return job


def poll(job_id: str, *, workspace_id: str, store: JobStore, archives: ArchiveStore, now: datetime) -> dict[str, Any]:
    """The status document of a job (200), with its download link while that is alive. Raises NotFoundError."""
    known = uuid_of(job_id)
    job = None if known is None else store.get(workspace_id, known)
    if job is None:
        raise NotFoundError("No such export job in this workspace.")
    return status_document(job, _link(job, archives, now))


def cancel(job_id: str, *, workspace_id: str, store: JobStore, archives: ArchiveStore, now: datetime) -> None:
    """Cancel a job (204): one that has not ended fails; the archive of one that has is deleted, and its link dead.

    No e-mail about it is sent any more. A worker that is at it finds out within a third of its lease, and nothing of
    what it makes is kept. Cancelling again changes nothing. Raises NotFoundError.
    """
    known = uuid_of(job_id)
    job = None if known is None else store.cancel(workspace_id, known, now)
    if job is None:
        raise NotFoundError("No such export job in this workspace.")
    if job.archive is not None:
        archives.delete(job.archive)
        store.forget_archive(job.id)


def _link(job: Job, archives: ArchiveStore, now: datetime) -> str | None:
    if job.archive is None or job.file_name is None or job.expires_at is None:
        return None
    if job.expires_at - now < timedelta(seconds=1):  # links count whole seconds: one is not made for less
        return None
    return archives.link(job.archive, file_name=job.file_name, now=now, expires_at=job.expires_at)
