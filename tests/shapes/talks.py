"""What is said in all shapes, and what their writers share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

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
        """As the column has it."""
        return "inbound" if self.who == "customer" else "outbound"

    @property
    def exported(self) -> bool:
        """Whether it falls in the month that is exported."""
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
