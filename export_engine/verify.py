"""Read an archive back and check what it promises, by another road than the one it was written on.

Nothing is shared with the writer but the columns' names: the standard library's `zipfile`, `zlib` and `csv` read the
archive as any user's program would, and what `zipfile` is content with (gaps between members, headers that disagree)
is looked at in the bytes. Members are streamed: memory holds the directory, the conversations' ids, one row, and with
a manifest a record for each member.
"""

from __future__ import annotations

import csv
import json
import os
import re
import struct
import zlib
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any
from unicodedata import category, normalize
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from export_engine.errors import ArchiveError, OptionError
from export_engine.report import MemberRecord
from export_engine.schema import COLUMN_NAMES, DIRECTIONS, SPEAKER_TYPES

__all__ = ["MAX_PROBLEMS", "Verification", "conversation_text", "members", "printable", "verify_archive"]

#: How many problems are listed; the rest is only counted.
MAX_PROBLEMS = 100

_HEADER = ",".join(COLUMN_NAMES)
_ID, _CONVERSATION, _TIME = map(COLUMN_NAMES.index, ("message_id", "conversation_id", "message_time"))
_WORDS = {"direction": DIRECTIONS, "speaker_type": SPEAKER_TYPES}
_VOCABULARY = [(COLUMN_NAMES.index(name), frozenset(words)) for name, words in _WORDS.items()]
#: The most characters of a cell that `csv` takes on every platform; no string of Arrow's is longer.
_LONGEST = 0x7FFFFFFF
#: Bytes of a member in memory at a time, packed and unpacked, besides the line being read.
_CHUNK = 1 << 16

_LOCAL = struct.Struct("<4s5H3L2H")  # APPNOTE 4.3.7
_DESCRIPTOR = struct.Struct("<4s3L")  # APPNOTE 4.3.9
_END = struct.Struct("<4s4H2LH")  # APPNOTE 4.3.16
_STREAMED, _UTF8 = 1 << 3, 1 << 11  # APPNOTE 4.4.4
_METHODS = (ZIP_STORED, ZIP_DEFLATED)
_UNIX, _ATTRIBUTES = 3, 0o100644 << 16  # APPNOTE 4.4.2.2, 4.4.15

_CREATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{6}")
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f]|\A[. ]')
_PART = re.compile(r" \(part ([0-9]+)\)(?: \([0-9]+\))?\.csv\Z")
#: What `zipfile` raises for bytes that are no ZIP archive, or none it can read.
_UNREADABLE = (BadZipFile, OverflowError, RuntimeError, ValueError, struct.error)

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
    written with any `CsvFormat` passes. `progress` is called with the bytes of CSV read so far and those there are.

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
            infos, start = _directory(file)
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


def members(path: str | os.PathLike[str]) -> Iterator[MemberRecord]:
    """Each member's record, in the archive's order, as its CSV says; a member is read when its turn comes.

    `conversation_id` is empty for a CSV without rows, `part` always 1. Raises ArchiveError for a file that is no ZIP
    archive or a CSV that cannot be read.
    """
    with Path(path).open("rb") as file:
        for info in _directory(file)[0]:
            yield _read(file, info, len, len)


def conversation_text(path: str | os.PathLike[str], which: str) -> Iterator[str]:
    """One conversation as lines to read: `2026-06-11 06:50  agent Jane > text`, what follows indented by 18 blanks.

    `which` is a member's name, a conversation's id (all its parts are read then), or what only one name begins with or
    contains. The lines are `printable`. Raises OptionError (`conversation`) if it means none or several, ArchiveError
    as `members` does.
    """
    with Path(path).open("rb") as file:
        for info in _find(file, which):
            for row in _rows(file, info):
                if len(row) == len(COLUMN_NAMES):
                    yield from _message_lines(dict(zip(COLUMN_NAMES, row, strict=True)))


def printable(text: str) -> str:
    r"""Spell what a terminal could obey as escapes, as in `\x1b`: controls, line ends, formats except joiners."""
    if text.isprintable():
        return text
    kept = "\u200c\u200d"
    return "".join(c if c.isprintable() or c in kept or category(c) == "Zs" else ascii(c)[1:-1] for c in text)


