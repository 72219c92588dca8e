"""Databases of each kind, for the tests of sources."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.jobs.postgres import running_cluster
from tests.sources.mariadb import running_mariadb


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with running_cluster() as url:
        yield f"{url}/postgres"


@pytest.fixture(scope="module")
def mariadb() -> Iterator[str]:
    with running_mariadb() as url:
        yield url


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    path = tmp_path / "a b%3f.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
    return sa.URL.create("sqlite", database=path.as_posix()).render_as_string()


@pytest.fixture(params=["sqlite", "cluster", "mariadb"])
def any_database(request: pytest.FixtureRequest) -> str:
    """The URL of a database of each kind."""
    return str(request.getfixturevalue(request.param))
