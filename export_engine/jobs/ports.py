"""What an export job needs of the world around it, as protocols: a service puts its own behind them.

Real ones stand in `export_engine.jobs.backends`, ones in memory for tests in `export_engine.jobs.testing`; everything
that takes a time is given it, so that none of them has a clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from export_engine.jobs.job import Job, Status
from export_engine.model import Channel, DateRange
from export_engine.report import ExportReport, Progress
from export_engine.sinks import Streamable

if TYPE_CHECKING:  # it needs numpy, which who queues jobs does not
    from export_engine.options import ExportOptions

__all__ = [
    "ArchiveStore",
    "ChannelDirectory",
    "ChannelPlace",
    "ConversationSource",
    "Idempotency",
    "JobPlace",
    "JobStore",
    "KeyStore",
    "Lease",
    "Mailer",
    "Notice",
    "WorkspaceChannel",
]


@dataclass(frozen=True, slots=True)
class WorkspaceChannel:
    """A channel of a workspace. `type` is its detailed type, such as `LOCAL` or `WHATSAPP_BUSINESS_PLATFORM`."""

    id: str
    workspace_id: str
    type: str
    name: str | None = None
    phone_number: str | None = None

    @property
    def channel(self) -> Channel:
        """The channel as an export takes it."""
        return Channel(self.name, self.phone_number, self.id)


class ChannelPlace(NamedTuple):
    """Where a channel stands in a list: its name (empty if it has none) and its id."""

    name: str
    id: str


class JobPlace(NamedTuple):
    """Where a job stands in a list: when it was created (aware), and its id."""

    created_time: datetime
    id: str


class ChannelDirectory(Protocol):
    """Which channels a workspace has."""

    def find(
        self, workspace_id: str, *, channel_id: str | None = None, phone_number: str | None = None
    ) -> list[WorkspaceChannel]:
        """The workspace's channels with that id, or with that phone number; exactly one of the two is given.

        An id is a UUID as `jobs.identifiers.uuid_of` has it, however the directory writes its own; a number may be
        written in another way than the directory's, see `jobs.phones.same_number`.
        """
        ...

    def page(self, workspace_id: str, *, limit: int, after: ChannelPlace | None = None) -> list[WorkspaceChannel]:
        """The first `limit` of the workspace's channels, of those behind `after`, by their `ChannelPlace`.

        Texts are ordered by their code points.
        """
        ...


class ConversationSource(Protocol):
    """Where a channel's conversations are."""

    def conversations(self, channel: WorkspaceChannel, date_range: DateRange, options: ExportOptions) -> Any:
        """What `export_conversations` takes as its source: lazily read, grouped by conversation.

        It may hold more than the range; the export takes its own part. The range's days are those of the options' time
        zone, and held against what their `range_by` says: by `created_at` conversations have to be whole. Called again
        for a job's second attempt.
        """
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """A job that a worker has taken, until it is renewed no more. `token` is new for each attempt."""

    job: Job
    token: str


@dataclass(frozen=True, slots=True)
class Notice:
    """An e-mail to be sent about a job. `tries` counts how often it was taken, this time included."""

    job: Job
    tries: int


class Idempotency(NamedTuple):
    """The name that a client gave its request, and a digest of what it asked for."""

    key: str
    digest: str


