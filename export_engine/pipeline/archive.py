"""The ZIP container: local headers, data descriptors, the central directory and its end, on zipstream-ng.

Knows nothing of conversations. The choices, each because of what readers in the field do with the alternatives:

- A member that is held whole carries its real CRC-32 and sizes in its **local header**: no data descriptor, no extra
  field, version 2.0. Every reader tried takes that, the strictly streaming ones included.
- Only a member too long to hold **streams**: bit 3 set, sizes zero in the local header, and a signed 32-bit **data
  descriptor** behind the data (APPNOTE 4.3.9). No member needs zip64, as none reaches 4 GiB.
- **zip64** appears only for the archive: from 65,535 members on, or offsets of 4 GiB and more; then the local and the
  central header both say version 4.5, and only fields that overflow are all ones (APPNOTE 4.4.8, 4.5.3).
- No prefix, gap or trailing byte; local and central records agree in every field they share.

The **central directory** is kept as packed bytes, 46 bytes and the name for a member, not as objects. Both headers are
packed here, for many members at a time, or filled in by the kernel where it deflates them; they are the same bytes as
zipstream-ng's `ZipStreamInfo` gives, which a test holds. Data descriptors and the end of the
archive are zipstream-ng's own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple
from zipfile import ZIP_DEFLATED

import numpy as np
from numpy.typing import NDArray
from zipstream import ng

from export_engine.timetext import dos_times

__all__ = ["Archive", "Members", "Packed", "deflate_and_pack", "pack", "unpack"]

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

# The records as numpy lays them out, one row a member; little-endian without padding, as ZIP has them.
# Local header, APPNOTE 4.3.7.
_LOCAL = np.dtype(
    [
        ("signature", "S4"),
        ("version_needed", "<u2"),  # 4.4.3
        ("flags", "<u2"),  # 4.4.4
        ("method", "<u2"),  # 4.4.5
        ("time", "<u2"),  # 4.4.6, as is the date
        ("date", "<u2"),
        ("crc32", "<u4"),  # 4.4.7; zero in a streamed member, as are the sizes
        ("deflated_bytes", "<u4"),  # 4.4.8
        ("csv_bytes", "<u4"),  # 4.4.9
        ("name_length", "<u2"),  # 4.4.10
        ("extra_length", "<u2"),  # 4.4.11; always zero here
    ]
)
# Central header, APPNOTE 4.3.12. Its shared fields agree with the local header's.
_CENTRAL = np.dtype(
    [
        ("signature", "S4"),
        ("version_made", "u1"),  # 4.4.2; the same as needed
        ("system", "u1"),  # 4.4.2: whose attributes follow
        ("version_needed", "<u2"),
        ("flags", "<u2"),
        ("method", "<u2"),
        ("time", "<u2"),
        ("date", "<u2"),
        ("crc32", "<u4"),
        ("deflated_bytes", "<u4"),
        ("csv_bytes", "<u4"),
        ("name_length", "<u2"),
        ("extra_length", "<u2"),
        ("comment_length", "<u2"),  # 4.4.12; none
        ("disk", "<u2"),  # 4.4.13; one disk
        ("internal_attributes", "<u2"),  # 4.4.14; not known to be text
        ("external_attributes", "<u4"),  # 4.4.15
        ("offset", "<u4"),  # 4.4.16; all ones where it stands in the extra field
    ]
)
_OFFSET_AT = 42
# zip64 extended information (APPNOTE 4.5.3) with the one field that can overflow here: id, length, offset.
_ZIP64_OFFSET = struct.Struct("<2HQ")
_ZIP64_EXTRA = _ZIP64_OFFSET.size
# Bytes of a data descriptor (APPNOTE 4.3.9, with its signature), and of what ends an archive: the end record (4.3.16)
# and, where it is needed, the zip64 end record and its locator (4.3.14, 4.3.15).
_DESCRIPTOR = 16
_END = 22
_ZIP64_END = 56 + 20


@dataclass(slots=True)
class Members:
    """What the headers say of some members, as parallel lists and arrays.

    Sizes are in bytes, `created` in local microseconds since 1970; `methods` are as in APPNOTE 4.4.5. A member that is
    `streamed` has its CRC-32 and sizes in a data descriptor behind its data.
    """

    names: list[str]
    created: NDArray[np.int64]
    methods: NDArray[np.int64]
    crc32s: NDArray[np.int64]
    deflated_bytes: NDArray[np.int64]
    csv_bytes: NDArray[np.int64]
    streamed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class Packed:
    """Some members one after another: their bytes, their part of the central directory, and where each begins.

    `starts` are offsets of the local headers within `local`; `fields` the places in `central` that take them. Where
    offsets were known when it was packed, `fields` is empty.
    """

    local: bytes
    central: bytes
    starts: NDArray[np.int64]
    fields: NDArray[np.int64]


def pack(members: Members, data: bytes, base: int | None = None) -> Packed:
    """Lay whole members out, whose `data` stand one after another.

    Without `base` the offsets are relative, and `Archive.add` completes them. With it, members that begin at 4 GiB or
    beyond get their zip64 records.
    """
    names, ascii_names = _names(members.names)
    lengths = names.stops - names.starts
    sizes = _LOCAL.itemsize + lengths + members.deflated_bytes
    stops = np.cumsum(members.deflated_bytes)
    columns = [names, _Items(data, stops - members.deflated_bytes, stops)]
    if members.streamed.any():
        descriptors = _items([_descriptor(members, at) for at in range(len(members))])
        columns.append(descriptors)
        sizes = sizes + descriptors.stops - descriptors.starts
    ends = np.cumsum(sizes)
    starts = ends - sizes
    central, extras = _central(members, lengths, ascii_names, starts + (base or 0))
    local = _joined(_fixed(_local(central, members.streamed)), *columns)
    records = _joined(_fixed(central), names, *extras)
    if base is not None:
        return Packed(local, records, starts, starts[:0])
    spaces = _CENTRAL.itemsize + lengths
    return Packed(local, records, starts, np.cumsum(spaces) - spaces + _OFFSET_AT)


def unpack(packed: Packed, members: Members) -> bytes:
    """The data of members that were laid out without `base`, one after another."""
    records = np.append(packed.fields - _OFFSET_AT, len(packed.central))
    starts = packed.starts + _LOCAL.itemsize + np.diff(records) - _CENTRAL.itemsize
    local = memoryview(packed.local)
    return b"".join(map(local.__getitem__, map(slice, starts.tolist(), (starts + members.deflated_bytes).tolist())))


def deflate_and_pack(
    csv: memoryview,
    cuts: NDArray[np.int64],
    header: bytes,
    names: tuple[bytes, NDArray[np.int64]],
    created: NDArray[np.int64],
) -> tuple[Packed, NDArray[np.int64], NDArray[np.uint32]]:
    """Deflate members as the kernel's backend does and lay them out as `pack` does, in one call of the kernel.

    Each is `header` and then the bytes of `csv` between two neighbouring `cuts`. `names` are UTF-8, each with one byte
    behind it, and where they end. Also returns the bytes of each member's data and its CRC-32.
    """
    from export_engine._native import zip_members  # noqa: PLC0415  # whoever calls this has found it there

    text, stops = names
    local, central, *numbers = zip_members(csv, cuts.data, header, text, stops.data, created.data, _model())
    starts, deflated_bytes = (np.frombuffer(some, np.int64) for some in numbers[:2])
    spaces = _CENTRAL.itemsize + np.diff(stops, prepend=-1) - 1
    packed = Packed(local, central, starts, np.cumsum(spaces) - spaces + _OFFSET_AT)
    return packed, deflated_bytes, np.frombuffer(numbers[2], np.uint32)


@cache
def _model() -> bytes:
    """A central header that has what all deflated members have."""
    none = np.zeros(1, np.int64)
    members = Members([""], none, none + ZIP_DEFLATED, none, none, none, none > 0)
    return _central(members, none, none == 0, none)[0].tobytes()


class _Items(NamedTuple):
    """Some bytes each, in one piece of memory: where they start and stop."""

    data: bytes
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]


def _items(values: Sequence[bytes]) -> _Items:
    ends = np.cumsum([0, *map(len, values)], dtype=np.int64)
    return _Items(b"".join(values), ends[:-1], ends[1:])


def _fixed(records: NDArray[np.void]) -> _Items:
    starts = np.arange(0, len(records) * records.itemsize, records.itemsize)
    return _Items(records.tobytes(), starts, starts + records.itemsize)


def _names(names: Sequence[str]) -> tuple[_Items, NDArray[np.bool_]]:
    """Names as UTF-8, and which of them are ASCII."""
    # All at once: the engine's names have no line end.
    text = "\n".join([*names, ""])
    data = text.encode()
    octets = np.frombuffer(data, np.uint8)
    stops = np.flatnonzero(octets == ord("\n"))
    if len(stops) != len(names):
        return _items([name.encode() for name in names]), np.array(list(map(str.isascii, names)))
    starts = np.append(0, stops + 1)[:-1]
    if len(data) == len(text):
        return _Items(data, starts, stops), np.ones(len(stops), np.bool_)
    return _Items(data, starts, stops), np.maximum.reduceat(octets, starts) < 0x80


def _joined(*columns: _Items) -> bytes:
    """Records: the first item of each column, then the second of each, and so on."""
    try:
        from export_engine._native import interleave  # noqa: PLC0415  # optional: built where there is a compiler
    except ImportError:
        parts: list[bytes | memoryview] = [b""] * (len(columns[0].starts) * len(columns))
        for place, (data, starts, stops) in enumerate(columns):
            parts[place :: len(columns)] = map(
                memoryview(data).__getitem__, map(slice, starts.tolist(), stops.tolist())
            )
        return b"".join(parts)
    return interleave(tuple((data, starts.data, stops.data) for data, starts, stops in columns))


def _central(
    members: Members, lengths: NDArray[np.int64], ascii_names: NDArray[np.bool_], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.void], list[_Items]]:
    """The central headers, and the column of their extra fields where one has any."""
    fixed = np.zeros(len(members), _CENTRAL)
    fixed["signature"] = b"PK\x01\x02"
    fixed["version_needed"] = np.where(offsets < LIMIT_32, _VERSION, _VERSION_ZIP64)
    fixed["version_made"] = fixed["version_needed"]
    fixed["system"] = _UNIX
    fixed["flags"] = np.where(ascii_names, 0, _UTF8) | np.where(members.streamed, _STREAMED, 0)
    fixed["method"] = members.methods
    fixed["time"], fixed["date"] = dos_times(members.created)
    fixed["crc32"] = members.crc32s
    fixed["deflated_bytes"] = members.deflated_bytes
    fixed["csv_bytes"] = members.csv_bytes
    fixed["name_length"] = lengths
    fixed["external_attributes"] = _ATTRIBUTES
    fixed["offset"] = np.minimum(offsets, LIMIT_32)
    if len(offsets) and offsets[-1] >= LIMIT_32:
        extras = [_ZIP64_OFFSET.pack(1, 8, o) if o >= LIMIT_32 else b"" for o in offsets.tolist()]
        fixed["extra_length"] = [len(extra) for extra in extras]
        return fixed, [_items(extras)]
    return fixed, []


def _local(central: NDArray[np.void], streamed: NDArray[np.bool_]) -> NDArray[np.void]:
    """The local headers of the same members."""
    fixed = np.zeros(len(central), _LOCAL)
    for field in _LOCAL.names or ():
        fixed[field] = central[field]
    fixed["signature"] = b"PK\x03\x04"
    fixed["extra_length"] = 0
    if streamed.any():
        for field in ("crc32", "deflated_bytes", "csv_bytes"):
            fixed[field][streamed] = 0
    return fixed


def _descriptor(members: Members, at: int) -> bytes:
    """What follows the data of a member; nothing unless it is streamed."""
    if not members.streamed[at]:
        return b""
    info = ng.ZipStreamInfo("")
    info.CRC, info.compress_size, info.file_size = (
        int(column[at]) for column in (members.crc32s, members.deflated_bytes, members.csv_bytes)
    )
    return bytes(info.DataDescriptor(zip64=False))


class Archive:
    """One archive being written. Every method returns the bytes to send next; `position` is how many there were.

    Members come whole (`add`) or in a stream (`begin`, the data through `stream`, `end`). `finish` closes the
    archive; without it what was sent is not a ZIP file, and no reader takes it for one.
    """

    def __init__(self) -> None:
        self.position = 0
        self.members = 0
        self._directory: list[bytes] = []
        self._directory_bytes = 0
        self._streamed_from = 0

    def size_with(self, packed: Packed, start: int, stop: int) -> int:
        """The size of the whole file if it had members `start` to `stop` of those as well, and then ended.

        `packed` are offsets that are relative; the zip64 records that theirs need in this place are counted.
        """
        count = len(packed.starts)
        local = [int(packed.starts[at]) if at < count else len(packed.local) for at in (start, stop)]
        central = [int(packed.fields[at]) - _OFFSET_AT if at < count else len(packed.central) for at in (start, stop)]
        # Offsets ascend: those that overflow are the last.
        far = int(np.searchsorted(packed.starts[start:stop], LIMIT_32 - self.position + local[0]))
        return _size(
            self.position + local[1] - local[0],
            self._directory_bytes + central[1] - central[0] + _ZIP64_EXTRA * (stop - start - far),
            self.members + stop - start,
        )

    def size_with_streamed(self, member: Members, deflated_bytes: int) -> int:
        """The same with one streamed member of so many deflated bytes."""
        (name,) = member.names
        extra = _ZIP64_EXTRA if self.position >= LIMIT_32 else 0
        length = len(name.encode())
        return _size(
            self.position + _LOCAL.itemsize + length + deflated_bytes + _DESCRIPTOR,
            self._directory_bytes + _CENTRAL.itemsize + length + extra,
            self.members + 1,
        )

    def add(self, packed: Packed, members: Members) -> bytes:
        """Append members that were laid out without `base`; they are laid out again where zip64 is needed."""
        if self.position + len(packed.local) >= LIMIT_32:
            packed = pack(members, unpack(packed, members), base=self.position)
        self._note(_placed(packed, self.position), len(members))
        return self.stream(packed.local)

    def begin(self, member: Members) -> bytes:
        """Begin one streamed member, whose sizes are not known yet."""
        self._streamed_from = self.position
        name, is_ascii = _names(member.names)
        central, _ = _central(member, name.stops, is_ascii, np.array([self.position]))
        return self.stream(_joined(_fixed(_local(central, member.streamed)), name))

    def stream(self, data: bytes) -> bytes:
        """Count bytes that go into the archive as they are: the deflated data of the member begun."""
        self.position += len(data)
        return data

    def end(self, member: Members) -> bytes:
        """End the member begun, whose CRC-32 and sizes are now known: its data descriptor."""
        name, is_ascii = _names(member.names)
        fixed, extras = _central(member, name.stops, is_ascii, np.array([self._streamed_from]))
        self._note(_joined(_fixed(fixed), name, *extras), 1)
        return self.stream(_descriptor(member, 0))

    def finish(self) -> Iterator[bytes]:
        """The central directory and the end of the archive, in chunks."""
        for chunk in _Footer(self._directory, self.members, self.position):
            yield self.stream(chunk)

    def _note(self, records: bytes, members: int) -> None:
        """Keep central records."""
        self._directory.append(records)
        self._directory_bytes += len(records)
        self.members += members


def _size(position: int, directory: int, members: int) -> int:
    """The size of a whole file, of what stands before its directory, that, and how many members there are."""
    return position + directory + _END + (_ZIP64_END if position >= LIMIT_32 or members >= LIMIT_16 else 0)


def _placed(packed: Packed, base: int) -> bytes:
    """The central records with the offsets of their local headers filled in."""
    if len(packed.fields) < len(packed.starts):
        return packed.central
    central = np.frombuffer(packed.central, np.uint8).copy()
    offsets = (packed.starts + base).astype("<u4").view(np.uint8).reshape(-1, 4)
    central[packed.fields[:, None] + np.arange(4)] = offsets
    return central.tobytes()


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
