"""What an export says of itself: progress while it runs, a record per member, a report at the end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["ExportReport", "MemberRecord", "Progress"]


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """One member of the archive, known once it is written.

    `csv_bytes` and `deflated_bytes` are sizes in bytes, `crc32` is that of the CSV. `first_time` and `last_time` are
    the earliest and latest message times (aware, UTC; None in a CSV without rows). `part` is 1, or the number in
    ` (part N)` for a conversation too long for one member. `sha256` is the CSV's (hex) when a manifest is asked for.
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

    `bytes` and, with `sha256`, `sha256` (hex) are the archive's; `csv_bytes` is the sum of its CSVs.
    `first_time` and `last_time` are the earliest and latest exported message times (aware, UTC), None without rows.
    `conversations` counts conversations, `members` CSVs: they differ only where a conversation was `split` into
    parts. `long_cells` counts texts of more than the 32,767 characters (UTF-16) that a spreadsheet's cell can hold; the
    CSVs have them whole. `backend` names the library and level that deflated. `elapsed` is in seconds, from the first
    byte asked for to the last handed out.
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
    ignored_columns: tuple[str, ...]
    split: tuple[str, ...]
    backend: str
    elapsed: float
