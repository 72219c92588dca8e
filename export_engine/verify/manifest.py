"""What a manifest says of the members, held against what was found in them.

Manifest and archive are read side by side, and only what stands in another place is held, so that memory does not grow
with their length where they agree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from export_engine.report import ArchiveRecord, MemberRecord

__all__ = ["Manifest"]

_FIELDS = tuple(field.name for field in fields(MemberRecord))
#: The types of their values.
_KINDS: dict[str, tuple[type, ...]] = dict.fromkeys(_FIELDS, (int,)) | {
    **dict.fromkeys(("name", "conversation_id"), (str,)),
    **dict.fromkeys(("first_time", "last_time"), (datetime, type(None))),
    "sha256": (str, type(None)),
}
_ARCHIVE_KINDS: dict[str, tuple[type, ...]] = {
    "file_name": (str,),
    "bytes": (int,),
    "sha256": (str, type(None)),
    "members": (int,),
}
#: Records of a Parquet manifest in memory at a time.
_BATCH = 8192
#: A line of JSON is no longer: it has one name and one conversation's id.
_LONGEST_LINE = 256 << 20
#: What `json` and pyarrow raise for bytes that are not what they should be.
_UNREADABLE = (KeyError, TypeError, ValueError, OverflowError, RecursionError, MemoryError, OSError)

#: What the formula guard would have put a quote before.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n", "\0", "'")

_Complain = Callable[[str], object]
_Record = TypeVar("_Record", MemberRecord, ArchiveRecord)


class Manifest:
    """A manifest, as far as it has been compared with the archive's members.

    `archives` are those that it names: none unless the export was one with a size limit. Raises OSError for a file that
    cannot be opened.
    """

    def __init__(self, path: Path, complain: _Complain) -> None:
        with path.open("rb"):
            pass
        self._complain = complain
        self.archives = self._named(path)
        self._records = self._read(path)
        # Names that one side has had and the other has not yet, with their place; None for what cannot be read.
        self._listed: dict[str, tuple[int, MemberRecord]] = {}
        self._found: dict[str, tuple[int, MemberRecord | None]] = {}
        self._places = (0, 0)
        self._members = 0
        self._in_order = True
        self._broken = False
        self._without_hash: list[str] = []
        self._hashless = 0
        #: Members whose conversation's id shows that the formula guard was on, and off.
        self.guarded = self.unguarded = 0

    def compare_archive(self, expected: ArchiveRecord, size: int, sha256: str, members: int) -> None:
        """Hold what an archive is against what is said of it."""
        for what, says, is_ in (
            ("size", expected.bytes, size),
            ("SHA-256", expected.sha256, sha256),
            ("number of CSVs", expected.members, members),
        ):
            if says not in (None, is_):
                self._complain(f"{expected.file_name}: its {what} is {is_}, but {says} in the manifest")

    def compare(self, name: str, actual: MemberRecord | None) -> None:
        """Hold the archive's next member against its record; None for one that cannot be read."""
        self._members += 1
        self._next_record()
        if (listed := self._listed.pop(name, None)) is not None:
            self._match(*listed, self._members, actual)
        elif name not in self._found:
            self._found[name] = (self._members, actual)

    def finish(self, in_archive: Callable[[str], bool]) -> None:
        """There are no more members: tell what is left on one side alone. `in_archive` tells names that are there."""
        while self._next_record():
            pass
        for name in self._listed:
            if in_archive(name):
                self._complain(f"manifest: {name!r} is listed twice")
            else:
                self._complain(f"{name!r} is in the manifest, but not in the archive")
        if self._broken and self._found:
            first, count = next(iter(self._found)), len(self._found)
            self._complain(f"manifest: what it has of {count} CSVs is not known, the first of them {first!r}")
        else:
            for name in self._found:
                self._complain(f"{name!r} is in the archive, but not in the manifest")
        if not self._in_order:
            self._complain("manifest: its members stand in another order than the archive's")
        if self._hashless:
            self._complain(
                f"manifest: {self._hashless} records have no sha256, the first that of {self._without_hash[0]!r}: "
                "nothing tells whether their rows are those that were exported"
            )

    def _next_record(self) -> bool:
        """Take the next record; False if there is none."""
        numbered = next(self._records, None)
        if numbered is None:
            return False
        number, record = numbered
        if record.sha256 is None:
            self._hashless += 1
            self._without_hash = self._without_hash or [record.name]
        if (found := self._found.pop(record.name, None)) is not None:
            self._match(number, record, *found)
        elif record.name in self._listed:
            self._complain(f"manifest: {record.name!r} is listed twice")
        else:
            self._listed[record.name] = numbered
        return True

    def _match(self, number: int, expected: MemberRecord, member: int, actual: MemberRecord | None) -> None:
        before = self._places
        self._in_order &= number > before[0] and member > before[1]
        self._places = (number, member)
        if actual is not None:
            self._compare(expected, actual)

    def _compare(self, expected: MemberRecord, actual: MemberRecord) -> None:
        here, there = actual.conversation_id, expected.conversation_id
        if not actual.rows:  # only the manifest knows the conversation
            actual = replace(actual, conversation_id=there)
        elif here != there and _unguarded(here) == there:
            self.guarded += 1
            actual = replace(actual, conversation_id=there)
        elif here == there and there.startswith(_FORMULA):
            self.unguarded += 1
        if expected.sha256 is None:
            actual = replace(actual, sha256=None)
        for name in _FIELDS:
            says, is_ = getattr(expected, name), getattr(actual, name)
            if says != is_:
                self._complain(f"{actual.name!r}: {name} is {is_}, but {says} in the manifest")

    def _named(self, path: Path) -> list[ArchiveRecord]:
        found: list[ArchiveRecord] = []
        try:
            for said in _archives(path):
                record = _made(ArchiveRecord, _ARCHIVE_KINDS, said)
                if Path(record.file_name).name != record.file_name:
                    raise ValueError(f"{record.file_name!r} is no file's name")
                found.append(record)
        except _UNREADABLE as error:
            self._complain(f"manifest: an archive's record cannot be read: {_reason(error)}")
        return found

    def _read(self, path: Path) -> Iterator[tuple[int, MemberRecord]]:
        number = 0
        try:
            for said in _records(path):
                record = _made(MemberRecord, _KINDS, said)
                number += 1
                yield number, record
        except _UNREADABLE as error:
            self._broken = True
            advice = "" if number else "; give the file that was written with the archive"
            self._complain(f"manifest: record {number + 1} cannot be read: {_reason(error)}{advice}")


