"""The fixtures are what `fixtures/build.py` builds, hold what they claim, and the data sets are whole."""

import csv
import io
import json
import subprocess
import sys
import zlib
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pyarrow.parquet as pq
import pytest

from export_engine.model import Contact, Conversation, Message
from export_engine.schema import COLUMN_NAMES, CREATED_AT, ROW_SCHEMA
from fixtures import build
from fixtures.datasets import chatterbot, chitchat, flat_table, main, naughty, write_nested, write_parquet

FIXTURES = Path(build.__file__).parent

Row = tuple[Any, ...]


def nested() -> list[dict[str, Any]]:
    lines = (FIXTURES / "conversations.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b""
    return [json.loads(line) for line in lines]


def utc(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def flat_rows(conversation: dict[str, Any]) -> list[Row]:
    """Rows of a nested conversation: twelve columns, media as a list or None, and created_at."""
    contact = conversation["contact"]
    rows = []
    for message in conversation["messages"]:
        speaker = message.get("speaker_name")
        if speaker is None and message["speaker_type"] == "customer":
            speaker = contact.get("name")
        rows.append(
            (
                message["id"],
                conversation["id"],
                contact.get("name"),
                contact.get("phone"),
                message["direction"],
                message["speaker_type"],
                speaker,
                utc(message["time"]),
                message.get("text"),
                message.get("media_urls"),
                message.get("status"),
                message.get("sender_account"),
                utc(conversation.get("created_at")),
            )
        )
    return rows


def in_june(moment: datetime) -> bool:
    return (moment.year, moment.month) == (2026, 6)


def as_text(row: Row) -> list[str]:
    """A row as `csv.reader` gives it, which cannot tell null from an empty text."""
    *before, moment, text, media, status, account = row[:-1]
    urls = ",".join(url.replace(",", "%2C") for url in media or [])
    values = [*before, f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z", text, urls, status, account]
    return ["" if value is None else value for value in values]


def listing() -> list[list[str]]:
    return [line.split("\t") for line in (FIXTURES / "golden/listing.txt").read_text("utf-8").split("\n")[:-1]]


@pytest.mark.slow
def test_committed_files_are_as_built() -> None:
    """`build.py --check`, run as a script, finds no difference."""
    done = subprocess.run(
        [sys.executable, FIXTURES / "build.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_names_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A changed, a missing and an unexpected file are each named, and the status is 1; building again mends all."""
    monkeypatch.setattr(build, "HERE", tmp_path)
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0
    (tmp_path / "golden/01.csv").write_bytes(b"changed")
    (tmp_path / "golden/02.csv").unlink()
    (tmp_path / "golden/99.csv").touch()
    pq.write_table(build.flat_table().slice(1), tmp_path / "conversations.parquet")
    assert build.main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "conversations.parquet: differs",
        "golden/01.csv: differs",
        "golden/02.csv: missing",
        "golden/99.csv: not expected",
    ]
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0


def test_nested_and_flat_hold_the_same_rows() -> None:
    """Parquet has every message of the JSON Lines, in order, with the library's types but media as lists."""
    table = pq.read_table(FIXTURES / "conversations.parquet")
    assert table.column_names == [*COLUMN_NAMES, CREATED_AT]
    assert {field.name for field in ROW_SCHEMA if table.schema.field(field.name).type != field.type} == {"media_url"}
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        row for conversation in nested() for row in flat_rows(conversation)
    ]


def test_nested_conversations_use_the_fields_of_the_model() -> None:
    """No key is unknown to the model; ids are unique."""
    conversations = nested()
    messages = [message for conversation in conversations for message in conversation["messages"]]
    for model, objects in (
        (Conversation, conversations),
        (Contact, [conversation["contact"] for conversation in conversations]),
        (Message, messages),
    ):
        assert {key for item in objects for key in item} == set(model.__slots__)
    assert len({conversation["id"] for conversation in conversations}) == len(conversations)
    assert len({message["id"] for message in messages}) == len(messages)


def test_goldens_hold_the_rows_of_june() -> None:
    """Read with the standard library, the CSVs are the June rows of the JSON Lines, in order, and nothing else."""
    expected = []
    for conversation in nested():
        rows = flat_rows(conversation)
        kept = [as_text(row) for row in rows if in_june(row[7])]
        if kept or (not rows and in_june(datetime.fromisoformat(conversation["created_at"]))):
            expected.append([list(COLUMN_NAMES), *kept])
    read = []
    for number, *_ in listing():
        text = (FIXTURES / f"golden/{number}.csv").read_bytes().decode()
        read.append(list(csv.reader(io.StringIO(text, newline=""), strict=True)))
    assert read == expected


def test_goldens_tell_null_from_empty() -> None:
    """Null is nothing between the commas, an empty text is a pair of quotes."""
    lines = (FIXTURES / "golden/18.csv").read_bytes().decode().split("\r\n")
    assert lines[-2].endswith(',"2026-06-16T14:25:02.000000Z",,,,"riley.sample@example.com"')
    assert lines[-3].endswith(',"2026-06-16T14:25:01.000000Z","",,"","riley.sample@example.com"')


def test_listing_matches_the_goldens() -> None:
    """Rows, bytes and CRC-32 are those of the files, and no file is unlisted."""
    for number, _, rows, size, crc in listing():
        content = (FIXTURES / f"golden/{number}.csv").read_bytes()
        parsed = list(csv.reader(io.StringIO(content.decode(), newline="")))
        assert (len(parsed) - 1, len(content), zlib.crc32(content)) == (int(rows), int(size), int(crc, 16))
    assert {f"{line[0]}.csv" for line in listing()} == {file.name for file in (FIXTURES / "golden").glob("*.csv")}


def test_expected_names_are_safe() -> None:
    """The hand-written names are NFC, within 180 bytes, split into three on `--` and differ by more than case."""
    names = [line[1] for line in listing()]
    assert len({normalize("NFC", name).casefold() for name in names}) == len(names)
    for name in names:
        assert name == normalize("NFC", name)
        assert len(name.encode()) <= 180
        assert len(name.split("--")) == 3
        assert not set(name) & set('<>:"/\\|?*')


def test_fixture_covers_what_it_is_for() -> None:
    """The cases the fixture promises are there."""
    conversations = nested()
    rows = [row for conversation in conversations for row in flat_rows(conversation)]
    texts = [row[8] for row in rows]
    everything = "".join(text for text in texts if text)
    assert (len(conversations), len(rows), len(listing())) == (33, 181, 30)
    assert {text[0] for text in texts if text} >= set("=+-@\t\r\n'")
    assert {None, "", " ", '"', "\x00"} <= set(texts)
    assert all(part in everything for part in ["\r\n", "\u2028", "\x85", "\u200d", "\u200f", "\u202b", "\ufeff", "🇹🇼"])
    assert {row[10] for row in rows} >= {"delivered", "read", "failed", "sent", None, ""}
    assert {row[5] for row in rows} == {"bot", "agent", "customer"}
    assert {len(row[9]) for row in rows if row[9] is not None} == {0, 1, 2, 3}
    assert 300 in {len(conversation["contact"].get("name") or "") for conversation in conversations}
    edges = [datetime(2026, 6, 30, 23, 59, 59, 999_999, UTC), datetime(2026, 7, 1, tzinfo=UTC)]
    assert set(edges) <= {row[7] for row in rows}


@pytest.mark.slow
def test_chitchat_is_whole() -> None:
    """All conversations and messages arrive, with true times, the first sender as the customer and unique ids."""
    conversations = list(chitchat())
    messages = [message for conversation in conversations for message in conversation.messages]
    assert (len(conversations), len(messages)) == (7_168, 258_145)
    assert len({conversation.id for conversation in conversations}) == 7_168
    assert len({message.id for message in messages}) == 258_145
    times = [message.time for message in messages]
    assert (min(times), max(times)) == (
        datetime(2018, 4, 10, 18, 2, 17, tzinfo=UTC),
        datetime(2018, 11, 16, 17, 9, 7, tzinfo=UTC),
    )
    for conversation in conversations:
        said = list(conversation.messages)
        assert said[0].speaker_type == "customer"
        assert said[0].time == conversation.created_at


@pytest.mark.slow
def test_chatterbot_is_whole() -> None:
    """Every exchange of all languages arrives, in June 2026, under ids of its own."""
    conversations = list(chatterbot())
    times = [message.time for conversation in conversations for message in conversation.messages]
    assert (len(conversations), len(times)) == (7_636, 19_589)
    assert len({conversation.id for conversation in conversations}) == 7_636
    assert all(in_june(time) for time in times)


@pytest.mark.slow
def test_chatterbot_languages_can_be_chosen() -> None:
    """A language has the same conversations alone as among all; an unknown one is named."""
    chosen = list(chatterbot(["thai", "hebrew"]))
    assert [conversation for conversation in chatterbot() if conversation in chosen] == chosen
    with pytest.raises(FileNotFoundError, match="'klingon'"):
        next(chatterbot(["klingon"]))


def test_naughty_strings_are_utf8() -> None:
    """There are 503, each encodable, the empty one among them."""
    strings = naughty()
    assert len(strings) == 503
    assert "" in strings
    assert [string.encode().decode() for string in strings] == strings


def conversations_of_three() -> list[Conversation]:
    """One with every field, one without messages, one with as little as possible."""
    time = datetime(2026, 6, 1, 12, 0, 0, 250_000, UTC)
    urls = ["https://example.com/a,b", "https://example.com/c"]
    full = Message("m1", time, "outbound", "agent", "Hi", "Riley Sample", urls, "sent", "riley@example.com")
    return [
        Conversation("c1", Contact("Jane Doe", "+12025550101"), [full], time),
        Conversation("c2", Contact(), [], time),
        Conversation("c3", Contact("Pat"), iter([Message("m2", time, "inbound", "customer")])),
    ]


def test_flat_table_has_the_row_schema() -> None:
    """A row a message; a customer's name is the contact's; media is text, its commas escaped."""
    table = flat_table(conversations_of_three())
    assert table.schema == ROW_SCHEMA
    assert table["message_id"].to_pylist() == ["m1", "m2"]
    assert table["speaker_name"].to_pylist() == ["Riley Sample", "Pat"]
    assert table["media_url"].to_pylist() == ["https://example.com/a%2Cb,https://example.com/c", None]
    assert table["created_at"].to_pylist() == [datetime(2026, 6, 1, 12, 0, 0, 250_000, UTC), None]


def test_flat_table_can_keep_media_as_lists() -> None:
    """With `media_lists` the URLs are as they were."""
    table = flat_table(conversations_of_three(), media_lists=True)
    assert table["media_url"].to_pylist() == [["https://example.com/a,b", "https://example.com/c"], None]


def test_written_parquet_is_the_flat_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups are joined without loss, also across a group that has no messages."""
    monkeypatch.setattr("fixtures.datasets.GROUP", 1)
    write_parquet(conversations_of_three(), tmp_path / "three.parquet")
    assert pq.read_table(tmp_path / "three.parquet").equals(flat_table(conversations_of_three()))


@pytest.mark.slow
def test_written_nested_has_the_fixtures_shape(tmp_path: Path) -> None:
    """The lines flatten, as the fixture's do, to the rows of `flat_table`."""
    some = list(islice(chitchat(), 20))
    write_nested(some, tmp_path / "some.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "some.jsonl").read_bytes().splitlines()]
    flat = flat_table(some, media_lists=True).to_pylist()
    rows = [row for line in lines for row in flat_rows(line)]
    assert [(*row[:9], row[9] or None, *row[10:]) for row in rows] == [tuple(row.values()) for row in flat]


@pytest.mark.slow
def test_command_line_writes_both_files(tmp_path: Path) -> None:
    """One call writes the nested and the flat file of a data set."""
    assert main(["chatterbot", "--nested", str(tmp_path / "a.jsonl"), "--parquet", str(tmp_path / "a.parquet")]) == 0
    assert (tmp_path / "a.jsonl").read_bytes().count(b"\n") == 7_636
    assert pq.read_metadata(tmp_path / "a.parquet").num_rows == 19_589


def test_command_line_wants_an_output(capsys: pytest.CaptureFixture[str]) -> None:
    """Without an output file nothing is read, and the usage error says which options there are."""
    with pytest.raises(SystemExit):
        main(["chitchat"])
    assert "--nested FILE, --parquet FILE" in capsys.readouterr().err
