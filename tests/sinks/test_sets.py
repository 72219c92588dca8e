"""An export in several archives: all appear or none, an older set is replaced whole, and strangers are left alone."""

from __future__ import annotations

import asyncio
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import obstore
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from export_engine import (
    ArchiveError,
    Contact,
    Conversation,
    Export,
    Message,
    OptionError,
)
from export_engine.report import archive_name
from export_engine.sinks.object import write_object
from export_engine.verify import verify_archive, verify_archives
from tests.exports import START, OwnError
from tests.sinks import exporting
from tests.sinks.exporting import NAME, talks

SECOND = "SMS_Support_2026-06_1c4639da-2.zip"
#: Of the archive, and the room for so many of `talks`.
ONE = 330


def export(source: object = None, limit: int | str | None = 3 * ONE, **options: Any) -> Export:
    return exporting.export(talks(20) if source is None else source, max_archive_size=limit, **options)


def fail() -> None:
    raise OwnError


def failing() -> Iterator[Conversation]:
    # Many batches: archives are complete long before the end.
    return talks(60_000, fail)


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None
        return opened.namelist()


def test_names() -> None:
    """The number stands before the ending, in whatever folder."""
    cases = {"x.zip": "x-2.zip", "a.b/x": "a.b/x-2", "a/.zip": "a/.zip-2", "x.tar.zip": "x.tar-2.zip", "x": "x-2"}
    assert {first: archive_name(first, 2) for first in cases} == cases
    assert archive_name("x.zip", 1) == "x.zip"


@pytest.mark.slow
@given(st.integers(0, 40), st.integers(22, 5000), st.integers(1, 30))
@settings(deadline=None, max_examples=20)
def test_every_file_is_within_the_limit(
    tmp_path_factory: pytest.TempPathFactory, count: int, limit: int, long: int
) -> None:
    """On disk, the whole file: unless it has one CSV alone. Together they have what one archive has."""
    folder = tmp_path_factory.mktemp("sets")
    made = export(talks(count, word="word " * long), limit, sha256=True)
    first = made.write_to(folder)
    archives = made.report.archives
    assert first == folder / NAME
    assert sorted(path.name for path in folder.iterdir()) == sorted(one.file_name for one in archives)
    assert [one.file_name for one in archives] == [archive_name(NAME, n + 1) for n in range(len(archives))]
    found = []
    for one in archives:
        path = folder / one.file_name
        data = path.read_bytes()
        assert (one.bytes, one.sha256, one.members) == (len(data), sha256(data).hexdigest(), len(names(path)))
        assert len(data) <= limit or one.members == 1
        found += names(path)
    whole = export(talks(count, word="word " * long), None)
    whole.write_to(folder / "whole.zip")
    assert found == names(folder / "whole.zip")
    assert made.report.members == whole.report.members == count
    assert made.report.bytes == sum(one.bytes for one in archives)
    assert (made.report.sha256 is None) is (len(archives) > 1)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_the_manifest_names_all(ending: str, tmp_path: Path) -> None:
    """Each member's archive, and each archive's name, size, SHA-256 and members; verify holds the set against it."""
    manifest = tmp_path / f"m.{ending}"
    made = export()
    made.write_to(tmp_path / "out.zip", manifest=manifest)
    archives = made.report.archives
    assert len(archives) > 3
    if ending == "jsonl":
        lines = [json.loads(line) for line in manifest.read_text().splitlines()]
        members, said = [line for line in lines if "name" in line], [line for line in lines if "file_name" in line]
    else:
        members = pq.read_table(manifest).to_pylist()
        said = json.loads(pq.read_metadata(manifest).metadata[b"archives"])
    assert said == [
        {"file_name": one.file_name, "bytes": one.bytes, "sha256": one.sha256, "members": one.members}
        for one in archives
    ]
    assert [one.file_name for one in archives] == ["out.zip", *(f"out-{n}.zip" for n in range(2, len(archives) + 1))]
    assert all(one.sha256 for one in archives)
    where = {name: number for number, one in enumerate(archives, 1) for name in names(tmp_path / one.file_name)}
    assert {member["name"]: member["archive"] for member in members} == where
    for one in archives:
        assert verify_archive(tmp_path / one.file_name).problems == ()
        found = verify_archive(tmp_path / one.file_name, manifest)  # all, whichever was given
        assert found.problems == ()
        assert (found.members, found.bytes) == (20, made.report.bytes)


