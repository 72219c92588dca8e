"""Read an archive back and check what it promises, by another road than the one it was written on.

Nothing is shared with the writer but the columns' names: the standard library's `zipfile`, `zlib` and `csv` read the
archive as any user's program would, and what `zipfile` is content with (gaps between members, headers that disagree)
is looked at in the bytes. Members are streamed: memory holds the directory, the conversations' ids, one row, and with
a manifest a record for each member.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any
from unicodedata import normalize
from zipfile import ZipInfo

from export_engine.errors import ArchiveError
from export_engine.readback import METHODS, bytes_at, directory, member_rows
from export_engine.report import MemberRecord
from export_engine.schema import COLUMN_NAMES, DIRECTIONS, SPEAKER_TYPES

__all__ = ["MAX_PROBLEMS", "Verification", "read_member", "verify_archive"]

#: How many problems are listed; the rest is only counted.
MAX_PROBLEMS = 100

_ID, _CONVERSATION, _TIME = map(COLUMN_NAMES.index, ("message_id", "conversation_id", "message_time"))
_WORDS = {"direction": DIRECTIONS, "speaker_type": SPEAKER_TYPES}
_VOCABULARY = [(COLUMN_NAMES.index(name), frozenset(words)) for name, words in _WORDS.items()]

_LOCAL = struct.Struct("<4s5H3L2H")  # APPNOTE 4.3.7
_DESCRIPTOR = struct.Struct("<4s3L")  # APPNOTE 4.3.9
_END = struct.Struct("<4s4H2LH")  # APPNOTE 4.3.16
_STREAMED, _UTF8 = 1 << 3, 1 << 11  # APPNOTE 4.4.4
_UNIX, _ATTRIBUTES = 3, 0o100644 << 16  # APPNOTE 4.4.2.2, 4.4.15

_CREATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{6}")
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f]|\A[. ]')
_PART = re.compile(r" \(part ([0-9]+)\)(?: \([0-9]+\))?\.csv\Z")

_Complain = Callable[[str], object]
_See = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Verification:
    """What was read, and every problem found, ready to print. `bytes` is the size of the archive."""

    members: int
    conversations: int
    rows: int
    bytes: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether there was no problem."""
        return not self.problems


def verify_archive(
    path: str | os.PathLike[str],
    manifest: str | os.PathLike[str] | None = None,
    *,
    progress: Callable[[int, int], object] | None = None,
) -> Verification:
    """Check an archive, and with its `manifest` (JSON Lines, or Parquet if it ends in `.parquet`) the two together.

    Checked are the container (local and central headers, CRC-32s, no byte that belongs to nothing), the members'
    names, and each row: its cells, the vocabulary, its time, that a member is one conversation and a conversation one
    member or its `(part N)`. The manifest must list the same members in the same order with the same facts. An archive
    written with any `CsvDialect` passes. `progress` is called with the bytes of CSV read so far and those there are.

    Damage is reported, never raised. Raises OSError for a file that cannot be read.
    """
    problems: list[str] = []
    count = 0

    def complain(problem: str) -> None:
        nonlocal count
        count += 1
        if count <= MAX_PROBLEMS:
            problems.append(problem)

    rows = conversations = 0
    infos: list[ZipInfo] = []
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            infos, start = directory(file)
            _check_layout(file, infos, start, complain)
            _check_names(infos, complain)
            found = []
            for record in _check_members(file, infos, progress, complain):
                rows += record.rows
                conversations += record.part == 1
                if manifest is not None:
                    found.append(record)
        except ArchiveError as error:
            complain(str(error))
        else:
            if manifest is not None:
                _check_manifest(Path(manifest), found, complain)
    if count > len(problems):
        problems.append(f"and {count - len(problems)} more problems")
    return Verification(len(infos), conversations, rows, size, tuple(problems))


