"""What people do with the page at `/`, in a real browser against a real `serve`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Locator, Page, Route, expect

from export_engine.service.demo import DEMO_WORKSPACE
from export_engine.verify import verify_archive
from tests import s3
from tests.service.page.harness import (
    BROKEN,
    HOSTILE,
    HOSTILE_NAME,
    SLOW,
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
)
from tests.service.running import SMS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def working(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A service that exports; progress is noted every half second, a third of a lease."""
    assert browser.is_connected()  # without one there is no need to serve
    with serve(tmp_path_factory.mktemp("working"), "--lease", "1.5") as running:
        yield running


def download(page: Page, button: Locator, folder: Path) -> Path:
    with page.expect_download() as begun:
        button.click()
    path = folder / begun.value.suggested_filename
    begun.value.save_as(path)
    return path


def fits(page: Page) -> bool:
    """Whether nothing has to be scrolled to sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def test_from_nothing_to_an_archive(tab: Open, working: Serve, tmp_path: Path) -> None:
    """A key, a channel, days: a download that `verify` passes. The key is in no URL or log, and in this tab alone."""
    key = working.new_key()
    visited = tab()
    page = visited.page
    page.goto(working.url)
    page.get_by_label("Workspace ID").fill(DEMO_WORKSPACE)
    sign_in(page, key)
    fill(page, SMS)
    card = start(page, "Ready")
    expect(page.get_by_text("The export has been started.")).to_be_visible()
    expect(card).to_contain_text("SMS Support")
    expect(card).to_contain_text("Jun 1 – 10, 2026")
    expect(card.locator(".counts")).to_have_text(re.compile(r"^\d+\smessages · 41\sconversations · \S+\skB$"))
    archive = download(page, card.get_by_role("button", name="Download"), tmp_path)
    assert archive.name.startswith("SMS_Support_2026-06_")
    assert verify_archive(archive).members == 41
    card.get_by_text("Details").click()
    expect(card.locator("dl")).to_contain_text(archive.name)

    assert all(key not in request.url for request in visited.requests)
    assert all(key not in str(request.headers.get("referer")) for request in visited.requests)
    assert key not in working.log()
    assert page.evaluate("[sessionStorage.getItem('key'), localStorage.length, document.cookie]") == [key, 0, ""]
    assert page.url == f"{working.url}/#workspace={DEMO_WORKSPACE}"
    page.reload()
    expect(cards(page).first).to_contain_text("SMS Support")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_have_value("")
    expect(cards(page)).to_have_count(0)
    assert page.evaluate("sessionStorage.length") == 0
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_download_that_has_expired(tab: Open, working: Serve, tmp_path: Path) -> None:
    """While the page is open a click says so; later the list does; another export has another archive."""
    page = tab(accept_downloads=True).page
    go_to(page, working)
    sign_in(page, working.key)
    fill(page, SMS, "2026-06-02", "2026-06-03")
    card = start(page, "Ready")
    with closing(working.database()) as database:
        finished = database.execute("SELECT finished_time FROM export_job WHERE id = ?", [job_of(card)]).fetchone()[0]
    yesterday = (datetime.fromisoformat(finished) - timedelta(hours=25)).isoformat(timespec="microseconds")
    working.change(job_of(card), finished_time=yesterday)
    card.get_by_role("button", name="Download").click()
    expect(card.locator(".state")).to_have_text("Expired")
    expect(card).to_contain_text("Export again to get a new one.")
    page.reload()
    expect(card.locator(".state")).to_have_text("Expired")
    expect(card.get_by_role("button", name="Download")).to_be_hidden()
    expect(card).to_contain_text("Export again to get a new one.")
    card = started(page, card.get_by_role("button", name="Export again").click, "Ready")
    assert verify_archive(download(page, card.get_by_role("button", name="Download"), tmp_path)).members


def test_a_download_from_a_bucket(tab: Open, tmp_path: Path) -> None:
    """Its links lead to another host, whose answer is a download as well: the page stays."""
    with s3.serving() as server:
        bucket = server.new_bucket()
        (tmp_path / "data").mkdir()
        archives = ("--archives", f"s3://{bucket.name}/exports")
        with serve(tmp_path / "data", *archives, variables=bucket.environment) as served:
            page = tab().page
            go_to(page, served)
            sign_in(page, served.key)
            fill(page, SMS)
            card = start(page, "Ready")
            archive = download(page, card.get_by_role("button", name="Download"), tmp_path)
            assert archive.name.startswith("SMS_Support_2026-06_")
            assert verify_archive(archive).members == 41
            expect(card).to_be_visible()


def test_an_export_that_fails(tab: Open, working: Serve) -> None:
    """It says why, in the service's words, and can be asked for again."""
    page = tab().page
    go_to(page, working)
    sign_in(page, working.key)
    fill(page, BROKEN)
    card = start(page, "Failed")
    with working.client() as client:
        path = f"/api/v1/workspace/{DEMO_WORKSPACE}/export-conversations/{job_of(card)}"
        why = client.get(path).json()["error_message"]
    assert "yesterday" in why
    expect(card.locator(".message")).to_have_text(why)
    expect(card.get_by_role("button", name="Export again")).to_be_visible()
    expect(card.get_by_role("button", name="Cancel")).to_be_hidden()


