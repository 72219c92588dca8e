"""Raw deflate of finished CSVs by ISA-L's level 2, and nothing else: the yardstick of the preset `fast`.

No export that calls it for each member can be faster; the package's own kernel can.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from isal import isal_zlib

from benchmarks import data
from export_engine import DateRange
from export_engine.pipeline.deflate import PIECE, WINDOW

__all__ = ["PIECEWISE", "WHOLE", "csvs", "deflater", "pieces"]

#: Bytes of CSV that a thread takes at a time; 16 KiB or half of all are no faster.
_SHARE = 1 << 18


def csvs(source: Any, days: DateRange = data.JUNE) -> dict[str, bytes]:
    """Each member's name and CSV, in order, as the engine writes them."""
    buffer = io.BytesIO()
    buffer.writelines(data.export(source, days, compression="store"))
    with zipfile.ZipFile(buffer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pieces(csv: bytes) -> list[tuple[bytes, bytes, bool]]:
    """A long CSV as the engine cuts it: each piece, the dictionary before it, and whether it is the last."""
    return [
        (csv[at : at + PIECE], csv[max(at - WINDOW, 0) : at], at + PIECE >= len(csv))
        for at in range(0, len(csv), PIECE)
    ]


def _shares(members: Iterable[bytes]) -> list[list[bytes]]:
    shares: list[list[bytes]] = [[]]
    size = 0
    for csv in members:
        if size > _SHARE:
            shares.append([])
            size = 0
        shares[-1].append(csv)
        size += len(csv)
    return shares


#: Without a CRC-32.
WHOLE: Callable[[bytes], bytes] = partial(isal_zlib.compress, level=2, wbits=-15)


def PIECEWISE(data: bytes, dictionary: bytes, last: bool) -> bytes:  # noqa: N802  # beside WHOLE
    """A piece of a long member."""
    given = (dictionary,) if dictionary else ()
    deflater = isal_zlib.compressobj(2, isal_zlib.DEFLATED, -15, 8, isal_zlib.Z_DEFAULT_STRATEGY, *given)
    return bytes(deflater.compress(data) + deflater.flush(isal_zlib.Z_FINISH if last else isal_zlib.Z_SYNC_FLUSH))


def deflater(
    members: Iterable[bytes],
    threads: int,
    whole: Callable[[bytes], bytes] = WHOLE,
    piece: Callable[[bytes, bytes, bool], bytes] = PIECEWISE,
) -> Callable[[], None]:
    """What deflates all members, as fast as these threads can: by calls of one member, or one piece of a long one."""
    given = list(members)
    shares = _shares([csv for csv in given if len(csv) <= PIECE])
    long = [piece for csv in given if len(csv) > PIECE for piece in pieces(csv)]

    def small(share: Sequence[bytes]) -> None:
        for csv in share:
            whole(csv)

    def large(part: tuple[bytes, bytes, bool]) -> None:
        piece(*part)

    def run() -> None:
        if threads == 1:
            for share in shares:
                small(share)
            for part in long:
                large(part)
            return
        with ThreadPoolExecutor(threads) as pool:
            for _ in (*pool.map(small, shares), *pool.map(large, long)):
                pass

    return run
