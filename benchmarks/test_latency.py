"""Latency: what a service pays that calls it often, for the import, the first byte, a tiny export."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import data
from benchmarks.job import Null, work
from benchmarks.measure import at_most, interleaved, note, record
from benchmarks.peers import PEERS

_TIMED = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"
#: The vocabulary alone needs no pyarrow. What exports needs its functions too, and with them numpy.
_IMPORTS = {
    "import export_engine": ("import pyarrow", 1.2),
    "from export_engine import export_conversations": ("import pyarrow.compute", 1.5),
}


def _import(statement: str, folder: Path) -> float:
    """Seconds that an import takes in a new process, the interpreter's own start left out."""
    # Compiled before, as an installed package is, wherever its own folder may not be written to.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = f"{folder}"
    command = [sys.executable, "-c", _TIMED.format(statement)]
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def test_import(benchmark: BenchmarkFixture, rounds: int, tmp_path: Path) -> None:
    """The vocabulary costs no more than pyarrow, an export not much more than the libraries that every one needs."""
    times: dict[str, list[float]] = {}

    def once() -> None:
        for ours, (theirs, _) in _IMPORTS.items():
            for statement in (theirs, ours):
                times.setdefault(statement, []).append(_import(statement, tmp_path))

    once()  # the files are compiled, and come into the page cache
    times.clear()
    benchmark.pedantic(once, rounds=4 * rounds)  # type: ignore[no-untyped-call]  # it has no types
    seconds = note(benchmark, times)
    checks = (
        at_most(f"{ours}, against {theirs}", seconds[ours] / seconds[theirs], most)
        for ours, (theirs, most) in _IMPORTS.items()
    )
    record(benchmark, *checks)


def test_tiny(benchmark: BenchmarkFixture, rounds: int) -> None:
    """An export of five conversations, whole, beside the simplest peer; and the time to its first byte."""
    rows_of = data.synthetic(20, 100)
    talks, job = data.conversations(rows_of.table)[:5], work(rows_of)
    peer = PEERS[0]
    prepared = peer.prepare(job)[:5]

    def first() -> object:
        chunks = iter(data.export(talks))
        next(chunks)
        return chunks.close  # type: ignore[attr-defined]  # it is a generator

    seconds = interleaved(
        benchmark,
        {
            peer.name: partial(peer.write, prepared, Null()),
            "first byte, from objects": first,
            "from Arrow, one thread": partial(_drain, rows_of, 1),
            "from Arrow": partial(_drain, rows_of, None),
            "from objects, one thread": lambda: _drop(talks, 1),
            "from objects": lambda: _drop(talks, None),
        },
        20 * rounds,
    )
    record(benchmark, conversations=5, against=seconds["from objects"] / seconds[peer.name])


def _drain(rows_of: data.DataSet, threads: int | None) -> None:
    data.drain(rows_of.table, rows_of.days, threads=threads)


def _drop(talks: object, threads: int | None) -> None:
    data.drain(talks, threads=threads)
