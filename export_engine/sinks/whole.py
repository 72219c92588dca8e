"""An archive and the list of its members in the places where they are to appear: both whole, or neither.

A place takes bytes and shows them under its name at the end. The list appears just before the archive, so that where
the archive is, everything is.
"""

from __future__ import annotations

import io
from collections.abc import Generator
from contextlib import ExitStack, closing
from typing import Any, Protocol

from export_engine.sinks import Streamable
from export_engine.sinks.manifest import open_manifest

__all__ = ["Place", "write_whole"]


class Place(Protocol):
    """A name under which bytes appear, all of them or none: `begin`, `write` as often as wanted, `finish`."""

    def begin(self) -> None:
        """Refuse a name that cannot be had, before anything is read; nothing appears yet."""
        ...

    def write(self, data: bytes, /) -> object:
        """Take bytes."""
        ...

    def finish(self) -> None:
        """Have all that was written appear under the name."""
        ...

    def abandon(self, error: BaseException, /) -> None:
        """Leave nothing, because of `error`: neither what was written nor, unless it replaced something, the name.

        Also before `begin` and after `finish`. Raises nothing: what cannot be removed becomes a note of `error`.
        """
        ...


def write_whole(export: Streamable, archive: Place, manifest: Place | None = None, *, suffix: str = "") -> None:
    """Drive an export into a place, and its members' records into another; `suffix` tells what those are written as.

    Raises what the export raises and what a place raises; then both places are as they were.
    """
    places = [archive] if manifest is None else [archive, manifest]
    try:
        for place in places:
            place.begin()
        with ExitStack() as stack:
            if manifest is not None:
                export.listen(stack.enter_context(open_manifest(suffix, _Writable(manifest))), sha256=True)
            for chunk in stack.enter_context(closing(_chunks(export))):
                archive.write(chunk)
        for place in reversed(places):
            place.finish()
    except BaseException as error:
        for place in reversed(places):
            place.abandon(error)
        raise


def _chunks(export: Streamable) -> Generator[bytes, None, None]:
    """The export's bytes, as a generator: closing it closes the export, so that its workers stop when a write fails."""
    yield from export


class _Writable(io.RawIOBase):
    """A place as a file that can be written to."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._place.write(data)
        return memoryview(data).nbytes
