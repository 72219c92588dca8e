"""What holds for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:  # it takes a second, and moto is not everywhere where some of the tests run
    from tests import s3

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


@pytest.fixture(scope="module")
def server() -> Iterator[s3.Server]:
    """S3 on this machine."""
    from tests import s3  # noqa: PLC0415  # see above

    with s3.serving() as running:
        yield running


@pytest.fixture
def bucket(server: s3.Server, monkeypatch: pytest.MonkeyPatch) -> s3.Bucket:
    """A bucket of the test's own, that this process' environment leads to."""
    made = server.new_bucket()
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made
