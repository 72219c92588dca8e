"""Ordered rows to archives and receipts: what is made, kept, refused and withdrawn."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from export_engine import Channel, DateRange, ExportOptions, OptionError, export_conversations
from export_engine.batch import core, target
from export_engine.batch.check import check_target
from export_engine.batch.core import export_partition
from export_engine.batch.plan import BatchPlan, Key
from export_engine.batch.receipts import ArchiveResult, Receipt, receipt_path
from export_engine.engine import backend_name

ORDER = ("channel_id", "period", "conversation_id", "message_time", "message_id")


@pytest.fixture
def plan(tmp_path: Path) -> BatchPlan:
    """Three months in Taipei."""
    return BatchPlan(
        target=str(tmp_path / "out"),
        date_range=DateRange(date(2026, 4, 1), date(2026, 6, 30)),
        options=ExportOptions(timezone="Asia/Taipei"),
        label="2026-07-01",
    )


def lake(plan: BatchPlan, rows: int = 5000, channels: int = 4, seed: int = 1) -> pa.Table:
    """Rows of some channels, in order."""
    rng = np.random.default_rng(seed)
    channel = rng.integers(0, channels, rows)
    us = rng.integers(1_775_000_000_000_000, 1_782_800_000_000_000, rows)
    made = pa.table(
        {
            "channel_id": pa.array([f"{c:03d}" for c in channel]),
            "channel_name": pa.array([f"Channel {c}" for c in channel]),
            "channel_phone": pa.nulls(rows, pa.string()),
            "period": plan.period_of(us),
            "message_id": pa.array([f"m{i}" for i in range(rows)]),
            "conversation_id": pa.array(
                [f"{c}-{n}" for c, n in zip(channel, rng.integers(0, rows // 20, rows), strict=True)]
            ),
            "direction": pa.array(["inbound"] * rows),
            "speaker_type": pa.array(["customer"] * rows),
            "message_time": pa.array(us, pa.timestamp("us", "UTC")),
            "message_text": pa.array([f"text {i}" for i in range(rows)]),
        }
    )
    inside = made.filter(pc.greater_equal(made["period"], 0))
    return inside.sort_by([(name, "ascending") for name in ORDER])


def run(table: pa.Table, plan: BatchPlan, size: int = 777, **options: Any) -> list[ArchiveResult]:
    return list(export_partition(table.to_batches(size), plan, **options))


def everything(folder: str) -> dict[str, bytes]:
    root = Path(folder)
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_each_channel_and_period_is_an_export_of_its_own(plan: BatchPlan) -> None:
    """The same bytes as exporting it alone; a receipt says what is in it."""
    table = lake(plan)
    results = run(table, plan)
    assert [(r.channel_id, r.period) for r in results] == [
        (f"{c:03d}", f"2026-0{m}") for c in range(4) for m in (4, 5, 6)
    ]
    assert {r.status for r in results} == {"done"}
    assert sum(r.rows for r in results) == table.num_rows
    for result in results:
        period = next(p for p in plan.periods() if p.name == result.period)
        key = plan.key(result.channel_id, period)
        its = pc.and_(
            pc.equal(table["channel_id"], result.channel_id), pc.equal(table["period"], plan.periods().index(period))
        )
        alone = export_conversations(
            table.filter(its),
            channel=Channel(f"Channel {int(result.channel_id)}", None, result.channel_id),
            date_range=period.date_range,
            options=plan.options,
            export_id=key.export_id,
        )
        data = b"".join(alone)
        assert result.path == f"{period.name}/{alone.file_name}"
        assert (Path(plan.target) / result.path).read_bytes() == data
        receipt = Receipt.decoded((Path(plan.target) / receipt_path(key)).read_bytes())
        assert (receipt.rows, receipt.bytes, receipt.sha256) == (result.rows, len(data), result.sha256)


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_how_it_was_done(plan: BatchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of any size, side by side or one by one, held or streamed."""
    table = lake(plan)
    run(table, plan)
    expected = everything(plan.target)
    for number, (size, parallel, small) in enumerate([(1, 1, 20_000), (5000, 16, 20_000), (300, 3, 100)]):
        monkeypatch.setattr(core, "SMALL_ROWS", small)
        other = replace(plan, target=f"{plan.target}-{number}")
        run(table, other, size, parallel=parallel)
        assert everything(other.target) == expected


