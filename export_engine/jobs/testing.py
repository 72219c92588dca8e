"""Everything behind the ports of an export job, in memory: for the tests of those who embed it.

    store, archives = MemoryJobStore(), MemoryArchiveStore()
    directory = MemoryDirectory([WorkspaceChannel(...)])
    source, mailer = MemoryConversations(lambda: [Conversation(...)]), RecordingMailer()
    worker = Worker(store, archives, directory, source, mailer=mailer)

Each keeps the promises of its port and nothing beyond: what is kept is gone with the process. Safe to share between
threads.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from export_engine.errors import OptionError
from export_engine.jobs.errors import (
    ActiveExportError,
    IdempotencyError,
    LeaseLostError,
    QueueFullError,
    TransitionError,
)
from export_engine.jobs.identifiers import stored_uuid
from export_engine.jobs.job import (
    CANCELLED_MESSAGE,
    MAILER_LIFE,
    MAX_ATTEMPTS,
    MAX_QUEUED,
    NOTHING_KNOWN,
    Job,
    Status,
    advance,
    facts_of,
    facts_so_far,
    given_up_message,
)
from export_engine.jobs.paging import sorted_page
from export_engine.jobs.ports import ChannelPlace, Idempotency, JobPlace, Lease, Notice, WorkspaceChannel
from export_engine.model import Conversation, DateRange
from export_engine.report import ExportReport, Progress
from export_engine.sinks import Streamable

if TYPE_CHECKING:
    from export_engine.options import ExportOptions

__all__ = ["MemoryArchiveStore", "MemoryConversations", "MemoryDirectory", "MemoryJobStore", "RecordingMailer"]


@dataclass(slots=True)
class _Row:
    """A job, and what only its store knows of it."""

    job: Job
    token: str | None = None
    lease_until: datetime | None = None
    notified_time: datetime | None = None
    retry_time: datetime | None = None
    notice_time: datetime | None = None
    notice_tries: int = 0
    notice_given_up: bool = False
    idempotency: Idempotency | None = None


class MemoryJobStore:
    """A `JobStore` over a dict.

    `max_attempts` (at least 1) is how often a job is begun before it is given up, `max_queued` (at least 1) how many
    queued jobs a workspace may have. Raises OptionError for fewer.
    """

    def __init__(self, *, max_attempts: int = MAX_ATTEMPTS, max_queued: int = MAX_QUEUED) -> None:
        if max_attempts < 1:
            raise OptionError(f"a job is tried at least once, not {max_attempts} times", option="max_attempts")
        if max_queued < 1:
            raise OptionError(f"a workspace may have at least one queued job, not {max_queued}", option="max_queued")
        self._max_attempts, self._max_queued = max_attempts, max_queued
        self._turns: dict[str, int] = {}
        self._mailer_seen: datetime | None = None
        self._rows: dict[str, _Row] = {}
        self._lock = Lock()

    def create(self, job: Job, *, idempotency: Idempotency | None = None) -> Job:
        """Keep a queued job; the job that is kept, which is an earlier one if the workspace has one of that name.

        Raises ActiveExportError if one of that workspace, channel and range has not ended, QueueFullError if the
        workspace has as many queued jobs as it may have, IdempotencyError if the earlier one was asked for by another
        request, TransitionError for a job that is not queued, and ValueError for an id that another job has.
        """
        if job.status is not Status.QUEUED:
            raise TransitionError(f"a job begins queued, it cannot begin {job.status}")
        with self._lock:
            if idempotency is not None and (earlier := self._repeated(job.workspace_id, idempotency)):
                return earlier
            for row in self._rows.values():
                if _active(row) and _export(row.job) == _export(job):
                    raise ActiveExportError(row.job.id)
            if job.id in self._rows:
                raise ValueError(f"there is a job {job.id} already")
            of = [row for row in self._rows.values() if row.job.workspace_id == job.workspace_id]
            if sum(row.job.status is Status.QUEUED for row in of) >= self._max_queued:
                raise QueueFullError(self._max_queued)
            self._rows[job.id] = _Row(job, idempotency=idempotency)
        return job

    def repeated(self, workspace_id: str, idempotency: Idempotency) -> Job | None:
        """The workspace's job of that name, ended or not. Raises IdempotencyError if another request asked for it."""
        with self._lock:
            return self._repeated(workspace_id, idempotency)

    def _repeated(self, workspace_id: str, idempotency: Idempotency) -> Job | None:
        for row in self._rows.values():
            named = row.idempotency
            if row.job.workspace_id == workspace_id and named is not None and named.key == idempotency.key:
                if named.digest != idempotency.digest:
                    raise IdempotencyError
                return row.job
        return None

    def get(self, workspace_id: str, job_id: str) -> Job | None:
        """The job, if the workspace has it."""
        row = self._rows.get(job_id)
        return row.job if row is not None and row.job.workspace_id == workspace_id else None

    def page(
        self,
        workspace_id: str,
        *,
        limit: int,
        before: JobPlace | None = None,
        channel_id: str | None = None,
        status: Status | None = None,
    ) -> list[Job]:
        """The youngest `limit` of the workspace's jobs, of those before `before`, the youngest first.

        That is by `JobPlace`, backwards. With `channel_id` or `status` those alone that have it.
        """
        with self._lock:
            found = [
                row.job
                for row in self._rows.values()
                if row.job.workspace_id == workspace_id
                and (before is None or _place(row.job) < before)
                and channel_id in (None, row.job.channel_id)
                and status in (None, row.job.status)
            ]
        return sorted(found, key=_place, reverse=True)[:limit]

    def cancel(self, workspace_id: str, job_id: str, now: datetime) -> Job | None:
        """End a job that has not ended, its lease with it, and close its notice; the job, or None if there is none.

        Of one that has ended the notice alone is closed.
        """
        with self._lock:
            row = self._rows.get(job_id)
            if row is None or row.job.workspace_id != workspace_id:
                return None
            if _active(row):
                _end(row, Status.FAILED, finished_time=now, error_message=CANCELLED_MESSAGE)
                row.notified_time = now
            elif _untold(row):
                row.notified_time = now
            return row.job

    def claim(self, now: datetime, lease: timedelta) -> Lease | None:
        """Take a job that is queued and due, or whose lease has run out.

        Workspaces take turns: of the one whose last turn is the longest ago, or that never had one, the oldest job (by
        `created_time`, then `id`) is taken.

        A job whose lease has run out after its last allowed attempt becomes failed instead.
        """
        with self._lock:
            free = [
                row
                for row in self._rows.values()
                if _active(row)
                and (row.lease_until is None or row.lease_until <= now)
                and (row.retry_time is None or row.retry_time <= now)
            ]
            for row in sorted(free, key=self._order):
                if row.job.status is Status.STARTED and row.job.attempts >= self._max_attempts:
                    message = given_up_message(row.job.attempts)
                    _end(row, Status.FAILED, finished_time=now, error_message=message)
                    continue
                queued = row.job.status if row.job.status is Status.QUEUED else advance(row.job.status, Status.QUEUED)
                begun = {"status": advance(queued, Status.STARTED), "started_time": now, **NOTHING_KNOWN}
                row.job = replace(row.job, attempts=row.job.attempts + 1, **begun)
                self._turns[row.job.workspace_id] = max(self._turns.values(), default=0) + 1
                row.token, row.lease_until, row.retry_time = secrets.token_hex(16), now + lease, None
                return Lease(row.job, row.token)
        return None

    def renew(self, lease: Lease, now: datetime, length: timedelta, *, progress: Progress | None = None) -> None:
        """Keep a job until `now + length`, and note how far its export has come. Raises LeaseLostError."""
        with self._lock:
            row = self._leased(lease)
            row.lease_until, row.job = now + length, replace(row.job, **facts_so_far(progress))

    def finish(
        self, lease: Lease, now: datetime, *, archive: str, file_name: str, report: ExportReport | None = None
    ) -> Job:
        """The archive is there; the report has its counts. Raises LeaseLostError, and then changes nothing."""
        with self._lock:
            row = self._leased(lease)
            ended = {"finished_time": now, "archive": archive, "file_name": file_name}
            return _end(row, Status.FINISHED, **ended, **facts_of(report))

    def fail(self, lease: Lease, now: datetime, error_message: str) -> Job:
        """The export has failed for good. Raises LeaseLostError, and then changes nothing.

        What a database cannot hold of the message (a NUL, half of a surrogate pair) becomes U+FFFD or `?`.
        """
        message = error_message.replace("\0", "\ufffd").encode(errors="replace").decode()
        with self._lock:
            return _end(self._leased(lease), Status.FAILED, finished_time=now, error_message=message)

    def retry(self, lease: Lease, now: datetime, at: datetime, error_message: str) -> Job:
        """Queue the job again, not to be taken before `at`. Raises LeaseLostError, and then changes nothing.

        After its last allowed attempt it fails instead, as by `fail`.
        """
        if lease.job.attempts >= self._max_attempts:
            return self.fail(lease, now, error_message)
        with self._lock:
            row = self._leased(lease)
            row.retry_time = at
            return _end(row, Status.QUEUED)

    def hand_back(self, lease: Lease) -> None:
        """The worker has to stop: queue the job again, its attempt not counted. Raises LeaseLostError."""
        with self._lock:
            row = self._leased(lease)
            _end(row, Status.QUEUED, attempts=row.job.attempts - 1, started_time=None, **NOTHING_KNOWN)

    def take_notice(self, now: datetime, held: timedelta) -> Notice | None:
        """The job that ended first of those whose e-mail is due; nobody else is given it before `now + held`."""
        with self._lock:
            waiting = [
                row
                for row in self._rows.values()
                if _untold(row) and (row.notice_time is None or row.notice_time <= now)
            ]
            if not waiting:
                return None
            first = min(waiting, key=_ended)
            first.notice_time, first.notice_tries = now + held, first.notice_tries + 1
            return Notice(first.job, first.notice_tries)

    def put_off_notice(self, job_id: str, at: datetime) -> None:
        """The e-mail could not be sent: it is due again at that time."""
        with self._lock:
            if _untold(row := self._rows[job_id]):
                row.notice_time = at

    def close_notice(self, job_id: str, now: datetime, *, given_up: bool) -> None:
        """The e-mail was sent, or given up: it is never due again."""
        with self._lock:
            if _untold(row := self._rows[job_id]):
                row.notified_time, row.notice_given_up = now, given_up

    def note_mailer(self, now: datetime) -> None:
        """Note that a mailer is at work."""
        self._mailer_seen = now

    def has_mailer(self, now: datetime) -> bool:
        """Whether a mailer was at work within the last `MAILER_LIFE`."""
        return self._mailer_seen is not None and self._mailer_seen > now - MAILER_LIFE

    def expired(self, now: datetime) -> list[Job]:
        """Finished jobs whose link is dead and whose archive has not been forgotten, first those that ended first."""
        with self._lock:
            kept = sorted((row for row in self._rows.values() if row.job.archive is not None), key=_ended)
        return [row.job for row in kept if row.job.expires_at is not None and row.job.expires_at <= now]

    def forget_archive(self, job_id: str) -> None:
        """Note that an expired job's archive has been deleted; a job without one stays as it is."""
        with self._lock:
            if (row := self._rows.get(job_id)) is not None:
                row.job = replace(row.job, archive=None)

    def wanted(self, archives: Sequence[str]) -> dict[str, bool]:
        """Which of some paths are a job's archive, or will be: those below `<job id>/<token>/` of a live lease.

        The others are False; what does not begin with a job's id is missing.
        """
        with self._lock:
            rows = {path: self._rows.get(path.partition("/")[0]) for path in archives if "/" in path}
            return {
                path: path == row.job.archive
                or (row.token is not None and path.startswith(f"{row.job.id}/{row.token}/"))
                for path, row in rows.items()
                if row is not None
            }

    def prune(self, before: datetime) -> int:
        """Forget the jobs that ended before then and have no archive; how many there were."""
        with self._lock:
            old = [
                row.job.id
                for row in self._rows.values()
                if row.job.archive is None and row.job.finished_time is not None and row.job.finished_time < before
            ]
            for job_id in old:
                del self._rows[job_id]
        return len(old)

    def check(self) -> None:
        """Nothing: a job can always be kept."""

    def counts(self) -> dict[Status, int]:
        """How many jobs there are in each status."""
        with self._lock:
            statuses = [row.job.status for row in self._rows.values()]
        return {status: statuses.count(status) for status in Status}

    def _order(self, row: _Row) -> tuple[int, datetime, str]:
        return self._turns.get(row.job.workspace_id, 0), row.job.created_time, row.job.id

    def _leased(self, lease: Lease) -> _Row:
        row = self._rows.get(lease.job.id)
        if row is None or row.token != lease.token:
            raise LeaseLostError(
                f"job {lease.job.id} has ended or was taken over by another worker: drop what was made of it"
            )
        return row


