"""An archive uploaded by a URL, or into a store, with its manifest: both whole or neither, and errors that help."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from datetime import timedelta
from pathlib import Path

import httpx
import obstore
import pyarrow.parquet as pq
import pytest
from obstore.store import LocalStore, MemoryStore, S3Store

from export_engine import ArchiveError, OptionError, open_source
from export_engine.sinks import open_store, upload_archive
from tests import s3
from tests.exports import OwnError
from tests.sinks.exporting import LINE, NAME, Chunks, export, talks
from tests.sinks.test_object import conversations

SCHEMES = ["s3", "gs", "az"]


def content(bucket: s3.Bucket, key: str) -> bytes:
    return bytes(obstore.get(bucket.store, key).bytes())


def names(data: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        return opened.namelist()


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("", NAME),
        ("/", NAME),
        ("/a/b/", f"a/b/{NAME}"),
        ("/a/b", "a/b"),
        ("/a b/ü.zip", "a b/ü.zip"),
        ("/50%/a%20b?c#d.zip", "50%/a%20b?c#d.zip"),
    ],
)
def test_a_slash_makes_a_prefix(bucket: s3.Bucket, path: str, key: str) -> None:
    """Then the archive has its own name, else the given one, which is taken as it stands."""
    url = f"s3://{bucket.name}{path}"
    assert export().upload_to(url) == f"s3://{bucket.name}/{key}"
    assert bucket.keys() == [key]
    assert content(bucket, key) == b"".join(export())


@pytest.mark.parametrize(
    "url", ["a.zip", "https://bucket.s3.amazonaws.com/a", "memory:///a", "s3://", "s3:///a", "x://b/a"]
)
def test_what_is_no_place_in_a_store(url: str) -> None:
    """The error says what is."""
    with pytest.raises(OptionError, match="s3://bucket/prefix/, gs://bucket/prefix/") as caught:
        export().upload_to(url)
    assert caught.value.option == "target"


@pytest.mark.parametrize("path", ["a//b.zip", "./a.zip", "a/../b.zip", "a\n.zip", "/a.zip", "a//"])
def test_a_name_that_no_object_can_have(bucket: s3.Bucket, path: str) -> None:
    """It is refused, never changed into another."""
    with pytest.raises(OptionError, match="is no object's name"):
        export().upload_to(f"s3://{bucket.name}/{path}")
    assert bucket.keys() == []


def test_a_download_gets_the_archives_name(bucket: s3.Bucket) -> None:
    """The object carries the headers that a response of one's own would have."""
    export().upload_to(f"s3://{bucket.name}/x/ü.zip")
    answer = httpx.get(obstore.sign(bucket.store, "GET", "x/ü.zip", timedelta(hours=1)), timeout=90)
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == "attachment; filename=\"_.zip\"; filename*=UTF-8''%C3%BC.zip"


def test_into_a_store_of_ones_own(bucket: s3.Bucket) -> None:
    """The target is a path within it, and so is a manifest that is text."""
    for store in (MemoryStore(), bucket.store):
        assert export().upload_to("a/", store=store, manifest="m.jsonl") == f"a/{NAME}"
        assert names(bytes(obstore.get(store, f"a/{NAME}").bytes()))
        lines = bytes(obstore.get(store, "m.jsonl").bytes()).splitlines()
        assert len(lines) == 3
    assert not [line for line in bucket.requests if "uploads" in line]


def test_a_store_that_is_a_directory(tmp_path: Path) -> None:
    """It has no headers for its objects."""
    assert export().upload_to("a/b.zip", store=LocalStore(tmp_path)) == "a/b.zip"
    assert (tmp_path / "a" / "b.zip").read_bytes() == b"".join(export())


def test_a_file_url_is_a_file(tmp_path: Path) -> None:
    """It is written as any other: with a manifest by path or URL, and never over what is read."""
    source = tmp_path / "in.jsonl"
    source.write_text(LINE)
    uri = tmp_path.as_uri()
    assert export().upload_to(f"{uri}/new/", manifest=f"{uri}/new/m.jsonl") == str(tmp_path / "new" / NAME)
    assert len((tmp_path / "new" / "m.jsonl").read_bytes().splitlines()) == 3
    with pytest.raises(ArchiveError, match="is read by this export"):
        export(open_source(source)).upload_to(f"{uri}/in.jsonl", overwrite=True)
    with pytest.raises(OptionError, match="on another machine"):
        export().upload_to("file://host/a.zip")
    assert source.read_text() == LINE


