"""The databases that everything about stores is tested on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from export_engine.jobs.backends.database import open_database, writing
from export_engine.jobs.backends.sql import SqlConversations, SqlDirectory, open_sql
from export_engine.jobs.backends.sql_schema import CHANNEL, create_schema
from export_engine.jobs.backends.store import SqlJobStore
from export_engine.jobs.backends.tables import export_job
from export_engine.jobs.testing import MemoryJobStore
from export_engine.service.demo import DEMO_CHANNELS
from tests.jobs.postgres import fresh_database, running_cluster
from tests.jobs.samples import AnyJobStore
from tests.jobs.sites import Site, open_site


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A running PostgreSQL: the URL to which `/<database>` is added."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.db"
    return fresh_database(request.getfixturevalue("postgresql"))


@pytest.fixture
def database(database_url: str) -> Iterator[Engine]:
    """An open database, of each kind in turn, without jobs or keys."""
    engine = open_database(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., AnyJobStore]]:
    """Makes a job store without jobs, of each kind in turn."""
    if request.param == "memory":
        yield MemoryJobStore
        return
    url = f"sqlite:///{tmp_path}/jobs.db"
    if request.param == "postgresql":
        url = fresh_database(request.getfixturevalue("postgresql"))
    engine = open_database(url)

    def make(**options: Any) -> SqlJobStore:
        with writing(engine) as connection:
            connection.execute(export_job.delete())
        return SqlJobStore(engine, **options)

    yield make
    engine.dispose()


@pytest.fixture
def store(new_store: Callable[..., AnyJobStore]) -> AnyJobStore:
    """A job store without jobs, of each kind in turn."""
    return new_store()


@pytest.fixture
def source(database_url: str) -> Iterator[SqlConversations]:
    """A database of each kind, with the schema and the demo's two channels."""
    made = sa.create_engine(database_url.replace("postgresql:", "postgresql+psycopg:"))
    create_schema(made)
    with made.begin() as connection:
        connection.execute(CHANNEL.insert(), DEMO_CHANNELS)
    made.dispose()
    _, conversations = open_sql(database_url)
    yield conversations
    conversations.engine.dispose()


@pytest.fixture
def directory(source: SqlConversations) -> SqlDirectory:
    """The channels of the same database."""
    return SqlDirectory(source.engine)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A folder with jobs, archives and a source that does as it is told."""
    with open_site(tmp_path, monkeypatch) as opened:
        yield opened
