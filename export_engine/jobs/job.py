"""The export job: what it is, its life cycle, and the documents that the API answers with.

The life cycle is a table. A job is `queued`, is `started` by a worker and ends `finished` or `failed`; what has ended
stays as it is. A worker that has to stop hands its job back, and one whose export failed of what may pass has it tried
again (both `started` to `queued`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

from export_engine.jobs.errors import TransitionError

__all__ = [
    "CANCELLED_MESSAGE",
    "KEEP_JOBS",
    "LINK_LIFE",
    "MAILER_LIFE",
    "MAX_ATTEMPTS",
    "MAX_QUEUED",
    "TRANSITIONS",
    "Job",
    "Status",
    "accepted_document",
    "advance",
    "given_up_message",
    "status_document",
]

#: How long a finished job's download link lives.
LINK_LIFE = timedelta(hours=24)


#: How long a job is known by default after its end.
KEEP_JOBS = timedelta(days=30)

#: For how long after a mailer was last at work e-mails are promised: more than its worker takes to be started anew.
MAILER_LIFE = timedelta(hours=1)

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


#: The `error_message` of a job that was cancelled.
CANCELLED_MESSAGE = "The export was cancelled."


def given_up_message(attempts: int) -> str:
    """The `error_message` of a job whose workers were lost in each of so many attempts."""
    times = "once" if attempts == 1 else f"{attempts} times"
    return f"The export was interrupted {times} and has been given up. Trigger it again."


@dataclass(frozen=True, slots=True)
class Job:
    """One export job.

    Times are aware, in UTC. `attempts` counts how often a worker has begun it. `finished_time` is when it ended, well
    or not. `archive` is the archive's path in the archive store while it is there, `file_name` what a download of it is
    called; both None unless it is finished. `key_id` is that of the API key which asked for it, no secret.
    """

    id: str
    workspace_id: str
    channel_id: str
    start_date: date
    end_date: date
    created_time: datetime
    notification_email: str | None = None
    status: Status = Status.QUEUED
    attempts: int = 0
    finished_time: datetime | None = None
    archive: str | None = None
    file_name: str | None = None
    error_message: str | None = None
    key_id: str | None = None

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


def accepted_document(job: Job, *, mailed: bool) -> dict[str, Any]:
    """What triggering an export answers (202); `mailed` says whether e-mails are sent at all."""
    if not job.notification_email:
        next_step = "Poll the job for its status and download link."
    elif mailed:
        next_step = "You will be emailed a download link when it is ready."
    else:
        next_step = "No e-mail is sent by this service: poll the job for its status and download link."
    return {"export_job_id": job.id, "status": str(job.status), "message": f"Export job created. {next_step}"}


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


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
