"""The ZIP container: byte for byte zipstream-ng's headers, read by others' tools, and walked by a parser of its own."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from zipstream import ng

from export_engine.pipeline import archive
from export_engine.pipeline.archive import Archive, Members, deflate_and_pack, pack, unpack
from tests.reference import dos

pytestmark = pytest.mark.usefixtures("way")

GIB = 1 << 30
ONES_32 = 0xFFFFFFFF
PATIENT = settings(deadline=None, max_examples=100)
FEW = settings(deadline=None, max_examples=40)

STAMPS = st.datetimes(datetime(1980, 1, 1), datetime(2107, 12, 31, 23, 59, 59))  # noqa: DTZ001  # ZIP's times have no zone
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/\\"), min_size=1, max_size=12)
NUMBERS = st.tuples(st.integers(0, ONES_32), *[st.integers(0, zipfile.ZIP64_LIMIT)] * 2)  # CRC-32 and sizes
OFFSETS = st.integers(0, zipfile.ZIP64_LIMIT) | st.integers(ONES_32, 2**48) | st.sampled_from([0, ONES_32, ONES_32 + 1])


class Spec(NamedTuple):
    """One member to be written, and how: `held`, `packed` with a descriptor, or `streamed`."""

    name: str
    data: bytes = b""
    way: str = "held"
    method: int = 8
    stamp: datetime = datetime(2026, 4, 8, 3, 24, 32)  # noqa: DTZ001  # as above

    @property
    def payload(self) -> bytes:
        """What stands in the archive."""
        return self.data if self.method == 0 else zlib.compress(self.data, 6, wbits=-15)


SPECS = st.lists(
    st.builds(Spec, NAMES, st.binary(max_size=300), st.sampled_from(["held", "packed", "streamed"]), st.just(8), STAMPS)
    | st.builds(Spec, NAMES, st.binary(max_size=300), st.just("held"), st.just(0), STAMPS),
    max_size=8,
    unique_by=lambda spec: spec.name,
)
MIXED = [
    Spec("Jane Doe--2026-04-08_032443--SMS Support (+12025550123).csv", b"message_id\r\n" * 1000),
    Spec("王小明 👍--2026-04-08_032443--客服.csv", "訊息".encode() * 500),
    Spec("empty.csv"),
    Spec("stored.csv", b"as it is", method=0),
    Spec("long é.csv", bytes(range(256)) * 300, "streamed"),
    Spec("packed.csv", b"PK\x01\x02PK\x05\x06" * 50, "packed"),
    Spec("last.csv", b"x"),
]


def microseconds(stamp: datetime) -> int:
    return (stamp - datetime(1970, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001  # both without a zone


def members_of(specs: Sequence[Spec]) -> Members:
    facts = [(microseconds(s.stamp), s.method, zlib.crc32(s.data), len(s.payload), len(s.data)) for s in specs]
    created, methods, crc32s, deflated, sizes = np.array(facts, np.int64).reshape(-1, 5).T
    streamed = np.array([s.way != "held" for s in specs], np.bool_)
    return Members([s.name for s in specs], created, methods, crc32s, deflated, sizes, streamed)


def body(made: Archive, specs: Sequence[Spec]) -> bytes:
    """The members' part; those not streamed are added as many at a time as stand together."""
    chunks = []
    for streamed, some in groupby(specs, lambda spec: spec.way == "streamed"):
        run = list(some)
        if not streamed:
            members, data = members_of(run), b"".join(spec.payload for spec in run)
            chunks.append(made.add(pack(members, data), members))
            continue
        for spec in run:
            chunks += [made.begin(members_of([Spec(spec.name, way="streamed", stamp=spec.stamp)]))]
            chunks += [made.stream(spec.payload[at : at + 99]) for at in range(0, len(spec.payload), 99)]
            chunks += [made.end(members_of([spec]))]
    return b"".join(chunks)


def whole(specs: Sequence[Spec]) -> bytes:
    made = Archive()
    written = body(made, specs) + b"".join(made.finish())
    assert made.position == len(written)
    assert made.members == len(specs)
    return written


# --- a parser, from APPNOTE ----------------------------------------------------------------------------------------

SHARED = "version flags method time date crc32 deflated_bytes csv_bytes"
LOCAL = f"signature {SHARED} name_length extra_length"
CENTRAL = f"signature made_by system {SHARED} name_length extra_length comment_length disk internal external offset"
LOCAL_SIZE, CENTRAL_SIZE = 30, 46
END, END64, LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")


def fields(names: str, form: str, written: bytes, at: int) -> SimpleNamespace:
    return SimpleNamespace(**dict(zip(names.split(), struct.unpack_from(form, written, at), strict=True)))


