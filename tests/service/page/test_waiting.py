"""What the page does while the service has no answer, no worker or no room, and with more than fits on it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi import FastAPI
from playwright.sync_api import Browser, Route, expect

from export_engine.jobs.job import CANCELLED_MESSAGE
from export_engine.service.app import create_app
from export_engine.service.demo import DEMO_WORKSPACE
from tests.service.page.harness import (
    MANY,
    Open,
    Serve,
    cards,
    fill,
    go_to,
    job_of,
    press_start,
    serve,
    sign_in,
    start,
    started,
    stop_clock,
)
from tests.service.running import OTHER_WORKSPACE, SMS, Service, listening, until

pytestmark = pytest.mark.slow

#: What makes a job one that a worker is at.
RUNNING = {"status": "started", "token": "none", "lease_until": "2999-01-01T00:00:00.000000+00:00"}


@pytest.fixture(scope="module")
def queueing(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A service without a worker: jobs stay queued, 25 of a workspace at most."""
    assert browser.is_connected()
    with serve(tmp_path_factory.mktemp("queueing"), "--workers", "0", "--max-queued", "25") as running:
        yield running


def test_numbers_and_days_are_written_as_at_home(tab: Open, queueing: Serve) -> None:
    """And progress is shown as it grows."""
    page = tab(locale="de-DE", timezone_id="Asia/Taipei").page
    go_to(page, queueing)
    sign_in(page, queueing.key)
    fill(page, SMS, "2026-05-01", "2026-05-31")
    card = start(page, "Waiting")
    job = job_of(card)
    queueing.change(job, **RUNNING, rows=12345, conversations=678, bytes=9876543)
    expect(card.locator(".state")).to_have_text("Exporting")
    expect(page.locator("#announcer")).to_contain_text("Exporting")
    expect(card.locator(".counts")).to_have_text("12.345 messages · 678 conversations · 9,9 MB so far")
    expect(card.locator(".days")).to_contain_text("01.–31.05.2026")
    queueing.change(job, rows=23456)
    expect(card.locator(".counts")).to_contain_text("23.456 messages")
    card.get_by_role("button", name="Cancel").click()
    expect(card.locator(".state")).to_have_text("Cancelled")
    expect(card.get_by_role("heading")).to_be_focused()


def test_axe_finds_nothing(tab: Open, queueing: Serve) -> None:
    """Names, roles, contrast, in light and dark: signing in, every state of an export, and what is said meanwhile."""
    page = tab(reduced_motion="reduce").page
    axe = Axe()

    def look() -> None:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = axe.run(page)
            assert found.violations_count == 0, found.generate_report()

    go_to(page, queueing)
    page.get_by_label("API key").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    look()
    ended = {"finished_time": datetime.now(UTC).isoformat(timespec="microseconds")}
    states: dict[str, dict[str, object]] = {
        "Exporting": {**RUNNING, "rows": 1, "conversations": 1, "bytes": 1},
        "Ready": {**ended, "status": "finished", "archive": "a/b/a.zip", "file_name": "a.zip", "rows": 1},
        "Expired": {**ended, "status": "finished"},
        "Failed": {**ended, "status": "failed", "error_message": "It cannot be."},
        "Cancelled": {**ended, "status": "failed", "error_message": CANCELLED_MESSAGE},
    }
    path = f"/api/v1/workspace/{DEMO_WORKSPACE}/export-conversations"
    with queueing.client() as client:
        for day, values in enumerate(states.values(), 1):
            body = {"channel_id": SMS, "start_date": f"2026-02-{day:02d}", "end_date": f"2026-02-{day:02d}"}
            queueing.change(client.post(path, json=body).json()["export_job_id"], **values)
    sign_in(page, queueing.key)
    fill(page, SMS, "2026-02-28", "2026-02-28")
    start(page, "Waiting")
    for number, state in enumerate(reversed(states), 1):
        expect(cards(page).nth(number).locator(".state")).to_have_text(state)
    page.get_by_text("Details").last.click()
    page.context.set_offline(True)
    expect(page.locator("#trouble")).to_be_visible()
    look()


def test_an_export_that_runs_already(tab: Open, queueing: Serve) -> None:
    """Is shown in place of a second one; a double click is one."""
    page = tab().page
    go_to(page, queueing)
    sign_in(page, queueing.key)
    fill(page, SMS, "2026-04-01", "2026-04-01")
    before = queueing.jobs()
    running = job_of(started(page, page.get_by_role("button", name="Start export").dblclick, "Waiting"))
    assert queueing.jobs() == before + 1
    fill(page, SMS, "2026-04-02", "2026-04-02")
    expect(start(page, "Waiting")).to_contain_text("Apr 2, 2026")
    fill(page, SMS, "2026-04-01", "2026-04-01")
    press_start(page)
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator(f'[data-job="{running}"] h3')).to_be_focused()
    assert queueing.jobs() == before + 2


