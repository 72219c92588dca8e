"""Archives made to hurt: bounded memory, bounded time, and a problem that says what it is."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export_engine.inspect import conversation_text, members
from export_engine.verify import verify_archive
from tests.archives import HEADER, make, problems, talk

ROOT = Path(__file__).parent.parent
NAME = b"A--2026-06-03_091500--B.csv"
DATE, TIME = (2026 - 1980) << 9 | 6 << 5 | 3, 9 << 11 | 15 << 5


def zipped(
    data: bytes,
    *,
    csv_bytes: int,
    crc32: int,
    name: bytes = NAME,
    method: int = 8,
    flags: int = 0,
    packed_bytes: int | None = None,
    copies: int = 1,
    shared: bool = False,
) -> bytes:
    """An archive of a member, or of copies that share one local header."""
    packed = len(data) if packed_bytes is None else packed_bytes
    facts = struct.pack("<5H3L2H", 20, flags, method, TIME, DATE, crc32, packed, csv_bytes, len(name), 0)
    local = b"PK\x03\x04" + facts + name + data
    body = local if shared else local * copies
    central = b"".join(
        b"PK\x01\x02\x14\x03" + facts + struct.pack("<3H2L", 0, 0, 0, 0o100644 << 16, at) + name
        for at in ([0] * copies if shared else range(0, len(body), len(local)))
    )
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, copies & 0xFFFF, copies & 0xFFFF, len(central), len(body), 0)
    return body + central + end


class Stream:
    """A raw deflate stream in the making, the size of what is in it and its CRC-32."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        self._out: list[bytes] = []
        self._size = self._check = 0

    def add(self, piece: bytes) -> None:
        """Go on with more."""
        self._out.append(self._packer.compress(piece))
        self._size, self._check = self._size + len(piece), zlib.crc32(piece, self._check)

    def ended(self) -> tuple[bytes, int, int]:
        """The stream as it would be if it ended here."""
        return b"".join((*self._out, self._packer.copy().flush())), self._size, self._check


def deflated(pieces: list[bytes]) -> tuple[bytes, int, int]:
    """Pieces as one raw deflate stream, their size and CRC-32."""
    stream = Stream()
    for piece in pieces:
        stream.add(piece)
    return stream.ended()


def peak(path: Path, call: str) -> tuple[int, str]:
    """What a call in a process of its own says, and the most memory it took, in MiB."""
    program = (
        "import re, sys; from export_engine import verify_archive; from export_engine.inspect import members\n"
        f"path = sys.argv[1]; print({call})\n"
        # Not `ru_maxrss`: that begins with what the process had that started this one.
        "print(int(re.search(r'VmHWM:\\s+([0-9]+) kB', open('/proc/self/status').read())[1]) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, check=True, text=True, cwd=ROOT)
    *said, memory = done.stdout.splitlines()
    return int(memory), "\n".join(said)


ROW = b'"m","c","Ann","","inbound","customer","Ann","2026-06-03T09:15:00.000000Z",%b,"","",""\r\n'


#: More than a row that is held whole, several times over.
MIB = 96


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "filling"),
    [
        *(("message_text", filling) for filling in (b"x", b'""', b"\n", b'""\r\n', "é".encode(), b",")),
        ("message_id", b"x"),
        ("message_id", b'""'),
        ("conversation_id", b"x"),
    ],
    ids=repr,
)
def test_a_huge_cell(tmp_path: Path, filling: bytes, column: str) -> None:
    """A cell longer than what is held is read in bounded memory and is no problem; what is wrong behind it is found."""
    before, after = ROW.split(b"%b")
    if column != "message_text":
        cell = b'"m"' if column == "message_id" else b'"c"'
        before, after = (before + b'"t"' + after).split(cell, 1)
    chunk = filling * ((1 << 20) // len(filling))
    stream = Stream()
    for piece in (HEADER.encode() + b"\r\n", before + b'"', *[chunk] * MIB, b'"' + after):
        stream.add(piece)
    path = tmp_path / "a.zip"
    wrong = ROW.replace(b"customer", b"nobody") % b'"x"'
    shown = "[(member.rows, member.problem) for member in members(path)]"
    for last, expected in ((b"", "()"), (wrong, "is none of agent, bot, customer")):
        stream.add(last)
        data, size, check = stream.ended()
        path.write_bytes(zipped(data, csv_bytes=size, crc32=check))
        memory, said = peak(path, f"verify_archive(path).problems, {shown}")
        assert memory < 220
        assert expected in said
        assert said.endswith(f" [({1 + bool(last)}, '')]")


def test_members_that_overlap(tmp_path: Path) -> None:
    """A thousand members over the same bytes are not read a thousand times."""
    data, size, check = deflated([HEADER.encode() + b"\r\n", ROW % (b'"' + b"x" * (8 << 20) + b'"')])
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(data, csv_bytes=size, crc32=check, copies=5000, shared=True))
    found = verify_archive(path)
    assert found.members == 5000
    assert found.rows == 1
    assert "members overlap: none of the rest is read" in found.problems


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"flags": 1}, "is encrypted"),
        ({"method": 14}, "method 14 (LZMA)"),
        ({"method": 99}, "method 99 (AES encryption)"),
        ({"method": 4711}, "method 4711"),
        ({"csv_bytes": 1 << 31}, "bytes cannot be 2147483648 bytes packed"),
        ({"packed_bytes": 0xFFFFFFF0}, "it goes on behind the end of the file"),
        ({"csv_bytes": 0xFFFFFFFF}, "zip64"),
        ({"csv_bytes": 10}, "its size or its CRC-32"),
        ({"crc32": 10}, "its size or its CRC-32"),
        ({"name": b"A" * 0xFFF0}, "is no safe name"),
        ({"name": b"\xff--2026-06-03_091500--B.csv", "flags": 1 << 11}, "is no safe name"),
    ],
    ids=str,
)
def test_claims_that_are_not_so(tmp_path: Path, changed: dict[str, int], says: str) -> None:
    """Whatever a record claims, it is said, and inspect lists the member."""
    data, size, check = deflated([HEADER.encode() + b"\r\n", ROW % b'"x"'])
    path = tmp_path / "a.zip"
    facts: dict[str, int] = {"csv_bytes": size, "crc32": check} | changed
    path.write_bytes(zipped(data, **facts))  # type: ignore[arg-type]  # names are bytes
    assert says in problems(path)
    assert len(list(members(path))) == 1


