"""Efficiency: the time of a whole export, by that of ISA-L's deflate alone.

ISA-L's level 2 is the fastest deflate on PyPI. It deflates the same CSVs, on as many threads, and nothing else: no
reading, no rendering, not even a CRC. An export that calls a library for each member could only come near 1; with the
package's kernel it can be below. Beside it stands what the engine is without its kernel.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.json as pajson
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import data, raw
from benchmarks.measure import KERNEL, at_most, interleaved, record, without
from export_engine import open_source
from fixtures.datasets import write_nested

THREADS = min(os.cpu_count() or 1, 2)

#: What is to be reached, by source and messages a conversation: on one thread, and on two.
TARGETS = {
    ("Arrow", 3): (0.8, 0.7),
    ("Arrow", 20): (1.0, 1.0),
    ("Arrow", 200): (1.8, 1.8),
    ("objects", 20): (2.5, 2.5),
    ("JSONL", 20): (3.3, 3.3),
}


@pytest.mark.parametrize("threads", sorted({1, THREADS}))
@pytest.mark.parametrize(("kind", "per"), TARGETS)
def test_efficiency(
    benchmark: BenchmarkFixture, rows: int, rounds: int, tmp_path: Path, kind: str, per: int, threads: int
) -> None:
    """The export's time by ISA-L's; from JSON Lines the time of the parser alone as well, which is a floor."""
    table = data.table(per, rows)
    source: Callable[[], Any] = partial(lambda given: given, table)
    csvs = raw.csvs(table)
    runs: dict[str, Callable[[], object]] = {"isal 2 alone": raw.deflater(csvs.values(), threads)}
    if kind == "objects":
        talks = data.conversations(table)
        source = partial(lambda given: given, talks)
    elif kind == "JSONL":
        lines = tmp_path / "rows.jsonl"
        write_nested(data.conversations(table), lines)
        source = partial(open_source, lines)
        runs["pyarrow.json alone"] = partial(_parse, lines, threads)
    runs["export without the kernel"] = partial(_run, source, threads, KERNEL)
    runs["export"] = partial(_run, source, threads)
    seconds = interleaved(benchmark, runs, rounds)
    ratios = {name: seconds[name] / seconds["isal 2 alone"] for name in runs}
    what = f"from {kind}, {per} messages a conversation, {threads} thread{'s'[: threads - 1]}"
    record(
        benchmark,
        at_most(f"whole export by isal 2 alone, {what}", ratios["export"], TARGETS[kind, per][threads - 1]),
        source=kind,
        per=per,
        threads=threads,
        rows=rows,
        conversations=len(csvs),
        csv_bytes=sum(map(len, csvs.values())),
        ratios=ratios,
    )


def _run(source: Callable[[], Any], threads: int, *gone: str) -> None:
    with without(*gone):
        data.drain(source(), threads=threads)


def _parse(lines: Path, threads: int) -> None:
    # In blocks as large as the engine reads, and nothing kept.
    options = pajson.ReadOptions(use_threads=threads > 1, block_size=1 << 21)
    for _ in pajson.open_json(lines, read_options=options):
        pass