def walk(written: bytes, base: int = 0) -> list[tuple[SimpleNamespace, SimpleNamespace, bytes]]:
    """Every byte of an archive accounted for: headers, data, descriptors, directory, end, nothing between.

    `base` is where in the archive `written` begins. Returns local headers, central headers and data.
    """
    signature, disk, cd_disk, here, count, size, start, comment = END.unpack(written[-END.size :])
    assert (signature, disk, cd_disk, comment, here) == (b"PK\5\6", 0, 0, 0, count)
    end = len(written) - END.size
    if written[end - LOCATOR.size :].startswith(b"PK\6\7"):
        end64 = end - LOCATOR.size - END64.size
        assert LOCATOR.unpack_from(written, end64 + END64.size) == (b"PK\6\7", 0, base + end64, 1)
        mark, length, *versions, _, _, here, count64, size64, start64 = END64.unpack_from(written, end64)
        assert (mark, length, versions, here) == (b"PK\6\6", 44, [45, 45], count64)
        assert (count, size, start) == (min(count64, 0xFFFF), min(size64, ONES_32), min(start64, ONES_32))
        assert count == 0xFFFF or start == ONES_32
        count, size, start, end = count64, size64, start64, end64
    else:
        assert count < 0xFFFF
        assert start < ONES_32
    at, data_at, found = start - base, 0, []
    assert at + size == end
    for _ in range(count):
        central = fields(CENTRAL, "<4s2B5H3L5H2L", written, at)
        at += CENTRAL_SIZE
        name = written[at : at + central.name_length]
        extra = written[at + len(name) : at + len(name) + central.extra_length]
        at += len(name) + len(extra)
        local = fields(LOCAL, "<4s5H3L2H", written, data_at)
        assert (local.signature, central.signature) == (b"PK\3\4", b"PK\1\2")
        assert (central.system, central.external) == (3, 0o100644 << 16)
        assert (central.comment_length, central.disk, central.internal, local.extra_length) == (0, 0, 0, 0)
        offset = base + data_at
        assert central.offset == min(offset, ONES_32)
        assert extra == (struct.pack("<2HQ", 1, 8, offset) if offset >= ONES_32 else b"")
        assert central.version == central.made_by == (45 if offset >= ONES_32 else 20)
        known = vars(local).copy()
        data_at += LOCAL_SIZE + len(name)
        assert written[data_at - len(name) : data_at] == name
        assert local.name_length == len(name)
        data = written[data_at : data_at + central.deflated_bytes]
        data_at += len(data)
        if central.flags & 8:
            assert (local.crc32, local.deflated_bytes, local.csv_bytes) == (0, 0, 0)
            descriptor = fields("mark crc32 deflated_bytes csv_bytes", "<4s3L", written, data_at)
            assert descriptor.mark == b"PK\7\x08"
            known |= vars(descriptor)
            data_at += 16
        assert [known[field] for field in SHARED.split()] == [vars(central)[field] for field in SHARED.split()]
        assert bool(central.flags & 1 << 11) is not name.isascii()
        assert not central.flags & ~(1 << 11 | 1 << 3)
        found.append((local, central, data))
    assert at == end
    assert data_at == start - base
    return found


def read(file: Any) -> list[tuple[str, bytes]]:
    """Everything in an archive, by the standard library, CRCs checked."""
    with zipfile.ZipFile(file) as opened:
        return [(info.filename, opened.read(info)) for info in opened.infolist()]


# --- the contract with zipstream-ng --------------------------------------------------------------------------------


def info_of(spec: Spec, offset: int) -> Any:
    """The same member as zipstream-ng has it."""
    info = ng.ZipStreamInfo(spec.name, spec.stamp.timetuple()[:6])
    info.compress_type, info.create_system, info.external_attr = spec.method, 3, 0o100644 << 16
    info.flag_bits |= 0 if spec.way == "held" else 8
    info.header_offset = offset
    info.CRC, info.compress_size, info.file_size = zlib.crc32(spec.data), len(spec.payload), len(spec.data)
    return info


@given(NAMES, STAMPS, st.sampled_from(["held", "packed"]), st.sampled_from([0, 8]), NUMBERS, OFFSETS)
@example("é.csv", datetime(2107, 12, 31, 23, 59, 59), "packed", 8, (0, zipfile.ZIP64_LIMIT, 0), zipfile.ZIP64_LIMIT)  # noqa: DTZ001
@PATIENT
def test_headers_are_zipstream_s(
    name: str, stamp: datetime, way: str, method: int, numbers: tuple[int, int, int], offset: int
) -> None:
    """Local and central headers are the bytes zipstream-ng gives; between 2 and 4 GiB its zip64 comes early."""
    spec = Spec(name, way=way, method=method, stamp=stamp)
    members, info = members_of([spec]), info_of(spec, offset)
    members.crc32s, members.deflated_bytes, members.csv_bytes = np.array(numbers, np.int64).reshape(3, 1)
    info.CRC, info.compress_size, info.file_size = numbers
    central = info._central_directory_header_data()
    names, is_ascii = archive._names(members.names)
    fixed, extras = archive._central(members, names.stops, is_ascii, np.array([offset]))
    local = archive._joined(archive._fixed(archive._local(fixed, members.streamed)), names)
    if offset >= ONES_32:
        info.extract_version = 45  # zipstream-ng says so in the central header alone
    assert local == info.FileHeader(zip64=False)
    assert archive._descriptor(members, 0) == (info.DataDescriptor(zip64=False) if way == "packed" else b"")
    assert archive._joined(archive._fixed(fixed), names, *extras) == central


