"""Who had a name first: the first keeps it, in memory that hardly grows with the names."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.batch import claims, core
from export_engine.batch.claims import Claims
from export_engine.batch.core import export_partition
from export_engine.batch.plan import BatchPlan
from export_engine.batch.receipts import ArchiveResult, failed
from export_engine.batch.runs import Run


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=100), st.integers(1, 5))
@settings(deadline=None, max_examples=100)
def test_the_first_keeps_it(wishes: list[tuple[int, int]], recent: int) -> None:
    """As a dict would tell, however the names were sorted in."""
    expected: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "_RECENT", recent)
        tested = Claims()
        for name, owner in ((f"name {name}", f"owner {owner}") for name, owner in wishes):
            before = expected.setdefault(name, owner) if name in expected else None
            expected.setdefault(name, owner)
            assert tested.claim(name, owner) is (None if before is None else before == owner)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_memory_is_flat_in_archives(plan: BatchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a key that is done sixteen bytes are left, and while they are sorted twice as many: not its result."""
    ours = core._Work  # what exports a run: here nothing is exported, as the archives' own cost is no matter

    def nothing(_: object, run: Run, *__: object) -> ArchiveResult:
        return failed(plan.key(run.channel_id, plan.periods()[0]), "not exported")

    monkeypatch.setattr(ours, "export", nothing)
    monkeypatch.setattr(claims, "_RECENT", 256)  # as many are held in any case, and fewer keys show the rest

    def rows(count: int) -> Iterator[pa.RecordBatch]:
        for begin in range(0, count, 1000):
            ids = [f"{number:09d}" for number in range(begin, min(begin + 1000, count))]
            yield pa.record_batch({"channel_id": ids, "period": [0] * len(ids)})

    def peak(count: int) -> int:
        gc.collect()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert sum(1 for _ in export_partition(rows(count), plan)) == count
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        peak(500)
        few, many = peak(1_000), peak(5_000)
        assert many - few < 4_000 * 64
    finally:
        tracemalloc.stop()
