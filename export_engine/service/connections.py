"""Connections of the HTTP server: answers leave at once, half a request is not waited for, running out is told once.

- An answer is two writes, head and body. Nagle's algorithm holds the second back until the client acknowledges the
  first, which it delays by 40 ms, so it is switched off on each connection.
- A request has to be there within `REQUEST_TIME` of its first byte, or of the connection's beginning: else the
  connection is closed, with 408 if some of it had come. Uvicorn waits for ever.
- An answer that its client does not take for `STALLED_TIME` is given up, and what is read for it let go of.
- A connection stays open for `IDLE_TIME` after an answer: longer than a proxy keeps it for its next request. That might
  else be sent just as the connection is closed here, and a POST is not sent again.
- A request whose end can be found in two ways is refused: a proxy that finds the other takes the rest for another's.
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

__all__ = ["IDLE_TIME", "QUIET_TIME", "REQUEST_TIME", "STALLED_TIME", "http_server", "report_running_out_once"]

#: How long a client may take to send a request, its body included.
REQUEST_TIME = timedelta(seconds=30)
#: For how long a client may take nothing of an answer.
STALLED_TIME = timedelta(minutes=5)
#: How long a connection without a request is kept: nginx keeps one for a minute, Caddy for two.
IDLE_TIME = timedelta(seconds=125)
#: How long nothing more is said of connections that cannot be taken.
QUIET_TIME = timedelta(minutes=1)

#: Bytes of a request's head that may come piece by piece.
_LONGEST_HEAD = 64 << 10

_OUT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

_log = logging.getLogger(__name__)


def http_server(
    app: ASGIApp,
    *,
    grace: timedelta,
    request_time: timedelta = REQUEST_TIME,
    stalled_time: timedelta = STALLED_TIME,
    backlog: int = 2048,
) -> uvicorn.Server:
    """A server for the application: call its `run` with `sockets`. Requests are answered for `grace` after its end."""
    times = {"request_time": request_time.total_seconds(), "stalled_time": stalled_time.total_seconds()}
    protocol = type("Protocol", (_Protocol,), times)
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
            timeout_keep_alive=int(IDLE_TIME.total_seconds()),
            timeout_graceful_shutdown=math.ceil(grace.total_seconds()),
        )
    )


class _Connection(h11.Connection):
    def next_event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        """What has come. Raises RemoteProtocolError, also for a body whose end is said in two ways (RFC 9112, 6.1)."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = [name for name, _ in event.headers]
            if b"transfer-encoding" in names and (b"content-length" in names or event.http_version < b"1.1"):
                raise h11.RemoteProtocolError("the length of the body is said in two ways")
        return event


class _Protocol(H11Protocol):
    request_time: float
    stalled_time: float
    _overdue: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn = _Connection(h11.SERVER, _LONGEST_HEAD)

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
        self._not_stalled()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Called when the client takes less than there is."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.stalled_time, self.transport.abort)

    def resume_writing(self) -> None:
        """Called when it has taken most of it."""
        self._not_stalled()
        super().resume_writing()

    def _not_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: whoever asks for another protocol is answered in this one."""

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
