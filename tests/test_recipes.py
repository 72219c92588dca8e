"""The recipes: each shape, by the command and the Python that their page shows, becomes the rows that it must."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from io import BytesIO, StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import psycopg
import pytest

from export_engine import Channel, DateRange, RowError, SourceError, export_conversations
from export_engine.sources import Source, read_database, read_sql
from export_engine.verify import verify_archive
from tests.cli.command import run
from tests.jobs.postgres import fresh_database, running_cluster
from tests.shapes import (
    amazon_connect,
    chatwoot,
    crisp,
    freshchat,
    genesys,
    hubspot,
    intercom,
    line,
    liveperson,
    meta,
    rocket_chat,
    slack,
    telegram,
    twilio,
    whatsapp,
    whatsapp_text,
    zendesk_chat,
)
from tests.shapes.talks import Row, write_json

RECIPES = Path(__file__).parents[1] / "fixtures" / "recipes"
PAGE = (RECIPES / "README.md").read_text("utf-8")
COMMANDS = {
    match[1]: shlex.split(match[0])[1:]
    for match in re.finditer(r"^export-engine .*recipes/(\S+)\.sql.*$", PAGE, re.MULTILINE)
}
JUNE = DateRange(date(2026, 6, 1), date(2026, 6, 30))
SHAPES: dict[str, Callable[[Path], list[Row]]] = {
    "twilio-log": partial(twilio.write, bulk=False),
    "twilio-bulk": partial(twilio.write, bulk=True),
    "intercom": intercom.write,
    "amazon-connect": amazon_connect.write,
    "zendesk-chat": zendesk_chat.write,
    "slack": slack.write,
    "telegram": telegram.write,
    "rocket-chat": rocket_chat.write,
    "meta-messages": meta.write,
    "line-text": line.write,
    "freshchat": freshchat.write,
    "whatsapp-text": whatsapp_text.write,
    "crisp": crisp.write,
    "hubspot": hubspot.write,
    "liveperson": liveperson.write,
    "genesys": genesys.write,
    "whatsapp-webhooks": whatsapp.write,
}


def query(recipe: str) -> str:
    return (RECIPES / f"{recipe}.sql").read_text("utf-8")


def by_id(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row["conversation_id"], row["message_id"]))


def rows_of(archive: bytes) -> list[Row]:
    with ZipFile(BytesIO(archive)) as opened:
        tables = [csv.DictReader(StringIO(opened.read(name).decode(), newline="")) for name in opened.namelist()]
    return [row for table in tables for row in table]


def exported(source: Source) -> list[Row]:
    return rows_of(b"".join(export_conversations(source, channel=Channel("X"), date_range=JUNE, export_id="x")))


def in_order(rows: list[Row]) -> bool:
    """Whether each conversation's messages are by time."""
    return all(
        first["message_time"] <= second["message_time"]
        for first, second in pairwise(rows)
        if first["conversation_id"] == second["conversation_id"]
    )


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the recipes are, as in a clone."""
    (tmp_path / "fixtures").mkdir()
    (tmp_path / "fixtures" / "recipes").symlink_to(RECIPES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with running_cluster() as url:
        yield url


@pytest.fixture
def database(cluster: str) -> tuple[str, list[Row]]:
    """The URL of a database of Chatwoot's, and the rows that must come of it."""
    url = fresh_database(cluster)
    with psycopg.connect(url) as connection:

        def execute(statement: str, values: list[Any]) -> None:
            connection.execute(statement.encode(), values or None)

        return url, chatwoot.write(execute)


def test_each_recipe_has_a_command() -> None:
    """And each command a recipe, a row of the table, and in the recipe's head the same command."""
    assert {path.stem for path in RECIPES.glob("*.sql")} == COMMANDS.keys() == SHAPES.keys() | {"chatwoot"}
    for recipe, command in COMMANDS.items():
        assert f"| `{recipe}.sql` |" in PAGE
        head = query(recipe).partition("\nWITH ")[0].partition("\nSELECT")[0]
        said = re.sub(r" ?\\\n-- *", " ", head.partition("-- export-engine ")[2])
        assert shlex.split(said) == command
        for part in ("Written against:", "Conversation:", "Speakers:", "Left out:", "Parameters:"):
            assert f"\n-- {part} " in head


