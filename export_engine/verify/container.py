"""Whether every byte of the container is what the engine would have written for the members there are.

From name, sizes, CRC-32, method and time of a member all the rest of its records follows: versions, flags, attributes,
extra fields, and what stands before and behind its data. So the records that should be are made, many at a time, and
held against those that are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from export_engine.readback.directory import CENTRAL, LIMIT_32, UTF8, Records
from export_engine.readback.packed import DEFLATED, LOCAL_BYTES, STORED

__all__ = ["STREAMED", "check_local", "check_records", "descriptor", "local_headers", "spans"]

#: The flag that says that CRC-32 and sizes stand behind the data (APPNOTE 4.4.4, bit 3).
STREAMED = 1 << 3
#: What stands behind the data then (APPNOTE 4.3.9).
_DESCRIPTOR = struct.Struct("<4s3L")
_UNIX, _ATTRIBUTES = 3, 0o100644 << 16  # APPNOTE 4.4.2.2, 4.4.15: a plain file, rw-r--r--
_VERSION, _VERSION_ZIP64 = 20, 45  # APPNOTE 4.4.3.2
#: The zip64 extra field of an offset that overflows (APPNOTE 4.5.3).
_ZIP64 = struct.Struct("<2HQ")

#: A local header without the name (APPNOTE 4.3.7): the fields it shares with the central record, in its order.
_SHARED = ("version_needed", "flags", "method", "time", "date", "crc32", "packed_bytes", "csv_bytes", "name_length")
_LOCAL = np.dtype(
    [
        ("signature", "S4"),
        *((name, CENTRAL.fields[name][0]) for name in _SHARED if CENTRAL.fields),
        ("extra_length", "<u2"),
    ]
)
_CHECKS = ("crc32", "packed_bytes", "csv_bytes")

#: What the fields of a record are called where they are wrong.
_CALLED = {
    "version_made": "version made by",
    "system": "system made by",
    "version_needed": "version needed",
    "crc32": "CRC-32",
    "packed_bytes": "deflated size",
    "csv_bytes": "size",
    "name_length": "length of the name",
    "extra_length": "length of extra fields",
    "comment_length": "length of the comment",
    "disk": "disk",
    "internal_attributes": "internal attributes",
    "external_attributes": "attributes",
}

_Complain = Callable[[str], object]


def spans(records: Records) -> NDArray[np.int64]:
    """How many bytes each member takes, with what stands before and behind its data."""
    fixed = records.fixed
    streamed = (fixed["flags"] & STREAMED > 0) * _DESCRIPTOR.size
    lengths = np.array(list(map(len, records.names)), np.int64)
    return LOCAL_BYTES + lengths + fixed["packed_bytes"].astype(np.int64) + streamed


def check_records(records: Records, names: list[str], complain: _Complain) -> None:
    """Hold central records against what follows from their facts."""
    fixed = records.fixed
    expected = fixed.copy()
    overflow = fixed["offset"] == LIMIT_32
    expected["version_needed"] = np.where(overflow, _VERSION_ZIP64, _VERSION)
    expected["version_made"] = expected["version_needed"]
    expected["system"], expected["external_attributes"] = _UNIX, _ATTRIBUTES
    for field in ("comment_length", "disk", "internal_attributes"):
        expected[field] = 0
    expected["extra_length"] = overflow * _ZIP64.size
    ascii_ = np.array(list(map(bytes.isascii, records.names)), np.bool_)
    expected["flags"] = (fixed["flags"] & STREAMED) | ~ascii_ * UTF8
    right = (fixed["method"] == DEFLATED) | ((fixed["method"] == STORED) & (fixed["flags"] & STREAMED == 0))
    if right.all() and (fixed == expected).all() and not overflow.any():
        return
    for number in np.flatnonzero((fixed != expected) | ~right | overflow).tolist():
        _check_record(records, number, names[number], expected[number], complain)


def _check_record(records: Records, number: int, name: str, expected: np.void, complain: _Complain) -> None:
    is_ = records.fixed[number]
    for field in CENTRAL.names or ():
        if is_[field] != expected[field]:
            called = _CALLED.get(field, field)
            complain(f"{name!r}: the directory's {called} is {is_[field]}, not {expected[field]} as in a plain archive")
    if is_["method"] == STORED and is_["flags"] & STREAMED:
        complain(f"{name!r} is stored with a data descriptor: many readers cannot tell where it ends")
    elif is_["method"] not in (STORED, DEFLATED):
        complain(f"{name!r} is packed by method {is_['method']}, neither stored nor deflated")
    if is_["offset"] == LIMIT_32:
        offset = int(records.offsets[number])
        if records.extras[number : number + 1] != [_ZIP64.pack(1, 8, offset)] or offset < LIMIT_32:
            complain(f"{name!r}: its zip64 extra field is not an offset of 4 GiB or more alone")


def local_headers(fixed: NDArray[np.void]) -> NDArray[np.void]:
    """The local headers that go with central records, without their names."""
    local = np.zeros(len(fixed), _LOCAL)
    for field in _SHARED:
        local[field] = fixed[field]
    local["signature"] = b"PK\x03\x04"
    streamed = fixed["flags"] & STREAMED > 0
    if streamed.any():
        for field in _CHECKS:
            local[field][streamed] = 0
    return local


def check_local(name: str, raw: bytes, found: bytes, fixed: np.void, complain: _Complain) -> None:
    """Say what is wrong with a local header: `found` stands where it and its name, `raw`, should."""
    expected = local_headers(np.array([fixed]))
    head = found[:LOCAL_BYTES]
    if len(head) < LOCAL_BYTES or not head.startswith(b"PK\x03\x04"):
        complain(f"{name!r}: there is no local header where the directory says")
        return
    (is_,) = np.frombuffer(head, _LOCAL)
    for field in _LOCAL.names or ():
        if is_[field] != expected[0][field]:
            called = _CALLED.get(field, field)
            complain(f"{name!r}: the local header's {called} is {is_[field]}, by the directory {expected[0][field]}")
    if found[LOCAL_BYTES:] != raw:
        complain(f"{name!r}: the local header's name is {found[LOCAL_BYTES:]!r}, by the directory {raw!r}")


def descriptor(fixed: np.void) -> bytes:
    """What stands behind the data of a member, by its central record: nothing unless it was streamed."""
    if not fixed["flags"] & STREAMED:
        return b""
    return _DESCRIPTOR.pack(b"PK\x07\x08", *(int(fixed[field]) for field in _CHECKS))
