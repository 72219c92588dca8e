"""Workers over real processes: a folder with all they need, a source that goes wrong, and what is left of them."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from export_engine.jobs.backends.archives import ObjectArchives, open_archives
from export_engine.jobs.backends.database import open_database
from export_engine.jobs.backends.store import SqlJobStore
from export_engine.jobs.job import Job
from export_engine.jobs.testing import MemoryDirectory
from export_engine.jobs.worker import JobEvent, Worker
from export_engine.report import ExportReport
from tests.jobs.harness import CHANNEL
from tests.jobs.samples import new_job
from tests.jobs.sources import WAYS, Told

__all__ = ["REAL_PROCESSES", "SHORT", "Site", "gone", "nothing_left", "of_a_folder", "open_site", "until"]


#: Marks of their tests.
REAL_PROCESSES = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what is left of processes is looked up in /proc"),
]


SHORT = timedelta(seconds=2)


@dataclass
class Site:
    """A folder with jobs, archives and a source that does as it is told."""

    folder: Path
    store: SqlJobStore
    archives: ObjectArchives
    source: Told
    events: list[tuple[JobEvent, str]] = field(default_factory=list)

    def worker(self, **options: Any) -> Worker:
        """A worker over these, or over others where they are given."""
        parts: dict[str, Any] = {
            "store": self.store,
            "archives": self.archives,
            "directory": MemoryDirectory([CHANNEL]),
            "source": self.source,
            "observe": self.note,
            "poll": timedelta(milliseconds=5),
            "retry_export": timedelta(0),
        }
        return Worker(**parts | options)

    def note(self, event: JobEvent, job: Job, _report: ExportReport | None) -> None:
        """What its workers report."""
        self.events.append((event, job.id))

    def trigger(self, way: str | None = None, **fields: Any) -> Job:
        """A job that waits: told what to do, or to be exported well."""
        end = date(2026, 6, 30) if way is None else date(2026, 7, 1 + WAYS.index(way))
        job = new_job(**{"end_date": end, "created_time": datetime.now(UTC)} | fields)
        self.store.create(job)
        return job

    def current(self, job: Job) -> Job:
        """A job as it is now."""
        found = self.store.get(job.workspace_id, job.id)
        assert found is not None
        return found


@contextmanager
def open_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    engine = open_database(f"sqlite:///{tmp_path}/jobs.db")
    archives = open_archives(str(tmp_path / "archives"))
    yield Site(tmp_path, SqlJobStore(engine, max_attempts=1), archives, Told(tmp_path))
    engine.dispose()


@contextmanager
def nothing_left(site: Site) -> Iterator[None]:
    """No process, thread, descriptor or temporary file is more soon after the end of the block.

    Others may be at work in this process: a service that tests share has a worker of its own.
    """
    before = _threads(), _descriptors(), _children()
    yield
    until(lambda: _threads() <= before[0] and _descriptors() <= before[1] and _children() <= before[2])
    assert list((site.folder / "tmp").iterdir()) == []


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if "export" in thread.name or "lease" in thread.name}


def _descriptors() -> int:
    """How many there are, but for those of databases of jobs, whose pools keep connections."""
    names = [os.path.realpath(name) for name in Path("/proc/self/fd").iterdir()]
    return sum("/jobs." not in name for name in names)


def _children() -> set[str]:
    """The programs of exports below this process, those that have ended and were not waited for with them."""
    listed = subprocess.run(
        ["ps", "-o", "state=,pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False
    )
    lines = [line for line in listed.stdout.splitlines() if "jobs.child" in line or line.startswith("Z")]
    return {line.split()[1] for line in lines}


def gone(process: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until(true: Callable[[], object]) -> None:
    """Wait until something is so."""
    for _ in range(20_000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it has not come to pass")


def of_a_folder(folder: Path) -> Worker:
    """A worker as a process of its own has one."""
    engine = open_database(f"sqlite:///{folder}/jobs.db")
    site = Site(folder, SqlJobStore(engine), open_archives(str(folder / "archives")), Told(folder))
    return site.worker()