@pytest.mark.slow
@pytest.mark.parametrize("recipe", SHAPES)
def test_a_shape_in_one_command(recipe: str, clone: Path) -> None:
    """The page's, word for word: the rows that must come of it, and an archive without problems."""
    rows = SHAPES[recipe](clone)
    code, _, errors = run(*COMMANDS[recipe], "--output", "out.zip", cwd=clone)
    assert (code, errors) == (0, "")
    found = rows_of((clone / "out.zip").read_bytes())
    assert by_id(found) == by_id(rows)
    assert in_order(found)
    assert not verify_archive(clone / "out.zip").problems


@pytest.mark.parametrize(
    ("recipe", "parameter", "place"),
    [
        ("intercom", "files", "conversations/9.json"),
        ("amazon-connect", "files", "ChatTranscripts/2026/06/01/x.json"),
        ("zendesk-chat", "files", "chats.json"),
        ("telegram", "files", "result.json"),
        ("meta-messages", "files", "messages/inbox/x_1/message_1.json"),
        ("freshchat", "messages", "messages/9.json"),
        ("freshchat", "users", "users.json"),
        ("freshchat", "agents", "agents.json"),
        ("crisp", "conversations", "conversations/9.json"),
        ("crisp", "messages", "messages/9.json"),
        ("hubspot", "threads", "threads/9.json"),
        ("hubspot", "messages", "messages/9.json"),
        ("hubspot", "actors", "actors.json"),
        ("liveperson", "files", "pages/9.json"),
        ("genesys", "conversations", "conversations/9.json"),
        ("genesys", "messages", "messages/9.json"),
        ("whatsapp-webhooks", "files", "webhooks.jsonl"),
    ],
)
def test_a_file_of_another_shape(recipe: str, parameter: str, place: str, clone: Path) -> None:
    """An error that was saved among the answers is refused by name: what it stands for would be lost in silence."""
    SHAPES[recipe](clone)
    parameters = dict(pair.split("=", 1) for pair in COMMANDS[recipe] if "=" in pair)
    assert parameter in parameters
    assert exported(read_sql(query(recipe), parameters))
    write_json(clone / place, {"errors": [{"code": "rate_limit_exceeded"}], "request_id": "1"})
    with pytest.raises(SourceError, match=rf"{place} has no \w+, which this recipe reads: fetch it again, or leave it"):
        exported(read_sql(query(recipe), parameters))


@pytest.mark.slow
def test_chatwoot_in_one_command(database: tuple[str, list[Row]], clone: Path) -> None:
    """The page's, with another URL."""
    url, rows = database
    command = [url if part.startswith("postgresql://") else part for part in COMMANDS["chatwoot"]]
    code, _, errors = run(*command, "--output", "out.zip", cwd=clone)
    assert (code, errors) == (0, "")
    found = rows_of((clone / "out.zip").read_bytes())
    assert by_id(found) == by_id(rows)
    assert in_order(found)
    assert not verify_archive(clone / "out.zip").problems


def test_the_page_in_python(database: tuple[str, list[Row]], clone: Path) -> None:
    """Both of its programs."""
    url, of_chatwoot = database
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    expected = (twilio.write(clone, bulk=False), of_chatwoot)
    for program, rows in zip(programs, expected, strict=True):
        exec(compile(program.replace("postgresql://reader@localhost/chatwoot", url), "README.md", "exec"), {})  # noqa: S102  # ours
        (archive,) = clone.glob("*.zip")
        assert by_id(rows_of(archive.read_bytes())) == by_id(rows)
        archive.unlink()


