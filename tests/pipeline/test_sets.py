"""Several archives of one export: each a whole ZIP within the limit, cut as late as can be, whatever the batches."""

from __future__ import annotations

import errno
import io
import os
import random
import zipfile
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from tempfile import TemporaryFile
from zipfile import ZipInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export_engine import Contact, Conversation, ExportOptions, Message
from export_engine.pipeline.archive import Archive, pack
from export_engine.pipeline.flow import Pipeline
from export_engine.pipeline.members import member_spec
from export_engine.pipeline.sets import ArchiveSet, Cut, Ended
from export_engine.pipeline.workers import Workers
from export_engine.pipeline.writer import Writer
from export_engine.report import MemberRecord
from tests.pipeline.exporting import CHANNEL, JUNE, cut, rows_of
from tests.pipeline.test_archive import SPECS, Spec, body, members_of, walk, whole

pytestmark = pytest.mark.timeout(300)

START = datetime(2026, 6, 2, tzinfo=UTC)
FEW = settings(deadline=None, max_examples=60)
GIB = 1 << 30


def split(chunks: Iterable[bytes | Cut]) -> list[bytes]:
    """Each archive's bytes."""
    archives = [b""]
    for chunk in chunks:
        if isinstance(chunk, Cut):
            archives.append(b"")
        else:
            archives[-1] += chunk
    return archives


def infos(archive: bytes) -> list[ZipInfo]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        return opened.infolist()


def room_of(info: ZipInfo) -> int:
    """What a member takes in an archive below 4 GiB, by its facts alone."""
    name = len(info.filename.encode())
    return 30 + name + info.compress_size + (16 if info.flag_bits & 8 else 0) + 46 + name


def size(room: int, count: int) -> int:
    """The size of an archive whose members take so much."""
    return room + 22 + (76 if count >= 0xFFFF else 0)


def expected_cuts(members: list[ZipInfo], limit: int) -> list[list[str]]:
    """Which members are together: each archive takes the next as long as it fits."""
    archives: list[list[str]] = [[]]
    room = 0
    for member in members:
        room += room_of(member)
        if archives[-1] and size(room, len(archives[-1]) + 1) > limit:
            archives.append([])
            room = room_of(member)
        archives[-1].append(member.filename)
    return archives


def specs_in_set(specs: list[Spec], limit: int, together: int) -> tuple[list[bytes], ArchiveSet]:
    """Members that were deflated already, so many at a time; streamed ones by themselves, in pieces."""
    made = ArchiveSet(limit, TemporaryFile)
    chunks: list[bytes | Cut] = []
    at = 0
    while at < len(specs):
        spec = specs[at]
        if spec.way == "streamed":
            chunks += made.begin(members_of([Spec(spec.name, way="streamed", stamp=spec.stamp)]))
            for piece in range(0, len(spec.payload), 99):
                chunks += made.stream(spec.payload[piece : piece + 99])
            chunks += made.end(members_of([spec]))
            at += 1
            continue
        stop = next((n for n in range(at, len(specs)) if specs[n].way == "streamed"), len(specs))
        some = specs[at : min(stop, at + together)]
        members, data = members_of(some), b"".join(spec.payload for spec in some)
        packed = pack(members, data)
        chunks += made.add(packed, members, made.cuts(packed))
        at += len(some)
    chunks += made.finish()
    made.close()
    return split(chunks), made


@pytest.mark.slow
@given(SPECS, st.integers(1, 2000), st.integers(1, 8))
@example([Spec("a.csv", bytes(range(256)), "streamed"), Spec("b.csv", bytes(range(256)), "streamed")], 400, 1)
@example([], 1, 1)
@FEW
def test_each_is_a_whole_archive_within_the_limit(specs: list[Spec], limit: int, together: int) -> None:
    """Held, packed and streamed members, in any mix: every field right, cut as late as can be, and nothing is lost."""
    archives, made = specs_in_set(specs, limit, together)
    found = [infos(archive) for archive in archives]
    for archive, members in zip(archives, found, strict=True):
        walk(archive)
        assert len(archive) <= limit or len(members) <= 1
    (alone,) = specs_in_set(specs, 1 << 40, together)[0]
    assert alone == whole(specs)
    assert [[member.filename for member in members] for members in found] == expected_cuts(infos(alone), limit)
    assert made.ended == [Ended(len(a), len(m)) for a, m in zip(archives, found, strict=True)]
    assert (made.position, made.members) == (sum(map(len, archives)), len(specs))


@pytest.mark.parametrize("more", [-1, 0])
@pytest.mark.parametrize("way", ["held", "streamed"])
def test_the_last_byte_counts(way: str, more: int) -> None:
    """What fits exactly stays; one byte less and it goes on in another."""
    specs = [Spec("a.csv", b"a" * 50), Spec("é.csv", bytes(range(256)), way)]
    archives, _ = specs_in_set(specs, len(whole(specs)) + more, 8)
    assert len(archives) == 1 - more


@pytest.mark.slow
@pytest.mark.parametrize(
    "limit", [size(n * room_of(ZipInfo("00000.csv")), n) + k for n in (65_534, 65_535) for k in (-1, 0)]
)
def test_the_zip64_end_counts(limit: int) -> None:
    """From 65,535 members on an archive ends with 76 bytes more, which it must have room for."""
    specs = [Spec(f"{number:05d}.csv", method=0) for number in range(65_600)]
    archives, _ = specs_in_set(specs, limit, 10_000)
    assert [[m.filename for m in infos(archive)] for archive in archives] == expected_cuts(infos(whole(specs)), limit)
    assert all(len(archive) <= limit for archive in archives)


