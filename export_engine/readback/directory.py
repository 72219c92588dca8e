"""Where the members of a ZIP archive are: its end records and its central directory, read in chunks.

Nothing here depends on what the records claim: the directory is walked record by record for as long as there are any,
a number of members or a size is only ever compared with what was found. What cannot be made sense of is skipped to the
next record and told. A chunk of the directory is in memory, whatever the number of members.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from export_engine.errors import ArchiveError

__all__ = [
    "CENTRAL",
    "END",
    "LIMIT_16",
    "LIMIT_32",
    "UTF8",
    "End",
    "Entry",
    "Records",
    "bytes_at",
    "entry_at",
    "find_end",
    "records",
]

#: All ones: the mark of a field that stands elsewhere, as it overflows (APPNOTE 4.4.1.4).
LIMIT_16, LIMIT_32 = 0xFFFF, 0xFFFFFFFF
#: The flag that says that a name is UTF-8 (APPNOTE 4.4.4, bit 11).
UTF8 = 1 << 11

#: The end of an archive without its comment (APPNOTE 4.3.16): signature, number of this disk, of the
#: directory's, members on this disk, members, size and offset of the directory, length of the comment.
END = struct.Struct("<4s4H2LH")
#: The zip64 end record (APPNOTE 4.3.14) and its locator (4.3.15).
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
#: What a version 1 zip64 end record says of its own length, and the version that knows it.
_LENGTH_64, _VERSION_64 = 44, 45

#: A central record without its name, extra fields and comment (APPNOTE 4.3.12).
CENTRAL = np.dtype(
    [
        ("signature", "S4"),
        ("version_made", "u1"),
        ("system", "u1"),
        ("version_needed", "<u2"),
        ("flags", "<u2"),
        ("method", "<u2"),
        ("time", "<u2"),
        ("date", "<u2"),
        ("crc32", "<u4"),
        ("packed_bytes", "<u4"),
        ("csv_bytes", "<u4"),
        ("name_length", "<u2"),
        ("extra_length", "<u2"),
        ("comment_length", "<u2"),
        ("disk", "<u2"),
        ("internal_attributes", "<u2"),
        ("external_attributes", "<u4"),
        ("offset", "<u4"),
    ]
)
_LENGTHS = struct.Struct("<3H")
_LENGTHS_AT = CENTRAL.fields["name_length"][1] if CENTRAL.fields else 0
_RECORD = b"PK\x01\x02"

#: Bytes of the directory in memory at a time; a record with all that it can carry is shorter.
_CHUNK = 1 << 18
#: After so many damaged places the rest is given up: each costs a search.
_GIVE_UP = 100
#: The longest comment of an archive.
_COMMENT = 0xFFFF

_Complain = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Entry:
    """One member, as its central record has it. `at` is where that record begins, `offset` where the member does."""

    name: str
    at: int
    offset: int
    flags: int
    method: int
    crc32: int
    packed_bytes: int
    csv_bytes: int


@dataclass(frozen=True, slots=True)
class Records:
    """Some central records, as parallel arrays: where each begins, its fields, its name, and where its member begins.

    `extras` has what stands behind each name, extra fields and comment; it is empty where no record has any.
    """

    at: NDArray[np.int64]
    fixed: NDArray[np.void]
    names: list[bytes]
    offsets: NDArray[np.int64]
    extras: list[bytes]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, which: slice) -> Records:
        return Records(self.at[which], self.fixed[which], self.names[which], self.offsets[which], self.extras[which])

    def entry(self, number: int) -> Entry:
        """One of the members."""
        fixed = self.fixed[number]
        return Entry(
            shown_name(self.names[number], int(fixed["flags"])),
            int(self.at[number]),
            int(self.offsets[number]),
            *(int(fixed[field]) for field in ("flags", "method", "crc32", "packed_bytes", "csv_bytes")),
        )

    def shown_names(self) -> list[str]:
        """All names as text."""
        text = b"\n".join(self.names)
        if text.isascii() and text.count(b"\n") == len(self.names) - 1:
            return text.decode().split("\n")
        return list(map(shown_name, self.names, self.fixed["flags"].tolist()))

    def entries(self) -> Iterator[Entry]:
        """All of them."""
        return map(self.entry, range(len(self)))


@dataclass(frozen=True, slots=True)
class End:
    """The directory's place in the file, where it ends, and whether zip64 records stand behind it.

    `says` are the values of the end record and of the zip64 records, to be held against what the directory is.
    """

    start: int
    stop: int
    size: int
    record: tuple[int, ...]
    record_64: tuple[int, ...] | None
    comment_bytes: int

    def problems(self, members: int) -> Iterator[str]:
        """What the end records say that is not so of a directory of that many members in that place."""
        size = self.stop - self.start
        needed = members >= LIMIT_16 or size >= LIMIT_32 or self.start >= LIMIT_32
        if self.comment_bytes or self.record[-1]:
            yield f"there are {self.comment_bytes} bytes behind the end of the archive, or a comment"
        count = min(members, LIMIT_16)
        yield from _disagreements(
            "the end record",
            (
                "disk",
                "disk of the directory",
                "members on this disk",
                "members",
                "directory's size",
                "directory's offset",
            ),
            self.record[:-1],
            (0, 0, count, count, min(size, LIMIT_32), min(self.start, LIMIT_32)),
        )
        if self.record_64 is None:
            if needed:
                yield "there is no zip64 end record, which so many members or bytes need"
            return
        if not needed:
            yield "there is a zip64 end record, which nothing here needs"
        yield from _disagreements(
            "the zip64 end records'",
            (
                *(
                    "length",
                    "version made by",
                    "version needed",
                    "disk",
                    "disk of the directory",
                    "members on this disk",
                ),
                *("members", "directory's size", "directory's offset", "locator's disk", "locator's offset", "disks"),
            ),
            self.record_64,
            (
                *(_LENGTH_64, _VERSION_64, _VERSION_64, 0, 0, members, members, size, self.start),
                *(0, self.stop, 1),
            ),
        )


def _disagreements(where: str, fields: tuple[str, ...], says: tuple[int, ...], is_: tuple[int, ...]) -> Iterator[str]:
    for field, here, there in zip(fields, says, is_, strict=True):
        if here != there:
            yield f"{where} {field} is {here}, not {there}"


def shown_name(name: bytes, flags: int) -> str:
    """A member's name as text; bytes that are none are escaped."""
    return name.decode("utf-8" if flags & UTF8 else "cp437", "backslashreplace")  # APPNOTE appendix D


