"""A lake that is larger than the memory, or than the disks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from export_engine import ArchiveError, SourceError
from export_engine.batch import BatchPlan, Lake, export_lake
from tests.batch.lakes import archives, everything, expected, generated, write_lake
from tests.exports import bytes_in


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A lake that is more in memory than the limit under which it is exported."""
    return write_lake(generated(1_000_000, 20), tmp_path_factory.mktemp("large"))


@pytest.mark.slow
def test_a_low_limit_spills(large: str, plan: BatchPlan, tmp_path: Path) -> None:
    """More than fits goes through the private folder, which is gone at the end; the archives are the same."""
    files = large
    spill = tmp_path / "spill"
    spill.mkdir()
    seen = 0
    for result in export_lake(Lake.of_files([files], memory_limit="120MB", spill_folder=spill), plan):
        assert result.status == "done"
        seen = max(seen, bytes_in(spill))
    assert seen > 1 << 20
    assert list(spill.iterdir()) == []
    roomy = replace(plan, target=f"{plan.target}-2")
    list(export_lake(Lake.of_files([files], memory_limit="2GB"), roomy))
    assert everything(roomy.target) == everything(plan.target)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own, with room for little."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs")
def test_a_full_spill_disk(large: str, plan: BatchPlan, tmp_path: Path) -> None:
    """Is told as such, and nothing is half there."""
    with small_disk(tmp_path / "spill", "8m") as spill:
        with pytest.raises(SourceError, match="the spill folder"):
            list(export_lake(Lake.of_files([large], memory_limit="120MB", spill_folder=spill), plan))
        assert list(spill.iterdir()) == []
    assert not any(path.endswith(".part") for path in everything(plan.target))
    assert len(archives(plan.target)) * 2 == len(everything(plan.target))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs")
def test_a_full_target_disk(plan: BatchPlan, tmp_path: Path) -> None:
    """What does not fit fails with that reason; what is there is whole, and another run with room makes the rest."""
    table = generated(40_000, 6)
    files = write_lake(table, tmp_path / "lake")
    wanted = expected(table, plan)
    with small_disk(tmp_path / "out", f"{sum(map(len, wanted.values())) // 2048}k") as target:
        results = list(export_lake(Lake.of_files([files]), plan))
        assert {result.status for result in results} == {"done", "failed"}
        assert all("No space left on device" in str(result.error) for result in results if result.status == "failed")
        found = everything(target)
        assert archives(target).items() < wanted.items()
        assert len(found) == 2 * len(archives(target)) == 2 * sum(result.status == "done" for result in results)
        room = replace(plan, target=str(tmp_path / "room"))
        shutil.copytree(target, room.target)
    assert {result.status for result in export_lake(Lake.of_files([files]), room)} == {"done", "kept"}
    assert archives(room.target) == wanted


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs")
def test_a_target_that_cannot_be_written_to(plan: BatchPlan, tmp_path: Path) -> None:
    """Is told before the lake is read, the place that is there already with it."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        lake = Lake(query="SELECT error('it was read')", parameters={})
        for target in (disk, disk / "a" / "b"):
            with pytest.raises(ArchiveError, match=rf"^no file can be made in {disk}: choose another place"):
                list(export_lake(lake, replace(plan, target=str(target))))
