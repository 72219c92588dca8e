"""An archive as an object of a store (S3, Google Cloud Storage, Azure, a directory, memory): whole or not at all.

`upload_archive` takes a URL, `write_object` a store that is open and a path within it.

The export is pulled in the caller's thread and its bytes go up in parts, a few at a time, through `obstore`'s writer;
the store shows the object when the last request, which names the parts, has succeeded. Until then any failure (the
source, the store, an interrupt) aborts the upload: no object, and no parts that the bucket's owner goes on paying for.

What this leans on, and the tests hold, of obstore 0.12: leaving a writer with an exception aborts its upload, and so
does a failure of its last part or last request. `obstore.put` would not do: it pulls an iterator inside its own
runtime, where a source that reads through obstore itself panics.

What would break it: a process that is killed, a store that cannot be reached for the abort (the exception then carries
a note), or a part that was on its way when the abort came and that S3 still takes in. Let the bucket expire incomplete
multipart uploads (S3 and GCS: a lifecycle rule, `AbortIncompleteMultipartUpload`; Azure drops uncommitted blocks after
a week). In a directory such an upload is a file whose name ends in `#1`. An interrupt that comes while the last request
is under way is raised after it: the object is there then, and whole. Files are not synced to the disk: after a power
cut a directory may lack an archive that had been written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit
from urllib.request import url2pathname

from export_engine.errors import ArchiveError, OptionError
from export_engine.report import archive_name
from export_engine.sinks import Streamable
from export_engine.sinks.file import FilePlace, check_place, inputs_of, write_archive
from export_engine.sinks.headers import download_headers
from export_engine.sinks.store import Cloud, bucket_fault, first_line, obstore, open_store
from export_engine.sinks.whole import HEAD, refuse_foreign, write_whole

if TYPE_CHECKING:  # obstore has these for type checkers alone
    from obstore import Attributes, WritableFile
    from obstore.store import ObjectStore

__all__ = ["PART_SIZE", "upload_archive", "write_object"]

#: Bytes of a part. A store takes 10,000 parts (Azure 50,000): 78 GiB at this size.
PART_SIZE = 8 << 20

_PARTS_IN_FLIGHT = 4


def write_object(
    export: Streamable,
    store: ObjectStore,
    path: str,
    *,
    overwrite: bool = False,
    attributes: Attributes | None = None,
    part_size: int = PART_SIZE,
) -> None:
    """Stream an export to the object `path` of an obstore `store`; about six parts are in memory at a time.

    An object that is there already is replaced only with `overwrite`. Without it the path is looked up at the start and
    again before the object appears; a writer that comes in between is not noticed, since no store can refuse that for
    an upload in parts. `attributes` are the object's headers, such as `Content-Type` (a directory has none and refuses
    them). `part_size` is in bytes; S3 takes none under 5 MiB but the last. An export below it goes up in one request.

    An export with `max_archive_size` may be several objects, `x-2.zip`, `x-3.zip` ... beside `x.zip`. Each of the
    others appears when it is complete, since an upload that is held open holds memory; the first appears last, and
    without it there is no set. A failure deletes them. With `overwrite` an older set is replaced, and what it had more
    is deleted. Its first object is deleted before another of it is touched, so that none that lacks a part passes for a
    smaller one: a failure from then on leaves no set (and says so), one before leaves the older set as it was. An
    object of such a name that does not begin as this engine's archives do is refused. A member too long to hold waits
    in the system's folder for temporary files (`TMPDIR`) until it is known where it belongs, `max_archive_size` bytes
    of it at most.

    Raises ArchiveError if the object exists, OSError or one of `obstore.exceptions` from the store, and whatever the
    export raises.
    """
    target = _Target(store, overwrite, lambda _: attributes, part_size)
    write_whole(export, _ObjectPlaces(target, path))


def upload_archive(
    export: Streamable,
    target: str,
    *,
    store: ObjectStore | None = None,
    overwrite: bool = False,
    manifest: str | os.PathLike[str] | None = None,
) -> str:
    """Upload an export to an object store; returns the object's URL, or its path within `store`.

    `target` is a URL (`s3://bucket/prefix/`, `gs://bucket/…`, `az://container/…`, `file:///…`), or with an obstore
    `store` of your own a path within it. One that ends in a slash, or names a bucket alone, is a prefix, which gets the
    archive under `export.file_name`; any other is the object's own name, taken literally. `manifest` is where the
    members' records go, as in `write_archive`: a URL, or a local path; with a `store` text is a path within it, and
    a `Path` is local. It appears just before the archive.

    A URL's credentials, region and endpoint come from the cloud's own environment variables, as obstore reads them
    (`AWS_ACCESS_KEY_ID` …, `GOOGLE_APPLICATION_CREDENTIALS` …, `AZURE_STORAGE_ACCOUNT_NAME` …).

    Raises OptionError for a URL that cannot work; ArchiveError if an object exists and is not to be replaced (see
    `write_object` for when that is noticed), and for what the store refuses; what `write_archive` raises for what is
    local; and whatever the export raises.
    """
    if target != "":  # in a store it is the root, of which the archive's own name makes a place
        check_place(target, "target")
    if manifest is not None:
        check_place(manifest, "manifest")
    local = manifest
    if isinstance(manifest, str) and manifest.lower().startswith("file:"):
        local = Path(_local(manifest, "manifest"))
    if store is None and target.lower().startswith("file:"):
        return str(write_archive(export, _local(target, "target"), overwrite=overwrite, manifest=local))
    archives = _places(target, "target", store, overwrite=overwrite, name=export.file_name)
    listed: _ObjectPlace | FilePlace | None = None
    if isinstance(local, str) and (store is not None or "://" in local):
        listed = _places(local, "manifest", store, overwrite=overwrite).place(1)
        archives.keep_from(listed)
    elif local is not None:
        listed = FilePlace(Path(local), overwrite=overwrite, inputs=inputs_of(export))
    write_whole(export, archives, listed, suffix=Path(local or "").suffix)
    return archives.place(1).shown


def _local(url: str, option: str) -> str:
    """The path that a `file://` URL means."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise OptionError(f"{url} is on another machine: write file:///, and the path", option=option)
    return url2pathname(parts.path)


