"""An export as something to hold: closed, iterated by an event loop, sent to a client that goes away."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import random
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import aclosing, contextmanager
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from export_engine import (
    Channel,
    Contact,
    Conversation,
    DateRange,
    Export,
    MemberRecord,
    Message,
    OptionError,
    StateError,
    export_conversations,
    open_source,
)
from export_engine.sources.open import source_of
from export_engine.sources.sorting import sorted_rows
from export_engine.sources.sql import read_sql
from tests import reference

CHANNEL = Channel("SMS Support", "+12025550123")
JUNE = DateRange(date(2026, 6, 1), date(2026, 6, 30))
START = datetime(2026, 6, 1, tzinfo=UTC)

LOOPS = ["asyncio", "uvloop"]


class OwnError(Exception):
    """An error of the caller's."""


def export(source: object, **options: Any) -> Export:
    return export_conversations(source, channel=CHANNEL, date_range=JUNE, export_id="1c4639da", **options)


def ours() -> list[str]:
    """The engine's threads."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("export-engine")]


def until(true: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


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


# --- held ----------------------------------------------------------------------------------------------------------


def test_an_export_shows_its_name_and_state() -> None:
    """In a log or a debugger."""
    made = export([])
    assert repr(made) == "<Export 'SMS_Support_2026-06_1c4639da.zip', not begun>"
    chunks = iter(made)
    next(chunks)
    assert repr(made).endswith("running>")
    made.close()
    assert repr(made).endswith("closed>")
    finished, failing = export([]), export(Talks(1, then=OwnError()))
    b"".join(finished)
    assert repr(finished).endswith("finished>")
    with pytest.raises(OwnError):
        b"".join(failing)
    assert repr(failing).endswith("failed>")


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_leaving_the_block_closes(taken: int) -> None:
    """The source is closed and no thread is left, also while somebody still holds the iterator."""
    talks = Talks()
    with export(talks, threads=2) as made:
        chunks = iter(made)
        for _ in range(taken):
            next(chunks)
    assert not ours()
    assert talks.closed.is_set() is bool(taken)
    assert list(chunks) == []
    with pytest.raises(StateError):
        iter(made)


def test_closing_what_has_ended_changes_nothing() -> None:
    """The report stays; closing twice is no error."""
    with export(Talks(3)) as made:
        b"".join(made)
        made.close()
    assert made.report.members == 3


def test_an_export_that_was_closed_unused_is_used_up() -> None:
    """It says so, as it would after a first use."""
    made = export([])
    made.close()
    with pytest.raises(StateError, match="is closed"):
        made.listen(print)
    with pytest.raises(StateError, match="is closed"):
        _ = made.report


def test_an_iterator_that_is_forgotten_ends_the_work() -> None:
    """The export itself does not keep it alive."""
    talks = Talks()
    made = export(talks, threads=2)
    next(iter(made))
    assert talks.closed.is_set()
    assert not ours()


def test_listeners_are_told_of_each_member_in_order() -> None:
    """Each listener hears of all; hashes are there if one asked for them."""
    one: list[MemberRecord] = []
    two: list[MemberRecord] = []
    made = export(Talks(5))
    made.listen(one.append)
    made.listen(two.append, sha256=True)
    with zipfile.ZipFile(BytesIO(b"".join(made))) as opened:
        assert [record.name for record in one] == opened.namelist()
    assert one == two
    assert all(len(record.sha256 or "") == 64 for record in one)
    plain = export(Talks(1))
    plain.listen(one.append)
    b"".join(plain)
    assert one[-1].sha256 is None


def test_inputs_are_the_files_that_are_read(tmp_path: Path) -> None:
    """So that a sink can keep off them; what is no file has none."""
    path = tmp_path / "a.jsonl"
    path.write_text("")
    assert export(open_source(path, str(path))).inputs == (path, str(path))
    assert export(sorted_rows(open_source(path))).inputs == (path,)
    query = "SELECT * FROM read_json($files)"
    for files in (str(path), [str(path)], f"{tmp_path}/*.jsonl"):
        assert export(read_sql(query, {"files": files})).inputs == (str(path),)
    assert export(sorted_rows(source_of([]))).inputs == ()
    assert export([]).inputs == ()


def test_the_options_are_checked_by_name() -> None:
    """A wrong keyword is an error that names what was meant."""
    with pytest.raises(OptionError, match="did you mean compression"):
        export([], compresion="fast")


# --- an event loop -------------------------------------------------------------------------------------------------


async def whole(made: Export) -> bytes:
    return b"".join([chunk async for chunk in made])


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


@pytest.mark.parametrize("loop", LOOPS)
def test_a_task_that_is_cancelled(loop: str) -> None:
    """It ends at once, though the source blocks; the source is closed once it no longer does."""
    blocked, go_on = threading.Event(), threading.Event()
    closed: list[int] = []

    def blocking() -> Iterator[Conversation]:
        try:
            yield from Talks(3)
            blocked.set()
            assert go_on.wait(60)
            yield from Talks(20_000)
        finally:
            closed.append(threading.get_ident())

    async def main() -> None:
        task = asyncio.create_task(whole(export(blocking(), threads=2)))
        await asyncio.to_thread(blocked.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert closed == []

    run(main, loop)
    go_on.set()
    until(lambda: closed and not ours())


def test_a_block_that_is_cancelled() -> None:
    """`async with` waits for the step under way, however often it is closed, and leaves the closing to its thread."""
    blocked, go_on = threading.Event(), threading.Event()
    closed: list[int] = []

    def blocking() -> Iterator[Conversation]:
        try:
            yield from Talks(3)
            blocked.set()
            assert go_on.wait(60)
            yield from Talks(20_000)
        finally:
            closed.append(threading.get_ident())

    async def download(made: Export) -> None:
        async with made:
            await whole(made)

    async def main() -> None:
        made = export(blocking())
        task = asyncio.create_task(download(made))
        await asyncio.to_thread(blocked.wait, 60)
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()
        made.close()
        made.close()
        assert closed == []
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(closed) == 1

    run(main)
    assert threading.get_ident() not in closed
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
from tests.test_engine import *
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
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr


# --- a web server --------------------------------------------------------------------------------------------------


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
        answer = httpx.get(f"http://127.0.0.1:{port}/")
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
        httpx.get(f"http://127.0.0.1:{port}/")
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


def test_the_reference_agrees() -> None:
    """The rows of an asynchronous export are those of the plain one."""
    talks = list(reference.some(20, START, timedelta(minutes=1)))
    with zipfile.ZipFile(BytesIO(run(lambda: whole(export(talks))))) as opened:
        got = {name: opened.read(name) for name in opened.namelist()}
    assert got == dict(reference.csvs(talks, CHANNEL, JUNE, UTC))
