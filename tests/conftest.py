"""What holds for all tests."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# A machine that stands still for a while says nothing of what is tested: neither for an example nor for making one is
# there a limit of time. All else stays as it is: `ci`, where that is asked for, says the same.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is run by hand is slow as well, so that `-m "not slow"` leaves out both."""
    for item in items:
        if item.get_closest_marker("scale"):
            item.add_marker("slow")
