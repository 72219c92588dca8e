"""A database in trouble: locked, frozen, out of connections. The service answers in time, and says what is so."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from export_engine.service import components, deadline, metrics
from export_engine.service.deadline import THREADS
from export_engine.service.demo import DEMO_WORKSPACE, write_demo
from tests.cli.processes import running, shown
from tests.jobs.postgres import fresh_database, running_cluster
from tests.ports import free_port
from tests.service.running import BY_CHANNEL, JUNE, Service, production_times, serving, until

#: Seconds that a client waits: a database that is frozen, or locked by the test, answers nobody ever.
PATIENT = 60.0


@pytest.fixture
def impatient() -> Iterator[None]:
    """The database's locks are waited for as in production."""
    with production_times(components):
        yield


def unavailable(answer: httpx.Response) -> bool:
    """Whether it is a 503 as the API has it, with a time to try again."""
    if answer.status_code != 503:
        return False
    assert answer.headers["Retry-After"] == "5"
    assert answer.json()["detail"]["message"].startswith(
        "The service cannot reach its database or its archives just now."
    )
    return True


def health(service: Service) -> tuple[int, Any]:
    """What the health check says."""
    answer = service.client.get("/healthz", timeout=PATIENT)
    return answer.status_code, answer.json()["status"]


def scraped(service: Service) -> str:
    """The metrics, as a port of their own serves them."""
    port = free_port()
    with service.metrics.served("127.0.0.1", port):
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=PATIENT)
    assert answer.status_code == 200
    return answer.text


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_sqlite_locked_by_a_writer(tmp_path: Path) -> None:
    """What writes is 503 with Retry-After, health says so, polls and metrics go on; then all is well again."""
    with serving(tmp_path, worker=False) as service:
        job_id = service.trigger(JUNE).json()["export_job_id"]
        with closing(sqlite3.connect(tmp_path / "jobs.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with ThreadPoolExecutor(2 * THREADS) as crowd:
                waiting = [
                    crowd.submit(service.client.post, service.path(), json=BY_CHANNEL, timeout=PATIENT)
                    for _ in range(2 * THREADS)
                ]
                poll = service.client.get(service.path(job_id), timeout=PATIENT)
                assert poll.json()["status"] == "queued"
                assert 'export_jobs{status="queued"} 1.0' in scraped(service)
                assert all(unavailable(answer.result()) for answer in waiting)
            assert health(service) == (503, "the database cannot be reached")
        until(lambda: health(service) == (200, "ok"))
        # What was answered with 503 may have been done all the same: the export is there once, or is made now.
        assert service.trigger(BY_CHANNEL).status_code in {202, 409}
        assert service.trigger(BY_CHANNEL).status_code == 409
        assert 'export_jobs{status="queued"} 2.0' in scraped(service)


@pytest.mark.slow
def test_sqlite_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The health check fails where a POST would, though what is there can be read."""
    with serving(tmp_path, worker=False) as service:
        engine = service.components.store._engine  # type: ignore[attr-defined]  # an SqlJobStore's
        engine.dispose()
        monkeypatch.setattr(engine.pool, "_creator", lambda *_: _read_only(tmp_path / "jobs.sqlite"))
        assert health(service) == (503, "the database cannot be reached")
        assert unavailable(service.trigger(JUNE))
        engine.dispose()


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="what a process may write is limited by Linux")
def test_sqlite_on_a_full_disk(tmp_path: Path) -> None:
    """Nothing more can be written: what writes is 503, health says so, polls go on; then all is well again."""
    with running(tmp_path, "serve", "serve", "--port", "0", "--workers", "0", "--data", tmp_path / "data") as process:
        url, key = shown(process)
        path = f"{url}/api/v1/workspace/{DEMO_WORKSPACE}/export-conversations"
        with httpx.Client(headers={"X-API-Key": key}, timeout=PATIENT) as client:
            job = client.post(path, json=JUNE).json()["export_job_id"]
            before = resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, (0, before[1]))
            assert unavailable(client.post(path, json=BY_CHANNEL))
            health = client.get(f"{url}/healthz")
            assert (health.status_code, health.json()["status"]) == (503, "the database cannot be reached")
            assert client.get(f"{path}/{job}").json()["status"] == "queued"
            resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, before)
            assert client.get(f"{url}/healthz").status_code == 200
            assert client.post(path, json=BY_CHANNEL).status_code == 202
        assert process.stop() == 0


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A PostgreSQL to be frozen: not the one that other tests share."""
    with running_cluster() as url:
        yield url


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _stat(pid: int) -> tuple[int, str]:
    """The parent of a process, and its state; of one that has ended meanwhile, nobody's."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return 0, "X"
    return int(parent), state


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it has ended, as the connection that the caller had
            os.kill(pid, number)


@contextmanager
def frozen(cluster: str) -> Iterator[None]:
    """Every process of a server, stopped while the block runs: connections stay, and nothing is answered."""
    with psycopg.connect(f"{cluster}/postgres", autocommit=True) as connection:
        parent, _ = _stat(connection.info.backend_pid)
    # The parent first, until it stands: a connection that is being made has a process before the server's own tables
    # know of it.
    os.kill(parent, signal.SIGSTOP)
    until(lambda: _stat(parent)[1] == "T")
    pids = [pid for pid in _processes() if _stat(pid)[0] == parent]
    try:
        _signal(pids, signal.SIGSTOP)
        yield
    finally:
        _signal([parent, *pids], signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are found in /proc")
def test_postgresql_frozen(tmp_path: Path, cluster: str) -> None:
    """Everything is answered, with 503 and Retry-After, however many ask; once it wakes all is well again."""
    with serving(tmp_path, worker=False, database=fresh_database(cluster)) as service:
        job_id = service.trigger(JUNE).json()["export_job_id"]
        gate = threading.Barrier(3 * THREADS)

        def poll(_: int) -> httpx.Response:
            gate.wait(240)
            return service.client.get(service.path(job_id), timeout=PATIENT)

        with frozen(cluster), production_times(deadline, metrics), ThreadPoolExecutor(3 * THREADS) as crowd:
            assert all(unavailable(answer) for answer in crowd.map(poll, range(3 * THREADS)))
            # All else, together: each waits as long as it may.
            paths = (service.path(), f"{service.path(job_id)}/details")
            told = [crowd.submit(service.client.get, path, timeout=PATIENT) for path in paths]
            told += [crowd.submit(service.client.post, service.path(), json=BY_CHANNEL, timeout=PATIENT)]
            checked, counted = crowd.submit(health, service), crowd.submit(scraped, service)
            assert all(unavailable(answer.result()) for answer in told)
            assert checked.result() == (503, "the database cannot be reached")
            assert "export_jobs{" not in counted.result()
            assert "http_requests_total" in counted.result()
        until(lambda: health(service) == (200, "ok"))
        assert service.client.get(service.path(job_id)).json()["status"] == "queued"
        assert 'export_jobs{status="queued"}' in scraped(service)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_postgresql_with_a_locked_table(tmp_path: Path, cluster: str) -> None:
    """A lock that is not given in time is a 503, and the statement is ended, so that its thread is free again."""
    url = fresh_database(cluster)
    with serving(tmp_path, worker=False, database=url) as service:
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE export_job")
            assert unavailable(service.client.post(service.path(), json=JUNE, timeout=PATIENT))
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            until(lambda: other.execute(waiting).fetchone() == (0,))
        assert service.trigger(JUNE).status_code == 202


#: The command line, which waits for less time at its end than the one that is installed.
IMPATIENT = """
from datetime import timedelta
from export_engine.cli import main
from export_engine.service import background, server
background._HANDING_BACK = timedelta(seconds=1)
server._LAST_THREADS = timedelta(seconds=1)
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["serve", "worker"])
def test_the_end_while_postgresql_is_frozen(tmp_path: Path, cluster: str, command: str) -> None:
    """The process ends on SIGTERM all the same, be its threads left waiting; the log tells of it."""
    database = fresh_database(cluster)
    place: list[str | Path] = ["--data", tmp_path / "data", "--database", database, "--grace", "0"]
    (tmp_path / "data").mkdir()
    write_demo(tmp_path / "demo")
    with ExitStack() as stack:
        if command == "serve":
            process = stack.enter_context(running(tmp_path, "serve", "serve", "--port", "0", *place, program=IMPATIENT))
            url, key = shown(process)
        else:
            more: list[str | Path] = ["--conversations", tmp_path / "demo", "--metrics-port", str(port := free_port())]
            process = stack.enter_context(running(tmp_path, "worker", "worker", *place, *more, program=IMPATIENT))
            url, key = f"http://127.0.0.1:{port}", ""
            until(lambda: answers(f"{url}/metrics"))
        stack.enter_context(frozen(cluster))
        if command == "serve":
            path = f"{url}/api/v1/workspace/{DEMO_WORKSPACE}/export-conversations/{DEMO_WORKSPACE}"
            assert unavailable(httpx.get(path, headers={"X-API-Key": key}, timeout=PATIENT))
        # Its worker, besides that request, has asked for something that nobody reads.
        until(lambda: unread(cluster) >= (2 if command == "serve" else 1))
        assert process.stop() == 0
        # A thread with a connection waits on it for ever and is left behind; one that has to make a connection gives up
        # after two seconds and ends. Which of its threads has which is chance.
        told = ("does not end", "still wait", "goes on after an error")
        assert any(words in line["message"] for line in process.lines() for words in told), process.log.read_text()


def unread(cluster: str) -> int:
    """How many connections to a server of this machine have something that it has not read."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    port, listening = f":{urlsplit(cluster).port:04X}", "0A"
    return sum(
        fields[1].endswith(port) and fields[3] != listening and int(fields[4].partition(":")[2], 16) > 0
        for fields in lines
    )


def answers(url: str) -> bool:
    """Whether somebody is there."""
    try:
        return httpx.get(url, timeout=PATIENT).status_code == 200
    except httpx.TransportError:
        return False
