"""A browser and its tabs, for the tests of one module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, expect

from tests.service.page.harness import PATIENCE, Open, chromium, visit


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all; each test has a session of its own."""
    expect.set_options(timeout=PATIENCE)
    with chromium() as started:
        yield started


@pytest.fixture
def tab(browser: Browser) -> Iterator[Open]:
    """Open a tab; whatever the browser complains of there fails the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(visit(browser, **options))
