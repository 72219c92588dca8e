"""Peers: how much faster than the other ways to write the same archive.

Contenders run in turn, each on rows in the shape it likes best (see peers.py); first each one's archive is checked,
whole. The engine runs with its default of one thread a processor, which is part of what it is for; of the peers only
polars and DuckDB use threads.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import data
from benchmarks.job import Null, check, work
from benchmarks.measure import at_least, at_most, interleaved, record
from benchmarks.peers import PEERS

SETS: dict[str, Callable[[int], data.DataSet]] = {
    "synthetic": partial(data.synthetic, 20),
    "chitchat-dataset": data.chitchat,
}


@pytest.mark.parametrize("name", SETS)
def test_peers(benchmark: BenchmarkFixture, rows: int, rounds: int, name: str) -> None:
    """At least 8 times as fast as the best of them from Arrow and 6 times from objects; 2.5 times at `small`."""
    rows_of = SETS[name](rows)
    job, talks = work(rows_of), data.conversations(rows_of.table)
    size: dict[str, int] = {}
    runs: dict[str, Callable[[], None]] = {}
    shapes: dict[Callable[..., Any], Any] = {}
    for peer in PEERS:
        if peer.prepare not in shapes:
            shapes[peer.prepare] = peer.prepare(job)
        prepared, archive = shapes[peer.prepare], io.BytesIO()
        peer.write(prepared, archive)
        check(job, archive.getvalue(), tells_null=peer.tells_null, keeps_order=peer.keeps_order)
        size[peer.name] = archive.tell()
        runs[peer.name] = partial(peer.write, prepared, Null())
    for preset in ("small", "balanced", "fast"):
        for kind, source in (("objects", talks), ("Arrow", rows_of.table)):
            ours = f"ours, {preset}, from {kind}"
            whole = data.export(source, rows_of.days, compression=preset)
            archive = io.BytesIO()
            archive.writelines(whole)
            check(job, archive.getvalue())
            size[ours] = archive.tell()
            runs[ours] = partial(_drain, source, rows_of, preset)

    seconds = interleaved(benchmark, runs, rounds, warm=True)
    best = min((peer.name for peer in PEERS), key=seconds.__getitem__)
    same = {
        kind: min(seconds[peer.name] for peer in PEERS if peer.given == kind) / seconds[f"ours, fast, from {kind}"]
        for kind in ("Arrow", "objects")
    }
    usual = size["pyarrow.csv + zipfile, level 6"]  # the very same CSVs, where `csv` may write its nulls otherwise
    smallest = min(size[peer.name] for peer in PEERS)

    def ahead(ours: str) -> float:
        return seconds[best] / seconds[ours]

    record(
        benchmark,
        at_least(f"{name}: fast from Arrow, times ahead of {best}", ahead("ours, fast, from Arrow"), 8),
        at_least(f"{name}: fast from objects, times ahead of {best}", ahead("ours, fast, from objects"), 6),
        at_most(f"{name}: fast, size against zlib 6", size["ours, fast, from Arrow"] / usual, 1.06),
        at_least(f"{name}: small from Arrow, times ahead of {best}", ahead("ours, small, from Arrow"), 2.5),
        at_least(f"{name}: small from objects, times ahead of {best}", ahead("ours, small, from objects"), 2.5),
        at_most(f"{name}: small, size against the smallest peer", size["ours, small, from Arrow"] / smallest, 1.0),
        set=name,
        rows=len(rows_of.table),
        conversations=len(job.members),
        sizes=size,
        best=best,
        same=same,
    )


def _drain(source: object, rows_of: data.DataSet, preset: str) -> None:
    data.drain(source, rows_of.days, compression=preset)
