"""The ZIP container: local headers, data descriptors, the central directory and its end, on zipstream-ng.

Knows nothing of conversations. The choices, each because of what readers in the field do with the alternatives:

- A member that is held whole carries its real CRC-32 and sizes in its **local header**: no data descriptor, no extra
  field, version 2.0. Every reader tried takes that, the strictly streaming ones included.
- Only a member too long to hold **streams**: bit 3 set, sizes zero in the local header, and a signed 32-bit **data
  descriptor** behind the data (APPNOTE 4.3.9). No member needs zip64, as none reaches 4 GiB.
- **zip64** appears only for the archive: from 65,535 members on, or offsets of 4 GiB and more; then the local and the
  central header both say version 4.5, and only fields that overflow are all ones (APPNOTE 4.4.8, 4.5.3).
- No prefix, gap or trailing byte; local and central records agree in every field they share.

The **central directory** is kept as packed bytes, about 46 bytes and the name for a member, not as objects. Common
records are packed here, a batch of members at a time; they are the same bytes as zipstream-ng's `ZipStreamInfo`
gives, which a test holds. The end of the archive is zipstream-ng's own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zipfile import ZIP_DEFLATED

import numpy as np
from numpy.typing import NDArray
from zipstream import ng

__all__ = ["Archive", "Member", "Packed", "dos_times", "pack"]

#: The first value that does not fit a 32-bit field; all ones are the mark of a zip64 field.
LIMIT_32 = 0xFFFFFFFF
#: The first number of members that does not fit a 16-bit field.
LIMIT_16 = 0xFFFF

_VERSION = 20  # 2.0: deflate (APPNOTE 4.4.3.2)
_VERSION_ZIP64 = 45  # 4.5: zip64 (the same)
_STREAMED = 1 << 3  # sizes and CRC-32 follow the data (APPNOTE 4.4.4, bit 3)
_UTF8 = 1 << 11  # the name is UTF-8 (the same, bit 11)
_UNIX = 3  # made by: the system whose attributes follow (APPNOTE 4.4.2.2)
_ATTRIBUTES = 0o100644 << 16  # a regular file, rw-r--r-- (upper half: Unix st_mode)

# Local header (APPNOTE 4.3.7): signature, version needed, flags, method, time, date, CRC-32, compressed size,
# size, name length, extra length.
_LOCAL = struct.Struct("<4s5H3L2H")
# Central header (APPNOTE 4.3.12): signature, version made by and system, version needed, flags, method, time, date,
# CRC-32, compressed size, size, name length, extra length, comment length, disk, internal attributes, external
# attributes, offset.
_CENTRAL = struct.Struct("<4s2B5H3L5H2L")
# Where the last of these stands in a central header.
_OFFSET_AT = 42
# zip64 extended information (APPNOTE 4.5.3) with the one field that can overflow here: id, length, offset.
_ZIP64_OFFSET = struct.Struct("<2HQ")


@dataclass(slots=True)
class Member:
    """What the headers say of one member: sizes in bytes, `dos_time` and `dos_date` as in APPNOTE 4.4.6.

    A `streamed` member has its CRC-32 and sizes in a data descriptor behind its data.
    """

    name: str
    dos_time: int
    dos_date: int
    method: int
    crc32: int = 0
    deflated_bytes: int = 0
    csv_bytes: int = 0
    streamed: bool = False


@dataclass(slots=True)
class Packed:
    """Some members one after another: their bytes, their part of the central directory, and where each begins.

    `starts` are offsets of the local headers within `local`; `fields` the places in `central` that take them. A zip64
    part has its final offsets already, and no `fields`.
    """

    local: bytes
    central: bytes
    starts: NDArray[np.int64]
    fields: NDArray[np.int64]


def _local(member: Member, name: bytes, flags: int, offset: int) -> bytes:
    known = (0, 0, 0) if member.streamed else (member.crc32, member.deflated_bytes, member.csv_bytes)
    fixed = _LOCAL.pack(
        b"PK\x03\x04",
        _VERSION if offset < LIMIT_32 else _VERSION_ZIP64,
        flags,
        member.method,
        member.dos_time,
        member.dos_date,
        *known,
        len(name),
        0,
    )
    return fixed + name


def _central(member: Member, name: bytes, flags: int, offset: int) -> bytes:
    version, extra = _VERSION, b""
    if offset >= LIMIT_32:
        version, extra = _VERSION_ZIP64, _ZIP64_OFFSET.pack(1, 8, offset)
    fixed = _CENTRAL.pack(
        b"PK\x01\x02",
        version,
        _UNIX,
        version,
        flags,
        member.method,
        member.dos_time,
        member.dos_date,
        member.crc32,
        member.deflated_bytes,
        member.csv_bytes,
        len(name),
        len(extra),
        0,
        0,
        0,
        _ATTRIBUTES,
        min(offset, LIMIT_32),
    )
    return fixed + name + extra


def _encoded(member: Member) -> tuple[bytes, int]:
    """The name's bytes and the member's flags (for the name's: APPNOTE appendix D)."""
    name = member.name
    return name.encode(), (0 if name.isascii() else _UTF8) | (_STREAMED if member.streamed else 0)


def _descriptor(member: Member) -> bytes:
    """What follows the data of a streamed member."""
    return bytes(ng.ZipStreamInfo.DataDescriptor(_info(member), zip64=False))


def pack(members: Sequence[Member], data: Sequence[bytes], base: int | None = None) -> Packed:
    """Lay whole members out one after another.

    Without `base` the offsets are relative and `Archive.add` completes them; with it, members that begin at 4 GiB or
    beyond get their zip64 records.
    """
    local: list[bytes] = []
    central: list[bytes] = []
    starts: list[int] = []
    fields: list[int] = []
    at = filled = 0
    for member, body in zip(members, data, strict=True):
        name, flags = _encoded(member)
        offset = at + (base or 0)
        head = _local(member, name, flags, offset)
        record = _central(member, name, flags, offset)
        tail = _descriptor(member) if member.streamed else b""
        local += (head, body, tail)
        central.append(record)
        starts.append(at)
        fields.append(filled + _OFFSET_AT)
        at += len(head) + len(body) + len(tail)
        filled += len(record)
    known = base is not None
    return Packed(
        b"".join(local), b"".join(central), np.array(starts, np.int64), np.array([] if known else fields, np.int64)
    )


def dos_times(us: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """DOS times and dates (APPNOTE 4.4.6) of local microseconds: even seconds, within 1980 to 2107 (clamped)."""
    stamps = np.clip(us // 1_000_000, _DOS_FIRST, _DOS_LAST)
    days, clock = np.divmod(stamps, 86_400)
    dates = days.astype("M8[D]")
    months = dates.astype("M8[M]").astype(np.int64)
    day = (dates - dates.astype("M8[M]")).astype(np.int64) + 1
    date = (months // 12 - 10) << 9 | (months % 12 + 1) << 5 | day
    time = clock // 3600 << 11 | clock // 60 % 60 << 5 | clock % 60 // 2
    return time.tolist(), date.tolist()


_DOS_FIRST = int(np.datetime64("1980-01-01T00:00:00", "s").astype(np.int64))
_DOS_LAST = int(np.datetime64("2107-12-31T23:59:58", "s").astype(np.int64))


class Archive:
    """One archive being written. Every method returns the bytes to send next; `position` is how many there were.

    Members come whole (`add`) or in a stream (`begin`, the data through `stream`, `end`). `finish` closes the
    archive; without it what was sent is not a ZIP file, and no reader takes it for one.
    """

    def __init__(self) -> None:
        self.position = 0
        self.members = 0
        self._directory: list[bytes] = []
        self._streamed_from = 0

    def add(self, packed: Packed, members: Sequence[Member], data: Sequence[bytes]) -> bytes:
        """Append members that `pack` has laid out; they are laid out again where zip64 is needed."""
        if self.position + len(packed.local) >= LIMIT_32:
            packed = pack(members, data, base=self.position)
        self._directory.append(_placed(packed, self.position))
        self.members += len(packed.starts)
        self.position += len(packed.local)
        return packed.local

    def begin(self, member: Member) -> bytes:
        """Begin a streamed member, whose sizes are not known yet."""
        self._streamed_from = self.position
        return self.stream(_local(member, *_encoded(member), self.position))

    def stream(self, data: bytes) -> bytes:
        """Count bytes that go into the archive as they are: the deflated data of the member begun."""
        self.position += len(data)
        return data

    def end(self, member: Member) -> bytes:
        """End the member begun, whose CRC-32 and sizes are now known: its data descriptor."""
        self._directory.append(_central(member, *_encoded(member), self._streamed_from))
        self.members += 1
        return self.stream(_descriptor(member))

    def finish(self) -> Iterator[bytes]:
        """The central directory and the end of the archive, in chunks."""
        for chunk in _Footer(self._directory, self.members, self.position):
            yield self.stream(chunk)


def _placed(packed: Packed, base: int) -> bytes:
    """The central records with the offsets of their local headers filled in."""
    if not len(packed.fields):
        return packed.central
    central = np.frombuffer(packed.central, np.uint8).copy()
    offsets = (packed.starts + base).astype("<u4").view(np.uint8).reshape(-1, 4)
    central[packed.fields[:, None] + np.arange(4)] = offsets
    return central.tobytes()


def _info(member: Member) -> ng.ZipStreamInfo:
    """The member as zipstream-ng sees it."""
    date, time = member.dos_date, member.dos_time
    info = ng.ZipStreamInfo(
        member.name,
        ((date >> 9) + 1980, date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, (time & 31) * 2),
    )
    info.compress_type = member.method
    info.create_system = _UNIX
    info.external_attr = _ATTRIBUTES
    info.CRC = member.crc32
    info.compress_size = member.deflated_bytes
    info.file_size = member.csv_bytes
    return info


class _Records(list[ng.ZipStreamInfo]):
    """Stands where zipstream-ng keeps its list of members: as long, but handing out packed records."""

    def __init__(self, directory: Sequence[bytes], members: int) -> None:
        super().__init__()
        self._directory = directory
        self._members = members

    def __len__(self) -> int:
        return self._members

    def __iter__(self) -> Iterator[ng.ZipStreamInfo]:
        return map(_Record, self._directory)


class _Record:
    """Packed central records in the place of one member."""

    def __init__(self, packed: bytes) -> None:
        self._packed = packed

    def _central_directory_header_data(self) -> bytes:
        return self._packed


class _Footer(ng.ZipStream):  # type: ignore[misc]  # zipstream-ng ships no types
    """zipstream-ng's end of an archive over members that it has not seen."""

    def __init__(self, directory: Sequence[bytes], members: int, position: int) -> None:
        super().__init__(compress_type=ZIP_DEFLATED)
        self._filelist = _Records(directory, members)
        self._pos = self._start = position

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._gen_archive_footer():
            # zipstream-ng writes the zip64 end records from 2 GiB on; they are due at 4 GiB.
            if chunk.startswith(b"PK\x06\x06") and self._start < LIMIT_32 and len(self._filelist) < LIMIT_16:
                continue
            yield chunk
