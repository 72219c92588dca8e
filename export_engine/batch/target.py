"""Where a batch's archives and receipts go: a folder or an object store, each file whole or not at all."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from export_engine.errors import ArchiveError, ExportError, OptionError
from export_engine.sinks import Streamable
from export_engine.sinks.file import write_archive

try:
    import fcntl
except ModuleNotFoundError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]  # asked for before each use

if TYPE_CHECKING:
    from export_engine.sinks.store import Store

__all__ = ["Target", "WholeFile", "open_target"]

_Answer = TypeVar("_Answer")

_CHUNK = 4 << 20

#: An object that never appears, where receipts will be.
_PROBE = "receipts/probe"

#: The hidden files of `sinks.file`: `.<name>.<8 hexadecimal digits>.part`, of archives and of receipts.
_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part", re.DOTALL)


class Target(Protocol):
    """A place for files, by their paths with slashes. Used from several threads at once."""

    def check(self) -> None:
        """Raise ArchiveError for a place that cannot be written to; nothing is left there."""
        ...

    def write(self, path: str, export: Streamable) -> None:
        """Stream an archive there, in the place of one that is there already."""
        ...

    def put(self, path: str, data: bytes) -> None:
        """Write a small file there, in the place of one that is there already."""
        ...

    def read(self, path: str) -> bytes | None:
        """A small file's bytes; None if it is not there."""
        ...

    def size(self, path: str) -> int | None:
        """A file's bytes, counted; None if it is not there."""
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
    from export_engine.sinks.store import open_store  # noqa: PLC0415  # an extra, needed for stores alone

    return _Objects(open_store(place), "/".join(place.split("/", 3)[:3]))


@dataclass(frozen=True, slots=True)
class _Folder:
    root: Path

    def check(self) -> None:
        """Ask the system about the folder, or the one that it would be made in."""
        there = next(path for path in (self.root, *self.root.absolute().parents) if path.is_dir())
        if not os.access(there, os.W_OK | os.X_OK):
            raise ArchiveError(f"no file can be made in {there}: choose another place, or see to its permissions")

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

    def size(self, path: str) -> int | None:
        """As the folder has it."""
        with suppress(FileNotFoundError):
            found = (self.root / path).stat()
            return found.st_size if stat.S_ISREG(found.st_mode) else None
        return None

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


class _BegunError(Exception):
    """An upload has begun: what was to be known."""


@dataclass(slots=True)
class _Begun:
    """An export that ends, with `_BegunError`, once the store has begun to take it."""

    file_name: str = ""

    def __iter__(self) -> Iterator[bytes]:
        yield b"begun"  # more than a part, so that it is sent
        raise _BegunError

    def listen(self, listener: object, *, sha256: bool = False) -> None:
        """There is nothing to hear of."""


@dataclass(frozen=True)
class _Objects:
    store: Store
    bucket: str

    def check(self) -> None:
        """Begin an upload and abort it: no object appears, and one who may write, and do nothing else, passes."""
        from export_engine.sinks.object import write_object  # noqa: PLC0415  # as above
        from export_engine.sinks.store import bucket_fault  # noqa: PLC0415  # as above

        try:
            write_object(_Begun(), self.store, _PROBE, overwrite=True, part_size=1)
        except _BegunError:
            pass
        except Exception as error:
            said = str(error).partition("\n")[0].rstrip(".: ")
            other = f"{self.bucket} cannot be written to: {said}; mend that, or try again"
            raise ArchiveError(bucket_fault(error, self.bucket) or other) from error

    @cached_property
    def _listed(self) -> bool:
        """Whether it may be listed; to one who may not, a store says that what is not there is refused."""
        try:
            next(self.paths(), None)
        except Exception as error:
            text = str(error.__cause__ or error)
            if "performing list request" not in text or "403 Forbidden" not in text:
                raise
            return False
        return True

    def _found(self, ask: Callable[[], _Answer]) -> _Answer | None:
        """What is known of an object; None if it is not there."""
        try:
            with self._advising():
                return ask()
        except FileNotFoundError:
            return None
        except ArchiveError:
            if self._listed:
                raise
            return None

    @contextmanager
    def _advising(self) -> Iterator[None]:
        """Say what to do about a bucket that is not there or refuses; other errors are the store's own."""
        from export_engine.sinks.store import bucket_fault  # noqa: PLC0415  # as above

        try:
            yield
        except ExportError:
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
        return self._found(lambda: bytes(self.store.get(path).bytes()))

    def size(self, path: str) -> int | None:
        """In one request."""
        return self._found(lambda: self.store.head(path)["size"])

    def delete(self, path: str) -> None:
        """In one request."""
        with suppress(FileNotFoundError), self._advising():
            self.store.delete(path)

    def chunks(self, path: str) -> Iterator[bytes]:
        """As they arrive."""
        with self._advising():
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
