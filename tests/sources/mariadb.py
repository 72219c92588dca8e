"""A MariaDB of the tests' own: a server with its data in a temporary folder, on a free port, gone afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest

from tests.ports import free_port

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
    try:
        how = ["--no-defaults", f"--datadir={folder / 'data'}", "--auth-root-authentication-method=normal"]
        subprocess.run([install, *how], user=user, cwd="/", capture_output=True, check=True, timeout=240)
        options = [
            *("--no-defaults", f"--datadir={folder / 'data'}", f"--pid-file={folder / 'pid'}"),
            *("--bind-address=127.0.0.1", "--default-time-zone=+05:30"),
        ]
        process, port = _started([server, *options], user, folder)
        try:
            yield f"mysql://root@127.0.0.1:{port}/made"
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(folder)


def _started(command: Sequence[str], user: str | None, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """The server and its port. If somebody has taken that meanwhile the server ends, and gets another."""
    for _ in range(5):
        port = free_port()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, f"--port={port}", f"--socket={folder / 'socket'}"],
                user=user,
                cwd="/",
                stdout=log,
                stderr=log,
            )
        if _answers(process, folder / "socket"):
            return process, port
    raise AssertionError((folder / "log").read_text(errors="replace"))


def _answers(process: subprocess.Popen[bytes], path: Path) -> bool:
    """Make the database as soon as the server answers: by its socket, where none but this one is. False if it ends."""
    end = time.monotonic() + 240
    while process.poll() is None:
        try:
            with socket.socket(socket.AF_UNIX) as probe:  # which PyMySQL would leave open
                probe.connect(str(path))
        except OSError:
            if time.monotonic() > end:
                process.kill()
                process.wait()
                raise
            time.sleep(0.1)
        else:
            with pymysql.connect(unix_socket=str(path), user="root") as connection, connection.cursor() as cursor:
                cursor.execute("CREATE DATABASE made CHARACTER SET utf8mb4")
            return True
    return False


def _sbin(name: str) -> str | None:
    path = Path("/usr/sbin") / name
    return str(path) if path.exists() else None
