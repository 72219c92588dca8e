"""The export job: what it is, its life cycle, and the documents that the API answers with.

The life cycle is a table. A job is `queued`, is `started` by a worker and ends `finished` or `failed`; what has ended
stays as it is. A worker that has to stop hands its job back, and one whose export failed of what may pass has it tried
again (both `started` to `queued`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

from export_engine.jobs.errors import TransitionError
from export_engine.report import ExportReport, Progress

__all__ = [
    "CANCELLED_MESSAGE",
    "FIRST_POLL",
    "KEEP_JOBS",
    "LEASE",
    "LINK_LIFE",
    "LONGEST_POLL",
    "MAILER_LIFE",
    "MAX_ATTEMPTS",
    "MAX_QUEUED",
    "MAX_RUN",
    "MAX_SILENCE",
    "NOTHING_KNOWN",
    "TRANSITIONS",
    "Job",
    "Status",
    "accepted_document",
    "advance",
    "details_document",
    "facts_of",
    "facts_so_far",
    "given_up_message",
    "poll_after",
    "status_document",
]

#: How long a finished job's download link lives.
LINK_LIFE = timedelta(hours=24)


#: How long a job is known by default after its end.
KEEP_JOBS = timedelta(days=30)

#: For how long after a mailer was last at work e-mails are promised: more than its worker takes to be started anew.
MAILER_LIFE = timedelta(hours=1)

#: How long a job stays by default with a worker that shows no sign of life.
LEASE = timedelta(minutes=2)
#: How long an export may take by default, and for how long it may read no row and write no byte.
MAX_RUN, MAX_SILENCE = timedelta(hours=6), timedelta(minutes=10)
#: Seconds until a job should be polled for the first time, and at most until it should be polled again.
FIRST_POLL, LONGEST_POLL = 1, 30
#: How often a job is begun by default before it is given up.
MAX_ATTEMPTS = 5
#: How many queued jobs a workspace may have by default.
MAX_QUEUED = 100


class Status(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    STARTED = "started"
    FINISHED = "finished"
    FAILED = "failed"


#: Where a job can go from each status.
TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.STARTED, Status.FAILED}),
    Status.STARTED: frozenset({Status.FINISHED, Status.FAILED, Status.QUEUED}),
    Status.FINISHED: frozenset(),
    Status.FAILED: frozenset(),
}


def advance(status: Status, to: Status) -> Status:
    """The next status. Raises TransitionError for a move that `TRANSITIONS` does not have."""
    if to not in TRANSITIONS[status]:
        raise TransitionError(f"a job that is {status} cannot become {to}")
    return to


#: What a job knows of its export before it begins, and as each attempt does.
NOTHING_KNOWN: dict[str, Any] = dict.fromkeys(("rows", "conversations", "bytes"))


def facts_so_far(progress: Progress | None) -> dict[str, Any]:
    """The fields of a job that its export's progress has; a conversation in parts counts for each."""
    if progress is None:
        return {}
    return {"rows": progress.rows_written, "conversations": progress.members, "bytes": progress.bytes_written}


def facts_of(report: ExportReport | None) -> dict[str, Any]:
    """The fields of a job that its export's report has."""
    if report is None:
        return {**NOTHING_KNOWN, "sha256": None}
    return {
        "rows": report.rows,
        "conversations": report.conversations,
        "bytes": report.bytes,
        "sha256": report.sha256,
    }


#: The `error_message` of a job that was cancelled.
CANCELLED_MESSAGE = "The export was cancelled."


def given_up_message(attempts: int) -> str:
    """The `error_message` of a job whose workers were lost in each of so many attempts."""
    times = "once" if attempts == 1 else f"{attempts} times"
    return f"The export was interrupted {times} and has been given up. Trigger it again."


