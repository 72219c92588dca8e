"""Keys with several archives, each within a limit: whole, or not at all."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pytest

from export_engine.batch import target
from export_engine.batch.check import check_target
from export_engine.batch.plan import BatchPlan
from export_engine.batch.receipts import Receipt, receipt_path
from tests.batch.lakes import ORDER, OwnError, everything, made, ordered


def limited(plan: BatchPlan, size: int | None) -> BatchPlan:
    return replace(plan, options=replace(plan.options, max_archive_size=size))


@pytest.mark.slow
def test_archives_of_a_limited_size(plan: BatchPlan) -> None:
    """A key may have several: each within the limit, all in its receipt, which is kept only where all are there."""
    table, small = ordered(plan), limited(plan, 6000)
    results = made(table, small)
    assert {r.status for r in results} == {"done"}
    found = everything(plan.target)
    zips = {path: data for path, data in found.items() if path.endswith(".zip")}
    assert len(zips) == sum(r.archives for r in results) > 3 * len(results)
    assert all(len(data) <= 6000 for data in zips.values())
    for result in results:
        key = small.key(result.channel_id, next(p for p in plan.periods() if p.name == result.period))
        receipt = Receipt.decoded(found[receipt_path(key)])
        assert receipt.paths[0] == result.path
        assert receipt.paths[1] == str(result.path).replace(".zip", "-2.zip")
        its = [zips[path] for path in receipt.paths]
        assert [(one.bytes, one.sha256) for one in receipt.archives] == [(len(a), sha256(a).hexdigest()) for a in its]
        assert (receipt.bytes, receipt.sha256) == (sum(map(len, its)), None)
        names = [name for data in its for name in zipfile.ZipFile(io.BytesIO(data)).namelist()]
        assert len(set(names)) == len(names) == result.conversations
    assert check_target(plan.target).problems == ()
    assert check_target(plan.target).archives == len(zips)
    assert {r.status for r in made(table, small)} == {"kept"}
    Path(plan.target, str(results[5].path).replace(".zip", "-3.zip")).unlink()
    (lost,) = check_target(plan.target).problems
    assert lost.endswith(f"-3.zip: it is missing; its receipt is {receipt_path(small.key('001', plan.periods()[2]))}")
    Path(plan.target, str(results[5].path)).unlink()
    (lost,) = check_target(plan.target).problems
    assert lost.startswith(f"{results[5].path}: it is missing, and 1 more of its set; its receipt is ")
    assert sorted(r.status for r in made(table, small)) == ["done"] + ["kept"] * 11
    assert everything(plan.target) == found


@pytest.mark.slow
def test_another_limit_is_another_key(plan: BatchPlan) -> None:
    """What was made with one is not kept for another, nor for none."""
    table = ordered(plan)
    for size in (6000, 7000, None):
        assert {r.status for r in made(table, limited(plan, size))} == {"done"}
    assert check_target(plan.target).problems == ()


@pytest.mark.slow
def test_all_archives_of_a_key_that_comes_back_are_withdrawn(plan: BatchPlan) -> None:
    """None is left without a receipt."""
    table, small = ordered(plan), limited(plan, 6000)
    results = made(pa.concat_tables([table.slice(0, 100), table.slice(2000), table.slice(100, 1900)]), small)
    assert "failed" in {r.status for r in results}
    assert check_target(plan.target).problems == ()


@pytest.mark.slow
def test_a_limited_key_that_fails_leaves_nothing(plan: BatchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of another period are found after the last archive was written; a refused receipt takes all back."""
    table, small = ordered(plan), limited(plan, 6000)
    moved = table.set_column(table.column_names.index("period"), "period", pa.array([0] * table.num_rows))
    results = made(moved.sort_by([(name, "ascending") for name in ORDER]), small)
    assert {r.status for r in results} == {"failed"}
    assert "lie in the period" in str(results[0].error)
    assert everything(plan.target) == {}

    def fail(*_: object) -> None:
        raise OwnError("no room")

    monkeypatch.setattr(type(target.open_target(plan.target)), "put", fail)
    assert {r.error for r in made(table, small)} == {"OwnError: no room"}
    assert everything(plan.target) == {}
