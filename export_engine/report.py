"""What an export says of itself: progress while it runs, a record per member, a report at the end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["ArchiveRecord", "ExportReport", "MemberRecord", "Progress", "archive_name"]


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """One member of the archive, known once it is written.

    `csv_bytes` and `deflated_bytes` are sizes in bytes, `crc32` is that of the CSV. `first_time` and `last_time` are
    the earliest and latest message times (aware, UTC; None in a CSV without rows). `part` is 1, or the number in
    ` (part N)` for a conversation too long for one member. `sha256` is the CSV's (hex) when a manifest is asked for.
    `archive` is the number of the archive that it is in, 1 unless an export has several.
    """

    name: str
    conversation_id: str
    part: int
    rows: int
    csv_bytes: int
    deflated_bytes: int
    crc32: int
    first_time: datetime | None
    last_time: datetime | None
    sha256: str | None = None
    archive: int = 1


@dataclass(frozen=True, slots=True)
class ArchiveRecord:
    """One archive of an export: its file's name, size in bytes, SHA-256 (hex; if it was asked for), and its members."""

    file_name: str
    bytes: int
    sha256: str | None
    members: int


def archive_name(first: str, number: int) -> str:
    """What an export's archive of a number is called, from 1 on, by the first's name or path: `x.zip`, `x-2.zip` ..."""
    if number == 1:
        return first
    folder, slash, name = first.rpartition("/")
    stem, dot, ending = name.rpartition(".")
    return f"{folder}{slash}{stem or dot + ending}-{number}{dot + ending if stem else ''}"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an export has come: members and rows written, rows read from the source, archive bytes handed out.

    `share` is how much of the source has been read, from 0 to 1; None where the source does not know how much it is.
    """

    rows_read: int
    rows_written: int
    members: int
    bytes_written: int
    share: float | None = None


@dataclass(frozen=True, slots=True)
class ExportReport:
    """The facts of a finished export.

    `archives` are the archives, more than one only with `max_archive_size`. `file_name` is the first's, `bytes` the sum
    of all; `sha256` (hex) is that of a single one, if it was asked for. `csv_bytes` is the sum of the CSVs.
    `first_time` and `last_time` are the earliest and latest exported message times (aware, UTC), None without rows.
    `conversations` counts conversations, `members` CSVs: they differ only where a conversation was `split` into
    parts. `long_cells` counts texts of more than the 32,767 characters (UTF-16) that a spreadsheet's cell can hold; the
    CSVs have them whole. `doubled_ids` counts messages that have the id of the message before them, as rows do that a
    join doubled; they are exported as they are. Equal ids that stand apart are not looked for: `check_source` and
    `verify_archive` find them. `backend` names the library and level that deflated. `elapsed` is in seconds, from the
    first byte asked for to the last handed out.
    """

    file_name: str
    bytes: int
    sha256: str | None
    members: int
    conversations: int
    rows: int
    csv_bytes: int
    first_time: datetime | None
    last_time: datetime | None
    replaced_surrogates: int
    long_cells: int
    doubled_ids: int
    ignored_columns: tuple[str, ...]
    split: tuple[str, ...]
    backend: str
    elapsed: float
    archives: tuple[ArchiveRecord, ...]
