"""Workspaces take turns, and what one may have queued is bounded: on each job store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from export_engine.errors import OptionError
from export_engine.jobs.errors import ActiveExportError, QueueFullError
from export_engine.jobs.job import Status
from tests.jobs.samples import MINUTE, NOW, AnyJobStore, new_job


def taken(store: AnyJobStore, times: int) -> str:
    """The workspaces (a letter each) whose jobs that many claims take."""
    leases = [store.claim(NOW + MINUTE, MINUTE) for _ in range(times)]
    return "".join(lease.job.workspace_id for lease in leases if lease is not None)


def queue(store: AnyJobStore, workspace: str, count: int, *, after: timedelta = timedelta(0)) -> None:
    """That many jobs of a workspace."""
    for number in range(count):
        created = NOW + after + timedelta(seconds=number)
        store.create(new_job(str(number), workspace_id=workspace, created_time=created))


def test_a_workspace_with_many_jobs(store: AnyJobStore) -> None:
    """Another's single job, the youngest of all, is taken second; what is left goes on."""
    queue(store, "a", 6)
    assert taken(store, 2) == "aa"
    queue(store, "b", 1, after=MINUTE / 2)
    assert taken(store, 4) == "baaa"


def test_turns(store: AnyJobStore) -> None:
    """Round and round; within a workspace the oldest first; a workspace that comes later joins."""
    for workspace in "abc":
        queue(store, workspace, 3)
    assert sorted(taken(store, 3)) == ["a", "b", "c"]
    queue(store, "d", 2)
    assert taken(store, 1) == "d"
    first = taken(store, 4)
    assert sorted(first) == ["a", "b", "c", "d"]
    assert sorted(taken(store, 9)) == ["a", "b", "c"]


def test_the_oldest_of_a_workspace_first(store: AnyJobStore) -> None:
    """Turns change nothing among its own jobs."""
    queue(store, "a", 3)
    leases = [store.claim(NOW + MINUTE, MINUTE) for _ in range(3)]
    assert [lease.job.channel_id for lease in leases if lease is not None] == ["0", "1", "2"]


def test_too_many_queued(new_store: Callable[..., AnyJobStore]) -> None:
    """Refused, and not kept; another workspace may, and so may this one once a job has been started."""
    store = new_store(max_queued=3)
    queue(store, "a", 3)
    with pytest.raises(QueueFullError, match="has 3 exports that wait"):
        store.create(new_job("9", workspace_id="a"))
    with pytest.raises(ActiveExportError):  # which is the better answer
        store.create(new_job("0", workspace_id="a"))
    queue(store, "b", 1, after=MINUTE)
    assert store.counts()[Status.QUEUED] == 4
    assert store.claim(NOW, MINUTE) is not None
    store.create(new_job("9", workspace_id="a"))


def test_many_at_once(new_store: Callable[..., AnyJobStore]) -> None:
    """Not one more than may be, however many ask at the same time."""
    store = new_store(max_queued=5)
    gate = threading.Barrier(16)

    def ask(number: int) -> bool:
        gate.wait(240)
        try:
            store.create(new_job(str(number), workspace_id="a"))
        except QueueFullError:
            return False
        return True

    with ThreadPoolExecutor(16) as crowd:
        assert sum(crowd.map(ask, range(16))) == 5
    assert store.counts()[Status.QUEUED] == 5


def test_a_limit_that_cannot_work(new_store: Callable[..., AnyJobStore]) -> None:
    """A workspace may have one at least."""
    with pytest.raises(OptionError, match="at least one queued job"):
        new_store(max_queued=0)
