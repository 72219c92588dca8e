"""Exports to hold, of a source that notes what becomes of it."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from export_engine import (
    Channel,
    Contact,
    Conversation,
    DateRange,
    Export,
    Message,
    export_conversations,
)

CHANNEL = Channel("SMS Support", "+12025550123")
JUNE = DateRange(date(2026, 6, 1), date(2026, 6, 30))
START = datetime(2026, 6, 1, tzinfo=UTC)

LOOPS = ["asyncio", "uvloop"]


class OwnError(Exception):
    """An error of the caller's."""


def export(source: object, *, channel: Channel = CHANNEL, **options: Any) -> Export:
    return export_conversations(source, channel=channel, date_range=JUNE, export_id="1c4639da", **options)


def ours() -> list[str]:
    """The engine's threads."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("export-engine")]


def until(true: Callable[[], object], seconds: float = 120) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def bytes_in(folder: Path) -> int:
    """The size of the files there, some of which may go while one looks."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += path.stat().st_size if path.is_file() else 0
    return size


class Talks:
    """Conversations without compressible text, which note how many were read and in what thread they were closed."""

    def __init__(self, count: int = 20_000, *, then: BaseException | None = None) -> None:
        self.read = 0
        self.threads: set[int] = set()
        self.closed = threading.Event()
        self._count = count
        self._then = then

    def __iter__(self) -> Iterator[Conversation]:
        noise = random.Random(7)  # noqa: S311  # no secret
        try:
            for number in range(self._count):
                self.threads.add(threading.get_ident())
                self.read += 1
                text = noise.randbytes(6_000).hex()
                yield Conversation(
                    f"c{number}", Contact("Jane"), [Message(f"m{number}", START, "inbound", "customer", text)]
                )
            if self._then is not None:
                raise self._then
        finally:
            self.threads.add(threading.get_ident())
            self.closed.set()


def run(main: Callable[[], Any], loop: str = "asyncio") -> Any:
    """Run a coroutine function in a new event loop."""
    factory = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


async def whole(made: Export) -> bytes:
    return b"".join([chunk async for chunk in made])