def test_what_is_wrong_with_a_set_is_found(tmp_path: Path) -> None:
    """One that is missing, other than it was, or not of the set; a CSV that is in two of them."""
    manifest = tmp_path / "m.jsonl"
    export().write_to(tmp_path / "out.zip", manifest=manifest)
    second = (tmp_path / "out-2.zip").read_bytes()
    (tmp_path / "out-2.zip").unlink()
    (told, *_) = verify_archive(tmp_path / "out.zip", manifest).problems
    assert told == "out-2.zip is missing, which the manifest names"
    (tmp_path / "out-2.zip").write_bytes((tmp_path / "out.zip").read_bytes())
    told = "\n".join(verify_archive(tmp_path / "out.zip", manifest).problems)
    assert "out-2.zip: its SHA-256 is" in told
    assert "for the same" in told
    (tmp_path / "other.zip").write_bytes(second)
    assert "other.zip: the manifest does not name it" in verify_archive(tmp_path / "other.zip", manifest).problems[0]
    twice = verify_archives([tmp_path / "out.zip", tmp_path / "out-2.zip"])
    assert any("is also that of" in problem for problem in twice.problems)


def test_parts_of_a_conversation_in_several_archives(tmp_path: Path) -> None:
    """One too long for a CSV goes on in the next archive: each passes alone, and it is counted once."""
    messages = [Message(f"m{n}", START, "inbound", "customer", f"text {n} " * 9) for n in range(300)]
    made = export([Conversation("long", Contact("Jane"), messages), *talks(2)], 1000)
    made._spec = replace(made._spec, member_limit=15_000)
    made.write_to(tmp_path / "out.zip", manifest=tmp_path / "m.jsonl")
    paths = [tmp_path / one.file_name for one in made.report.archives]
    assert len(paths) > 2
    assert " (part 2).csv" not in names(paths[0])[0]
    assert any(" (part " in name for path in paths[1:] for name in names(path)[:1])
    for path in paths:
        assert verify_archive(path).problems == ()
    found = verify_archives(paths)
    assert (found.problems, found.conversations, found.rows) == ((), 3, 302)
    assert verify_archive(paths[0], tmp_path / "m.jsonl").problems == ()


def test_what_fits_is_one_archive(tmp_path: Path) -> None:
    """The same bytes as without a limit; no number, and no other file."""
    made = export(limit="1GiB", sha256=True)
    made.write_to(tmp_path)
    assert listing(tmp_path) == {NAME: b"".join(export(limit=None))}
    assert made.report.sha256 == made.report.archives[0].sha256


