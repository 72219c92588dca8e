"""The page at `/` as it is served: its files, their headers, and what they say of the service."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from importlib.resources import files

import httpx
import pytest

from export_engine import ExportOptions
from export_engine.jobs.job import CANCELLED_MESSAGE
from export_engine.service.app import create_app
from tests.service.running import Service, listening

#: The page's files, by the paths they are served at.
STATIC = ["api.js", "card.js", "channels.js", "format.js", "page.css", "page.js", "icon.svg"]


@pytest.mark.parametrize("path", ["/", *(f"/static/{name}" for name in STATIC)])
def test_nothing_else_may_run_or_be_loaded(service: Service, path: str) -> None:
    """Each file says so, is asked for each time, and is answered with 304 while it is the same."""
    answer = service.client.get(path)
    assert answer.status_code == 200
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert {policy.pop(name) for name in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
    assert policy.pop("require-trusted-types-for") == "'script'"
    assert set(policy) == {"default-src", "base-uri", "form-action", "frame-ancestors", "trusted-types"}
    assert set(policy.values()) == {"'none'"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-cache"
    same = service.client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", answer.headers["ETag"])
    head = service.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(answer.content))


def test_every_file_is_served_and_named_in_another() -> None:
    """What is in the package is what the page is made of; it needs nothing of anybody else's."""
    texts = {file.name: file.read_text("utf-8") for file in files("export_engine.service").joinpath("static").iterdir()}
    assert sorted(texts) == sorted([*STATIC, "index.html"])
    for name in STATIC:
        assert any(name in text for other, text in texts.items() if other != name)
    for text in texts.values():
        assert set(re.findall(r"\w+://[^\s\"'`)]+", text)) <= {"http://www.w3.org/2000/svg"}
        assert "innerHTML" not in text


def test_the_page_knows_how_cancelling_is_said() -> None:
    """It tells what was cancelled from what went wrong by the job's words."""
    assert f'"{CANCELLED_MESSAGE}"' in files("export_engine.service").joinpath("static", "card.js").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("timezone", "named"), [("Asia/Taipei", "Asia/Taipei"), ("-03:30", "-03:30"), ("UTC", "UTC")])
def test_the_page_says_in_which_time_zone_days_are(idle: Service, timezone: str, named: str) -> None:
    """The service's own."""
    app = create_app(replace(idle.components, options=ExportOptions(timezone=timezone)))
    with socket.create_server(("127.0.0.1", 0)) as listener, listening(app, listener):
        page = httpx.get(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=90)
    assert f'<html lang="en" data-timezone="{named}">' in page.text