def test_one_telegram_chat_is_a_file_too(tmp_path: Path) -> None:
    """As Telegram exports a chat alone."""
    rows = [row for row in telegram.write(tmp_path) if row["conversation_id"] == "1"]
    parameters = {"files": str(tmp_path / "one-chat.json"), "me": "user5550100"}
    assert by_id(exported(read_sql(query("telegram"), parameters))) == by_id(rows)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<p>one</p>\n<p>two</p>", "one\ntwo"),
        ("<p>a<br>b<br/>c<br />d</p>", "a\nb\nc\nd"),
        ("<div>a</div><div>b</div>", "a\nb"),
        ("<p>Items:</p><ul><li>one</li><li>two</li></ul>", "Items:\none\ntwo"),
        ("plain<p>then a paragraph</p>", "plain\nthen a paragraph"),
        ('<p>see <a href="https://example.com/?a=1&amp;b=2" title="a > b">this</a></p>', "see this"),
        ("<p>&lt;3 &amp;amp; &quot;x&quot; &#39;y&#39; &#x27;z&#X27;</p>", "<3 &amp; \"x\" 'y' 'z'"),
        ("<p>caf&eacute; &euro;5 &hellip; &#128512;&#x1F44D; 1&nbsp;kg</p>", "café €5 … 😀👍 1\u00a0kg"),
        ("<p>&unknown; &#xD800; &#0; &#99999999; & AT&T; R&D</p>", "&unknown; &#xD800; &#0; &#99999999; & AT&T; R&D"),
        ("<p>a <b>bold</b>\n   word</p><!-- <p>no</p> --><style>p {}</style>", "a bold word"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<p>שלום</p><p>مرحبا</p>", "שלום\nمرحبا"),
        ('<p><img src="https://example.com/i.png?a=1&amp;b=2"></p>', ""),
        (None, ""),
    ],
)
def test_intercom_bodies_are_readable(body: str | None, text: str, tmp_path: Path) -> None:
    """Paragraphs are lines, tags are gone, entities are characters, once."""
    source = {
        "type": "email",
        "id": "1",
        "body": body,
        "author": {"type": "lead"},
        "attachments": [{"url": "https://x/"}],
    }
    write_json(tmp_path / "1.json", {"id": "c", "created_at": 1780617600, "source": source})
    (row,) = exported(read_sql(query("intercom"), {"files": str(tmp_path / "1.json"), "channel": "email"}))
    assert [line.rstrip() for line in row["message_text"].split("\n") if line] == [*filter(None, text.split("\n"))]
    images = ",https://example.com/i.png?a=1&b=2" if body and "<img" in body else ""
    assert row["media_url"] == f"https://x/{images}"


def test_intercom_parts_of_other_kinds(tmp_path: Path) -> None:
    """A closing comment is a message; notes of any kind and what has nothing in it are none; AI agents are bots."""
    author = {"type": "admin", "name": "Robin", "email": "robin@example.com"}
    base = {"created_at": 1780617600, "author": author, "attachments": []}
    parts = [
        base | {"id": "1", "part_type": "close", "body": "<p>Bye</p>"},
        base | {"id": "2", "part_type": "close", "body": ""},
        base | {"id": "3", "part_type": "note", "body": "<p>secret</p>"},
        base | {"id": "4", "part_type": "some_new_note", "body": "<p>secret</p>"},
        base | {"id": "5", "part_type": "comment", "body": None},
        base | {"id": "6", "part_type": "comment", "body": None, "redacted": True},
        base | {"id": "7", "part_type": "comment", "body": "<p>AI</p>", "author": author | {"from_ai_agent": True}},
        base | {"id": "8", "part_type": "comment", "body": "<p>Team</p>", "author": {"type": "team", "email": "t@x"}},
    ]
    document = {
        "id": "c",
        "created_at": 1780617600,
        "source": {"type": "whatsapp", "id": "0", "body": "<p>Hi</p>", "author": {"type": "admin"}},
        "conversation_parts": {"conversation_parts": parts},
    }
    write_json(tmp_path / "1.json", document)
    rows = exported(read_sql(query("intercom"), {"files": str(tmp_path / "1.json"), "channel": "whatsapp"}))
    assert [(row["message_id"], row["speaker_type"], row["message_text"], row["sender_account"]) for row in rows] == [
        ("0", "agent", "Hi", ""),
        ("1", "agent", "Bye", "robin@example.com"),
        ("6", "agent", "", "robin@example.com"),
        ("7", "bot", "AI", ""),
        ("8", "agent", "Team", ""),
    ]


def test_zendesk_messages_that_were_left_offline(tmp_path: Path) -> None:
    """They have no history: the chat is the message."""
    chat = {
        "id": "2606.1",
        "type": "offline_msg",
        "timestamp": "2026-06-05T10:00:00Z",
        "message": "Call me",
        "department_name": "Sales",
        "visitor": {"name": "Visitor 10001", "phone": ""},
    }
    write_json(tmp_path / "chats.json", {"chats": [chat]})
    parameters = {"files": str(tmp_path / "chats.json"), "department": "Sales"}
    (row,) = exported(read_sql(query("zendesk-chat"), parameters))
    assert (row["contact_name"], row["contact_phone"], row["message_text"]) == ("Visitor 10001", "", "Call me")


