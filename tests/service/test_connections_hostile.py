"""Connections of clients that mean no good, or of proxies that must not be led astray by them."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from export_engine.service.connections import http_server
from tests.service.running import until

HALF_MINUTE = timedelta(seconds=30)
#: More than the buffers of a connection hold.
MUCH = 64 << 20


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body; without one, with much."""
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    body = await Request(scope, receive).body()
    chunk = bytes(64 << 10)
    much = StreamingResponse((chunk for _ in range(MUCH // len(chunk))), headers={"Content-Length": str(MUCH)})
    await (Response(body) if body else much)(scope, receive, send)


@contextmanager
def answering(stalled_time: timedelta = HALF_MINUTE) -> Iterator[tuple[uvicorn.Server, socket.socket]]:
    """A server, and a connection to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = http_server(echo, grace=timedelta(seconds=1), stalled_time=stalled_time)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with socket.create_connection(listener.getsockname(), timeout=30) as connection:
                yield server, connection
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def rest_of(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    pieces = []
    try:
        while piece := connection.recv(1 << 20):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 62\r\nTransfer-Encoding: chunked\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\nContent-Length: 0\r\n",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n",
    ],
)
def test_a_body_whose_end_is_said_in_two_ways(head: bytes) -> None:
    """Refused, and the connection is closed: what follows is nobody's request, whichever end was meant."""
    with answering() as (_, connection):
        connection.sendall(
            head + b"\r\n1\r\na\r\n0\r\n\r\nPOST /smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nb"
        )
        answer = rest_of(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.timeout(60)
def test_a_body_in_chunks() -> None:
    """As such it is taken."""
    with answering() as (_, connection):
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
        )
        answer = rest_of(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\na")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_client_that_takes_nothing_of_its_answer() -> None:
    """The connection is broken off, and the answer is not to be taken for whole."""
    with answering(timedelta(seconds=0.5)) as (server, connection):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"
        until(lambda: not server.server_state.connections)
        until(lambda: not server.server_state.tasks)
        assert len(rest_of(connection)) < MUCH


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_client_that_takes_its_answer() -> None:
    """It has it whole, however short the time in which it may take nothing."""
    with answering() as (_, connection):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        _, _, body = rest_of(connection).partition(b"\r\n\r\n")
    assert len(body) == MUCH


@pytest.mark.timeout(60)
def test_another_protocol(caplog: pytest.LogCaptureFixture) -> None:
    """Who asks for one is answered in this; the log, which anybody could fill, has no advice to install libraries."""
    with answering() as (_, connection):
        headers = b"Host: a\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\nContent-Length: 1\r\n"
        connection.sendall(b"POST / HTTP/1.1\r\n" + headers + b"\r\na")
        assert rest_of(connection).startswith(b"HTTP/1.1 200 ")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.timeout(60)
def test_a_connection_outlives_its_proxy() -> None:
    """That keeps one for a minute (nginx) or two (Caddy): none is to send a request just as it is closed."""
    with answering() as (server, connection):
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na")
        assert connection.recv(12) == b"HTTP/1.1 200"
        (protocol,) = server.server_state.connections
        assert isinstance(protocol, H11Protocol)
        assert protocol.timeout_keep_alive > 120
