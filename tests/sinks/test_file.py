"""An archive as a file: under the right name, and in the place of nothing but a regular file."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from export_engine import (
    ArchiveError,
    Conversation,
    OptionError,
)
from export_engine.sinks import write_archive
from tests.sinks.exporting import (
    NAME,
    ODD,
    export,
    is_archive,
    listing,
    needs_posix,
    talks,
)


@pytest.mark.parametrize(
    "url", ["s3://bucket/x/", "gs://b", "az://c/a.zip", "file:///tmp/a.zip", "S3://b/", "https://h/"]
)
def test_a_url_is_no_path(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused by name, with what to use, also in the form that pathlib makes of it; no folder `s3:` is made."""
    monkeypatch.chdir(tmp_path)
    for target in (url, Path(url)):
        with pytest.raises(OptionError, match="upload_to") as caught:
            export().write_to(target)
        assert caught.value.option == "target"
        with pytest.raises(OptionError, match="a manifest goes to a store only if") as caught:
            export().write_to("a.zip", manifest=target)
        assert caught.value.option == "manifest"
    assert listing(tmp_path) == []
    (tmp_path / "s3:").mkdir()
    assert export().write_to("./s3:/a.zip") == Path("s3:/a.zip")


def test_a_directory_gets_the_archive_under_its_name(tmp_path: Path) -> None:
    """It is made if the path ends in a slash."""
    assert export().write_to(tmp_path) == tmp_path / NAME
    made = export().write_to(f"{tmp_path}/new/er/", manifest=tmp_path / "new" / "er" / "m.parquet")
    assert made == tmp_path / "new" / "er" / NAME
    assert pq.read_table(tmp_path / "new" / "er" / "m.parquet").num_rows == 3
    with pytest.raises(NotADirectoryError):
        export().write_to(f"{tmp_path / NAME}/")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(FileNotFoundError) as caught:
        export().write_to(tmp_path / "none" / "a.zip")
    assert caught.value.filename == str(tmp_path / "none")
    assert caught.value.strerror == "there is no such folder: make it first"
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as refused:
        export().write_to(tmp_path / "file" / "a.zip")
    assert refused.value.filename == str(tmp_path / "file")
    assert not hasattr(refused.value, "__notes__")


@needs_posix
def test_a_name_as_long_as_a_file_system_takes(tmp_path: Path) -> None:
    """The hidden file beside it has a shorter one."""
    for name in ("a" * 255, "ü" * 127, "字" * 85, "😀" * 63):
        assert is_archive(export().write_to(tmp_path / name))


@needs_posix
@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("kind", ODD)
def test_only_regular_files_are_replaced(kind: str, tmp_path: Path, *, linked: bool, overwrite: bool) -> None:
    """A pipe, socket, device or directory stays, as archive and as manifest, by its name and by a link to it."""
    odd = tmp_path / "odd"
    ODD[kind](odd)
    path = tmp_path / "link" if linked else odd
    if linked:
        path.symlink_to(odd)
    before = (odd.lstat().st_ino, odd.lstat().st_mode, odd.lstat().st_rdev)
    read: list[object] = []

    def source() -> Iterator[Conversation]:
        read.append(1)
        yield from talks()

    with pytest.raises(ArchiveError, match=f"is a {kind}, and only a regular file is replaced"):
        export(source()).write_to(tmp_path / "a.zip", overwrite=overwrite, manifest=path)
    if kind != "directory":
        with pytest.raises(ArchiveError, match=f"is a {kind}, and only a regular file is replaced"):
            export(source()).write_to(path, overwrite=overwrite)
    assert (odd.lstat().st_ino, odd.lstat().st_mode, odd.lstat().st_rdev) == before
    assert read == []
    assert listing(tmp_path) == (["link", "odd"] if linked else ["odd"])


@needs_posix
def test_what_becomes_a_device_meanwhile(tmp_path: Path) -> None:
    """It is looked at again before the archive gets its name."""
    with pytest.raises(ArchiveError, match="is a pipe"):
        export(talks(then=lambda: os.mkfifo(tmp_path / "a.zip"))).write_to(tmp_path / "a.zip", overwrite=True)
    assert stat.S_ISFIFO((tmp_path / "a.zip").stat().st_mode)
    assert listing(tmp_path) == ["a.zip"]