def test_twilio_over_whatsapp(tmp_path: Path) -> None:
    """Numbers with a channel before them: the phone is the number, the conversation the address."""
    (tmp_path / "log.csv").write_text(
        "Sid,Direction,From,To,Body,Status,SentDate\n"
        "SM1,inbound,whatsapp:+12025550101,whatsapp:+12025550199,Hi,received,2026-06-05T10:00:00Z\n"
        "SM2,outbound-api,whatsapp:+12025550199,whatsapp:+12025550101,Yes,read,2026-06-05T10:01:00Z\n"
        "SM3,inbound,+12025550101,+12025550199,by SMS,received,2026-06-05T10:01:00Z\n"
    )
    parameters = {"files": str(tmp_path / "log.csv"), "ours": "whatsapp:+12025550199"}
    rows = exported(read_sql(query("twilio-log"), parameters))
    assert [(row["conversation_id"], row["contact_phone"]) for row in rows] == [
        ("whatsapp:+12025550101", "+12025550101")
    ] * 2


def test_chatwoot_with_little_in_it(cluster: str) -> None:
    """No contact, no sender, no status, an attachment without an address: the message comes all the same."""
    url = fresh_database(cluster)
    with psycopg.connect(url) as connection:
        connection.execute(chatwoot.CHATWOOT.encode())
        connection.execute("INSERT INTO inboxes VALUES (2, 'WhatsApp', 1)")
        connection.execute("INSERT INTO conversations VALUES (1, 2, NULL, 1, '2026-06-05 10:00')")
        connection.execute(
            "INSERT INTO messages (id, content, inbox_id, conversation_id, message_type, created_at, status) "
            "VALUES (1, NULL, 2, 1, 1, '2026-06-05 10:00:00.5', NULL), (2, 'x', 2, 1, 0, '2026-06-05 10:01', 7)"
        )
        connection.execute("INSERT INTO attachments (external_url, message_id) VALUES (NULL, 1), ('', 1)")
    rows = exported(read_database(url, query("chatwoot"), {"inbox": "2"}))
    assert [(row["speaker_type"], row["speaker_name"], row["media_url"], row["status"]) for row in rows] == [
        ("bot", "", "", ""),
        ("customer", "", "", "7"),
    ]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Zażółć gęślą jaźń – €5 …", None),
        ("😀👍🏽 \u200fשלום\u200f مرحبا", None),
        ("two\nlines\tand \x7f \x00", None),
        ("as it is: é Ã 日本", "as it is: é Ã 日本"),  # no bytes of UTF-8, one for each character
        ("ÿ", "ÿ"),
        ("", ""),
    ],
)
def test_meta_texts_are_mended(text: str, read: str | None, tmp_path: Path) -> None:
    """Where each character is a byte, and together they are UTF-8; else they stay, and so are names."""
    contact = "Zoë 山田"
    message = {"sender_name": meta.garbled(contact), "timestamp_ms": 1780617600123}
    message["content"] = meta.garbled(text) if read is None else text
    message["share"] = {"link": "https://example.com/?a=1"}
    people = [{"name": meta.garbled(contact)}, {"name": meta.garbled("Émile")}]
    write_json(tmp_path / "zoe_1" / "message_1.json", {"participants": people, "messages": [message]})
    parameters = {"files": str(tmp_path / "*" / "message_*.json"), "me": "Émile"}
    (row,) = exported(read_sql(query("meta-messages"), parameters))
    assert (row["contact_name"], row["speaker_name"], row["conversation_id"]) == (contact, contact, "zoe_1")
    assert row["message_text"] == "\n".join([*filter(None, [text]), "https://example.com/?a=1"])


def test_liveperson_conversations_that_are_partial(tmp_path: Path) -> None:
    """They are refused by name: a part would pass for the whole."""
    info = {"conversationId": "c-1", "startTimeL": 1780617600000, "source": "APP", "isPartial": True}
    write_json(tmp_path / "1.json", {"conversationHistoryRecords": [{"info": info, "messageRecords": []}]})
    with pytest.raises(SourceError, match="conversation c-1 is partial in this page: fetch it by its id"):
        exported(read_sql(query("liveperson"), {"files": str(tmp_path / "1.json"), "source": "APP"}))


