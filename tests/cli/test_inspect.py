"""`export-engine inspect` as a user runs it."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from zipfile import ZipFile

import pytest
from rich.cells import cell_len

from export_engine import Channel, Contact, Conversation, DateRange, Message, export_conversations
from tests.cli.command import COMMAND, ENVIRONMENT, everything, needs_posix, run


@pytest.mark.slow
def test_inspect_lists_members(archive: Path) -> None:
    """A line for each CSV up to the limit, and the totals of all."""
    code, output, errors = run("inspect", archive, "--limit", "3")
    assert (code, errors) == (0, "")
    lines = output.decode().splitlines()
    assert lines[0].split() == ["messages", "CSV", "deflated", "first", "last", "name"]
    assert lines[1].split(maxsplit=1)[0] == "10"
    assert lines[1].endswith(
        "  2026-06-03 09:15  2026-06-04 15:02  Jane Doe--2026-06-03_091500--SMS Support (+12025550123).csv"
    )
    assert len(lines) == 5
    assert lines[4].startswith("30 CSVs, ")
    assert lines[4].endswith("; the first 3 are listed, --limit lists more")


@pytest.mark.slow
def test_inspect_prints_a_conversation(archive: Path) -> None:
    """A conversation is found by its id, or by a part of a name that is one CSV's alone."""
    code, output, errors = run("inspect", archive, "late-parcel")
    assert (code, errors) == (0, "")
    lines = output.decode().splitlines()
    assert lines[0] == "2026-06-03 09:15  customer Jane Doe > Hi, my parcel was due yesterday. Order 48-1107."
    assert lines[7] == "                  https://files.example.com/notes/48-1107.pdf"
    assert run("inspect", archive, "王小明")[0] == 0
    code, output, errors = run("inspect", archive, "Jane Doe")
    assert (code, output) == (2, b"")
    assert errors.startswith("error: CONVERSATION: 'Jane Doe' is in 3 names")


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [pytest.param(True, marks=needs_posix), False])
def test_inspect_prints_text_as_text(tmp_path: Path, terminal: bool) -> None:
    """Neither control characters nor rich's markup of a message or a name mean anything, to a terminal or a pipe."""
    message = Message(
        "m", datetime(2026, 6, 1, tzinfo=UTC), "inbound", "customer", "\x1b[2J [red]:smile: " + "字 " * 60
    )
    talk = Conversation("c", Contact("[b]Jane[/b] \u202e\x9b"), [message])
    days = DateRange(message.time.date(), message.time.date())
    path = export_conversations([talk], channel=Channel("[i]"), date_range=days).write_to(tmp_path)
    shown = ""
    either: list[list[str]] = [[], ["c"]]
    for which in either:
        if terminal:
            here, there = os.openpty()  # type: ignore[attr-defined,unused-ignore]  # POSIX
            assert run("inspect", path, *which, stdout=there)[0] == 0
            os.close(there)
            shown += everything(here).decode()
            os.close(here)
        else:
            shown += run("inspect", path, *which)[1].decode()
    assert not set("\x1b\x9b\u202e") & set(shown)
    assert "\\x1b[2J [red]:smile:" in shown
    assert "customer [b]Jane[/b] \\u202e\\x9b > " in shown
    names = shown.partition("deflated")[2].replace("\r\n" + " " * 70, "")
    assert "[b]Jane[_b]--2026-06-01_000000--[i].csv" in names
    if terminal:
        texts = shown.rpartition("deflated\r\n")[2].split("\r\n")
        assert len(texts) == 4
        assert max(map(cell_len, texts)) <= 100


def on_terminal(width: int, *arguments: str | Path) -> tuple[int, list[str]]:
    """Exit code and lines of inspect in a terminal of some width."""
    here, there = os.openpty()  # type: ignore[attr-defined,unused-ignore]  # POSIX
    with subprocess.Popen(
        [*COMMAND, "inspect", *map(str, arguments)], env=ENVIRONMENT | {"COLUMNS": str(width)}, stdout=there
    ) as process:
        os.close(there)
        shown = everything(here)
    os.close(here)
    return process.returncode, shown.decode().splitlines()


FLAGS = "🇩🇪🇫🇷🇮🇹🇪🇸" * 4
FAMILY = "👨\u200d👩\u200d👧" * 6


