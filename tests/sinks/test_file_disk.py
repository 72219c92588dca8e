"""An archive as a file that cannot be written: the error names the place, and nothing is left there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.sinks.exporting import (
    NAME,
    export,
    is_archive,
    listing,
    needs_posix,
    talks,
)


@needs_posix
def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    """It is named, and nothing has been read."""
    place = tmp_path / "kept"
    place.mkdir()
    with _read_only(place), pytest.raises(OSError, match="choose another folder") as caught:
        export(talks(then=lambda: pytest.fail("was read"))).write_to(place)
    assert caught.value.errno in (errno.EACCES, errno.EROFS)
    assert caught.value.filename == str(place)


@contextmanager
def _read_only(place: Path) -> Iterator[None]:
    """Root may write anywhere but on a file system that is mounted so."""
    if os.geteuid() != 0:
        place.chmod(0o500)
        try:
            yield
        finally:
            place.chmod(0o700)
        return
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", place], capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.slow
@needs_posix
def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """The error names the file, and nothing is left: neither of the archive nor of its manifest."""
    program = """
import resource, sys
from tests.sinks.exporting import *
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
export(talks(5_000)).write_to(sys.argv[1] + "/a.zip", manifest=sys.argv[1] + "/" + sys.argv[2])
"""
    for manifest in ("m.jsonl", "m.parquet"):
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path, manifest],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        error = done.stderr.splitlines()[-1]
        assert error.startswith(f"OSError: [Errno {errno.EFBIG}] File too large: '{tmp_path}/")
        assert listing(tmp_path) == []


@pytest.mark.slow
def test_a_file_system_that_is_full(tmp_path: Path) -> None:
    """The same on a disk of 1 MiB, filled by the archive alone."""
    place = tmp_path / "small"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=1m"]
    if sys.platform != "linux" or subprocess.run(["mount", *options, "none", place], check=False).returncode:
        pytest.skip("may not mount here")
    try:
        with pytest.raises(OSError, match="No space left") as caught:
            export(talks(30_000)).write_to(place)
        assert caught.value.filename == str(place / NAME)
        assert listing(place) == []
        assert is_archive(export().write_to(place))
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_file_that_cannot_be_replaced(tmp_path: Path) -> None:
    """One that something is mounted on, as containers do: the error names it, and it stays."""
    path, other = tmp_path / "a.zip", tmp_path / "other"
    path.write_bytes(b"before")
    other.write_bytes(b"mounted")
    if sys.platform != "linux" or subprocess.run(["mount", "--bind", other, path], check=False).returncode:
        pytest.skip("may not mount here")
    try:
        with pytest.raises(OSError, match="busy") as caught:
            export().write_to(path, overwrite=True, manifest=tmp_path / "m.jsonl")
        assert caught.value.filename == str(path)
        assert caught.value.filename2 is None
    finally:
        subprocess.run(["umount", path], check=True)
    assert listing(tmp_path) == ["a.zip", "other"]
    assert (path.read_bytes(), other.read_bytes()) == (b"before", b"mounted")
