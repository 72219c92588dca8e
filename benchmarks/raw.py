"""Deflate of finished CSVs, and nothing else: the yardsticks of the preset `fast`.

One is ISA-L's level 2 with a call for each member: no export that does so can be faster. The other is what `fast` is,
given many members in a call: no export at all can be faster.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from benchmarks import data
from export_engine import DateRange
from export_engine.options import CsvDialect
from export_engine.pipeline.deflate import PIECE, WINDOW, Backend
from export_engine.pipeline.render import header

__all__ = ["PIECEWISE", "WHOLE", "csvs", "deflater", "grouped", "pieces"]

#: Bytes of CSV that a thread takes at a time; 16 KiB or half of all are no faster.
_SHARE = 1 << 18
#: The same for a backend that takes many members in a call: enough that a call's own cost is nothing.
_GROUP = 1 << 20


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


def _shares(members: Iterable[bytes], most: int = _SHARE) -> list[list[bytes]]:
    shares: list[list[bytes]] = [[]]
    size = 0
    for csv in members:
        if size > most:
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

    def small(share: Sequence[bytes]) -> None:
        for csv in share:
            whole(csv)

    given = list(members)
    return _runner(_shares([csv for csv in given if len(csv) <= PIECE]), small, given, threads, piece)


def grouped(members: Iterable[bytes], threads: int, using: Backend) -> Callable[[], None]:
    """The same by one of the engine's backends, as the engine calls it: many members together, their header apart."""
    head = header(CsvDialect())
    given = list(members)
    groups = [
        (memoryview(b"".join(share)), np.cumsum([0, *map(len, share)], dtype=np.int64))
        for share in _shares([csv.removeprefix(head) for csv in given if len(csv) <= PIECE], _GROUP)
    ]

    def small(group: tuple[memoryview, NDArray[np.int64]]) -> None:
        using.members(*group, head)

    return _runner(groups, small, given, threads, using.piece)


def _runner(
    shares: Sequence[Any],
    small: Callable[[Any], None],
    given: list[bytes],
    threads: int,
    piece: Callable[[bytes, bytes, bool], bytes],
) -> Callable[[], None]:
    """What runs `small` over all shares and `piece` over the pieces of long members."""
    long = [part for csv in given if len(csv) > PIECE for part in pieces(csv)]

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