@needs_posix
def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    """What it leads to is replaced, wherever that is, and the link stays."""
    (tmp_path / "far").mkdir()
    target = tmp_path / "far" / "real.zip"
    target.write_bytes(b"before")
    (tmp_path / "one").symlink_to("far/real.zip")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    with pytest.raises(ArchiveError, match="two exists already"):
        export().write_to(tmp_path / "two")
    assert export().write_to(tmp_path / "two", overwrite=True) == tmp_path / "two"
    assert is_archive(target)
    assert (tmp_path / "one").readlink() == Path("far/real.zip")
    assert (tmp_path / "two").readlink() == tmp_path / "one"
    assert listing(tmp_path / "far") == ["real.zip"]


@needs_posix
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_link_to_nothing(tmp_path: Path, *, overwrite: bool) -> None:
    """What it leads to is made."""
    (tmp_path / "link").symlink_to("real.zip")
    export().write_to(tmp_path / "link", overwrite=overwrite)
    assert (tmp_path / "link").is_symlink()
    assert is_archive(tmp_path / "real.zip")
    (tmp_path / "lost").symlink_to("none/real.zip")
    with pytest.raises(FileNotFoundError):
        export().write_to(tmp_path / "lost", overwrite=overwrite)


@needs_posix
def test_links_in_a_circle(tmp_path: Path) -> None:
    """The operating system's own error, before anything is read."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for place in ({"target": tmp_path / "a"}, {"target": tmp_path / "x.zip", "manifest": tmp_path / "a"}):
        with pytest.raises(OSError, match="symbolic links") as caught:
            write_archive(export(), overwrite=True, **place)
        assert caught.value.errno == errno.ELOOP
    assert listing(tmp_path) == ["a", "b"]


@needs_posix
def test_a_file_with_several_names(tmp_path: Path) -> None:
    """Its content stays under the others."""
    (tmp_path / "a.zip").write_bytes(b"before")
    (tmp_path / "b.zip").hardlink_to(tmp_path / "a.zip")
    export().write_to(tmp_path / "a.zip", overwrite=True)
    assert is_archive(tmp_path / "a.zip")
    assert (tmp_path / "b.zip").read_bytes() == b"before"


@needs_posix
@pytest.mark.parametrize("manifest", [True, False])
def test_what_is_replaced_is_kept_only_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, manifest: bool
) -> None:
    """An archive and its manifest go back together; with one file there is nothing to go back for."""
    kept: list[str] = []
    link = os.link

    def linked(source: Path, name: Path) -> None:
        kept.append(source.name)
        link(source, name)

    monkeypatch.setattr(os, "link", linked)
    for path in (tmp_path / "a.zip", tmp_path / "m.jsonl"):
        path.write_bytes(b"before")
    export().write_to(tmp_path / "a.zip", overwrite=True, manifest=tmp_path / "m.jsonl" if manifest else None)
    assert is_archive(tmp_path / "a.zip")
    assert kept == (["m.jsonl", "a.zip"] if manifest else [])
    assert listing(tmp_path) == ["a.zip", "m.jsonl"]


@needs_posix
def test_a_file_without_a_name(tmp_path: Path) -> None:
    """One that is open still and has been deleted cannot be written to by its path."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    with (tmp_path / "gone").open("w") as file:
        (tmp_path / "gone").unlink()
        with pytest.raises(ArchiveError, match="has no name any more"):
            export().write_to(f"/proc/self/fd/{file.fileno()}", overwrite=True)
    assert listing(tmp_path) == []


@needs_posix
def test_permissions(tmp_path: Path) -> None:
    """A new file has what the umask leaves, one that replaces another has the other's, from its first byte on."""
    seen: list[int] = []

    def look() -> None:
        seen.extend(stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob(".*.part"))

    old = os.umask(0o027)
    try:
        path = export().write_to(tmp_path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o600)
        export(talks(then=look)).write_to(tmp_path, overwrite=True)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert seen == [0o600]


@pytest.mark.parametrize("odd", [None, 5, b"a.zip", BytesIO(), "", "a\0.zip"])
def test_what_is_no_path(odd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused by the option's name, for an archive and for a manifest; nothing is made."""
    monkeypatch.chdir(tmp_path)
    for write in (export().write_to, export().upload_to):
        with pytest.raises(OptionError) as caught:
            write(odd)
        assert caught.value.option == "target"
    if odd is not None:
        with pytest.raises(OptionError, match="manifest is ") as caught:
            export().write_to("a.zip", manifest=odd)
        assert caught.value.option == "manifest"
    assert listing(tmp_path) == []