def test_an_iterated_export_is_one_zip() -> None:
    """It refuses the limit, in a loop and in an event loop."""
    made = export()
    with pytest.raises(OptionError, match="is one ZIP") as caught:
        iter(made)
    assert caught.value.option == "max_archive_size"

    async def taken() -> None:
        async for _ in made:
            pass

    with pytest.raises(OptionError, match="use write_to"):
        asyncio.run(taken())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    """However many archives were complete; an older set stays as it was, to the byte."""
    with pytest.raises(OwnError):
        export(failing(), 200_000, threads=1).write_to(tmp_path / "out.zip", manifest=tmp_path / "m.jsonl")
    assert listing(tmp_path) == {}
    export(limit=3 * ONE).write_to(tmp_path / "out.zip", manifest=tmp_path / "m.jsonl")
    before = listing(tmp_path)
    assert len(before) > 4
    with pytest.raises(OwnError):
        export(failing(), 200_000, threads=1).write_to(
            tmp_path / "out.zip", manifest=tmp_path / "m.jsonl", overwrite=True
        )
    assert listing(tmp_path) == before


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
@pytest.mark.parametrize("count", [1, 4, 20])
@pytest.mark.parametrize("taken", ["out.zip", "m.jsonl"])
def test_a_name_that_cannot_be_had_at_the_end(taken: str, count: int, tmp_path: Path) -> None:
    """What had been replaced or removed by then is there again, whatever the sizes of the two sets."""
    export(talks(8), ONE).write_to(tmp_path / "out.zip", manifest=tmp_path / "m.jsonl")
    before = {name: data for name, data in listing(tmp_path).items() if name != taken}

    def take() -> None:
        (tmp_path / taken).unlink()
        os.mkfifo(tmp_path / taken)

    with pytest.raises(ArchiveError, match="is a pipe"):
        export(talks(count, take), ONE).write_to(tmp_path / "out.zip", manifest=tmp_path / "m.jsonl", overwrite=True)
    (tmp_path / taken).unlink()
    assert listing(tmp_path) == before


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="descriptors of POSIX")
def test_few_files_are_open(tmp_path: Path) -> None:
    """A thousand archives need no thousand descriptors."""
    opened: list[int] = []

    def source() -> Iterator[Conversation]:
        yield from talks(1000)
        opened.append(descriptors())

    began = descriptors()
    made = export(source(), 22)
    made.write_to(tmp_path)
    assert len(made.report.archives) == 1000
    assert max(opened) < began + 30


def test_an_older_set_is_replaced_whole(tmp_path: Path) -> None:
    """What it had more goes; so it does where the new export is one archive, and other names stay."""
    export(limit=ONE).write_to(tmp_path)
    (tmp_path / "SMS_Support_2026-06_1c4639dab-2.zip").write_bytes(b"another's")
    assert len(listing(tmp_path)) > 5
    made = export(talks(6), 3 * ONE)
    made.write_to(tmp_path, overwrite=True)
    kept = {one.file_name for one in made.report.archives} | {"SMS_Support_2026-06_1c4639dab-2.zip"}
    assert 1 < len(made.report.archives) < 6
    assert {*listing(tmp_path)} == kept
    export(talks(1), 3 * ONE).write_to(tmp_path, overwrite=True)
    assert {*listing(tmp_path)} == {NAME, "SMS_Support_2026-06_1c4639dab-2.zip"}


@pytest.mark.parametrize("content", [b"", b"my own", b"PK\x03\x04" + b"\0" * 26 + b"photo.jpg"])
@pytest.mark.parametrize("number", [2, 3])
def test_what_is_no_archive_of_a_set_is_refused(number: int, content: bytes, tmp_path: Path) -> None:
    """Though it has a number's name and overwriting was asked for: it would pass for one of the set."""
    for n in range(2, number):
        export(talks(1), None).write_to(tmp_path / f"out-{n}.zip")
    stranger = tmp_path / f"out-{number}.zip"
    stranger.write_bytes(content)
    before = listing(tmp_path)
    read: list[int] = []
    with pytest.raises(ArchiveError, match=rf"out-{number}\.zip is no archive of conversations"):
        export(talks(20, lambda: read.append(1))).write_to(tmp_path / "out.zip", overwrite=True)
    assert (listing(tmp_path), read) == (before, [])


def test_a_stranger_that_does_not_follow(tmp_path: Path) -> None:
    """Is met when the set comes to it: nothing of the set appears."""
    (tmp_path / "out-3.zip").write_bytes(b"my own")
    for overwrite in (True, False):
        with pytest.raises(ArchiveError, match=r"out-3\.zip"):
            export().write_to(tmp_path / "out.zip", overwrite=overwrite)
        assert listing(tmp_path) == {"out-3.zip": b"my own"}
    made = export(limit=None)  # one archive: it has no numbers
    made.write_to(tmp_path / "out.zip")
    assert {*listing(tmp_path)} == {"out.zip", "out-3.zip"}


