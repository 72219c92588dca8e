"""Channels or archives that hang: what needs none goes on, and threads that wait for them do not add up."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from export_engine.jobs.backends.archives import open_archives
from export_engine.jobs.backends.files import FileDirectory
from export_engine.service import deadline
from export_engine.service.deadline import THREADS
from tests.service.running import BY_CHANNEL, JUNE, NOW, production_times, serving, until


class Hanging:
    """A part that answers while `going` is set, as on a drive that comes and goes."""

    def __init__(self, part: object) -> None:
        self.going = threading.Event()
        self.going.set()
        self.waiting = 0
        self._part = part
        self._counting = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._counting:
                self.waiting += 1
            self.going.wait(100)
            with self._counting:
                self.waiting -= 1
            return method(*args, **kwargs)

        return call


@pytest.mark.slow
def test_channels_that_hang(tmp_path: Path) -> None:
    """503 for what asks for them; jobs are listed, polled and cancelled. What waits is as many threads as it may be."""
    directory = Hanging(FileDirectory(tmp_path / "demo"))
    with serving(tmp_path, worker=False, directory=directory) as service:
        channels = service.path().replace("export-conversations", "channels")
        job_id = service.trigger(JUNE).json()["export_job_id"]
        directory.going.clear()

        def ask(number: int) -> httpx.Response:
            return service.trigger(BY_CHANNEL) if number % 2 else service.client.get(channels)

        with production_times(deadline), ThreadPoolExecutor(2 * THREADS) as crowd:
            for _ in range(3):
                answers = list(crowd.map(ask, range(2 * THREADS)))
                assert {(answer.status_code, answer.headers["Retry-After"]) for answer in answers} == {(503, "5")}
            assert service.client.get("/healthz").status_code == 503
        assert 0 < directory.waiting <= 2 * THREADS
        assert service.client.get(service.path(job_id)).json()["status"] == "queued"
        assert [job["export_job_id"] for job in service.client.get(service.path()).json()["export_jobs"]] == [job_id]
        assert service.client.delete(service.path(job_id)).status_code == 204
        directory.going.set()
        until(lambda: directory.waiting == 0)
        until(lambda: service.client.get("/healthz").status_code == 200)
        assert service.client.get(channels).status_code == 200
        # One that was answered with 503 may have been made all the same.
        assert service.trigger(BY_CHANNEL).status_code in (202, 409)


@pytest.mark.slow
def test_a_health_check_while_channels_hang(tmp_path: Path) -> None:
    """It says that it is they."""
    directory = Hanging(FileDirectory(tmp_path / "demo"))
    with serving(tmp_path, worker=False, directory=directory) as service:
        directory.going.clear()
        with production_times(deadline):
            # On a busy machine the database may not answer in time, either.
            until(lambda: service.client.get("/healthz").json() == {"status": "the channels cannot be read"})
        directory.going.set()


@pytest.mark.slow
def test_archives_that_cannot_be_deleted(tmp_path: Path) -> None:
    """503 for who cancels what is finished, as often as may be; exports are triggered, polled and cancelled as ever."""
    archives = Hanging(open_archives(str(tmp_path / "other"), secret=bytes(32), download_url="http://127.0.0.1/d"))
    with serving(tmp_path, worker=False, archives=archives) as service:
        finished = service.trigger(JUNE).json()["export_job_id"]
        lease = service.components.store.claim(NOW, timedelta(minutes=1))
        assert lease is not None
        service.components.store.finish(lease, NOW, archive=f"{finished}/{lease.token}/a.zip", file_name="a.zip")
        archives.going.clear()
        with production_times(deadline), ThreadPoolExecutor(2 * THREADS) as crowd:
            for _ in range(2):
                answers = crowd.map(lambda _: service.client.delete(service.path(finished)), range(2 * THREADS))
                assert {answer.status_code for answer in answers} == {503}
        assert 0 < archives.waiting <= THREADS
        job_id = service.trigger(BY_CHANNEL).json()["export_job_id"]
        assert service.client.get("/healthz").status_code == 200
        archives.going.set()
        until(lambda: service.client.delete(service.path(finished)).status_code == 204)
        assert service.client.get(service.path(job_id)).json()["status"] == "queued"
