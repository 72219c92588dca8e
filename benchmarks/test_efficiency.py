"""Efficiency: the whole export against ISA-L's deflate alone.

Efficiency is the time that ISA-L's level 2, the fastest deflate on PyPI, takes over the same CSVs (same number of
threads, nothing else: not even a CRC) divided by the time of the whole export. With the package's kernel it may be
above 1; an export that calls a library for each member could only come near it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import data, raw
from benchmarks.measure import at_least, interleaved, record
from export_engine import open_source
from fixtures.datasets import write_nested

THREADS = min(os.cpu_count() or 1, 2)

#: What is to be reached, by source and messages a conversation.
TARGETS = {("Arrow", 3): 1.25, ("Arrow", 20): 1.0, ("Arrow", 200): 0.56, ("objects", 20): 0.4, ("JSONL", 20): 0.3}


@pytest.mark.parametrize("threads", sorted({1, THREADS}))
@pytest.mark.parametrize(("kind", "per"), TARGETS)
def test_efficiency(
    benchmark: BenchmarkFixture, rows: int, rounds: int, tmp_path: Path, kind: str, per: int, threads: int
) -> None:
    """ISA-L's time by the export's; the targets are for two threads as for one."""
    table = data.table(per, rows)
    source: Callable[[], Any] = partial(lambda given: given, table)
    if kind == "objects":
        talks = data.conversations(table)
        source = partial(lambda given: given, talks)
    elif kind == "JSONL":
        write_nested(data.conversations(table), tmp_path / "rows.jsonl")
        source = partial(open_source, tmp_path / "rows.jsonl")
    csvs = raw.csvs(table)
    seconds = interleaved(
        benchmark,
        {
            "raw deflate": raw.deflater(csvs.values(), threads),
            "export": lambda: _run(source, threads),
        },
        rounds,
    )
    efficiency = seconds["raw deflate"] / seconds["export"]
    what = f"efficiency from {kind}, {per} messages a conversation, {threads} thread{'s'[: threads - 1]}"
    record(
        benchmark,
        at_least(what, efficiency, TARGETS[kind, per]),
        source=kind,
        per=per,
        threads=threads,
        rows=rows,
        conversations=len(csvs),
        csv_bytes=sum(map(len, csvs.values())),
        efficiency=efficiency,
    )


def _run(source: Callable[[], Any], threads: int) -> None:
    data.drain(source(), threads=threads)
