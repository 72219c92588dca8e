"""An export's archives and the list of their members in the places where they are to appear: all whole, or none.

A place takes bytes and shows them under its name at the end. The first archive appears last, just after the list: where
it is, everything is.

Until all are there, each place can go back to what it was: what was replaced or removed is kept until then. An object
store keeps nothing; there the first archive of an older set is deleted before any other of it is touched: without the
first there is no set, while one that lacks a part would pass for a smaller one.

An export with `max_archive_size` may be a set of archives: the first has the name that was asked for, the others that
name and a number, `x-2.zip`, `x-3.zip` (see `report.archive_name`). So what stands under those names belongs to the set
for whoever reads it. An older set is replaced as a whole, those of its archives too that the new one has no use for;
what has such a name and does not begin as this engine's archives do is somebody else's, and refused.
"""

from __future__ import annotations

import io
import re
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from typing import IO, Any, Protocol, TypeGuard

from export_engine.errors import ArchiveError
from export_engine.sinks import Splittable, Streamable
from export_engine.sinks.manifest import open_manifest

__all__ = ["HEAD", "Change", "Place", "Places", "refuse_foreign", "write_whole"]


class Change(Protocol):
    """What happens to one name, and can be undone until it is settled."""

    def finish(self) -> None:
        """Do it."""
        ...

    def abandon(self, error: BaseException, /) -> None:
        """Undo it, because of `error`, done or not.

        Raises nothing: what cannot be undone becomes a note of `error`.
        """
        ...

    def settle(self) -> None:
        """Let go of what undoing it takes. Raises nothing."""
        ...


class Place(Change, Protocol):
    """A name under which bytes appear, all of them or none.

    `begin`, `write` as often as wanted, `complete`, `finish`, and at the end of all `settle`.
    """

    def begin(self) -> None:
        """Refuse a name that cannot be had, before anything is read; nothing appears yet."""
        ...

    def write(self, data: bytes, /) -> object:
        """Take bytes."""
        ...

    def complete(self) -> None:
        """There are no more bytes: let go of what writing took."""
        ...


class Places(Protocol):
    """Where the archives of an export go, by their numbers from 1; `file_name` is what the first is called."""

    file_name: str

    def place(self, number: int) -> Place:
        """The place of one. Raises ArchiveError where something is that is not to be replaced."""
        ...

    def older(self, number: int) -> Change | None:
        """The removal of an older set's archive that is there; None if nothing is.

        Raises ArchiveError for what is not to be removed.
        """
        ...

    def spool(self) -> IO[bytes]:
        """An empty file, gone when it is closed."""
        ...


def write_whole(export: Streamable, archives: Places, manifest: Place | None = None, *, suffix: str = "") -> None:
    """Drive an export into its places, and its members' records into another; `suffix` tells what those are written as.

    Raises what the export raises and what a place raises; then all places are as they were.
    """
    places: list[Place] = []
    listed = [] if manifest is None else [manifest]
    several = _is_set(export)
    removed: list[Change] = []
    try:
        places.append(archives.place(1))
        for place in [*places, *listed]:
            place.begin()
        if several:
            _older(archives, 2)  # what cannot be replaced is refused before anything is read
        _write(export, archives, places, manifest, suffix)
        if several:
            removed = _older(archives, len(places) + 1)
        for change in [*reversed(places[1:]), *removed, *listed, places[0]]:
            change.finish()
    except BaseException as error:
        for change in [*listed, *removed, *reversed(places)]:
            change.abandon(error)
        raise
    for change in [*listed, *removed, *places]:
        change.settle()


def _write(export: Streamable, archives: Places, places: list[Place], manifest: Place | None, suffix: str) -> None:
    """Write all archives, and the list of their members; the first has its place, the others get theirs in `places`."""
    with ExitStack() as stack:
        listener = None
        if manifest is not None:
            listener = stack.enter_context(open_manifest(suffix, _Writable(manifest)))
            export.listen(listener, sha256=True)
        for number, chunks in enumerate(stack.enter_context(closing(_each(export, archives))), 1):
            if number > 1:
                places.append(archives.place(number))
                places[-1].begin()
            for chunk in chunks:
                places[-1].write(chunk)
            places[-1].complete()
        if listener is not None and _is_set(export):
            for record in export.report.archives:
                listener(record)
    if manifest is not None:
        manifest.complete()


def _is_set(export: Streamable) -> TypeGuard[Splittable]:
    return getattr(export, "max_archive_size", None) is not None


def _each(export: Streamable, archives: Places) -> Generator[Iterator[bytes], None, None]:
    """The bytes of each archive. Closing it closes the export, so that its workers stop when a write fails."""
    if _is_set(export):
        yield from export.archives(archives.file_name, spool=archives.spool)
        return
    with closing(_chunks(export)) as chunks:
        yield chunks


def _chunks(export: Streamable) -> Generator[bytes, None, None]:
    yield from export


def _older(archives: Places, number: int) -> list[Change]:
    """The removal of the archives that are there already, from a number on, as far as they follow each other."""
    found = []
    while (removal := archives.older(number)) is not None:
        found.append(removal)
        number += 1
    return found


#: So many bytes tell whether a file is an archive of this engine's.
HEAD = 30 + 255
_OURS = re.compile(rb"PK\x03\x04.{26}.*--[0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{6}--.*\.csv", re.DOTALL)


def refuse_foreign(shown: str, head: bytes) -> None:
    """Raise ArchiveError for a file that does not begin, in its first `HEAD` bytes, as this engine's archives do.

    None of a set is empty but the first.
    """
    if not _OURS.match(head):
        raise ArchiveError(
            f"{shown} is no archive of conversations, and would be taken for one of this export's: move it, or choose "
            "another place"
        )


class _Writable(io.RawIOBase):
    """A place as a file that can be written to."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._place.write(data)
        return memoryview(data).nbytes
