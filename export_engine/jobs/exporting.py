"""One attempt at a job's export: its channel is looked up, the conversations are read, the archive is written.

This is all that may hang: it asks nothing of the store of jobs and sends no mail. Where it is done stands in `runs`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from export_engine.engine import Export, export_conversations
from export_engine.errors import SourceError
from export_engine.jobs.errors import DirectoryError, NotFoundError
from export_engine.jobs.ports import ArchiveStore, ChannelDirectory, ConversationSource
from export_engine.model import Conversation, DateRange
from export_engine.options import ExportOptions
from export_engine.report import ExportReport, MemberRecord, Progress
from export_engine.sources import Source, SourceContext
from export_engine.sources.open import source_of

__all__ = ["Attempt", "Made", "Parts", "make_archive"]

#: Called with an export's progress, and with None for each lesser sign of life: some rows read, some bytes written.
Heard = Callable[[Progress | None], object]


@dataclass(frozen=True, slots=True)
class Parts:
    """What every export of a worker is made with."""

    directory: ChannelDirectory
    source: ConversationSource
    archives: ArchiveStore
    options: ExportOptions


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is to be exported, and the lease under which it is: the archive's path begins with both.

    `key_id` is for logs, as the job's own.
    """

    job_id: str
    token: str
    workspace_id: str
    channel_id: str
    date_range: DateRange
    key_id: str | None = None

    @property
    def labels(self) -> dict[str, str | None]:
        """As those of the job."""
        return {"job": self.job_id, "workspace": self.workspace_id, "key": self.key_id}


@dataclass(frozen=True, slots=True)
class Made:
    """An archive that is there."""

    path: str
    file_name: str
    report: ExportReport


def make_archive(parts: Parts, attempt: Attempt, heard: Heard) -> Made:
    """Make the archive. `heard` is called all along; what it raises ends the export.

    Raises NotFoundError for a channel that is gone, DirectoryError if the list of channels cannot be read, and whatever
    the parts and the export raise.
    """
    try:
        found = parts.directory.find(attempt.workspace_id, channel_id=attempt.channel_id)
    except SourceError as error:
        raise DirectoryError(str(error)) from error
    heard(None)
    if not found:
        raise NotFoundError("The channel is not there any more.")
    export = export_conversations(
        _heard_source(parts.source.conversations(found[0], attempt.date_range, parts.options), heard),
        channel=found[0].channel,
        date_range=attempt.date_range,
        options=replace(parts.options, sha256=True),  # for who downloads it
        export_id=attempt.job_id[:8],
        on_progress=heard,
    )
    path = f"{attempt.job_id}/{attempt.token}/{export.file_name}"
    parts.archives.write(path, _HeardExport(export, heard))
    return Made(path, export.file_name, export.report)


@dataclass(frozen=True, slots=True)
class _HeardExport:
    """An export as a sink takes it, whose chunks are heard of."""

    export: Export
    heard: Heard

    @property
    def file_name(self) -> str:
        return self.export.file_name

    @file_name.setter
    def file_name(self, _: str) -> None:  # `Streamable` has an attribute
        raise AttributeError("an export's name is its own")

    @property
    def inputs(self) -> Iterable[Any]:
        return self.export.inputs

    def __iter__(self) -> Iterator[bytes]:
        with _closing(iter(self.export)) as chunks:
            for chunk in chunks:
                self.heard(None)
                yield chunk

    def listen(self, listener: Callable[[MemberRecord], object], *, sha256: bool = False) -> None:
        self.export.listen(listener, sha256=sha256)


# --- what is read --------------------------------------------------------------------------------------------------


def _heard_source(given: Any, heard: Heard) -> Any:
    """The same source; whatever comes of it, be it one slow row after the other, is heard of."""
    if hasattr(given, "batches") or hasattr(given, "__arrow_c_stream__") or hasattr(given, "__arrow_c_array__"):
        return _HeardSource(source_of(given), heard)
    if isinstance(given, Iterable) and not isinstance(given, Sequence | Mapping):
        return _heard_items(given, heard)
    return given  # a list, which is there already, or what is refused


@dataclass(frozen=True, slots=True)
class _HeardSource:
    source: Source
    heard: Heard

    @property
    def paths(self) -> tuple[Any, ...]:
        return getattr(self.source, "paths", ())

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        with closing(self.source.batches(context)) as batches:
            for batch in batches:
                self.heard(None)
                yield batch


def _heard_items(items: Iterable[Any], heard: Heard) -> Iterator[Any]:
    """Conversations or record batches."""
    with _closing(iter(items)) as given:
        for item in given:
            heard(None)
            if isinstance(item, Conversation) and not isinstance(item.messages, Sequence):
                yield replace(item, messages=_heard_items(item.messages, heard))
            else:
                yield item


@contextmanager
def _closing(iterator: Iterator[Any]) -> Generator[Iterator[Any], None, None]:
    """The iterator, closed at the end if it can be."""
    try:
        yield iterator
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
