"""WhatsApp Business: webhooks that were received."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.shapes.talks import (
    OURS,
    Row,
    Said,
    Talk,
    each,
    row,
    seconds,
    unix,
    write_lines,
)


def write(folder: Path) -> list[Row]:
    """A body a line: messages, echoes of what was written in the app, and statuses, some of them delivered twice."""
    rows, bodies = [], []

    def body(spoken: Talk, name: str, **value: Any) -> dict[str, Any]:
        metadata = {"display_phone_number": OURS[1:], "phone_number_id": "106540352242922" if spoken.ours else "1066"}
        value |= {"messaging_product": "whatsapp", "metadata": metadata}
        return {
            "object": "whatsapp_business_account",
            "entry": [{"id": "1", "changes": [{"value": value, "field": name}]}],
        }

    for _, spoken, number, message, exported in each():
        came_in = message.who == "customer"
        base = {"id": f"wamid.{number}", "timestamp": f"{unix(message.time)}"}
        base |= {"from": spoken.phone[1:]} if came_in else {"from": OURS[1:], "to": spoken.phone[1:]}
        image = bool(message.media)
        document: dict[str, Any] = base | {"type": "image" if image else "text"}
        document |= (
            {
                "image": {"id": f"77{number}", "mime_type": "image/jpeg"}
                | ({"caption": message.text} if message.text else {})
            }
            if image
            else {"text": {"body": message.text}}
        )
        if came_in:
            contacts = [{"profile": {"name": spoken.contact}, "wa_id": spoken.phone[1:]}]
            reaction = base | {"id": f"r{number}", "type": "reaction", "reaction": {"emoji": "👍"}}
            bodies += [body(spoken, "messages", contacts=contacts, messages=[document, reaction])] * 2
        else:
            bodies.append(body(spoken, "smb_message_echoes", message_echoes=[document]))
            for state in ("read", "sent", "delivered"):  # they come in any order
                status = {"id": f"wamid.{number}", "status": state, "timestamp": base["timestamp"]}
                bodies.append(body(spoken, "messages", statuses=[status]))
        if exported:
            media = (f"https://graph.facebook.com/77{number}",) if image else ()
            told = Said("customer" if came_in else "agent", message.time, message.text, media)
            rows.append(
                row(
                    seconds(told),
                    message_id=f"wamid.{number}",
                    conversation_id=spoken.phone[1:],
                    contact_name=spoken.contact,
                    contact_phone=spoken.phone,
                    speaker_name=spoken.contact if came_in else "",
                    status="received" if came_in else "read",
                )
            )
    write_lines(folder / "webhooks.jsonl", bodies)
    return rows
