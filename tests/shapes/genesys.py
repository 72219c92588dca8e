"""Genesys Cloud's API: conversations, and their messages in bulk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.shapes.talks import AGENT, BOT, OTHERS, OURS, TALKS, Row, account, iso, millis, row, speaker, write_json

__all__ = ["write"]


def write(folder: Path) -> list[Row]:
    """A file for each conversation and its messages, one message in two, with receipts and events between."""
    rows = []
    for at, spoken in enumerate(TALKS, 1):
        conversation = f"c0ffee00-0000-4000-8000-{at:012}"
        ours = OURS if spoken.ours else OTHERS
        entities: list[dict[str, Any]] = []
        ids: dict[str, list[dict[str, str]]] = {"customer": [], "agent": [], "bot": []}
        for number, message in enumerate(spoken.said):
            theirs = spoken.phone.lstrip("+") if at % 2 else spoken.phone
            inward = message.who == "customer"
            identifier = f"{at:04}{number:04}"
            if message.who != "bot" or at % 2:  # a flow's messages may be no participant's
                ids[message.who].append({"messageId": identifier, "messageStatus": "sent"})
            files = [{"url": url, "mediaType": "image/jpeg"} for url in message.media]
            base = {
                "id": identifier,
                "conversationId": conversation,
                "timestamp": iso(message.time),
                "fromAddress": theirs if inward else ours,
                "toAddress": ours if inward else theirs,
                "direction": message.direction,
                "messengerType": "whatsapp" if at % 2 else "sms",
                "selfUri": "/api/v2/…",
            }
            normal = {
                "type": "Text",
                "text": message.text,
                "originatingEntity": None if inward else "Human" if message.who == "agent" else "Bot",
                "content": [{"contentType": "Attachment", "attachment": {"url": url}} for url in message.media],
            }
            document: dict[str, Any] = base | {"textBody": message.text, "media": files}
            document["status"] = "received" if inward else "delivery-success"
            if number % 2 == 0:
                document["normalizedMessage"] = normal
            if message.who == "bot":
                document["createdBy"] = {"id": "flow", "name": BOT}
                document["normalizedMessage"] = normal
            receipt = base | {"id": f"r{identifier}", "textBody": "", "normalizedMessage": {"type": "Receipt"}}
            typing = base | {"id": f"e{identifier}", "textBody": "", "normalizedMessage": {"type": "Event"}}
            entities += [document, receipt, typing]
            if spoken.ours and message.exported:
                rows.append(
                    row(
                        millis(message),
                        message_id=identifier,
                        conversation_id=conversation,
                        contact_name=spoken.contact,
                        contact_phone=spoken.phone,
                        speaker_name=speaker(spoken, message),
                        status=document["status"],
                        sender_account=account(message, "u-7"),
                    )
                )
        participants = [
            {"id": "p1", "purpose": "customer", "name": spoken.contact, "messages": ids["customer"]},
            {"id": "p2", "purpose": "workflow", "name": BOT, "messages": ids["bot"]},
            {"id": "p3", "purpose": "acd", "name": "Queue", "messages": []},
            {"id": "p4", "purpose": "agent", "name": AGENT, "user": {"id": "u-7"}, "messages": ids["agent"]},
        ]
        whole = {"id": conversation, "startTime": iso(spoken.began), "participants": participants}
        write_json(folder / "conversations" / f"{at}.json", whole)
        for page, some in enumerate((entities[:4], entities[3:]), 1):
            write_json(folder / "messages" / f"{at}-{page}.json", {"entities": some})
    return rows
