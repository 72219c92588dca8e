"""The source for whatever was given: conversations, Arrow data, or files by their endings."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, cast

import pyarrow as pa

from export_engine.errors import OptionError
from export_engine.sources import Source, SourceContext

__all__ = ["open_source", "source_of"]


def source_of(given: Any) -> Source:
    """The source that reads an object: a source, conversations, Arrow data or an iterable of record batches.

    Nothing is read yet. Raises OptionError for an object that is none of these.
    """
    if hasattr(given, "batches"):
        source: Source = given
        return source
    if hasattr(given, "__arrow_c_stream__") or hasattr(given, "__arrow_c_array__"):
        from export_engine.sources.tables import from_arrow  # noqa: PLC0415  # a source is loaded when it is used

        return from_arrow(given)
    if isinstance(given, str | bytes | os.PathLike) or not isinstance(given, Iterable):
        raise OptionError(
            f"a source cannot be made of {type(given).__name__}: pass conversations or Arrow data, or for a file what "
            "open_source(path) returns",
            option="source",
        )
    return _Items(given)


@dataclass(frozen=True, slots=True)
class _Items:
    """Conversations or record batches: the first item tells."""

    items: Iterable[Any]

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        """Read the items."""
        items = iter(self.items)
        for first in items:
            with closing(_of_items(first, _Chained(first, items)).batches(context)) as batches:
                yield from batches
            return


def _of_items(first: Any, items: Iterable[Any]) -> Source:
    if isinstance(first, pa.RecordBatch):
        from export_engine.sources.tables import from_arrow  # noqa: PLC0415  # loaded when used

        return from_arrow(items)
    from export_engine.sources.objects import from_conversations  # noqa: PLC0415  # the same

    return from_conversations(items)


@dataclass(slots=True)
class _Chained:
    """An iterator with its first item put back, still closable."""

    first: Any
    rest: Iterator[Any]

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from chain([self.first], self.rest)
        finally:
            close = getattr(self.rest, "close", None)
            if close is not None:
                close()


def _jsonl(path: str | os.PathLike[str]) -> Source:
    from export_engine.sources.jsonl_nested import looks_nested, read_nested_jsonl  # noqa: PLC0415  # loaded when used

    if looks_nested(path):
        return read_nested_jsonl(path)
    from export_engine.sources.jsonl_flat import read_flat_jsonl  # noqa: PLC0415  # the same

    return read_flat_jsonl(path)


def _table(reader: str) -> Callable[[str | os.PathLike[str]], Source]:
    def read(path: str | os.PathLike[str]) -> Source:
        from export_engine.sources import files  # noqa: PLC0415  # loaded when used

        return cast("Source", getattr(files, reader)(path))

    return read


#: Which reader a file's ending asks for; `.gz` behind it is looked through.
_ENDINGS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "ipc",
    ".arrows": "ipc",
    ".ipc": "ipc",
    ".feather": "ipc",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_READERS: dict[str, Callable[[str | os.PathLike[str]], Source]] = {
    "parquet": _table("read_parquet"),
    "ipc": _table("read_ipc"),
    "csv": _table("read_csv"),
    "jsonl": _jsonl,
}


def open_source(
    *inputs: str | os.PathLike[str],
    format: Literal["parquet", "ipc", "csv", "jsonl"] | None = None,  # noqa: A002  # the word for it
) -> Source:
    """A source that reads files, one after the other.

    The ending tells the format: `.parquet` `.pq`; `.arrow` `.arrows` `.ipc` `.feather` (Arrow IPC, file or stream);
    `.csv`; `.jsonl` `.ndjson`, nested or flat (JSON Lines with a `messages` key in the first line are nested). CSV
    and JSON Lines may be compressed (`.gz`). `format` says it where the ending does not.

    Raises OptionError for no path, an unknown ending or format, FileNotFoundError for a file that is not there.
    """
    if not inputs:
        raise OptionError("no file was given: pass one path or more", option="inputs")
    return _Files(tuple(_READERS[_format(path, format)](path) for path in inputs), inputs)


def _format(path: str | os.PathLike[str], given: str | None) -> str:
    if not os.path.exists(path):  # noqa: PTH110  # any kind of path
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
    if given is not None:
        if given not in _READERS:
            raise OptionError(f"format {given!r} is unknown: choose from {', '.join(_READERS)}", option="format")
        return given
    name = os.fspath(path).lower().removesuffix(".gz")
    ending = os.path.splitext(name)[1]  # noqa: PTH122  # any kind of path
    if ending not in _ENDINGS:
        raise OptionError(
            f"{os.fspath(path)}: the ending {ending!r} says nothing of the format: rename the file to one of "
            f"{' '.join(_ENDINGS)}, or give the format ({', '.join(_READERS)})",
            option="format",
        )
    return _ENDINGS[ending]


@dataclass(frozen=True, slots=True)
class _Files:
    """Several sources, one after the other, and what they read."""

    sources: tuple[Source, ...]
    paths: tuple[str | os.PathLike[str] | int, ...]

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        """Read each to its end."""
        for source in self.sources:
            with closing(source.batches(context)) as batches:
                yield from batches
