"""Crisp's API: pages of conversations and of messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.shapes.talks import AGENT, BOT, TALKS, Row, account, millis, row, write_json

__all__ = ["WEBSITE", "write"]

WEBSITE = "8c842203-7ed8-4e29-a608-7cf78a7d2fcc"


def write(folder: Path) -> list[Row]:
    """A page of messages for each conversation, one of them twice, with notes and events between."""
    rows, listed = [], []
    for at, spoken in enumerate(TALKS, 1):
        session = f"session_{at:08x}-0000-4000-8000-000000000000"
        phone = spoken.phone if at % 2 else ""
        meta = {"nickname": spoken.contact, "email": None, "phone": phone, "origin": "chat", "data": {"plan": 1}}
        began = int(spoken.began.timestamp() * 1000)
        listed.append({"session_id": session, "created_at": began, "updated_at": began + at, "meta": meta, "status": 2})
        messages: list[dict[str, Any]] = []
        for number, message in enumerate(spoken.said):
            fingerprint = 170000000000000 + 1000 * at + number * 10
            base = {
                "session_id": session,
                "website_id": WEBSITE if spoken.ours else "another",
                "from": "user" if message.who == "customer" else "operator",
                "origin": "chat",
                "read": "chat" if message.who == "agent" else "",
                "delivered": "chat" if message.who == "bot" else False,
                "automated": message.who == "bot",
                "timestamp": int(message.time.timestamp() * 1000),
                "user": {
                    "customer": {"user_id": session, "nickname": spoken.contact},
                    "agent": {"type": "operator", "user_id": "op-7", "nickname": AGENT, "avatar": "https://x/"},
                    "bot": {"type": "website", "nickname": BOT},
                }[message.who],
            }
            parts: list[tuple[dict[str, Any], str | None, tuple[str, ...]]] = [
                ({"type": "file", "content": {"name": "x", "url": url, "type": "image/jpeg"}}, None, (url,))
                for url in message.media
            ]
            if message.text is not None:
                parts.append(({"type": "text", "content": message.text}, message.text, ()))
            if message.who == "bot":
                choices = [{"value": v, "label": f"The {v}", "selected": v == "b"} for v in "ab"]
                picker = {"type": "picker", "content": {"id": "p", "text": "Which?", "choices": choices}}
                targets = [{"title": "A lamp", "description": "It is green", "image": "https://x/lamp.png"}]
                carousel = {"type": "carousel", "content": {"text": "Ours:", "targets": targets}}
                parts += [
                    (picker, "Which?\nThe b", ()),
                    (carousel, "Ours:\nA lamp: It is green", ("https://x/lamp.png",)),
                ]
            for place, (part, text, media) in enumerate(parts):
                messages.append(base | part | {"fingerprint": fingerprint + place})
                if spoken.ours and message.exported:
                    found = row(
                        millis(message),
                        message_id=str(fingerprint + place),
                        conversation_id=session,
                        contact_name=spoken.contact,
                        contact_phone=phone,
                        speaker_name={"customer": spoken.contact, "agent": AGENT, "bot": BOT}[message.who],
                        status={"agent": "read", "bot": "delivered"}.get(message.who),
                        sender_account=account(message, "op-7"),
                    )
                    rows.append(
                        found | {"message_text": text or "", "media_url": ",".join(media).replace("b,2", "b%2C2")}
                    )
            unseen = base | {"from": "operator", "content": "not a message"}
            messages.append(unseen | {"type": "note", "fingerprint": fingerprint + 8})
            messages.append(
                unseen | {"type": "event", "content": {"namespace": "state:resolved"}, "fingerprint": fingerprint + 9}
            )
        for page, some in enumerate((messages[:5], messages[4:]), 1):
            write_json(folder / "messages" / f"{at}-{page}.json", {"error": False, "reason": "listed", "data": some})
    write_json(folder / "conversations" / "1.json", {"error": False, "data": listed})
    older = [item | {"updated_at": 0, "meta": {"nickname": "Older"}} for item in listed[:1]]
    write_json(folder / "conversations" / "2.json", {"error": False, "data": older})
    return rows