@given(SPECS, st.sampled_from([0, 1, 40, 100, 400]), st.integers(1, 8))
@FEW
def test_sizes_beyond_4_gib(specs: list[Spec], before: int, streamed: int) -> None:
    """What an archive would come to is what it comes to, with the zip64 records that far offsets need."""
    made = Archive()
    made.position = begin = 4 * GIB - before
    packed = [spec._replace(way="packed" if spec.way == "streamed" else spec.way) for spec in specs]
    members, data = members_of(packed), b"".join(spec.payload for spec in packed)
    told = made.size_with(pack(members, data), 0, len(packed))
    assert told == begin + len(body(made, packed)) + len(b"".join(made.finish()))
    made = Archive()
    made.position = begin
    long = Spec("long é.csv", b"x" * streamed, "streamed")
    told = made.size_with_streamed(members_of([long]), len(long.payload))
    assert told == begin + len(body(made, [long])) + len(b"".join(made.finish()))


# --- of an export ----------------------------------------------------------------------------------------------------


def talks(count: int, seed: int, *, long: int = 0) -> list[Conversation]:
    """Conversations of incompressible texts, all of one contact; each `long`th has many messages."""
    rng = random.Random(seed)  # noqa: S311  # for texts
    return [
        Conversation(
            f"c{number}",
            Contact("Jane"),
            [
                Message(f"m{number}-{n}", START + timedelta(seconds=n), "inbound", "customer", rng.randbytes(40).hex())
                for n in range(rng.randint(20, 60) if long and number % long == 0 else rng.randint(1, 4))
            ],
        )
        for number in range(count)
    ]


def exported(
    conversations: list[Conversation],
    limit: int | None,
    *,
    threads: int = 1,
    rows: int = 10,
    spool_limit: int = 1 << 20,
) -> tuple[list[bytes], list[MemberRecord]]:
    """The pipeline with groups of about ten rows: what is longer goes the way of long conversations."""
    spec = replace(member_spec(ExportOptions(spool_limit=spool_limit), CHANNEL, JUNE), piece=500)
    records: list[MemberRecord] = []
    archives = ArchiveSet(limit, TemporaryFile)
    writer = Writer(spec, archives=archives, on_member=records.append)
    with closing(Workers(threads)) as workers, closing(archives):
        made = Pipeline(spec, workers, writer, threads, max_rows=10, max_bytes=4000)
        return split(made.chunks(cut(rows_of(conversations, UTC), rows))), records


@pytest.mark.slow
@given(st.integers(0, 10_000), st.integers(300, 9000), st.sampled_from([0, 2, 5]), st.sampled_from([0, 800, 1 << 20]))
@settings(deadline=None, max_examples=25)
def test_an_export_in_archives(seed: int, limit: int, long: int, spool_limit: int) -> None:
    """The members of the one archive, name for name and byte for byte, cut as late as can be; records tell where."""
    conversations = talks(20, seed, long=long)
    (alone,), _ = exported(conversations, None, spool_limit=spool_limit)
    archives, records = exported(conversations, limit, spool_limit=spool_limit)
    found = [infos(archive) for archive in archives]
    assert [[member.filename for member in members] for members in found] == expected_cuts(infos(alone), limit)
    assert [record.archive for record in records] == [n for n, its in enumerate(found, 1) for _ in its]
    with zipfile.ZipFile(io.BytesIO(alone)) as opened:
        csvs = {name: opened.read(name) for name in opened.namelist()}
    assert len(csvs) == 20
    for archive in archives:
        assert len(archive) <= limit or len(infos(archive)) == 1
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            assert all(opened.read(name) == csvs.pop(name) for name in opened.namelist())
    assert not csvs


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 1500, 6000])
def test_archives_do_not_depend_on_how_it_was_done(limit: int) -> None:
    """Threads and batches leave no trace, where the cuts are neither."""
    conversations = talks(60, 7, long=9)
    expected, _ = exported(conversations, limit, spool_limit=700)
    assert len(expected) > 5
    for threads, rows in [(1, 3), (2, 10), (3, 7)]:
        assert exported(conversations, limit, threads=threads, rows=rows, spool_limit=700)[0] == expected


def test_what_is_held_is_let_go() -> None:
    """A file that holds a member is closed, whatever ends the export."""
    made = ArchiveSet(100, TemporaryFile)
    for name in ("a.csv", "b.csv"):
        list(made.begin(members_of([Spec(name, way="streamed")])))
        list(made.stream(b"x"))
        if name == "a.csv":
            list(made.end(members_of([Spec(name, b"x", way="streamed")])))
    made.close()
    made.close()


def test_no_room_for_what_is_held() -> None:
    """The error says what the room was for, as the file has no name."""

    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    made = ArchiveSet(1000, Full)
    list(made.begin(members_of([Spec("a.csv", way="streamed")])))
    list(made.end(members_of([Spec("a.csv", b"", way="streamed")])))
    list(made.begin(members_of([Spec("b.csv", way="streamed")])))
    with pytest.raises(OSError, match="it was to hold a long CSV") as caught:
        list(made.stream(b"x"))
    assert caught.value.errno == errno.ENOSPC
    made.close()