@pytest.mark.parametrize(
    ("day", "clock", "time"),
    [
        ("2026/06/11(Thu)", "09:05", "09:05"),
        ("2026/6/11(木)", "午後12:05", "12:05"),
        ("2026.06.11 木曜日", "午前0:05", "00:05"),
        ("2026/06/11 (週四)", "下午03:05", "15:05"),
        ("2026/06/11(목)", "오후 3:05", "15:05"),
        ("2026.06.11 Thursday", "12:05AM", "00:05"),
        ("2026/06/11 Thu", "3:05 PM", "15:05"),
        ("Thu, 11/06/2026", "15:05", "15:05"),
        ("Thu, 06/11/2026", "3:05 PM", "15:05"),
        ("11.06.2026 Thursday", "15:05", "15:05"),
    ],
)
def test_line_days_and_times(day: str, clock: str, time: str, tmp_path: Path) -> None:
    """As telephones of several languages write them."""
    (tmp_path / "a.txt").write_text(f"[LINE] x\nSaved on: x\n\n{day}\n{clock}\tJane\tHi\n", "utf-8")
    (row,) = exported(read_sql(query("line-text"), {"files": str(tmp_path / "a.txt"), "me": "us"}))
    assert row["message_time"] == f"2026-06-11T{time}:00.000000Z"


def test_line_messages_of_several_lines(tmp_path: Path) -> None:
    """They keep their lines, tabs and quotes; what looks like a day within one is none."""
    said = ['"one\n\ntwo ""2""\n2026/06/12(Fri)\n12:30 o\'clock"', '"quoted" words', "a\ttab", "plain\nwithout quotes"]
    lines = "".join(f"09:0{at}\tJane\t{text}\n" for at, text in enumerate(said))
    (tmp_path / "a.txt").write_text(f"[LINE] x\nSaved on: x\n\n2026/06/11(Thu)\n{lines}\n2026/06/12(Fri)\n", "utf-8")
    rows = exported(read_sql(query("line-text"), {"files": str(tmp_path / "a.txt"), "me": "us"}))
    assert [row["message_text"] for row in rows] == [said[0][1:-1], *said[1:]]
    assert {row["message_time"][:10] for row in rows} == {"2026-06-11"}


def test_line_days_of_another_form_are_an_error(tmp_path: Path) -> None:
    """A day that is not known is no day: nothing is put on another."""
    (tmp_path / "a.txt").write_text("[LINE] x\nSaved on: x\n\nThu, 11 June\n09:00\tJane\tHi\n", "utf-8")
    with pytest.raises(RowError, match="'message_time': is missing"):
        exported(read_sql(query("line-text"), {"files": str(tmp_path / "a.txt"), "me": "us"}))


@pytest.mark.parametrize("day_first", [True, False])
@pytest.mark.parametrize(
    ("weekdays", "days"),
    [
        (("",) * 7, (5, 7, 8, 19)),  # there is no month 19
        (("จ.", "อ.", "พ.", "พฤ.", "ศ.", "ส.", "อา."), (4, 5, 8, 12)),  # two Fridays
        (("lun.", "mar.", "mer.", "jeu.", "ven.", "sam.", "dim."), (4, 11, 12)),
    ],
)
def test_line_days_with_the_year_last(
    weekdays: tuple[str, ...], days: tuple[int, ...], day_first: bool, tmp_path: Path
) -> None:
    """What a file's days and weekdays say of the order of day and month, in any language."""
    text = "[LINE] x\nSaved on: x\n"
    for day in days:
        written = f"{day:02}/06/2026" if day_first else f"06/{day:02}/2026"
        name = weekdays[date(2026, 6, day).weekday()]
        text += f"\n{name}{', ' if name else ''}{written}\n09:00\tJane\tHi\n\n2026/01/01(Thu)\nis a day in it\n"
    (tmp_path / "a.txt").write_text(text, "utf-8")
    rows = exported(read_sql(query("line-text"), {"files": str(tmp_path / "a.txt"), "me": "us"}))
    assert [row["message_time"] for row in rows] == [f"2026-06-{day:02}T09:00:00.000000Z" for day in days]
    assert {row["message_text"] for row in rows} == {"Hi\n\n2026/01/01(Thu)\nis a day in it"}


