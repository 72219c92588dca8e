"""A worker that lives in a process of its own, to be killed; and the parts that it and its survivors share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event
from time import sleep

from sqlalchemy import Engine

from export_engine import Contact, Conversation, DateRange, ExportOptions, Message
from export_engine.jobs.backends.archives import ObjectArchives, open_archives
from export_engine.jobs.backends.database import open_database
from export_engine.jobs.backends.store import SqlJobStore
from export_engine.jobs.ports import WorkspaceChannel
from export_engine.jobs.testing import MemoryDirectory
from export_engine.jobs.worker import Worker
from tests.jobs.harness import CHANNEL

LEASE = timedelta(milliseconds=300)
#: So that a few messages make an archive that goes up in more than one part.
OPTIONS = ExportOptions(compression="store", threads=1)


@dataclass
class RangeConversations:
    """A `ConversationSource` whose conversations depend on the range alone, read with a pause before each."""

    pause: float = 0

    def conversations(
        self, _channel: WorkspaceChannel, date_range: DateRange, _options: ExportOptions
    ) -> Iterator[Conversation]:
        """A few of some kilobytes, or, one time in four, eighty that make 16 MB: two parts."""
        number = date_range.end.toordinal()
        count, size = (80, 20_000) if number % 4 == 0 else (1 + number % 17, 500)
        start = datetime.combine(date_range.start, time.min, UTC)
        for index in range(count):
            sleep(self.pause)
            texts = [chr(97 + row) * size for row in range(10)]
            messages = [Message(f"{index}-{row}", start, "inbound", "customer", text) for row, text in enumerate(texts)]
            yield Conversation(f"c{index}", Contact(f"Contact {index}"), messages)


@dataclass
class Site:
    """A folder with jobs and archives, as every worker there opens it."""

    engine: Engine
    store: SqlJobStore
    archives: ObjectArchives
    worker: Worker


def open_site(folder: Path, database: str, *, pause: float = 0) -> Site:
    """The parts in a folder, with the jobs in a database. Strangers' things there are swept at once."""
    engine = open_database(database)
    store, archives = SqlJobStore(engine, max_attempts=3, max_queued=1000), open_archives(str(folder / "archives"))
    worker = Worker(
        store,
        archives,
        MemoryDirectory([CHANNEL]),
        RangeConversations(pause),
        lease=LEASE,
        poll=timedelta(milliseconds=5),
        retry_pause=timedelta(milliseconds=5),
        sweep_every=timedelta(milliseconds=200),
        orphan_age=timedelta(0),
        options=OPTIONS,
    )
    return Site(engine, store, archives, worker)


def work(folder: Path, database: str, begun: Connection) -> None:
    """Work until killed; says when it begins."""
    site = open_site(folder, database, pause=0.002)
    begun.send_bytes(b"begun")
    site.worker.run(Event())
