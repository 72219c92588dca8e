"""The kernel alone against ISA-L alone: the deflate of finished CSVs, CRC-32 included, and nothing else.

Both are called from Python as the engine calls them: the kernel once for the members of a batch, ISA-L once for each
member. Texts of one script and random ids are in sets of their own, for what the known tables make of them.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from isal import isal_zlib
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import data, raw
from benchmarks.measure import at_most, interleaved, record
from export_engine._native import deflate_members
from export_engine.options import CsvDialect
from export_engine.pipeline.render import header
from fixtures import datasets

#: Bytes of CSV that go to the kernel in a call: about what a batch makes.
_BATCH = 4_000_000
_HEADER = header(CsvDialect())
#: What is to be reached: the kernel's time by ISA-L's, where there is a target, and its size by ISA-L's.
TARGETS: dict[str, tuple[float | None, float]] = {
    "3 messages": (0.25, 1.06),
    "20 messages": (0.6, 1.03),
    "200 messages": (1.2, 1.02),
    "chitchat-dataset": (None, 1.03),
    "Chinese, 3 messages": (None, 1.10),
    "Arabic, 3 messages": (None, 1.10),
    "base64 ids, 3 messages": (None, 1.10),
}


def _with(column: str, values: list[str], rows: int) -> data.DataSet:
    """The synthetic table at 3 messages a conversation, with other values in one column."""
    table = data.table(3, rows)
    at = table.schema.get_field_index(column)
    drawn = np.random.default_rng(5).integers(0, len(values), len(table))
    return data.DataSet(column, table.set_column(at, table.schema.field(at), pa.array(values).take(drawn)), data.JUNE)


def _spoken(first: str, last: str) -> list[str]:
    """Texts of `chatterbot-corpus` with a character between two."""
    texts = (message.text or "" for talk in datasets.chatterbot() for message in talk.messages)
    return [text for text in texts if any(first <= char <= last for char in text)]


def _set(name: str, rows: int) -> data.DataSet:
    if name == "chitchat-dataset":
        return data.chitchat()
    if name.startswith("Chinese"):
        kana = set(_spoken("\u3040", "\u30ff"))
        return _with("message_text", [text for text in _spoken("\u4e00", "\u9fff") if text not in kana], rows)
    if name.startswith("Arabic"):
        return _with("message_text", _spoken("\u0600", "\u06ff"), rows)
    if name.startswith("base64"):
        rng = random.Random(6)  # noqa: S311  # nothing secret
        table = data.table(3, rows)
        ids = pa.array([base64.b64encode(rng.randbytes(24)).decode() for _ in range(len(table))])
        return data.DataSet(name, table.set_column(0, table.schema.field(0), ids), data.JUNE)
    return replace(data.synthetic(int(name.split(maxsplit=1)[0]), rows), name=name)


def _batches(csvs: list[bytes]) -> list[tuple[memoryview, NDArray[np.int64]]]:
    """The CSVs without their headers, many together, and where to cut."""
    rows = [csv.removeprefix(_HEADER) for csv in csvs]
    ends = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    whole = memoryview(b"".join(rows))
    cuts = [0]
    while cuts[-1] < len(rows):
        last = int(np.searchsorted(ends, ends[cuts[-1]] + _BATCH))
        cuts.append(min(max(last, cuts[-1] + 1), len(rows)))
    return [(whole[ends[a] : ends[b]], ends[a : b + 1] - ends[a]) for a, b in pairwise(cuts)]


@pytest.mark.parametrize("name", TARGETS)
def test_kernel(benchmark: BenchmarkFixture, rows: int, rounds: int, name: str) -> None:
    """One thread; the bytes are held against zlib in the tests."""
    given = _set(name, rows)
    csvs = list(raw.csvs(given.table, given.days).values())
    batches = _batches(csvs)
    sizes: dict[str, int] = {}

    def kernel() -> None:
        sizes["kernel"] = sum(len(deflate_members(csv, cuts.data, _HEADER)[0]) for csv, cuts in batches)

    def isal() -> None:
        sizes["isal 2"] = sum(len(isal_zlib.compress(csv, 2, 31)) - 18 for csv in csvs)

    runs: dict[str, Callable[[], None]] = {"isal 2": isal, "kernel": kernel}
    seconds = interleaved(benchmark, runs, rounds)
    time, size = seconds["kernel"] / seconds["isal 2"], sizes["kernel"] / sizes["isal 2"]
    longest, largest = TARGETS[name]
    checks = [] if longest is None else [at_most(f"kernel by isal 2, {name}", time, longest)]
    record(
        benchmark,
        *checks,
        at_most(f"size by isal 2's, {name}", size, largest),
        set=name,
        rows=len(given.table),
        conversations=len(csvs),
        csv_bytes=sum(map(len, csvs)),
        time=time,
        size=size,
    )


def test_noise(benchmark: BenchmarkFixture) -> None:
    """Random bytes take hardly more than they are."""
    noise = random.Random(7).randbytes(8 << 20)  # noqa: S311  # nothing secret
    made = benchmark(lambda: deflate_members(noise, np.array([0, len(noise)]).data, _HEADER)[0])
    record(benchmark, at_most("random bytes by stored ones", len(made) / len(noise), 1.001))