class JobStore(Protocol):
    """Where jobs are kept. Moves are atomic, also between processes and machines."""

    def create(self, job: Job, *, idempotency: Idempotency | None = None) -> Job:
        """Keep a queued job; the job that is kept, which is an earlier one if the workspace has one of that name.

        Raises ActiveExportError if one of that workspace, channel and range has not ended, and QueueFullError if the
        workspace has as many queued jobs as it may have. Raises IdempotencyError if the earlier one was asked for by
        another request.
        """
        ...

    def repeated(self, workspace_id: str, idempotency: Idempotency) -> Job | None:
        """The workspace's job of that name, ended or not. Raises IdempotencyError if another request asked for it."""
        ...

    def get(self, workspace_id: str, job_id: str) -> Job | None:
        """The job, if the workspace has it."""
        ...

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
        ...

    def cancel(self, workspace_id: str, job_id: str, now: datetime) -> Job | None:
        """End a job that has not ended, its lease with it, and close its notice; the job, or None if there is none.

        Of one that has ended the notice alone is closed.
        """
        ...

    def claim(self, now: datetime, lease: timedelta) -> Lease | None:
        """Take a job that is queued and due, or started under a lease that has run out.

        Workspaces take turns: the oldest job is taken of the one whose last turn is the longest ago.

        A job whose lease has run out after its last allowed attempt becomes failed instead.
        """
        ...

    def renew(self, lease: Lease, now: datetime, length: timedelta, *, progress: Progress | None = None) -> None:
        """Keep a job for another `length`, and note how far its export has come. Raises LeaseLostError."""
        ...

    def finish(
        self, lease: Lease, now: datetime, *, archive: str, file_name: str, report: ExportReport | None = None
    ) -> Job:
        """The archive is there; the report has its counts. Raises LeaseLostError, and then changes nothing."""
        ...

    def fail(self, lease: Lease, now: datetime, error_message: str) -> Job:
        """The export has failed for good. Raises LeaseLostError, and then changes nothing."""
        ...

    def retry(self, lease: Lease, now: datetime, at: datetime, error_message: str) -> Job:
        """Queue the job again, not to be taken before `at`. Raises LeaseLostError, and then changes nothing.

        After its last allowed attempt it fails instead, with the message.
        """
        ...

    def hand_back(self, lease: Lease) -> None:
        """The worker has to stop: queue the job again, its attempt not counted. Raises LeaseLostError."""
        ...

    def take_notice(self, now: datetime, held: timedelta) -> Notice | None:
        """A job that has ended and whose e-mail is due; nobody else is given it before `now + held`."""
        ...

    def put_off_notice(self, job_id: str, at: datetime) -> None:
        """The e-mail could not be sent: it is due again at that time."""
        ...

    def close_notice(self, job_id: str, now: datetime, *, given_up: bool) -> None:
        """The e-mail was sent, or given up: it is never due again."""
        ...

    def note_mailer(self, now: datetime) -> None:
        """Note that a mailer is at work."""
        ...

    def has_mailer(self, now: datetime) -> bool:
        """Whether a mailer was at work within the last `MAILER_LIFE`: else e-mails are not to be promised."""
        ...

    def expired(self, now: datetime) -> list[Job]:
        """Finished jobs whose link is dead and whose archive has not been forgotten."""
        ...

    def forget_archive(self, job_id: str) -> None:
        """Note that an expired job's archive has been deleted."""
        ...

    def wanted(self, archives: Sequence[str]) -> dict[str, bool]:
        """Which of some paths are a job's archive, or will be: those below `<job id>/<token>/` of a live lease.

        The others are False; what does not begin with a job's id is missing.
        """
        ...

    def prune(self, before: datetime) -> int:
        """Forget the jobs that ended before then and have no archive; how many there were."""
        ...

    def counts(self) -> dict[Status, int]:
        """How many jobs there are in each status."""
        ...

    def check(self) -> None:
        """Raise if a job could not be kept just now."""
        ...


class ArchiveStore(Protocol):
    """Where archives are kept until their links die. Paths are `<job id>/<token>/<file name>`."""

    def write(self, path: str, export: Streamable) -> None:
        """Stream an export up; its object appears whole, once the export has ended well, or not at all."""
        ...

    def link(self, path: str, *, file_name: str, now: datetime, expires_at: datetime) -> str:
        """A URL that downloads the archive as `file_name` without credentials until `expires_at`."""
        ...

    def delete(self, path: str) -> None:
        """Delete an archive, and what an upload of it has left; one that is not there is no error."""
        ...

    def paths(self) -> Iterator[tuple[str, datetime]]:
        """Every archive, and every one whose upload has not ended, with when it was last written to."""
        ...

    def tidy(self, before: datetime) -> None:
        """Remove what else there may be of uploads that were begun before then."""
        ...


class Mailer(Protocol):
    """What sends notices by e-mail."""

    def send(self, job: Job, *, link: str | None) -> None:
        """Notify `job.notification_email` that the job has ended, with its link if it finished. Raises OSError."""
        ...


class KeyStore(Protocol):
    """The API keys of workspaces."""

    def create(
        self, workspace_id: str, *, now: datetime, name: str | None = None, expires: datetime | None = None
    ) -> str:
        """Make a key that holds for the workspace, until it expires; it cannot be read again later."""
        ...

    def check(self, key: str | None, workspace_id: str, *, now: datetime) -> str:
        """The key's id, if it holds for the workspace, else UnauthorizedError; None means that no key was sent."""
        ...

    def revoke(self, key_id: str) -> bool:
        """Have a key hold no more; False if there is none of that id."""
        ...
