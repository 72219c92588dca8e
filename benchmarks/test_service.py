"""The service under load: polls and triggers, by SQLite and PostgreSQL, while it is idle and while it exports.

A real `export-engine serve` on 127.0.0.1 with a worker, and a client in a process of its own that keeps its connections
alive. Server, export and client share the machine's processors, so an export takes its part of them: what is of
interest is how much of the service is left beside it, and how long the slowest answers take. "Idle" is the same service
without a worker.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path
from socket import create_server
from statistics import median
from typing import Any

import pyarrow.parquet as pq
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import data
from benchmarks.client import Order
from benchmarks.measure import record
from export_engine.schema import ROW_SCHEMA
from export_engine.service.server import create_key
from tests.jobs.postgres import fresh_database, running_cluster

_ENGINE = [sys.executable, "-m", "export_engine"]
_WORKSPACE = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
#: The channel with the large exports, and one without conversations for each connection.
_LARGE, *_EMPTY = (str(uuid.UUID(int=number, version=4)) for number in range(1, 10))
_PATH = f"/api/v1/workspace/{_WORKSPACE}/export-conversations"
#: Exports that wait for the worker: more than it can make while it is measured.
_QUEUED = 60
#: More rounds say no more: each is thousands of requests.
_MOST_ROUNDS = 3

Figures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Service:
    """A service that runs."""

    port: int
    key: str

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """One request by a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"X-API-Key": self.key, "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text)

    def trigger(self, channel: str, start: int, end: int) -> str:
        """Ask for an export of some days of June; the path to poll it."""
        body = {"channel_id": channel, "start_date": f"2026-06-{start:02}", "end_date": f"2026-06-{end:02}"}
        status, answer = self.ask("POST", _PATH, body)
        assert status == 202, answer
        return f"{_PATH}/{answer['export_job_id']}"

    def status(self, path: str) -> str:
        """How a job stands."""
        code, answer = self.ask("GET", path)
        assert code == 200, answer
        return str(answer["status"])


def _conversations(folder: Path, rows: int) -> None:
    """A folder as the service takes it: a channel with so many messages, and channels without any."""
    (folder / "conversations").mkdir(parents=True)
    channels = [
        {"id": id_, "workspace_id": _WORKSPACE, "type": "LOCAL", "name": f"Channel {number}", "phone_number": None}
        for number, id_ in enumerate((_LARGE, *_EMPTY))
    ]
    (folder / "channels.jsonl").write_text("".join(f"{json.dumps(channel)}\n" for channel in channels))
    with pq.ParquetWriter(folder / "conversations" / f"{_LARGE}.parquet", ROW_SCHEMA) as writer:
        for batch in data.repeated(data.table(20, min(rows, 200_000)), rows):
            writer.write_batch(batch)


@contextmanager
def _serving(folder: Path, conversations: Path, database: str, workers: int) -> Iterator[Service]:
    """A service with a database and an archive folder of its own."""
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EXPORT_ENGINE")}
    environment["EXPORT_ENGINE_DATABASE"] = database
    key = create_key(_WORKSPACE, name=None, expires=None, database=database, data=None)
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*_ENGINE, "serve", "--port", f"{port}", "--data", f"{folder}", "--conversations", f"{conversations}"]
    limits = ["--workers", f"{workers}", "--max-queued", "10000000", "--grace", "0"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([*command, *limits], env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            service = Service(port, key)
            _until(lambda: _healthy(service), process)
            yield service
        finally:
            process.terminate()


def _healthy(service: Service) -> bool:
    try:
        return service.ask("GET", "/healthz")[0] == 200
    except OSError:
        return False


def _until(true: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        assert process.poll() is None, "the service has ended"
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it has not come to pass")


def _measured(order: Order) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.client"],
        cwd=Path(__file__).parent.parent,
        input=json.dumps(asdict(order)),
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _round(folder: Path, conversations: Path, database: str, seconds: float, *, busy: bool) -> Figures:
    """Polls, then triggers, of one service."""
    with _serving(folder, conversations, database, workers=int(busy)) as service:
        jobs = [service.trigger(_LARGE, number // 10 + 1, 30 - number % 10) for number in range(_QUEUED if busy else 1)]
        if busy:
            end = time.monotonic() + 60
            while service.status(jobs[0]) == "queued":
                assert time.monotonic() < end, "no worker has begun"
                time.sleep(0.05)
        order = Order(service.port, service.key, jobs[-1], seconds, len(_EMPTY))
        polls = _measured(order)
        triggers = _measured(Order(service.port, service.key, _PATH, seconds, len(_EMPTY), tuple(_EMPTY)))
        if busy:
            assert service.status(jobs[0]) in ("started", "finished")
        # The last of the large exports still waits: one ran all the time.
        assert service.status(jobs[-1]) == "queued"
    return {"polls": polls, "triggers": triggers}


@pytest.mark.parametrize("database", ["SQLite", "PostgreSQL"])
def test_service(benchmark: BenchmarkFixture, rows: int, rounds: int, tmp_path: Path, database: str) -> None:
    """Requests a second and the times of answers; none is held against a target."""
    conversations = tmp_path / "conversations"
    _conversations(conversations, large := max(5 * rows, 50_000))
    seconds = 3.0 if rows >= 100_000 else 0.3
    found: dict[str, list[Figures]] = {"idle": [], "exporting": []}
    with ExitStack() as stack:
        cluster = stack.enter_context(running_cluster()) if database == "PostgreSQL" else None

        def measure() -> None:
            for state, figures in found.items():
                folder = tmp_path / f"{state}-{len(figures)}"
                url = fresh_database(cluster) if cluster else f"sqlite:///{folder}/jobs.sqlite"
                figures.append(_round(folder, conversations, url, seconds, busy=state == "exporting"))

        benchmark.pedantic(measure, rounds=min(rounds, _MOST_ROUNDS))  # type: ignore[no-untyped-call]  # it has no types
    medians = {
        state: {
            what: {name: median(one[what][name] for one in figures) for name in ("a_second", "p50", "p99")}
            for what in ("polls", "triggers")
        }
        for state, figures in found.items()
    }
    record(benchmark, database=database, connections=len(_EMPTY), rows=large, service=medians)
