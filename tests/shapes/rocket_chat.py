"""Rocket.Chat's collections, by mongoexport."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.shapes.talks import (
    AGENT,
    BOT,
    TALKS,
    Row,
    Said,
    account,
    each,
    iso,
    millis,
    row,
    write_lines,
)


def write(folder: Path) -> list[Row]:
    """Rooms and messages, in MongoDB's extended JSON, dates in both of its forms."""
    rows, rooms, messages = [], [], []

    def date(moment: datetime, number: int) -> dict[str, Any]:
        count = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
        return {"$date": {"$numberLong": f"{count}"} if number % 2 else iso(moment)}

    for at, spoken in enumerate(TALKS, 1):
        visitor = {"_id": f"v{at}", "username": f"guest-{at}", "name": spoken.contact, "phone": spoken.phone}
        kind = "l" if spoken.ours else "c"
        rooms.append(
            {"_id": f"room{at}", "t": kind, "fname": spoken.contact, "v": visitor, "ts": date(spoken.began, at)}
        )
    for at, spoken, number, message, exported in each():
        person = {"customer": ("guest", spoken.contact), "agent": ("robin", AGENT), "bot": ("rocket.cat", BOT)}[
            message.who
        ]
        document: dict[str, Any] = {
            "_id": f"m{number}",
            "rid": f"room{at}",
            "msg": message.text or "",
            "ts": date(message.time, number),
            "u": {"_id": person[0], "username": person[0], "name": person[1]},
            "editedAt": date(message.time, number),
            "urls": [],
        }
        if message.who == "customer":
            document["token"] = spoken.phone
        if message.media:
            document["attachments"] = [{"title": "x", "title_link": url} for url in message.media]
            document["attachments"][0]["title_link"] = "/file-upload/1/a.jpg"
            document["attachments"].append({"message_link": "https://chat.example.com/quoted", "text": "quoted"})
        unseen = document | {"msg": "not a message", "_id": f"s{number}"}
        messages += [document, unseen | {"t": "uj"}, unseen | {"_id": f"r{number}", "t": "rm"}]
        messages.append(unseen | {"_id": f"h{number}", "_hidden": True})
        if exported:
            media = ("https://chat.example.com/file-upload/1/a.jpg", *message.media[1:]) if message.media else ()
            rows.append(
                row(
                    millis(Said(message.who, message.time, message.text, media)),
                    message_id=f"m{number}",
                    conversation_id=f"room{at}",
                    contact_name=spoken.contact,
                    contact_phone=spoken.phone,
                    speaker_name=person[1],
                    sender_account=account(message, "robin"),
                )
            )
    write_lines(folder / "rooms.json", rooms)
    write_lines(folder / "messages.json", messages)
    return rows
