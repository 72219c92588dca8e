"""What messaging platforms hand out, in small: a writer for each shape, which returns the rows that must come of it.

The talks are the same for all; each writer clothes them in its platform's field names and adds what is not to be
exported. The rows are made from the talks, not from what was written. All people and texts are made up.
"""

from __future__ import annotations

import csv
import gzip
import html
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

__all__ = ["Row", "amazon_connect", "chatwoot", "intercom", "rocket_chat", "slack", "telegram", "twilio", "whatsapp"]

#: A row of the CSVs, as text.
Row = dict[str, str]

START = datetime(2026, 6, 1, tzinfo=UTC)
OURS, OTHERS = "+12025550199", "+12025550198"
AGENT, ACCOUNT, BOT = "Robin Muster", "robin@example.com", "Lamp Bot"


@dataclass(frozen=True)
class Said:
    """A message: who says it, when, and what with it."""

    who: str
    time: datetime
    text: str | None
    media: tuple[str, ...] = ()

    @property
    def direction(self) -> str:
        return "inbound" if self.who == "customer" else "outbound"

    @property
    def exported(self) -> bool:
        return self.time.year == 2026 and self.time.month == 6


@dataclass(frozen=True)
class Talk:
    """A conversation; only one that is `ours` is of the channel that is exported."""

    contact: str
    phone: str
    said: tuple[Said, ...]
    ours: bool = True
    began: datetime = field(default=START)


def said(
    began: datetime, *messages: tuple[str, str | None] | tuple[str, str | None, tuple[str, ...]]
) -> Iterator[Said]:
    """Messages at times that get longer and longer, with fractions."""
    for number, message in enumerate(messages):
        media = message[2] if len(message) == 3 else ()
        yield Said(message[0], began + timedelta(minutes=number**3, microseconds=1001 * number), message[1], media)


def talk(contact: str, phone: str, began: datetime, *messages: Any, ours: bool = True) -> Talk:
    return Talk(contact, phone, tuple(said(began, *messages)), ours, began)


PICTURES = ("https://media.example.com/a.jpg", "https://media.example.com/b,2.jpg")
TALKS = (
    talk(
        "Jane Doe",
        "+12025550101",
        START + timedelta(days=3),
        ("customer", 'Is my lamp done?\nIt is no. 0042 & "urgent" <3'),
        ("bot", "One moment … 😀👍🏽"),
        ("agent", "It's &amp; it was; 5 < 6, <b>not bold</b>"),
        ("customer", None, PICTURES),
        ("agent", "=1+1", PICTURES[:1]),
    ),
    talk(
        "山田 太郎",
        "+12025550102",
        START - timedelta(seconds=30),
        ("customer", "before the range"),
        ("customer", "荷物はまだですか"),
        ("agent", "+1, \u200fشكرا\u200f"),
    ),
    talk(
        "Max Mustermann",
        "+12025550103",
        datetime(2026, 6, 30, 23, 58, tzinfo=UTC),
        ("customer", "null"),
        ("bot", "at the very end"),
        ("agent", "after the range"),
    ),
    talk(
        "Of Another", "+12025550104", START + timedelta(days=5), ("customer", "elsewhere"), ("agent", "yes"), ours=False
    ),
)


def each() -> Iterator[tuple[int, Talk, int, Said, bool]]:
    """All that is said: the talk's number, the talk, the message's number in all, it, and if it is exported."""
    number = 0
    for at, spoken in enumerate(TALKS, 1):
        for message in spoken.said:
            number += 1
            yield at, spoken, number, message, spoken.ours and message.exported


def row(message: Said, **others: str | None) -> Row:
    """A row as it must come out; what is not given is empty."""
    names = "message_id conversation_id contact_name contact_phone direction speaker_type speaker_name message_time"
    found: dict[str, str | None] = dict.fromkeys(
        [*names.split(), "message_text", "media_url", "status", "sender_account"], ""
    )
    found |= {
        "direction": message.direction,
        "speaker_type": message.who,
        "message_time": message.time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "message_text": message.text,
        "media_url": ",".join(url.replace(",", "%2C") for url in message.media),
    }
    return {name: value or "" for name, value in (found | others).items()}


def seconds(message: Said) -> Said:
    """The message at its second: many platforms know no fractions."""
    return Said(message.who, message.time.replace(microsecond=0), message.text, message.media)


