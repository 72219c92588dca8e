"""Finished archives in an object store: a cloud's bucket, a directory or memory, behind `ArchiveStore`.

A link downloads one archive, under its name, without credentials, until it expires.

- A bucket's link is the cloud's own presigned URL; the bucket itself serves it, and calls the download by the path's
  last part.
- A directory's (or memory's) link leads to the service, which has to serve it: `check_link`, then `head` and `read`.
  It carries an HMAC-SHA256, under a secret of 32 bytes or more, over path, name and expiry. They are signed as one JSON
  list, so that no two different links have the same signed text, and the expiry is read only after it is known to be
  ours.

Paths are `<job id>/<token>/<file name>`, each part of A-Z, a-z, 0-9, `_`, `-` and `.` without a leading dot. Nothing
else is read, written or deleted, so a path cannot lead out of the store; `paths` and `tidy` see nothing else either.
Still, let the bucket, prefix or directory hold archives alone: what no job knows of is swept away.
"""

from __future__ import annotations

import errno
import hmac
import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from glob import glob
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import obstore
from obstore.store import LocalStore

from export_engine.errors import ArchiveError, OptionError
from export_engine.jobs.errors import LinkError
from export_engine.sinks import Streamable
from export_engine.sinks.headers import download_headers
from export_engine.sinks.object import write_object
from export_engine.sinks.store import Cloud, Store, open_store

__all__ = ["ObjectArchives", "Stored", "check_secret", "open_archives"]

_PART = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*"
_PATH = re.compile(rf"{_PART}/{_PART}/{_PART}")
_UNFINISHED = re.compile(rf"{_PATH.pattern}#[0-9]+")  # what obstore calls a file until it is whole

_SHORTEST_SECRET = 32
_READ_SIZE = 256 << 10


@dataclass(frozen=True, slots=True)
class Stored:
    """An archive in the store: its size in bytes, its ETag (quoted, as HTTP has it) and when it was written (UTC)."""

    size: int
    etag: str
    last_modified: datetime


def open_archives(
    url: str, *, secret: bytes | None = None, download_url: str | None = None, **config: Any
) -> ObjectArchives:
    """Open the archives at `url`.

    `url` and `config` are as in `export_engine.sinks.store.open_store`. `secret` and `download_url` are for links to a
    directory or memory, see `ObjectArchives`.

    Raises OptionError for a URL or an option that cannot work.
    """
    if "://" not in url and not config:  # a directory that is to be made: for this user alone, whatever the umask
        Path(url).mkdir(mode=0o700, parents=True, exist_ok=True)
    return ObjectArchives(open_store(url, **config), secret=secret, download_url=download_url)