#: A bucket in a cloud, and a path within it that means what it says: no percent-encoding, query or fragment.
_CLOUD_URL = re.compile(r"((?:s3a?|gs|az|azure|abfss?|adl)://[^/?#]+)(?:/(.*))?", re.IGNORECASE | re.DOTALL)


def _places(
    target: str, option: str, store: ObjectStore | None, *, overwrite: bool, name: str | None = None
) -> _ObjectPlaces:
    """The objects that a URL, or a path within a store, means; `name` is what one within a prefix is called."""
    bucket, path = "", target
    if store is None:
        parts = _CLOUD_URL.fullmatch(target)
        if parts is None:
            raise OptionError(
                f"{target} is no place in a store: use s3://bucket/prefix/, gs://bucket/prefix/ or "
                "az://container/prefix/",
                option=option,
            )
        scheme, _, bucket = parts[1].partition("://")
        bucket, path = f"{scheme.lower()}://{bucket}", parts[2] or ""
        try:
            store = open_store(bucket)
        except OptionError as error:
            raise OptionError(str(error), option=option) from error.__cause__
    if not path or path.endswith("/"):
        if name is None:
            raise OptionError(f"{target} is a prefix: give the {option} a name behind it", option=option)
        path += name
    if not path.isprintable() or any(part in ("", ".", "..") for part in path.split("/")):
        raise OptionError(
            f"{target!r} is no object's name: leave out empty parts, . and .., and what cannot be printed",
            option=option,
        )
    has_headers = isinstance(store, Cloud) and option == "target"
    where = _Target(
        store,
        overwrite,
        lambda path: download_headers(path.rpartition("/")[2]) if has_headers else None,
        bucket=bucket or "the store",
    )
    return _ObjectPlaces(where, path)


@dataclass(frozen=True, slots=True)
class _Target:
    """What the objects of one export have in common; their `attributes` by their paths.

    With `bucket`, a name for where they lie, the store's errors arrive as ArchiveError with advice, else as they are.
    """

    store: ObjectStore
    overwrite: bool
    attributes: Callable[[str], Attributes | None]
    part_size: int = PART_SIZE
    bucket: str | None = None


class _ObjectPlaces:
    """Objects beside each other, see `export_engine.sinks.whole.Places`."""

    def __init__(self, target: _Target, path: str) -> None:
        self.file_name = path.rpartition("/")[2]
        self._target = target
        self._path = path
        self._listed: _ObjectPlace | None = None
        self._older = target.overwrite

    def keep_from(self, listed: _ObjectPlace) -> None:
        """Refuse the manifest's place as an archive's."""
        self._listed = listed
        self.place(1)

    def place(self, number: int) -> _ObjectPlace:
        """The object of a number; another's is not replaced."""
        end_older = self._end_older if number > 1 else None
        place = _ObjectPlace(self._target, archive_name(self._path, number), end_older)
        if self._listed is not None and self._listed.shown == place.shown:
            raise ArchiveError(f"{place.shown} is to be the archive and the manifest: give each a name of its own")
        return place

    def older(self, number: int) -> _Removal | None:
        """An object that is there, if it may be replaced."""
        return self.place(number).older()

    def _end_older(self) -> bool:
        """Delete the first object of an older set, another of which is to be touched; whether it was there still."""
        there, self._older = self._older, False
        return there and self.place(1).delete()

    def spool(self) -> IO[bytes]:
        """Where the system has its temporary files."""
        return TemporaryFile()