def _message_lines(message: dict[str, str]) -> Iterator[str]:
    time = message["message_time"][:16].replace("T", " ")
    speaker = f"{message['speaker_type']} {message['speaker_name']}".rstrip()
    first, *others = re.split("\r\n|\n", message["message_text"])
    yield printable(f"{time:16}  {speaker} > {first}")
    for line in (*others, *filter(None, message["media_url"].split(","))):
        yield f"{'':18}{printable(line)}"


def _find(file: IO[bytes], which: str) -> list[ZipInfo]:
    """The members that `which` means: see `conversation_text`."""
    infos = _directory(file)[0]
    tests: list[Callable[[ZipInfo], bool]] = [
        lambda info: info.filename == which,
        lambda info: _conversation(file, info) == which,
        lambda info: info.filename.startswith(which),
        lambda info: which in info.filename,
    ]
    for kind, test in enumerate(tests):
        found = [info for info in infos if test(info)]
        if len(found) == 1 or (found and kind == 1):
            return found
        if found:
            some = ", ".join(repr(info.filename) for info in found[:5])
            raise OptionError(f"{which!r} is in {len(found)} names: say more of one of {some}", option="conversation")
    raise OptionError(f"no member has {which!r} as conversation id or in its name", option="conversation")


def _conversation(file: IO[bytes], info: ZipInfo) -> str | None:
    """The id in a member's first row, None without one."""
    first = next(_rows(file, info), [])
    return first[_CONVERSATION] if len(first) == len(COLUMN_NAMES) else None


# --- reading -------------------------------------------------------------------------------------------------------


def _directory(file: IO[bytes]) -> tuple[list[ZipInfo], int]:
    """The members by the central directory, and where that begins."""
    try:
        with ZipFile(file) as archive:
            return archive.infolist(), archive.start_dir
    except _UNREADABLE as error:
        raise ArchiveError(f"{file.name} is no whole ZIP archive ({error}): if cut short, fetch it again") from error


def _at(file: IO[bytes], offset: int, count: int) -> bytes:
    """`count` bytes from `offset`, fewer where the file has no such place."""
    size = os.fstat(file.fileno()).st_size
    file.seek(min(max(offset, 0), size))
    return file.read(min(count, size))


def _unpacked(file: IO[bytes], info: ZipInfo, see: _See) -> Iterator[bytes]:
    """A member's bytes, all shown to `see`. Raises ArchiveError, at the end for a size or CRC-32 that is not right."""
    size = crc32 = 0
    try:
        pieces = _packed(file, info)
        for data in _inflated(pieces) if info.compress_type == ZIP_DEFLATED else pieces:
            size, crc32 = size + len(data), zlib.crc32(data, crc32)
            see(data)
            yield data
    except zlib.error as error:
        raise ArchiveError(f"{info.filename!r} cannot be unpacked: {error}") from error
    if (size, crc32) != (info.file_size, info.CRC):
        raise ArchiveError(f"{info.filename!r} is damaged: its size or its CRC-32 is not what the directory says")


def _packed(file: IO[bytes], info: ZipInfo) -> Iterator[bytes]:
    fixed = _at(file, info.header_offset, _LOCAL.size).ljust(_LOCAL.size)
    begin = info.header_offset + sum(_LOCAL.unpack(fixed)[-2:], _LOCAL.size)
    for at in range(0, info.compress_size, _CHUNK):
        wanted = min(_CHUNK, info.compress_size - at)
        piece = _at(file, begin + at, wanted)
        if len(piece) < wanted or info.compress_type not in _METHODS:
            raise zlib.error("it goes on behind the end of the file, or in a method that is not deflate")
        yield piece


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for piece in pieces:
        left = piece
        while left:
            yield inflater.decompress(left, _CHUNK)
            left = inflater.unconsumed_tail
    yield inflater.flush()
    if not inflater.eof or inflater.unused_data:
        raise zlib.error("the deflated data do not end where they should")


