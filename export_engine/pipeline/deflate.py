"""Bytes to raw deflate (RFC 1951): a group of members, or one piece of a long member, at a time.

Knows nothing of ZIP or conversations. What it promises:

- **Members of up to `PIECE` bytes are deflated together**, each a stream of its own. The preset `fast` is the package's
  own kernel, `export_engine._native`, for which that is one call, without the interpreter's lock. The libraries take
  two calls for each member, one for the stream and one for the CRC-32.
- **A longer one is cut every `PIECE` bytes of its own**, never where a batch happened to end. Each piece is deflated
  apart, with the 32 KiB before it as its dictionary, and ends in a sync flush, so that the pieces simply stand one
  after another and one giant member keeps every thread busy. The result is about as small as a single stream (RFC
  1951 section 3.2.4 gives the empty stored block that a sync flush is).
- **The bytes depend on the data and the backend alone**, not on threads, timing or how the data arrived.

A preset names what is wanted; the backend is the best that is installed for it. Every backend releases the
interpreter's lock while it works. Where the kernel was not built, `fast` is ISA-L's; without its library a preset falls
back to the standard library's zlib. The backend's name, which every report carries, says so.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export_engine.options import Compression

__all__ = [
    "DEFLATED",
    "PIECE",
    "PRESETS",
    "STORED",
    "Backend",
    "Deflated",
    "backend",
    "deflate_long",
]

#: Bytes of a member that are deflated in one call.
PIECE = 1 << 20
#: How far back deflate can refer: the dictionary of the next piece.
WINDOW = 1 << 15

#: ZIP's numbers for the two methods in use (APPNOTE 4.4.5).
STORED = 0
DEFLATED = 8

_RAW = -15
_SMALLEST = 2048


@dataclass(frozen=True, slots=True)
class Deflated:
    """Members' data one after another, in the byte at which each ends, and each one's CRC-32."""

    data: bytes
    ends: NDArray[np.int64]
    crc32s: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to deflate.

    - `members(csv, cuts, header)`: members of at most `PIECE` bytes, each `header` and then the bytes of `csv` between
      two neighbouring `cuts`. Their data are in the ZIP method `whole_method`.
    - `piece(data, dictionary, last)`: a part of a raw deflate stream, byte-aligned unless it is the last.
    - `crc32(data, start=0)`: the CRC-32 of `data`, continuing from `start`.
    - `kernel`: whether this is the package's own, which can lay members out in the same call
      (`archive.deflate_and_pack`).

    It pickles, as its functions are module-level ones or partials of them.
    """

    name: str
    members: Callable[[memoryview, NDArray[np.int64], bytes], Deflated]
    piece: Callable[[bytes | memoryview, bytes, bool], bytes]
    crc32: Callable[..., int]
    whole_method: int = DEFLATED
    kernel: bool = False


def _one_by_one(
    deflated: Callable[[bytes], bytes | bytearray],
    crc32: Callable[[bytes], int],
    csv: memoryview,
    cuts: NDArray[np.int64],
    header: bytes,
) -> Deflated:
    """Members by functions that take one each."""
    places = cuts.tolist()
    # No bytecode between the calls: each gives the interpreter's lock back, and would have to queue for it again.
    parts = map(csv.__getitem__, map(slice, places, places[1:]))
    members = list(map(b"".join, zip(repeat(header), parts, strict=False)))
    streams = list(map(deflated, members))
    crc32s = np.fromiter(map(crc32, members), np.uint32, len(members))
    return Deflated(b"".join(streams), np.cumsum(list(map(len, streams)), dtype=np.int64), crc32s)


def _piece(
    compressobj: Callable[..., Any], level: int, data: bytes | memoryview, dictionary: bytes, last: bool
) -> bytes:
    """One piece through any library with zlib's interface."""
    given = (dictionary,) if dictionary else ()
    deflater = compressobj(level, zlib.DEFLATED, _RAW, zlib.DEF_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY, *given)
    flush = zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH
    return bytes(deflater.compress(data) + deflater.flush(flush))


