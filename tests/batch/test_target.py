"""A batch's target: whole files, and what killed runs left half."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from export_engine.batch.target import WholeFile, open_target
from export_engine.errors import ArchiveError
from tests import s3

PARTS = [
    ".SMS_2026-06_1c4639da.zip.0a1b2c3d.part",
    "receipts/.1c4639da00000000.json.ffffffff.part",
    "a/b/.x.00000000.part",
]
OTHERS = [".part", ".hidden", ".x.part", ".x.0123456.part", "x.01234567.part", "a/.x.01234567.part.zip"]


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def there(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


@pytest.mark.skipif(os.name == "nt", reason="there are no such locks")
def test_what_was_left_half_is_swept(tmp_path: Path) -> None:
    """The hidden files of archives and receipts alone, and nothing of anybody else's."""
    touch(tmp_path, *PARTS, *OTHERS)
    with open_target(str(tmp_path)).claimed():
        assert there(tmp_path) == {*OTHERS}


@pytest.mark.skipif(os.name == "nt", reason="there are no such locks")
def test_another_batch_is_left_alone(tmp_path: Path) -> None:
    """While one is at work nothing is swept; once it has ended, however, it is."""
    target = open_target(str(tmp_path))
    with target.claimed():
        touch(tmp_path, *PARTS)
        with target.claimed():
            assert there(tmp_path) == {*PARTS}
        with open_target(str(tmp_path)).claimed():
            assert there(tmp_path) == {*PARTS}
    with target.claimed():
        assert there(tmp_path) == set()


@pytest.mark.parametrize("kind", ["folder", "store"])
def test_files(kind: str, tmp_path: Path) -> None:
    """Are written, read, listed and deleted by their paths."""
    target = open_target(str(tmp_path / "x") if kind == "folder" else (tmp_path / "x").as_uri())
    assert target.read("a/b.json") is None
    with target.claimed():
        target.put("a/b.json", b"{}")
        target.write("c.zip", WholeFile(b"x" * 9_000_000))
    assert target.read("a/b.json") == b"{}"
    assert b"".join(target.chunks("c.zip")) == b"x" * 9_000_000
    assert sorted(target.paths()) == ["a/b.json", "c.zip"]
    with pytest.raises(FileNotFoundError):
        list(target.chunks("missing"))
    target.delete("c.zip")
    target.delete("c.zip")
    assert list(target.paths()) == ["a/b.json"]


@pytest.mark.slow
def test_a_store_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading says what an upload says, and not what the store's library tried."""
    for name in s3.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    target = open_target("s3://bucket/exports")
    said = r"^there are no credentials for s3://bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    with pytest.raises(ArchiveError, match=said):
        target.read("receipts/1c4639da00000000.json")
    with pytest.raises(ArchiveError, match=said):
        target.write("a.zip", WholeFile(b"data"))
    with pytest.raises(ArchiveError, match=said):
        next(iter(target.paths()))
