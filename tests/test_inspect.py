"""What is in an archive, shown to people."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pyarrow.parquet as pq
import pytest

from export_engine.errors import ArchiveError, OptionError
from export_engine.inspect import conversation_text, members
from export_engine.readback.printable import printable
from tests.archives import Made, edit, make, talk


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path)


def test_members_are_the_manifest(tmp_path: Path) -> None:
    """What is read from an archive is what the manifest says, but for what only the export knows."""
    made = make(tmp_path, ending=".parquet")
    kept = ["name", "csv_bytes", "deflated_bytes", "rows", "first_time", "last_time"]
    expected = pq.read_table(made.manifest, columns=kept).to_pylist()
    assert [{name: getattr(member, name) for name in kept} for member in members(made.path)] == expected
    assert [member.conversation_id for member in members(made.path)] == ["talk-1", "talk-2", "", "talk-4"]
    assert not any(member.problem for member in members(made.path))


def test_damage_to_one_member_is_its_own(made: Made) -> None:
    """A member that cannot be read says why, and those before and behind it are read all the same."""
    edit(made.path, 1, "message_id", "id")
    found = list(members(made.path))
    assert [member.rows for member in found] == [4, 0, 0, 1]
    assert ["the header is not" in member.problem for member in found] == [False, True, False, False]
    assert next(conversation_text(made.path, "talk-4")).endswith("the last")
    with pytest.raises(OptionError, match=r"no member has 'talk-2'.*; 1 members cannot be read"):
        list(conversation_text(made.path, "talk-2"))


def test_a_conversation_is_read_up_to_its_damage(made: Made) -> None:
    """What stands before the damage is shown, then the member is named."""
    edit(made.path, 0, '"talk-1-2"', 'talk"-1-2"')
    assert [member.rows for member in members(made.path)] == [2, 3, 0, 1]
    lines = conversation_text(made.path, "talk-1")
    assert next(lines).endswith("Hello")
    with pytest.raises(ArchiveError, match=r"Zoë 1--.*a quote or a line end stands within"):
        list(lines)


def test_damage_to_the_directory(made: Made) -> None:
    """Members whose records can be read are listed, and what is wrong where is told."""
    data = bytearray(made.path.read_bytes())
    with ZipFile(made.path) as archive:
        start = archive.start_dir
    data[data.index(b"PK\x01\x02", start + 4)] ^= 1
    made.path.write_bytes(data)
    told: list[str] = []
    assert [member.rows for member in members(made.path, told.append)] == [4, 0, 1]
    (problem,) = told
    assert "the directory is damaged at byte" in problem


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
