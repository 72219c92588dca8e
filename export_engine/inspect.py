"""What is in an archive, shown to people."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO
from unicodedata import category
from zipfile import ZipInfo

from export_engine.errors import OptionError
from export_engine.readback import directory, member_rows
from export_engine.report import MemberRecord
from export_engine.schema import COLUMN_NAMES
from export_engine.verify import read_member

__all__ = ["conversation_text", "members", "printable"]

_CONVERSATION = COLUMN_NAMES.index("conversation_id")


def members(path: str | os.PathLike[str]) -> Iterator[MemberRecord]:
    """Each member's record, in the archive's order, as its CSV says; a member is read when its turn comes.

    `conversation_id` is empty for a CSV without rows, `part` always 1. Raises ArchiveError for a file that is no ZIP
    archive or a CSV that cannot be read.
    """
    with Path(path).open("rb") as file:
        for info in directory(file)[0]:
            yield read_member(file, info, len, len)


def conversation_text(path: str | os.PathLike[str], which: str) -> Iterator[str]:
    """One conversation as lines to read: `2026-06-11 06:50  agent Jane > text`, what follows indented by 18 blanks.

    `which` is a member's name, a conversation's id (all its parts are read then), or what only one name begins with or
    contains. The lines are `printable`. Raises OptionError (`conversation`) if it means none or several, ArchiveError
    as `members` does.
    """
    with Path(path).open("rb") as file:
        for info in _find(file, which):
            for row in member_rows(file, info):
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
    infos = directory(file)[0]
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
    first = next(member_rows(file, info), [])
    return first[_CONVERSATION] if len(first) == len(COLUMN_NAMES) else None
