"""Slack's export, unpacked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.shapes.talks import (
    ACCOUNT,
    AGENT,
    BOT,
    TALKS,
    Row,
    account,
    row,
    speaker,
    unix,
    write_json,
)


def write(folder: Path) -> list[Row]:
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
