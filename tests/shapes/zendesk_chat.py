"""Zendesk Chat's API: a page of chats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.shapes.talks import (
    TALKS,
    Row,
    Said,
    account,
    iso,
    row,
    seconds,
    speaker,
    write_json,
)


def write(folder: Path) -> list[Row]:
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
