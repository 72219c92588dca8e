"""Connections of the HTTP server: no delay, no waiting for half a request, no flood of log records."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from export_engine.service import connections
from export_engine.service.connections import http_server, report_running_out_once
from tests.service.running import until

ROOT = Path(__file__).parents[2]
SOON = timedelta(seconds=1)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body."""
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    await Response(await Request(scope, receive).body())(scope, receive, send)


@pytest.fixture(autouse=True)
def the_usual_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard library's loop, whatever is installed: it has the faults that are mended here."""
    monkeypatch.setitem(sys.modules, "uvloop", None)


@contextmanager
def answering(request_time: timedelta) -> Iterator[tuple[uvicorn.Server, Callable[[], socket.socket]]]:
    """A server, and what connects to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = http_server(echo, grace=SOON, request_time=request_time)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield server, lambda: socket.create_connection(listener.getsockname(), timeout=60)
        finally:
            server.should_exit = True
            thread.join(120)
            assert not thread.is_alive()


def answer(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def test_answers_leave_at_once() -> None:
    """Nagle's algorithm is off on each connection, however the listening socket was made."""
    with answering(timedelta(minutes=10)) as (server, connect), connect():

        def undelayed() -> bool:
            accepted = [protocol.transport.get_extra_info("socket") for protocol in server.server_state.connections]
            return [bool(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) for each in accepted] == [True]

        until(undelayed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", b""),
        (b"GET / HT", b"HTTP/1.1 408"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ", b"HTTP/1.1 408"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345", b""),
    ],
)
@pytest.mark.parametrize("before", [b"", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1"])
def test_half_a_request(sent: bytes, answered: bytes, before: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is closed, also when whole requests came before; 408 if there was half a head."""
    monkeypatch.setattr(connections, "IDLE_TIME", timedelta(seconds=3))  # for the case that nothing more is sent
    with answering(SOON) as (_, connect):
        for _ in range(20):
            began = time.monotonic()
            with suppress(OSError), connect() as connection:
                connection.sendall(before)
                received = b""
                while before and not received.endswith(b"\r\n\r\n1") and (piece := connection.recv(65536)):
                    received += piece
                connection.sendall(sent)
                # Where it took longer to send it the server may have closed the connection before: once more then.
                if time.monotonic() - began < SOON.total_seconds():
                    assert answer(connection)[:12] == answered
                    return
    raise AssertionError("this machine is too slow to send half a request")


@pytest.mark.slow
def test_a_slow_trickle() -> None:
    """Bytes that come one by one do not prolong the time that a request has."""
    with answering(SOON) as (_, connect), connect() as connection:
        try:
            for _ in range(300):
                connection.sendall(b"G")
                time.sleep(0.1)
        except OSError:
            return
        raise AssertionError("the connection was never closed")


def test_running_out_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """One record in a minute for connections that cannot be taken; other errors are told as ever."""
    now = 0.0
    loop = asyncio.new_event_loop()
    report_running_out_once(loop, lambda: now)
    context = {"message": "socket.accept() out of system resource", "exception": OSError(errno.EMFILE, "Too many")}
    for _ in range(1000):
        loop.call_exception_handler(context)
    assert [record.message.partition(":")[0] for record in caplog.records] == ["connections cannot be taken"]
    now = 60.0
    loop.call_exception_handler(context)
    assert len(caplog.records) == 2
    loop.call_exception_handler({"message": "another", "exception": OSError(errno.EMFILE, "Too many")})
    loop.call_exception_handler({"message": "a third"})
    assert [record.message for record in caplog.records[2:] if record.levelno == logging.ERROR] == [
        "another",
        "a third",
    ]
    loop.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_out_of_file_descriptors(tmp_path: Path) -> None:
    """The service says so in a line or two, not in thousands, and answers again once there are some."""
    log = tmp_path / "log"
    # The standard library's loop, whatever is installed.
    program = "import sys; sys.modules['uvloop'] = None; from export_engine.cli import main; main()"
    with log.open("wb") as stderr, (tmp_path / "out").open("wb") as stdout:
        process = subprocess.Popen(
            [
                "sh",
                "-c",
                'ulimit -n 60; exec "$@"',
                "sh",
                sys.executable,
                "-c",
                program,
                "serve",
                "--port",
                "0",
                "--workers",
                "0",
            ],
            env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
            stdout=stdout,
            stderr=stderr,
        )
    try:
        until(lambda: "curl -o" in (tmp_path / "out").read_text() or process.poll() is not None)
        port = int((tmp_path / "out").read_text().partition("127.0.0.1:")[2].partition(",")[0])
        # One that has begun needs no more for itself: there is no worker, who would open what he works with.
        assert httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=90).status_code == 200
        crowd = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(120)]
        until(lambda: "cannot be taken" in log.read_text() or "out of system resource" in log.read_text())
        time.sleep(2)  # the loop tries again each second
        for connection in crowd:
            connection.close()
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert answer(connection).startswith(b"HTTP/1.1 200")
    finally:
        process.kill()
        process.wait(60)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len([line for line in lines if line["level"] == "error"]) < 10
