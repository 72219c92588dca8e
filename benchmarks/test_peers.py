"""Peers: how much faster than the other ways to write the same archive.

Contenders run in turn, each on rows in the shape it likes best (see peers.py); first each one's archive is checked,
whole. The engine runs with its default of one thread a processor, which is part of what it is for; of the peers those
whose name says so, hayazip, polars and DuckDB use threads.
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
from benchmarks.measure import KERNEL, Check, at_least, at_most, interleaved, record, without
from benchmarks.peers import PEERS

#: Each set with the part of `--rows` that it takes, and whether every peer runs or those alone that lead.
SETS: dict[str, tuple[Callable[[int], data.DataSet], float, bool]] = {
    "3 messages": (partial(data.synthetic, 3), 0.25, False),
    "20 messages": (partial(data.synthetic, 20), 1, True),
    "200 messages": (partial(data.synthetic, 200), 1, False),
    "chitchat-dataset": (data.chitchat, 1, True),
}
#: What `fast` is where something is not installed.
FALLBACKS = {"fast without its kernel (isal 2)": (KERNEL,), "fast without both (zlib 1)": (KERNEL, "isal")}
ZIPSTREAM = "csv + zipstream-ng, whole members"
#: A peer counts as the best if its archive is no larger than this many times `fast`'s.
COMPARABLE = 1.1


@pytest.mark.parametrize("name", SETS)
def test_peers(benchmark: BenchmarkFixture, rows: int, rounds: int, name: str) -> None:
    """3.5 times as fast as the best of all from Arrow, 2 times from objects; 9 and 5 times as csv + zipstream-ng."""
    made, part, everyone = SETS[name]
    rows_of = made(max(int(rows * part), 1))
    job, talks = work(rows_of), data.conversations(rows_of.table)
    peers = [peer for peer in PEERS if everyone or peer.leads]
    size: dict[str, int] = {}
    runs: dict[str, Callable[[], None]] = {}
    shapes: dict[Callable[..., Any], Any] = {}
    for peer in peers:
        if peer.prepare not in shapes:
            shapes[peer.prepare] = peer.prepare(job)
        prepared, archive = shapes[peer.prepare], io.BytesIO()
        peer.write(prepared, archive)
        check(job, archive.getvalue(), tells_null=peer.tells_null, keeps_order=peer.keeps_order)
        size[peer.name] = archive.tell()
        runs[peer.name] = partial(peer.write, prepared, Null())
    ways: dict[str, tuple[str, tuple[str, ...]]] = {way: ("fast", gone) for way, gone in FALLBACKS.items()}
    if everyone:
        ways |= {preset: (preset, ()) for preset in ("small", "balanced")}
    ways["fast"] = ("fast", ())
    for way, (preset, gone) in ways.items():
        for kind, source in (("objects", talks), ("Arrow", rows_of.table)):
            ours = f"ours, {way}, from {kind}"
            archive = io.BytesIO()
            with without(*gone):
                archive.writelines(data.export(source, rows_of.days, compression=preset))
            check(job, archive.getvalue())
            size[ours] = archive.tell()
            runs[ours] = partial(_drain, source, rows_of, preset, gone)

    seconds = interleaved(benchmark, runs, rounds, warm=True)
    largest = COMPARABLE * size["ours, fast, from Arrow"]
    counted = [peer for peer in peers if size[peer.name] <= largest]
    best = min((peer.name for peer in counted), key=seconds.__getitem__)
    same = {
        kind: min((peer.name for peer in counted if peer.given == kind), key=seconds.__getitem__)
        for kind in ("Arrow", "objects")
    }

    def ahead(ours: str, peer: str, target: float) -> Check:
        return at_least(f"{name}: {ours}, times as fast as {peer}", seconds[peer] / seconds[f"ours, {ours}"], target)

    checks = [
        ahead("fast, from Arrow", best, 3.5),
        ahead("fast, from objects", best, 2),
        ahead("fast, from Arrow", ZIPSTREAM, 9),
        ahead("fast, from objects", ZIPSTREAM, 5),
        # The very same CSVs, where `csv` may write its nulls otherwise.
        at_most(
            f"{name}: fast, size against zlib 6",
            size["ours, fast, from Arrow"] / size["pyarrow.csv + zipfile, level 6"],
            1.06,
        ),
    ]
    if everyone:
        smallest = min(size[peer.name] for peer in peers)
        checks += [
            ahead("small, from Arrow", best, 2.5),
            ahead("small, from objects", best, 2.5),
            at_most(f"{name}: small, size against the smallest peer", size["ours, small, from Arrow"] / smallest, 1.0),
        ]
    record(
        benchmark,
        *checks,
        set=name,
        rows=len(rows_of.table),
        conversations=len(job.members),
        sizes=size,
        counted=[peer.name for peer in counted],
        best=best,
        same=same,
    )


def _drain(source: object, rows_of: data.DataSet, preset: str, gone: tuple[str, ...]) -> None:
    with without(*gone):
        data.drain(source, rows_of.days, compression=preset)