@dataclass(frozen=True, slots=True)
class Job:
    """One export job.

    Times are aware, in UTC. `attempts` counts how often a worker has begun it. `started_time` is when the last attempt
    began, `finished_time` when the job ended, well or not. `channel_type` (the detailed one) and `channel_name` are the
    channel's as it was when the job was made. `rows` (messages), `conversations` and `bytes` (of the archive) say how
    far the last attempt has come, and once it is finished all that there is; None where that is not known. `archive` is
    the archive's path in the archive store while it is there, `file_name` what a download of it is called, `sha256`
    (hex) that of its bytes; all None unless it is finished. `key_id` is that of the API key which asked for it, no
    secret.
    """

    id: str
    workspace_id: str
    channel_id: str
    start_date: date
    end_date: date
    created_time: datetime
    notification_email: str | None = field(default=None, repr=False)  # what is shown may be logged
    status: Status = Status.QUEUED
    attempts: int = 0
    finished_time: datetime | None = None
    archive: str | None = None
    file_name: str | None = None
    error_message: str | None = None
    key_id: str | None = None
    channel_type: str | None = None
    channel_name: str | None = None
    started_time: datetime | None = None
    rows: int | None = None
    conversations: int | None = None
    bytes: int | None = None
    sha256: str | None = None

    @property
    def labels(self) -> dict[str, str | None]:
        """What a log's line says of the job: which it is, whose, and whose key asked for it."""
        return {"job": self.id, "workspace": self.workspace_id, "key": self.key_id}

    @property
    def expires_at(self) -> datetime | None:
        """When the download link dies; None unless the job is finished."""
        if self.status is not Status.FINISHED or self.finished_time is None:
            return None
        return self.finished_time + LINK_LIFE

    def downloadable(self, now: datetime) -> bool:
        """Whether the archive is there and a link to it would live: for a second at least, as links count those."""
        return (
            self.archive is not None
            and self.file_name is not None
            and self.expires_at is not None
            and self.expires_at - now >= timedelta(seconds=1)
        )


def accepted_document(job: Job, *, mailed: bool) -> dict[str, Any]:
    """What triggering an export answers (202), whatever has become of the job since then.

    `mailed` says whether e-mails are sent at all.
    """
    if not job.notification_email:
        next_step = "Poll the job for its status and download link."
    elif mailed:
        next_step = "You will be emailed a download link when it is ready."
    else:
        next_step = "No e-mail is sent by this service: poll the job for its status and download link."
    return {"export_job_id": job.id, "status": str(Status.QUEUED), "message": f"Export job created. {next_step}"}


def poll_after(document: Mapping[str, Any], *, now: datetime) -> int | None:
    """Seconds until it makes sense to poll again, by a status or details document; None once the job has ended.

    A tenth of the job's age, so that whoever waits learns of its end with little delay for how long it took; at least 1
    and at most `LONGEST_POLL`.
    """
    if document["status"] not in (Status.QUEUED, Status.STARTED):
        return None
    age = now - datetime.fromisoformat(document["created_time"]).replace(tzinfo=UTC)
    return int(min(max(age.total_seconds() / 10, FIRST_POLL), LONGEST_POLL))


def status_document(job: Job, presigned_url: str | None) -> dict[str, Any]:
    """What polling a job answers (200); `presigned_url` is None unless the job is finished and its link alive.

    Times are UTC without an offset, with microseconds, as the API has them.
    """
    return {
        "export_job_id": job.id,
        "workspace_id": job.workspace_id,
        "channel_id": job.channel_id,
        "start_date": job.start_date.isoformat(),
        "end_date": job.end_date.isoformat(),
        "status": str(job.status),
        "presigned_url": presigned_url,
        "presigned_url_expires_at": _text(job.expires_at),
        "error_message": job.error_message if job.status is Status.FAILED else None,
        "created_time": _text(job.created_time),
    }


def details_document(job: Job, *, now: datetime) -> dict[str, Any]:
    """All that there is to tell of a job, but for its download link: an entry of the list of jobs.

    `archive` is None unless the archive can be downloaded `now`; its counts and SHA-256 stay. Times are written as in
    the status document.
    """
    counts = {"rows": job.rows, "conversations": job.conversations, "bytes": job.bytes}
    archive = {
        "file_name": job.file_name,
        **counts,
        "sha256": job.sha256,
        "presigned_url_expires_at": _text(job.expires_at),
    }
    return {
        "export_job_id": job.id,
        "workspace_id": job.workspace_id,
        "status": str(job.status),
        "channel_id": job.channel_id,
        "channel_type": job.channel_type,
        "channel_name": job.channel_name,
        "start_date": job.start_date.isoformat(),
        "end_date": job.end_date.isoformat(),
        "created_time": _text(job.created_time),
        "started_time": _text(job.started_time),
        "finished_time": _text(job.finished_time),
        "error_message": job.error_message if job.status is Status.FAILED else None,
        "attempts": job.attempts,
        "sha256": job.sha256,
        "progress": counts,
        "archive": archive if job.downloadable(now) else None,
    }


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
