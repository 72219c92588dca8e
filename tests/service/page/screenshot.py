"""Take the pictures of the page that the READMEs show: `python -m tests.service.page.screenshot`.

Nothing in them is made up: one export goes on, one is ready, one has failed.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, expect

from export_engine.service.demo import DEMO_WORKSPACE
from tests.service.page.harness import BROKEN, SLOW, Serve, chromium, fill, go_to, serve, sign_in, visit
from tests.service.running import SMS

FOLDER = Path(__file__).parents[3] / "fixtures"


def take(browser: Browser, served: Serve, scheme: str, path: Path) -> None:
    """One picture."""
    with visit(browser, color_scheme=scheme, viewport={"width": 760, "height": 900}, locale="en-GB") as visited:
        page = visited.page
        go_to(page, served)
        sign_in(page, served.key)
        expect(page.locator(".export").first.locator(".counts")).to_contain_text("so far", timeout=60_000)
        fill(page, SLOW, "2026-06-01", "2026-06-30")
        page.get_by_label("To", exact=True).blur()
        page.screenshot(path=path, full_page=True)


def main() -> None:
    """Both pictures."""
    with TemporaryDirectory() as folder, chromium() as browser, serve(Path(folder)) as served:
        served.export(BROKEN, "2026-06-01", "2026-06-30")
        served.export(SMS, "2026-06-01", "2026-06-10")
        with served.telling(), served.client() as client:
            body = {"channel_id": SLOW, "start_date": "2026-06-01", "end_date": "2026-06-30"}
            client.post(f"/api/v1/workspace/{DEMO_WORKSPACE}/export-conversations", json=body).raise_for_status()
            take(browser, served, "light", FOLDER / "page.png")
            take(browser, served, "dark", FOLDER / "page-dark.png")


if __name__ == "__main__":
    main()
