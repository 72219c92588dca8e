"""Answers in time, whatever the database does.

A database that is frozen does not even break the connection, and no time-out of its own or of its driver ends the wait.
So what asks it runs in a thread that is waited for `ANSWER_TIME` at most, all questions of a request together; then the
answer is 503. The thread is left behind until the database wakes or the connection breaks, and what it was to do may
still be done. There are `THREADS` for requests that read and as many for those that write, so that polls are answered
while writers wait for a lock; when all of a kind are left behind, requests of that kind get their 503 without one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import anyio
from anyio import CapacityLimiter
from fastapi import Request

from export_engine.service.errors import UnavailableError

__all__ = ["ANSWER_TIME", "THREADS", "Lanes", "in_time"]

#: How long the questions of one request may take, all together.
ANSWER_TIME = timedelta(seconds=1.7)
#: Threads for requests of each kind.
THREADS = 20

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Lanes:
    """The threads of one application."""

    reading: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS))
    writing: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS))


async def in_time(request: Request, act: Callable[[], _T]) -> _T:
    """What `act` returns or raises, from a thread. Raises UnavailableError once the request's time is used up."""
    lanes: Lanes = request.app.state.lanes
    lane = lanes.reading if request.method in ("GET", "HEAD") else lanes.writing
    used = getattr(request.state, "used", 0.0)
    began = time.monotonic()
    try:
        with anyio.fail_after(ANSWER_TIME.total_seconds() - used):
            return await anyio.to_thread.run_sync(lambda: _kept(act), abandon_on_cancel=True, limiter=lane)
    except _OfAct as raised:
        raise raised.error from None
    except TimeoutError:
        raise UnavailableError from None
    finally:
        request.state.used = used + time.monotonic() - began


class _OfAct(Exception):  # noqa: N818  # an envelope: a TimeoutError of what was done is told from one of the wait
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def _kept(act: Callable[[], _T]) -> _T:
    try:
        return act()
    except Exception as error:
        raise _OfAct(error) from error