def test_zipstream_has_what_we_lean_on() -> None:
    """The inner parts of zipstream-ng that the end of an archive is made with; a release without them fails here."""
    for owner, names in (
        (ng.ZipStream(), ["_gen_archive_footer", "_filelist", "_pos", "_track"]),
        (ng.ZipStreamInfo("x"), ["FileHeader", "DataDescriptor", "_central_directory_header_data"]),
    ):
        missing = [name for name in names if not hasattr(owner, name)]
        assert not missing, f"this release of zipstream-ng has no {missing}: archive.py must be adapted to it"


def test_zipstream_asks_for_no_more_than_we_give() -> None:
    """Its footer only counts the members and asks each for its record; what it makes is what it makes of its own."""

    class Record:
        """Has no other attribute, so that asking for one fails."""

        __slots__ = ("_central_directory_header_data",)

        def __init__(self, packed: bytes) -> None:
            self._central_directory_header_data = lambda: packed

    class Records:
        def __len__(self) -> int:
            return len(MIXED)

        def __iter__(self) -> Any:
            return (Record(info_of(spec, 7)._central_directory_header_data()) for spec in MIXED)

    own, bare = ng.ZipStream(), ng.ZipStream()
    own._filelist, bare._filelist = [info_of(spec, 7) for spec in MIXED], Records()
    own._pos = bare._pos = 1234
    expected = b"".join(own._gen_archive_footer())
    assert b"".join(bare._gen_archive_footer()) == expected
    assert bare._pos == own._pos == 1234 + len(expected)
    packed = [info_of(spec, 7)._central_directory_header_data() for spec in MIXED]
    assert b"".join(archive._Footer([b"".join(packed[:3]), b"".join(packed[3:])], len(MIXED), 1234)) == expected


# --- whole archives ------------------------------------------------------------------------------------------------


@given(SPECS)
@example([])
@example(MIXED)
@example(MIXED[::-1])
@FEW
def test_archives_read_back(specs: list[Spec]) -> None:
    """Held, packed and streamed members in any mix: no prefix, gap or trailing byte, every field agrees."""
    written = whole(specs)
    found = walk(written)
    assert [data for *_, data in found] == [spec.payload for spec in specs]
    assert [(local.time, local.date) for local, *_ in found] == [dos(spec.stamp) for spec in specs]
    assert read(io.BytesIO(written)) == [(spec.name, spec.data) for spec in specs]
    for (local, *_), spec in zip(found, specs, strict=True):
        assert bool(local.flags & 8) is (spec.way != "held")


@given(SPECS)
@example(MIXED)
@FEW
def test_data_can_be_had_back(specs: list[Spec]) -> None:
    """What was laid out, by the members' records alone: data descriptors and names are no part of it."""
    members, data = members_of(specs), b"".join(spec.payload for spec in specs)
    assert unpack(pack(members, data), members) == data


@given(
    st.lists(st.tuples(NAMES.filter(str.isprintable), st.binary(max_size=300), STAMPS), max_size=8),
    st.binary(max_size=99),
)
@example([("é", b"x" * 70_000, datetime(1999, 12, 31, 23, 59, 59))], b"")  # noqa: DTZ001  # as above
@FEW
def test_the_kernel_lays_out_what_it_deflates(given_: list[tuple[str, bytes, datetime]], header: bytes) -> None:
    """The same bytes as its data laid out in a second step, and the records are those of the members."""
    native = pytest.importorskip("export_engine._native", reason="built where there is a compiler")
    names, texts, stamps = zip(*given_, strict=True) if given_ else ((), (), ())
    cuts = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    text = "".join(name + "\n" for name in names).encode()
    stops = np.cumsum([len(name.encode()) + 1 for name in names], dtype=np.int64) - 1
    created = np.array(list(map(microseconds, stamps)), np.int64)
    csv = memoryview(b"".join(texts))
    packed, sizes, crc32s = deflate_and_pack(csv, cuts, header, (text, stops), created)
    assert crc32s.tolist() == [zlib.crc32(header + data) for data in texts]
    csv_bytes, none = np.diff(cuts) + len(header), np.zeros(len(names), np.bool_)
    members = Members(list(names), created, np.full(len(names), 8), crc32s.astype(np.int64), sizes, csv_bytes, none)
    data, *_ = native.deflate_members(csv, cuts.data, header)
    expected = pack(members, data)
    assert (packed.local, packed.central) == (expected.local, expected.central)
    assert packed.starts.tolist() == expected.starts.tolist()
    assert packed.fields.tolist() == expected.fields.tolist()
    assert unpack(packed, members) == data


