"""Telegram Desktop's export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.shapes.talks import (
    AGENT,
    TALKS,
    Row,
    Said,
    account,
    row,
    seconds,
    unix,
    write_json,
)


def write(folder: Path) -> list[Row]:
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