def bytes_at(file: IO[bytes], offset: int, count: int) -> bytes:
    """`count` bytes from `offset`, fewer where the file has no such place."""
    size = os.fstat(file.fileno()).st_size
    if not 0 <= offset < size:
        return b""
    file.seek(offset)
    return file.read(min(count, size - offset))


def find_end(file: IO[bytes]) -> End:
    """Find the directory. Raises ArchiveError where there is none."""
    size = os.fstat(file.fileno()).st_size
    tail_at = max(size - END.size - _COMMENT, 0)
    tail = bytes_at(file, tail_at, size - tail_at)
    at = tail.rfind(b"PK\x05\x06", 0, max(len(tail) - END.size + 4, 0))
    if at < 0:
        raise _no_archive(file, "no end record")
    _, *record = END.unpack_from(tail, at)
    stop = tail_at + at
    count, listed, stated = record[2:4], record[4], record[5]
    record_64, stop = _zip64(file, stop)
    if record_64 is not None:
        listed, stated = record_64[7], record_64[8]
    for start in (stated, stop - listed):
        if start == stop and not any(count):
            break
        if start < stop and bytes_at(file, start, 4) == _RECORD:
            break
    else:
        raise _no_archive(file, "no directory where the end record says")
    return End(start, stop, size, tuple(record), record_64, size - tail_at - at - END.size)


def _no_archive(file: IO[bytes], reason: str) -> ArchiveError:
    return ArchiveError(f"{file.name} is no whole ZIP archive ({reason}): if cut short, fetch it again")


def _zip64(file: IO[bytes], stop: int) -> tuple[tuple[int, ...] | None, int]:
    """The values of the zip64 end record and its locator, None without; and where what stands before them ends."""
    at = stop - _LOCATOR.size
    if at < 0 or not (locator := bytes_at(file, at, _LOCATOR.size)).startswith(b"PK\x06\x07"):
        return None, stop
    _, *located = _LOCATOR.unpack(locator)
    for place in (at - _END_64.size, located[1]):
        found = bytes_at(file, place, _END_64.size)
        if len(found) == _END_64.size and found.startswith(b"PK\x06\x06") and place <= at - _END_64.size:
            return (*_END_64.unpack(found)[1:], *located), place
    return None, stop


