"""An archive as a file: what is read by its export, or stands there already, is never lost."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine import (
    ArchiveError,
    open_source,
)
from export_engine.sinks import write_archive
from tests.sinks.exporting import (
    LINE,
    NAME,
    ODD,
    Chunks,
    export,
    is_archive,
    listing,
    needs_posix,
)


@needs_posix
@pytest.mark.parametrize("given", ["in.jsonl", "./in.jsonl", "hard.jsonl", "soft.jsonl", "up/in.jsonl", "descriptor"])
@pytest.mark.parametrize("where", ["archive", "manifest"])
@pytest.mark.parametrize("read_as", ["in.jsonl", "soft.jsonl", "hard.jsonl"])
def test_an_input_is_never_written_over(tmp_path: Path, given: str, where: str, read_as: str) -> None:
    """By whatever name, as archive or as manifest; with --overwrite too."""
    path = tmp_path / "in.jsonl"
    path.write_text(LINE)
    (tmp_path / "hard.jsonl").hardlink_to(path)
    (tmp_path / "soft.jsonl").symlink_to(path)
    (tmp_path / "up").symlink_to(".")
    before = listing(tmp_path)
    with path.open() as file:
        target = f"/dev/fd/{file.fileno()}" if given == "descriptor" else f"{tmp_path}/{given}"
        other = tmp_path / "other.zip"
        archive, manifest = (target, other) if where == "archive" else (other, target)
        with pytest.raises(ArchiveError, match="is read by this export"):
            export(open_source(tmp_path / read_as)).write_to(archive, overwrite=True, manifest=manifest)
    assert path.read_text() == LINE
    assert listing(tmp_path) == before


def test_an_input_that_is_a_descriptor(tmp_path: Path) -> None:
    """Such as standard input, redirected from a file."""
    path = tmp_path / "in.jsonl"
    path.write_text(LINE)
    with path.open() as file:

        class Given(Chunks):
            inputs = (file.fileno(), tmp_path / "none", "s3://bucket/x", "\0")

        with pytest.raises(ArchiveError, match="is read by this export"):
            write_archive(Given(), path, overwrite=True)
        write_archive(Given(), tmp_path / "b.zip")
    assert path.read_text() == LINE


KINDS = ["file", "hard link", "soft link", "link to a link", "nothing", "link to nothing", *ODD]


@pytest.mark.slow
@needs_posix
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_nothing_that_exists_is_destroyed(data: st.DataObject) -> None:
    """Whatever stands at the names given, and however they are one: only a regular file that was asked for changes."""
    with TemporaryDirectory() as folder:
        root = Path(os.path.realpath(folder))
        kept = [root / "kept", root / "in.jsonl"]
        for path in kept:
            path.write_text(LINE)
        names = [root / f"n{number}" for number in range(4)]
        for path in names:
            _make(path, data.draw(st.sampled_from(KINDS)), data.draw(st.sampled_from([*kept, *names])))
        source = data.draw(st.sampled_from([path for path in [*kept, *names] if path.is_file()]))
        archive = data.draw(st.sampled_from([*kept, *names, root / "new.zip"]))
        manifest = data.draw(st.sampled_from([None, *kept, *names, root / "new.jsonl"]))
        overwrite = data.draw(st.booleans())
        before = _seen(root)
        written = {Path(os.path.realpath(archive / NAME if archive.is_dir() else archive))}
        written |= {Path(os.path.realpath(manifest))} if manifest else set()
        text = source.read_bytes()
        try:
            made = export(open_source(source, format="jsonl"))
            path = made.write_to(archive, overwrite=overwrite, manifest=manifest)
        except (ArchiveError, OSError):
            assert _seen(root) == before
        else:
            after = _seen(root)
            assert is_archive(path)
            assert source.read_bytes() == text
            for name, was in before.items():
                if overwrite and name in written:
                    assert stat.S_ISREG(was[0])
                else:
                    assert after[name] == was


def _make(path: Path, kind: str, other: Path) -> None:
    if kind == "file":
        path.write_text(LINE)
    elif kind == "hard link":
        os.link(other if other.is_file() else path.parent / "kept", path)
    elif kind == "soft link":
        path.symlink_to(other)
    elif kind == "link to a link":
        (path.parent / f"{path.name}-").symlink_to(other)
        path.symlink_to(f"{path.name}-")
    elif kind == "link to nothing":
        path.symlink_to("nowhere")
    elif kind in ODD:
        try:
            ODD[kind](path)
        except pytest.skip.Exception:
            os.mkfifo(path)


def _seen(root: Path) -> dict[Path, tuple[int, int, int, bytes | str | None]]:
    """Everything below a folder: its kind, what it is, and what is in it."""
    seen: dict[Path, tuple[int, int, int, bytes | str | None]] = {}
    for path in root.rglob("*"):
        found = path.lstat()
        content: bytes | str | None = None
        if stat.S_ISREG(found.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(found.st_mode):
            content = str(path.readlink())
        seen[path] = (found.st_mode, found.st_ino, found.st_rdev, content)
    return seen
