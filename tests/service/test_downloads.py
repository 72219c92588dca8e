"""Downloads of archives that the service keeps itself, as browsers and download managers ask for them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from tests.service.running import JUNE, Service


@dataclass(frozen=True)
class Download:
    """A finished archive: its link and its bytes, read from the store."""

    url: str
    content: bytes
    client: httpx.Client

    def get(self, **headers: str) -> httpx.Response:
        """Ask for it, without a key."""
        return self.client.get(self.url, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.fixture(scope="module")
def download(service: Service) -> Iterator[Download]:
    """One that all tests of the module may read."""
    document = service.ended(service.trigger({**JUNE, "end_date": "2026-06-03"}))
    job = service.components.store.get(document["workspace_id"], document["export_job_id"])
    assert job is not None
    assert job.archive is not None
    stored = service.archives.head(job.archive)
    content = b"".join(map(bytes, service.archives.read(job.archive, 0, stored.size)))
    with httpx.Client(timeout=90) as client:
        yield Download(document["presigned_url"], content, client)


@pytest.mark.slow
def test_the_whole_archive(download: Download) -> None:
    """With its size, name and validators; no cache but the caller's own may keep it."""
    answer = download.get()
    assert (answer.status_code, answer.content) == (200, download.content)
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Content-Length"] == str(len(download.content))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Cache-Control"] == "private"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["ETag"].startswith('"')
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="SMS_Support_2026-06_')


def test_head(download: Download) -> None:
    """What GET would say, without the archive."""
    volatile = ("date", "x-request-id")
    told = [
        [(name, value) for name, value in answer.headers.items() if name not in volatile]
        for answer in (download.client.head(download.url), download.get())
    ]
    assert told[0] == told[1]
    assert download.client.head(download.url).content == b""


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=10-19", slice(10, 20)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-22", slice(-22, None)),
        ("bytes=0-", slice(0, None)),
        ("bytes=5-999999999999", slice(5, None)),
        ("bytes=-999999999999", slice(0, None)),
        ("bytes= 1 - 2", slice(1, 3)),
    ],
)
def test_a_range(download: Download, asked: str, part: slice) -> None:
    """206, with the bytes that were asked for and where they stand."""
    answer = download.get(Range=asked)
    assert (answer.status_code, answer.content) == (206, download.content[part])
    start, stop, _ = part.indices(len(download.content))
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(download.content)}"
    assert answer.headers["Content-Length"] == str(stop - start)


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=99999999-999999999", "bytes=-0"])
def test_a_range_outside(download: Download, asked: str) -> None:
    """416, with the size there is."""
    answer = download.get(Range=asked)
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(download.content)}"


@pytest.mark.parametrize(
    "asked", ["bytes=5-2", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes", "bytes=1-" + "9" * 5000]
)
def test_a_range_that_is_ignored(download: Download, asked: str) -> None:
    """200 and everything: HTTP lets a server leave ranges it does not understand, or does not like, alone."""
    assert download.get(Range=asked).content == download.content


def test_a_download_resumed(download: Download) -> None:
    """If-Range: the rest of the same archive, but the whole of another."""
    etag = download.get().headers["ETag"]
    assert download.get(Range="bytes=7-", If_Range=etag).content == download.content[7:]
    for other in ('"another"', f"W/{etag}", "Thu, 11 Jun 2026 06:50:43 GMT"):
        assert download.get(Range="bytes=7-", If_Range=other).content == download.content


def test_a_download_that_is_there_already(download: Download) -> None:
    """If-None-Match: 304 without a body."""
    etag = download.get().headers["ETag"]
    for matching in (etag, f'"another", {etag}', f"W/{etag}", "*"):
        answer = download.get(If_None_Match=matching)
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", etag)
    assert download.get(If_None_Match='"another"').status_code == 200


def test_an_archive_that_is_not_the_one_that_was_meant(download: Download) -> None:
    """If-Match: 412, as a weak ETag is none that matches; Firefox resumes with it."""
    etag = download.get().headers["ETag"]
    for matching in (etag, f'"another", {etag}', "*"):
        assert download.get(Range="bytes=7-", If_Match=matching).content == download.content[7:]
    for other in ('"another"', f"W/{etag}", ""):
        assert download.get(Range="bytes=7-", If_Match=other).status_code == 412


def test_curl_resumes(download: Download, tmp_path: Path) -> None:
    """A real client that stopped halfway gets the rest."""
    path = tmp_path / "conversations.zip"
    path.write_bytes(download.content[:1000])
    subprocess.run(["curl", "--silent", "--fail", "-C", "-", "-o", path, download.url], check=True)
    assert path.read_bytes() == download.content


@pytest.mark.parametrize("part", ["name", "expires", "signature", "path"])
def test_a_link_that_was_changed(download: Download, part: str) -> None:
    """403, whatever was changed or left out."""
    url = urlsplit(download.url)
    query = dict(parse_qsl(url.query))
    path = url.path
    changed = [{**query, part: "1"}, {name: value for name, value in query.items() if name != part}]
    if part == "path":
        changed, path = [query], f"{path[:-5]}0.zip"
    for other in changed:
        link = url._replace(path=path, query=urlencode(other)).geturl()
        assert download.client.get(link).status_code == 403


@pytest.mark.parametrize("path", ["", "secret", "..%2fsecret", "a/b/c", "%00"])
def test_a_path_that_was_made_up(service: Service, path: str) -> None:
    """403: without a signature nothing is looked up."""
    url = f"{service.url}/downloads/{path}?name=x&expires=99999999999&signature=00"
    assert service.client.get(url).status_code == 403


@pytest.mark.slow
def test_an_archive_that_was_swept(service: Service, download: Download) -> None:
    """404 from a link that would still be good."""
    document = service.ended(service.trigger({**JUNE, "end_date": "2026-06-04"}))
    job = service.components.store.get(document["workspace_id"], document["export_job_id"])
    assert job is not None
    assert job.archive is not None
    service.archives.delete(job.archive)
    assert download.client.get(document["presigned_url"]).status_code == 404
