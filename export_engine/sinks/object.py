"""An archive as an object of a store (S3, Google Cloud Storage, Azure, a directory, memory): whole or not at all.

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

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.store import AzureStore, GCSStore, LocalStore, MemoryStore, S3Store, from_url

from export_engine.errors import ArchiveError, OptionError
from export_engine.sinks import Streamable

if TYPE_CHECKING:  # obstore has these for type checkers alone
    from obstore import Attributes, WritableFile
    from obstore.store import ObjectStore

__all__ = ["PART_SIZE", "Cloud", "Store", "open_store", "write_object"]

#: The stores that can be opened by a URL; a cloud's can also sign links to what is in them.
Cloud = S3Store | GCSStore | AzureStore
Store = Cloud | LocalStore | MemoryStore

#: Bytes of a part. A store takes 10,000 parts (Azure 50,000): 78 GiB at this size.
PART_SIZE = 8 << 20

_PARTS_IN_FLIGHT = 4


def open_store(url: str, **config: Any) -> Store:
    """Open the store at `url`.

    `url` is a directory's path or `file://` URL (it is made if missing), `memory://`, `s3://bucket/prefix`,
    `gs://bucket/prefix` or `az://container/prefix` (its account comes from `config` or the environment); the
    prefix may be missing.

    `config` goes to obstore's store of a cloud, such as `region`, `endpoint` or `client_options`; what it does not say
    is taken from the cloud's usual environment variables. Nothing is asked of the store yet.

    Raises OptionError for a URL or an option that cannot work.
    """
    scheme = url.partition("://")[0].lower() if "://" in url else None
    if scheme in (None, "file", "memory") and config:
        raise OptionError(f"{url} takes no options, but got {', '.join(config)}: drop them", option=next(iter(config)))
    if scheme is None:
        return LocalStore(Path(url).absolute(), mkdir=True, automatic_cleanup=True)
    if scheme == "file":
        return LocalStore.from_url(url, mkdir=True, automatic_cleanup=True)
    if scheme == "memory":
        return MemoryStore()
    try:
        store = from_url(url, **config)
    except (obstore.exceptions.BaseError, ValueError) as why:
        raise OptionError(f"{url} cannot be opened as a store: {_first_line(why)}", option="url") from why
    if not isinstance(store, Cloud):
        raise OptionError(f"{url} is no store: use a directory, memory://, s3://, gs:// or az://", option="url")
    return store


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

    Raises ArchiveError if the object exists, OSError or one of `obstore.exceptions` from the store, and whatever the
    export raises.
    """
    if not overwrite:
        _refuse_taken(store, path)
    writer = obstore.open_writer(
        store, path, attributes=attributes, buffer_size=part_size, max_concurrency=_PARTS_IN_FLIGHT
    )
    try:
        with closing(_chunks(export)) as chunks:
            for chunk in chunks:
                writer.write(chunk)
        if not overwrite:
            _refuse_taken(store, path)
        writer.close()
    except BaseException as error:
        if not writer.closed():  # closing that failed has aborted already
            _abort(writer, error)
        raise


def _chunks(export: Streamable) -> Generator[bytes, None, None]:
    """The export's bytes, as a generator: closing it closes the export, so that its workers stop when a part fails."""
    yield from export


def _abort(writer: WritableFile, error: BaseException) -> None:
    """Give the upload up. `error` is why, and is what the caller is to see even if the store cannot be reached."""
    try:
        writer.__exit__(type(error), error, error.__traceback__)
    except Exception as why:  # noqa: BLE001  # whatever it is, it is told, and must not hide the error that came first
        error.add_note(f"The upload could not be aborted and may have left parts in the store: {_first_line(why)}")


def _first_line(error: BaseException) -> str:
    """What an error of obstore says; the rest is for those who debug obstore."""
    return str(error).partition("\n")[0]


def _refuse_taken(store: ObjectStore, path: str) -> None:
    try:
        obstore.head(store, path)
    except FileNotFoundError:
        return
    raise ArchiveError(f"{path} exists already: choose another path, or ask to overwrite it")
