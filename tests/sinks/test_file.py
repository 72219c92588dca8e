"""An archive as a file: whole or not at all, and whatever was there before is never lost."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine import (
    ArchiveError,
    Channel,
    Contact,
    Conversation,
    DateRange,
    Export,
    Message,
    OptionError,
    export_conversations,
    open_source,
)
from export_engine.report import MemberRecord
from export_engine.sinks import Streamable, write_archive

START = datetime(2026, 6, 1, tzinfo=UTC)
NAME = "SMS_Support_2026-06_1c4639da.zip"
LINE = (
    '{"id": "c", "contact": {"name": "Jane"}, "messages": [{"id": "m", "time": "2026-06-01T00:00:00Z", "direction": '
    '"inbound", "speaker_type": "customer", "text": "Hi"}]}\n'
)

needs_posix = pytest.mark.skipif(os.name == "nt", reason="links and devices of POSIX")


class OwnError(Exception):
    """An error of the caller's."""


def talks(count: int = 3, *, then: Callable[[], object] = lambda: None) -> Iterator[Conversation]:
    for number in range(count):
        yield Conversation(f"c{number}", Contact("Jane"), [Message(f"m{number}", START, "inbound", "customer", "Hi")])
    then()


def export(source: object = None) -> Export:
    return export_conversations(
        talks() if source is None else source,
        channel=Channel("SMS Support"),
        date_range=DateRange(date(2026, 6, 1), date(2026, 6, 30)),
        export_id="1c4639da",
    )


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def is_archive(path: Path) -> bool:
    with zipfile.ZipFile(path) as opened:
        return opened.testzip() is None and bool(opened.namelist())


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    # A name in a socket address has a hundred bytes: bind to it from within its folder.
    program = "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, path.name], cwd=path.parent, check=True)


def device(path: Path) -> None:
    """A device of the test's own, which is what /dev/null is."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        path.write_bytes(b"")
    except OSError:
        path.unlink(missing_ok=True)
        pytest.skip("may not make devices here")


ODD: dict[str, Callable[[Path], None]] = {
    "pipe": pipe,
    "socket": unix_socket,
    "device": device,
    "directory": Path.mkdir,
}

# --- names ---------------------------------------------------------------------------------------------------------


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


@needs_posix
def test_a_name_as_long_as_a_file_system_takes(tmp_path: Path) -> None:
    """The hidden file beside it has a shorter one."""
    for name in ("a" * 255, "ü" * 127, "字" * 85, "😀" * 63):
        assert is_archive(export().write_to(tmp_path / name))


# --- what is there -------------------------------------------------------------------------------------------------


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
from tests.sinks.test_file import *
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


# --- archive and manifest ------------------------------------------------------------------------------------------


class Chunks:
    """Something to stream, with records of one's own and an end of one's own."""

    file_name = "chunks.zip"

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self._then = then
        self._listeners: list[Callable[[MemberRecord], object]] = []

    def __iter__(self) -> Iterator[bytes]:
        for listener in self._listeners:
            listener(MemberRecord("a.csv", "a", 1, 0, 0, 0, 0, None, None))
        yield b"chunk"
        self._then()

    def listen(self, listener: Callable[[MemberRecord], object], *, sha256: bool = False) -> None:
        """As an export has it."""
        assert sha256
        self._listeners.append(listener)


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


# --- inputs --------------------------------------------------------------------------------------------------------


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
