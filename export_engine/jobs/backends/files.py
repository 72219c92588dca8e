"""Channels and conversations in a folder of files.

How it is laid out:

    channels.jsonl                   or channels.parquet: one channel a line, or row
    conversations/<channel id>.jsonl or .parquet, .arrow, .csv, .csv.gz and the like: whatever `open_source` reads
    conversations/<channel id>/      or a folder of such files, read in the order of their names

A channel has `id` (a UUID), `workspace_id`, `type` (the detailed one) and may have `name` and `phone_number` (E.164):

    {"id": "b2c3d4e5-7777-8888-9999-000011112222", "workspace_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
     "type": "LOCAL", "name": "SMS Support", "phone_number": "+12025550123"}

(on one line). A channel without a file or folder has no conversations. In a folder, names that begin with `.` or `_`
are left alone: write a new file under such a name and then rename it, and no export sees half of it. The same goes for
the channels' file, which is read again once it has changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from export_engine.errors import OptionError, SourceError
from export_engine.jobs.identifiers import is_e164, stored_uuid, uuid_of
from export_engine.jobs.paging import sorted_page
from export_engine.jobs.phones import same_number
from export_engine.jobs.ports import ChannelPlace, WorkspaceChannel
from export_engine.model import DateRange
from export_engine.options import ExportOptions
from export_engine.sources.open import open_source

__all__ = ["FileConversations", "FileDirectory", "open_files"]

_FIELDS = tuple(attribute.name for attribute in fields(WorkspaceChannel))
_REQUIRED = ("id", "workspace_id", "type")


def open_files(folder: str | os.PathLike[str]) -> tuple[FileDirectory, FileConversations]:
    """The channels and conversations in a folder, laid out as the module's description says.

    Reads the channels once, so as to fail at once. Raises SourceError for a channels' file that is missing, doubled,
    wrong or cannot be read.
    """
    directory = FileDirectory(Path(folder))
    directory.channels()
    return directory, FileConversations(Path(folder))


# --- channels ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class FileDirectory:
    """The channels of `channels.jsonl` or `channels.parquet`; may be asked from many threads."""

    folder: Path
    #: What the channels were read from (path, inode, time of change, size), and they themselves.
    _read: tuple[object, list[WorkspaceChannel]] = field(default=(None, []), init=False)
    _reading: Lock = field(default_factory=Lock, init=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """The folder: what was read, and the lock, belong to one process."""
        return FileDirectory, (self.folder,)

    def find(
        self, workspace_id: str, *, channel_id: str | None = None, phone_number: str | None = None
    ) -> list[WorkspaceChannel]:
        """The workspace's channels with that id, or with that phone number; exactly one of the two is given.

        They stand as in the file. Raises as `open_files` does if the file has changed for the worse.
        """
        return [
            channel
            for channel in self.channels()
            if channel.workspace_id == workspace_id
            and (
                channel.id == channel_id
                if phone_number is None
                else channel.phone_number is not None and same_number(channel.phone_number, phone_number)
            )
        ]

    def page(self, workspace_id: str, *, limit: int, after: ChannelPlace | None = None) -> list[WorkspaceChannel]:
        """The first `limit` of the workspace's channels, of those behind `after`, by name and id.

        Raises as `open_files` does if the file has changed for the worse.
        """
        return sorted_page(self.channels(), workspace_id, limit, after)

    def channels(self) -> list[WorkspaceChannel]:
        """All channels of all workspaces, read again if the file has changed. Raises as `open_files` does."""
        with self._reading:
            path = _channels_file(self.folder)
            try:
                stat = path.stat()  # before reading: a change meanwhile is then seen the next time
                state = (path, stat.st_ino, stat.st_mtime_ns, stat.st_size)
                if self._read[0] != state:
                    self._read = (state, _channels(path))
            except OSError as error:
                raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
            return self._read[1]


def _channels_file(folder: Path) -> Path:
    found = [path for name in ("channels.jsonl", "channels.parquet") if (path := folder / name).exists()]
    if not found:
        raise SourceError(
            f"{folder} has neither channels.jsonl nor channels.parquet: write one, with {', '.join(_FIELDS)}"
        )
    if len(found) > 1:
        raise SourceError(f"{folder} has channels.jsonl and channels.parquet: keep one of them")
    return found[0]


def _channels(path: Path) -> list[WorkspaceChannel]:
    rows = _parquet_rows(path) if path.suffix == ".parquet" else _json_lines(path)
    channels: dict[str, WorkspaceChannel] = {}
    for where, row in rows:
        channel = _channel(where, row)
        if channel.id in channels:
            raise SourceError(f"{where}, id: {channel.id} is another channel's already; give each channel its own")
        channels[channel.id] = channel
    return list(channels.values())


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line that is not blank, and where it stands."""
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{where} is not JSON in UTF-8 ({error}); write one JSON object a line") from error
        if not isinstance(row, dict):
            raise SourceError(f"{where} is no JSON object; write one a line, with {', '.join(_FIELDS)}")
        yield where, row


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        rows = pq.read_table(path).to_pylist()
    except (pa.ArrowException, ValueError) as error:
        raise SourceError(f"{path} cannot be read as a Parquet file ({error}); write it again") from error
    return ((f"{path}, row {number}", row) for number, row in enumerate(rows, 1))


