"""Intercom's API: conversations."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from tests.shapes.talks import (
    ACCOUNT,
    TALKS,
    Row,
    Said,
    Talk,
    account,
    row,
    seconds,
    speaker,
    unix,
    write_json,
)


def write(folder: Path) -> list[Row]:
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
