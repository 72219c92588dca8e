"""The job store, many threads of several processes at once: what must happen once happens once."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import Any, TypeVar

import pytest
from sqlalchemy import Engine

from export_engine.jobs.backends.database import open_database
from export_engine.jobs.backends.store import SqlJobStore
from export_engine.jobs.errors import ActiveExportError, LeaseLostError
from export_engine.jobs.job import Job, Status
from export_engine.jobs.ports import Idempotency, Lease
from tests.jobs.samples import MINUTE, NOW, new_job

PROCESSES = 3
THREADS = 4
CROWD = PROCESSES * THREADS
JOBS = 40
PATIENCE = 240

T = TypeVar("T")
Work = Callable[[SqlJobStore, int], T]
Crowd = Callable[[str, Work[Any]], list[Any]]

# Of a process of the crowd: where all processes meet, and where all threads do.
GATES: list[Barrier] = []


def _join(gates: list[Barrier]) -> None:
    GATES.extend(gates)


def _work(url: str, work: Work[T], numbers: list[int]) -> list[T]:
    """In a process of the crowd: open the database when all do, and work in as many threads when all do."""
    processes, threads = GATES
    processes.wait(PATIENCE)
    engine = open_database(url)

    def one(number: int) -> T:
        threads.wait(PATIENCE)
        return work(SqlJobStore(engine, max_attempts=2), number)

    try:
        with ThreadPoolExecutor(len(numbers)) as pool:
            return list(pool.map(one, numbers, timeout=PATIENCE))
    finally:
        engine.dispose()


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    """Has work done by all threads of all processes at once; gives what each made of it."""
    context = multiprocessing.get_context("spawn")
    gates = [context.Barrier(PROCESSES), context.Barrier(CROWD)]
    with ProcessPoolExecutor(PROCESSES, context, initializer=_join, initargs=(gates,)) as pool:

        def work(url: str, work: Work[Any]) -> list[Any]:
            shares = [list(range(CROWD))[start::PROCESSES] for start in range(PROCESSES)]
            futures = [pool.submit(_work, url, work, share) for share in shares]
            return [result for future in futures for result in future.result(PATIENCE)]

        yield work


@contextmanager
def opened(url: str) -> Iterator[SqlJobStore]:
    engine: Engine = open_database(url)
    try:
        yield SqlJobStore(engine, max_attempts=2)
    finally:
        engine.dispose()


def jobs(count: int = JOBS) -> list[Job]:
    return [new_job(str(number), notification_email="agent@example.com") for number in range(count)]


def _create(store: SqlJobStore, _: int) -> list[bool]:
    """Ask for the same exports as everyone; whether each was accepted."""
    accepted = []
    for job in jobs():
        GATES[1].wait(PATIENCE)
        try:
            store.create(job)
        except ActiveExportError:
            accepted.append(False)
        else:
            accepted.append(True)
    return accepted


@pytest.mark.slow
def test_the_same_export_asked_for_at_once(database_url: str, crowd: Crowd) -> None:
    """Of everyone who asks for the same export one gets it, the others a 409; the database is new to all of them."""
    accepted = crowd(database_url, _create)
    assert [sum(each) for each in zip(*accepted, strict=True)] == [1] * JOBS
    with opened(database_url) as store:
        assert store.counts()[Status.QUEUED] == JOBS


def _create_named(store: SqlJobStore, number: int) -> list[str]:
    """Send the same named requests as everyone; the ids of the jobs that each is answered with."""
    answered = []
    for turn, job in enumerate(jobs()):
        GATES[1].wait(PATIENCE)
        # Channels of one's own: the name alone says that the requests are the same.
        own = replace(job, channel_id=f"{number}")
        answered.append(store.create(own, idempotency=Idempotency(f"{turn}", "digest")).id)
        lease = store.claim(NOW, MINUTE)  # so that some have ended when others send them
        if lease is not None:
            store.fail(lease, NOW, "no")
    return answered


@pytest.mark.slow
def test_the_same_named_request_sent_at_once(database_url: str, crowd: Crowd) -> None:
    """Everyone is answered with the same job, and there is no other."""
    answered = crowd(database_url, _create_named)
    assert [len(set(each)) for each in zip(*answered, strict=True)] == [1] * JOBS
    with opened(database_url) as store:
        assert sum(store.counts().values()) == JOBS


def _claim_all(minutes: int, store: SqlJobStore, _: int) -> list[Lease]:
    leases = []
    while (lease := store.claim(NOW + minutes * MINUTE, MINUTE)) is not None:
        leases.append(lease)
    return leases


@pytest.mark.slow
def test_each_job_is_claimed_once_for_each_lease(database_url: str, crowd: Crowd) -> None:
    """No job twice, none left; once the leases have run out the same again, and then all are given up."""
    with opened(database_url) as store:
        asked = jobs()
        for job in asked:
            store.create(job)
        tokens: set[str] = set()
        for attempt in (1, 2):
            leases = [lease for share in crowd(database_url, partial(_claim_all, attempt)) for lease in share]
            assert sorted(lease.job.id for lease in leases) == sorted(job.id for job in asked)
            assert {lease.job.attempts for lease in leases} == {attempt}
            tokens |= {lease.token for lease in leases}
        assert len(tokens) == 2 * JOBS
        assert not any(crowd(database_url, partial(_claim_all, 3)))
        assert store.counts()[Status.FAILED] == JOBS


def _finish_or_take_over(late: list[Lease], store: SqlJobStore, number: int) -> list[str]:
    """Half of the crowd are workers that come late, half are those that take their jobs over; the ids each one got."""
    if number % 2:
        return [lease.job.id for lease in _claim_all(2, store, number)]
    finished = []
    for lease in late[number // 2 :: CROWD // 2]:
        try:
            finished.append(store.finish(lease, NOW + 2 * MINUTE, archive=lease.token, file_name="a.zip").id)
        except LeaseLostError:
            continue
    return finished


@pytest.mark.slow
def test_late_workers_and_those_who_take_over(database_url: str, crowd: Crowd) -> None:
    """Each job goes to one of the two, never to both, and the store says to which."""
    with opened(database_url) as store:
        for job in jobs():
            store.create(job)
        late = _claim_all(0, store, 0)
        got = Counter(job_id for share in crowd(database_url, partial(_finish_or_take_over, late)) for job_id in share)
        assert got == Counter(lease.job.id for lease in late)
        for lease in late:
            kept = store.get(lease.job.workspace_id, lease.job.id)
            assert kept is not None
            if kept.status is Status.FINISHED:
                assert (kept.attempts, kept.archive) == (1, lease.token)
            else:
                assert (kept.attempts, kept.archive) == (2, None)


def _take_notices(store: SqlJobStore, _: int) -> list[str]:
    taken = []
    while (notice := store.take_notice(NOW, MINUTE)) is not None:
        taken.append(notice.job.id)
    return taken


@pytest.mark.slow
def test_each_notice_is_taken_once(database_url: str, crowd: Crowd) -> None:
    """Nobody is written to twice, and nobody is forgotten."""
    with opened(database_url) as store:
        asked = jobs()
        for job in asked:
            store.create(job)
        for lease in _claim_all(0, store, 0):
            store.fail(lease, NOW, "no")
    taken = [job_id for share in crowd(database_url, _take_notices) for job_id in share]
    assert sorted(taken) == sorted(job.id for job in asked)


def _live(store: SqlJobStore, number: int) -> int:
    """A worker's life among others: claim, renew, then finish, hand back or die; how many jobs it finished."""
    finished = 0
    for turn in range(JOBS):
        now = NOW + turn * MINUTE
        lease = store.claim(now, MINUTE)
        if lease is None:
            continue
        try:
            store.renew(lease, now, MINUTE)
            if (turn + number) % 3 == 0:
                store.finish(lease, now, archive=lease.token, file_name="a.zip")
                finished += 1
            elif (turn + number) % 3 == 1:
                store.hand_back(lease)
        except LeaseLostError:
            continue
    return finished


@pytest.mark.slow
def test_lives_of_workers(database_url: str, crowd: Crowd) -> None:
    """No job is lost or finished twice, whatever workers do to each other."""
    with opened(database_url) as store:
        for job in jobs():
            store.create(job)
        finished = sum(crowd(database_url, _live))
        counts = store.counts()
        assert counts[Status.FINISHED] == finished
        assert sum(counts.values()) == JOBS
        for hours in (1, 2, 3):
            _claim_all(60 * hours, store, 0)
        counts = store.counts()
        assert (counts[Status.QUEUED], counts[Status.STARTED]) == (0, 0)
