"""Archives in a directory or memory: paths that lead nowhere else, links that cannot be forged, reading."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_engine import ArchiveError, OptionError
from export_engine.jobs.backends.archives import ObjectArchives, open_archives
from export_engine.jobs.errors import LinkError
from export_engine.jobs.ports import ArchiveStore
from export_engine.report import MemberRecord

PATH = "79f13adf-f7dc-4744-8ad9-a16b4913e52c/0a1b2c/SMS_Support_2026-06_1c4639da.zip"
NAME = "SMS_Support_2026-06_1c4639da.zip"
SECRET = bytes(range(32))
NOW = datetime(2026, 6, 11, 6, 50, 47, 847864, tzinfo=UTC)
DAY = timedelta(hours=24)


class OwnError(Exception):
    """An error of the export's."""


class Chunks:
    """Something to stream; raises at its end if it is told to."""

    file_name = NAME

    def __init__(self, *chunks: bytes, error: Exception | None = None) -> None:
        self.chunks = chunks
        self.error = error

    def __iter__(self) -> Iterator[bytes]:
        yield from self.chunks
        if self.error:
            raise self.error

    def listen(self, listener: Callable[[MemberRecord], object], *, sha256: bool = False) -> None:
        """Nobody asks for members here."""


def memory() -> ObjectArchives:
    return open_archives("memory://", secret=SECRET, download_url="https://exports.example.com/downloads")


@pytest.fixture(params=["path", "file://", "memory://"])
def archives(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectArchives:
    url = {"path": str(tmp_path / "new"), "file://": (tmp_path / "of url").as_uri(), "memory://": "memory://"}
    return open_archives(url[request.param], secret=SECRET, download_url="https://exports.example.com/downloads/")


def parts_of(link: str) -> dict[str, str]:
    """What a service reads from a link, decoded."""
    url = urlsplit(link)
    path = unquote(url.path.removeprefix("/downloads/"))
    return {"path": path, **dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=True))}


def link(archives: ObjectArchives, name: str = NAME, path: str = PATH) -> dict[str, str]:
    return parts_of(archives.link(path, file_name=name, now=NOW, expires_at=NOW + DAY))


# Storing


def test_it_is_an_archive_store(archives: ObjectArchives) -> None:
    """The protocol is met, as the type checker sees it, and links are the service's to serve."""
    store: ArchiveStore = archives
    assert store is archives
    assert archives.served_here


def test_an_archive_from_its_writing_to_its_end(archives: ObjectArchives) -> None:
    """Written, it is listed, described and read; deleted, it is gone, and deleting it again is no error."""
    begun = datetime.now(UTC) - timedelta(seconds=2)  # file systems round times
    archives.write(PATH, Chunks(b"one ", b"two ", b"three"))
    ((path, written),) = archives.paths()
    assert path == PATH
    assert begun < written < datetime.now(UTC) + timedelta(seconds=2)
    stored = archives.head(PATH)
    assert stored.size == 13
    assert stored.last_modified == written
    assert re.fullmatch('"[^"]+"', stored.etag)
    assert b"".join(archives.read(PATH, 0, 13)) == b"one two three"
    for _ in range(2):
        archives.delete(PATH)
        assert list(archives.paths()) == []
        with pytest.raises(FileNotFoundError):
            archives.head(PATH)
        with pytest.raises(FileNotFoundError):
            archives.read(PATH, 0, 1)


def test_a_failed_export_leaves_nothing(archives: ObjectArchives) -> None:
    """Its exception arrives, and no archive is there."""
    error = OwnError()
    with pytest.raises(OwnError) as caught:
        archives.write(PATH, Chunks(*[bytes(1 << 20)] * 20, error=error))
    assert caught.value is error
    assert list(archives.paths()) == []


@given(st.binary(max_size=100), st.data())
def test_any_range(content: bytes, data: st.DataObject) -> None:
    """Reading gives the bytes from start up to stop, none if they are equal."""
    archives = memory()
    archives.write(PATH, Chunks(content))
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, len(content)))
    assert b"".join(archives.read(PATH, start, stop)) == content[start:stop]


def test_a_large_archive_is_read_in_chunks(archives: ObjectArchives) -> None:
    """Chunks stay small, may be taken by different threads, and outlive the archive's deletion in a directory."""
    content = b"".join(number.to_bytes(4) for number in range(1 << 20))
    archives.write(PATH, Chunks(content))
    chunks = archives.read(PATH, 3, len(content) - 1)
    taken = [next(chunks)]
    archives.delete(PATH)
    thread = threading.Thread(target=lambda: taken.extend(chunks))
    thread.start()
    thread.join(120)
    assert b"".join(taken) == content[3:-1]
    if archives._folder:  # memory has it in one piece
        assert max(map(len, taken)) < 1 << 20


