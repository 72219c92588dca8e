"""A PostgreSQL of the tests' own: a whole cluster in a temporary folder, on a free port, gone afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.ports import free_port

__all__ = ["fresh_database", "restartable_cluster", "running_cluster"]


@contextmanager
def running_cluster() -> Iterator[str]:
    """Start a server on 127.0.0.1; yields the URL to which `/<database>` is added. Skips if none is installed."""
    with restartable_cluster() as (url, _):
        yield url


@contextmanager
def restartable_cluster() -> Iterator[tuple[str, Callable[[], None]]]:
    """The same, and what has it crash and start again."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (on Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="export-engine-postgresql-"))
    try:
        if os.geteuid() == 0:  # it refuses to run as root; the user that its package makes has to own its files
            shutil.chown(folder, "postgres")
        data = folder / "data"
        how = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        _run(programs / "initdb", "-D", data, *how)
        port = free_port()
        options = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            f"port={port}",
            "max_connections=200",
            "fsync=off",
            "timezone=Asia/Kolkata",  # times come back right from a server that is not in UTC
        ]
        server = (programs / "pg_ctl", "-w", "-t", "250", "-D", data, "-l", folder / "log")
        _run(*server, "-o", " ".join(f"-c {option}" for option in options), "start")
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}", lambda: _run(*server, "-m", "immediate", "restart")
        finally:
            _run(*server, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def fresh_database(cluster: str) -> str:
    """The URL of an empty database of a running cluster: a schema of its own, which takes a fraction of the time."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(f"{cluster}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{cluster}/postgres?options=-csearch_path%3D{name}"


def _programs() -> Path | None:
    """Where PostgreSQL's programs are; Debian keeps them off the PATH, a folder for each version."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    installed = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(installed, key=lambda folder: int(folder.parent.name), default=None)


def _run(*command: str | Path) -> None:
    user = "postgres" if os.geteuid() == 0 else None
    done = subprocess.run(command, user=user, cwd="/", capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