class ObjectArchives:
    """Archives in an obstore store, with links that expire; an `ArchiveStore`.

    `secret` (32 bytes or more, the same for every process that makes or checks links) and `download_url` (where the
    service serves `<path>` below, such as `https://host/downloads`) are needed for links to a directory or memory
    alone. Raises OptionError for a secret that is too short. May be used from several threads.
    """

    def __init__(
        self,
        store: Store,
        *,
        secret: bytes | None = None,
        download_url: str | None = None,
    ) -> None:
        if secret is not None:
            check_secret(secret)
        self._store = store
        self._secret = secret
        self._download_url = download_url
        self._folder = store.prefix if isinstance(store, LocalStore) else None

    @property
    def served_here(self) -> bool:
        """Whether links lead to `download_url`, so that the service has to serve them."""
        return not isinstance(self._store, Cloud)

    def write(self, path: str, export: Streamable) -> None:
        """Stream an export up; its object appears whole, once the export has ended well, or not at all.

        A path is written once: jobs give each attempt its own, so nothing is looked up before. A bucket's object is
        given the headers that name its download; a directory's folders and files are this user's alone, whatever the
        umask. Raises ArchiveError for a path that is none, OSError or one of
        `obstore.exceptions` from the store, and whatever the export raises.
        """
        name = _checked(path).rpartition("/")[2]
        # Files have no headers: the service that serves them sends its own.
        attributes = None if isinstance(self._store, LocalStore) else download_headers(name)
        if self._folder is not None:
            for folder in (self._folder / path).relative_to(self._folder).parents[-2::-1]:
                (self._folder / folder).mkdir(mode=0o700, exist_ok=True)
        write_object(export, self._store, path, overwrite=True, attributes=attributes)
        if self._folder is not None:
            (self._folder / path).chmod(0o600)

    def link(self, path: str, *, file_name: str, now: datetime, expires_at: datetime) -> str:
        """A URL that downloads the archive as `file_name` without credentials until `expires_at`.

        It counts whole seconds and may die up to one before `expires_at`, never after; a bucket's counts from the clock
        of this machine, not from `now`, and calls the download by the path's last part. A bucket's also dies with the
        credentials that signed it: sign with ones that live long enough, not with a short session.

        Raises ArchiveError for a path that is none, OptionError if less than a second is left or if `secret` or
        `download_url` is missing, and one of `obstore.exceptions` for credentials that cannot sign.
        """
        _checked(path)
        left = expires_at - now
        if left < timedelta(seconds=1):
            raise OptionError(f"the link would expire at {expires_at}, which is past: make none", option="expires_at")
        if isinstance(self._store, Cloud):
            return obstore.sign(self._store, "GET", path, left)
        if self._download_url is None:
            raise OptionError(
                "a link needs to know where archives are served: give download_url", option="download_url"
            )
        expires = str(int(expires_at.timestamp()))
        query = {"name": file_name, "expires": expires, "signature": self._signature(path, file_name, expires)}
        return f"{self._download_url.rstrip('/')}/{path}?{urlencode(query)}"

    def check_link(self, path: str, name: str, expires: str | int, signature: str, now: datetime) -> None:
        """Check what a link to a directory or memory carries: its path and its query's parameters, decoded.

        It holds as long as `now` is before `expires` (Unix seconds). Raises LinkError if it does not hold, and
        OptionError without a secret.
        """
        expected = self._signature(path, name, str(expires))
        if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
            raise LinkError
        if now.timestamp() >= int(expires):
            raise LinkError

    def head(self, path: str) -> Stored:
        """What there is to know of an archive. Raises FileNotFoundError, and ArchiveError for a path that is none."""
        meta = obstore.head(self._store, _checked(path))
        etag = meta["e_tag"] or f'"{meta["last_modified"].timestamp()}-{meta["size"]}"'  # a store need not have one
        return Stored(meta["size"], etag, meta["last_modified"])

    def read(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """An archive's bytes from `start` up to `stop` (0 ≤ start ≤ stop ≤ size).

        They come in chunks of about 256 KiB, memory's in one. The archive may be deleted meanwhile: a directory's is
        still read to its end. Raises FileNotFoundError at once, and ArchiveError for a path that is none.
        """
        _checked(path)
        if start == stop:  # no store has a range without bytes
            return iter(())
        return iter(obstore.get(self._store, path, options={"range": (start, stop)}).stream(_READ_SIZE))

    def delete(self, path: str) -> None:
        """Delete an archive, a directory's unfinished files of it, and the folders that are left empty.

        One that is not there is no error.
        """
        _checked(path)
        if self._folder is not None:
            for name in _unfinished(self._folder, path):
                (self._folder / name).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            obstore.delete(self._store, path)
        if self._folder is not None:
            for folder in list((self._folder / path).parents)[:2]:
                _remove_empty(folder)

    def paths(self) -> Iterator[tuple[str, datetime]]:
        """Every archive, and in a directory every one that is not finished, with when it was last written to (UTC).

        They are listed as they are asked for, page by page. A bucket's unfinished uploads cannot be listed through
        obstore: give it a lifecycle rule (see `export_engine.sinks.object`).
        """
        for page in obstore.list(self._store):
            for meta in page:
                if _PATH.fullmatch(meta["path"]):
                    yield meta["path"], meta["last_modified"]
        if self._folder is not None:
            for name in _unfinished(self._folder):
                yield name.rpartition("#")[0], datetime.fromtimestamp(_changed(self._folder / name), UTC)

    def tidy(self, before: datetime) -> None:
        """Remove a directory's empty folders, last changed before then: failed uploads leave such.

        Choose a time that no upload needs to make its first file, such as a day ago.
        """
        if self._folder is not None:
            _tidy(self._folder, before.timestamp())

    def _signature(self, path: str, name: str, expires: str) -> str:
        if self._secret is None:
            raise OptionError("links are signed with a secret that all processes share: give secret", option="secret")
        return hmac.digest(self._secret, json.dumps([path, name, expires]).encode(), "sha256").hex()


def check_secret(secret: bytes) -> None:
    """Raise OptionError for a secret that is too short."""
    if len(secret) < _SHORTEST_SECRET:
        raise OptionError(
            f"the secret has {len(secret)} bytes: it must have {_SHORTEST_SECRET} or more, for example "
            "secrets.token_bytes(32)",
            option="secret",
        )


def _checked(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise ArchiveError(
            f"{path!r} is no archive's path: it is <job id>/<token>/<file name>, each of A-Z, a-z, 0-9, _, - and ."
        )
    return path


def _unfinished(root: Path, path: str = "*/*/*") -> list[str]:
    """The names of the unfinished files there, of all archives or of one."""
    # Not pathlib's own, which fails if a folder vanishes meanwhile.
    return [name for name in glob(f"{path}#*", root_dir=root) if _UNFINISHED.fullmatch(name)]  # noqa: PTH207  # see above


def _tidy(root: Path, limit: float) -> None:
    """Remove empty folders last changed before `limit` (Unix seconds)."""
    # What is inside before what it is in.
    names = [name for pattern in ("*/*", "*") for name in glob(pattern, root_dir=root)]  # noqa: PTH207  # as above
    # All times are read before anything is removed, since that changes its folder's.
    for name in [name for name in names if _changed(root / name) < limit]:
        _remove_empty(root / name)


def _changed(path: Path) -> float:
    """When it was last changed, in Unix seconds; now, if it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except FileNotFoundError:
        pass  # another sweep was faster
    except OSError as why:
        if why.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
