"""Answers in time, whatever the database does.

A database that is frozen does not even break the connection, and no time-out of its own or of its driver ends the wait;
nor does anything end that for a file on a drive that has gone. So what asks it runs in a thread that is waited for
`ANSWER_TIME` at most, all questions of a request together; then the answer is 503. The thread is left behind until the
database wakes or the connection breaks, and what it was to do may still be done.

Each lane has `THREADS`, those left behind among them: when all of a lane are, what goes there gets its 503 without one.
So a lane that stands still holds up no other: jobs are polled while writers wait for a lock, polled and cancelled while
nobody can say which channels there are, and triggered while archives cannot be deleted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf
from threading import Lock
from typing import Literal, TypeVar

import anyio
from anyio import CapacityLimiter
from fastapi import Request

from export_engine.service.errors import UnavailableError

__all__ = ["ANSWER_TIME", "THREADS", "Lane", "Lanes", "in_time"]

#: How long the questions of one request may take, all together.
ANSWER_TIME = timedelta(seconds=1.7)
#: Threads of each lane.
THREADS = 20

#: What a question goes to: the database of jobs; that and the archives, to cancel one; that and the channels, to make
#: one; the channels alone.
Lane = Literal["reading", "cancelling", "triggering", "channels"]

_T = TypeVar("_T")


def _lane() -> CapacityLimiter:
    return CapacityLimiter(THREADS)


@dataclass(frozen=True, slots=True)
class Lanes:
    """The threads of one application."""

    reading: CapacityLimiter = field(default_factory=_lane)
    cancelling: CapacityLimiter = field(default_factory=_lane)
    triggering: CapacityLimiter = field(default_factory=_lane)
    channels: CapacityLimiter = field(default_factory=_lane)
    #: All of these together: anyio counts no thread that is left behind.
    unbounded: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(inf))


async def in_time(request: Request, lane: Lane, act: Callable[[], _T]) -> _T:
    """What `act` returns or raises, from a thread of a lane.

    Raises UnavailableError once the request's time is used up.
    """
    lanes: Lanes = request.app.state.lanes
    threads: CapacityLimiter = getattr(lanes, lane)
    loop, place = asyncio.get_running_loop(), object()
    # Each is taken by the thread or by who waits for it, whichever is first there: as it begins, and as either leaves.
    # Who leaves last gives up the place: mostly who waited, as the loop would have to be woken for the thread.
    begun, left = Lock(), Lock()

    def acted() -> _T:
        if not begun.acquire(blocking=False):
            raise UnavailableError  # nobody waits any more
        try:
            return act()
        except Exception as error:
            raise _OfAct(error) from error
        finally:
            if not left.acquire(blocking=False):
                with suppress(RuntimeError):  # the loop has ended meanwhile
                    loop.call_soon_threadsafe(threads.release_on_behalf_of, place)

    used = getattr(request.state, "used", 0.0)
    began = time.monotonic()
    try:
        with anyio.fail_after(ANSWER_TIME.total_seconds() - used):
            await threads.acquire_on_behalf_of(place)
            try:
                return await anyio.to_thread.run_sync(acted, abandon_on_cancel=True, limiter=lanes.unbounded)
            finally:
                if begun.acquire(blocking=False) or not left.acquire(blocking=False):
                    threads.release_on_behalf_of(place)
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