def _zlib(level: int) -> Backend:
    return Backend(
        name=f"zlib {level}",
        members=partial(_one_by_one, partial(zlib.compress, level=level, wbits=_RAW), zlib.crc32),
        piece=partial(_piece, zlib.compressobj, level),
        crc32=zlib.crc32,
    )


def _native_members(csv: memoryview, cuts: NDArray[np.int64], header: bytes) -> Deflated:
    from export_engine._native import deflate_members  # noqa: PLC0415  # whoever calls this has found it there

    data, ends, crc32s = deflate_members(csv, cuts.data, header)
    return Deflated(data, np.frombuffer(ends, np.int64), np.frombuffer(crc32s, np.uint32))


def _fast() -> Backend:
    try:
        # Optional: built where there is a compiler.
        from export_engine._native import VERSION, crc32, deflate_piece  # noqa: PLC0415
    except ImportError:
        return _isal()
    return Backend(
        name=f"native {VERSION}",
        members=_native_members,
        piece=deflate_piece,
        crc32=crc32,
        kernel=True,
    )


def _isal() -> Backend:
    try:
        from isal import isal_zlib  # noqa: PLC0415  # optional: no wheel on some platforms
    except ImportError:
        return _zlib(1)
    return Backend(
        name="isal 2",
        members=partial(_one_by_one, partial(isal_zlib.compress, level=2, wbits=_RAW), isal_zlib.crc32),
        piece=partial(_piece, isal_zlib.compressobj, 2),
        crc32=isal_zlib.crc32,
    )


def _balanced() -> Backend:
    try:
        from deflate import deflate_compress  # noqa: PLC0415  # optional: no wheel on some platforms
        from zlib_ng import zlib_ng  # noqa: PLC0415  # optional: the same
    except ImportError:
        return _zlib(6)
    return Backend(
        name="libdeflate 5 + zlib-ng 5",
        members=partial(_one_by_one, partial(deflate_compress, compresslevel=5), zlib_ng.crc32),
        piece=partial(_piece, zlib_ng.compressobj, 5),
        crc32=zlib_ng.crc32,
    )


def _libdeflate_8(data: bytes) -> bytes | bytearray:
    # libdeflate is ahead of zlib 9 from about 2 KiB on; below it chooses its blocks worse.
    if len(data) < _SMALLEST:
        from zlib_ng import zlib_ng  # noqa: PLC0415  # whoever calls this has found it there

        return zlib_ng.compress(data, 9, _RAW)
    from deflate import deflate_compress  # noqa: PLC0415  # the same

    return deflate_compress(data, 8)


def _small() -> Backend:
    try:
        import deflate  # noqa: F401, PLC0415  # optional: no wheel on some platforms
        from zlib_ng import zlib_ng  # noqa: PLC0415  # optional: the same
    except ImportError:
        return _zlib(9)
    return Backend(
        name="libdeflate 8 + zlib-ng 8",
        members=partial(_one_by_one, _libdeflate_8, zlib_ng.crc32),
        # zlib-ng's level 9 comes out larger than its 8 on this kind of text.
        piece=partial(_piece, zlib_ng.compressobj, 8),
        crc32=zlib_ng.crc32,
    )


def _store() -> Backend:
    # A long member is not known whole when its header is written. ZIP readers fail on the method "stored" with sizes
    # that only follow the data, so the pieces are deflate's own stored blocks.
    return Backend(
        name="store",
        members=partial(_one_by_one, bytes, zlib.crc32),
        piece=partial(_piece, zlib.compressobj, 0),
        crc32=zlib.crc32,
        whole_method=STORED,
    )


#: What a caller can ask for, from the fastest to the smallest, and no compression.
PRESETS: dict[Compression, Callable[[], Backend]] = {
    "fast": _fast,
    "balanced": _balanced,
    "small": _small,
    "store": _store,
}


def backend(preset: Compression) -> Backend:
    """The backend of a preset."""
    return PRESETS[preset]()


def deflate_long(data: bytes, using: Backend, size: int = PIECE) -> bytes:
    """A member that is in memory, deflated in pieces of `size` bytes: the same bytes as if it had come in pieces."""
    return b"".join(
        using.piece(data[at : at + size], data[max(at - WINDOW, 0) : at], at + size >= len(data))
        for at in range(0, len(data), size)
    )
