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
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

from export_engine.jobs.backends.keys import SqlKeys
from export_engine.service.components import now, open_job_database
from export_engine.service.demo import DEMO_WORKSPACE, write_demo
from tests.cli.processes import UNHURRIED
from tests.service.running import OTHER_WORKSPACE, ended

__all__ = [
    "BROKEN",
    "HOSTILE",
    "HOSTILE_NAME",
    "MANY",
    "PATIENCE",
    "SLOW",
    "Open",
    "Serve",
    "Visit",
    "cards",
    "chromium",
    "fill",
    "go_to",
    "job_of",
    "press_start",
    "serve",
    "sign_in",
    "start",
    "started",
    "stop_clock",
    "visit",
]

#: Channels beside the demo's: one whose name is an attack, one whose conversations cannot be exported, and one whose
#: conversations are told by the test, while it goes on.
HOSTILE, BROKEN, SLOW = (f"c3d4e5f6-0000-4000-8000-{number:012d}" for number in range(3))
HOSTILE_NAME = "\u202e<img src=x onerror=alert(1)> & \"'</script><script>alert(2)</script>"
#: How many channels the other workspace has.
MANY = 1500
#: Milliseconds after which what is waited for counts as not coming.
PATIENCE = 90_000

# What a browser that is tested does not need, and what it cannot have in a container.
_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
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
        return httpx.Client(base_url=self.url, headers={"X-API-Key": key or self.key}, timeout=90)

    def export(self, channel: str, start: str, end: str) -> None:
        """An export that has ended, well or not."""
        path = f"/api/v1/workspace/{DEMO_WORKSPACE}/export-conversations"
        with self.client() as client:
            answer = client.post(path, json={"channel_id": channel, "start_date": start, "end_date": end})
            ended(lambda: client.get(f"{path}/{answer.json()['export_job_id']}"))

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Conversations of 100 messages for the one export of the slow channel, which goes on until the block ends."""
        path, done = self.data / "demo" / "conversations" / f"{SLOW}.jsonl", threading.Event()

        def tell() -> None:
            with suppress(BrokenPipeError), path.open("w", encoding="utf-8") as pipe:
                for number in range(100_000):
                    pipe.write(_conversation(number, messages=100))
                    if number > 1000 and done.wait(0.01):
                        break

        teller = threading.Thread(target=tell, name="teller")
        teller.start()
        try:
            yield
        finally:
            done.set()
            # One that nobody has listened to waits to be opened.
            with suppress(OSError):
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            teller.join(60)
        assert not teller.is_alive()

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
def serve(data: Path, *arguments: str, variables: Mapping[str, str] | None = None) -> Iterator[Serve]:
    """`export-engine serve` on the demo's data and the channels above, until the block ends."""
    _write_data(data / "demo")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EXPORT_ENGINE_")}
    environment |= variables or {}
    command = [sys.executable, "-c", UNHURRIED, "serve", "--data", str(data), "--port", "0", *arguments]
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
            process.communicate(timeout=120)


def _write_data(folder: Path) -> None:
    write_demo(folder)
    names = {HOSTILE: HOSTILE_NAME, BROKEN: "Returns Desk", SLOW: "Night Desk"}
    channels = [(channel, DEMO_WORKSPACE, name) for channel, name in names.items()]
    channels += [
        (f"d4e5f6a7-0000-4000-8000-{number:012d}", OTHER_WORKSPACE, f"Branch {number}") for number in range(MANY)
    ]
    with (folder / "channels.jsonl").open("a", encoding="utf-8") as file:
        for channel, workspace, name in channels:
            document = {"id": channel, "workspace_id": workspace, "type": "LOCAL", "name": name}
            file.write(json.dumps(document) + "\n")
    for channel, time in ((HOSTILE, _TIME), (BROKEN, "yesterday")):
        (folder / "conversations" / f"{channel}.jsonl").write_text(_conversation(1, time), "utf-8")
    os.mkfifo(folder / "conversations" / f"{SLOW}.jsonl")


_TIME = "2026-06-02T16:05:20Z"


def _conversation(number: int, time: str = _TIME, messages: int = 1) -> str:
    """A line of JSON."""
    contact = {"name": "Jane Doe", "phone": "+12025550101"}
    message = {"time": time, "direction": "inbound", "speaker_type": "customer", "text": "Hello"}
    said = [{"id": f"m-{number}-{step}", **message} for step in range(messages)]
    return json.dumps({"id": f"c-{number}", "contact": contact, "messages": said}) + "\n"


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
    context.set_default_timeout(PATIENCE)
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
    assert not visited.problems, visited.problems


#: Opens a tab, with the options of a browser's context.
Open = Callable[..., Visit]


def go_to(page: Page, served: Serve, *, workspace: str = DEMO_WORKSPACE) -> None:
    """Open the page with a workspace filled in."""
    page.goto(f"{served.url}/#workspace={workspace}")


def sign_in(page: Page, key: str) -> None:
    """Give a key that holds."""
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="New export")).to_be_visible()


def fill(page: Page, channel: str, start: str = "2026-06-01", end: str = "2026-06-10") -> None:
    """Fill in the form for an export."""
    page.get_by_label("Channel", exact=True).select_option(channel)
    page.get_by_label("From").fill(start)
    page.get_by_label("To", exact=True).fill(end)


def press_start(page: Page) -> None:
    """Send the form, whatever comes of it."""
    page.get_by_role("button", name="Start export").click()


def started(page: Page, press: Callable[[], None], state: str) -> Locator:
    """The export that is started by pressing something, once it is so."""
    with page.expect_response(lambda answer: answer.request.method == "POST" and answer.status == 202) as answered:
        press()
    card = page.locator(f'[data-job="{answered.value.json()["export_job_id"]}"]')
    expect(card.locator(".state")).to_have_text(state)
    return card


def start(page: Page, state: str) -> Locator:
    """The export that the form asks for, once it is so."""
    return started(page, lambda: press_start(page), state)


def stop_clock(page: Page) -> None:
    """Have the page's clock, which is the test's, stand still, an hour from now."""
    page.clock.pause_at(page.evaluate("Date.now() / 1000") + 3600)


def cards(page: Page) -> Locator:
    """All exports that are shown."""
    return page.locator(".export")


def job_of(card: Locator) -> str:
    """An export's job."""
    return str(card.get_attribute("data-job"))
