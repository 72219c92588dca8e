"""Signing in anew: what was filled in, links to another workspace, and answers that take their time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from export_engine.service.demo import DEMO_WORKSPACE
from tests.service.page.harness import MANY, Open, Serve, cards, fill, go_to, press_start, serve, sign_in, start
from tests.service.running import OTHER_WORKSPACE, SMS

pytestmark = pytest.mark.slow

ADDRESS = "agent@example.com"


@pytest.fixture(scope="module")
def idling(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A service without a worker."""
    assert browser.is_connected()
    with serve(tmp_path_factory.mktemp("idling"), "--workers", "0") as running:
        yield running


def filled_in(page: Page) -> list[str]:
    """Channel, days and address."""
    labels = ("From", "To", "E-mail (optional)")
    return [page.locator("#channel").input_value(), *(page.get_by_label(label).input_value() for label in labels)]


def sign_out_by_the_service(page: Page, served: Serve, key: str) -> None:
    """Have the form's request find that the key holds no more."""

    def revoke(route: Route) -> None:
        # Not before: any other request of the page would lead back to the form as well.
        if route.request.method == "POST":
            served.revoke(key)
        route.continue_()

    page.route("**/export-conversations", revoke)
    press_start(page)
    expect(page.get_by_role("alert")).to_contain_text("You were signed out")
    page.unroute("**/export-conversations")


def test_what_was_filled_in_is_there_again(tab: Open, idling: Serve) -> None:
    """After a key that held no more, and a wrong one; the export can be started as it was meant."""
    page, key = tab().page, idling.new_key()
    go_to(page, idling)
    sign_in(page, key)
    fill(page, SMS, "2026-06-04", "2026-06-05")
    page.get_by_label("E-mail").fill(ADDRESS)
    sign_out_by_the_service(page, idling, key)
    assert page.evaluate("sessionStorage.length") == 0
    page.get_by_label("API key").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("This key does not open this workspace.")
    sign_in(page, idling.key)
    assert filled_in(page) == [SMS, "2026-06-04", "2026-06-05", ADDRESS]
    expect(start(page, "Waiting")).to_contain_text("Jun 4 – 5, 2026")


def test_a_channel_that_is_not_among_the_first(tab: Open, idling: Serve) -> None:
    """It is chosen again once all are there."""
    page, key = tab().page, idling.new_key(OTHER_WORKSPACE)
    channel = f"d4e5f6a7-0000-4000-8000-{MANY - 1:012d}"
    go_to(page, idling, workspace=OTHER_WORKSPACE)
    sign_in(page, key)
    expect(page.locator("#filter-hint")).to_have_text(f"{MANY:,} channels")
    fill(page, channel, "2026-06-04", "2026-06-05")
    sign_out_by_the_service(page, idling, key)
    sign_in(page, idling.other_key)
    expect(page.get_by_label("Channel", exact=True)).to_have_value(channel)


def test_what_was_filled_in_is_for_nobody_else(tab: Open, idling: Serve) -> None:
    """Neither in another workspace nor after signing out."""
    page, key = tab().page, idling.new_key()
    go_to(page, idling)
    sign_in(page, key)
    fill(page, SMS, "2026-06-04", "2026-06-05")
    page.get_by_label("E-mail").fill(ADDRESS)
    sign_out_by_the_service(page, idling, key)
    page.get_by_label("Workspace ID").fill(OTHER_WORKSPACE)
    sign_in(page, idling.other_key)
    assert ADDRESS not in filled_in(page)
    assert "2026-06-04" not in filled_in(page)
    page.get_by_label("E-mail").fill(ADDRESS)
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, idling.other_key)
    assert ADDRESS not in filled_in(page)


def test_a_link_to_another_workspace(tab: Open, idling: Serve) -> None:
    """Opened where somebody is signed in it leads to the form, filled in; one to the same workspace changes nothing."""
    page = tab().page
    go_to(page, idling)
    sign_in(page, idling.key)
    page.evaluate("location.hash = '#workspace=' + location.hash.split('=')[1].toUpperCase()")
    page.evaluate("new Promise(resolve => setTimeout(resolve))")
    expect(page.get_by_role("heading", name="New export")).to_be_visible()
    go_to(page, idling, workspace=OTHER_WORKSPACE)
    expect(page.get_by_label("Workspace ID")).to_have_value(OTHER_WORKSPACE)
    expect(page.get_by_label("API key")).to_be_focused()
    expect(cards(page)).to_have_count(0)
    assert page.evaluate("sessionStorage.length") == 0
    sign_in(page, idling.other_key)
    expect(page.locator("#session-workspace")).to_have_text(OTHER_WORKSPACE)


def test_an_answer_that_takes_its_time(tab: Open, idling: Serve) -> None:
    """Who comes back is told so, instead of an empty page; and who has sent the form, who may give up then."""
    page = tab().page
    page.clock.install()
    go_to(page, idling)
    sign_in(page, idling.key)
    held: list[Route] = []
    holding = threading.Event()
    holding.set()
    page.route("**/api/**", lambda route: held.append(route) if holding.is_set() else route.continue_())

    def asked(method: str) -> bool:
        return any(route.request.method == method for route in held)

    page.reload()
    for method, place in (("GET", "#trouble"), ("POST", "#export-wait")):
        while not asked(method):
            page.wait_for_timeout(10)
        page.clock.fast_forward(5000)
        expect(page.locator(place)).to_have_text("Waiting for the service to answer.")
        holding.clear()
        if method == "POST":
            expect(page.get_by_role("button", name="Stop trying")).to_be_visible()
        while held:
            held.pop().continue_()
        expect(page.get_by_role("heading", name="New export")).to_be_visible()
        expect(page.locator(place)).to_be_hidden()
        if method == "GET":
            fill(page, SMS, "2026-06-07", "2026-06-07")
            holding.set()
            press_start(page)
    expect(page.get_by_text("The export has been started.")).to_be_visible()
    assert page.url.endswith(DEMO_WORKSPACE)