def test_a_number_that_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    """Without overwriting it is refused before anything is read."""
    export(talks(1), None).write_to(tmp_path / "out-2.zip")
    read: list[int] = []
    with pytest.raises(ArchiveError, match=r"out-2\.zip exists already"):
        export(talks(20, lambda: read.append(1)), "1GB").write_to(tmp_path / "out.zip")
    assert ({*listing(tmp_path)}, read) == ({"out-2.zip"}, [])


def test_a_manifest_in_an_archive_s_place(tmp_path: Path) -> None:
    """Is refused when the set comes to it."""
    with pytest.raises(ArchiveError, match="the archive and the manifest"):
        export().write_to(tmp_path / "out.zip", manifest=tmp_path / "out-3.zip")
    assert listing(tmp_path) == {}


# --- object stores ---------------------------------------------------------------------------------------------------


def objects(store: MemoryStore) -> dict[str, bytes]:
    found = [one["path"] for page in obstore.list(store) for one in page]
    return {path: bytes(obstore.get(store, path).bytes()) for path in found}


@pytest.mark.slow
def test_a_set_of_objects(tmp_path: Path) -> None:
    """The same bytes as files; the first appears last, and the manifest just before it."""
    store = MemoryStore()
    seen: list[set[str]] = []

    def source() -> Iterator[Conversation]:
        for talk in talks(60_000):
            yield talk
            if talk.id == "c59999":
                seen.append({*objects(store)})

    made = export(source(), 200_000, threads=1)
    assert made.upload_to("p/", store=store, manifest="p/m.jsonl") == f"p/{NAME}"
    files = export(talks(60_000), 200_000)
    files.write_to(tmp_path, manifest=tmp_path / "m.jsonl")
    assert objects(store) == {f"p/{name}": data for name, data in listing(tmp_path).items()}
    assert f"p/{SECOND}" in seen[0]
    assert f"p/{NAME}" not in seen[0]
    assert "p/m.jsonl" not in seen[0]


@pytest.mark.slow
def test_a_failed_set_of_objects() -> None:
    """Leaves none of them; an older set is as it was, or is none any more: its first archive is gone, and is told."""
    store = MemoryStore()
    with pytest.raises(OwnError):
        export(failing(), 200_000, threads=1).upload_to("p/", store=store, manifest="m.jsonl")
    assert objects(store) == {}
    export(limit=3 * ONE).upload_to("p/", store=store)
    before = objects(store)
    with pytest.raises(OwnError):
        export(talks(20, fail), 200_000).upload_to("p/", store=store, overwrite=True)
    assert objects(store) == before
    with pytest.raises(OwnError) as caught:
        export(failing(), 200_000, threads=1).upload_to("p/", store=store, overwrite=True)
    after = objects(store)
    assert after.items() <= before.items()
    assert f"p/{NAME}" not in after
    assert caught.value.__notes__ == [
        "The older set is not whole any more, and its first archive is deleted: export again."
    ]


def test_an_older_set_of_objects_is_replaced() -> None:
    """What it had more is deleted; a stranger is refused, and so is a number without overwriting."""
    store = MemoryStore()
    write_object(export(limit=ONE), store, "a/x.zip")
    assert len(objects(store)) > 5
    write_object(export(talks(6)), store, "a/x.zip", overwrite=True)
    assert {*objects(store)} == {"a/x.zip", "a/x-2.zip"}
    obstore.delete(store, "a/x.zip")
    with pytest.raises(ArchiveError, match=r"a/x-2\.zip exists already"):
        write_object(export(), store, "a/x.zip")
    obstore.put(store, "a/x-2.zip", b"my own")
    with pytest.raises(ArchiveError, match=r"a/x-2\.zip is no archive of conversations"):
        write_object(export(), store, "a/x.zip", overwrite=True)
    assert objects(store) == {"a/x-2.zip": b"my own"}
