"""What holds for all tests."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is run by hand is slow as well, so that `-m "not slow"` leaves out both."""
    for item in items:
        if item.get_closest_marker("scale"):
            item.add_marker("slow")