# --- the manifest --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("local", [True, False])
def test_a_manifest(bucket: s3.Bucket, tmp_path: Path, suffix: str, *, local: bool) -> None:
    """A second object, or a file here, with each member's record."""
    place = str(tmp_path / f"m.{suffix}") if local else f"s3://{bucket.name}/x/m.{suffix}"
    export().upload_to(f"s3://{bucket.name}/x/", manifest=place)
    data = (tmp_path / f"m.{suffix}").read_bytes() if local else content(bucket, f"x/m.{suffix}")
    if suffix == "parquet":
        records = pq.read_table(io.BytesIO(data)).to_pylist()
    else:
        records = [json.loads(line) for line in data.splitlines()]
    assert [record["name"] for record in records] == names(content(bucket, f"x/{NAME}"))
    assert all(len(record["sha256"]) == 64 for record in records)


def test_a_manifest_that_cannot_be(bucket: s3.Bucket, tmp_path: Path) -> None:
    """A prefix, the archive's own name, an input, what is there already: refused before anything is read."""
    source = tmp_path / "in.jsonl"
    source.write_text(LINE)
    url = f"s3://{bucket.name}"
    with pytest.raises(OptionError, match="is a prefix") as caught:
        export().upload_to(f"{url}/a/", manifest=f"{url}/a/")
    assert caught.value.option == "manifest"
    with pytest.raises(ArchiveError, match="the archive and the manifest"):
        export().upload_to(f"{url}/a.zip", manifest=f"S3://{bucket.name}/a.zip")
    with pytest.raises(ArchiveError, match="is read by this export"):
        export(open_source(source)).upload_to(f"{url}/a.zip", manifest=source, overwrite=True)
    with pytest.raises(ArchiveError, match="exists already"):
        export(open_source(source)).upload_to(f"{url}/a.zip", manifest=tmp_path / "in.jsonl" / ".." / "in.jsonl")
    obstore.put(bucket.store, "m.jsonl", b"theirs")
    with pytest.raises(ArchiveError, match=r"m\.jsonl exists already"):
        export(talks(then=lambda: pytest.fail("was read"))).upload_to(f"{url}/a.zip", manifest=f"{url}/m.jsonl")
    assert bucket.keys() == ["m.jsonl"]
    assert bucket.uploads() == []


@pytest.mark.parametrize("local", [True, False])
def test_the_manifest_goes_if_the_archive_cannot_come(bucket: s3.Bucket, tmp_path: Path, *, local: bool) -> None:
    """Whichever comes first, neither is left alone."""
    url = f"s3://{bucket.name}"
    made = Chunks(lambda: obstore.put(bucket.store, "a.zip", b"theirs"))
    with pytest.raises(ArchiveError, match="exists already"):
        upload_archive(made, f"{url}/a.zip", manifest=str(tmp_path / "m.jsonl") if local else f"{url}/m.jsonl")
    assert bucket.keys() == ["a.zip"]
    assert content(bucket, "a.zip") == b"theirs"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mib", [0, 48])
@pytest.mark.parametrize("error", [OwnError("mine"), FileNotFoundError("theirs"), KeyboardInterrupt()])
def test_a_failure_midway_leaves_nothing(bucket: s3.Bucket, error: BaseException, mib: int) -> None:
    """Neither archive nor manifest nor parts of them; the error arrives as it is, also one that a store could raise."""

    def then() -> None:
        raise error

    url = f"s3://{bucket.name}"
    with pytest.raises(type(error)) as caught:
        export(conversations(mib, then=then)).upload_to(f"{url}/a/", manifest=f"{url}/m.parquet")
    assert caught.value is error
    assert bucket.keys() == []
    assert bucket.uploads() == []


# --- what a store says ---------------------------------------------------------------------------------------------


