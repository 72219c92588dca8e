"""Freshchat's API: pages of messages, users and agents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.shapes.talks import ACCOUNT, AGENT, BOT, TALKS, Row, account, iso, millis, row, speaker, write_json

__all__ = ["CHANNEL", "write"]

CHANNEL = "3f6b1a52"


def write(folder: Path) -> list[Row]:
    """A page of messages for each conversation, the newest first; a message is on two pages."""
    rows = []
    users = []
    for at, spoken in enumerate(TALKS, 1):
        first, _, last = spoken.contact.partition(" ")
        user = {"id": f"u{at}", "first_name": first, "last_name": last or None, "email": "x@example.net"}
        user["phone"] = spoken.phone if at % 2 else None
        users.append(user)
        messages: list[dict[str, Any]] = []
        for number, message in enumerate(spoken.said):
            kind = {"customer": "user", "agent": "agent", "bot": "bot"}[message.who]
            parts: list[dict[str, Any]] = [] if message.text is None else [{"text": {"content": message.text}}]
            for part, url in zip(("image", "file"), message.media, strict=False):
                parts.append({part: {"url": url, "name": "x", "content_type": "image/jpeg", "file_size_in_bytes": 7}})
            if message.who == "bot":
                parts.append({"url_button": {"label": "Track", "url": "https://example.com/t", "target": "_blank"}})
                parts.append({"quick_reply_button": {"label": "Yes", "type": "quick_reply_button"}})
            document = {
                "id": (identifier := f"m{at}-{number}"),
                "conversation_id": f"c{at}",
                "channel_id": CHANNEL if spoken.ours else "another",
                "app_id": "app",
                "user_id": user["id"],
                "interaction_id": "1",
                "actor_id": {"user": user["id"], "agent": "a1", "bot": "b1"}[kind],
                "actor_type": kind,
                "message_type": "normal",
                "created_time": iso(message.time),
                "message_parts": parts,
            }
            unseen = document | {"message_parts": [{"text": {"content": "not a message"}}], "actor_type": "agent"}
            messages += [
                document,
                unseen | {"id": f"p{at}-{number}", "message_type": "private"},
                unseen | {"id": f"s{at}-{number}", "message_type": "system", "actor_type": "system"},
            ]
            if spoken.ours and message.exported:
                told = row(
                    millis(message),
                    message_id=identifier,
                    conversation_id=f"c{at}",
                    contact_name=spoken.contact,
                    contact_phone=user["phone"],
                    speaker_name=speaker(spoken, message),
                    sender_account=account(message, ACCOUNT),
                )
                if message.who == "bot":
                    told["message_text"] += "\nTrack (https://example.com/t)\nYes"
                rows.append(told)
        messages.reverse()
        for page, some in enumerate((messages[:4], messages[3:]), 1):
            write_json(folder / "messages" / f"{at}-{page}.json", {"messages": some, "link": {"rel": "next_page"}})
    first, last = AGENT.split()
    agents = [
        {"id": "a1", "first_name": first, "last_name": last, "email": ACCOUNT, "social_profiles": []},
        {"id": "b1", "first_name": BOT, "last_name": "", "email": "bot@example.com"},
    ]
    write_json(folder / "users.json", {"users": users, "pagination": {"total_pages": 1}})
    write_json(folder / "agents.json", {"agents": agents})
    return rows