def read_member(file: IO[bytes], info: ZipInfo, see: _See, complain: _Complain) -> MemberRecord:
    """Read a member, checking its rows."""
    number = 0
    row: list[str] = []
    conversation: str | None = None
    first: datetime | None = None
    last: datetime | None = None

    def refuse(column: int, problem: str) -> None:
        cell = row[column] if len(row[column]) <= 80 else f"{row[column][:80]}..."
        complain(f"{info.filename!r}: row {number}, column {COLUMN_NAMES[column]!r}: {cell!r} {problem}")

    for number, row in enumerate(member_rows(file, info, see), 1):
        if len(row) != len(COLUMN_NAMES):
            complain(f"{info.filename!r}: row {number} has {len(row)} cells, not {len(COLUMN_NAMES)}")
            continue
        for column in (_ID, _CONVERSATION):
            if not row[column]:
                refuse(column, "is no id")
        conversation = row[_CONVERSATION] if conversation is None else conversation
        if row[_CONVERSATION] != conversation:
            refuse(_CONVERSATION, f"is not {conversation!r}, as in the rows before")
        for column, words in _VOCABULARY:
            if row[column] not in words:
                refuse(column, f"is none of {', '.join(sorted(words))}")
        time = _instant(row[_TIME])
        if time is None:
            refuse(_TIME, "is no ISO 8601 time with its offset from UTC")
        else:
            first = time if first is None or time < first else first
            last = time if last is None or time > last else last
    return MemberRecord(
        *(info.filename, conversation or "", 1, number, info.file_size, info.compress_size, info.CRC, first, last)
    )


