"""Ordered rows to archives and receipts: what is made, refused and withdrawn."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from export_engine import Channel, OptionError, export_conversations
from export_engine.batch import core, target
from export_engine.batch.core import export_partition
from export_engine.batch.plan import BatchPlan, Key
from export_engine.batch.receipts import Receipt, receipt_path
from export_engine.engine import backend_name
from tests.batch.lakes import ORDER, OwnError, everything, made, ordered, with_column


def test_each_channel_and_period_is_an_export_of_its_own(plan: BatchPlan) -> None:
    """The same bytes as exporting it alone; a receipt says what is in it."""
    table = ordered(plan)
    results = made(table, plan)
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
    table = ordered(plan)
    made(table, plan)
    expected = everything(plan.target)
    for number, (size, parallel, small) in enumerate([(1, 1, 20_000), (5000, 16, 20_000), (300, 3, 100)]):
        monkeypatch.setattr(core, "SMALL_ROWS", small)
        other = replace(plan, target=f"{plan.target}-{number}")
        made(table, other, size, parallel=parallel)
        assert everything(other.target) == expected


def test_a_file_is_no_target(plan: BatchPlan, tmp_path: Path) -> None:
    """It is refused before anything is read, and stays."""
    file = tmp_path / "lake.csv"
    file.write_text("x")
    for target_ in (file, file / "below" / "it"):
        with pytest.raises(OptionError, match=r"lake\.csv is no folder"):
            made(ordered(plan), replace(plan, target=str(target_)))
    assert file.read_text() == "x"


def test_one_failing_key_fails_alone(plan: BatchPlan) -> None:
    """With its reason; it leaves neither archive nor receipt."""
    table = ordered(plan)
    at = table.column_names.index("direction")
    words = ["inbound"] * table.num_rows
    words[7] = "sideways"
    results = made(table.set_column(at, "direction", pa.array(words)), plan)
    assert [r.status for r in results] == ["failed"] + ["done"] * 11
    assert "'sideways' is not one of inbound, outbound" in str(results[0].error)
    assert len(everything(plan.target)) == 2 * 11


@pytest.mark.parametrize("small", [20_000, 100], ids=["held", "streamed"])
@pytest.mark.parametrize("name", ["channel_name", "channel_phone"])
@pytest.mark.parametrize("other", ["Other", None])
def test_a_channel_with_two_names_in_an_archive(
    name: str, other: str | None, small: int, plan: BatchPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails it: neither may stand in silence. Both are named, with the message that brought the second."""
    monkeypatch.setattr(core, "SMALL_ROWS", small)
    table = ordered(plan, channels=2)
    said = table["channel_name"].to_pylist()
    table = table.append_column("channel_phone", pa.array(said)) if name == "channel_phone" else table
    said[700] = other
    results = made(with_column(table, name, pa.array(said)), plan)
    assert [r.status for r in results] == ["failed"] + ["done"] * 5
    place = ", ".join(f"{kind} {table[f'{kind}_id'][700].as_py()!r}" for kind in ("conversation", "message"))
    assert f"its rows have both 'Channel 0' and {other!r} as {name}, the latter first in {place}:" in str(
        results[0].error
    )


@pytest.mark.parametrize("dedupe", [False, True])
@pytest.mark.parametrize(
    ("name", "value", "time"),
    [("direction", "sideways", "{:%Y-%m-%dT%H:%M:%S.%f+00:00}"), ("contact_name", b"\xff", "{:%Y-%m-%d %H:%M:%S.%f}Z")],
)
def test_an_error_has_the_message_s_time(name: str, value: Any, time: str, dedupe: bool, plan: BatchPlan) -> None:
    """And no number of a row, which is that of rows in an order that nobody has."""
    table = ordered(plan, channels=1)
    values = table[name].to_pylist()
    values[1000] = value
    results = made(
        with_column(table, name, pa.array(values, pa.binary() if name == "contact_name" else None)),
        replace(plan, dedupe=dedupe),
    )
    (error,) = [str(r.error) for r in results if r.error]
    row = table.slice(1000, 1).to_pylist()[0]
    place = f"conversation '{row['conversation_id']}', message '{row['message_id']}', column '{name}': "
    assert error.startswith(place)
    assert f"(its message's time is {time.format(row['message_time'])}); " in error


def test_rows_in_the_wrong_period_fail_it(plan: BatchPlan) -> None:
    """Before the archive is there: none of its rows may be lost."""
    table = ordered(plan)
    moved = table.set_column(table.column_names.index("period"), "period", pa.array([0] * table.num_rows))
    results = made(moved.sort_by([(name, "ascending") for name in ORDER]), plan)
    assert {r.status for r in results} == {"failed"}
    assert "lie in the period" in str(results[0].error)
    assert everything(plan.target) == {}