def _channel(where: str, row: dict[str, Any]) -> WorkspaceChannel:
    """A channel, its fields held against their rules."""
    for name in row:
        if name not in _FIELDS:
            raise SourceError(f"{where}, {name}: there is no such field; the fields are {', '.join(_FIELDS)}")
    for name in _FIELDS:
        value = row.get(name)
        if value is None and name in _REQUIRED:
            raise SourceError(f"{where}, {name}: is missing; every channel needs one")
        if value is not None and not isinstance(value, str):
            raise SourceError(f"{where}, {name}: {value!r} is not text; write it in quotes, or as text")
        if value is not None and any("\ud800" <= character <= "\udfff" for character in value):
            raise SourceError(f"{where}, {name}: {value!r} has half of a character (a surrogate); write it whole")
        if value == "":
            raise SourceError(
                f"{where}, {name}: is empty; fill it in{'' if name in _REQUIRED else ', or leave it out'}"
            )
    phone = row.get("phone_number")
    if phone is not None and not is_e164(phone):
        raise SourceError(f"{where}, phone_number: {phone!r} is not E.164; write it like +12025550123")
    if (canonical := stored_uuid(row["id"])) is None:
        raise SourceError(f"{where}, id: {row['id']!r} is no UUID; write it like b2c3d4e5-7777-8888-9999-000011112222")
    workspace_id = stored_uuid(row["workspace_id"]) or row["workspace_id"]
    return WorkspaceChannel(canonical, workspace_id, row["type"], row.get("name"), phone)


# --- conversations -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileConversations:
    """The conversations in the files of the folder `conversations`."""

    folder: Path

    def conversations(self, channel: WorkspaceChannel, date_range: DateRange, options: ExportOptions) -> Any:  # noqa: ARG002  # the export takes its part
        """Everything the channel has, whatever the date range; read as the export goes on.

        Raises OptionError for a channel whose id is no UUID, as it would be part of a path; SourceError for several
        files or a file beside a folder; and as `export_engine.open_source` does, also while reading.
        """
        if (name := uuid_of(channel.id)) is None:
            raise OptionError(f"the channel's id {channel.id!r} is no UUID: give a UUID", option="channel")
        place = self.folder / "conversations"
        # However the id is written, so that no file is passed over.
        found = sorted(path for path in place.glob("*") if stored_uuid(path.name.split(".")[0]) == name)
        if len(found) > 1:
            raise SourceError(
                f"{place} has {' and '.join(path.name for path in found)}: keep one, or put the files into the folder "
                f"{name}, named in the order to read them in"
            )
        if found and found[0].is_dir():
            found = sorted(path for path in found[0].iterdir() if path.name[0] not in "._")
        return open_source(*found) if found else ()