def test_an_object_that_exists(bucket: s3.Bucket) -> None:
    """It is named by its URL, and replaced only when that is asked for."""
    url = f"s3://{bucket.name}/a.zip"
    obstore.put(bucket.store, "a.zip", b"theirs")
    with pytest.raises(ArchiveError, match=f"^{url} exists already: choose another path, or give --overwrite"):
        export(talks(then=lambda: pytest.fail("was read"))).upload_to(url)
    assert content(bucket, "a.zip") == b"theirs"
    export().upload_to(url, overwrite=True)
    assert names(content(bucket, "a.zip"))


def one_line(error: BaseException) -> str:
    """An error's message: one line, and nothing of what is for those who debug obstore."""
    text = str(error)
    assert text.isprintable()
    assert "Debug source" not in text
    assert "<Error>" not in text
    return text


@pytest.mark.parametrize("overwrite", [True, False])
def test_no_such_bucket(bucket: s3.Bucket, *, overwrite: bool) -> None:
    """It is named."""
    del bucket
    with pytest.raises(ArchiveError) as caught:
        export().upload_to("s3://none-such/x/", overwrite=overwrite)
    assert one_line(caught.value) == "there is no bucket s3://none-such: make it, or mend its name"


@pytest.mark.parametrize("request_line", ["HEAD", "PUT"])
def test_a_store_that_refuses(bucket: s3.Bucket, request_line: str) -> None:
    """The bucket is named, and what to look at."""
    with bucket.server.refusing(request_line), pytest.raises(ArchiveError) as caught:
        export().upload_to(f"s3://{bucket.name}/x/")
    assert one_line(caught.value).startswith(f"s3://{bucket.name} refuses ")
    assert one_line(caught.value).endswith(": see to the credentials, and to what they may do there")
    with bucket.server.refusing(request_line), pytest.raises(ArchiveError, match="the store refuses "):
        export().upload_to("x/", store=bucket.store)
    assert bucket.keys() == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_credentials(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """The variables that would hold them are named; machines in a cloud are asked first, and there is none here."""
    for name in [*s3.VARIABLES, "GOOGLE_APPLICATION_CREDENTIALS"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    with pytest.raises(ArchiveError) as caught:
        export().upload_to(f"{scheme}://bucket/x/")
    variables = {"s3": "AWS_ACCESS_KEY_ID", "gs": "GOOGLE_APPLICATION_CREDENTIALS", "az": "AZURE_STORAGE_ACCOUNT_KEY"}
    said = one_line(caught.value)
    assert said.startswith(f"there are no credentials for {scheme}://bucket: set ")
    assert variables[scheme] in said


def test_an_account_that_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL that cannot be opened is a wrong option, and says why."""
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(OptionError, match="Account must be specified") as caught:
        export().upload_to("az://container/x/")
    assert caught.value.option == "target"
    one_line(caught.value)


@pytest.mark.slow
def test_a_store_that_cannot_be_reached(bucket: s3.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """What obstore says of it, in one line, with the object's URL."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ArchiveError) as caught:
        export().upload_to(f"s3://{bucket.name}/a.zip")
    assert one_line(caught.value).startswith(f"s3://{bucket.name}/a.zip could not be written: Generic S3 error")


def test_without_obstore(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "obstore", None)
    for name in ("export_engine.sinks.object", "export_engine.sinks.store", "export_engine.jobs.backends.archives"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'export-engine\[cloud\]'"):
        export().upload_to("s3://bucket/x/")
    assert export().file_name == NAME


def test_open_store(tmp_path: Path) -> None:
    """Directories, memory and clouds by URL; anything else, and options for what has none, are refused."""
    assert isinstance(open_store(str(tmp_path / "a")), LocalStore)
    assert isinstance(open_store((tmp_path / "b").as_uri()), LocalStore)
    assert isinstance(open_store("memory://"), MemoryStore)
    opened = open_store("S3://bucket/x", region="us-east-1")
    assert isinstance(opened, S3Store)
    assert opened.prefix == "x"
    with pytest.raises(OptionError, match="takes no options"):
        open_store("memory://", region="x")
    with pytest.raises(OptionError, match="is no store"):
        open_store("https://example.com/x")
    with pytest.raises(OptionError, match="cannot be opened as a store"):
        open_store("ftp://example.com/x")