@pytest.fixture
def odd_names(tmp_path: Path) -> Path:
    """Names that are long, wide, of flags, and a conversation without messages."""
    start = datetime(2026, 6, 1, tzinfo=UTC)
    message = Message("m", start, "inbound", "customer", f"{FLAGS} {FAMILY} {'long' * 30} " + "字" * 40)
    names = ["Jane " + "Maria " * 20, "王小明" * 12, FLAGS, FAMILY, "x" * 120]
    talks = [Conversation(f"c{number}", Contact(name), [message]) for number, name in enumerate(names)]
    talks.append(Conversation("empty", Contact("Nobody"), [], start))
    days = DateRange(start.date(), start.date())
    return export_conversations(talks, channel=Channel("Desk"), date_range=days).write_to(tmp_path)


@pytest.mark.slow
@needs_posix
@pytest.mark.parametrize("width", [30, 60, 80, 100, 140])
def test_every_line_fits(odd_names: Path, width: int) -> None:
    """Names and texts are folded with a hanging indent; no line is wider, no flag is torn, nothing is lost."""
    with ZipFile(odd_names) as archive:
        names = archive.namelist()
    code, lines = on_terminal(width, odd_names)
    assert code == 0
    assert max(map(cell_len, lines)) <= width
    bare = "".join("".join(lines).split())
    for name in names:
        for word in name.split(" ") if width < 94 else ():
            assert word in bare
    code, lines = on_terminal(width, odd_names, "c2")
    assert code == 0
    assert max(map(cell_len, lines)) <= width
    text = "".join("".join(lines).split())
    assert FLAGS in text
    assert FAMILY in text
    assert "字" * 40 in text
    letters = [run for line in lines for run in re.findall("[\U0001f1e6-\U0001f1ff]+", line)]
    assert {run[at : at + 2] for run in letters for at in range(0, len(run), 2)} == {"🇩🇪", "🇫🇷", "🇮🇹", "🇪🇸"}


@pytest.mark.slow
@needs_posix
def test_a_narrow_list(odd_names: Path) -> None:
    """At 30 columns the facts stand below the name, each indented."""
    _, lines = on_terminal(30, odd_names)
    at = next(number for number, line in enumerate(lines) if line.startswith("Nobody--"))
    assert lines[at : at + 2] == ["Nobody--2026-06-01_000000--Des", "    k.csv"]
    assert lines[at + 2] == "  no messages, 149 B of CSV,"
    assert lines[at + 3].startswith("    ")
    assert lines[at + 3].endswith("B deflated")


@pytest.mark.slow
def test_an_empty_conversation_says_so(odd_names: Path) -> None:
    """Its row in the list has no times, and printing it is not silence."""
    _, output, _ = run("inspect", odd_names)
    assert "no messages" in next(line for line in output.decode().splitlines() if "Nobody" in line)
    assert run("inspect", odd_names, "empty") == (2, b"", run("inspect", odd_names, "empty")[2])
    assert run("inspect", odd_names, "Nobody") == (0, b"no messages\n", "")


@pytest.mark.slow
def test_a_damaged_member(odd_names: Path) -> None:
    """The list goes on behind it and says what is wrong, with exit code 3; the others are found by their ids."""
    with ZipFile(odd_names) as archive:
        info = archive.infolist()[1]
    data = bytearray(odd_names.read_bytes())
    place = info.header_offset + 30 + len(info.filename.encode()) + info.compress_size // 2
    data[place] ^= 0x55
    odd_names.write_bytes(data)
    code, output, errors = run("inspect", odd_names)
    lines = output.decode().splitlines()
    assert (code, errors) == (3, "")
    assert [line.split()[0] for line in lines[1:7]] == ["1", "damaged", "1", "1", "1", "0"]
    assert lines[-1].startswith(f"  {info.filename!r}: it ")
    code, output, _ = run("inspect", odd_names, "c3")
    assert code == 0
    assert FAMILY in output.decode()
    code, _, errors = run("inspect", odd_names, "c1")
    assert code == 2
    assert "1 members cannot be read" in errors
    code, _, errors = run("inspect", odd_names, info.filename)
    assert code == 3
    assert errors.startswith(f"error: {info.filename!r}: it ")
