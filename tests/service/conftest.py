"""A running service for the tests that do not need one of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.jobs.smtp import mail_server
from tests.service.running import Service, serving
from tests.service.running import unhurried as unhurried_


@pytest.fixture(scope="session", autouse=True)
def unhurried() -> Iterator[None]:
    """Answers have time; see `production_times` for where they have not."""
    with unhurried_():
        yield


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a worker and a mail server. Its clock stands still; nobody moves it."""
    with mail_server() as mailbox:
        smtp = f"smtp://127.0.0.1:{mailbox.port}?from=exports@example.com"
        with serving(tmp_path_factory.mktemp("service"), smtp=smtp) as running:
            yield running


@pytest.fixture
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of the test's own, without a worker: jobs stay queued."""
    with serving(tmp_path_factory.mktemp("idle"), worker=False) as running:
        yield running
