"""Contenders are timed in turn, and are what they are called. No time is held against anything."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import data, raw
from benchmarks.job import Work, work
from benchmarks.measure import Check, interleaved, without
from export_engine.pipeline.deflate import PIECE


@pytest.fixture(scope="module")
def job() -> Work:
    return work(data.synthetic(5, 600, seed=3))


@pytest.mark.parametrize(
    ("gone", "backend"),
    [((), "native"), (("export_engine._native",), "isal 2"), (("export_engine._native", "isal"), "zlib 1")],
)
def test_fallbacks_are_what_they_are_called(job: Work, gone: tuple[str, ...], backend: str) -> None:
    """The figures beside the kernel's come from what their names say; afterwards it is there again."""
    if backend == "native":
        pytest.importorskip("export_engine._native", reason="built where there is a compiler")
    before = data.drain(job.rows.table, job.rows.days).report.backend
    with without(*gone):
        assert data.drain(job.rows.table, job.rows.days).report.backend.startswith(backend)
    assert data.drain(job.rows.table, job.rows.days).report.backend == before


@pytest.mark.slow
def test_contenders_take_turns() -> None:
    """A round to warm up, then A B A B; what a contender leaves behind is tidied up before the next begins."""
    events: list[str] = []

    def contender(name: str) -> Callable[[], None]:
        events.append(name)
        return lambda: events.append(f"{name} tidied")

    def pedantic(target: Callable[..., Any], args: tuple[Any, ...], setup: Callable[[], None], rounds: int) -> None:
        for _ in range(rounds):
            setup()
            target(*args)

    stats = SimpleNamespace(stats=SimpleNamespace(data=[0.5, 0.75, 1.0]))
    stub = SimpleNamespace(pedantic=pedantic, extra_info={}, stats=stats)
    runs = {"A": lambda: contender("A"), "B": lambda: contender("B")}
    medians = interleaved(cast("BenchmarkFixture", stub), runs, 3)
    assert events == ["A", "A tidied", "B", "B tidied"] * 4
    assert medians["B"] == 0.75
    assert len(stub.extra_info["seconds"]["A"]["all"]) == 3


def test_a_check_knows_its_direction() -> None:
    """At least and at most."""
    assert Check("", 2, ">=", 2).holds
    assert not Check("", 2, ">=", 3).holds
    assert Check("", 2, "<=", 2).holds
    assert not Check("", 2, "<=", 1).holds


def test_raw_deflate_covers_every_byte() -> None:
    """Small members whole, long ones in the engine's pieces, on one thread and on two."""
    members = [b"a" * 10, b"b" * (2 * PIECE + 1), b"c" * 1000]
    assert [len(text) for text, _, _ in raw.pieces(members[1])] == [PIECE, PIECE, 1]
    for threads in (1, 2):
        seen: list[int] = []

        def whole(text: bytes, seen: list[int] = seen) -> bytes:
            seen.append(len(text))
            return text

        raw.deflater(members, threads, whole, lambda text, _, __, whole=whole: whole(text))()  # type: ignore[misc]  # mypy knows no default in a lambda
        assert sum(seen) == sum(map(len, members))
