"""The service as it is in production, started by a test: uvicorn on a port of 127.0.0.1, SQLite, a folder, a worker."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from export_engine.jobs import runs
from export_engine.jobs.backends.archives import ObjectArchives
from export_engine.jobs.ports import KeyStore
from export_engine.service import components, deadline, metrics
from export_engine.service.app import GRACE, create_app
from export_engine.service.components import Components, open_components
from export_engine.service.connections import http_server
from export_engine.service.demo import DEMO_WORKSPACE, write_demo
from export_engine.service.metrics import Metrics
from export_engine.service.settings import Settings

__all__ = [
    "BY_CHANNEL",
    "BY_PHONE",
    "JUNE",
    "NOW",
    "OTHER_WORKSPACE",
    "SMS",
    "WHATSAPP",
    "Clock",
    "Service",
    "ended",
    "listening",
    "production_times",
    "serving",
    "unhurried",
    "until",
]

#: What `unhurried` has changed.
_TIMES = [(deadline, "ANSWER_TIME"), (components, "PATIENCE"), (metrics, "_COUNTING_TIME"), (runs, "_PATIENCE")]
_IN_PRODUCTION = [getattr(module, name) for module, name in _TIMES]

#: When the page's second job was created.
NOW = datetime(2026, 6, 11, 6, 50, 43, 861185, tzinfo=UTC)

OTHER_WORKSPACE = "11111111-2222-4333-8444-555555555555"
WHATSAPP, SMS = "a1b2c3d4-1111-2222-3333-444455556666", "b2c3d4e5-7777-8888-9999-000011112222"

# The two bodies of the API's page, and one that the job of its second section could have come from.
BY_CHANNEL = {
    "channel_id": WHATSAPP,
    "start_date": "2026-02-01",
    "end_date": "2026-02-28",
    "notification_email": "agent@example.com",
}
BY_PHONE = {
    "phone_number": "+12025550123",
    "channel_type": "whatsapp",
    "start_date": "2026-02-01",
    "end_date": "2026-02-28",
    "notification_email": "agent@example.com",
}
JUNE = {"channel_id": SMS, "start_date": "2026-06-01", "end_date": "2026-06-10"}


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, time: datetime = NOW) -> None:
        self.time = time

    def __call__(self) -> datetime:
        """The time that it shows."""
        return self.time

    def forward(self, by: timedelta) -> None:
        """Move it."""
        self.time += by


@dataclass(frozen=True)
class Service:
    """A service that runs, and a client that has a key for the demo's workspace."""

    url: str
    key: str
    keys: KeyStore
    components: Components
    archives: ObjectArchives
    clock: Clock
    client: httpx.Client
    metrics: Metrics

    def path(self, job_id: str | None = None, *, workspace: str = DEMO_WORKSPACE) -> str:
        """Where exports are triggered, or a job is polled, below the API page's prefix."""
        route = f"/seax-api/api/v1/workspace/{workspace}/export-conversations"
        return route if job_id is None else f"{route}/{job_id}"

    def trigger(self, body: Mapping[str, object]) -> httpx.Response:
        """Ask for an export."""
        return self.client.post(self.path(), json=body)

    def ended(self, answer: httpx.Response) -> dict[str, Any]:
        """Poll the job that an answer tells of until it has ended."""
        assert answer.status_code == 202, answer.text
        return ended(lambda: self.client.get(self.path(answer.json()["export_job_id"])))


def ended(poll: Callable[[], httpx.Response]) -> dict[str, Any]:
    """What polling a job says once it has ended."""
    documents: list[dict[str, Any]] = []

    def has_ended() -> bool:
        answer = poll()
        assert answer.status_code == 200, answer.text
        documents.append(answer.json())
        return documents[-1]["status"] in ("finished", "failed")

    until(has_ended)
    return documents[-1]


def until(true: Callable[[], object]) -> None:
    """Wait until something is so. On a machine that has much else to do, a service takes half a minute to begin."""
    end = time.monotonic() + 150
    while not true():
        if time.monotonic() > end:
            raise AssertionError("it has not come to pass")
        time.sleep(0.05)


@contextmanager
def unhurried() -> Iterator[None]:
    """Services of this process have time while the block runs: for their answers, and to tidy up after an export.

    A machine that stands still for two seconds would make a 503 of any answer, which is right, and tested by itself.
    """
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), before in zip(_TIMES, _IN_PRODUCTION, strict=True):
            time_ = 60.0 if isinstance(before, float) else timedelta(minutes=1)
            patch.setattr(module, name, time_)
        yield


@contextmanager
def production_times(*modules: ModuleType) -> Iterator[None]:
    """Those of these modules are as they are in production while the block runs."""
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), time_ in zip(_TIMES, _IN_PRODUCTION, strict=True):
            if module in modules:
                patch.setattr(module, name, time_)
        yield


@contextmanager
def listening(app: FastAPI, listener: socket.socket) -> Iterator[None]:
    """Serve an application while the block runs, and end as a signal has it end."""
    server = http_server(app, grace=timedelta(seconds=10))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="uvicorn")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(120)
        assert not thread.is_alive()


@contextmanager
def serving(
    folder: Path,
    *,
    worker: bool = True,
    smtp: str | None = None,
    database: str | None = None,
    grace: timedelta = GRACE,
    **replaced: Any,
) -> Iterator[Service]:
    """Run the service on the demo's data in a folder; `replaced` components replace those of the same name."""
    write_demo(folder / "demo")
    clock = Clock()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with open_components(Settings(data=folder, smtp=smtp, database=database), url) as opened:
            assert isinstance(opened.downloads, ObjectArchives)
            used = replace(opened, **{"clock": clock} | replaced)
            key = opened.keys.create(DEMO_WORKSPACE, now=NOW)
            app = create_app(used, worker=worker, grace=grace)
            with (
                listening(app, listener),
                httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=90) as client,
            ):
                yield Service(url, key, opened.keys, used, opened.downloads, clock, client, app.state.metrics)
