"""Frontier: ratio against speed, on one thread, of all deflate libraries and levels that come as wheels.

Small members are CSVs of about 20 messages: each deflated by one call of a library, all by one call of a preset. Large
ones are deflated as the engine does it, by pieces of 1 MiB with the 32 KiB before as dictionary, which libdeflate
cannot do. A preset is dominated when something else is as small and more than 5 % faster, or as fast and more than 0.5
% smaller.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import deflate
import numpy as np
import pyarrow as pa
import pytest
from isal import isal_zlib
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from zlib_ng import zlib_ng

from benchmarks import data, raw
from benchmarks.measure import at_most, interleaved, record
from export_engine.options import Compression
from export_engine.pipeline.deflate import Backend, backend

_ZLIB_LIKE: dict[str, tuple[Any, Iterable[int]]] = {
    "isal": (isal_zlib, range(4)),
    "zlib-ng": (zlib_ng, range(1, 10)),
    "zlib": (zlib, range(1, 10)),
}
PRESETS: tuple[Compression, ...] = ("fast", "balanced", "small")

Deflater = Callable[..., bytes]


def _whole(library: Any, level: int, text: bytes) -> bytes:
    return bytes(library.compress(text, level, -15))


def _libdeflate(level: int, text: bytes) -> bytes:
    return bytes(deflate.deflate_compress(text, level))


def _piece(library: Any, level: int, text: bytes, dictionary: bytes, last: bool) -> bytes:
    given = (dictionary,) if dictionary else ()
    deflater = library.compressobj(level, zlib.DEFLATED, -15, zlib.DEF_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY, *given)
    return bytes(deflater.compress(text) + deflater.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH))


def _preset(using: Backend, joined: memoryview, cuts: NDArray[np.int64]) -> int:
    # The engine's call, for all members of a group; it takes the CRC-32 along, what the others are spared.
    return len(using.members(joined, cuts, b"").data)


def _candidates(how: Callable[[Any, int], Deflater]) -> dict[str, Deflater]:
    return {
        f"{name} {level}": how(library, level) for name, (library, levels) in _ZLIB_LIKE.items() for level in levels
    }


@pytest.mark.parametrize("members", ["small", "large"])
def test_frontier(benchmark: BenchmarkFixture, rows: int, rounds: int, members: str) -> None:
    """No preset is dominated."""
    size = max(rows // 10, 100)
    calls: list[tuple[Any, ...]]
    if members == "small":
        csvs = [*raw.csvs(data.table(20, size)).values()]
        calls = [(csv,) for csv in csvs]
        deflaters = _candidates(lambda library, level: partial(_whole, library, level))
        deflaters |= {f"libdeflate {level}": partial(_libdeflate, level) for level in range(1, 13)}
        joined, cuts = memoryview(b"".join(csvs)), np.cumsum([0, *map(len, csvs)])
        groups = {str(preset): partial(_preset, backend(preset), joined, cuts) for preset in PRESETS}
    else:
        whole = data.repeated(data.table(200, size), size, one_conversation=True)
        (csv,) = raw.csvs(pa.Table.from_batches(whole)).values()
        calls = [*raw.pieces(csv)]
        deflaters = _candidates(lambda library, level: partial(_piece, library, level))
        deflaters |= {preset: backend(preset).piece for preset in PRESETS}
        groups = {}
    total = sum(len(call[0]) for call in calls)
    runs: dict[str, Callable[[], int]] = {name: partial(_all, one, calls) for name, one in deflaters.items()}
    runs |= groups
    ratio = {name: total / run() for name, run in runs.items()}
    seconds = interleaved(benchmark, {name: partial(_timed, run) for name, run in runs.items()}, rounds, warm=True)
    points = {name: (total / seconds[name] / 1e6, ratio[name]) for name in runs}
    libraries = {preset: backend(preset).name for preset in PRESETS}
    dominated = {
        preset: [
            name
            for name in points
            # Its own library and level is the preset under another name: noise must not set them apart.
            if name not in (*PRESETS, *libraries[preset].split(" + ")) and _dominates(points[name], points[preset])
        ]
        for preset in PRESETS
    }
    record(
        benchmark,
        at_most(f"presets dominated, {members} members", sum(map(bool, dominated.values())), 0),
        members=members,
        points=points,
        dominated=dominated,
        libraries=libraries,
        csv_bytes=total,
    )


def _all(one: Deflater, calls: Sequence[tuple[Any, ...]]) -> int:
    return sum(len(one(*call)) for call in calls)


def _timed(run: Callable[[], int]) -> None:
    run()


def _dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    (speed, ratio), (other_speed, other_ratio) = one, other
    return (ratio >= other_ratio and speed > 1.05 * other_speed) or (
        speed >= other_speed and ratio > 1.005 * other_ratio
    )
