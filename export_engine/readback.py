"""An archive's members read back as any user's program would: the standard library's `zipfile`, `zlib` and `csv`.

Nothing is shared with the writer but the columns' names. Members are streamed: memory holds the directory and one row.
"""

from __future__ import annotations

import csv
import os
import struct
import zlib
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from export_engine.errors import ArchiveError
from export_engine.schema import COLUMN_NAMES

__all__ = ["METHODS", "bytes_at", "directory", "member_rows", "unpacked"]

#: The methods that are read.
METHODS = (ZIP_STORED, ZIP_DEFLATED)

_HEADER = ",".join(COLUMN_NAMES)
#: The most characters of a cell that `csv` takes on every platform; no string of Arrow's is longer.
_LONGEST = 0x7FFFFFFF
#: Bytes of a member in memory at a time, packed and unpacked, besides the line being read.
_CHUNK = 1 << 16
_LOCAL = struct.Struct("<4s5H3L2H")  # APPNOTE 4.3.7
#: What `zipfile` raises for bytes that are no ZIP archive, or none it can read.
_UNREADABLE = (BadZipFile, OverflowError, RuntimeError, ValueError, struct.error)

_See = Callable[[bytes], object]


def directory(file: IO[bytes]) -> tuple[list[ZipInfo], int]:
    """The members by the central directory, and where that begins."""
    try:
        with ZipFile(file) as archive:
            return archive.infolist(), archive.start_dir
    except _UNREADABLE as error:
        raise ArchiveError(f"{file.name} is no whole ZIP archive ({error}): if cut short, fetch it again") from error


def bytes_at(file: IO[bytes], offset: int, count: int) -> bytes:
    """`count` bytes from `offset`, fewer where the file has no such place."""
    size = os.fstat(file.fileno()).st_size
    file.seek(min(max(offset, 0), size))
    return file.read(min(count, size))


def unpacked(file: IO[bytes], info: ZipInfo, see: _See) -> Iterator[bytes]:
    """A member's bytes, all shown to `see`. Raises ArchiveError, at the end for a size or CRC-32 that is not right."""
    size = crc32 = 0
    try:
        pieces = _packed(file, info)
        for data in _inflated(pieces) if info.compress_type == ZIP_DEFLATED else pieces:
            size, crc32 = size + len(data), zlib.crc32(data, crc32)
            see(data)
            yield data
    except zlib.error as error:
        raise ArchiveError(f"{info.filename!r} cannot be unpacked: {error}") from error
    if (size, crc32) != (info.file_size, info.CRC):
        raise ArchiveError(f"{info.filename!r} is damaged: its size or its CRC-32 is not what the directory says")


def _packed(file: IO[bytes], info: ZipInfo) -> Iterator[bytes]:
    fixed = bytes_at(file, info.header_offset, _LOCAL.size).ljust(_LOCAL.size)
    begin = info.header_offset + sum(_LOCAL.unpack(fixed)[-2:], _LOCAL.size)
    for at in range(0, info.compress_size, _CHUNK):
        wanted = min(_CHUNK, info.compress_size - at)
        piece = bytes_at(file, begin + at, wanted)
        if len(piece) < wanted or info.compress_type not in METHODS:
            raise zlib.error("it goes on behind the end of the file, or in a method that is not deflate")
        yield piece


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for piece in pieces:
        left = piece
        while left:
            yield inflater.decompress(left, _CHUNK)
            left = inflater.unconsumed_tail
    yield inflater.flush()
    if not inflater.eof or inflater.unused_data:
        raise zlib.error("the deflated data do not end where they should")


def member_rows(file: IO[bytes], info: ZipInfo, see: _See = len) -> Iterator[list[str]]:
    """The rows behind a member's header. Raises ArchiveError, after reading on for damage that would explain it."""
    chunks = unpacked(file, info, see)
    lines = _lines(chunks)
    try:
        header = next(lines, "")
        if header.removeprefix("\ufeff").removesuffix("\n").removesuffix("\r") != _HEADER:
            raise ArchiveError(f"{info.filename!r}: the header is not the twelve columns but {header[:200]!r}")
        reader = csv.reader(lines, strict=True)
        while (row := _next(reader)) is not None:
            yield row
    except (csv.Error, UnicodeDecodeError) as error:
        for _ in chunks:
            pass
        raise ArchiveError(f"{info.filename!r}: the CSV cannot be read: {error}") from error


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    decode = getincrementaldecoder("utf-8")().decode
    held: list[str] = []
    for chunk in chunks:
        first, *others = decode(chunk).split("\n")
        held.append(first)
        if others:
            yield "".join((*held, "\n"))
            yield from (f"{line}\n" for line in others[:-1])
            held = others[-1:]
    decode(b"", final=True)
    if any(held):
        raise csv.Error("the last line has no end")


def _next(reader: Iterator[list[str]]) -> list[str] | None:
    """The next row. The limit on a cell is the whole process's, so it is raised no longer than reading takes."""
    limit = csv.field_size_limit(_LONGEST)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(limit)
