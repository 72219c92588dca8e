"""What is in an archive, shown to people: as much of it as can be read, and what is wrong where it cannot."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import IO

from export_engine.errors import ArchiveError, OptionError
from export_engine.readback.directory import Entry, find_end, records
from export_engine.readback.packed import chunks
from export_engine.readback.printable import printable
from export_engine.readback.rows import cause, first_row, header_of, scanned, whole_rows
from export_engine.readback.table import instants, table
from export_engine.schema import COLUMN_NAMES
from export_engine.times import instant

__all__ = ["Member", "conversation_text", "entries", "members"]

_CONVERSATION, _TIME = map(COLUMN_NAMES.index, ("conversation_id", "message_time"))
#: How many names are told where several would do.
_SOME = 5


@dataclass(slots=True)
class Member:
    """One CSV of an archive, as far as it can be read.

    Sizes are in bytes, by the directory. `conversation_id` is empty for a CSV without rows; the times are the earliest
    and latest (aware, UTC), None without any. `problem` is what is wrong with a CSV that cannot be read to its end;
    `rows` counts those before.
    """

    name: str
    csv_bytes: int
    deflated_bytes: int
    conversation_id: str = ""
    rows: int = 0
    first_time: datetime | None = None
    last_time: datetime | None = None
    problem: str = ""


def members(path: str | os.PathLike[str], complain: Callable[[str], object] = len) -> Iterator[Member]:
    """Each member, in the archive's order; it is read when its turn comes, and damage to one is no matter to the next.

    `complain` is called with what is wrong with the directory, where members may be missing. Raises ArchiveError for a
    file that is no ZIP archive.
    """
    with Path(path).open("rb") as file:
        for entry in _entries(file, complain):
            yield _member(file, entry)


def entries(path: str | os.PathLike[str]) -> Iterator[Entry]:
    """Each member by the directory alone: nothing of it is read. Raises ArchiveError as `members` does."""
    with Path(path).open("rb") as file:
        yield from _entries(file)


def conversation_text(path: str | os.PathLike[str], which: str) -> Iterator[str]:
    """One conversation as lines to read: `2026-06-11 06:50  agent Jane > text`, what follows indented by 18 blanks.

    `which` is a member's name, a conversation's id (all its parts are read then), or what only one name begins with or
    contains. The lines are `printable`; a text of many MiB is cut. Raises OptionError (`conversation`) if it means none
    or several, ArchiveError for a file that is no archive, or where the conversation's own CSV cannot be read on.
    """
    with Path(path).open("rb") as file:
        for entry in _find(file, which):
            csv = chunks(file, entry)
            try:
                for cells in _rows(csv):
                    if len(cells) == len(COLUMN_NAMES):
                        yield from _message_lines(dict(zip(COLUMN_NAMES, map(_text, cells), strict=True)))
            except ArchiveError as error:
                raise ArchiveError(f"{entry.name!r}: {cause(error, csv)}") from error


def _entries(file: IO[bytes], complain: Callable[[str], object] = len) -> Iterator[Entry]:
    for some in records(file, find_end(file), complain):
        yield from some.entries()


def _member(file: IO[bytes], entry: Entry) -> Member:
    member = Member(entry.name, entry.csv_bytes, entry.packed_bytes)
    csv = chunks(file, entry)
    try:
        _, line_end, rest = header_of(csv)
        for data in whole_rows(rest):
            _count(member, data, line_end)
    except ArchiveError as error:
        member.problem = cause(error, csv)
    return member


def _count(member: Member, data: bytes, line_end: bytes) -> None:
    """Add some rows to what is known of a member."""
    rows = table(data, line_end)
    times = None if rows is None else instants(rows, _TIME)
    if rows is not None and times is not None:
        if not len(rows):
            return
        member.rows += len(rows)
        found = [instant(int(times.min())), instant(int(times.max()))]
        id_ = rows.cells(rows.starts[:1, _CONVERSATION], rows.lengths[:1, _CONVERSATION])[0]
    else:
        found, id_ = [], b""
        for row in scanned(data, line_end):
            member.rows += 1
            if len(row.cells) == len(COLUMN_NAMES):
                id_ = id_ or row.cells[_CONVERSATION] or b""
                found += _times(_text(row.cells[_TIME]))
    member.conversation_id = member.conversation_id or _text(id_)
    if found:
        member.first_time = min(filter(None, (member.first_time, *found)))
        member.last_time = max(filter(None, (member.last_time, *found)))


def _times(text: str) -> list[datetime]:
    """The time of a text, in a list; an empty one for what is no time."""
    try:
        time = datetime.fromisoformat(text)
        return [time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)]
    except (ValueError, OverflowError):
        return []


def _text(cell: bytes | None) -> str:
    return (cell or b"").decode(errors="backslashreplace")


def _rows(csv: Iterator[bytes]) -> Iterator[list[bytes | None]]:
    """A CSV's rows as they are. Raises ArchiveError where it cannot be read on."""
    _, line_end, rest = header_of(csv)
    for row in chain.from_iterable(scanned(rows, line_end) for rows in whole_rows(rest)):
        yield row.cells


def _message_lines(message: dict[str, str]) -> Iterator[str]:
    time = message["message_time"][:16].replace("T", " ")
    speaker = f"{message['speaker_type']} {message['speaker_name']}".rstrip()
    first, *others = re.split("\r\n|\n", message["message_text"])
    yield printable(f"{time:16}  {speaker} > {first}")
    for line in (*others, *filter(None, message["media_url"].split(","))):
        yield f"{'':18}{printable(line)}"


def _find(file: IO[bytes], which: str) -> list[Entry]:
    """The members that `which` means: see `conversation_text`."""
    tests: list[Callable[[Entry], bool]] = [
        lambda entry: entry.name == which,
        lambda entry: entry.name.startswith(which),
        lambda entry: which in entry.name,
    ]
    counts, found = [0] * len(tests), [list[Entry]() for _ in tests]
    for entry in _entries(file):
        for kind, test in enumerate(tests):
            if test(entry):
                counts[kind] += 1
                if len(found[kind]) < _SOME:
                    found[kind].append(entry)
    by_name, *by_part = found
    if counts[0] == 1:
        return by_name
    by_id, unreadable = ([], 0) if by_name else _by_id(file, which)
    if by_id:
        return by_id
    for count, entries_ in zip(counts, (by_name, *by_part), strict=True):
        if count == 1:
            return entries_
        if count:
            some = ", ".join(repr(entry.name) for entry in entries_)
            raise OptionError(f"{which!r} is in {count} names: say more of one of {some}", option="conversation")
    damaged = f"; {unreadable} members cannot be read" if unreadable else ""
    raise OptionError(
        f"no member has {which!r} as conversation id or in its name{damaged}; without it all are listed",
        option="conversation",
    )


def _by_id(file: IO[bytes], which: str) -> tuple[list[Entry], int]:
    """The members of a conversation, and how many members cannot be asked."""
    found, unreadable = [], 0
    for entry in _entries(file):
        try:
            row = first_row(chunks(file, entry))
        except ArchiveError:
            unreadable += 1
            continue
        if row is not None and len(row.cells) == len(COLUMN_NAMES) and _text(row.cells[_CONVERSATION]) == which:
            found.append(entry)
    return found, unreadable
