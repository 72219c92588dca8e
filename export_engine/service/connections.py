"""Connections of the HTTP server: answers leave at once, half a request is not waited for, running out is told once.

- An answer is two writes, head and body. Nagle's algorithm holds the second back until the client acknowledges the
  first, which it delays by 40 ms, so it is switched off on each connection.
- A request has to be there within `REQUEST_TIME` of its first byte, or of the connection's beginning: else the
  connection is closed, with 408 if some of it had come. Uvicorn waits for ever.
- Out of file descriptors, the event loop reports each connection that it could not take, thousands a second. One such
  report in `QUIET_TIME` is logged; the loop tries again by itself.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["QUIET_TIME", "REQUEST_TIME", "http_server", "report_running_out_once"]

#: How long a client may take to send a request, its body included.
REQUEST_TIME = timedelta(seconds=30)
#: How long nothing more is said of connections that cannot be taken.
QUIET_TIME = timedelta(minutes=1)

_OUT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

_log = logging.getLogger(__name__)


def http_server(
    app: ASGIApp, *, grace: timedelta, request_time: timedelta = REQUEST_TIME, backlog: int = 2048
) -> uvicorn.Server:
    """A server for the application: call its `run` with `sockets`. Requests are answered for `grace` after its end."""
    protocol = type("Protocol", (_Protocol,), {"request_time": request_time.total_seconds()})
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            log_config=None,
            access_log=False,  # it would log links
            server_header=False,
            lifespan="on",
            backlog=backlog,
            timeout_graceful_shutdown=math.ceil(grace.total_seconds()),
        )
    )


class _Protocol(H11Protocol):
    request_time: float
    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        # TCP only. The loop does so by itself for some sockets alone, depending on how the listening one was made.
        with suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expect_request()

    def handle_events(self) -> None:
        """Called with each piece that comes, and with what has come already once an answer is complete."""
        super().handle_events()
        begun = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]
        if begun or self.conn.their_state is h11.SEND_BODY:
            self._expect_request()
        else:
            self._expect_nothing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def _expect_request(self) -> None:
        if self._overdue is None:
            self._overdue = self.loop.call_later(self.request_time, self._close)

    def _expect_nothing(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _close(self) -> None:
        # Never into the middle of an answer.
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            self.transport.write(_TOO_LATE)
        self.transport.close()


def report_running_out_once(loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.monotonic) -> None:
    """Have a loop report at most once in `QUIET_TIME` that it cannot take connections; all else as before."""
    silent_until = -math.inf

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal silent_until
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in _OUT and "accept" in context.get("message", "")):
            loop.default_exception_handler(context)
        elif clock() >= silent_until:
            silent_until = clock() + QUIET_TIME.total_seconds()
            _log.error("connections cannot be taken: %s; more of these are not logged for a while", error.strerror)

    loop.set_exception_handler(handle)