@pytest.mark.slow
def test_what_has_a_receipt_is_kept(plan: BatchPlan) -> None:
    """Nothing is written again; without its receipt an archive is made anew, with the same bytes."""
    table = lake(plan)
    first = run(table, plan)
    before = {path: Path(plan.target, path).stat().st_mtime_ns for path in everything(plan.target)}
    bytes_before = everything(plan.target)
    assert [replace(r, status="done") for r in run(table, plan)] == first
    assert {path: Path(plan.target, path).stat().st_mtime_ns for path in everything(plan.target)} == before
    next(Path(plan.target, "receipts").iterdir()).unlink()
    assert sorted(r.status for r in run(table, plan)) == ["done"] + ["kept"] * 11
    assert everything(plan.target) == bytes_before


def test_an_archive_that_is_gone_is_made_again(plan: BatchPlan) -> None:
    """Though its receipt is there: the same bytes."""
    table = lake(plan)
    first = run(table, plan)
    before = everything(plan.target)
    Path(plan.target, str(first[3].path)).unlink()
    assert sorted(r.status for r in run(table, plan)) == ["done"] + ["kept"] * 11
    assert everything(plan.target) == before


def limited(plan: BatchPlan, size: int | None) -> BatchPlan:
    return replace(plan, options=replace(plan.options, max_archive_size=size))


@pytest.mark.slow
def test_archives_of_a_limited_size(plan: BatchPlan) -> None:
    """A key may have several: each within the limit, all in its receipt, which is kept only where all are there."""
    table, small = lake(plan), limited(plan, 6000)
    results = run(table, small)
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
    assert {r.status for r in run(table, small)} == {"kept"}
    Path(plan.target, str(results[5].path).replace(".zip", "-3.zip")).unlink()
    assert check_target(plan.target).problems[0].endswith(f"{receipt_path(small.key('001', plan.periods()[2]))}")
    assert sorted(r.status for r in run(table, small)) == ["done"] + ["kept"] * 11
    assert everything(plan.target) == found


@pytest.mark.slow
def test_another_limit_is_another_key(plan: BatchPlan) -> None:
    """What was made with one is not kept for another, nor for none."""
    table = lake(plan)
    for size in (6000, 7000, None):
        assert {r.status for r in run(table, limited(plan, size))} == {"done"}
    assert check_target(plan.target).problems == ()


@pytest.mark.slow
def test_all_archives_of_a_key_that_comes_back_are_withdrawn(plan: BatchPlan) -> None:
    """None is left without a receipt."""
    table, small = lake(plan), limited(plan, 6000)
    results = run(pa.concat_tables([table.slice(0, 100), table.slice(2000), table.slice(100, 1900)]), small)
    assert "failed" in {r.status for r in results}
    assert check_target(plan.target).problems == ()