@given(SPECS, st.integers(1, 3))
@FEW
def test_batches_leave_no_trace(specs: list[Spec], size: int) -> None:
    """Members packed together or one by one are the same bytes."""
    specs = [spec._replace(way="held") for spec in specs]
    made = Archive()
    pieces = [body(made, specs[at : at + size]) for at in range(0, len(specs), size)]
    assert b"".join([*pieces, *made.finish()]) == whole(specs)


@pytest.mark.parametrize("command", ["unzip -tqq", "7z t", "bsdtar -tf", "zip -T"])
@pytest.mark.parametrize("name", ["mixed", "held", "streamed", "empty"])
def test_tools_take_it(command: str, name: str, tmp_path: Path) -> None:
    """Others' tools find nothing to say; an archive without members is valid, but Info-ZIP's two decline it."""
    program, *options = command.split()
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    path = tmp_path / f"{name}.zip"
    specs = {"mixed": MIXED, "empty": []}.get(name)
    if specs is None:
        specs = [spec._replace(way=name, method=8) for spec in MIXED]
    path.write_bytes(whole(specs))
    run = subprocess.run([program, *options, str(path)], capture_output=True, text=True, check=False, timeout=60)
    declined = {"unzip": (1, "zipfile is empty"), "zip": (12, "Nothing to do")}
    status, said = declined.get(program, (0, "")) if name == "empty" else (0, "")
    assert run.returncode == status, run.stdout + run.stderr
    assert said in run.stdout + run.stderr


def test_without_its_end_it_is_no_archive() -> None:
    """What a failed export had sent is not taken for a ZIP file."""
    with pytest.raises(zipfile.BadZipFile):
        read(io.BytesIO(body(Archive(), MIXED)))


# --- zip64 ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("count", [65_534, 65_535, 65_536])
def test_many_members(count: int) -> None:
    """The end is zip64 from 65,535 members on; the members' own records never are for that."""
    specs = [Spec(f"{number}.csv", method=0) for number in range(count)]
    written = whole(specs)
    found = walk(written)
    assert len(found) == count
    assert (b"PK\6\6" in written[-200:]) is (count >= 65_535)
    assert {central.version for _, central, *_ in found} == {20}
    with zipfile.ZipFile(io.BytesIO(written)) as opened:
        assert opened.namelist() == [spec.name for spec in specs]


# Exactly on, just below and just above the limits; in two the third held member is the one that meets 4 GiB.
TWO = LOCAL_SIZE * 2 + sum(len(s.name.encode()) + len(s.payload) for s in MIXED[:2])
BASES = [2 * GIB - 100, 2 * GIB, 3 * GIB, ONES_32 - TWO - 1, ONES_32 - TWO, ONES_32 - 1, ONES_32, 4 * GIB, 5 * GIB]


@pytest.mark.parametrize("how", ["held", "packed", "streamed", "mixed"])
@pytest.mark.parametrize("base", BASES)
def test_far_offsets(base: int, how: str, tmp_path: Path) -> None:
    """Members at 4 GiB and beyond are zip64 in both headers, with only the offset all ones; nothing is before."""
    specs = MIXED if how == "mixed" else [spec._replace(way=how, method=8) for spec in MIXED]
    made = Archive()
    made.position = base
    written = body(made, specs) + b"".join(made.finish())
    found = walk(written, base)  # the rules for offsets are there
    assert [data for *_, data in found] == [spec.payload for spec in specs]
    with (tmp_path / "sparse.zip").open("wb+") as file:
        file.seek(base)
        file.write(written)
        assert read(file) == [(spec.name, spec.data) for spec in specs]


@pytest.mark.parametrize("start", [ONES_32 - 1, ONES_32, ONES_32 + 1])
def test_directory_at_the_limit(start: int) -> None:
    """The end is zip64 from the first place of the directory that 32 bits cannot tell; no member is for that."""
    made, size = Archive(), len(body(Archive(), MIXED))
    made.position = start - size
    written = body(made, MIXED) + b"".join(made.finish())
    assert {central.version for _, central, _ in walk(written, start - size)} == {20}
    assert (b"PK\6\6" in written[-200:]) is (start >= ONES_32)