class _ObjectPlace:
    """An object in the making; see `export_engine.sinks.whole.Place`.

    One that has a number appears when it is complete: an upload that is held open holds its last part in memory, and
    a set has any number of them. Because it belongs to nothing without the first, it is deleted if that fails. It has
    `end_older`, to be called before it replaces one of an older set; see `_ObjectPlaces`.
    """

    def __init__(self, target: _Target, path: str, end_older: Callable[[], bool] | None = None) -> None:
        bucket = target.bucket
        self.shown = f"{bucket}/{path}" if bucket and "://" in bucket else path
        self._target = target
        self._store = target.store
        self._path = path
        self._overwrite = target.overwrite
        self._end_older = end_older
        self._replaces = False
        self._ended_older = False
        self._writer: WritableFile | None = None
        self._finished = False

    def begin(self) -> None:
        """Look the name up, unless it may be taken; the upload begins with the first part."""
        with self._advising():
            self._refuse_taken()
            if self._end_older is not None and self._overwrite:
                self._replaces = self._refuse_foreign()
            self._writer = obstore.open_writer(
                self._store,
                self._path,
                attributes=self._target.attributes(self._path),
                buffer_size=self._target.part_size,
                max_concurrency=_PARTS_IN_FLIGHT,
            )

    def write(self, data: bytes, /) -> None:
        """Take bytes, and send a part when it is full."""
        assert self._writer is not None  # noqa: S101  # it has begun
        try:
            self._writer.write(data)
        except Exception as error:  # noqa: BLE001  # sorted there
            self._told(error)

    def complete(self) -> None:
        """Have one with a number appear."""
        if self._end_older is not None:
            self.finish()

    def finish(self) -> None:
        """Send the last part, and the request that has the object appear."""
        assert self._writer is not None  # noqa: S101  # it has begun
        if self._finished:
            return
        with self._advising():
            self._refuse_taken()
            if self._replaces:
                self.begin_replacing()
            self._writer.close()
        self._finished = True

    def abandon(self, error: BaseException, /) -> None:
        """Abort the upload; an object that has appeared is deleted, unless it may have replaced one.

        One with a number is deleted all the same: beside an older first archive it would pass for a part of that set.
        """
        writer = self._writer
        self.note_older(error)
        try:
            if self._finished:
                if self._end_older is not None or not self._overwrite:
                    obstore.delete(self._store, self._path)
            elif writer is not None and not writer.closed():  # closing that failed has aborted already
                writer.__exit__(type(error), error, error.__traceback__)
        except Exception as why:  # noqa: BLE001  # whatever it is, it is told, and must not hide what came first
            error.add_note(f"The upload could not be aborted and may have left parts in the store: {first_line(why)}")

    def settle(self) -> None:
        """Nothing is kept of what was replaced."""

    def older(self) -> _Removal | None:
        """The removal of the object that is there; None if none is. Raises ArchiveError for one not to be replaced."""
        with self._advising():
            self._refuse_taken()
            there = self._refuse_foreign()
        return _Removal(self) if there else None

    def note_older(self, error: BaseException) -> None:
        """Say in an error's notes that the older set has ended, if it was this object's doing."""
        if self._ended_older:
            error.add_note("The older set is not whole any more, and its first archive is deleted: export again.")

    def delete(self) -> bool:
        """Delete the object; whether there was one."""
        with self._advising():
            try:
                obstore.head(self._store, self._path)
            except FileNotFoundError:
                return False
            obstore.delete(self._store, self._path)
        return True

    def begin_replacing(self) -> None:
        """Have the older set end, of which an object is to be replaced or deleted."""
        if self._end_older is not None:
            self._ended_older = self._end_older()

    def _refuse_foreign(self) -> bool:
        """Whether an object is there. Raises ArchiveError for one that is no archive of a set."""
        try:
            head = bytes(obstore.get(self._store, self._path, options={"range": (0, HEAD)}).bytes())
        except FileNotFoundError:
            return False
        refuse_foreign(self.shown, head)
        return True

    def _refuse_taken(self) -> None:
        if self._overwrite:
            return
        try:
            obstore.head(self._store, self._path)
        except FileNotFoundError:
            return
        raise ArchiveError(
            f"{self.shown} exists already: choose another path, or give --overwrite (in Python overwrite=True)"
        )

    @contextmanager
    def _advising(self) -> Iterator[None]:
        try:
            yield
        except ArchiveError:
            raise
        except Exception as error:  # noqa: BLE001  # sorted there
            self._told(error)

    def _told(self, error: Exception) -> NoReturn:
        """Raise a store's error as it is, or as what its caller can do about it."""
        if self._target.bucket is None:
            raise error
        raise ArchiveError(_advice(error, self._target.bucket, self.shown)) from error


class _Removal:
    """The deletion of an object of an older set; see `export_engine.sinks.whole.Change`."""

    def __init__(self, place: _ObjectPlace) -> None:
        self._place = place

    def finish(self) -> None:
        """Delete it."""
        self._place.begin_replacing()
        self._place.delete()

    def abandon(self, error: BaseException, /) -> None:
        """Say it: it cannot be had again."""
        self._place.note_older(error)

    def settle(self) -> None:
        """Nothing is kept of it."""


def _advice(error: Exception, bucket: str, shown: str) -> str:
    return (
        bucket_fault(error, bucket)
        or f"{shown} could not be written: {first_line(error).rstrip('.: ')}; mend that, or try again"
    )
