"""The service's page in a browser: Chromium, and `serve` in a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from export_engine.jobs.backends.keys import SqlKeys
from export_engine.service.components import now, open_job_database
from export_engine.service.demo import DEMO_WORKSPACE, write_demo
from tests.service.running import OTHER_WORKSPACE, ended

__all__ = ["BROKEN", "HOSTILE", "HOSTILE_NAME", "MANY", "Serve", "Visit", "chromium", "serve", "visit"]

#: Channels beside the demo's: one whose name is an attack, one whose conversations cannot be exported.
HOSTILE, BROKEN = "c3d4e5f6-0000-4000-8000-000000000001", "c3d4e5f6-0000-4000-8000-000000000002"
HOSTILE_NAME = "\u202e<img src=x onerror=alert(1)> & \"'</script><script>alert(2)</script>"
#: How many channels the other workspace has.
MANY = 1500

# What a browser that is tested does not need, and what it cannot have in a container.
_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


@dataclass(frozen=True)
class Serve:
    """A service in a process of its own, with keys for two workspaces."""

    url: str
    key: str
    other_key: str
    data: Path

    def client(self, key: str | None = None) -> httpx.Client:
        """A client of the API, for what is not done in the page."""
        return httpx.Client(base_url=self.url, headers={"X-API-Key": key or self.key}, timeout=30)

    def export(self, channel: str, day: str) -> None:
        """An export of one day that has ended, well or not."""
        path = f"/api/v1/workspace/{DEMO_WORKSPACE}/export-conversations"
        with self.client() as client:
            answer = client.post(path, json={"channel_id": channel, "start_date": day, "end_date": day})
            ended(lambda: client.get(f"{path}/{answer.json()['export_job_id']}"))

    def log(self) -> str:
        """What the process has logged."""
        return (self.data / "log").read_text("utf-8")

    def database(self) -> sqlite3.Connection:
        """Its jobs, to have happen what takes a day or a worker."""
        return sqlite3.connect(self.data / "jobs.sqlite", isolation_level=None, timeout=30)

    def jobs(self) -> int:
        """How many jobs there are."""
        with closing(self.database()) as database:
            found: int = database.execute("SELECT count(*) FROM export_job").fetchone()[0]
        return found

    def change(self, job_id: str, **values: object) -> None:
        """Change columns of a job."""
        columns = ", ".join(f"{name} = :{name}" for name in values)
        with closing(self.database()) as database:
            changed = database.execute(
                f"UPDATE export_job SET {columns} WHERE id = :id",  # noqa: S608  # the test's own names
                {**values, "id": job_id},
            )
            assert changed.rowcount == 1

    def revoke(self, key: str) -> None:
        """Have a key hold no more."""
        with open_job_database(database=None, data=self.data) as engine:
            assert SqlKeys(engine).revoke(key.split("_")[1])

    def new_key(self, workspace: str = DEMO_WORKSPACE) -> str:
        """One more key."""
        return _key(self.data, workspace)


def _key(data: Path, workspace: str) -> str:
    with open_job_database(database=None, data=data) as engine:
        return SqlKeys(engine).create(workspace, now=now())


@contextmanager
def serve(data: Path, *arguments: str) -> Iterator[Serve]:
    """`export-engine serve` on the demo's data and the channels above, until the block ends."""
    _write_data(data / "demo")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EXPORT_ENGINE_")}
    command = [sys.executable, "-m", "export_engine", "serve", "--data", str(data), "--port", "0", *arguments]
    with (
        (data / "log").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process,
    ):
        assert process.stdout is not None
        try:
            url = None
            while url is None:
                line = process.stdout.readline()
                assert line, (data / "log").read_text("utf-8")
                url = re.search(r"http://127\.0\.0\.1:\d+", line)
            yield Serve(url[0], _key(data, DEMO_WORKSPACE), _key(data, OTHER_WORKSPACE), data)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def _write_data(folder: Path) -> None:
    write_demo(folder)
    channels = [(HOSTILE, DEMO_WORKSPACE, HOSTILE_NAME), (BROKEN, DEMO_WORKSPACE, "Broken")]
    channels += [
        (f"d4e5f6a7-0000-4000-8000-{number:012d}", OTHER_WORKSPACE, f"Branch {number}") for number in range(MANY)
    ]
    with (folder / "channels.jsonl").open("a", encoding="utf-8") as file:
        for channel, workspace, name in channels:
            document = {"id": channel, "workspace_id": workspace, "type": "LOCAL", "name": name}
            file.write(json.dumps(document) + "\n")
    message = {"id": "m", "time": "2026-06-02T16:05:20Z", "direction": "inbound", "speaker_type": "customer"}
    for channel, time in ((HOSTILE, message["time"]), (BROKEN, "yesterday")):
        contact = {"name": "Jane Doe", "phone": "+12025550101"}
        conversation = {"id": "c-1", "contact": contact, "messages": [message | {"time": time, "text": "Hello"}]}
        (folder / "conversations" / f"{channel}.jsonl").write_text(json.dumps(conversation) + "\n", "utf-8")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The Chromium that is installed; without one the test is skipped."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("Chromium is not installed (on Debian: apt-get install chromium): nobody looks at the page")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """One tab, and what it has asked for."""

    page: Page
    requests: list[Request] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@contextmanager
def visit(browser: Browser, **options: Any) -> Iterator[Visit]:
    """A tab of its own session. Anything that the browser complains of fails the test: errors, and what is refused."""
    context = browser.new_context(**({"locale": "en-US", "timezone_id": "UTC"} | options))
    visited = Visit(context.new_page())

    def heard(message: ConsoleMessage) -> None:
        # That an answer was an error is said by the browser too; the page is there to deal with it.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            visited.problems.append(message.text)

    visited.page.on("console", heard)
    visited.page.on("pageerror", lambda error: visited.problems.append(str(error)))
    visited.page.on("dialog", lambda dialog: visited.problems.append(dialog.message))
    visited.page.on("request", lambda request: visited.requests.append(request))  # noqa: PLW0108  # no built-in is taken
    try:
        yield visited
    finally:
        context.close()
    assert visited.problems == []