def _instant(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if time.tzinfo is None else time


# --- checking ------------------------------------------------------------------------------------------------------


def _check_layout(file: IO[bytes], infos: list[ZipInfo], start: int, complain: _Complain) -> None:
    """Every byte belongs to one member or to the directory, and headers agree."""
    at, record = 0, start
    for info in infos:
        if info.header_offset != at:
            complain(f"{info.filename!r} begins at byte {info.header_offset}, not {at}: a gap, an overlap or a prefix")
        at = _check_headers(file, info, complain)
        name_size = len(info.orig_filename.encode(_encoding(info)))
        if bytes_at(file, record + 28, 6) != struct.pack("<3H", name_size, len(info.extra), 0):  # APPNOTE 4.3.12
            complain(f"{info.filename!r}: the directory's record has a length that cannot be")
        record += 46 + name_size + len(info.extra)
    if start != at:
        complain(f"the directory begins at byte {start}, not {at}: a gap, an overlap or a prefix")
    size = file.seek(0, os.SEEK_END)
    end = _END.unpack(bytes_at(file, size - _END.size, _END.size))
    count = min(len(infos), 0xFFFF)
    if end[0] != b"PK\x05\x06" or end[-1]:
        complain("there are bytes behind the end of the archive, or a comment")
    elif end[1:-1] != (0, 0, count, count, *(min(number, 0xFFFFFFFF) for number in (record - start, start))):
        complain("the end of the archive disagrees with the directory")


def _check_headers(file: IO[bytes], info: ZipInfo, complain: _Complain) -> int:
    """Compare what stands before and behind a member with the directory; returns where the member ends."""
    fixed = bytes_at(file, info.header_offset, _LOCAL.size)
    if len(fixed) < _LOCAL.size or fixed[:4] != b"PK\x03\x04":
        complain(f"{info.filename!r}: there is no local header at byte {info.header_offset}")
        return info.header_offset
    _, version, flags, method, time, date, *sizes, name_size, extra_size = _LOCAL.unpack(fixed)
    begin = info.header_offset + _LOCAL.size
    known = [info.CRC, info.compress_size, info.file_size]
    streamed = bool(info.flag_bits & _STREAMED)
    year, month, day, hour, minute, second = info.date_time
    for what, here, there in (
        ("name", bytes_at(file, begin, name_size), info.orig_filename.encode(_encoding(info))),
        ("version", version, info.extract_version),
        ("flags", flags, info.flag_bits),
        ("method", method, info.compress_type),
        ("date", date, (year - 1980) << 9 | month << 5 | day),
        ("time", time, hour << 11 | minute << 5 | second // 2),
        ("CRC-32 and sizes", sizes, [0, 0, 0] if streamed else known),
        ("length of extra fields", extra_size, 0),
    ):
        if here != there:
            complain(f"{info.filename!r}: the local header's {what} is {here!r}, by the directory {there!r}")
    unusual = info.flag_bits & ~(_STREAMED | _UTF8) or (info.extra and info.header_offset < 0xFFFFFFFF)
    if unusual or info.compress_type not in METHODS:
        complain(f"{info.filename!r}: not every reader knows its method, flags or extra fields")
    made = (info.create_system, info.create_version, info.external_attr)
    if made != (_UNIX, info.extract_version, _ATTRIBUTES) or info.volume or info.internal_attr or info.reserved:
        complain(f"{info.filename!r} is not marked as a plain file from Unix with mode rw-r--r--")
    end: int = begin + name_size + extra_size + info.compress_size
    if not streamed:
        return end
    if bytes_at(file, end, _DESCRIPTOR.size) != _DESCRIPTOR.pack(b"PK\x07\x08", *known):
        complain(f"{info.filename!r}: the data descriptor disagrees with the directory")
    return end + _DESCRIPTOR.size


def _encoding(info: ZipInfo) -> str:
    return "utf-8" if info.flag_bits & _UTF8 else "cp437"  # APPNOTE appendix D


def _check_names(infos: list[ZipInfo], complain: _Complain) -> None:
    taken: dict[str, str] = {}
    for info in infos:
        name = info.orig_filename
        parts = name.removesuffix(".csv").split("--")
        if not name.endswith(".csv") or _UNSAFE.search(name) or len(name.encode()) > 255:
            complain(f"{name!r} is no safe name of a CSV")
        elif len(parts) != 3 or not all(parts) or not _CREATED.fullmatch(parts[1]):
            complain(f"{name!r} does not split on -- into contact, creation time and channel")
        if not (name.isascii() or info.flag_bits & _UTF8):
            complain(f"{name!r}: the name is not ASCII and not flagged as UTF-8")
        other = taken.setdefault(normalize("NFC", normalize("NFD", name).casefold()), name)
        if other is not name:
            complain(f"{name!r}: a file system may take this name and {other!r} for the same")


def _check_members(
    file: IO[bytes], infos: list[ZipInfo], progress: Callable[[int, int], object] | None, complain: _Complain
) -> Iterator[MemberRecord]:
    """Read every member; one that cannot be read gives no record."""
    total = sum(info.file_size for info in infos)
    homes: dict[str, str] = {}
    before: MemberRecord | None = None
    done = 0
    for info in infos:
        digest = sha256()

        def see(data: bytes, digest: Any = digest) -> None:
            nonlocal done
            done += len(data)
            digest.update(data)
            if progress is not None:
                progress(done, total)

        try:
            record = read_member(file, info, see, complain)
        except ArchiveError as error:
            complain(str(error))
            continue
        id_, suffix = record.conversation_id, _PART.search(record.name)
        if before and suffix and id_ == before.conversation_id and int(suffix[1]) == before.part + 1:
            record = replace(record, part=before.part + 1)
        elif id_ and homes.setdefault(id_, record.name) is not record.name:
            complain(f"{record.name!r}: column 'conversation_id': {id_!r} is also that of {homes[id_]!r}")
        before = replace(record, sha256=digest.hexdigest())
        yield before


def _check_manifest(path: Path, found: list[MemberRecord], complain: _Complain) -> None:
    """Compare what the manifest says of the members with what was found in them."""
    listed: dict[str, MemberRecord] = {}
    try:
        for record in _records(path):
            if listed.setdefault(record.name, record) is not record:
                complain(f"manifest: {record.name!r} is listed twice")
    except (KeyError, TypeError, ValueError) as error:
        complain(f"manifest: record {len(listed) + 1} cannot be read: {error}")
    names = {record.name for record in found}
    for name in listed:
        if name not in names:
            complain(f"{name!r} is in the manifest, but not (or not readable) in the archive")
    if [name for name in listed if name in names] != [record.name for record in found if record.name in listed]:
        complain("manifest: its members stand in another order than the archive's")
    for actual in found:
        expected = listed.get(actual.name)
        if expected is None:
            complain(f"{actual.name!r} is in the archive, but not in the manifest")
        else:
            _compare(expected, actual, complain)


def _compare(expected: MemberRecord, actual: MemberRecord, complain: _Complain) -> None:
    # Without rows only the manifest knows the conversation; with the formula guard the CSV has one ' more.
    if not actual.rows or actual.conversation_id == f"'{expected.conversation_id}":
        actual = replace(actual, conversation_id=expected.conversation_id)
    if expected.sha256 is None:
        actual = replace(actual, sha256=None)
    for name in (field.name for field in fields(MemberRecord)):
        says, is_ = getattr(expected, name), getattr(actual, name)
        if says != is_:
            complain(f"{actual.name!r}: {name} is {is_}, but {says} in the manifest")


def _records(path: Path) -> Iterator[MemberRecord]:
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq  # noqa: PLC0415  # most manifests are JSON Lines

        with pq.ParquetFile(path) as table:
            for batch in table.iter_batches():
                yield from (MemberRecord(**record) for record in batch.to_pylist())
    else:
        with path.open("rb") as lines:
            for line in lines:
                record = json.loads(line)
                for key in ("first_time", "last_time"):
                    record[key] = record[key] and datetime.fromisoformat(record[key])
                yield MemberRecord(**record)