@pytest.mark.slow
def test_deflate_at_its_limit(tmp_path: Path) -> None:
    """The best that deflate can do, 1,032 to 1, is no damage."""
    text = ROW % (b'"' + b"x" * (32 << 20) + b'"')
    data, size, check = deflated([HEADER.encode() + b"\r\n", text])
    assert size / len(data) > 1000
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(data, csv_bytes=size, crc32=check))
    assert verify_archive(path).problems == ()


@pytest.mark.parametrize("end", [(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF), (10_000_000 & 0xFFFF, 46, 0)])
def test_an_end_that_claims_too_much(tmp_path: Path, end: tuple[int, int, int]) -> None:
    """Petabytes and millions of members in a small file are no archive, or as many as there are."""
    path = tmp_path / "a.zip"
    count, size, offset = end
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 10**7, 10**7, 46 * 10**7, 1 << 60)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    path.write_bytes(record + locator + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, size, offset, 0))
    assert "no whole ZIP archive" in problems(path)


@pytest.mark.slow
def test_a_directory_of_nothing_but_signatures(tmp_path: Path) -> None:
    """Damage everywhere is given up, not searched to the end."""
    path = tmp_path / "a.zip"
    body = b"PK\x01\x02" * (1 << 20)
    path.write_bytes(body + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, len(body), 0, 0))
    assert "the directory is damaged" in problems(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:4] + bytes(len(data) - 12) + data[-8:],
        lambda data: data[:-12] + b"\xff\xff\xff\x7f" + data[-8:],
        lambda data: data.replace(b"conversation_id", b"conversation_ie"),
        lambda data: data[:0],
    ],
)
def test_a_damaged_parquet_manifest(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    """It is a problem of the manifest, never a traceback."""
    made = make(tmp_path, ending=".parquet")
    made.manifest.write_bytes(spoil(made.manifest.read_bytes()))
    assert "manifest: record 1 cannot be read" in problems(made.path, made.manifest)


@pytest.mark.slow
def test_any_byte_of_a_parquet_manifest(tmp_path: Path) -> None:
    """A byte that is changed in a manifest raises nothing."""
    made = make(tmp_path, [talk(1, ["a"])], ending=".parquet")
    data = made.manifest.read_bytes()
    for place in range(0, len(data), 3):
        changed = bytearray(data)
        changed[place] ^= 0xFF
        made.manifest.write_bytes(changed)
        verify_archive(made.path, made.manifest)


def test_a_parquet_manifest_of_other_types(tmp_path: Path) -> None:
    """Types that are not those of a record are told."""
    made = make(tmp_path, ending=".parquet")
    table = pq.read_table(made.manifest)
    pq.write_table(table.set_column(3, "rows", pa.array(["x"] * len(table))), made.manifest)
    assert "manifest: record 1 cannot be read: rows is 'x'" in problems(made.path, made.manifest)


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"name": ' * 100_000,
        b"1" * 100_000,
        b"\xff\xfe",
        b'{"name": "a", "rows": 1e999}',
        b"null",
    ],
    ids=["deep list", "deep object", "long number", "bytes", "infinite", "null"],
)
def test_json_that_is_no_record(tmp_path: Path, line: bytes) -> None:
    """It is a problem of the manifest, never a traceback."""
    made = make(tmp_path)
    made.manifest.write_bytes(line + b"\n")
    assert "manifest: record 1 cannot be read" in problems(made.path, made.manifest)


def test_a_time_of_a_manifest_that_is_none(tmp_path: Path) -> None:
    """Values of another type are told with their field."""
    made = make(tmp_path)
    records = [json.loads(line) for line in made.manifest.read_text(encoding="utf-8").splitlines()]
    for field, value in (("first_time", 5), ("part", "1"), ("rows", True), ("name", None)):
        made.manifest.write_text(json.dumps(records[0] | {field: value}) + "\n", encoding="utf-8")
        assert "manifest: record 1 cannot be read" in problems(made.path, made.manifest)


@pytest.mark.slow
def test_a_long_text_is_cut_where_it_is_shown(tmp_path: Path) -> None:
    """A text of many MiB does not fill memory to be printed; what is shown says that it was cut."""
    data, size, check = deflated([HEADER.encode() + b"\r\n", ROW % (b'"' + b"x" * (40 << 20) + b'"')])
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(data, csv_bytes=size, crc32=check))
    (line,) = conversation_text(path, "c")
    assert len(line) < 32 << 20
    assert "x[...]x" in line
