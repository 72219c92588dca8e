"""A receipt is the commit: what has one is kept, what has none is made, and what is damaged is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from export_engine.batch import core, target
from export_engine.batch.check import check_target
from export_engine.batch.plan import BatchPlan
from tests.batch.lakes import OwnError, everything, made, ordered


@pytest.mark.slow
def test_what_has_a_receipt_is_kept(plan: BatchPlan) -> None:
    """Nothing is written again; without its receipt an archive is made anew, with the same bytes."""
    table = ordered(plan)
    first = made(table, plan)
    before = {path: Path(plan.target, path).stat().st_mtime_ns for path in everything(plan.target)}
    bytes_before = everything(plan.target)
    assert [replace(r, status="done") for r in made(table, plan)] == first
    assert {path: Path(plan.target, path).stat().st_mtime_ns for path in everything(plan.target)} == before
    next(Path(plan.target, "receipts").iterdir()).unlink()
    assert sorted(r.status for r in made(table, plan)) == ["done"] + ["kept"] * 11
    assert everything(plan.target) == bytes_before


@pytest.mark.parametrize(
    "spoil",
    [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1]), lambda path: path.write_bytes(b"")],
    ids=["gone", "cut off", "empty"],
)
def test_an_archive_that_is_not_as_its_receipt_says_is_made_again(spoil: Any, plan: BatchPlan) -> None:
    """The same bytes; the others are kept."""
    table = ordered(plan)
    first = made(table, plan)
    before = everything(plan.target)
    spoil(Path(plan.target, str(first[3].path)))
    assert sorted(r.status for r in made(table, plan)) == ["done"] + ["kept"] * 11
    assert everything(plan.target) == before


def test_a_receipt_goes_before_its_archive_is_made_again(plan: BatchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies between the two leaves no receipt that tells of another archive than the one beside it."""
    table = ordered(plan, channels=1)
    first = made(table, plan)
    Path(plan.target, str(first[0].path)).unlink()

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(core, "SMALL_ROWS", 1)
    monkeypatch.setattr(type(target.open_target(plan.target)), "write", dies)
    with pytest.raises(KeyboardInterrupt):
        made(table, plan)
    assert len(list(Path(plan.target, "receipts").iterdir())) == 2


@pytest.mark.parametrize(
    "spoiled",
    [
        {"archives": []},
        {"archives": None},
        {"archives": [{"file_name": "../x.zip", "bytes": 1, "sha256": "", "members": 1}]},
        {"path": 3},
        {"path": "../x"},
        {"rows": "37"},
        {"rows": True},
        {"rows_read": None},
        {"conversations": -1},
        {"bytes": 1},
        {"sha256": "0" * 64},
        {"first_time": "yesterday"},
        {"first_time": "2026-05-01T05:57:17"},
        {"last_time": None},
        {"more": 1},
    ],
    ids=str,
)
def test_a_receipt_that_was_changed_is_none(spoiled: dict[str, Any], plan: BatchPlan) -> None:
    """Its key fails, with the reason; what it names is not touched."""
    table = ordered(plan, channels=1)
    made(table, plan)
    at = next(Path(plan.target, "receipts").iterdir())
    at.write_text(json.dumps(json.loads(at.read_text()) | spoiled))
    results = made(table, plan)
    assert sorted(r.status for r in results) == ["failed", "kept", "kept"]
    assert any(f"receipts/{at.name}: this is no receipt" in str(r.error) for r in results)
    assert any("this is no receipt" in problem for problem in check_target(plan.target).problems)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"a": 1}', '"x"', "3"])
def test_a_receipt_that_is_something_else(text: str, plan: BatchPlan) -> None:
    """Its key fails, and it is said what to do; once that is done it is made."""
    table = ordered(plan, channels=1)
    made(table, plan)
    at = next(Path(plan.target, "receipts").iterdir())
    at.write_text(text)
    (error,) = [r.error for r in made(table, plan) if r.status == "failed"]
    assert "this is no receipt" in str(error)
    assert "delete it, and its archives are made again" in str(error)
    at.unlink()
    assert sorted(r.status for r in made(table, plan)) == ["done", "kept", "kept"]


def test_a_receipt_whose_path_leads_out_of_the_target(plan: BatchPlan, tmp_path: Path) -> None:
    """Nothing there is taken for its archive, nor removed with it."""
    table = ordered(plan, channels=1)
    made(table, plan)
    at = next(Path(plan.target, "receipts").iterdir())
    said = json.loads(at.read_text())
    outside = tmp_path / said["archives"][0]["file_name"]
    outside.write_bytes((Path(plan.target) / said["path"]).read_bytes())
    at.write_text(json.dumps(said | {"path": f"../{outside.name}"}))
    assert sorted(r.status for r in made(table, plan)) == ["failed", "kept", "kept"]
    assert any("is none inside the target" in problem for problem in check_target(plan.target).problems)
    assert outside.exists()


def test_a_lake_that_changed_under_the_same_label(plan: BatchPlan) -> None:
    """Fails the keys whose rows are others, by number or by time; another label makes other archives."""
    table = ordered(plan)
    made(table, plan)
    changed = pa.concat_tables([table.slice(0, 1), table.slice(2)])
    results = made(changed, plan)
    assert [r.status for r in results] == ["failed"] + ["kept"] * 11
    assert "has changed under the label '2026-07-01'" in str(results[0].error)
    assert {r.status for r in made(changed, replace(plan, label="2026-07-02"))} == {"done"}


@pytest.mark.parametrize("error", [OwnError("a timeout"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_receipt_that_was_written_all_the_same(
    error: BaseException, plan: BatchPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keeps its archive: a store's answer was lost, or a second copy of the task was quicker."""
    table = ordered(plan, channels=1)
    folder = type(target.open_target(plan.target))
    put = folder.put

    def late(self: Any, path: str, data: bytes) -> None:
        put(self, path, data)
        raise error

    monkeypatch.setattr(core, "SMALL_ROWS", 1)  # so that this thread makes them
    monkeypatch.setattr(folder, "put", late)
    if isinstance(error, Exception):
        assert {r.status for r in made(table, plan)} == {"done"}
    else:
        with pytest.raises(KeyboardInterrupt):
            made(table, plan)
    found = everything(plan.target)
    assert len(found) == (6 if isinstance(error, Exception) else 2)
    monkeypatch.undo()
    assert {r.status for r in made(table, plan)} <= {"done", "kept"}


def test_an_interrupt_before_the_receipt(plan: BatchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the archive back."""
    monkeypatch.setattr(core, "SMALL_ROWS", 1)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(target.open_target(plan.target)), "put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made(ordered(plan), plan)
    assert everything(plan.target) == {}


def test_an_archive_that_cannot_be_taken_back_is_told(plan: BatchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason why it had to be."""
    folder = type(target.open_target(plan.target))

    def fail(*_: object) -> None:
        raise OwnError("no way")

    monkeypatch.setattr(folder, "put", fail)
    monkeypatch.setattr(folder, "delete", fail)
    for result in made(ordered(plan), plan):
        assert str(result.error).startswith("OwnError: no way; ")
        assert ".zip is left without a receipt, as it could not be removed: OwnError: no way" in str(result.error)
