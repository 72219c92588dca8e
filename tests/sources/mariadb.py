"""A MariaDB of the tests' own: a server with its data in a temporary folder, on a free port, gone afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest

__all__ = ["running_mariadb"]


@contextmanager
def running_mariadb() -> Iterator[str]:
    """Start a server on 127.0.0.1; yields the URL of its empty database. Skips if none is installed."""
    server, install = shutil.which("mariadbd") or _sbin("mariadbd"), shutil.which("mariadb-install-db")
    if server is None or install is None:
        pytest.skip("MariaDB is not installed (on Debian: apt-get install mariadb-server)")
    folder = Path(tempfile.mkdtemp(prefix="export-engine-mariadb-"))
    user = "mysql" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    try:
        how = ["--no-defaults", f"--datadir={folder / 'data'}", "--auth-root-authentication-method=normal"]
        subprocess.run([install, *how], user=user, cwd="/", capture_output=True, check=True, timeout=120)
        options = [
            *("--no-defaults", f"--datadir={folder / 'data'}", f"--socket={folder / 'socket'}", f"--port={port}"),
            *("--bind-address=127.0.0.1", f"--pid-file={folder / 'pid'}", "--default-time-zone=+05:30"),
        ]
        process = subprocess.Popen(
            [server, *options], user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait(port)
            yield f"mysql://root@127.0.0.1:{port}/made"
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(folder)


def _wait(port: int) -> None:
    """Make the database as soon as the server answers."""
    end = time.monotonic() + 60
    while True:
        try:
            with pymysql.connect(host="127.0.0.1", port=port, user="root") as connection, connection.cursor() as cursor:
                cursor.execute("CREATE DATABASE IF NOT EXISTS made CHARACTER SET utf8mb4")
        except pymysql.err.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def _sbin(name: str) -> str | None:
    path = Path("/usr/sbin") / name
    return str(path) if path.exists() else None
