"""Members unpacked: whole ones many at a time, long ones in chunks, with what their records claim as the bound.

zlib-ng unpacks, which is strict as zlib is and twice as fast; without it the standard library's zlib does.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from export_engine.errors import ArchiveError
from export_engine.readback.directory import LIMIT_32, Entry, bytes_at

_zlib: Any = zlib
with suppress(ImportError):  # no wheel on some platforms
    from zlib_ng import zlib_ng

    _zlib = zlib_ng  # the same calls

__all__ = ["DEFLATED", "LOCAL_BYTES", "LONGEST_HELD", "STORED", "chunks", "crc32", "unpacked"]

#: ZIP's numbers for the two methods that are read (APPNOTE 4.4.5), and for others what they are called.
STORED, DEFLATED = 0, 8
_METHODS = {1: "shrunk", 6: "imploded", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd"}
_METHODS |= {99: "AES encryption"}
_ENCRYPTED = 1 | 1 << 6 | 1 << 13  # APPNOTE 4.4.4: encrypted, strongly encrypted, with a masked directory

#: Length of a local header without its name and extra fields (APPNOTE 4.3.7), and where their lengths stand.
LOCAL_BYTES = 30
_LENGTHS = struct.Struct("<2H")

#: Bytes of CSV that are unpacked at a time; a member of more is not held whole.
LONGEST_HELD = 1 << 20
#: Packed bytes that are read at a time.
_READ = 1 << 18
#: Deflate's own limit: a match of 258 bytes in two bits.
_RATIO = 1032

crc32: Callable[..., int] = _zlib.crc32


def refusal(entry: Entry) -> str | None:
    """Why a member cannot be read, by what its record says; None if it might."""
    if entry.flags & _ENCRYPTED:
        return "it is encrypted"
    if entry.method not in (STORED, DEFLATED):
        called = _METHODS.get(entry.method, "of a kind unknown here")
        return f"it is packed by method {entry.method} ({called}), neither stored nor deflated"
    if LIMIT_32 in (entry.packed_bytes, entry.csv_bytes):
        return "its size stands in a zip64 field, which is not read: no CSV of the engine's has one"
    if entry.csv_bytes > entry.packed_bytes * _RATIO or (
        entry.method == STORED and entry.csv_bytes != entry.packed_bytes
    ):
        return f"it is damaged: {entry.packed_bytes} bytes cannot be {entry.csv_bytes} bytes packed"
    return None


def unpacked(packed: Iterable[bytes], fixed: NDArray[np.void]) -> list[bytes | None]:
    """Members' CSVs from their packed bytes and central records; None for one that is not what its record says."""
    csvs: list[bytes | None] = []
    take, inflater_of, window = csvs.append, _zlib.decompressobj, -zlib.MAX_WBITS
    limits = (fixed["csv_bytes"].astype(np.int64) + 1).tolist()  # one more, as a limit of zero would be none
    for data, method, limit in zip(packed, fixed["method"].tolist(), limits, strict=True):
        if method == DEFLATED:
            inflater = inflater_of(window)
            try:
                csv = inflater.decompress(data, limit)
            except _ERRORS:
                take(None)
            else:
                take(csv if inflater.eof and not inflater.unused_data else None)
        else:
            take(data if method == STORED else None)
    texts = [csv or b"" for csv in csvs]
    right = np.array(list(map(len, texts)), np.int64) == fixed["csv_bytes"]
    right &= np.array(list(map(crc32, texts)), np.int64) == fixed["crc32"]
    right &= fixed["flags"] & _ENCRYPTED == 0
    for number in np.flatnonzero(~right).tolist():
        csvs[number] = None
    return csvs


_ERRORS: tuple[type[Exception], ...] = (zlib.error, _zlib.error)


def _check_end(inflater: Any, left: bytes) -> None:
    if not inflater.eof or inflater.unused_data or left:
        raise ArchiveError("it cannot be unpacked: the deflated data do not end where they should")


def _damaged() -> ArchiveError:
    return ArchiveError("it is damaged: its size or its CRC-32 is not what the directory says")


def chunks(file: IO[bytes], entry: Entry) -> Iterator[bytes]:
    """A member's CSV, from behind its local header. Raises ArchiveError, at the end for a wrong size or CRC-32.

    A chunk is at most about `LONGEST_HELD` bytes.
    """
    if (reason := refusal(entry)) is not None:
        raise ArchiveError(reason)
    fixed = bytes_at(file, entry.offset, LOCAL_BYTES)
    if len(fixed) < LOCAL_BYTES or not fixed.startswith(b"PK\x03\x04"):
        raise ArchiveError(f"there is no local header at byte {entry.offset}")
    begin = entry.offset + LOCAL_BYTES + sum(_LENGTHS.unpack(fixed[-4:]))
    size = check = 0
    pieces = _pieces(file, entry, begin)
    for data in pieces if entry.method == STORED else _inflated(pieces):
        size, check = size + len(data), crc32(data, check)
        if size > entry.csv_bytes:
            raise _damaged()
        yield data
    if (size, check) != (entry.csv_bytes, entry.crc32):
        raise _damaged()


def _pieces(file: IO[bytes], entry: Entry, begin: int) -> Iterator[bytes]:
    for at in range(0, entry.packed_bytes, _READ):
        wanted = min(_READ, entry.packed_bytes - at)
        piece = bytes_at(file, begin + at, wanted)
        if len(piece) < wanted:
            raise ArchiveError("it is damaged: it goes on behind the end of the file")
        yield piece


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    inflater = _zlib.decompressobj(-zlib.MAX_WBITS)
    left = b""
    try:
        for piece in pieces:
            left = piece
            while left and not inflater.eof:
                if data := inflater.decompress(left, LONGEST_HELD):
                    yield data
                left = inflater.unconsumed_tail
            if inflater.eof:
                break
        while not inflater.eof and (data := inflater.decompress(b"", LONGEST_HELD)):
            yield data
    except _ERRORS as error:
        raise ArchiveError(f"it cannot be unpacked: {error}") from error
    _check_end(inflater, left or next(pieces, b""))
