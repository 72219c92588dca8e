"""An export iterated by an event loop: the same bytes, and nothing left of it whoever goes away."""

from __future__ import annotations

import asyncio
import contextvars
import sqlite3
import subprocess
import sys
import threading
import zipfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError
from contextlib import aclosing
from datetime import UTC, timedelta
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest

from export_engine import (
    Contact,
    Conversation,
    Export,
    Message,
    StateError,
)
from tests import reference
from tests.exports import CHANNEL, JUNE, LOOPS, START, OwnError, Talks, export, ours, run, until, whole


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("threads", [1, 2])
def test_async_gives_the_same_bytes(loop: str, threads: int) -> None:
    """As iterating gives; the report is there after it, no thread is."""
    made = export(Talks(50), threads=threads)
    assert run(lambda: whole(made), loop) == b"".join(export(Talks(50)))
    assert made.report.members == 50
    until(lambda: not ours())


def test_two_loops_at_once() -> None:
    """Each export has its loop and its thread."""
    expected = b"".join(export(Talks(50)))
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(run(lambda: whole(export(Talks(50)))))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [expected] * 2


def test_several_exports_in_one_loop() -> None:
    """They go on side by side."""

    async def main() -> list[bytes]:
        return await asyncio.gather(*(whole(export(Talks(50))) for _ in range(4)))

    assert set(run(main)) == {b"".join(export(Talks(50)))}


def test_the_loop_goes_on_meanwhile() -> None:
    """Other tasks run while the source is waited for."""
    passed = threading.Event()

    def waiting() -> Iterator[Conversation]:
        assert passed.wait(60)
        yield from Talks(1)

    async def main() -> bytes:
        asyncio.get_running_loop().call_later(0.01, passed.set)
        return await whole(export(waiting()))

    assert len(run(main)) > 6_000


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("at", [0, 3, 3_000])
@pytest.mark.parametrize(
    "error", [OwnError("mine"), FileNotFoundError("theirs"), TimeoutError(), CancelledError(), KeyError("x")]
)
def test_async_errors_arrive_unwrapped(loop: str, error: BaseException, at: int) -> None:
    """The very exception that the source raised, also one that asyncio would exchange for its own."""
    talks = Talks(at, then=error)

    async def main() -> None:
        with pytest.raises(type(error)) as caught:
            await whole(export(talks))
        assert caught.value is error

    run(main, loop)
    until(lambda: not ours())


@pytest.mark.slow
def test_the_source_is_read_and_closed_by_one_thread() -> None:
    """So that a cursor bound to its thread works: sqlite3 refuses any other."""
    threads: set[int] = set()

    def source() -> Iterator[Conversation]:
        database = sqlite3.connect(":memory:")
        database.execute("CREATE TABLE message (id, text)")
        database.executemany("INSERT INTO message VALUES (?, hex(randomblob(3000)))", ((n,) for n in range(5_000)))
        try:
            for id_, text in database.execute("SELECT id, text FROM message"):
                threads.add(threading.get_ident())
                yield Conversation(str(id_), Contact("Jane"), [Message(str(id_), START, "inbound", "customer", text)])
        finally:
            threads.add(threading.get_ident())
            database.close()  # raises in any thread but the one that opened it

    async def left() -> None:
        async with export(source(), threads=2) as made:
            async for _ in made:
                break

    assert len(run(lambda: whole(export(source(), threads=2)))) > 5_000 * 3_000
    assert len(threads) == 1
    assert threads != {threading.get_ident()}
    threads.clear()
    run(left)
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def test_context_variables_are_the_callers() -> None:
    """A source sees the request that it is read for."""
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    seen: list[str] = []

    def source() -> Iterator[Conversation]:
        seen.append(request.get())
        yield from Talks(1)

    async def main() -> None:
        request.set("7")
        await whole(export(source()))

    run(main)
    assert seen == ["7"]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("taken", [1, 3])
def test_break_and_close(loop: str, taken: int) -> None:
    """`break` out of `aclosing` stops the work; the source is closed."""
    talks = Talks()

    async def main() -> None:
        async with aclosing(aiter(export(talks))) as chunks:
            count = 0
            async for _ in chunks:
                count += 1
                if count == taken:
                    break

    run(main, loop)
    assert talks.closed.wait(60)
    until(lambda: not ours())
    assert talks.read < 20_000