def test_a_key_that_comes_back_is_withdrawn(plan: BatchPlan) -> None:
    """Archive and receipt, with a failed result; the others stay."""
    table = ordered(plan)
    results = made(pa.concat_tables([table.slice(0, 100), table.slice(2000), table.slice(100, 1900)]), plan)
    failed = {(r.channel_id, r.period) for r in results if r.status == "failed"}
    assert ("000", "2026-04") in failed
    assert all("order them by channel_id" in str(r.error) for r in results if r.status == "failed")
    kept = {(r.channel_id, r.period) for r in results if r.status == "done"} - failed
    assert len(everything(plan.target)) == 2 * len(kept)


def test_the_input_s_error_arrives(plan: BatchPlan) -> None:
    """What was finished before stays, with its receipt; nothing is half there."""
    table = ordered(plan)

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
    table = ordered(plan)
    folder = target.open_target(plan.target)
    with monkeypatch.context() as broken:

        def fail(*_: object) -> None:
            raise OwnError("no room")

        broken.setattr(type(folder), "write" if at == "archive" else "put", fail)
        results = made(table, plan)
        assert {(r.status, r.error) for r in results} == {("failed", "OwnError: no room")}
    assert everything(plan.target) == {}
    assert {r.status for r in made(table, plan)} == {"done"}


def test_two_channels_whose_archives_have_one_name(plan: BatchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of 32 bits can be alike: the second fails, and does not replace the first."""
    monkeypatch.setattr(Key, "export_id", property(lambda _: "1c4639da"))
    table = ordered(plan, channels=3)
    one_name = table.set_column(1, "channel_name", pa.array(["Shop"] * table.num_rows))
    results = made(one_name, plan)
    assert sorted(r.status for r in results) == ["done"] * 3 + ["failed"] * 6
    assert all("is the name of another channel's archive too" in str(r.error) for r in results if r.status == "failed")
    assert len(everything(plan.target)) == 6
    taken = [r.path for r in results if r.path]
    assert sorted(r.status for r in made(one_name, plan, taken=taken)) == ["failed"] * 6 + ["kept"] * 3
    parted = replace(plan, layout="{channel_id}/{period}", target=f"{plan.target}-2")
    assert {r.status for r in made(one_name, parted)} == {"done"}


def test_another_backend_is_refused(plan: BatchPlan) -> None:
    """A process that would deflate to other bytes does not begin."""
    assert {r.status for r in made(ordered(plan), replace(plan, backend=backend_name(plan.options)))} == {"done"}
    with pytest.raises(OptionError, match="the plan is for zlib 42"):
        made(ordered(plan), replace(plan, backend="zlib 42"))


def test_results_are_asked_for(plan: BatchPlan) -> None:
    """Nothing happens before the first, and what is asked for no more is left."""
    results = export_partition(ordered(plan).to_batches(777), plan, parallel=1)
    assert everything(plan.target) == {}
    next(results)
    results.close()
    assert 2 <= len(everything(plan.target)) <= 12


@pytest.mark.parametrize(
    ("layout", "path"), [("", "Channel_0_2026-04_"), ("{channel_id}/{period}/x", "000/2026-04/x/Channel_0_")]
)
def test_layout(layout: str, path: str, plan: BatchPlan) -> None:
    """Folders inside the target."""
    assert str(made(ordered(plan), replace(plan, layout=layout))[0].path).startswith(path)


@pytest.mark.parametrize("channel_id", ["x" * 256, "漢" * 29])
def test_a_channel_s_id_that_no_folder_can_have(channel_id: str, plan: BatchPlan) -> None:
    """Fails with the way out; without it in the layout all is well."""
    table = ordered(plan, channels=1)
    table = with_column(table, "channel_id", pa.array([channel_id] * table.num_rows))
    for result in made(table, replace(plan, layout="{channel_id}")):
        assert str(result.error).startswith("the layout gives a folder's name of more than 255 bytes")
    assert {result.status for result in made(table, plan)} == {"done"}


@pytest.mark.parametrize("channel_id", ["..", "a/b", "C:\\x", "é ü", "."])
def test_a_channel_s_id_stays_one_part_of_a_path(channel_id: str, plan: BatchPlan) -> None:
    """Whatever it is."""
    table = ordered(plan, channels=1)
    table = table.set_column(0, "channel_id", pa.array([channel_id] * table.num_rows))
    result = made(table, replace(plan, layout="{channel_id}"))[0]
    assert result.status == "done"
    folder, _ = str(result.path).split("/")
    assert folder not in {".", ".."}
    assert (Path(plan.target) / str(result.path)).resolve().is_relative_to(Path(plan.target).resolve())
