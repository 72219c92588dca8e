"""Read an archive back and check what it promises, by another road than the one it was written on.

Nothing is shared with the writer but the columns' names: the standard library's `zipfile`, `zlib` and `csv` read the
archive as any user's program would, and what `zipfile` is content with (gaps between members, headers that disagree)
is checked here, in the bytes. Members are streamed: memory holds the directory, the conversations' ids, the manifest
if there is one, and one row.
"""

from __future__ import annotations

import csv
import io
import os
import re
import struct
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import IO, Any
from unicodedata import normalize
from zipfile import BadZipFile, ZipFile, ZipInfo

from export_engine.errors import ArchiveError, OptionError
from export_engine.report import MemberRecord
from export_engine.schema import COLUMN_NAMES, DIRECTIONS, SPEAKER_TYPES

__all__ = ["MAX_PROBLEMS", "MemberSummary", "Verification", "conversation_text", "members", "verify_archive"]

#: How many problems are listed; the rest is only counted.
MAX_PROBLEMS = 100

_ID, _CONVERSATION, _DIRECTION, _SPEAKER_TYPE, _SPEAKER, _TIME, _TEXT, _MEDIA = map(
    COLUMN_NAMES.index,
    (
        *("message_id", "conversation_id", "direction", "speaker_type"),
        *("speaker_name", "message_time", "message_text", "media_url"),
    ),
)
_HEADER = ",".join(COLUMN_NAMES)
#: The most characters of a cell that `csv` takes on every platform; an Arrow string is no longer.
_LONGEST = 0x7FFFFFFF

_LOCAL = struct.Struct("<4s5H3L2H")  # APPNOTE 4.3.7
_LOCAL_FIELDS = ("version", "flags", "method", "time", "date", "CRC-32", "deflated size", "size", "name", "extra field")
_DESCRIPTOR = struct.Struct("<4s3L")  # APPNOTE 4.3.9
_END = struct.Struct("<4s4H2LH")  # APPNOTE 4.3.16
_STREAMED, _UTF8 = 1 << 3, 1 << 11  # APPNOTE 4.4.4

_CREATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{6}")
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f]|\A[. ]')
_PART = re.compile(r" \(part ([0-9]+)\)(?: \([0-9]+\))?\.csv\Z")
#: What `zipfile` is known to raise for bytes that are no ZIP archive, or none it can read.
_UNREADABLE = (BadZipFile, EOFError, NotImplementedError, OverflowError, RuntimeError, ValueError, struct.error)

_Complain = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Verification:
    """What was read, and every `problem` found, ready to print. `bytes` is the size of the archive."""

    members: int
    conversations: int
    rows: int
    bytes: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether there was no problem."""
        return not self.problems


@dataclass(slots=True)
class MemberSummary:
    """One member: what the directory says of it and, where its CSV was read, what is in that.

    Sizes are in bytes. `rows` is None where the CSV was not read; `conversation_id` and the times (the earliest and the
    latest) are None there and in a CSV without rows.
    """

    name: str
    csv_bytes: int
    deflated_bytes: int
    rows: int | None = None
    conversation_id: str | None = None
    first_time: datetime | None = None
    last_time: datetime | None = None


def verify_archive(
    path: str | os.PathLike[str],
    manifest: str | os.PathLike[str] | None = None,
    *,
    progress: Callable[[int, int], object] | None = None,
) -> Verification:
    """Check an archive, and with its `manifest` (JSON Lines, or Parquet if it ends in `.parquet`) the two together.

    Checked are the container (local and central headers, CRC-32s, no byte that belongs to nothing), the members' names,
    and each row: its cells, the vocabulary, its time, that a member is one conversation and a conversation one member or
    its `(part N)`. The manifest must list the same members in the same order, with the same facts. An archive written
    with any `CsvFormat` passes. `progress` is called with the bytes of CSV read and those there are.

    Damage is reported, never raised; OSError is, for a file that cannot be read.
    """
    problems = _Problems()
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            archive = _open(file)
        except ArchiveError as error:
            return Verification(0, 0, 0, size, (str(error),))
        with archive:
            _check_layout(file, archive, size, problems.add)
            _check_names(archive.infolist(), problems.add)
            book = None if manifest is None else _Manifest(Path(manifest), problems.add)
            rows, conversations = _check_members(archive, book, progress, problems.add)
            return Verification(len(archive.infolist()), conversations, rows, size, problems.listed())


def members(path: str | os.PathLike[str], *, read: int = 0) -> Iterator[MemberSummary]:
    """Each member in the archive's order; the CSVs of the first `read` are read.

    Raises ArchiveError for a file that is no ZIP archive or a CSV that cannot be read.
    """
    with Path(path).open("rb") as file, _open(file) as archive:
        for number, info in enumerate(archive.infolist()):
            summary = MemberSummary(info.filename, info.file_size, info.compress_size)
            if number < read:
                with closing(_rows(archive, info)) as rows:
                    _check_rows(rows, summary, lambda problem: problem)
            yield summary


def conversation_text(path: str | os.PathLike[str], which: str) -> Iterator[str]:
    """One conversation as lines to read: `2026-06-11 06:50  agent Jane > text`, what follows indented by 18 blanks.

    `which` is a member's name, a conversation's id (all its parts are read then), or what only one name begins with, or
    else contains. Nothing in the lines can steer a terminal (see `_printable`). Raises OptionError (`conversation`) if
    none or several are meant, ArchiveError as `members` does.
    """
    with Path(path).open("rb") as file, _open(file) as archive:
        for info in _find(archive, which):
            with closing(_rows(archive, info)) as rows:
                for row in rows:
                    if len(row) == len(COLUMN_NAMES):
                        yield from _message_lines(row)


def _message_lines(row: list[str]) -> Iterator[str]:
    speaker = _printable(f"{row[_SPEAKER_TYPE]} {row[_SPEAKER]}".rstrip())
    first, *others = [_printable(line) for line in re.split("\r\n|\n", row[_TEXT])]
    yield f"{_printable(row[_TIME][:16].replace('T', ' ')):16}  {speaker} > {first}"
    for line in chain(others, map(_printable, filter(None, row[_MEDIA].split(",")))):
        yield f"{'':18}{line}"


def _printable(text: str) -> str:
    """Spell control and format characters as escapes, as in `\\x1b`; only joiners stay, for scripts and emoji."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\u200c\u200d" else ascii(c)[1:-1] for c in text)