def _rows(file: IO[bytes], info: ZipInfo, see: _See = len) -> Iterator[list[str]]:
    """The rows behind a member's header. Raises ArchiveError, after reading on for damage that would explain it."""
    chunks = _unpacked(file, info, see)
    lines = _lines(chunks)
    try:
        header = next(lines, "")
        if header.removeprefix("\ufeff").removesuffix("\n").removesuffix("\r") != _HEADER:
            raise ArchiveError(f"{info.filename!r}: the header is not the twelve columns but {header[:200]!r}")
        reader = csv.reader(lines, strict=True)
        while (row := _next(reader)) is not None:
            yield row
    except (csv.Error, UnicodeDecodeError) as error:
        for _ in chunks:
            pass
        raise ArchiveError(f"{info.filename!r}: the CSV cannot be read: {error}") from error


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    decode = getincrementaldecoder("utf-8")().decode
    held: list[str] = []
    for chunk in chunks:
        first, *others = decode(chunk).split("\n")
        held.append(first)
        if others:
            yield "".join((*held, "\n"))
            yield from (f"{line}\n" for line in others[:-1])
            held = others[-1:]
    decode(b"", final=True)
    if any(held):
        raise csv.Error("the last line has no end")


def _next(reader: Iterator[list[str]]) -> list[str] | None:
    """The next row. The limit on a cell is the whole process's, so it is raised no longer than reading takes."""
    limit = csv.field_size_limit(_LONGEST)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(limit)


def _read(file: IO[bytes], info: ZipInfo, see: _See, complain: _Complain) -> MemberRecord:
    """Read a member, checking its rows."""
    number = 0
    row: list[str] = []
    conversation: str | None = None
    first: datetime | None = None
    last: datetime | None = None

    def refuse(column: int, problem: str) -> None:
        cell = row[column] if len(row[column]) <= 80 else f"{row[column][:80]}..."
        complain(f"{info.filename!r}: row {number}, column {COLUMN_NAMES[column]!r}: {cell!r} {problem}")

    for number, row in enumerate(_rows(file, info, see), 1):
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
        if _at(file, record + 28, 6) != struct.pack("<3H", name_size, len(info.extra), 0):  # APPNOTE 4.3.12
            complain(f"{info.filename!r}: the directory's record has a length that cannot be")
        record += 46 + name_size + len(info.extra)
    if start != at:
        complain(f"the directory begins at byte {start}, not {at}: a gap, an overlap or a prefix")
    size = file.seek(0, os.SEEK_END)
    end = _END.unpack(_at(file, size - _END.size, _END.size))
    count = min(len(infos), 0xFFFF)
    if end[0] != b"PK\x05\x06" or end[-1]:
        complain("there are bytes behind the end of the archive, or a comment")
    elif end[1:-1] != (0, 0, count, count, *(min(number, 0xFFFFFFFF) for number in (record - start, start))):
        complain("the end of the archive disagrees with the directory")


def _check_headers(file: IO[bytes], info: ZipInfo, complain: _Complain) -> int:
    """Compare what stands before and behind a member with the directory; returns where the member ends."""
    fixed = _at(file, info.header_offset, _LOCAL.size)
    if len(fixed) < _LOCAL.size or fixed[:4] != b"PK\x03\x04":
        complain(f"{info.filename!r}: there is no local header at byte {info.header_offset}")
        return info.header_offset
    _, version, flags, method, time, date, *sizes, name_size, extra_size = _LOCAL.unpack(fixed)
    begin = info.header_offset + _LOCAL.size
    known = [info.CRC, info.compress_size, info.file_size]
    streamed = bool(info.flag_bits & _STREAMED)
    year, month, day, hour, minute, second = info.date_time
    for what, here, there in (
        ("name", _at(file, begin, name_size), info.orig_filename.encode(_encoding(info))),
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
    if unusual or info.compress_type not in _METHODS:
        complain(f"{info.filename!r}: not every reader knows its method, flags or extra fields")
    made = (info.create_system, info.create_version, info.external_attr)
    if made != (_UNIX, info.extract_version, _ATTRIBUTES) or info.volume or info.internal_attr or info.reserved:
        complain(f"{info.filename!r} is not marked as a plain file from Unix with mode rw-r--r--")
    end: int = begin + name_size + extra_size + info.compress_size
    if not streamed:
        return end
    if _at(file, end, _DESCRIPTOR.size) != _DESCRIPTOR.pack(b"PK\x07\x08", *known):
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
            record = _read(file, info, see, complain)
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
