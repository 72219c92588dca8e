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
from tests.jobs.postgres import fresh_database, restartable_cluster
from tests.jobs.samples import new_job

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


def kill_one(folder: Path, database: str, when: Callable[[], object]) -> None:
    """Let a worker begin, and kill it when that returns."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    told, begun = context.Pipe(duplex=False)
    with told, begun:
        process = context.Process(target=work, args=(folder, database, begun))
        process.start()
        begun.close()
        assert told.recv_bytes() == b"begun"
        when()
        process.kill()
        process.join(60)
        assert process.exitcode == -9
        process.close()


FEW_AND_MANY = [pytest.param(5, marks=pytest.mark.slow), pytest.param(50, marks=pytest.mark.scale)]


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kills", FEW_AND_MANY)
def test_kills(tmp_path: Path, kills: int) -> None:
    """Every job ends; every finished one has its whole archive; the sweep leaves nothing else."""
    survived(tmp_path, f"sqlite:///{tmp_path}/jobs.db", kills)


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kills", FEW_AND_MANY)
def test_kills_while_postgresql_restarts(tmp_path: Path, kills: int) -> None:
    """The same, though the database of jobs crashes under each worker, before it is killed."""
    with restartable_cluster() as (cluster, restart):
        survived(tmp_path, fresh_database(cluster), kills, restart)


def survived(folder: Path, database: str, kills: int, crash: Callable[[], object] = lambda: None) -> None:
    """Kill workers at random points, one after the other; then let one do what is left, and look."""
    chance = random.Random(20260611)  # noqa: S311  # a seed for tests
    site = open_site(folder, database)
    jobs: list[Job] = []
    for number in range(kills):
        while pending(site) < PENDING:
            last = date(2026, 6, 30) + timedelta(days=len(jobs))
            jobs.append(new_job(end_date=last, created_time=datetime.now(UTC)))
            site.store.create(jobs[-1])
        before, sooner, later = pending(site), chance.uniform(0, 0.6), chance.uniform(0, 0.6)

        def random_point(
            number: int = number, before: int = before, sooner: float = sooner, later: float = later
        ) -> None:
            # Every third has ended a job first, so that all get on however slow the machine is.
            while number % 3 == 0 and pending(site) == before:
                time.sleep(0.001)
            time.sleep(sooner)
            crash()
            time.sleep(later)
            # And every third is at one, so that kills hit however fast the machine is.
            while number % 3 == 1 and not site.store.counts()[Status.STARTED]:
                time.sleep(0.001)

        kill_one(folder, database, random_point)

    while pending(site):
        if not site.worker.step():
            time.sleep(LEASE.total_seconds() / 10)
    site.worker.close()
    site.worker.sweep()

    ended = [site.store.get(job.workspace_id, job.id) for job in jobs]
    finished = [job for job in ended if job and job.status is Status.FINISHED]
    failed = [job for job in ended if job and job.status is Status.FAILED]
    assert len(finished) + len(failed) == len(jobs)
    assert len(finished) >= kills / 10
    assert all("interrupted 3 times" in (job.error_message or "") for job in failed)
    # The kills have hit: attempts were begun that did not end.
    assert sum(job.attempts - 1 for job in finished + failed) >= kills / 10
    archives = folder / "archives"
    for job in finished:
        assert job.archive is not None
        data = (archives / job.archive).read_bytes()
        with zipfile.ZipFile(BytesIO(data)) as archive:
            assert archive.testzip() is None
        assert data == expected(job)
    there = {str(path.relative_to(archives)) for path in archives.rglob("*")}
    kept = {job.archive or "" for job in finished}
    folders = {"/".join(path.split("/")[:depth]) for path in kept for depth in (1, 2)}
    assert there == kept | folders
    shutil.rmtree(archives)  # hundreds of megabytes, which pytest would keep for a while
    site.engine.dispose()
    print(f"{kills} kills: {len(finished)} finished, {len(failed)} failed")  # noqa: T201  # for who runs it by hand
