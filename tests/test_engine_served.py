"""An export sent by a web server, to clients that take it whole or go away."""

from __future__ import annotations

import gc
import logging
import os
import socket
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from export_engine import (
    Export,
)
from tests.exports import LOOPS, OwnError, Talks, export, ours, until


@contextmanager
def serving(make: Callable[[], Export], loop: str) -> Iterator[int]:
    """Starlette under uvicorn, as an application would have it; gives the port."""

    async def download(_: Request) -> StreamingResponse:
        made = make()
        return StreamingResponse(made, headers=made.headers)

    app = Starlette(routes=[Route("/", download)])
    server = uvicorn.Server(uvicorn.Config(app, port=0, loop=cast("Any", loop), log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def asked(port: int) -> socket.socket:
    """A client that has asked for the download."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    client.settimeout(60)
    client.connect(("127.0.0.1", port))
    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return client


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
def test_a_download(loop: str) -> None:
    """The archive arrives whole, under its name."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with serving(lambda: export(Talks(300)), loop) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/", timeout=90)
    assert answer.content == b"".join(export(Talks(300)))
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="SMS_Support_2026-06_1c4639da.zip"'
    until(lambda: not ours())


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("goes", ["reset", "closed", "waits, then reset"])
def test_an_aborted_download(loop: str, goes: str) -> None:
    """A client that goes away midway: the source is closed, no thread is left, and no garbage is collected for it."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    talks = Talks(100_000)
    gc.collect()
    gc.disable()
    try:
        with serving(lambda: export(talks, threads=2), loop) as port, asked(port) as client:
            got = 0
            while got < 1 << 20:
                got += len(client.recv(1 << 16))
            if goes.startswith("waits"):
                _until_still(talks)
                assert not talks.closed.is_set()
                assert talks.read < 20_000  # back-pressure: 240 MB of source for some megabytes taken
            if goes != "closed":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            assert talks.closed.wait(60)
            until(lambda: not ours())
    finally:
        gc.enable()
    assert talks.read < 100_000
    assert len(talks.threads) == 1


def _until_still(talks: Talks) -> None:
    """Wait until a source has not been read from for a while."""
    while True:
        before = talks.read
        time.sleep(0.5)
        if talks.read == before:
            return


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
def test_a_download_whose_source_fails(loop: str) -> None:
    """The client sees that it is not whole: the connection ends before the last chunk."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    talks = Talks(3_000, then=OwnError())
    with serving(lambda: export(talks), loop) as port, pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://127.0.0.1:{port}/", timeout=90)
    assert talks.closed.is_set()
    until(lambda: not ours())


@pytest.mark.slow
def test_a_server_that_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its shutdown cancels the download, and the export ends with it."""
    if os.name == "nt":
        pytest.skip("signals of POSIX")
    monkeypatch.setattr(
        logging.getLogger("uvicorn.error"), "disabled", True
    )  # a log's record would keep the connection
    stop_while_downloading(Talks(100_000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the server leaves its own connection to the collector
        gc.collect()


def stop_while_downloading(talks: Talks) -> None:
    """Begin a download, stop the server, and wait for the export's end."""

    async def download(_: Request) -> StreamingResponse:
        return StreamingResponse(export(talks))

    app = Starlette(routes=[Route("/", download)])
    # uvloop's own close() waits for ever for a transport whose client does not read.
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=0, loop="asyncio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    with asked(server.servers[0].sockets[0].getsockname()[1]) as client:
        assert client.recv(1 << 16)
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()
        assert talks.closed.wait(60)
        until(lambda: not ours())
