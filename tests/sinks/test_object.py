"""An export as an object: whole and to the byte, or nothing at all, in bounded memory; S3 over its real protocol."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from math import ceil
from pathlib import Path

import httpx
import obstore
import pytest
from obstore.store import LocalStore, MemoryStore, ObjectStore

from export_engine import (
    ArchiveError,
    Channel,
    Contact,
    Conversation,
    DateRange,
    Export,
    GroupingError,
    Message,
    export_conversations,
)
from export_engine.report import MemberRecord
from export_engine.sinks.object import write_object
from tests import s3
from tests.exports import START, OwnError, ours, until

MIB = 1 << 20
PART = 5 * MIB  # the least that S3 takes
TEXT = "All work and no play. " * 4000
LONG = 48  # MiB of a source: several parts have gone up long before it ends


class Place:
    """A store, and everything that is in it, unfinished uploads and temporary files included."""

    def __init__(self, store: ObjectStore, contents: Callable[[], list[str]]) -> None:
        self.store = store
        self.contents = contents


@pytest.fixture(params=["directory", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "directory":
        return Place(LocalStore(tmp_path), lambda: [path.name for path in tmp_path.rglob("*") if path.is_file()])
    if request.param == "memory":
        memory = MemoryStore()
        return Place(memory, lambda: [meta["path"] for meta in obstore.list(memory).collect()])
    bucket: s3.Bucket = request.getfixturevalue("bucket")
    return Place(bucket.store, lambda: [*bucket.keys(), *bucket.uploads()])


def conversations(mib: float, *, then: Callable[[], object] = lambda: None) -> Iterator[Conversation]:
    """Conversations of so many MiB of text in all; then calls `then`."""
    for number in range(ceil(mib * MIB / len(TEXT))):
        message = Message(f"m{number}", START, "inbound", "customer", text=TEXT)
        yield Conversation(f"c{number}", Contact("Jane Doe"), [message], START)
    then()


def export(source: object) -> Export:
    return export_conversations(
        source,
        channel=Channel("SMS Support"),
        date_range=DateRange(date(2026, 6, 1), date(2026, 6, 30)),
        compression="store",
        export_id="1c4639da",
    )


class Chunks:
    """Something to stream with chunks of one's own, which notes whether it was closed."""

    file_name = "chunks.zip"

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self.chunks
        finally:
            self.closed = True

    def listen(self, listener: Callable[[MemberRecord], object], *, sha256: bool = False) -> None:
        """Nobody asks for members here."""


def stored(store: ObjectStore, path: str) -> bytes:
    return bytes(obstore.get(store, path).bytes())


@pytest.mark.slow
@pytest.mark.parametrize("mib", [0, 0.5, 13])
def test_the_bytes_of_the_export(place: Place, mib: float) -> None:
    """The object is what iterating the export gives, empty, smaller than a part, and of several parts."""
    write_object(export(conversations(mib)), place.store, "a/b.zip", part_size=PART)
    expected = b"".join(export(conversations(mib)))
    assert len(expected) >= mib * MIB
    assert stored(place.store, "a/b.zip") == expected
    assert len(place.contents()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[PART], [PART, PART], [PART - 1, 2], [3 * PART + 1], [1, 0, 1], [PART, 0, 0]])
def test_chunks_on_the_borders_of_parts(bucket: s3.Bucket, sizes: list[int]) -> None:
    """Chunks that fill parts exactly, exceed several, or are empty: every byte is there, and nothing ends early."""
    chunks = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    write_object(Chunks(*chunks), bucket.store, "key", part_size=PART)
    assert stored(bucket.store, "key") == b"".join(chunks)
    assert bucket.uploads() == []


def test_an_archive_of_several_parts_is_uploaded_in_parts(bucket: s3.Bucket) -> None:
    """13 MiB are three parts of one upload; a small archive is one request."""
    write_object(export(conversations(13)), bucket.store, "large", part_size=PART, overwrite=True)
    assert sum("partNumber=" in line for line in bucket.requests) == 3
    write_object(export(conversations(1)), bucket.store, "small", part_size=PART, overwrite=True)
    assert [line for line in bucket.requests if "/large" not in line] == [f"PUT /{bucket.name}/small?"]


