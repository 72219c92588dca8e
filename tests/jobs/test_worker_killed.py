"""Workers killed at random points: no job is lost or stuck, no archive broken, nothing left behind."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest

from export_engine import DateRange, export_conversations
from export_engine.jobs.job import Job, Status
from tests.jobs.harness import CHANNEL
from tests.jobs.killed import LEASE, OPTIONS, RangeConversations, Site, open_site, work
from tests.jobs.samples import new_job

KILLS = 50
#: Jobs that wait or are under way whenever a worker begins.
PENDING = 3
#: Workers are forked from a process that has loaded what they would load on first use, so as to begin within
#: milliseconds. What is not installed (pyarrow looks for pandas) is passed over.
LOADED = ["pytest", "pandas", "slugify", "export_engine.sources.objects", "tests.jobs.killed"]


def pending(site: Site) -> int:
    counts = site.store.counts()
    return counts[Status.QUEUED] + counts[Status.STARTED]


def expected(job: Job) -> bytes:
    """The archive of a job, made in one go."""
    date_range = DateRange(job.start_date, job.end_date)
    source = RangeConversations().conversations(CHANNEL, date_range, OPTIONS)
    made = export_conversations(
        source, channel=CHANNEL.channel, date_range=date_range, export_id=job.id[:8], options=OPTIONS
    )
    return b"".join(made)


def kill_one(folder: Path, when: Callable[[], object]) -> None:
    """Let a worker begin, and kill it when that returns."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    told, begun = context.Pipe(duplex=False)
    with told, begun:
        process = context.Process(target=work, args=(folder, begun))
        process.start()
        begun.close()
        assert told.recv_bytes() == b"begun"
        when()
        process.kill()
        process.join(60)
        assert process.exitcode == -9
        process.close()


@pytest.mark.slow
def test_fifty_kills(tmp_path: Path) -> None:
    """Every job ends; every finished one has its whole archive; the sweep leaves nothing else."""
    chance = random.Random(20260611)  # noqa: S311  # a seed for tests
    site = open_site(tmp_path)
    jobs: list[Job] = []
    for number in range(KILLS):
        while pending(site) < PENDING:
            last = date(2026, 6, 30) + timedelta(days=len(jobs))
            jobs.append(new_job(end_date=last, created_time=datetime.now(UTC)))
            site.store.create(jobs[-1])
        before, later = pending(site), chance.uniform(0, 0.4)

        def random_point(number: int = number, before: int = before, later: float = later) -> None:
            # Every third has ended a job first, so that all get on however slow the machine is.
            while number % 3 == 0 and pending(site) == before:
                time.sleep(0.001)
            time.sleep(later)

        kill_one(tmp_path, random_point)

    while pending(site):
        if not site.worker.step():
            time.sleep(LEASE.total_seconds() / 10)
    site.worker.sweep()

    ended = [site.store.get(job.workspace_id, job.id) for job in jobs]
    finished = [job for job in ended if job and job.status is Status.FINISHED]
    failed = [job for job in ended if job and job.status is Status.FAILED]
    assert len(finished) + len(failed) == len(jobs)
    assert len(finished) >= KILLS / 10
    assert all("interrupted 3 times" in (job.error_message or "") for job in failed)
    # The kills have hit: attempts were begun that did not end.
    assert sum(job.attempts - 1 for job in finished + failed) >= KILLS / 10
    for job in finished:
        assert job.archive is not None
        data = (tmp_path / "archives" / job.archive).read_bytes()
        with zipfile.ZipFile(BytesIO(data)) as archive:
            assert archive.testzip() is None
        assert data == expected(job)
    there = {str(path.relative_to(tmp_path / "archives")) for path in (tmp_path / "archives").rglob("*")}
    kept = {job.archive or "" for job in finished}
    folders = {"/".join(path.split("/")[:depth]) for path in kept for depth in (1, 2)}
    assert there == kept | folders
    shutil.rmtree(tmp_path / "archives")  # hundreds of megabytes, which pytest would keep for a while
    site.engine.dispose()
