"""An archive with its manifest: both whole or neither, and never the same file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from export_engine import (
    ArchiveError,
)
from export_engine.sinks import Streamable, write_archive
from tests.exports import OwnError
from tests.sinks.exporting import (
    Chunks,
    export,
    listing,
    talks,
)


def test_any_streamable_will_do(tmp_path: Path) -> None:
    """A sink knows the protocol alone."""
    made: Streamable = Chunks()
    assert write_archive(made, tmp_path, manifest=tmp_path / "m.jsonl").read_bytes() == b"chunk"
    assert (tmp_path / "m.jsonl").read_bytes().startswith(b'{"name":"a.csv","conversation_id":"a","part":1,')


@pytest.mark.parametrize("name", ["m.jsonl", "m.parquet"])
def test_the_manifest_goes_if_the_archive_cannot_come(tmp_path: Path, name: str) -> None:
    """It appears just before the archive, and is taken back if that fails then."""
    with pytest.raises(ArchiveError, match="exists already"):
        write_archive(
            Chunks(lambda: (tmp_path / "a.zip").write_bytes(b"theirs")), tmp_path / "a.zip", manifest=tmp_path / name
        )
    assert listing(tmp_path) == ["a.zip"]
    assert (tmp_path / "a.zip").read_bytes() == b"theirs"


@pytest.mark.parametrize("name", ["m.jsonl", "m.parquet"])
def test_a_source_that_fails_on_a_full_disk(tmp_path: Path, name: str) -> None:
    """What the manifest says at its end does not hide the error that came first."""
    error = OwnError()

    def then() -> None:
        raise error

    with pytest.raises(OwnError) as caught:
        export(talks(100, then=then)).write_to(tmp_path, manifest=tmp_path / name)
    assert caught.value is error
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("archive", "manifest"),
    [
        ("a", "a"),
        ("a", "./a"),
        ("a", "sub/../a"),
        ("a.zip", "A.ZIP"),
        ("e\u0301", "\xe9"),
        ("link", "a"),
        ("a", "up/a"),
    ],
)
@pytest.mark.parametrize("overwrite", [True, False])
def test_archive_and_manifest_are_two_files(tmp_path: Path, archive: str, manifest: str, *, overwrite: bool) -> None:
    """They are refused where they would be one, if only on some file systems; nothing has been read."""
    (tmp_path / "sub").mkdir()
    if os.name != "nt":
        (tmp_path / "link").symlink_to("a")
        (tmp_path / "up").symlink_to(".")
    before = listing(tmp_path)
    source = talks(0, then=lambda: pytest.fail("was read"))
    with pytest.raises(ArchiveError, match="the archive and the manifest"):
        export(source).write_to(f"{tmp_path}/{archive}", overwrite=overwrite, manifest=f"{tmp_path}/{manifest}")
    assert listing(tmp_path) == before
