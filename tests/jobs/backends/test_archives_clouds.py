"""Archives in buckets: S3 over its real protocol, presigned links of all three clouds, what a failed export leaves."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
import obstore
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from export_engine import ArchiveError, OptionError
from export_engine.jobs.backends.archives import ObjectArchives, open_archives
from tests import s3
from tests.jobs.backends.test_archives import DAY, NAME, NOW, PATH, STRAYS, Chunks, OwnError

MIB = 1 << 20


@pytest.fixture
def archives(bucket: s3.Bucket) -> ObjectArchives:
    return open_archives(f"s3://{bucket.name}/exports/of-us", **bucket.config)


def query_of(link: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(link).query, keep_blank_values=True))


@pytest.mark.slow
def test_an_archive_from_its_writing_to_its_end(archives: ObjectArchives, bucket: s3.Bucket) -> None:
    """It lies below the URL's prefix; paths are without it; deleting what is gone is no error."""
    assert not archives.served_here
    archives.write(PATH, Chunks(*[bytes(MIB)] * 17, b"end"))
    assert bucket.keys() == [f"exports/of-us/{PATH}"]
    assert [path for path, _ in archives.paths()] == [PATH]
    stored = archives.head(PATH)
    assert stored.size == 17 * MIB + 3
    assert stored.etag.startswith('"')
    assert b"".join(archives.read(PATH, 17 * MIB - 1, 17 * MIB + 3)) == b"\0end"
    for _ in range(2):
        archives.delete(PATH)
        assert bucket.keys() == []


def test_nothing_beside_the_prefix_is_listed(archives: ObjectArchives, bucket: s3.Bucket) -> None:
    """A bucket may have other things in it."""
    for key in ("a/b/c.zip", "exports/of-us/readme.txt", "exports/of-us-too/a/b/c.zip", f"exports/of-us/{PATH}"):
        obstore.put(bucket.store, key, b"1")
    assert [path for path, _ in archives.paths()] == [PATH]


def test_the_options_come_from_the_environment_too(bucket: s3.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that the cloud's own tools read do; nothing need be passed."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test-key",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT": bucket.server.url,
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    open_archives(f"s3://{bucket.name}").write(PATH, Chunks(b"1"))
    assert bucket.keys() == [PATH]


@pytest.mark.slow
def test_a_failed_export_leaves_nothing(archives: ObjectArchives, bucket: s3.Bucket) -> None:
    """Its exception arrives as it is; the upload that had begun is aborted."""
    error = OwnError()
    with pytest.raises(OwnError) as caught:
        archives.write(PATH, Chunks(*[bytes(MIB)] * 64, error=error))  # more than may wait to be sent
    assert caught.value is error
    assert any("partNumber=" in line for line in bucket.server.requests)
    assert bucket.keys() == []
    assert bucket.uploads() == []


def test_a_bucket_that_refuses_a_part(archives: ObjectArchives, bucket: s3.Bucket) -> None:
    """The store's error arrives and nothing is left."""
    with bucket.server.refusing("partNumber=2&"), pytest.raises((OSError, obstore.exceptions.BaseError)):
        archives.write(PATH, Chunks(*[bytes(MIB)] * 24))
    assert bucket.keys() == []
    assert bucket.uploads() == []


def test_writing_looks_nothing_up(archives: ObjectArchives, bucket: s3.Bucket) -> None:
    """A small archive is one request: whoever may only write can run exports."""
    archives.write(PATH, Chunks(b"1"))
    assert bucket.server.requests == [f"PUT /{bucket.name}/exports/of-us/{PATH}?"]


def test_tidying_is_left_to_the_bucket(archives: ObjectArchives, bucket: s3.Bucket) -> None:
    """Unfinished uploads are for the bucket's lifecycle rule: nothing is asked of it, nothing deleted."""
    archives.write(PATH, Chunks(b"1"))
    bucket.server.requests.clear()
    archives.tidy(datetime.now(UTC) + timedelta(hours=1))
    assert bucket.server.requests == []


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 17 * MIB], ids=["one request", "parts"])
def test_a_link_downloads_without_credentials(archives: ObjectArchives, size: int) -> None:
    """It gives the archive, says what it is called, and serves ranges."""
    archives.write(PATH, Chunks(bytes(size)))
    link = archives.link(PATH, file_name=NAME, now=NOW, expires_at=NOW + DAY)
    answer = httpx.get(link, timeout=90)
    assert answer.status_code == 200
    assert answer.content == bytes(size)
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="{NAME}"'
    assert urlsplit(link).path.endswith(f"/{NAME}")
    assert httpx.get(link, headers={"Range": "bytes=0-0"}, timeout=90).status_code == 206


