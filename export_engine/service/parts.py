"""What the service is made of, handed to it ready: it opens nothing and reads no setting itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from export_engine.jobs.job import Status
from export_engine.jobs.ports import ArchiveStore, ChannelDirectory, ConversationSource, JobStore, Mailer
from export_engine.options import ExportOptions

__all__ = ["CountedJobStore", "Keys", "Parts", "now"]


def now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)


class CountedJobStore(JobStore, Protocol):
    """A job store that can also be watched."""

    def counts(self) -> dict[Status, int]:
        """How many jobs there are in each status."""
        ...


class Keys(Protocol):
    """Who may use a workspace."""

    def check(self, key: str | None, workspace_id: str) -> None:
        """Raise UnauthorizedError unless the key holds for the workspace; None means that no key was sent."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one service.

    `options` shape the exports; their time zone is also that of the days in requests. `mailer` None means that nobody
    is told by e-mail; `clock` gives aware times. Each part is used from several threads at once.
    """

    store: CountedJobStore
    archives: ArchiveStore
    directory: ChannelDirectory
    source: ConversationSource
    keys: Keys
    mailer: Mailer | None = None
    options: ExportOptions = field(default_factory=ExportOptions)
    clock: Callable[[], datetime] = now