def test_an_archive_has_another_etag_than_its_next(archives: ObjectArchives) -> None:
    """Equal sizes do not make equal ETags."""
    archives.write(PATH, Chunks(b"one"))
    before = archives.head(PATH).etag
    assert archives.head(PATH).etag == before
    archives.write(PATH, Chunks(b"two"))
    assert archives.head(PATH).etag != before


def test_deleting_leaves_no_empty_folder(tmp_path: Path) -> None:
    """The folders of an archive go with it, those of others stay, and so does the directory itself."""
    archives = open_archives(str(tmp_path))
    archives.write("job/one/a.zip", Chunks(b"1"))
    archives.write("job/two/a.zip", Chunks(b"2"))
    archives.delete("job/one/a.zip")
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["two"]
    archives.delete("job/two/a.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_relative_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is where it was when it was opened, wherever the process goes."""
    monkeypatch.chdir(tmp_path)
    archives = open_archives("archives/here")
    monkeypatch.chdir("/")
    archives.write(PATH, Chunks(b"1"))
    assert (tmp_path / "archives/here" / PATH).read_bytes() == b"1"


# Paths

STRAYS = [
    "",
    "/",
    "a.zip",
    "job/a.zip",
    "job/token/more/a.zip",
    "/etc/passwd",
    "//etc/passwd",
    "/job/token/a.zip",
    "job/token/",
    "job//a.zip",
    "job/token/..",
    "job/../a.zip",
    "../token/a.zip",
    "../../../etc/passwd",
    "job/./a.zip",
    "job/token/.hidden",
    "job\\token\\a.zip",
    "job/token/..\\a.zip",
    "job/%2e%2e/a.zip",
    "job/token/a.zip#1",
    "job/token/a b.zip",
    "job/token/a\0.zip",
    "job/token/a.zip\n",
    "job/token/å.zip",
    "C:/token/a.zip",
    "file:///etc/passwd",
]


@pytest.mark.parametrize("path", STRAYS)
def test_a_path_that_is_none(tmp_path: Path, path: str) -> None:
    """Nothing is written, signed, described, read or deleted by it; what lies outside stays as it is."""
    outside = tmp_path / "a.zip"
    outside.write_bytes(b"theirs")
    archives = open_archives(str(tmp_path / "store"), secret=SECRET, download_url="http://127.0.0.1/downloads")
    with pytest.raises(ArchiveError, match="is no archive's path"):
        archives.write(path, Chunks(b"ours"))
    with pytest.raises(ArchiveError):
        link(archives, path=path)
    with pytest.raises(ArchiveError):
        archives.head(path)
    for stop in (0, 1):
        with pytest.raises(ArchiveError):
            archives.read(path, 0, stop)
    with pytest.raises(ArchiveError):
        archives.delete(path)
    with pytest.raises(LinkError):
        archives.check_link(path, NAME, str(int((NOW + DAY).timestamp())), "0" * 64, NOW)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [outside]
    assert outside.read_bytes() == b"theirs"


@given(st.text(alphabet="./\\aZ9_-#%~:\0\n å", max_size=12))
def test_whatever_path_is_accepted_stays_inside(path: str) -> None:
    """A path that can be written is three plain names below the store, which resolving does not change."""
    archives = memory()
    try:
        archives.write(path, Chunks(b""))
    except ArchiveError:
        return
    assert os.path.normpath(f"/store/{path}") == f"/store/{path}"
    assert path.count("/") == 2
    assert [found for found, _ in archives.paths()] == [path]


def test_what_is_not_an_archive_is_not_listed(tmp_path: Path) -> None:
    """Files of others in the directory are not seen, so that no sweep deletes them."""
    archives = open_archives(str(tmp_path))
    archives.write(PATH, Chunks(b"1"))
    for stray in ("notes.txt", "photos/cat.jpg", "a/b/c/d.zip", "a/b/with blank.zip"):
        (tmp_path / stray).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / stray).write_bytes(b"theirs")
    assert [path for path, _ in archives.paths()] == [PATH]


def test_listing_is_lazy() -> None:
    """Archives are listed page by page, as they are asked for: ones that come meanwhile are no trouble."""
    archives = memory()
    for number in range(120):
        archives.write(f"job/{number}/a.zip", Chunks(b""))
    paths = archives.paths()
    assert iter(paths) is paths
    first = next(paths)[0]
    archives.delete(first)
    assert len({first, *(path for path, _ in paths)}) == 120


# Links


def test_the_form_of_a_link(archives: ObjectArchives) -> None:
    """The download URL, the path, and the query's name, expiry in Unix seconds and signature."""
    url = archives.link(PATH, file_name=NAME, now=NOW, expires_at=NOW + DAY)
    end = int((NOW + DAY).timestamp())
    assert re.fullmatch(
        rf"https://exports\.example\.com/downloads/{re.escape(PATH)}\?name={NAME}&expires={end}&signature=[0-9a-f]{{64}}",
        url,
    )