def ungrouped() -> Iterator[Conversation]:
    yield from conversations(LONG)
    yield from conversations(1)


def raising(error: BaseException) -> Callable[[], None]:
    def then() -> None:
        raise error

    return then


@pytest.mark.slow
@pytest.mark.parametrize("mib", [0, LONG])
@pytest.mark.parametrize("error", [OwnError("mine"), KeyboardInterrupt(), FileNotFoundError("theirs")])
def test_a_source_that_raises(place: Place, error: BaseException, mib: int) -> None:
    """The very exception arrives, and there is no object, unfinished upload or temporary file."""
    with pytest.raises(type(error)) as caught:
        write_object(export(conversations(mib, then=raising(error))), place.store, "a/b.zip", part_size=PART)
    assert caught.value is error
    assert not getattr(error, "__notes__", [])
    assert place.contents() == []


@pytest.mark.slow
def test_an_interrupt_from_the_keyboard(place: Place) -> None:
    """A real SIGINT while the export is read leaves nothing either."""
    source = conversations(LONG, then=lambda: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests run in the background may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            write_object(export(source), place.store, "a/b.zip", part_size=PART)
    finally:
        signal.signal(signal.SIGINT, before)
    assert place.contents() == []


@pytest.mark.slow
def test_an_error_of_the_engine(place: Place) -> None:
    """Rows that do not stand together, after several MiB, leave nothing."""
    with pytest.raises(GroupingError):
        write_object(export(ungrouped()), place.store, "a/b.zip", part_size=PART)
    assert place.contents() == []


def test_a_failed_upload_had_begun_and_was_aborted(bucket: s3.Bucket) -> None:
    """What leaves nothing is the abort, not that nothing had been sent yet."""

    class Failing(Chunks):
        def __iter__(self) -> Iterator[bytes]:
            yield from super().__iter__()
            until(lambda: any("partNumber=" in line for line in bucket.requests))
            assert bucket.uploads() == ["key"]
            raise OwnError

    with pytest.raises(OwnError):
        write_object(Failing(*[bytes(MIB)] * LONG), bucket.store, "key", part_size=PART)
    assert any(line.startswith("DELETE") for line in bucket.requests)
    assert bucket.uploads() == []


@pytest.mark.parametrize(
    "request_line",
    [r"POST .*\?uploads", "PUT .*partNumber=1&", "PUT .*partNumber=2&", "PUT .*partNumber=3&", "POST .*uploadId="],
    ids=["begin", "first part", "middle part", "last part", "completion"],
)
def test_a_store_that_refuses(bucket: s3.Bucket, request_line: str) -> None:
    """Whatever request the store refuses, its error arrives, nothing is left and the export is closed."""
    chunks = Chunks(*[bytes(MIB)] * 13)
    with bucket.server.refusing(request_line), pytest.raises((OSError, obstore.exceptions.BaseError), match="403"):
        write_object(chunks, bucket.store, "key", part_size=PART)
    assert bucket.keys() == []
    assert bucket.uploads() == []
    assert chunks.closed


def test_workers_end_when_a_part_fails(bucket: s3.Bucket) -> None:
    """The export's threads do not wait for the exception to be forgotten."""
    with bucket.server.refusing("partNumber=1&"), pytest.raises((OSError, obstore.exceptions.BaseError)) as caught:
        write_object(export(conversations(40)), bucket.store, "key", part_size=PART)
    assert caught.value.__traceback__
    assert not ours()


def test_an_abort_that_fails(bucket: s3.Bucket) -> None:
    """The exception that came first arrives, with a note of what may be left; and the tests would see what is left."""
    error = OwnError("mine")
    with bucket.server.refusing("DELETE"), pytest.raises(OwnError) as caught:
        write_object(export(conversations(LONG, then=raising(error))), bucket.store, "key", part_size=PART)
    assert caught.value is error
    assert "could not be aborted" in error.__notes__[0]
    assert bucket.uploads() == ["key"]


def test_an_object_that_exists(place: Place) -> None:
    """It is refused before the source is read, and replaced only when that is asked for."""
    obstore.put(place.store, "a.zip", b"theirs")
    read: list[Conversation] = []
    with pytest.raises(ArchiveError, match=r"a\.zip exists already"):
        write_object(export(map(read.append, conversations(1))), place.store, "a.zip")
    assert read == []
    assert stored(place.store, "a.zip") == b"theirs"
    write_object(export(conversations(1)), place.store, "a.zip", overwrite=True)
    assert stored(place.store, "a.zip") == b"".join(export(conversations(1)))


@pytest.mark.slow
def test_an_object_that_comes_meanwhile(place: Place) -> None:
    """It is kept, and the upload given up."""
    source = conversations(LONG, then=lambda: obstore.put(place.store, "a.zip", b"theirs"))
    with pytest.raises(ArchiveError):
        write_object(export(source), place.store, "a.zip", part_size=PART)
    assert stored(place.store, "a.zip") == b"theirs"
    assert place.contents() == ["a.zip"]


@pytest.mark.slow
def test_a_failed_replacement(place: Place) -> None:
    """The object that was to be replaced is still there, as it was."""
    obstore.put(place.store, "a.zip", b"theirs")
    with pytest.raises(OwnError):
        write_object(
            export(conversations(LONG, then=raising(OwnError()))), place.store, "a.zip", part_size=PART, overwrite=True
        )
    assert stored(place.store, "a.zip") == b"theirs"
    assert place.contents() == ["a.zip"]


def test_a_source_that_reads_from_a_store_itself(place: Place) -> None:
    """The export is pulled outside obstore's runtime, so that its source may use obstore."""
    obstore.put(place.store, "input", b"7")
    source = conversations(1, then=lambda: stored(place.store, "input"))
    write_object(export(source), place.store, "a.zip")
    assert stored(place.store, "a.zip") == b"".join(export(conversations(1)))


@pytest.mark.slow
def test_the_headers_of_an_object(bucket: s3.Bucket) -> None:
    """`attributes` are what a download gets, of an upload in parts too."""
    for size in (1, 6 * MIB):
        write_object(
            Chunks(bytes(size)),
            bucket.store,
            f"{size}",
            part_size=PART,
            attributes={"Content-Type": "application/zip", "Content-Disposition": 'attachment; filename="a.zip"'},
        )
        answer = httpx.get(obstore.sign(bucket.store, "GET", f"{size}", timedelta(hours=1)), timeout=90)
        assert answer.headers["content-type"] == "application/zip"
        assert answer.headers["content-disposition"] == 'attachment; filename="a.zip"'


@pytest.mark.slow
def test_parts_leave_while_the_source_is_read(bucket: s3.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the export, what was pulled and is not in the store stays under seven parts."""
    ahead, furthest = 0, 0
    lock = threading.Lock()

    def moved(size: int) -> None:
        nonlocal ahead, furthest
        with lock:
            ahead += size
            furthest = max(furthest, ahead)

    class Counted(Chunks):
        def __iter__(self) -> Iterator[bytes]:
            for chunk in super().__iter__():
                moved(len(chunk))
                yield chunk

    def stored(line: str, size: int) -> None:
        if f"/{bucket.name}/" in line:
            moved(-size)

    monkeypatch.setattr(bucket.server, "stored", stored)
    write_object(Counted(*[bytes(MIB)] * 80), bucket.store, "key", part_size=PART)
    assert ahead == 0
    assert furthest < 7 * PART


MEMORY = """
import sys
import obstore
from obstore.store import LocalStore
from export_engine.sinks.object import write_object
from tests.sinks.test_object import MIB, conversations, export

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024

store = LocalStore(sys.argv[1])
write_object(export(conversations(40)), store, "warm.zip")
before = peak()
write_object(export(conversations(400)), store, "large.zip")
assert obstore.head(store, "large.zip")["size"] > 400 * MIB
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_export(tmp_path: Path) -> None:
    """An export of 400 MiB needs no more memory than one of 40, give or take what is under way when."""
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 160 * MIB