@pytest.mark.parametrize(("left", "seconds"), [(DAY, 86400), (timedelta(hours=1, seconds=1.9), 3601)])
def test_the_end_of_an_s3_link(archives: ObjectArchives, left: timedelta, seconds: int) -> None:
    """It counts from the moment it is signed: `left` later, in whole seconds, it is dead, as S3 reckons."""
    before = datetime.now(UTC).replace(microsecond=0)
    query = query_of(archives.link(PATH, file_name=NAME, now=NOW, expires_at=NOW + left))
    signed = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%S%z")
    assert before <= signed <= datetime.now(UTC)
    assert query["X-Amz-Expires"] == str(seconds)


def test_the_signature_of_an_s3_link(archives: ObjectArchives) -> None:
    """It is the one S3 computes itself (Signature Version 4), so the expiry within it cannot be moved."""
    link = archives.link(PATH, file_name=NAME, now=NOW, expires_at=NOW + DAY)
    query = query_of(link)
    signature = query.pop("X-Amz-Signature")
    assert signed_by_s3(link, query) == signature
    assert signed_by_s3(link, query | {"X-Amz-Expires": "86401"}) != signature


def signed_by_s3(link: str, query: dict[str, str]) -> str:
    """The signature of a presigned GET, as the documentation of S3 has it."""
    url = urlsplit(link)
    fields = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(query.items()))
    request = f"GET\n{url.path}\n{fields}\nhost:{url.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    scope = query["X-Amz-Credential"].partition("/")[2]
    text = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{sha256(request.encode()).hexdigest()}"
    key = b"AWS4test-secret"
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def test_a_link_that_would_be_dead(archives: ObjectArchives) -> None:
    """None is made, in a bucket either."""
    with pytest.raises(OptionError):
        archives.link(PATH, file_name=NAME, now=NOW, expires_at=NOW)


@pytest.mark.parametrize("path", STRAYS)
def test_a_path_that_is_none(archives: ObjectArchives, bucket: s3.Bucket, path: str) -> None:
    """Not one request is made for it."""
    for use in (
        lambda: archives.write(path, Chunks(b"1")),
        lambda: archives.link(path, file_name=NAME, now=NOW, expires_at=NOW + DAY),
        lambda: archives.head(path),
        lambda: archives.read(path, 0, 1),
        lambda: archives.delete(path),
    ):
        with pytest.raises(ArchiveError):
            use()
    assert bucket.server.requests == []


def test_an_azure_link() -> None:
    """A read-only SAS of the one blob that ends a day after it began; signed without a request."""
    archives = open_archives(
        "az://container/exports", account_name="ours", account_key=base64.b64encode(bytes(32)).decode()
    )
    link = archives.link(PATH, file_name=NAME, now=NOW, expires_at=NOW + DAY)
    assert link.startswith(f"https://ours.blob.core.windows.net/container/exports/{PATH}?")
    query = query_of(link)
    assert (query["sp"], query["sr"]) == ("r", "b")
    begins, ends = (datetime.strptime(query[name], "%Y-%m-%dT%H:%M:%S%z") for name in ("st", "se"))
    assert ends - begins == DAY


def test_a_google_link(tmp_path: Path) -> None:
    """A V4 signature by the service account's own key, for a day; signed without a request."""
    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    account = tmp_path / "account.json"
    account.write_text(
        json.dumps({"client_email": "ours@example.com", "private_key": key.decode(), "private_key_id": "1"})
    )
    archives = open_archives("gs://bucket/exports", service_account=str(account))
    link = archives.link(PATH, file_name=NAME, now=NOW, expires_at=NOW + DAY)
    assert link.startswith(f"https://storage.googleapis.com/bucket/exports/{PATH}?")
    assert query_of(link)["X-Goog-Expires"] == "86400"