@pytest.mark.slow
@given(st.text(max_size=40))
def test_a_link_holds_for_any_name(name: str) -> None:
    """What comes back from the URL is what was signed, whatever the download is called."""
    archives = memory()
    parts = link(archives, name)
    assert parts["name"] == name
    archives.check_link(**parts, now=NOW)


@given(st.sampled_from(["path", "name", "expires", "signature"]), st.data())
def test_a_link_changed_in_any_part(part: str, data: st.DataObject) -> None:
    """One part changed, by one character or altogether, and the link does not hold."""
    archives = memory()
    parts = link(archives)
    given_ = parts[part]
    at = data.draw(st.integers(0, len(given_)))
    character = data.draw(st.characters())
    changed = data.draw(
        st.one_of(
            st.text(max_size=70),
            st.just(given_[:at] + given_[at + 1 :]),
            st.just(given_[:at] + character + given_[at:]),
            st.just(given_[:at] + character + given_[at + 1 :]),
            st.just(given_.upper()),
        )
    )
    if changed == given_:
        return
    with pytest.raises(LinkError):
        archives.check_link(**(parts | {part: changed}), now=NOW)


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_no_characters_move_between_the_parts(path: str, name: str, expires: str) -> None:
    """Two links that differ have different signatures, however their parts are cut."""
    archives = memory()
    signed = link(archives, f"{name}\n{expires}")
    for parts in ((path, name, expires), (PATH, name, f"{expires}\n{signed['expires']}"), (f"{PATH}\n{name}", "", "")):
        with pytest.raises(LinkError):
            archives.check_link(*parts, signed["signature"], NOW)


@pytest.mark.parametrize(
    ("later", "holds"),
    [
        (timedelta(), True),
        (DAY - timedelta(seconds=1), True),
        (DAY - timedelta(microseconds=847865), True),
        (DAY - timedelta(microseconds=847864), False),  # whole seconds, rounded down
        (DAY, False),
        (DAY + timedelta(days=400), False),
    ],
)
def test_the_end_of_a_link(archives: ObjectArchives, later: timedelta, holds: bool) -> None:
    """It holds before its expiry, in whole seconds, and from then on never again."""
    parts = link(archives)
    if holds:
        archives.check_link(**parts, now=NOW + later)
        archives.check_link(**(parts | {"expires": int(parts["expires"])}), now=NOW + later)  # type: ignore[arg-type]  # a number is fine too
    else:
        with pytest.raises(LinkError):
            archives.check_link(**parts, now=NOW + later)


def test_what_a_bad_link_is_answered() -> None:
    """403, and not a word on what is wrong with it."""
    error = LinkError()
    assert error.status == 403
    assert error.body == {"detail": {"message": "The link is invalid or has expired."}}


def test_another_secret(archives: ObjectArchives) -> None:
    """A link holds under the secret that signed it alone."""
    other = open_archives("memory://", secret=bytes(32))
    with pytest.raises(LinkError):
        other.check_link(**link(archives), now=NOW)


def test_a_link_that_would_be_dead(archives: ObjectArchives) -> None:
    """None is made."""
    for left in (timedelta(), timedelta(days=-1), timedelta(milliseconds=999)):
        with pytest.raises(OptionError):
            archives.link(PATH, file_name=NAME, now=NOW, expires_at=NOW + left)


# Options


def test_links_need_a_secret_and_a_url() -> None:
    """Without them archives are kept all the same; a link says what it misses."""
    with pytest.raises(OptionError) as caught:
        link(open_archives("memory://", secret=SECRET))
    assert caught.value.option == "download_url"
    bare = open_archives("memory://", download_url="http://127.0.0.1")
    for use in (lambda: link(bare), lambda: bare.check_link(PATH, NAME, "1", "", NOW)):
        with pytest.raises(OptionError) as caught:
            use()
        assert caught.value.option == "secret"


@pytest.mark.parametrize("size", [0, 1, 31])
def test_a_secret_that_is_too_short(size: int) -> None:
    """Fewer than 32 bytes are refused from the start, in words that do not tell them."""
    with pytest.raises(OptionError, match=f"has {size} bytes") as caught:
        open_archives("memory://", secret=b"\xaa" * size)
    assert caught.value.option == "secret"


@pytest.mark.parametrize(
    ("url", "config", "option"),
    [
        ("http://127.0.0.1/archives", {}, "url"),
        ("ftp://host/archives", {}, "url"),
        ("s3://", {}, "url"),
        ("s3://bucket", {"nonsense": "1"}, "url"),
        ("memory://", {"region": "us-east-1"}, "region"),
        ("archives", {"region": "us-east-1"}, "region"),
    ],
)
def test_what_cannot_be_opened(
    url: str, config: dict[str, Any], option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said in one line, and nothing is made."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match=re.escape(url)) as caught:
        open_archives(url, **config)
    assert caught.value.option == option
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
