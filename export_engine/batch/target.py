"""Where a batch's archives and receipts go: a folder or an object store, each file whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from export_engine.sinks import Streamable
from export_engine.sinks.file import write_archive

if TYPE_CHECKING:
    from export_engine.sinks.object import Store

__all__ = ["Target", "open_target"]


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

    def delete(self, path: str) -> None:
        """Delete a file; one that is not there is no error."""
        ...

    def paths(self) -> Iterator[str]:
        """Every file that is there whole."""
        ...


def open_target(place: str) -> Target:
    """A folder's path, or a store's URL (`s3://bucket/prefix`, `gs://`, `az://`).

    Raises OptionError for a URL that cannot be opened, ModuleNotFoundError without obstore.
    """
    if "://" not in place:
        return _Folder(Path(place))
    from export_engine.sinks.object import open_store  # noqa: PLC0415  # an extra, needed for stores alone

    return _Objects(open_store(place))


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
        self.write(path, _Bytes(data))

    def read(self, path: str) -> bytes | None:
        """Its bytes."""
        with suppress(FileNotFoundError):
            return (self.root / path).read_bytes()
        return None

    def delete(self, path: str) -> None:
        """Unlink it."""
        (self.root / path).unlink(missing_ok=True)

    def paths(self) -> Iterator[str]:
        """All but hidden ones."""
        for path in self.root.rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                yield path.relative_to(self.root).as_posix()


@dataclass(slots=True)
class _Bytes:
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

    def write(self, path: str, export: Streamable) -> None:
        """In parts."""
        from export_engine.sinks.object import write_object  # noqa: PLC0415  # as above

        write_object(export, self.store, path, overwrite=True)

    def put(self, path: str, data: bytes) -> None:
        """In one request."""
        self.store.put(path, data)

    def read(self, path: str) -> bytes | None:
        """In one request."""
        try:
            return bytes(self.store.get(path).bytes())
        except FileNotFoundError:
            return None

    def delete(self, path: str) -> None:
        """In one request."""
        with suppress(FileNotFoundError):
            self.store.delete(path)

    def paths(self) -> Iterator[str]:
        """Listed a thousand at a time."""
        for page in self.store.list():
            yield from (found["path"] for found in page)