@pytest.mark.slow
def test_a_limited_key_that_fails_leaves_nothing(plan: BatchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of another period are found after the last archive was written; a refused receipt takes all back."""
    table, small = lake(plan), limited(plan, 6000)
    moved = table.set_column(table.column_names.index("period"), "period", pa.array([0] * table.num_rows))
    results = run(moved.sort_by([(name, "ascending") for name in ORDER]), small)
    assert {r.status for r in results} == {"failed"}
    assert "lie in the period" in str(results[0].error)
    assert everything(plan.target) == {}

    def fail(*_: object) -> None:
        raise OwnError("no room")

    monkeypatch.setattr(type(target.open_target(plan.target)), "put", fail)
    assert {r.error for r in run(table, small)} == {"OwnError: no room"}
    assert everything(plan.target) == {}


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
    table = lake(plan, channels=1)
    run(table, plan)
    at = next(Path(plan.target, "receipts").iterdir())
    at.write_text(json.dumps(json.loads(at.read_text()) | spoiled))
    results = run(table, plan)
    assert sorted(r.status for r in results) == ["failed", "kept", "kept"]
    assert any(f"receipts/{at.name}: this is no receipt" in str(r.error) for r in results)
    assert any("this is no receipt" in problem for problem in check_target(plan.target).problems)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"a": 1}', '"x"', "3"])
def test_a_receipt_that_is_something_else(text: str, plan: BatchPlan) -> None:
    """Its key fails, and it is said what to do; once that is done it is made."""
    table = lake(plan, channels=1)
    run(table, plan)
    at = next(Path(plan.target, "receipts").iterdir())
    at.write_text(text)
    (error,) = [r.error for r in run(table, plan) if r.status == "failed"]
    assert "this is no receipt" in str(error)
    assert "delete it, and its archives are made again" in str(error)
    at.unlink()
    assert sorted(r.status for r in run(table, plan)) == ["done", "kept", "kept"]


def test_a_receipt_whose_path_leads_out_of_the_target(plan: BatchPlan, tmp_path: Path) -> None:
    """Nothing there is taken for its archive, nor removed with it."""
    table = lake(plan, channels=1)
    run(table, plan)
    at = next(Path(plan.target, "receipts").iterdir())
    said = json.loads(at.read_text())
    outside = tmp_path / said["archives"][0]["file_name"]
    outside.write_bytes((Path(plan.target) / said["path"]).read_bytes())
    at.write_text(json.dumps(said | {"path": f"../{outside.name}"}))
    assert sorted(r.status for r in run(table, plan)) == ["failed", "kept", "kept"]
    assert any("is none inside the target" in problem for problem in check_target(plan.target).problems)
    assert outside.exists()


def test_a_file_is_no_target(plan: BatchPlan, tmp_path: Path) -> None:
    """It is refused before anything is read, and stays."""
    file = tmp_path / "lake.csv"
    file.write_text("x")
    for target_ in (file, file / "below" / "it"):
        with pytest.raises(OptionError, match=r"lake\.csv is no folder"):
            run(lake(plan), replace(plan, target=str(target_)))
    assert file.read_text() == "x"


def test_a_lake_that_changed_under_the_same_label(plan: BatchPlan) -> None:
    """Fails the keys whose rows are others, by number or by time; another label makes other archives."""
    table = lake(plan)
    run(table, plan)
    changed = pa.concat_tables([table.slice(0, 1), table.slice(2)])
    results = run(changed, plan)
    assert [r.status for r in results] == ["failed"] + ["kept"] * 11
    assert "has changed under the label '2026-07-01'" in str(results[0].error)
    assert {r.status for r in run(changed, replace(plan, label="2026-07-02"))} == {"done"}


def test_one_failing_key_fails_alone(plan: BatchPlan) -> None:
    """With its reason; it leaves neither archive nor receipt."""
    table = lake(plan)
    at = table.column_names.index("direction")
    words = ["inbound"] * table.num_rows
    words[7] = "sideways"
    results = run(table.set_column(at, "direction", pa.array(words)), plan)
    assert [r.status for r in results] == ["failed"] + ["done"] * 11
    assert "'sideways' is not one of inbound, outbound" in str(results[0].error)
    assert len(everything(plan.target)) == 2 * 11


def test_rows_in_the_wrong_period_fail_it(plan: BatchPlan) -> None:
    """Before the archive is there: none of its rows may be lost."""
    table = lake(plan)
    moved = table.set_column(table.column_names.index("period"), "period", pa.array([0] * table.num_rows))
    ordered = moved.sort_by([(name, "ascending") for name in ORDER])
    results = run(ordered, plan)
    assert {r.status for r in results} == {"failed"}
    assert "lie in the period" in str(results[0].error)
    assert everything(plan.target) == {}


def test_a_key_that_comes_back_is_withdrawn(plan: BatchPlan) -> None:
    """Archive and receipt, with a failed result; the others stay."""
    table = lake(plan)
    results = run(pa.concat_tables([table.slice(0, 100), table.slice(2000), table.slice(100, 1900)]), plan)
    failed = {(r.channel_id, r.period) for r in results if r.status == "failed"}
    assert ("000", "2026-04") in failed
    assert all("order them by channel_id" in str(r.error) for r in results if r.status == "failed")
    kept = {(r.channel_id, r.period) for r in results if r.status == "done"} - failed
    assert len(everything(plan.target)) == 2 * len(kept)


class OwnError(Exception):
    """The input's or the target's own."""


def test_the_input_s_error_arrives(plan: BatchPlan) -> None:
    """What was finished before stays, with its receipt; nothing is half there."""
    table = lake(plan)

    def failing() -> Iterator[pa.RecordBatch]:
        yield from table.slice(0, 2500).to_batches(100)
        raise OwnError

    with pytest.raises(OwnError):
        list(export_partition(failing(), plan))
    names = everything(plan.target)
    archives = [data for name, data in names.items() if name.endswith(".zip")]
    assert len(names) == 2 * len(archives)
    for data in archives:
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            assert opened.testzip() is None


@pytest.mark.parametrize("at", ["archive", "receipt"])
def test_a_target_that_fails(at: str, plan: BatchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure between the first byte and the receipt leaves no receipt, and the next run mends it."""
    table = lake(plan)
    folder = target.open_target(plan.target)
    with monkeypatch.context() as broken:

        def fail(*_: object) -> None:
            raise OwnError("no room")

        broken.setattr(type(folder), "write" if at == "archive" else "put", fail)
        results = run(table, plan)
        assert {(r.status, r.error) for r in results} == {("failed", "OwnError: no room")}
    assert everything(plan.target) == {}
    assert {r.status for r in run(table, plan)} == {"done"}


@pytest.mark.parametrize("error", [OwnError("a timeout"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_receipt_that_was_written_all_the_same(
    error: BaseException, plan: BatchPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keeps its archive: a store's answer was lost, or a second copy of the task was quicker."""
    table = lake(plan, channels=1)
    folder = type(target.open_target(plan.target))
    put = folder.put

    def late(self: Any, path: str, data: bytes) -> None:
        put(self, path, data)
        raise error

    monkeypatch.setattr(core, "SMALL_ROWS", 1)  # so that this thread makes them
    monkeypatch.setattr(folder, "put", late)
    if isinstance(error, Exception):
        assert {r.status for r in run(table, plan)} == {"done"}
    else:
        with pytest.raises(KeyboardInterrupt):
            run(table, plan)
    found = everything(plan.target)
    assert len(found) == (6 if isinstance(error, Exception) else 2)
    monkeypatch.undo()
    assert {r.status for r in run(table, plan)} <= {"done", "kept"}


def test_an_interrupt_before_the_receipt(plan: BatchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the archive back."""
    monkeypatch.setattr(core, "SMALL_ROWS", 1)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(target.open_target(plan.target)), "put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(lake(plan), plan)
    assert everything(plan.target) == {}


def test_an_archive_that_cannot_be_taken_back_is_told(plan: BatchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason why it had to be."""
    folder = type(target.open_target(plan.target))

    def fail(*_: object) -> None:
        raise OwnError("no way")

    monkeypatch.setattr(folder, "put", fail)
    monkeypatch.setattr(folder, "delete", fail)
    for result in run(lake(plan), plan):
        assert str(result.error).startswith("OwnError: no way; ")
        assert ".zip is left without a receipt, as it could not be removed: OwnError: no way" in str(result.error)


def test_two_channels_whose_archives_have_one_name(plan: BatchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of 32 bits can be alike: the second fails, and does not replace the first."""
    monkeypatch.setattr(Key, "export_id", property(lambda _: "1c4639da"))
    table = lake(plan, channels=3)
    one_name = table.set_column(1, "channel_name", pa.array(["Shop"] * table.num_rows))
    results = run(one_name, plan)
    assert sorted(r.status for r in results) == ["done"] * 3 + ["failed"] * 6
    assert all("is the name of another channel's archive too" in str(r.error) for r in results if r.status == "failed")
    assert len(everything(plan.target)) == 6
    taken = [r.path for r in results if r.path]
    assert sorted(r.status for r in run(one_name, plan, taken=taken)) == ["failed"] * 6 + ["kept"] * 3
    parted = replace(plan, layout="{channel_id}/{period}", target=f"{plan.target}-2")
    assert {r.status for r in run(one_name, parted)} == {"done"}


def test_another_backend_is_refused(plan: BatchPlan) -> None:
    """A process that would deflate to other bytes does not begin."""
    assert {r.status for r in run(lake(plan), replace(plan, backend=backend_name(plan.options)))} == {"done"}
    with pytest.raises(OptionError, match="the plan is for zlib 42"):
        run(lake(plan), replace(plan, backend="zlib 42"))


def test_results_are_asked_for(plan: BatchPlan) -> None:
    """Nothing happens before the first, and what is asked for no more is left."""
    results = export_partition(lake(plan).to_batches(777), plan, parallel=1)
    assert everything(plan.target) == {}
    next(results)
    results.close()
    assert 2 <= len(everything(plan.target)) <= 12


@pytest.mark.parametrize(
    ("layout", "path"), [("", "Channel_0_2026-04_"), ("{channel_id}/{period}/x", "000/2026-04/x/Channel_0_")]
)
def test_layout(layout: str, path: str, plan: BatchPlan) -> None:
    """Folders inside the target."""
    assert str(run(lake(plan), replace(plan, layout=layout))[0].path).startswith(path)


@pytest.mark.parametrize("channel_id", ["..", "a/b", "C:\\x", "é ü", "."])
def test_a_channel_s_id_stays_one_part_of_a_path(channel_id: str, plan: BatchPlan) -> None:
    """Whatever it is."""
    table = lake(plan, channels=1)
    table = table.set_column(0, "channel_id", pa.array([channel_id] * table.num_rows))
    result = run(table, replace(plan, layout="{channel_id}"))[0]
    assert result.status == "done"
    folder, _ = str(result.path).split("/")
    assert folder not in {".", ".."}
    assert (Path(plan.target) / str(result.path)).resolve().is_relative_to(Path(plan.target).resolve())