# The quote of the formula guard: at a text's beginning, or where a spreadsheet may begin another cell within it.
_GUARDS = re.compile(r"(\A|[;\t\r\n])'")


def _unguarded(text: str) -> str:
    """A text without the formula guard's quotes."""
    return _GUARDS.sub(r"\1", text)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return " ".join(str(error).split())[:300] or type(error).__name__


def _made(kind: type[_Record], kinds: Mapping[str, tuple[type, ...]], said: dict[str, Any]) -> _Record:
    """The record of its fields. Raises TypeError for fields it does not have, or of another type."""
    made = kind(**said)
    for name, types in kinds.items():
        value = getattr(made, name)
        if type(value) not in types:
            raise TypeError(f"{name} is {str(value)[:80]!r}")
    return made


#: The key that the record of an archive has, and that of a member has not.
_ARCHIVE_KEY = "file_name"


def _archives(path: Path) -> Iterator[dict[str, Any]]:
    """What is said of archives."""
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq  # noqa: PLC0415  # most manifests are JSON Lines

        yield from json.loads((pq.read_metadata(path).metadata or {}).get(b"archives", b"[]"))
        return
    with path.open("rb") as lines:
        while line := lines.readline(_LONGEST_LINE):
            if _ARCHIVE_KEY.encode() in line and _ARCHIVE_KEY in (record := json.loads(line)):
                yield record


def _records(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix.lower() == ".parquet":
        import pyarrow as pa  # noqa: PLC0415  # most manifests are JSON Lines
        import pyarrow.parquet as pq  # noqa: PLC0415

        with pa.OSFile(str(path)) as file, pq.ParquetFile(file) as table:
            for batch in table.iter_batches(_BATCH):
                yield from batch.to_pylist()
        return
    with path.open("rb") as lines:
        while line := lines.readline(_LONGEST_LINE):
            record = json.loads(line)
            if _ARCHIVE_KEY in record:
                continue
            for key in ("first_time", "last_time"):
                record[key] = record[key] and datetime.fromisoformat(record[key])
            yield record