def records(file: IO[bytes], end: End, complain: _Complain) -> Iterator[Records]:
    """The directory, a chunk at a time; bytes in it that are no record are told and passed over.

    Raises ArchiveError where that happens again and again.
    """
    at, damaged = end.start, 0
    while at < end.stop:
        chunk = bytes_at(file, at, min(_CHUNK, end.stop - at))
        begins, stop = _whole_records(chunk)
        if begins:
            yield _records(chunk, at, begins, stop)
        last = at + len(chunk) >= end.stop
        # A chunk has room for any record: where none begins, or none follows at the end, there is damage.
        if stop < len(chunk) and (last or not begins):
            following = chunk.find(_RECORD, stop + 1)
            if following < 0:
                following = len(chunk) if last else len(chunk) - len(_RECORD) + 1
            skipped = (
                f"the directory is damaged at byte {at + stop}: {following - stop} bytes of it are no whole record"
            )
            complain(skipped)
            damaged += 1
            if damaged == _GIVE_UP:
                raise ArchiveError(f"{skipped}, as were bytes in {_GIVE_UP - 1} places before")
            stop = following
        at += stop


def _whole_records(chunk: bytes) -> tuple[list[int], int]:
    """Where the whole records at the beginning of a chunk begin, and where the last of them ends."""
    # Where every signature is that of the record that should begin there, they need not be walked.
    signed = np.array([found.start() for found in _SIGNATURE.finditer(chunk)], np.int64)
    if len(signed) > 1 and not signed[0] and signed[-2] + CENTRAL.itemsize <= len(chunk):
        lengths = np.ndarray((len(chunk) - 5,), "V6", chunk, strides=(1,))[signed[:-1] + _LENGTHS_AT]
        ends = signed[:-1] + CENTRAL.itemsize + lengths.view("<u2").reshape(-1, 3).sum(axis=1, dtype=np.int64)
        if np.array_equal(ends, signed[1:]):
            last = signed[-1:].tolist()
            return (signed.tolist(), end) if (end := _end_of(chunk, last[0])) else (signed[:-1].tolist(), last[0])
    begins, at = [], 0
    while end := _end_of(chunk, at):
        begins.append(at)
        at = end
    return begins, at


_SIGNATURE = re.compile(_RECORD)


def _end_of(chunk: bytes, at: int) -> int:
    """Where the record at a place ends; 0 if there is no whole one."""
    if at > len(chunk) - CENTRAL.itemsize or not chunk.startswith(_RECORD, at):
        return 0
    end = at + CENTRAL.itemsize + sum(_LENGTHS.unpack_from(chunk, at + _LENGTHS_AT))
    return end if end <= len(chunk) else 0


def _records(chunk: bytes, at: int, begins: list[int], stop: int) -> Records:
    places = np.array(begins, np.int64)
    data = np.frombuffer(chunk, np.uint8)
    fixed = data[places[:, None] + np.arange(CENTRAL.itemsize)].view(CENTRAL).reshape(-1)
    name_ends = places + CENTRAL.itemsize + fixed["name_length"]
    names = list(map(chunk.__getitem__, map(slice, (places + CENTRAL.itemsize).tolist(), name_ends.tolist())))
    offsets = fixed["offset"].astype(np.int64)
    extras: list[bytes] = []
    if (fixed["extra_length"] | fixed["comment_length"]).any():
        extras = list(map(chunk.__getitem__, map(slice, name_ends.tolist(), [*begins[1:], stop])))
        for number in np.flatnonzero(offsets == LIMIT_32).tolist():
            offsets[number] = _offset_64(extras[number][: int(fixed["extra_length"][number])], LIMIT_32)
    return Records(places + at, fixed, names, offsets, extras)


def _offset_64(extra: bytes, otherwise: int) -> int:
    """The offset in a zip64 extra field that has nothing else (APPNOTE 4.5.3)."""
    if len(extra) == 12 and extra.startswith(b"\x01\0\x08\0"):
        return min(int.from_bytes(extra[4:], "little"), 1 << 62)
    return otherwise


def entry_at(file: IO[bytes], at: int) -> Entry:
    """The member whose record, which has been read before, begins at `at`."""
    chunk = bytes_at(file, at, CENTRAL.itemsize + 3 * LIMIT_16)
    begins, _ = _whole_records(chunk)
    return _records(chunk, at, begins[:1], begins[1] if len(begins) > 1 else len(chunk)).entry(0)