def _active(row: _Row) -> bool:
    return row.job.status in (Status.QUEUED, Status.STARTED)


def _untold(row: _Row) -> bool:
    return not _active(row) and row.job.notification_email is not None and row.notified_time is None


def _place(job: Job) -> JobPlace:
    return JobPlace(job.created_time, job.id)


def _export(job: Job) -> tuple[object, ...]:
    return job.workspace_id, job.channel_id, job.start_date, job.end_date


def _ended(row: _Row) -> tuple[datetime, str]:
    assert row.job.finished_time is not None  # noqa: S101  # only jobs that have ended are ordered by it
    return row.job.finished_time, row.job.id


def _end(row: _Row, status: Status, **changes: object) -> Job:
    """End a lease, and with `FINISHED` or `FAILED` the job."""
    row.job = replace(row.job, status=advance(row.job.status, status), **changes)  # type: ignore[arg-type]  # mypy has no types for a call's `**`
    row.token = row.lease_until = None
    return row.job


class MemoryArchiveStore:
    """An `ArchiveStore` over a dict. Its links (`memory://<path>?name=...&expires=...`) lead nowhere: `read` the path.

    `clock` says when an archive was written (aware).
    """

    def __init__(self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._archives: dict[str, tuple[bytes, datetime]] = {}
        self._lock = Lock()

    def write(self, path: str, export: Streamable) -> None:
        """Keep an export's bytes, once it has ended well. Raises whatever the export raises."""
        archive = b"".join(export)
        with self._lock:
            self._archives[path] = (archive, self._clock())

    def read(self, path: str) -> bytes:
        """An archive's bytes. Raises FileNotFoundError."""
        with self._lock:
            if path not in self._archives:
                raise FileNotFoundError(f"there is no archive {path}")
            return self._archives[path][0]

    def link(self, path: str, *, file_name: str, now: datetime, expires_at: datetime) -> str:
        """What stands for a download link. Raises OptionError if it would have expired."""
        if expires_at <= now:
            raise OptionError(f"the link would expire at {expires_at}, which is past: make none", option="expires_at")
        return f"memory://{path}?{urlencode({'name': file_name, 'expires': expires_at.isoformat()})}"

    def delete(self, path: str) -> None:
        """Delete an archive; one that is not there is no error."""
        with self._lock:
            self._archives.pop(path, None)

    def paths(self) -> Iterator[tuple[str, datetime]]:
        """Every archive, with when it was written."""
        with self._lock:
            return iter([(path, written) for path, (_, written) in self._archives.items()])

    def tidy(self, before: datetime) -> None:
        """Nothing: no upload leaves anything."""


@dataclass
class MemoryDirectory:
    """A `ChannelDirectory` over a list."""

    channels: list[WorkspaceChannel] = field(default_factory=list)

    def find(
        self, workspace_id: str, *, channel_id: str | None = None, phone_number: str | None = None
    ) -> list[WorkspaceChannel]:
        """The workspace's channels with that id, or with that phone number; exactly one of the two is given."""
        from export_engine.jobs.phones import same_number  # noqa: PLC0415  # heavy, and for lookups by number alone

        return [
            channel
            for channel in self.channels
            if channel.workspace_id == workspace_id
            and (
                (stored_uuid(channel.id) or channel.id) == channel_id
                if phone_number is None
                else channel.phone_number is not None and same_number(channel.phone_number, phone_number)
            )
        ]

    def page(self, workspace_id: str, *, limit: int, after: ChannelPlace | None = None) -> list[WorkspaceChannel]:
        """The first `limit` of the workspace's channels, of those behind `after`, by name and id."""
        return sorted_page(self.channels, workspace_id, limit, after)


@dataclass
class MemoryConversations:
    """A `ConversationSource` that has `make` make the conversations each time, the same for every channel.

    `asked` holds the channel ids and date ranges that it was asked for.
    """

    make: Callable[[], Iterable[Conversation]]
    asked: list[tuple[str, DateRange]] = field(default_factory=list)

    def conversations(
        self,
        channel: WorkspaceChannel,
        date_range: DateRange,
        options: ExportOptions,  # noqa: ARG002  # a port's parameter
    ) -> Iterable[Conversation]:
        """What `make` makes; the export takes its part."""
        self.asked.append((channel.id, date_range))
        return self.make()


@dataclass
class RecordingMailer:
    """A `Mailer` that sends nothing; `sent` holds the jobs and links of its notices."""

    sent: list[tuple[Job, str | None]] = field(default_factory=list)

    def send(self, job: Job, *, link: str | None) -> None:
        """Keep what would have been sent."""
        self.sent.append((job, link))