def millis(message: Said) -> Said:
    """The message at its millisecond."""
    exact = message.time.microsecond // 1000 * 1000
    return Said(message.who, message.time.replace(microsecond=exact), message.text, message.media)


def speaker(spoken: Talk, message: Said) -> str:
    return {"customer": spoken.contact, "agent": AGENT, "bot": BOT}[message.who]


def account(message: Said, name: str) -> str:
    return name if message.who == "agent" else ""


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix(moment: datetime) -> int:
    return int(moment.timestamp())


def write_json(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, ensure_ascii=False), "utf-8")


def write_lines(path: Path, documents: Iterable[object]) -> None:
    path.write_text("".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents), "utf-8")


def twilio(folder: Path, *, bulk: bool) -> list[Row]:
    """The Console's log, newest first, or BulkExport's days."""
    rows, records = [], []
    for _, spoken, number, message, exported in each():
        ours = OURS if spoken.ours else OTHERS
        came_in = message.who == "customer"
        sid = f"SM{number:032x}"
        sent = iso(message.time) if bulk else iso(message.time)[:-5] + "Z"
        direction = {"customer": "inbound", "bot": "outbound-reply", "agent": "outbound-api"}[message.who]
        record = {
            "From": spoken.phone if came_in else ours,
            "To": ours if came_in else spoken.phone,
            "Body": message.text or "",
            "Status": "received" if came_in else "undelivered",
            "SentDate": sent,
            "Sid": sid,
            "Direction": direction,
        }
        records.append(record)
        if exported:
            told = (millis if bulk else seconds)(message)
            rows.append(
                row(
                    Said(told.who, told.time, told.text),
                    message_id=sid,
                    conversation_id=spoken.phone,
                    contact_phone=spoken.phone,
                    status=record["Status"],
                )
            )
    records.sort(key=lambda record: (record["SentDate"], record["Sid"]), reverse=True)
    if not bulk:
        with (folder / "sms-log.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*records[0], "ApiVersion", "Price"])
            writer.writeheader()
            writer.writerows(record | {"ApiVersion": "2010-04-01", "Price": "-0.00790"} for record in records)
        return rows
    names = {"Body": "body", "Status": "status", "SentDate": "date_sent", "Sid": "sid", "Direction": "direction"}
    for day in {record["SentDate"][:10] for record in records}:
        with gzip.open(folder / f"bulk-{day}.json.gz", "wt", encoding="utf-8") as file:
            for record in records:
                if record["SentDate"].startswith(day):
                    line: dict[str, Any] = {names.get(name, name.lower()): value for name, value in record.items()}
                    file.write(json.dumps(line | {"num_media": 0, "price": -0.0079, "flags": ["smsg"]}) + "\n")
    return rows


def intercom(folder: Path) -> list[Row]:
    """A file for each conversation; bodies are HTML."""
    rows = []

    def author(spoken: Talk, message: Said) -> dict[str, Any]:
        kind = {"customer": "user", "agent": "admin", "bot": "bot"}[message.who]
        return {"type": kind, "id": "9", "name": speaker(spoken, message), "email": ACCOUNT}

    def body(text: str | None) -> str | None:
        lines = None if text is None else [f'<p class="no-margin">{html.escape(line)}</p>' for line in text.split("\n")]
        return None if lines is None else "\n".join(lines)

    for at, spoken in enumerate(TALKS, 1):
        parts: list[dict[str, Any]] = []
        for place, message in enumerate(spoken.said):
            parts.append(
                {
                    "type": "conversation_part",
                    "id": f"{at}{place:03}",
                    "part_type": "comment",
                    "body": body(message.text),
                    "created_at": unix(message.time),
                    "author": author(spoken, message),
                    "attachments": [{"type": "upload", "url": url} for url in message.media],
                    "redacted": False,
                }
            )
            if spoken.ours and message.exported:
                rows.append(
                    row(
                        seconds(message),
                        message_id=f"{at}{place:03}",
                        conversation_id=f"2154{at}",
                        contact_name=spoken.contact,
                        speaker_name=speaker(spoken, message),
                        sender_account=account(message, ACCOUNT),
                    )
                )
        source = parts.pop(0) | {"type": "whatsapp" if spoken.ours else "email"}
        unseen: dict[str, Any] = {
            "created_at": unix(spoken.began),
            "author": author(spoken, spoken.said[-1]),
            "attachments": [],
        }
        parts += [
            unseen | {"id": f"{at}800", "part_type": "note", "body": "<p>between us</p>"},
            unseen | {"id": f"{at}801", "part_type": "note_and_reopen", "body": "<p>between us</p>"},
            unseen | {"id": f"{at}900", "part_type": "close", "body": None},
        ]
        document = {
            "type": "conversation",
            "id": f"2154{at}",
            "created_at": unix(spoken.began),
            "source": source,
            "contacts": {"type": "contact.list", "contacts": [{"type": "contact", "id": "9"}]},
            "conversation_parts": {"conversation_parts": parts, "total_count": len(parts)},
        }
        write_json(folder / "conversations" / f"{at}.json", document)
    return rows


def amazon_connect(folder: Path) -> list[Row]:
    """A transcript for each conversation: text and attachments are items of their own."""
    rows = []
    roles = {"customer": "CUSTOMER", "agent": "AGENT", "bot": "CUSTOM_BOT"}
    for at, spoken in enumerate(TALKS, 1):
        event = {"AbsoluteTime": iso(spoken.began), "Type": "EVENT", "Id": f"e{at}", "ContentType": "application/vnd.x"}
        transcript: list[dict[str, Any]] = [event]
        for place, message in enumerate(spoken.said):
            item = {
                "AbsoluteTime": iso(message.time),
                "DisplayName": speaker(spoken, message),
                "ParticipantRole": roles[message.who],
            }
            names = tuple(url.rpartition("/")[2] for url in message.media)
            items = []
            if message.text is not None:
                items.append((f"m-{at}-{place}", Said(message.who, message.time, message.text)))
                transcript.append(item | {"Id": items[-1][0], "Type": "MESSAGE", "Content": message.text})
            if names:
                items.append((f"a-{at}-{place}", Said(message.who, message.time, None, names)))
                attached = [{"AttachmentId": "x", "AttachmentName": name} for name in names]
                transcript.append(item | {"Id": items[-1][0], "Type": "ATTACHMENT", "Attachments": attached})
            rows += [
                row(
                    millis(part),
                    message_id=identifier,
                    conversation_id=f"contact-{at}",
                    contact_name=spoken.contact,
                    speaker_name=speaker(spoken, message),
                )
                for identifier, part in items
                if message.exported
            ]
        document = {"Version": "2019-08-26", "ContactId": f"contact-{at}", "Transcript": transcript}
        write_json(folder / "ChatTranscripts" / f"{spoken.began:%Y/%m/%d}" / f"{at}.json", document)
    return rows


def zendesk_chat(folder: Path) -> list[Row]:
    """A page of chats: each file is an item of its own without an id."""
    rows, chats = [], []
    for at, spoken in enumerate(TALKS, 1):
        placeholder = f"Visitor {10000 + at}"
        history: list[dict[str, Any]] = [{"type": "chat.memberjoin", "timestamp": iso(spoken.began), "nick": "visitor"}]
        for place, message in enumerate(spoken.said):
            item = {
                "timestamp": iso(message.time)[:-5] + "Z",
                "name": speaker(spoken, message),
                "sender_type": {"customer": "Visitor", "agent": "Agent", "bot": "Trigger"}[message.who],
                "nick": "visitor" if message.who == "customer" else "agent:7",
            }
            parts = [Said(message.who, message.time, None, (url,)) for url in message.media]
            ids = []
            for part in parts:
                history.append(item | {"type": "chat.file", "attachment": {"name": "x", "url": part.media[0]}})
                ids.append(f"2606.{at}-{len(history)}")
            if message.text is not None:
                parts.append(Said(message.who, message.time, message.text))
                ids.append(f"{at}{place:05}")
                history.append(item | {"type": "chat.msg", "msg": message.text, "msg_id": ids[-1]})
            rows += [
                row(
                    seconds(part),
                    message_id=identifier,
                    conversation_id=f"2606.{at}",
                    contact_name=spoken.contact,
                    contact_phone=spoken.phone if at % 2 else "",
                    speaker_name=speaker(spoken, message),
                    sender_account=account(message, "agent:7"),
                )
                for identifier, part in zip(ids, parts, strict=True)
                if spoken.ours and message.exported
            ]
        history.append({"type": "chat.rating", "timestamp": iso(spoken.began), "new_rating": "good"})
        chats.append(
            {
                "id": f"2606.{at}",
                "type": "chat",
                "timestamp": iso(spoken.began)[:-5] + "Z",
                "visitor": {
                    "name": placeholder if at == 1 else spoken.contact,
                    "phone": spoken.phone if at % 2 else "",
                },
                "department_name": "Sales" if spoken.ours else None,
                "history": history,
            }
        )
    write_json(folder / "chats.json", {"count": len(chats), "next_page": None, "chats": chats})
    return rows


def slack(folder: Path) -> list[Row]:
    """A channel for each customer, a file for each day; names and addresses are marked up."""
    rows: list[Row] = []
    users = [
        {"id": "U1", "team_id": "T0OURS", "name": "robin", "profile": {"real_name": AGENT, "email": ACCOUNT}},
        {"id": "U2", "team_id": "T0OURS", "name": "bot", "is_bot": True, "profile": {"real_name": BOT}},
    ]
    days: dict[str, list[dict[str, Any]]] = {}
    for at, spoken in enumerate(TALKS, 1):
        user = {
            "id": f"U9{at}",
            "team_id": "T0THEIRS",
            "real_name": spoken.contact,
            "profile": {"email": "x@example.net"},
        }
        users.append(user)
        channel = f"{'ext' if spoken.ours else 'team'}-{at}"
        first = f"{unix(spoken.began)}.000000"
        for message in spoken.said:
            stamp = f"{unix(message.time)}.{message.time.microsecond:06}"
            text = message.text
            if text is not None:
                text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            marked = (
                message.who == "agent" and f"<@U9{at}> see <https://example.com/?a=1&amp;b=2|this> &amp; <#C1|general> "
            )
            document = {
                "type": "message",
                "user": {"customer": user["id"], "agent": "U1", "bot": "U2"}[message.who],
                "text": (marked or "") + (text or ""),
                "ts": stamp,
                "thread_ts": first,
                "files": [*({"url_private": url} for url in message.media), {"mode": "tombstone"}],
                "reactions": [{"name": "+1", "count": 1, "users": ["U1"]}],
                "edited": {"user": "U1", "ts": stamp},
            }
            plain = f"@{spoken.contact} see this (https://example.com/?a=1&b=2) & #general " if marked else ""
            events = [
                {"type": "message", "subtype": kind, "text": "not a message", "ts": f"{stamp[:-1]}9", "user": "U1"}
                for kind in ("channel_join", "tombstone", "message_deleted", "channel_topic")
            ]
            days.setdefault(f"{channel}/{message.time:%Y-%m-%d}.json", []).extend([document, *events])
            if spoken.ours and message.exported:
                rows.append(
                    row(
                        message,
                        message_id=stamp,
                        conversation_id=channel,
                        contact_name=channel,
                        speaker_name=speaker(spoken, message),
                        message_text=plain + (message.text or ""),
                        sender_account=account(message, ACCOUNT),
                    )
                )
    write_json(folder / "slack" / "users.json", users)
    write_json(folder / "slack" / "channels.json", [{"id": "C1", "name": "ext-1"}])
    for path, documents in days.items():
        write_json(folder / "slack" / path, documents)
    return rows


def telegram(folder: Path) -> list[Row]:
    """All chats in one file; text is a string, or a list with pieces that have a format."""
    rows, chats = [], []
    for at, spoken in enumerate(TALKS, 1):
        messages: list[dict[str, Any]] = [
            {"id": 1, "type": "service", "date_unixtime": f"{unix(spoken.began)}", "action": "phone_call", "text": ""}
        ]
        for place, message in enumerate(spoken.said, 2):
            text = message.text or ""
            ours = message.who != "customer"  # a person's chat has two sides
            name = AGENT if ours else spoken.contact
            document: dict[str, Any] = {
                "id": place,
                "type": "message",
                "date": f"{message.time:%Y-%m-%dT%H:%M:%S}",
                "date_unixtime": f"{unix(message.time)}",
                "edited_unixtime": f"{unix(message.time)}",
                "from": name,
                "from_id": "user5550100" if ours else f"user77{at}",
                "text": [text[:3], {"type": "bold", "text": text[3:]}, ""] if place % 2 else text,
                "reactions": [{"type": "emoji", "count": 1, "emoji": "👍"}],
                "file": "(File not included. Change data exporting settings to download.)",
            }
            if message.media:
                document |= {"photo": message.media[0]}
            messages.append(document)
            if spoken.ours and message.exported:
                told = Said("agent" if ours else "customer", message.time, message.text, message.media[:1])
                rows.append(
                    row(
                        seconds(told),
                        message_id=f"{place}",
                        conversation_id=f"{at}",
                        contact_name=spoken.contact,
                        speaker_name=name,
                        sender_account=account(told, "user5550100"),
                    )
                )
        kind = "personal_chat" if spoken.ours else "private_supergroup"
        chats.append({"name": spoken.contact, "type": kind, "id": at, "messages": messages})
    write_json(folder / "result.json", {"about": "…", "chats": {"about": "…", "list": chats}})
    write_json(folder / "one-chat.json", chats[0])
    return rows


def rocket_chat(folder: Path) -> list[Row]:
    """Rooms and messages, in MongoDB's extended JSON, dates in both of its forms."""
    rows, rooms, messages = [], [], []

    def date(moment: datetime, number: int) -> dict[str, Any]:
        count = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
        return {"$date": {"$numberLong": f"{count}"} if number % 2 else iso(moment)}

    for at, spoken in enumerate(TALKS, 1):
        visitor = {"_id": f"v{at}", "username": f"guest-{at}", "name": spoken.contact, "phone": spoken.phone}
        kind = "l" if spoken.ours else "c"
        rooms.append(
            {"_id": f"room{at}", "t": kind, "fname": spoken.contact, "v": visitor, "ts": date(spoken.began, at)}
        )
    for at, spoken, number, message, exported in each():
        person = {"customer": ("guest", spoken.contact), "agent": ("robin", AGENT), "bot": ("rocket.cat", BOT)}[
            message.who
        ]
        document: dict[str, Any] = {
            "_id": f"m{number}",
            "rid": f"room{at}",
            "msg": message.text or "",
            "ts": date(message.time, number),
            "u": {"_id": person[0], "username": person[0], "name": person[1]},
            "editedAt": date(message.time, number),
            "urls": [],
        }
        if message.who == "customer":
            document["token"] = spoken.phone
        if message.media:
            document["attachments"] = [{"title": "x", "title_link": url} for url in message.media]
            document["attachments"][0]["title_link"] = "/file-upload/1/a.jpg"
            document["attachments"].append({"message_link": "https://chat.example.com/quoted", "text": "quoted"})
        unseen = document | {"msg": "not a message", "_id": f"s{number}"}
        messages += [document, unseen | {"t": "uj"}, unseen | {"_id": f"r{number}", "t": "rm"}]
        messages.append(unseen | {"_id": f"h{number}", "_hidden": True})
        if exported:
            media = ("https://chat.example.com/file-upload/1/a.jpg", *message.media[1:]) if message.media else ()
            rows.append(
                row(
                    millis(Said(message.who, message.time, message.text, media)),
                    message_id=f"m{number}",
                    conversation_id=f"room{at}",
                    contact_name=spoken.contact,
                    contact_phone=spoken.phone,
                    speaker_name=person[1],
                    sender_account=account(message, "robin"),
                )
            )
    write_lines(folder / "rooms.json", rooms)
    write_lines(folder / "messages.json", messages)
    return rows


def whatsapp(folder: Path) -> list[Row]:
    """A body a line: messages, echoes of what was written in the app, and statuses, some of them delivered twice."""
    rows, bodies = [], []

    def body(spoken: Talk, name: str, **value: Any) -> dict[str, Any]:
        metadata = {"display_phone_number": OURS[1:], "phone_number_id": "106540352242922" if spoken.ours else "1066"}
        value |= {"messaging_product": "whatsapp", "metadata": metadata}
        return {
            "object": "whatsapp_business_account",
            "entry": [{"id": "1", "changes": [{"value": value, "field": name}]}],
        }

    for _, spoken, number, message, exported in each():
        came_in = message.who == "customer"
        base = {"id": f"wamid.{number}", "timestamp": f"{unix(message.time)}"}
        base |= {"from": spoken.phone[1:]} if came_in else {"from": OURS[1:], "to": spoken.phone[1:]}
        image = bool(message.media)
        document: dict[str, Any] = base | {"type": "image" if image else "text"}
        document |= (
            {
                "image": {"id": f"77{number}", "mime_type": "image/jpeg"}
                | ({"caption": message.text} if message.text else {})
            }
            if image
            else {"text": {"body": message.text}}
        )
        if came_in:
            contacts = [{"profile": {"name": spoken.contact}, "wa_id": spoken.phone[1:]}]
            reaction = base | {"id": f"r{number}", "type": "reaction", "reaction": {"emoji": "👍"}}
            bodies += [body(spoken, "messages", contacts=contacts, messages=[document, reaction])] * 2
        else:
            bodies.append(body(spoken, "smb_message_echoes", message_echoes=[document]))
            for state in ("read", "sent", "delivered"):  # they come in any order
                status = {"id": f"wamid.{number}", "status": state, "timestamp": base["timestamp"]}
                bodies.append(body(spoken, "messages", statuses=[status]))
        if exported:
            media = (f"https://graph.facebook.com/77{number}",) if image else ()
            told = Said("customer" if came_in else "agent", message.time, message.text, media)
            rows.append(
                row(
                    seconds(told),
                    message_id=f"wamid.{number}",
                    conversation_id=spoken.phone[1:],
                    contact_name=spoken.contact,
                    contact_phone=spoken.phone,
                    speaker_name=spoken.contact if came_in else "",
                    status="received" if came_in else "read",
                )
            )
    write_lines(folder / "webhooks.jsonl", bodies)
    return rows


CHATWOOT = """
CREATE TABLE inboxes (id serial PRIMARY KEY, name varchar NOT NULL, account_id int NOT NULL);
CREATE TABLE contacts (id serial PRIMARY KEY, name varchar DEFAULT '', email varchar, phone_number varchar);
CREATE TABLE users (id serial PRIMARY KEY, name varchar NOT NULL, display_name varchar, email varchar);
CREATE TABLE agent_bots (id bigserial PRIMARY KEY, name varchar);
CREATE TABLE conversations (id serial PRIMARY KEY, inbox_id int NOT NULL, contact_id bigint, display_id int,
    created_at timestamp NOT NULL);
CREATE TABLE messages (id serial PRIMARY KEY, content text, inbox_id int NOT NULL, conversation_id int NOT NULL,
    message_type int NOT NULL, created_at timestamp NOT NULL, private boolean DEFAULT false NOT NULL,
    status int DEFAULT 0, content_attributes json DEFAULT '{}', sender_type varchar, sender_id bigint);
CREATE TABLE attachments (id serial PRIMARY KEY, external_url varchar, message_id int NOT NULL);
"""


def chatwoot(execute: Callable[[str, list[Any]], object]) -> list[Row]:
    """Tables of Chatwoot's database, filled through `execute`: a statement with %s, and its values."""
    rows = []
    execute(CHATWOOT, [])
    execute("INSERT INTO inboxes VALUES (1, 'SMS', 1), (2, 'WhatsApp', 1)", [])
    execute("INSERT INTO users VALUES (1, %s, 'robin', %s)", [AGENT, ACCOUNT])
    execute("INSERT INTO agent_bots VALUES (1, %s)", [BOT])
    for at, spoken in enumerate(TALKS, 1):
        execute("INSERT INTO contacts VALUES (%s, %s, 'c@example.net', %s)", [at, spoken.contact, spoken.phone])
        began = spoken.began.replace(tzinfo=None)
        execute("INSERT INTO conversations VALUES (%s, %s, %s, %s, %s)", [at, 2 if spoken.ours else 1, at, at, began])
    insert = (
        "INSERT INTO messages (id, content, inbox_id, conversation_id, message_type, created_at, private, status, "
        "sender_type, sender_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
    )
    for at, spoken, number, message, exported in each():
        kind = {"customer": 0, "agent": 1, "bot": 3}[message.who]
        sender = {"customer": ("Contact", at), "agent": ("User", 1), "bot": ("AgentBot", 1)}[message.who]
        inbox, moment = 2 if spoken.ours else 1, message.time.replace(tzinfo=None)
        execute(insert, [number, message.text, inbox, at, kind, moment, False, number % 4, *sender])
        execute(insert, [100 + number, "was resolved", inbox, at, 2, moment, False, None, None, None])
        execute(insert, [200 + number, "between us", inbox, at, 1, moment, True, 0, "User", 1])
        for url in message.media:
            execute("INSERT INTO attachments (external_url, message_id) VALUES (%s, %s)", [url, number])
        if exported:
            rows.append(
                row(
                    message,
                    message_id=f"{number}",
                    conversation_id=f"{at}",
                    contact_name=spoken.contact,
                    contact_phone=spoken.phone,
                    speaker_name=speaker(spoken, message),
                    status=("sent", "delivered", "read", "failed")[number % 4],
                    sender_account=account(message, ACCOUNT),
                )
            )
    return rows
