"""One bit of the container changed, or one byte missing: it is found, whatever it is."""

from __future__ import annotations

import struct
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from export_engine import Contact, Conversation, Message
from export_engine.errors import ArchiveError
from export_engine.options import Compression
from export_engine.readback.directory import find_end
from export_engine.verify import verify_archive
from tests.archives import START, Made, make, problems, talk


def flipped(path: Path, at: range) -> list[tuple[int, int]]:
    """The places and bits that can be flipped within some bytes without a problem being found."""
    data = bytearray(path.read_bytes())
    unnoticed = []
    with path.open("r+b", buffering=0) as file:
        for place in at:
            for bit in range(8):
                file.seek(place)
                file.write(bytes([data[place] ^ 1 << bit]))
                if verify_archive(path).ok:
                    unnoticed.append((place, bit))
            file.seek(place)
            file.write(data[place : place + 1])
    return unnoticed


def small(folder: Path, compression: Compression, spool_limit: int) -> Made:
    """Two members: one with a row and a name beyond ASCII, one without rows."""
    return make(folder, [talk(1, ["a"]), talk(3, [])], compression=compression, spool_limit=spool_limit)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compression", "spool_limit"),
    [("store", 8 << 20), ("fast", 8 << 20), ("fast", 0)],
    ids=["stored", "whole", "streamed"],
)
def test_any_bit(tmp_path: Path, compression: Compression, spool_limit: int) -> None:
    """Every bit counts, in headers, data, descriptors, directory and end.

    What cannot be seen are bits of a deflated stream that mean nothing (RFC 1951): those that fill the last byte behind
    the end of the last block, and any whose change leaves the stream a valid one of the very same CSV. No reader can
    tell; the SHA-256 of the whole file does.
    """
    made = small(tmp_path, compression, spool_limit)
    assert verify_archive(made.path).ok
    data = made.path.read_bytes()
    unnoticed = flipped(made.path, range(len(data)))
    with ZipFile(made.path) as archive:
        deflated = set()
        for info in archive.infolist():
            if info.compress_type == ZIP_DEFLATED:
                begin = info.header_offset + 30 + len(info.filename.encode())
                deflated |= set(range(begin, begin + info.compress_size))
        texts = [archive.read(info) for info in archive.infolist()]
    assert {place for place, _ in unnoticed} <= deflated
    assert len(unnoticed) <= 2 * 7
    for place, bit in unnoticed:
        changed = bytearray(data)
        changed[place] ^= 1 << bit
        made.path.write_bytes(changed)
        with ZipFile(made.path) as archive:
            assert [archive.read(info) for info in archive.infolist()] == texts


@pytest.mark.slow
@pytest.mark.parametrize("spool_limit", [8 << 20, 0], ids=["whole", "streamed"])
def test_any_length(tmp_path: Path, spool_limit: int) -> None:
    """A beginning of an archive is never taken for one, nor is one with a byte less anywhere else."""
    made = small(tmp_path, "fast", spool_limit)
    data = made.path.read_bytes()
    for size in range(len(data)):
        made.path.write_bytes(data[:size])
        assert not verify_archive(made.path).ok
    for place in range(len(data)):
        made.path.write_bytes(data[:place] + data[place + 1 :])
        assert not verify_archive(made.path).ok


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 65,535 members, the first number that needs zip64 records."""

    def talks() -> list[Conversation]:
        message = Message("m", START, "inbound", "customer")
        return [
            Conversation(f"{number}", Contact(f"{number}"), [message], START - timedelta(seconds=number))
            for number in range(65_535)
        ]

    return make(tmp_path_factory.mktemp("many"), talks(), compression="store").path


ENDS = 56 + 20 + 22


@pytest.mark.slow
def test_any_bit_of_the_zip64_end(many: Path) -> None:
    """Every bit of the zip64 end record, its locator and the end record is found by what they say of the members.

    The members are not read for each: what is walked for them is the same, as is the place where the directory ends.
    """
    data = bytearray(many.read_bytes())
    size = len(data)
    assert data[-ENDS:].startswith(b"PK\x06\x06")
    with many.open("r+b", buffering=0) as file:
        end = find_end(file)
        assert list(end.problems(65_535)) == []
        unnoticed = []
        for place in range(size - ENDS, size):
            for bit in range(8):
                file.seek(place)
                file.write(bytes([data[place] ^ 1 << bit]))
                with suppress(ArchiveError):
                    changed = find_end(file)
                    if not list(changed.problems(65_535)) and changed.start == end.start and changed.stop == end.stop:
                        unnoticed.append((place - size, bit))
            file.seek(place)
            file.write(data[place : place + 1])
    assert unnoticed == []


@pytest.mark.slow
def test_fields_of_the_zip64_end(many: Path) -> None:
    """A field of each kind, through the whole of verify; as it is, the archive has no problem."""
    data = bytearray(many.read_bytes())
    assert verify_archive(many).problems == ()
    for place, says in (
        (-ENDS + 4, "length"),
        (-ENDS + 12, "version made by"),
        (-ENDS + 24, "members on this disk"),
        (-ENDS + 56 + 8, "locator's offset"),
        (-22 + 4, "disk"),
        (-22 + 8, "members on this disk"),
    ):
        data[place] ^= 4
        many.write_bytes(data)
        assert says in problems(many)
        data[place] ^= 4
    many.write_bytes(data)


def test_a_zip64_record_that_nothing_needs(tmp_path: Path) -> None:
    """zip64 records of a small archive, right in every field, are a problem all the same."""
    made = small(tmp_path, "fast", 8 << 20)
    data = made.path.read_bytes()
    with ZipFile(made.path) as archive:
        start = archive.start_dir
    stop = len(data) - 22
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, stop - start, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, stop, 1)
    made.path.write_bytes(data[:stop] + record + locator + data[stop:])
    assert verify_archive(made.path).problems == ("there is a zip64 end record, which nothing here needs",)


def test_stored_with_a_descriptor(tmp_path: Path) -> None:
    """Readers that stream cannot tell where such a member ends."""
    made = small(tmp_path, "store", 8 << 20)
    data = bytearray(made.path.read_bytes())
    with ZipFile(made.path) as archive:
        infos, start = archive.infolist(), archive.start_dir
    info = infos[-1]
    end = start
    check = struct.pack("<3L", info.CRC, info.compress_size, info.file_size)
    record = start + 46 + len(infos[0].filename.encode())
    data[record + 8] |= 8
    data[info.header_offset + 6] |= 8
    data[info.header_offset + 14 : info.header_offset + 26] = bytes(12)
    data[-6:-2] = struct.pack("<L", start + 16)
    data[end:end] = b"PK\x07\x08" + check
    made.path.write_bytes(data)
    assert "is stored with a data descriptor" in problems(made.path)
    assert len(verify_archive(made.path).problems) == 1