def _find(archive: ZipFile, which: str) -> list[ZipInfo]:
    """The members that `which` means: see `conversation_text`."""
    infos = archive.infolist()
    named = [info for info in infos if info.filename == which]
    if len(named) == 1:
        return named
    for begins, info in enumerate(infos):
        if _conversation(archive, info) == which:
            return [info, *_further_parts(archive, infos[begins + 1 :], which)]
    for found in (
        [info for info in infos if info.filename.startswith(which)],
        [info for info in infos if which in info.filename],
    ):
        if len(found) == 1:
            return found
        if found:
            some = "".join(f"\n  {_printable(info.filename)}" for info in found[:10])
            more = f"\n  and {len(found) - 10} more" if len(found) > 10 else ""
            raise OptionError(f"{which!r} could be any of these, say more of the name:{some}{more}", option="conversation")
    raise OptionError(f"no conversation has the id {which!r} and no member's name contains it", option="conversation")


def _further_parts(archive: ZipFile, infos: list[ZipInfo], conversation: str) -> Iterator[ZipInfo]:
    for info in infos:
        if _conversation(archive, info) != conversation:
            return
        yield info


def _conversation(archive: ZipFile, info: ZipInfo) -> str | None:
    """The id in a member's first row, None without one."""
    with closing(_rows(archive, info)) as rows:
        first = next(rows, [])
    return first[_CONVERSATION] if len(first) == len(COLUMN_NAMES) else None


# --- reading -------------------------------------------------------------------------------------------------------


def _open(file: IO[bytes]) -> ZipFile:
    try:
        return ZipFile(file)
    except _UNREADABLE as error:
        raise ArchiveError(
            f"this is no whole ZIP archive ({error}): it may have been cut short on its way; export or fetch it again"
        ) from error


class _Tap(io.RawIOBase):
    """A member's bytes on their way to the CSV reader, each shown to `see`."""

    def __init__(self, stream: IO[bytes], see: Callable[[bytes], object]) -> None:
        self._stream = stream
        self._see = see

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._see(data)
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def _damage(name: str) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise ArchiveError(f"{name!r}: the CSV is not UTF-8: {error.reason}") from error
    except csv.Error as error:
        raise ArchiveError(f"{name!r}: the CSV breaks RFC 4180: {error}") from error
    except (*_UNREADABLE, zlib.error) as error:
        raise ArchiveError(f"{name!r} cannot be read: {error}") from error


def _rows(
    archive: ZipFile, info: ZipInfo, see: Callable[[bytes], object] = len
) -> Generator[list[str], None, None]:
    """The rows behind a member's header. Raises ArchiveError, after reading on to the end for the sake of the CRC."""
    with _damage(info.filename), archive.open(info) as stream:
        tap = io.BufferedReader(_Tap(stream, see), 1 << 16)
        try:
            text = io.TextIOWrapper(tap, "utf-8", newline="")
            header = text.readline(len(_HEADER) + 3)
            if header.removeprefix("\ufeff").removesuffix("\n").removesuffix("\r") != _HEADER:
                raise ArchiveError(f"{info.filename!r}: the header {header[:80]!r}... is not the twelve columns")
            reader = csv.reader(text, strict=True)
            while (row := _next(reader)) is not None:
                yield row
        except (ArchiveError, UnicodeDecodeError, csv.Error):
            while tap.read(1 << 16):
                pass
            raise


def _next(reader: Iterator[list[str]]) -> list[str] | None:
    """The next row. The limit of a cell's length is the whole process's: it is raised no longer than that takes."""
    limit = csv.field_size_limit(_LONGEST)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(limit)