def test_an_answer_that_is_lost(tab: Open, queueing: Serve) -> None:
    """Is asked for again with the same name, so that there is one export."""
    page = tab().page
    page.clock.install()
    go_to(page, queueing)
    sign_in(page, queueing.key)
    fill(page, SMS, "2026-04-03", "2026-04-03")
    before = queueing.jobs()
    names = []

    def lose(route: Route) -> None:
        if route.request.method != "POST":
            route.continue_()
            return
        names.append(route.request.headers["idempotency-key"])
        if len(names) == 1:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    page.route("**/export-conversations", lose)
    stop_clock(page)
    press_start(page)
    expect(page.get_by_text("The service cannot be reached. Trying again in 2 seconds.")).to_be_visible()
    assert queueing.jobs() == before + 1
    page.clock.fast_forward(3000)
    page.clock.resume()
    expect(page.get_by_text("The export has been started.")).to_be_visible()
    assert len(names) == 2
    assert len(set(names)) == 1
    assert queueing.jobs() == before + 1


def test_a_service_that_is_busy(tab: Open, queueing: Serve) -> None:
    """A database that is locked: the page says so, waits as long as it is told to, and goes on."""
    page = tab().page
    page.clock.install()
    go_to(page, queueing)
    sign_in(page, queueing.key)
    fill(page, SMS, "2026-04-04", "2026-04-04")
    stop_clock(page)
    with closing(queueing.database()) as database:
        database.execute("BEGIN EXCLUSIVE")
        press_start(page)
        busy = "The service is busy at the moment. Trying again in 5 seconds."
        expect(page.locator("#export-wait")).to_have_text(busy)
        database.execute("ROLLBACK")
    page.clock.fast_forward(7000)
    page.clock.resume()
    expect(page.get_by_text("The export has been started.")).to_be_visible()
    expect(page.get_by_text("busy")).to_have_count(0)


def test_a_service_that_is_away(tab: Open, queueing: Serve) -> None:
    """Jobs are looked at again as soon as it is back."""
    page = tab().page
    page.clock.install()
    go_to(page, queueing)
    sign_in(page, queueing.key)
    fill(page, SMS, "2026-04-05", "2026-04-05")
    start(page, "Waiting")
    stop_clock(page)
    page.context.set_offline(True)

    def away() -> bool:
        # A look that was under way may have had its answer: the next one comes two seconds later.
        page.clock.fast_forward(1000)
        return page.locator("#trouble").is_visible()

    until(away)
    expect(page.locator("#trouble")).to_have_text("The service cannot be reached. Trying again in 2 seconds.")
    page.context.set_offline(False)
    page.clock.fast_forward(3000)
    page.clock.resume()
    expect(page.locator("#trouble")).to_be_hidden()


def test_more_than_fits(tab: Open, queueing: Serve) -> None:
    """Of many channels one is found by typing, exports are shown page by page, and a full queue is waited for."""
    path = f"/api/v1/workspace/{OTHER_WORKSPACE}/export-conversations"
    channel = f"d4e5f6a7-0000-4000-8000-{MANY - 1:012d}"
    with queueing.client(queueing.other_key) as client:
        for day in range(1, 26):
            body = {"channel_id": channel, "start_date": f"2026-03-{day:02d}", "end_date": f"2026-03-{day:02d}"}
            assert client.post(path, json=body).status_code == 202
    page = tab().page
    page.clock.install()
    go_to(page, queueing, workspace=OTHER_WORKSPACE)
    sign_in(page, queueing.other_key)
    expect(page.locator("#filter-hint")).to_have_text(f"{MANY:,} channels")
    page.get_by_label("Find a channel").fill("branch 1499")
    expect(page.locator("#filter-hint")).to_have_text(f"1 match in {MANY:,} channels")
    expect(page.get_by_label("Channel", exact=True)).to_have_value(channel)
    page.get_by_label("Find a channel").fill("nothing like it")
    expect(page.get_by_label("Channel", exact=True)).to_have_value("")

    expect(cards(page)).to_have_count(20)
    page.get_by_role("button", name="Show earlier exports").click()
    expect(cards(page)).to_have_count(25)
    expect(page.get_by_role("button", name="Show earlier exports")).to_be_hidden()
    expect(cards(page).nth(20).get_by_role("heading")).to_be_focused()
    days = cards(page).locator(".days").all_inner_texts()
    assert [int(re.findall(r"Mar (\d+)", text)[0]) for text in days] == list(range(25, 0, -1))

    page.get_by_label("Find a channel").fill("")
    fill(page, channel, "2026-03-31", "2026-03-31")
    press_start(page)
    expect(page.locator("#export-wait")).to_contain_text("Trying again in 60 seconds.")
    page.get_by_role("button", name="Stop trying").click()
    expect(page.locator("#export-wait")).to_be_hidden()
    expect(page.get_by_role("button", name="Start export")).to_be_focused()
    press_start(page)
    expect(page.locator("#export-wait")).to_contain_text("Trying again in 60 seconds.")
    cards(page).last.get_by_role("button", name="Cancel").click()
    expect(cards(page).last.locator(".state")).to_have_text("Cancelled")
    page.clock.fast_forward(75_000)
    expect(page.get_by_text("The export has been started.")).to_be_visible()
    expect(cards(page).first).to_contain_text("Mar 31, 2026")


def test_below_a_prefix(tab: Open, idle: Service) -> None:
    """As behind a proxy that gives the service a path of its own."""
    app = FastAPI()
    app.mount("/exports", create_app(idle.components))
    with socket.create_server(("127.0.0.1", 0)) as listener, listening(app, listener):
        page = tab().page
        page.goto(f"http://127.0.0.1:{listener.getsockname()[1]}/exports/#workspace={DEMO_WORKSPACE}")
        sign_in(page, idle.key)
        fill(page, SMS)
        start(page, "Waiting")
