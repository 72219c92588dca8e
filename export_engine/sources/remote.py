"""Inputs at URLs: object stores and the web, through obstore. Streamed, or read by ranges; nothing is kept on disk.

`s3://bucket/key`, `gs://bucket/key` and `az://container/key` take their credentials from the cloud's usual environment
variables; `https://` (and `http://`) URLs are asked for as they are, a signature in the query too. What a URL's query
or user part says is in no error.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import IO, Any
from urllib.parse import urlsplit

try:
    import fsspec  # type: ignore[import-untyped]  # it ships no types
    import obstore
    from obstore.store import from_url
except ModuleNotFoundError as missing:  # pragma: no cover - the tests have both
    raise ModuleNotFoundError(
        f"{missing.name} is missing, which inputs at URLs need: pip install 'export-engine[cloud]'", name=missing.name
    ) from None

from export_engine.errors import OptionError, SourceError
from export_engine.sources.urls import SCHEMES, WEB, is_folder, shown

__all__ = ["FileSystem", "by_ranges", "listed", "streamed"]

_BUFFER = 1 << 20
#: Where credentials come from, by scheme; all others are Azure's.
_VARIABLES = {"s3": "AWS_…", "s3a": "AWS_…", "gs": "GOOGLE_…"}
_MAGIC = re.compile(r"[*?\[]")


def streamed(url: str) -> tuple[IO[bytes], int]:
    """The bytes at a URL in order, by one request, and how many they are.

    Raises SourceError for what cannot be got, also while reading.
    """
    store, path = _place(url)
    with _told(url):
        found = obstore.get(store, path)
    stream = _Stream(iter(found.stream(min_chunk_size=_BUFFER)), url)
    return io.BufferedReader(stream, _BUFFER), int(found.meta["size"])


def by_ranges(url: str) -> IO[bytes]:
    """The bytes at a URL, to seek in, by a request for each part that is read. Raises SourceError as `streamed`."""
    return io.BufferedReader(_Ranges(url), _BUFFER)


def listed(url: str) -> list[str]:
    """The objects that a URL means that ends in a slash, or has a pattern in its key: in order, hidden ones not.

    `*` and `?` stand for characters other than a slash, `**/` for any folders. Raises OptionError for the web, where
    nothing is listed, and SourceError for a store that refuses.
    """
    scheme, bucket, key = _parts(url)
    if scheme in WEB:
        raise OptionError(f"{shown(url)}: the web lists no files: give the URL of each", option="inputs")
    found = _MAGIC.search(key)
    prefix = key if found is None else key[: key.rfind("/", 0, found.start()) + 1]
    pattern = _pattern(key) if found is not None else None
    store, _ = _place(f"{scheme}://{bucket}/")
    with _told(url):
        paths = [entry["path"] for batch in obstore.list(store, prefix.strip("/") or None) for entry in batch]
    named = [path for path in paths if path.startswith(prefix)]
    return [
        f"{scheme}://{bucket}/{path}"
        for path in sorted(named)
        if not any(part.startswith(".") for part in path[len(prefix) :].split("/"))
        and (pattern is None or pattern.fullmatch(path))
    ]


def _pattern(key: str) -> re.Pattern[str]:
    parts = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    found = re.split(r"(\*\*/|\*|\?|\[[^\]]+\])", key)
    return re.compile(
        "".join(parts.get(part, part if part.startswith("[") else re.escape(part)) for part in found), re.DOTALL
    )


def _parts(url: str) -> tuple[str, str, str]:
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    return scheme.lower(), bucket, key


def _place(url: str) -> tuple[Any, str]:
    """The store, and the path in it. Raises OptionError for a URL that means none."""
    scheme, bucket, key = _parts(url)
    try:
        if scheme in WEB:
            # All of the URL is the store, so that its path and its query go out letter by letter.
            return from_url(url, client_options={"allow_http": scheme == "http"}), ""
        return from_url(f"{scheme}://{bucket}"), key
    except (obstore.exceptions.BaseError, ValueError) as error:
        raise OptionError(f"{shown(url)} cannot be read: {_first_line(error, url)}", option="inputs") from None


class _Stream(io.RawIOBase):
    """The chunks of an answer as they come."""

    def __init__(self, chunks: Iterator[Any], url: str) -> None:
        self._chunks = chunks
        self._url = url
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            with _told(self._url):
                chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk).cast("B")
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


class _Ranges(io.RawIOBase):
    """What is at a URL, a range at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._store, self._path = _place(url)
        self._at = 0
        self._size = int(_facts(url)["size"])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self._size - self._at)
        if size <= 0:
            return 0
        with _told(self._url):
            buffer[:size] = memoryview(obstore.get_range(self._store, self._path, start=self._at, length=size)).cast(
                "B"
            )
        self._at += size
        return size


def _facts(url: str) -> Any:
    """What is known of an object without reading it. Not by HEAD, which a signed URL may not allow."""
    store, path = _place(url)
    with _told(url):
        return obstore.get(store, path, options={"range": (0, 1)}).meta


class FileSystem(fsspec.AbstractFileSystem):  # type: ignore[misc]  # the same
    """The same for DuckDB, as fsspec has it: it lists, opens and reads, and no more."""

    protocol = SCHEMES
    cachable = False  # one a connection, and nothing remembered after it

    def glob(self, path: str, **_: Any) -> list[str]:
        """The URLs that one means."""
        return listed(path) if is_folder(path) else [path]

    def unstrip_protocol(self, name: str) -> str:
        """A URL, which names are here."""
        return name

    def open(self, path: str, mode: str = "rb", **_: Any) -> IO[bytes]:
        """What is at a URL. Raises SourceError for another mode than `rb`."""
        if mode != "rb":
            raise SourceError(f"{shown(path)}: nothing is written there")
        return by_ranges(path)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Its size in bytes, and when it was written last."""
        found = _facts(path)
        return {"name": path, "size": found["size"], "type": "file", "modified": found["last_modified"]}

    def modified(self, path: str) -> datetime:
        """When it was written last."""
        found: datetime = self.info(path)["modified"]
        return found


@contextmanager
def _told(url: str) -> Iterator[None]:
    """What obstore raises, as an error that says what to do and nothing of what is secret in the URL."""
    try:
        yield
    except FileNotFoundError:
        raise SourceError(f"{shown(url)} is not there: look at its spelling") from None
    except (obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError) as error:
        scheme = _parts(url)[0]
        where = (
            "sign the URL anew" if scheme in WEB else f"look at {_VARIABLES.get(scheme, 'AZURE_…')} in the environment"
        )
        raise SourceError(f"{shown(url)} may not be read: {_first_line(error, url)}; {where}") from None
    except (obstore.exceptions.BaseError, OSError, ValueError) as error:
        raise SourceError(f"{shown(url)} cannot be read: {_first_line(error, url)}") from None


def _first_line(error: Exception, url: str) -> str:
    """The error's first line, without what is secret."""
    text = str(error).strip().partition("\n")[0]
    parts = urlsplit(url)
    return (
        text.replace(url, shown(url)).replace(f"?{parts.query}", "") if parts.query else text.replace(url, shown(url))
    )
