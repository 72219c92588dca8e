"""`export-engine inspect` as a user runs it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.cells import cell_len

from export_engine import Channel, Contact, Conversation, DateRange, Message, export_conversations
from tests.cli.command import needs_posix, run


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
            shown += os.read(here, 1 << 16).decode()
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
