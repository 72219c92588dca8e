"""Demo data: one workspace with the two channels of the API's page, so that its own `curl` lines find something.

The layout is that of `export_engine.jobs.backends.files`. Everything is made up and the same each time; times lie in
the ranges that the page asks for: February 2026 on WhatsApp Sales, 2026-06-01 to 2026-06-10 on SMS Support. One
conversation there is the page's own example of a CSV's name: created in April, still going on in June.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

__all__ = ["DEMO_CHANNELS", "DEMO_WORKSPACE", "write_demo"]

#: The workspace of the page's examples.
DEMO_WORKSPACE = "3fa85f64-5717-4562-b3fc-2c963f66afa6"

#: The channels of the page's 409 response, as lines of `channels.jsonl`; they share their number.
DEMO_CHANNELS = [
    {
        "id": channel_id,
        "workspace_id": DEMO_WORKSPACE,
        "type": channel_type,
        "name": name,
        "phone_number": "+12025550123",
    }
    for channel_id, channel_type, name in (
        ("a1b2c3d4-1111-2222-3333-444455556666", "WHATSAPP_BUSINESS_PLATFORM", "WhatsApp Sales"),
        ("b2c3d4e5-7777-8888-9999-000011112222", "LOCAL", "SMS Support"),
    )
]

# Who speaks, and a message's speaker_type, speaker_name (a customer bears the contact's) and sender_account.
_SPEAKERS = {
    "<": ("customer", None, None),
    ">": ("bot", "Harbor Bot", None),
    "*": ("agent", "Riley Sample", "riley.sample@example.com"),
}

# What is said, a line a message, by `_SPEAKERS`, after the names of those who may say it. URLs at the end are media.
_SCRIPTS = """\
Jane Doe; John Doe
< Hi, is the blue lamp still in stock?
> Let me look. One moment, please.
* Yes, four are left. Shall I put one aside for you?
< Yes please! Something like this one? https://media.example.com/in/lamp.jpg
* Exactly that one. Here are the sheet and a photo. https://files.example.com/lamp.pdf https://files.example.com/lamp,blue.jpg

Erika Mustermann; Max Mustermann
< Guten Tag, ich möchte meine Bestellung zurückgeben.
> Gern. Wie lautet die Bestellnummer?
< 48-1107
* Danke! Hier ist der Rücksendeschein. https://files.example.com/return/48-1107.pdf

Fulano de Tal; Fulana de Tal
< ¿Abren mañana?
> Sí, de 9:00 a 18:00. ¿Quiere "cita previa"?
< No, gracias 🙂

Jean Dupont; Marie Dupont
< Bonjour, pouvez-vous décaler mon rendez-vous à jeudi ?
* Bien sûr : jeudi à 14 h 30, est-ce que cela vous va ?
< Parfait, merci !

山田太郎; 山田花子
< こんにちは。荷物はいつ届きますか？
> 本日中に発送し、あさって到着の予定です。
< ありがとうございます。

王小明; 王小美
< 請問門市在哪裡？ https://media.example.com/in/map.png
* 您好，在車站旁邊，步行約三分鐘。
< 謝謝！

;
< STOP
> You are unsubscribed. Reply START to undo.
"""

# The page's example of a CSV's name, and what was said, before and in the range of its example.
_JANE_CREATED = datetime(2026, 4, 8, 3, 24, 43, tzinfo=UTC)
_JANE_RETURNS = datetime(2026, 6, 2, 16, 5, 20, 861185, tzinfo=UTC)


def write_demo(folder: str | os.PathLike[str]) -> None:
    """Write the demo's channels and conversations, over any that are there. Raises OSError."""
    whatsapp, sms = DEMO_CHANNELS
    place = Path(folder)
    for made in (place, place / "conversations"):
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(
        place / "conversations" / f"{whatsapp['id']}.jsonl",
        _scripted("whatsapp", 56, datetime(2026, 2, 1, tzinfo=UTC), 28),
    )
    june = [_returning(), *_scripted("sms", 40, datetime(2026, 6, 1, tzinfo=UTC), 10)]
    _write(place / "conversations" / f"{sms['id']}.jsonl", june)
    _write(place / "channels.jsonl", DEMO_CHANNELS)  # last: what has channels is whole


def _write(path: Path, documents: Iterable[dict[str, Any]]) -> None:
    text = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
    # Like real ones, they are their user's alone.
    made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(made, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def _scripted(kind: str, count: int, first_day: datetime, days: int) -> Iterator[dict[str, Any]]:
    """Conversations, by the time they were created, over all the days: each script in its turn."""
    scripts = [script.splitlines() for script in _SCRIPTS.split("\n\n")]
    for number in range(count):
        names, *lines = scripts[number % len(scripts)]
        name = names.split(";")[number // len(scripts) % 2].strip()
        # Working hours; the steps share no factor, so that times look like no pattern.
        of_day = timedelta(
            hours=8, seconds=number % 4 * 9_000 + number * 1_237 % 8_900, microseconds=number * 345_678 % 10**6
        )
        created = first_day + timedelta(days=number * days // count) + of_day
        contact = {"name": name or None, "phone": f"+120255501{number:02d}"}
        yield _conversation(f"{kind}-{number + 1:03d}", contact, created, [(created, lines)])


def _returning() -> dict[str, Any]:
    said = [
        (_JANE_CREATED, ["< Do you repair lamps, too?", "> We do. Just bring it to the shop."]),
        (_JANE_RETURNS, ["< Here I am again: is my lamp done?", "* It is! You can fetch it until 18:00."]),
    ]
    return _conversation("sms-000", {"name": "Jane Doe", "phone": "+12025550199"}, _JANE_CREATED, said)


def _conversation(
    identifier: str, contact: dict[str, str | None], created: datetime, said: list[tuple[datetime, list[str]]]
) -> dict[str, Any]:
    """A line of nested JSON Lines; `said` are times and what was said from then on."""
    messages: list[dict[str, Any]] = []
    for begun, lines in said:
        for step, line in enumerate(lines):
            mark, _, content = line.partition(" ")
            words = content.split(" ")
            media = [word for word in words if word.startswith("https://")]
            speaker_type, speaker_name, account = _SPEAKERS[mark]
            time = begun + step * timedelta(seconds=41, microseconds=123_457)
            messages.append(
                {
                    "id": f"{identifier}-{len(messages) + 1:02d}",
                    "time": time.isoformat(timespec="microseconds"),
                    "direction": "inbound" if speaker_type == "customer" else "outbound",
                    "speaker_type": speaker_type,
                    "text": " ".join(word for word in words if word not in media),
                    "speaker_name": speaker_name,
                    "media_urls": media,
                    "status": ("read", "delivered", "sent")[len(messages) % 3],
                    "sender_account": account,
                }
            )
    return {"id": identifier, "contact": contact, "created_at": created.isoformat(), "messages": messages}
