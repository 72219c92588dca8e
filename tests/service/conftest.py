"""A running service for the tests that do not need one of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.running import Service, serving


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a worker. Its clock stands still; nobody moves it."""
    with serving(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of the test's own, without a worker: jobs stay queued."""
    with serving(tmp_path_factory.mktemp("idle"), worker=False) as running:
        yield running
