"""How times are taken: contenders in turn within one process, round after round, so that noise hits all alike.

What is wanted of a benchmark is a ratio. pytest-benchmark times one thing; the others are run and timed in its `setup`,
before each of its rounds, and go into its JSON as `extra_info`, together with the ratios and what they are held
against. Nothing here fails because of a time: targets that are missed are shown as missed.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

__all__ = ["KERNEL", "Check", "at_least", "at_most", "interleaved", "note", "record", "without"]

#: The compiled part of the engine, for `without`.
KERNEL = "export_engine._native"
#: A contender that has taken this many seconds altogether is left out of the rounds that follow.
PATIENCE = 8.0


@dataclass(frozen=True, slots=True)
class Check:
    """One figure and what it is held against: at least (`>=`) or at most (`<=`) `target`."""

    what: str
    value: float
    relation: str
    target: float
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether the target is met."""
        return self.value >= self.target if self.relation == ">=" else self.value <= self.target


def at_least(what: str, value: float, target: float, unit: str = "") -> Check:
    """A figure that should not be lower than its target."""
    return Check(what, value, ">=", target, unit)


def at_most(what: str, value: float, target: float, unit: str = "") -> Check:
    """A figure that should not be higher than its target."""
    return Check(what, value, "<=", target, unit)


def interleaved(
    benchmark: BenchmarkFixture, contenders: Mapping[str, Callable[[], Any]], rounds: int, *, warm: bool = False
) -> dict[str, float]:
    """Run the contenders in turn, round after round; return each one's median in seconds.

    The last one is what pytest-benchmark times, so what its own comparisons are about. One that has had its time
    (`PATIENCE`) takes no part in further rounds. An untimed round comes first unless the contenders are `warm`. A
    contender may return a function that tidies up: it is called outside the timing.

    Garbage is collected before each run, and what is alive then is not looked at again: no contender pays for the
    others' data. The collector stays on.
    """
    *others, last = contenders
    times: dict[str, list[float]] = {name: [] for name in contenders}
    tidy: list[Callable[[], object]] = []

    def run(name: str) -> None:
        left = contenders[name]()
        if left is not None:
            tidy.append(left)

    def clean() -> None:
        while tidy:
            tidy.pop()()
        gc.collect()
        gc.freeze()

    def run_others() -> None:
        for name in others:
            if sum(times[name]) < PATIENCE:
                clean()
                began = perf_counter()
                run(name)
                times[name].append(perf_counter() - began)
        clean()

    try:
        for name in () if warm else contenders:
            clean()
            run(name)
        benchmark.pedantic(run, (last,), setup=run_others, rounds=rounds)  # type: ignore[no-untyped-call]  # it has no types
        clean()
    finally:
        gc.unfreeze()
    assert benchmark.stats is not None, "with --benchmark-disable there is nothing to compare"
    times[last] = list(benchmark.stats.stats.data)
    return note(benchmark, times)


def note(benchmark: BenchmarkFixture, times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Put times (in seconds, several of each contender) into the run's JSON and return their medians."""
    medians = {name: median(taken) for name, taken in times.items()}
    benchmark.extra_info["seconds"] = {
        name: {"median": medians[name], "all": [round(one, 6) for one in taken]} for name, taken in times.items()
    }
    return medians


def record(benchmark: BenchmarkFixture, *checks: Check, **facts: Any) -> None:
    """Put checks and facts into the run's JSON, for the summary and the report."""
    benchmark.extra_info["checks"] = [
        {
            "what": check.what,
            "value": check.value,
            "relation": check.relation,
            "target": check.target,
            "unit": check.unit,
            "holds": check.holds,
        }
        for check in checks
    ]
    benchmark.extra_info.update(facts)


@contextmanager
def without(*modules: str) -> Iterator[None]:
    """As if these were not installed: what the engine is where its kernel was not built, or ISA-L has no wheel.

    An export looks for them as it begins, and again from batch to batch: this has to hold until its end.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            patch.setitem(sys.modules, module, None)  # import's own way to say "not there"
        yield
