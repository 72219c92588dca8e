"""What uploads leave in a directory that were killed or have failed, and that it goes, and nothing else."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from export_engine.jobs.backends.archives import open_archives
from tests.jobs.backends.test_archives import NAME, PATH, Chunks, OwnError, memory

UPLOAD = """
import sys, time
from export_engine.jobs.backends.archives import open_archives
from tests.jobs.backends.test_archives import PATH

class Endless:
    file_name = "a.zip"
    def __iter__(self):
        for _ in range(64):
            yield bytes(1 << 20)
        print("under way", flush=True)
        time.sleep(600)
    def listen(self, listener): ...

open_archives(sys.argv[1]).write(PATH, Endless())
"""


@pytest.mark.slow
def test_what_a_killed_upload_leaves(tmp_path: Path) -> None:
    """It is listed under the archive's path, and deleted with it, folders too."""
    archives = open_archives(str(tmp_path))
    archives.write("job/token/whole.zip", Chunks(b"1"))
    with subprocess.Popen(
        [sys.executable, "-c", UPLOAD, tmp_path], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    ) as upload:
        assert upload.stdout
        assert upload.stdout.readline() == b"under way\n"
        upload.send_signal(signal.SIGKILL)
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert left.count(f"{NAME}#1") == 1
    listed = dict(archives.paths())
    assert sorted(listed) == sorted(["job/token/whole.zip", PATH])
    assert abs(datetime.now(UTC) - listed[PATH]) < timedelta(minutes=5)
    archives.tidy(datetime.now(UTC) + timedelta(hours=1))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == left
    archives.delete(PATH)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "job",
        "job/token",
        "job/token/whole.zip",
    ]


def test_the_folders_of_a_failed_upload(tmp_path: Path) -> None:
    """They are empty, and go with the next tidying."""
    archives = open_archives(str(tmp_path))
    with pytest.raises(OwnError):
        archives.write(PATH, Chunks(bytes(20 << 20), error=OwnError()))
    archives.tidy(datetime.now(UTC) + timedelta(hours=1))
    assert list(tmp_path.iterdir()) == []


def test_files_of_others_are_not_tidied(tmp_path: Path) -> None:
    """What does not look like an unfinished upload of an archive stays."""
    strays = ["C#1", "job/C#1", "job/token/notes#one", "job/token/.zip#1", "a/b/c/d.zip#1", "job/token/a b.zip#1"]
    for stray in strays:
        (tmp_path / stray).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / stray).write_bytes(b"theirs")
    archives = open_archives(str(tmp_path))
    archives.tidy(datetime.now(UTC) + timedelta(hours=1))
    assert list(archives.paths()) == []
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == sorted(strays)


def test_tidying_memory() -> None:
    """A process that is killed leaves nothing in memory; there is nothing to do."""
    archives = memory()
    archives.write(PATH, Chunks(b"1"))
    archives.tidy(datetime.now(UTC) + timedelta(hours=1))
    assert [path for path, _ in archives.paths()] == [PATH]
