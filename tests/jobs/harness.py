"""What workers are tested with: a real store of jobs, a real archive store, the test's own clock, and faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

from export_engine import Contact, Conversation, DateRange, ExportReport, Message
from export_engine.jobs.backends.archives import ObjectArchives, open_archives
from export_engine.jobs.backends.database import open_database
from export_engine.jobs.backends.store import SqlJobStore
from export_engine.jobs.job import Job
from export_engine.jobs.ports import Lease, WorkspaceChannel
from export_engine.jobs.testing import MemoryConversations, MemoryDirectory
from export_engine.jobs.worker import JobEvent, Worker
from tests import reference
from tests.jobs.samples import new_job

CHANNEL = WorkspaceChannel(
    "b2c3d4e5-7777-8888-9999-000011112222",
    "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "LOCAL",
    "SMS Support",
    "+12025550123",
)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
DATE_RANGE = DateRange(date(2026, 6, 1), date(2026, 6, 30))
LEASE = timedelta(minutes=2)
#: A lease whose heart beats as often as a test can wait for.
SHORT = timedelta(milliseconds=60)


class Clock:
    """A time that only the test moves; it begins now, since archive stores have a clock of their own."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        """The time."""
        return self.now


class OwnError(Exception):
    """An error of a part."""


@dataclass
class Harness:
    """All that a worker works with, and the events that it reported."""

    store: SqlJobStore
    archives: ObjectArchives
    source: MemoryConversations
    directory: MemoryDirectory = field(default_factory=lambda: MemoryDirectory([CHANNEL]))
    clock: Clock = field(default_factory=Clock)
    events: list[tuple[JobEvent, str]] = field(default_factory=list)
    reports: list[ExportReport] = field(default_factory=list)

    def worker(self, *, store: Any = None, archives: Any = None, **options: Any) -> Worker:
        """A worker over these, or over others where they are given."""
        given: dict[str, Any] = {
            "clock": self.clock,
            "observe": self.note,
            "lease": LEASE,
            "retry_pause": timedelta(0),
        } | options
        return Worker(store or self.store, archives or self.archives, self.directory, self.source, **given)

    def note(self, event: JobEvent, job: Job, report: ExportReport | None) -> None:
        """What its workers report."""
        self.events.append((event, job.id))
        if report is not None:
            self.reports.append(report)

    def trigger(self, **fields: Any) -> Job:
        """A job that waits."""
        job = new_job(**({"created_time": self.clock()} | fields))
        self.store.create(job)
        return job

    def current(self, job: Job) -> Job:
        """A job as it is now."""
        found = self.store.get(job.workspace_id, job.id)
        assert found is not None
        return found

    def take_over(self) -> Lease:
        """What another worker does once a lease has run out."""
        while True:  # the worker at it may renew its lease in between
            self.clock.now += 2 * LEASE
            lease = self.store.claim(self.clock(), LEASE)
            if lease is not None:
                return lease

    def archive_paths(self) -> list[str]:
        """The paths of all archives."""
        return [path for path, _ in self.archives.paths()]

    def bytes_of(self, job: Job) -> bytes:
        """A finished job's archive."""
        assert job.archive is not None
        return b"".join(self.archives.read(job.archive, 0, self.archives.head(job.archive).size))


@contextmanager
def open_harness(folder: Path) -> Iterator[Harness]:
    """Over a SQLite file, with archives in memory and a source of a few conversations."""
    engine = open_database(f"sqlite:///{folder}/jobs.db")
    archives = open_archives("memory://", secret=b"s" * 32, download_url="http://127.0.0.1/downloads")
    yield Harness(SqlJobStore(engine, max_queued=1000), archives, MemoryConversations(lambda: reference.some(20, JUNE)))
    engine.dispose()


def endless(then: Callable[[], object] = lambda: None) -> Iterator[Conversation]:
    """Conversations without end; `then` is called once, a good way in."""
    for number in range(10_000_000):
        if number == 30:
            then()
        start = JUNE + timedelta(seconds=number)
        yield Conversation(
            f"c{number}", Contact("Jane"), [Message(f"{number}-{i}", start, "inbound", "customer") for i in range(500)]
        )


class Flaky:
    """A part whose methods fail as often as is said, before they do what they do."""

    does_it_first = False
    error: type[BaseException] = OSError

    def __init__(self, part: object, **failures: int) -> None:
        self._part = part
        self.left = failures
        self.called: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.called.append(name)
            fails = self.left.get(name, 0) > 0
            if fails:
                self.left[name] -= 1
            answer = method(*args, **kwargs) if self.does_it_first or not fails else None
            if fails:
                raise self.error(f"{name}: the database at db.internal is down")
            return answer

        return call


class Panic(BaseException):
    """What a library in Rust raises when it panics, which is no Exception."""


class Panicking(Flaky):
    """A part whose methods panic as often as is said, before they do what they do."""

    error = Panic


class Forgetful(Flaky):
    """A part whose methods do what they do, and then fail as often as is said: their answer is lost."""

    does_it_first = True


def one_message(id_: str, **changes: Any) -> Conversation:
    """A conversation of one message."""
    fields: dict[str, Any] = {"id": f"{id_}-m", "time": JUNE, "direction": "inbound", "speaker_type": "customer"}
    return Conversation(id_, Contact("Jane"), [Message(**(fields | changes))])


def raising(error: Exception) -> Iterator[Conversation]:
    """A conversation, and then an error."""
    yield one_message("a")
    raise error


def run_until(worker: Worker, reached: Callable[[], bool]) -> None:
    """Run a worker until something is so."""
    stop = Event()
    thread = Thread(target=worker.run, args=(stop,))
    thread.start()
    for _ in range(20_000):
        if reached() or not thread.is_alive():
            break
        stop.wait(0.01)
    stop.set()
    thread.join(120)
    assert not thread.is_alive()
    assert reached()