def test_async_with_waits_for_the_end() -> None:
    """After the block the source is closed, not only told to; also one that was never begun."""
    talks = Talks()

    async def main() -> None:
        async with export(talks) as made:
            async for _ in made:
                break
        assert talks.closed.is_set()
        assert repr(made).endswith("closed>")
        async with export(talks):
            pass

    run(main)
    until(lambda: not ours())


def test_closing_from_the_loop_tells_the_thread() -> None:
    """`with` in a coroutine does not wait, nor close the source in the wrong thread; who goes on is told."""
    talks = Talks()

    async def main() -> None:
        chunks: AsyncIterator[bytes]
        with export(talks) as made:
            chunks = aiter(made)
            await anext(chunks)
        with pytest.raises(StateError, match="closed while it was iterated"):
            await anext(chunks)

    run(main)
    assert talks.closed.wait(60)
    assert threading.get_ident() not in talks.threads
    until(lambda: not ours())


class Blocking:
    """A source that blocks after a while, and notes in what thread it was closed."""

    def __init__(self) -> None:
        self.blocked = threading.Event()
        self.go_on = threading.Event()
        self.closed: list[int] = []

    def __iter__(self) -> Iterator[Conversation]:
        try:
            yield from Talks(3)
            self.blocked.set()
            assert self.go_on.wait(60)
            yield from Talks(20_000)
        finally:
            self.closed.append(threading.get_ident())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_task_that_is_cancelled(loop: str) -> None:
    """It ends at once, though the source blocks; the source is closed once it no longer does."""
    talks = Blocking()

    async def main() -> None:
        task = asyncio.create_task(whole(export(talks, threads=2)))
        await asyncio.to_thread(talks.blocked.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert talks.closed == []

    run(main, loop)
    talks.go_on.set()
    until(lambda: talks.closed and not ours())


def test_a_block_that_is_cancelled() -> None:
    """`async with` waits for the step under way, however often it is closed, and leaves the closing to its thread."""
    talks = Blocking()

    async def download(made: Export) -> None:
        async with made:
            await whole(made)

    async def main() -> None:
        made = export(talks)
        task = asyncio.create_task(download(made))
        await asyncio.to_thread(talks.blocked.wait, 60)
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()
        made.close()
        made.close()
        assert talks.closed == []
        talks.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(talks.closed) == 1

    run(main)
    assert threading.get_ident() not in talks.closed
    until(lambda: not ours())


def test_a_step_that_takes_too_long() -> None:
    """A timeout around a chunk ends the export, as what was lost with it cannot be had again."""
    go_on = threading.Event()
    talks = Talks()

    def slow() -> Iterator[Conversation]:
        go_on.wait(60)
        yield from talks

    async def main() -> None:
        chunks = aiter(export(slow()))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(chunks), 0.01)
        go_on.set()
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)

    run(main)
    until(lambda: not ours())
    assert talks.read < 20_000


def test_a_loop_that_ends_with_an_export_under_way() -> None:
    """What nobody has closed ends with the loop."""
    talks = Talks()
    kept: list[object] = []

    async def main() -> None:
        chunks = aiter(export(talks))
        kept.append(chunks)
        await anext(chunks)

    run(main)
    assert talks.closed.wait(60)
    until(lambda: not ours())


@pytest.mark.slow
def test_the_source_is_read_no_further_than_the_window() -> None:
    """While the consumer waits nothing is read; a chunk asked for reads a bounded part of the source."""
    talks = Talks(4_000)

    async def main() -> list[int]:
        steps = [0]
        async for _ in export(talks, threads=2):
            read = talks.read
            await asyncio.sleep(0.01)
            assert talks.read == read
            steps.append(read)
        return [after - before for before, after in pairwise(steps)]

    assert max(run(main)) * 12_000 < 32 << 20
    assert talks.read == 4_000


@pytest.mark.slow
def test_an_interpreter_that_ends_with_an_export_under_way() -> None:
    """Neither an abort nor a hang, whether the export is kept by a global or by nothing."""
    program = """
import asyncio, sys
from tests.exports import *
async def main():
    global chunks
    chunks = aiter(export(Talks(), threads=2))
    await anext(chunks)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
print("end")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr


def test_the_reference_agrees() -> None:
    """The rows of an asynchronous export are those of the plain one."""
    talks = list(reference.some(20, START, timedelta(minutes=1)))
    with zipfile.ZipFile(BytesIO(run(lambda: whole(export(talks))))) as opened:
        got = {name: opened.read(name) for name in opened.namelist()}
    assert got == dict(reference.csvs(talks, CHANNEL, JUNE, UTC))