def test_an_export_that_goes_on(tab: Open, working: Serve) -> None:
    """It says how far it is, and ends when it is cancelled."""
    page = tab().page
    go_to(page, working)
    sign_in(page, working.key)
    fill(page, SLOW)
    with working.telling():
        card = start(page, "Exporting")
        so_far = re.compile(r"^[\d,]+\smessages · \d+\sconversations · \S+\s.B so far$")
        expect(card.locator(".counts")).to_have_text(so_far)
        expect(card.get_by_role("button", name="Download")).to_be_hidden()
        card.get_by_role("button", name="Cancel").click()
        expect(card.locator(".state")).to_have_text("Cancelled")
        expect(card.get_by_role("heading")).to_be_focused()


def test_a_wrong_key(tab: Open, working: Serve) -> None:
    """It is said, the form stays and is ready for the next one; nothing is kept. Nor is one that no header can hold."""
    page = tab().page
    go_to(page, working)
    for key in ("wrong", "ek_0123456789abcdef_no", "Schlüssel ☃"):
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("This key does not open this workspace.")
        expect(page.get_by_label("API key")).to_be_focused()
        expect(page.get_by_label("API key")).to_have_value("")
        assert page.evaluate("sessionStorage.length") == 0
    sign_in(page, working.key)


@pytest.mark.parametrize(
    "attempt",
    [
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.stolen = 1'}))",
        "document.body.innerHTML = '<img src=x onerror=\"window.stolen = 1\">'",
        "document.body.append(Object.assign(document.createElement('style'), {textContent: '* {color: red}'}))",
        "fetch('http://127.0.0.2:9/').catch(() => null)",
    ],
)
def test_what_does_not_belong_to_the_page(tab: Open, working: Serve, attempt: str) -> None:
    """It does not run, and nothing is sent elsewhere; that it was tried would fail any of these tests."""
    visited = tab()
    go_to(visited.page, working)
    with visited.page.expect_console_message(lambda message: message.type == "error"), suppress(Error):
        visited.page.evaluate(attempt)
    assert not visited.page.evaluate("'stolen' in window")
    visited.page.close()  # it may be told of in more than one message: there are no more after this
    assert re.search("Content Security Policy|requires 'Trusted", visited.problems.pop(0))
    visited.problems.clear()


def test_a_key_that_is_revoked_meanwhile(tab: Open, working: Serve) -> None:
    """Leads back to the form, with what the session knew forgotten."""
    key = working.new_key()
    page = tab().page
    go_to(page, working)
    sign_in(page, key)
    fill(page, SMS, "2026-06-04", "2026-06-04")

    def revoke(route: Route) -> None:
        # Not before: until then the page asks for other things as well, and any of them would lead back to the form.
        working.revoke(key)
        route.continue_()

    page.route("**/export-conversations", revoke)
    press_start(page)
    expect(page.get_by_role("alert")).to_contain_text("You were signed out")
    expect(cards(page)).to_have_count(0)
    assert page.evaluate("sessionStorage.length") == 0


def test_a_name_that_is_an_attack(tab: Open, working: Serve) -> None:
    """Is text, wherever it is shown."""
    page = tab().page
    go_to(page, working)
    sign_in(page, working.key)
    fill(page, HOSTILE)
    assert HOSTILE_NAME in page.locator(f'#channel option[value="{HOSTILE}"]').inner_text()
    card = start(page, "Ready")
    assert card.get_by_role("heading").inner_text() == HOSTILE_NAME
    assert page.locator("img, main script").count() == 0


def test_with_the_keyboard_alone(tab: Open, working: Serve, tmp_path: Path) -> None:
    """From the key to the download; what has the focus is always to be seen."""
    page = tab().page
    go_to(page, working)
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type(working.key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="New export")).to_be_focused()

    def tab_to(selector: str) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            at, seen = page.evaluate(
                """selector => {
                    const at = document.activeElement, style = getComputedStyle(at);
                    return [at.matches(selector), style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2]
                }""",
                selector,
            )
            assert seen, page.evaluate("document.activeElement.outerHTML")
            if at:
                return
        raise AssertionError(f"{selector} is not reached")

    tab_to("#channel")
    page.keyboard.type("SMS")
    tab_to("#start")
    page.keyboard.type("06052026")
    tab_to("#end")
    page.keyboard.type("06062026")
    tab_to("#start-button")
    card = started(page, lambda: page.keyboard.press("Enter"), "Ready")
    expect(card).to_contain_text("Jun 5 – 6, 2026")
    tab_to(f'[data-job="{job_of(card)}"] [data-is="download"]')
    with page.expect_download() as begun:
        page.keyboard.press("Enter")
    begun.value.save_as(tmp_path / "archive.zip")
    assert verify_archive(tmp_path / "archive.zip").members


def test_on_a_phone(tab: Open, working: Serve) -> None:
    """320 pixels are wide enough, also for long names and messages."""
    page = tab(viewport={"width": 320, "height": 640}, is_mobile=True, has_touch=True).page
    go_to(page, working)
    assert fits(page)
    for channel in (BROKEN, HOSTILE):
        working.export(channel, "2026-06-02", "2026-06-02")
    sign_in(page, working.key)
    fill(page, HOSTILE)
    for number, state in enumerate(("Ready", "Failed")):
        expect(cards(page).nth(number).locator(".state")).to_have_text(state)
        cards(page).nth(number).get_by_text("Details").click()
        assert fits(page)
    assert page.locator("button:visible").evaluate_all(
        "buttons => buttons.every(button => button.getBoundingClientRect().height >= 36)"
    )
