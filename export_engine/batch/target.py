"""Where a batch's archives and receipts go: a folder or an object store, each file whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from export_engine.errors import ArchiveError, ExportError, OptionError
from export_engine.sinks import Streamable
from export_engine.sinks.file import write_archive

try:
    import fcntl
except ModuleNotFoundError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]  # asked for before each use

if TYPE_CHECKING:
    from export_engine.sinks.object import Store

__all__ = ["Target", "WholeFile", "open_target"]

_CHUNK = 4 << 20

#: The hidden files of `sinks.file`: `.<name>.<8 hexadecimal digits>.part`, of archives and of receipts.
_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part", re.DOTALL)


class Target(Protocol):
    """A place for files, by their paths with slashes. Used from several threads at once."""

    def write(self, path: str, export: Streamable) -> None:
        """Stream an archive there, in the place of one that is there already."""
        ...

    def put(self, path: str, data: bytes) -> None:
        """Write a small file there, in the place of one that is there already."""
        ...

    def read(self, path: str) -> bytes | None:
        """A small file's bytes; None if it is not there."""
        ...

    def has(self, path: str) -> bool:
        """Whether a file is there."""
        ...

    def delete(self, path: str) -> None:
        """Delete a file; one that is not there is no error."""
        ...

    def chunks(self, path: str) -> Iterator[bytes]:
        """A file's bytes, a few MiB at a time. Raises FileNotFoundError if it is not there."""
        ...

    def paths(self) -> Iterator[str]:
        """Every file that is there whole."""
        ...

    def claimed(self) -> AbstractContextManager[None]:
        """Held while a batch writes here; what a killed one left half is removed first, if no other is at work."""
        ...


def open_target(place: str) -> Target:
    """A folder's path, or a store's URL (`s3://bucket/prefix`, `gs://`, `az://`).

    Raises OptionError for a file, or a URL that cannot be opened, ModuleNotFoundError without obstore.
    """
    if "://" not in place:
        for path in (Path(place), *Path(place).parents):
            if path.is_dir():
                break
            if os.path.lexists(path):
                raise OptionError(f"{path} is no folder: give one, or a name that is free", option="target")
        return _Folder(Path(place))
    from export_engine.sinks.object import open_store  # noqa: PLC0415  # an extra, needed for stores alone

    return _Objects(open_store(place), "/".join(place.split("/", 3)[:3]))


@dataclass(frozen=True, slots=True)
class _Folder:
    root: Path

    def write(self, path: str, export: Streamable) -> None:
        """Through a hidden file beside it."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        write_archive(export, place, overwrite=True)

    def put(self, path: str, data: bytes) -> None:
        """The same way."""
        self.write(path, WholeFile(data))

    def read(self, path: str) -> bytes | None:
        """Its bytes."""
        with suppress(FileNotFoundError):
            return (self.root / path).read_bytes()
        return None

    def has(self, path: str) -> bool:
        """Whether it is there."""
        return (self.root / path).is_file()

    def delete(self, path: str) -> None:
        """Unlink it."""
        (self.root / path).unlink(missing_ok=True)

    def chunks(self, path: str) -> Iterator[bytes]:
        """Read as they are asked for."""
        with (self.root / path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """By a lock on the folder itself, which ends with the process that holds it, however that ends.

        Batches share it; only one that could have it for itself sweeps. Where there are no such locks (Windows, some
        network file systems), nothing is swept.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            yield
            return
        folder = os.open(self.root, os.O_RDONLY)
        try:
            with suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._sweep()
            with suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_SH)
            yield
        finally:
            os.close(folder)

    def _sweep(self) -> None:
        """Remove the hidden files that archives and receipts are written through."""
        for path in self.root.rglob(".*.part"):
            if _PART.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                path.unlink(missing_ok=True)

    def paths(self) -> Iterator[str]:
        """All but hidden ones."""
        for path in self.root.rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                yield path.relative_to(self.root).as_posix()


@dataclass(slots=True)
class WholeFile:
    """A file's bytes where an export is expected."""

    data: bytes
    file_name: str = ""

    def __iter__(self) -> Iterator[bytes]:
        yield self.data

    def listen(self, listener: object, *, sha256: bool = False) -> None:
        """There is nothing to hear of."""


@dataclass(frozen=True, slots=True)
class _Objects:
    store: Store
    bucket: str

    @contextmanager
    def _advising(self) -> Iterator[None]:
        """Say what to do about a bucket that is not there or refuses; other errors are the store's own."""
        from export_engine.sinks.object import bucket_fault  # noqa: PLC0415  # as above

        try:
            yield
        except (ExportError, FileNotFoundError):
            raise
        except Exception as error:
            if (said := bucket_fault(error, self.bucket)) is None:
                raise
            raise ArchiveError(said) from error

    def write(self, path: str, export: Streamable) -> None:
        """In parts."""
        from export_engine.sinks.object import write_object  # noqa: PLC0415  # as above

        with self._advising():
            write_object(export, self.store, path, overwrite=True)

    def put(self, path: str, data: bytes) -> None:
        """In one request."""
        with self._advising():
            self.store.put(path, data)

    def read(self, path: str) -> bytes | None:
        """In one request."""
        with suppress(FileNotFoundError), self._advising():
            return bytes(self.store.get(path).bytes())
        return None

    def has(self, path: str) -> bool:
        """In one request."""
        try:
            self.store.head(path)
        except FileNotFoundError:
            return False
        return True

    def delete(self, path: str) -> None:
        """In one request."""
        with suppress(FileNotFoundError):
            self.store.delete(path)

    def chunks(self, path: str) -> Iterator[bytes]:
        """As they arrive."""
        for chunk in self.store.get(path).stream(min_chunk_size=_CHUNK):
            yield bytes(chunk)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """There is nothing half in a store; the parts of an upload whose process was killed are not to be seen here."""
        yield

    def paths(self) -> Iterator[str]:
        """Listed a thousand at a time."""
        with self._advising():
            for page in self.store.list():
                yield from (found["path"] for found in page)
