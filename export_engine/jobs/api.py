"""The calls of the API without a web framework: trigger an export, poll its job, cancel it, list jobs and channels.

Whoever has checked the key calls these, and answers with what they return, or with the status and body of the
RequestError they raise. Bodies are checked before anything is asked of a store, in the order of the API's tables: form
(422), the day (400), the channel (404, 409), what runs already (409).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any
from uuid import uuid4

from export_engine.jobs.channels import COARSE_TYPES, find_channel
from export_engine.jobs.errors import InvalidRequestError, NotFoundError, Problem
from export_engine.jobs.idempotency import idempotency_of
from export_engine.jobs.identifiers import stored_uuid, uuid_of
from export_engine.jobs.job import Job, Status, details_document, status_document
from export_engine.jobs.paging import channel_cursor, channel_place, check_limit, job_cursor, job_place
from export_engine.jobs.ports import ArchiveStore, ChannelDirectory, JobStore
from export_engine.jobs.request import ExportRequest

__all__ = [
    "CHANNELS_AT_MOST",
    "EXPORTS_AT_MOST",
    "cancel",
    "details",
    "list_channels",
    "list_exports",
    "poll",
    "trigger",
]

_log = logging.getLogger(__name__)

#: The most items that a page of a list may have.
EXPORTS_AT_MOST, CHANNELS_AT_MOST = 200, 1000


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
    idempotency_key: str | None = None,
) -> Job:
    """Queue the export that a request's body asks for; `accepted_document` of the job is the answer (202).

    With an `idempotency_key` (the request's header of that name) the same request gives the same job, also when that
    has ended, as long as it is kept; see `export_engine.jobs.idempotency`.

    `now` is aware; the range's days and today are those of `timezone`, as of the workers' options. `types` has the
    coarse type of each detailed one. `key_id`, what `KeyStore.check` returned, is kept with the job. Raises
    InvalidRequestError, FutureStartError, NotFoundError, AmbiguousChannelError, ActiveExportError, QueueFullError, or
    IdempotencyError for a key that another request had.
    """
    wanted = ExportRequest.from_mapping(body, today=now.astimezone(timezone).date())
    idempotency = None if idempotency_key is None else idempotency_of(idempotency_key, wanted)
    # Before the channel is looked for: it may be gone, or share its number, since the request was sent first.
    if idempotency is not None and (earlier := store.repeated(workspace_id, idempotency)) is not None:
        return earlier
    channel = find_channel(directory, workspace_id, wanted, types=types)
    job = Job(
        id=str(uuid4()),
        workspace_id=workspace_id,
        channel_id=stored_uuid(channel.id) or channel.id,
        start_date=wanted.start_date,
        end_date=wanted.end_date,
        created_time=now,
        notification_email=wanted.notification_email,
        key_id=key_id,
        channel_type=channel.type,
        channel_name=channel.name,
    )
    kept = store.create(job, idempotency=idempotency)
    if kept.id == job.id:
        _log.info("export job queued", extra=job.labels)
    return kept


def poll(job_id: str, *, workspace_id: str, store: JobStore, archives: ArchiveStore, now: datetime) -> dict[str, Any]:
    """The status document of a job (200), with its download link while that is alive. Raises NotFoundError."""
    job = _job(job_id, workspace_id, store)
    return status_document(job, _link(job, archives, now))


def details(
    job_id: str, *, workspace_id: str, store: JobStore, archives: ArchiveStore, now: datetime
) -> dict[str, Any]:
    """All that there is to tell of a job (200), with its download link while that is alive. Raises NotFoundError."""
    job = _job(job_id, workspace_id, store)
    document = details_document(job, now=now)
    if document["archive"] is not None:
        document["archive"]["presigned_url"] = _link(job, archives, now)
    return document


def list_exports(
    *,
    workspace_id: str,
    store: JobStore,
    now: datetime,
    limit: int = 50,
    cursor: str | None = None,
    channel_id: str | None = None,
    status: Status | None = None,
) -> dict[str, Any]:
    """A page of the workspace's jobs, the youngest first, told as by `details` but without links (200).

    `limit` is from 1 to `EXPORTS_AT_MOST`, `cursor` the `next_cursor` of the page before. With `channel_id` or `status`
    only those jobs are listed that have it. Raises InvalidRequestError.
    """
    check_limit(limit, EXPORTS_AT_MOST)
    channel = None if channel_id is None else uuid_of(channel_id)
    if channel_id is not None and channel is None:
        raise InvalidRequestError([Problem("channel_id", "is not a UUID: write it with hyphens", "query")])
    before = job_place(cursor)
    found = store.page(workspace_id, limit=limit + 1, before=before, channel_id=channel, status=status)
    jobs = found[:limit]
    return {
        "export_jobs": [details_document(job, now=now) for job in jobs],
        "next_cursor": job_cursor(jobs[-1]) if found[limit:] else None,
    }


def list_channels(
    *, workspace_id: str, directory: ChannelDirectory, limit: int = 200, cursor: str | None = None
) -> dict[str, Any]:
    """A page of the workspace's channels, by name and id (200).

    `limit` is from 1 to `CHANNELS_AT_MOST`, `cursor` the `next_cursor` of the page before. Raises InvalidRequestError.
    """
    check_limit(limit, CHANNELS_AT_MOST)
    found = directory.page(workspace_id, limit=limit + 1, after=channel_place(cursor))
    channels = found[:limit]
    return {
        "channels": [
            {
                "channel_id": channel.id,
                "channel_type": channel.type,
                "name": channel.name,
                "phone_number": channel.phone_number,
            }
            for channel in channels
        ],
        "next_cursor": channel_cursor(channels[-1]) if found[limit:] else None,
    }


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


def _job(job_id: str, workspace_id: str, store: JobStore) -> Job:
    known = uuid_of(job_id)
    job = None if known is None else store.get(workspace_id, known)
    if job is None:
        raise NotFoundError("No such export job in this workspace.")
    return job


def _link(job: Job, archives: ArchiveStore, now: datetime) -> str | None:
    if job.archive is None or job.file_name is None or job.expires_at is None or not job.downloadable(now):
        return None
    return archives.link(job.archive, file_name=job.file_name, now=now, expires_at=job.expires_at)
