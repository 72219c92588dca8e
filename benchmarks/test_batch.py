"""Whole lakes: against other ways to the same archives, with rows, and with archives, in time and in memory."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.batch import MONTHS, Run, lake, measured
from benchmarks.measure import at_least, at_most, record
from tests.batch.lakes import archives

#: What DuckDB may hold.
LIMIT = "500MB"


def _medians(runs: list[Run]) -> Run:
    return Run(*(median(values) for values in zip(*runs, strict=True)))


def test_against_other_ways(benchmark: BenchmarkFixture, rows: int, rounds: int, tmp_path: Path) -> None:
    """One sort against a query for each archive, which makes the same bytes, and against partitioned CSVs, zipped."""
    channels = max(rows // 10_000, 2)
    lake(tmp_path, rows, channels)
    found: dict[str, list[Run]] = {"loop": [], "copy": [], "batch": []}
    for number in range(rounds):
        for way, runs in found.items():
            runs.append(measured(way, tmp_path, LIMIT))
            if number == 0 and way != "copy":
                made = archives(tmp_path / "out")
                assert len(made) == channels * MONTHS
                if way == "loop":
                    theirs = made
                else:
                    assert made == theirs
    benchmark.pedantic(measured, ("batch", tmp_path, LIMIT), rounds=1)  # type: ignore[no-untyped-call]  # it has no types
    medians = {way: _medians(runs) for way, runs in found.items()}
    ours = medians["batch"]
    record(
        benchmark,
        at_least("processor time of a loop over channels and months / batch", medians["loop"].cpu / ours.cpu, 2),
        at_most("processor time of batch / partitioned CSVs, zipped", ours.cpu / medians["copy"].cpu, 2.5),
        at_most("peak memory of batch", ours.peak, 1024, "MiB"),
        rows=rows,
        channels=channels,
        runs={way: run._asdict() for way, run in medians.items()},
        rows_a_second=rows / ours.cpu,
        archives_a_second=channels * MONTHS / ours.cpu,
    )


@pytest.mark.scale
def test_cost_per_row(benchmark: BenchmarkFixture, rounds: int, tmp_path: Path) -> None:
    """A row of eight million costs at most 1.3 times one of a million; memory stays in its bounds."""
    runs: dict[int, list[Run]] = {1: [], 8: []}
    for millions in runs:
        lake(tmp_path / str(millions), millions * 1_000_000, 50 * millions)
    for _ in range(min(rounds, 3)):  # by turns: where others work too, one run tells little
        for millions, its in runs.items():
            its.append(measured("batch", tmp_path / str(millions), LIMIT))
    found = {millions: _medians(its) for millions, its in runs.items()}
    benchmark.pedantic(measured, ("batch", tmp_path / "1", LIMIT), rounds=1)  # type: ignore[no-untyped-call]  # the same
    record(
        benchmark,
        at_most("processor time of a row, 8 M against 1 M", found[8].cpu / found[1].cpu / 8, 1.3),
        at_most("peak memory at 8 M rows", found[8].peak, 1024, "MiB"),
        runs={millions: run._asdict() for millions, run in found.items()},
    )


@pytest.mark.scale
def test_ten_thousand_archives(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """3,334 channels, three months: what each archive costs."""
    lake(tmp_path, 2_000_000, 3334)
    run = measured("batch", tmp_path, LIMIT)
    assert len(archives(tmp_path / "out")) == 3334 * MONTHS
    benchmark.pedantic(lambda: None, rounds=1)  # type: ignore[no-untyped-call]  # the same
    record(benchmark, at_most("peak memory at 10,002 archives", run.peak, 1024, "MiB"), run=run._asdict())
