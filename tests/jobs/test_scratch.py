"""Folders that go with their owners, or after them. Real processes, killed."""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from export_engine.jobs import scratch
from export_engine.jobs.scratch import private_folder


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def own(place: Path, told: Connection) -> None:
    """Own a folder with a file in it until killed."""
    tempfile.tempdir = str(place)
    folder, _ = private_folder()
    Path(folder, "spilled").touch()
    told.send(folder)
    threading.Event().wait()


@pytest.mark.slow
def test_a_folder_whose_owner_is_killed(place: Path) -> None:
    """It stays while its owner lives, and is gone once another is made after that; what is not ours stays."""
    (place / "export-engine-other").mkdir()
    mine, remove = private_folder()
    context = multiprocessing.get_context("spawn")
    told, telling = context.Pipe(duplex=False)
    with told, telling:
        process = context.Process(target=own, args=(place, telling))
        process.start()
        folder = Path(told.recv())
        private_folder()[1]()
        assert (folder / "spilled").exists()
        process.kill()
        process.join(120)
        process.close()
    other, remove_other = private_folder()
    assert sorted(place.iterdir()) == sorted([place / "export-engine-other", Path(mine), Path(other)])
    remove()
    remove_other()
    assert [path.name for path in place.iterdir()] == ["export-engine-other"]


def test_many_at_once() -> None:
    """None takes another's for nobody's."""
    folders: list[str] = []

    def make() -> None:
        for _ in range(20):
            folder, remove = private_folder()
            Path(folder, "file").touch()
            folders.append(folder)
            assert Path(folder, "file").exists()
            remove()

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(set(folders)) == len(folders) == 160


def test_where_there_are_no_locks(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders are made and removed all the same, and nobody's stay."""
    monkeypatch.setattr(scratch, "_LOCKS", False)
    private_folder()
    folder, remove = private_folder()
    remove()
    assert not Path(folder).exists()
    assert len(list(place.iterdir())) == 1
