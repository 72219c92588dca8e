"""Where archives go: each sink drives an export and leaves either the whole archive or nothing.

- `write_archive`: a file, with a manifest beside it if one is wanted; never in place of anything but a regular file.
- `upload_archive`: an object in S3, Google Cloud Storage or Azure, by its URL; `write_object`: in a store of obstore's
  that is open already, `open_store` opens one. They need `pip install 'export-engine[cloud]'`.
- `open_manifest` writes the members' records of an export that goes anywhere else; `MANIFEST_SCHEMA` are its columns.
- `download_headers` names an archive in an HTTP response.

A sink of your own is a loop over a `Streamable`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import IO, TYPE_CHECKING, Protocol

from export_engine.door import door
from export_engine.report import ExportReport, MemberRecord

if TYPE_CHECKING:
    from export_engine.sinks.file import write_archive
    from export_engine.sinks.headers import download_headers
    from export_engine.sinks.manifest import MANIFEST_SCHEMA, open_manifest
    from export_engine.sinks.object import PART_SIZE, upload_archive, write_object
    from export_engine.sinks.store import open_store

__all__ = [
    "MANIFEST_SCHEMA",
    "PART_SIZE",
    "Splittable",
    "Streamable",
    "download_headers",
    "open_manifest",
    "open_store",
    "upload_archive",
    "write_archive",
    "write_object",
]

#: Where the names stand; what they need (pyarrow, obstore) is loaded with the first of them.
_LOADED_WHEN_USED = {
    "MANIFEST_SCHEMA": "manifest",
    "PART_SIZE": "object",
    "download_headers": "headers",
    "open_manifest": "manifest",
    "open_store": "store",
    "upload_archive": "object",
    "write_archive": "file",
    "write_object": "object",
}


class Streamable(Protocol):
    """What a sink needs of an export: its name, its bytes, and its members' records if they are wanted.

    If it also has `inputs`, the paths of the files that it reads, no file sink writes over one of them. If it has a
    `max_archive_size` that is not None, it is `Splittable`.
    """

    file_name: str

    def __iter__(self) -> Iterator[bytes]:
        """Yield the archive's bytes, once."""
        ...

    def listen(self, listener: Callable[[MemberRecord], object], *, sha256: bool = False) -> None:
        """Have `listener` called with each member's record; to be asked for before the first byte."""
        ...


class Splittable(Streamable, Protocol):
    """What a sink needs of an export that may be several archives, all under `max_archive_size` bytes."""

    @property
    def max_archive_size(self) -> int | None:
        """The limit; None for one archive of any size."""
        ...

    @property
    def report(self) -> ExportReport:
        """What was exported, after the end."""
        ...

    def archives(self, file_name: str, *, spool: Callable[[], IO[bytes]]) -> Generator[Iterator[bytes], None, None]:
        """Yield each archive's bytes, once; `file_name` is the first's, `spool` opens a file that is gone when closed.

        Each archive is taken to its end before the next is asked for.
        """
        ...


__getattr__, __dir__ = door(globals(), _LOADED_WHEN_USED)
