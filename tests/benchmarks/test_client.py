"""The client of the service measures what it says."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread, local
from typing import Any, cast

import pytest

from benchmarks import client


class Answers(BaseHTTPRequestHandler):
    """Answers what its server is told to, and notes what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """A poll."""
        self._answer(b"")

    def do_POST(self) -> None:
        """A trigger."""
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        server = cast("Any", self.server)
        server.asked.append((self.command, self.path, self.headers["X-API-Key"], body, self.client_address))
        self.send_response(server.status)
        self.send_header("Content-Length", "0")
        if server.closes:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def answering(status: int, *, closes: bool = False) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.status, server.closes, server.asked = status, closes, []
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(120)
        server.server_close()


class Ticks(local):
    """A clock of each thread's own: a hundredth of a second passes from one look at it to the next."""

    looks = 0

    def __call__(self) -> float:
        """The time."""
        self.looks += 1
        return self.looks / 100


def asked(monkeypatch: pytest.MonkeyPatch, server: Any, *channels: str) -> dict[str, float]:
    """What the client found in a fifth of a second."""
    monkeypatch.setattr(client, "perf_counter", Ticks())
    order = client.Order(server.server_address[1], "a-key", "/path", 0.2, 3, channels)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(asdict(order))))
    said: list[str] = []
    client.main(said.append)
    found: dict[str, float] = json.loads(said[0])
    return found


@pytest.mark.slow
def test_the_client_polls_over_connections_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as it was told, each one request after another; its figures are of what it did."""
    with answering(200) as server:
        found = asked(monkeypatch, server)
        assert {request[:4] for request in server.asked} == {("GET", "/path", "a-key", b"")}
        assert len({request[4] for request in server.asked}) == 3
    assert len(server.asked) == 3 * 10
    # It looked when it began and when all had ended.
    assert found == pytest.approx({"a_second": len(server.asked) / 0.01, "p50": 0.01, "p99": 0.01})


@pytest.mark.slow
def test_the_client_triggers_no_range_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection for each channel; each request is for another range, so that none is refused for the one before."""
    with answering(202) as server:
        asked(monkeypatch, server, "a", "b")
        bodies = [request[3] for request in server.asked]
    assert len(set(bodies)) == len(bodies) == 2 * 10
    assert {json.loads(body)["channel_id"] for body in bodies} == {"a", "b"}
    assert all(json.loads(body)["start_date"] <= json.loads(body)["end_date"] for body in bodies)


@pytest.mark.slow
@pytest.mark.parametrize(("status", "closes", "said"), [(503, False, "503"), (200, True, "kept alive")])
def test_the_client_measures_nothing_else(
    monkeypatch: pytest.MonkeyPatch, status: int, closes: bool, said: str
) -> None:
    """Another answer than is wanted, or a connection that the server closed, is an error and no figure."""
    with answering(status, closes=closes) as server, pytest.raises(AssertionError, match=said):
        asked(monkeypatch, server)
