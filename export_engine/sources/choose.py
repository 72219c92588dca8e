"""The source for whatever was given: conversations, Arrow data, or files by their endings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa

from export_engine.errors import OptionError
from export_engine.sources import Intake, Source

__all__ = ["open_source", "source_of"]


def source_of(given: Any) -> Source:
    """The source that reads an object: a source, conversations, Arrow data or an iterable of record batches.

    Nothing is read yet. Raises OptionError for an object that is none of these.
    """
    if hasattr(given, "batches"):
        source: Source = given
        return source
    if hasattr(given, "__arrow_c_stream__") or hasattr(given, "__arrow_c_array__"):
        from export_engine.sources.arrow import from_arrow  # noqa: PLC0415  # a source is loaded when it is used

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

    def batches(self, intake: Intake) -> Iterator[pa.RecordBatch]:
        """Read the items."""
        items = iter(self.items)
        for first in items:
            if isinstance(first, pa.RecordBatch):
                from export_engine.sources.arrow import from_arrow as make  # noqa: PLC0415  # loaded when used
            else:
                from export_engine.sources.objects import from_conversations as make  # noqa: PLC0415  # the same
            with closing(make(_Chained(first, items)).batches(intake)) as batches:
                yield from batches
            return


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
    from export_engine.sources.nested import looks_nested, read_nested_jsonl  # noqa: PLC0415  # loaded when used

    return read_nested_jsonl(path) if looks_nested(path) else _table("read_flat_jsonl")(path)


def _table(reader: str) -> Callable[[str | os.PathLike[str]], Source]:
    def read(path: str | os.PathLike[str]) -> Source:
        from export_engine.sources import files  # noqa: PLC0415  # loaded when used

        source: Source = getattr(files, reader)(path)
        return source

    return read
