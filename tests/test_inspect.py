"""What is in an archive, shown to people."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from export_engine.errors import ArchiveError, OptionError
from export_engine.inspect import conversation_text, members, printable
from tests.archives import Made, edit, make, talk


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path)


def test_members_are_the_manifest(tmp_path: Path) -> None:
    """What is read from an archive is what the manifest says, but for what only the export knows."""
    made = make(tmp_path, ending=".parquet")
    expected = pq.read_table(made.manifest).drop_columns(["sha256", "conversation_id"]).to_pylist()
    actual = [
        {name: getattr(record, name) for name in (expected[0] if expected else {})} for record in members(made.path)
    ]
    assert actual == expected


def test_members_are_read_in_their_turn(made: Made) -> None:
    """A damaged member matters only to who gets that far."""
    edit(made.path, 3, "message_id", "id")
    lazily = members(made.path)
    assert [next(lazily).rows for _ in range(3)] == [4, 3, 0]
    with pytest.raises(ArchiveError, match="Zoë 4"):
        next(lazily)


def test_a_conversation_as_text(made: Made) -> None:
    """Speakers, texts of several lines and media, one under another."""
    assert list(conversation_text(made.path, "talk-1")) == [
        "2026-06-03 09:15  agent Riley [bold]Sample[/bold] > Hello",
        "                  https://media.example.com/a%2Cb.jpg",
        "                  https://media.example.com/2",
        '2026-06-03 09:16  customer Zoë 1 > He said "yes",',
        "                  then",
        "                  no",
        "2026-06-03 09:17  agent Riley [bold]Sample[/bold] > ",
        "2026-06-03 09:18  customer Zoë 1 > ",
    ]


def test_text_cannot_steer_a_terminal(made: Made) -> None:
    """Control characters and separators are spelled out."""
    lines = list(conversation_text(made.path, "talk-2"))
    assert lines[3:] == [
        "2026-06-03 09:16  customer =Jane > nul:\\x00 escape:\\x1b[31m",
        "2026-06-03 09:17  agent Riley [bold]Sample[/bold] > two\\u2028lines",
    ]
    assert printable("\x9b2J \u202eevil \ud800 \U000e0001") == "\\x9b2J \\u202eevil \\ud800 \\U000e0001"
    kept = "Ana 👩🏽\u200d🚀 علی\u200cرضا 山田\u3000太郎\xa0"
    assert printable(kept) == kept


def test_a_conversation_by_name(made: Made) -> None:
    """A name, its beginning or a part of it will do, if it is one member's alone."""
    text = list(conversation_text(made.path, "talk-4"))
    for which in ("Zoë 4--2026-06-03_091500--SMS Support.csv", "Zoë 4", "oë 4--"):
        assert list(conversation_text(made.path, which)) == text
    with pytest.raises(OptionError, match="is in 3 names") as several:
        list(conversation_text(made.path, "Zoë"))
    with pytest.raises(OptionError, match="no member") as none:
        list(conversation_text(made.path, "Nobody"))
    assert several.value.option == none.value.option == "conversation"


def test_an_id_goes_before_a_part_of_a_name(tmp_path: Path) -> None:
    """An id that happens to be in another member's name means the conversation all the same."""
    made = make(tmp_path, [talk(1, ["mine"], "about talk-2"), talk(2, ["yours"])])
    assert "yours" in next(conversation_text(made.path, "talk-2"))


def test_all_parts_of_a_conversation(tmp_path: Path) -> None:
    """By its id a conversation is read through all its members."""
    made = make(tmp_path, [talk(1, [f"text {number}" for number in range(40)])], member_limit=2000)
    assert len([line for line in conversation_text(made.path, "talk-1") if "text" in line]) == 40
    assert made.report.members > 1