def test_line_days_that_may_be_two_are_an_error(tmp_path: Path) -> None:
    """Nothing is guessed, and year first, as the error says, they are read; other files are none the worse."""
    text = "[LINE] x\nSaved on: x\n\n05/06/2026\n09:00\tJane\tHi\n"
    parameters = {"files": str(tmp_path / "*.txt"), "me": "us"}
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(SourceError, match=r"nothing in .*a\.txt says whether day or month is first in its days: write"):
        exported(read_sql(query("line-text"), parameters))
    (tmp_path / "a.txt").write_text(text.replace("05/06/2026", "2026/06/05(Fri)"))
    (tmp_path / "b.txt").write_text(text.replace("05/06/2026", "25/06/2026"))
    rows = exported(read_sql(query("line-text"), parameters))
    assert [row["message_time"][:10] for row in rows] == ["2026-06-05", "2026-06-25"]


@pytest.mark.parametrize(
    ("head", "order", "time"),
    [
        ("[11/06/2026, 6:50:43\u202fPM] ", "dmy", "18:50:43"),
        ("\u200e[2026/06/11, 18:50:43] ", "ymd", "18:50:43"),
        ("[11.06.26, 18:50:43] ", "dmy", "18:50:43"),
        ("6/11/26, 12:50\u202fAM - ", "mdy", "00:50:00"),
        ("6/11/26, 12:50 PM - ", "mdy", "12:50:00"),
        ("11/6/26 18:50 - ", "dmy", "18:50:00"),
        ("11/6/2026, 6:50\u202fp.\u00a0m. - ", "dmy", "18:50:00"),
        ("11.6.2026 klo 18.50 - ", "dmy", "18:50:00"),
        ("2026/6/11 下午6:50 - ", "ymd", "18:50:00"),
        ("2026. 6. 11. 오후 6:50 - ", "ymd", "18:50:00"),
        ("2026-06-11 18:50 - ", "ymd", "18:50:00"),
        ("11-06-2026 18:50 - ", "dmy", "18:50:00"),
        ("11/06/2026, 18.50 - ", "dmy", "18:50:00"),
    ],
)
def test_whatsapp_days_and_times(head: str, order: str, time: str, tmp_path: Path) -> None:
    """As telephones of several languages write them."""
    (tmp_path / "a.txt").write_text(f"{head}Encrypted.\n{head}Jane: Hi: 5\n\nthere\n{head}us: \n", "utf-8")
    rows = exported(read_sql(query("whatsapp-text"), {"files": str(tmp_path / "a.txt"), "me": "us", "order": order}))
    found = [(row["message_time"], row["contact_name"], row["direction"], row["message_text"]) for row in rows]
    at = f"2026-06-11T{time}.000000Z"
    assert found == [(at, "Jane", "inbound", "Hi: 5\n\nthere"), (at, "Jane", "outbound", "")]


def test_a_whatsapp_day_that_is_none_in_its_order(tmp_path: Path) -> None:
    """Refused, with the message and the file: nothing is put on another day."""
    (tmp_path / "a.txt").write_text("06/05/2026, 10:00 - Jane: Hi\n25/06/2026, 10:00 - Jane: Hi\n")
    for order, says in (
        ("mdy", r"the day of message 2 in .*a\.txt is none .* \(mdy\): give"),
        ("x", "order is dmy, mdy"),
    ):
        with pytest.raises(SourceError, match=says):
            exported(read_sql(query("whatsapp-text"), {"files": str(tmp_path / "a.txt"), "me": "us", "order": order}))


@pytest.mark.parametrize(
    ("recipe", "parameters"), [("whatsapp-text", {"me": "us", "order": "dmy"}), ("line-text", {"me": "us"})]
)
def test_a_text_that_is_no_chat(recipe: str, parameters: dict[str, str], tmp_path: Path) -> None:
    """It is refused by name, beside others that are chats: else all of it would be lost in silence."""
    chat = "11/06/2026, 10:00 - Jane: Hi\n" if recipe == "whatsapp-text" else "\n2026/06/11(Thu)\n10:00\tJane\tHi\n"
    (tmp_path / "a.txt").write_text(chat)
    parameters = {"files": str(tmp_path / "*.txt"), **parameters}
    assert len(exported(read_sql(query(recipe), parameters))) == 1
    (tmp_path / "b.txt").write_text("١١/٦/٢٠٢٦، ٦:٥٠ م - Jane: Hi\n", "utf-8")
    with pytest.raises(SourceError, match=r"no line in .*b\.txt begins with"):
        exported(read_sql(query(recipe), parameters))
