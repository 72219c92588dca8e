"""An export job with everything in memory: what embedders test with does what the real parts do."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from threading import Event

import pytest

from export_engine import Contact, Conversation, DateRange, Message, jobs
from export_engine.jobs.testing import (
    MemoryArchiveStore,
    MemoryConversations,
    MemoryDirectory,
    MemoryJobStore,
    RecordingMailer,
)

WORKSPACE = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
CHANNEL = jobs.WorkspaceChannel(
    "b2c3d4e5-7777-8888-9999-000011112222", WORKSPACE, "LOCAL", "SMS Support", "+12025550123"
)
BODY = {
    "phone_number": "+12025550123",
    "start_date": "2026-06-01",
    "end_date": "2026-06-10",
    "notification_email": "agent@example.com",
}
NOW = datetime(2026, 6, 11, 6, 50, 43, tzinfo=UTC)


def conversations() -> Iterator[Conversation]:
    yield Conversation(
        "c-1", Contact("Jane Doe"), [Message("m-1", datetime(2026, 6, 2, 8, tzinfo=UTC), "inbound", "customer")]
    )


def test_from_trigger_to_notice() -> None:
    """Queued, exported, notified, polled, swept: as with a database and a bucket."""
    store, archives, mailer = MemoryJobStore(), MemoryArchiveStore(), RecordingMailer()
    directory, source = MemoryDirectory([CHANNEL]), MemoryConversations(conversations)
    now = NOW
    worker = jobs.Worker(store, archives, directory, source, mailer=mailer, clock=lambda: now)
    job = jobs.trigger(BODY, workspace_id=WORKSPACE, store=store, directory=directory, now=now)
    with pytest.raises(jobs.ActiveExportError):
        jobs.trigger(BODY, workspace_id=WORKSPACE, store=store, directory=directory, now=now)
    assert [worker.step() for _ in range(3)] == [True, True, False]
    assert source.asked == [(CHANNEL.id, DateRange(date(2026, 6, 1), date(2026, 6, 10)))]
    document = jobs.poll(job.id, workspace_id=WORKSPACE, store=store, archives=archives, now=now)
    [(notified, link)] = mailer.sent
    assert (notified.id, link) == (job.id, document["presigned_url"])
    [(path, _)] = archives.paths()
    assert str(link).startswith(f"memory://{path}?")
    with zipfile.ZipFile(io.BytesIO(archives.read(path))) as archive:
        assert archive.namelist() == ["Jane Doe--2026-06-02_080000--SMS Support (+12025550123).csv"]
    now = NOW + timedelta(hours=24)
    worker.sweep()
    assert list(archives.paths()) == []


def test_an_export_that_fails_leaves_no_archive() -> None:
    """Its object appears whole, or not at all."""

    def failing() -> Iterator[Conversation]:
        yield from conversations()
        raise FileNotFoundError("the source is gone")

    store, archives = MemoryJobStore(), MemoryArchiveStore()
    directory = MemoryDirectory([CHANNEL])
    job = jobs.trigger(BODY, workspace_id=WORKSPACE, store=store, directory=directory, now=NOW)
    jobs.Worker(store, archives, directory, MemoryConversations(failing), clock=lambda: NOW).step()
    ended = store.get(WORKSPACE, job.id)
    assert ended is not None
    assert ended.status is jobs.Status.FAILED
    assert list(archives.paths()) == []
    with pytest.raises(FileNotFoundError):
        archives.read("a/b/c.zip")


def test_many_threads_claim_each_job_once() -> None:
    """The store may be shared between threads."""
    store = MemoryJobStore()
    for day in range(1, 29):
        store.create(jobs.Job(f"job-{day}", WORKSPACE, CHANNEL.id, date(2026, 6, day), date(2026, 6, 30), NOW))
    begin = Event()

    def claim_all(_: int) -> list[str]:
        begin.wait()
        claimed = []
        while (lease := store.claim(NOW, timedelta(minutes=1))) is not None:
            claimed.append(lease.job.id)
        return claimed

    with ThreadPoolExecutor(4) as pool:
        results = pool.map(claim_all, range(4))
        begin.set()
        claimed = sorted(job_id for share in results for job_id in share)
    assert claimed == sorted(f"job-{day}" for day in range(1, 29))


def test_the_ports_are_kept() -> None:
    """To the letter: mypy reads this."""
    store: jobs.JobStore = MemoryJobStore()
    archives: jobs.ArchiveStore = MemoryArchiveStore()
    directory: jobs.ChannelDirectory = MemoryDirectory()
    source: jobs.ConversationSource = MemoryConversations(list)
    mailer: jobs.Mailer = RecordingMailer()
    assert jobs.Worker(store, archives, directory, source, mailer=mailer).step() is False
