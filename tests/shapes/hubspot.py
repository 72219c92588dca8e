"""HubSpot's conversations API: pages of threads, messages and actors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.shapes.talks import ACCOUNT, AGENT, BOT, TALKS, Row, account, iso, millis, row, speaker, write_json

__all__ = ["INBOX", "write"]

INBOX = "314159265"


def write(folder: Path) -> list[Row]:
    """A page of messages for each thread, the newest first; comments and changes of a thread between."""
    rows, threads = [], []
    for at, spoken in enumerate(TALKS, 1):
        thread = str(9007199254740993 + at)
        threads.append(
            {
                "id": thread,
                "createdAt": iso(spoken.began),
                "closedAt": None,
                "status": "OPEN",
                "inboxId": INBOX if spoken.ours else "1",
                "associatedContactId": f"50{at}",
                "spam": False,
                "archived": False,
            }
        )
        named = at % 2 == 1  # else the actor alone knows the name
        identifier = {"type": "HS_PHONE_NUMBER", "value": spoken.phone}
        if not named:
            identifier = {"type": "CHANNEL_SPECIFIC_OPAQUE_ID", "value": "x"}
        messages: list[dict[str, Any]] = []
        for number, message in enumerate(spoken.said):
            actor = {"customer": f"V-50{at}", "agent": "A-7", "bot": "B-1"}[message.who]
            base = {
                "id": f"m{at}-{number}",
                "conversationsThreadId": thread,
                "createdAt": iso(message.time),
                "createdBy": actor,
                "client": {"clientType": "HUBSPOT"},
                "archived": False,
            }
            sender: dict[str, Any] = {"actorId": actor, "senderField": "FROM"}
            if message.who == "customer":
                sender |= {"deliveryIdentifier": identifier} | ({"name": spoken.contact} if named else {})
            files: list[dict[str, Any]] = [{"type": "FILE", "fileId": "1", "url": url} for url in message.media]
            if message.who == "bot":
                files.append({"type": "QUICK_REPLIES", "quickReplies": [{"label": "Yes"}]})
            document = base | {
                "type": "WELCOME_MESSAGE" if message.who == "bot" else "MESSAGE",
                "senders": [sender],
                "recipients": [],
                "text": message.text or "",
                "richText": f"<p>{message.text}</p>",
                "attachments": files,
                "truncationStatus": "NOT_TRUNCATED",
                "status": {"statusType": "RECEIVED" if message.who == "customer" else "SENT"},
                "direction": "INCOMING" if message.who == "customer" else "OUTGOING",
            }
            comment = base | {"id": f"n{at}-{number}", "type": "COMMENT", "text": "not a message", "attachments": []}
            change = base | {"id": f"s{at}-{number}", "type": "THREAD_STATUS_CHANGE", "newStatus": "CLOSED"}
            messages += [document, comment, change]
            if spoken.ours and message.exported:
                rows.append(
                    row(
                        millis(message),
                        message_id=f"m{at}-{number}",
                        conversation_id=thread,
                        contact_name=spoken.contact,
                        contact_phone=spoken.phone if named else "",
                        speaker_name=speaker(spoken, message),
                        status="RECEIVED" if message.who == "customer" else "SENT",
                        sender_account=account(message, ACCOUNT),
                    )
                )
        messages.reverse()
        for page, some in enumerate((messages[:4], messages[3:]), 1):
            write_json(folder / "messages" / f"{at}-{page}.json", {"results": some, "paging": {"next": {"after": "x"}}})
    write_json(folder / "threads" / "1.json", {"results": threads, "paging": None})
    people = [
        {"id": "A-7", "type": "AGENT", "name": AGENT, "email": ACCOUNT, "avatar": "https://x/"},
        {"id": "B-1", "type": "BOT", "name": BOT},
        *({"id": f"V-50{at}", "type": "VISITOR", "name": spoken.contact} for at, spoken in enumerate(TALKS, 1)),
    ]
    write_json(folder / "actors.json", {"status": "COMPLETE", "results": people})
    return rows
