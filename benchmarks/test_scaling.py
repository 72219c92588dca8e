"""Scaling: with threads, with rows and with conversations, in time and in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import data, raw
from benchmarks.measure import at_least, at_most, interleaved, record
from export_engine.pipeline.deflate import backend

MIB = 1 << 20


def _pool(per: int, rows: int) -> pa.Table:
    """What sources of any size repeat."""
    return data.table(per, max(rows // 4, per))


@pytest.mark.parametrize("per", [20, 200, "one conversation"])
def test_threads(benchmark: BenchmarkFixture, rows: int, rounds: int, per: int | str) -> None:
    """From one thread to two, the export gains at least 0.9 of what its deflate alone gains on the same machine.

    What it gains also says, by Amdahl's law, how much of one thread's time is under the interpreter's lock, or waits
    for something else that only one thread can do; the machine's own losses with two threads are in it.
    """
    if isinstance(per, int):
        table = data.table(per, rows)
    else:
        pool = data.table(200, max(rows // 4, 200))
        table = pa.Table.from_batches(data.repeated(pool, rows * 5 // 2, one_conversation=True))
    csvs = raw.csvs(table)
    runs: dict[str, Callable[[], Any]] = {}
    for threads in (1, 2):
        runs[f"deflate alone, {threads}"] = raw.grouped(csvs.values(), threads, backend("fast"))
        runs[f"export, {threads}"] = partial(_drain, table, threads)
    seconds = interleaved(benchmark, runs, rounds)
    ours, alone = (seconds[f"{what}, 1"] / seconds[f"{what}, 2"] for what in ("export", "deflate alone"))
    what = f"{per} messages a conversation" if isinstance(per, int) else "one conversation"
    # Two threads take the serial part and half of the rest.
    serial = 2 / ours - 1
    checks = [
        at_least(f"speed-up by a second thread against that of {backend('fast').name} alone, {what}", ours / alone, 0.9)
    ]
    if per == 20:
        checks.append(at_most(f"part of one thread's time that stays serial, {what}", serial, 0.25))
    record(
        benchmark,
        *checks,
        per=per,
        rows=len(table),
        export_speedup=ours,
        deflate_speedup=alone,
        serial=serial,
        eight=1 / (serial + (1 - serial) / 8),
    )


def _drain(source: Any, threads: int) -> None:
    data.drain(source, threads=threads)


def test_cost_per_row(benchmark: BenchmarkFixture, rows: int, rounds: int) -> None:
    """A row of twenty times as many costs at most 1.1 times as much."""
    pool = _pool(20, rows)
    sizes = (rows, 20 * rows)
    seconds = interleaved(
        benchmark, {f"{size} rows": partial(_drain_repeated, pool, size) for size in reversed(sizes)}, rounds
    )
    small, large = (seconds[f"{size} rows"] / size for size in sizes)
    record(
        benchmark,
        at_most(f"cost per row, {sizes[1]:,} rows against {sizes[0]:,}", large / small, 1.1),
        sizes=list(sizes),
    )


def _drain_repeated(pool: pa.Table, rows: int) -> None:
    data.drain(data.repeated(pool, rows))


def test_first_byte(benchmark: BenchmarkFixture, rows: int, rounds: int) -> None:
    """The first byte comes as soon from twenty times as many rows (a quarter more is left to noise)."""
    pool = _pool(20, rows)
    sizes = (rows, 20 * rows)

    def first(size: int) -> Callable[[], None]:
        chunks: Iterator[bytes] = iter(data.export(data.repeated(pool, size)))
        next(chunks)
        return chunks.close  # type: ignore[attr-defined, no-any-return]  # it is a generator

    runs = {f"{size} rows": partial(first, size) for size in sizes}
    seconds = interleaved(benchmark, runs, 3 * rounds)
    small, large = (seconds[f"{size} rows"] for size in sizes)
    record(
        benchmark,
        at_most(f"time to the first byte, {sizes[1]:,} rows against {sizes[0]:,}", large / small, 1.25),
        sizes=list(sizes),
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory(benchmark: BenchmarkFixture, rows: int, tmp_path: Path) -> None:
    """With two threads at most 150 MiB above the imports, flat in rows; at most 200 bytes a further conversation."""
    kinds = {
        "one conversation": (200, [rows // 4, rows, 5 * rows, 20 * rows]),
        "3 messages a conversation": (3, [3 * (rows * part // 8) for part in (1, 2, 5, 10, 20)]),
    }

    def measure() -> dict[str, list[dict[str, int]]]:
        found: dict[str, list[dict[str, int]]] = {}
        for kind, (per, sizes) in kinds.items():
            pool = tmp_path / f"{per}.arrow"
            table = data.table(per, min(sizes[0], 120_000))
            with pa.ipc.new_file(pool, table.schema) as writer:
                writer.write_table(table)
            found[kind] = [_peak(pool, size, one=kind == "one conversation") for size in sizes]
        return found

    found = benchmark.pedantic(measure, rounds=1)  # type: ignore[no-untyped-call]  # it has no types
    long, many = found.values()
    further = (many[-1]["peak"] - many[-3]["peak"]) / (many[-1]["members"] - many[-3]["members"])
    record(
        benchmark,
        at_most(f"peak memory, one conversation of {long[-1]['rows']:,} messages", long[-1]["peak"] / MIB, 150, "MiB"),
        at_most(
            f"growth of the peak from {long[1]['rows']:,} to {long[-1]['rows']:,} messages",
            (long[-1]["peak"] - long[1]["peak"]) / MIB,
            15,
            "MiB",
        ),
        at_most(
            "peak memory, 3 messages a conversation, besides what each conversation takes",
            (many[-1]["peak"] - further * many[-1]["members"]) / MIB,
            150,
            "MiB",
        ),
        at_most(
            f"memory for each further conversation, {many[-3]['members']:,} to {many[-1]['members']:,}",
            further,
            200,
            "bytes",
        ),
        memory=found,
    )


def _peak(pool: Path, rows: int, *, one: bool) -> dict[str, int]:
    """Run one export in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", str(pool), str(rows), *(["--one"] if one else [])]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found
