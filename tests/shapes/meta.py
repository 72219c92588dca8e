"""Meta's download of Messenger's or Instagram's messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.shapes.talks import TALKS, Row, Said, millis, row, write_json

__all__ = ["PAGE", "garbled", "write"]

PAGE = "Lamp Repair"


def garbled(text: str) -> str:
    """Text as Meta writes it: a character for each byte of UTF-8."""
    return text.encode().decode("latin-1")


def write(folder: Path) -> list[Row]:
    """A folder for each thread, with two files, the newest messages first, and what is not exported."""
    rows = []
    for at, spoken in enumerate(TALKS, 1):
        thread = f"{spoken.contact.split(' ')[0].lower()}_{at}0012345"
        messages: list[dict[str, Any]] = []
        for message in spoken.said:
            ms = int(millis(message).time.timestamp() * 1000)
            name = spoken.contact if message.who == "customer" else PAGE
            document: dict[str, Any] = {
                "sender_name": garbled(name),
                "timestamp_ms": ms,
                "is_geoblocked_for_viewer": False,
                "reactions": [{"reaction": garbled("❤"), "actor": garbled(PAGE)}],
            }
            if message.text is not None:
                document["content"] = garbled(message.text)
            paths = [f"messages/inbox/{thread}/photos/{url.rpartition('/')[2]}" for url in message.media]
            for kind, path in zip(("photos", "videos"), paths, strict=False):
                document[kind] = [{"uri": path, "creation_timestamp": ms // 1000}]
            twin = document | {"content": "again"}
            del twin["reactions"]
            unseen = {"sender_name": garbled(name), "timestamp_ms": ms}
            messages += [
                document,
                unseen | {"is_unsent": True},
                unseen | {"call_duration": 61, "content": "called"},
                twin,
            ]
            if spoken.ours and message.exported:
                who = "customer" if message.who == "customer" else "agent"
                for number, text in ((1, message.text), (2, "again")):
                    rows.append(
                        row(
                            millis(Said(who, message.time, text, tuple(paths))),
                            message_id=f"{ms}-{number}",
                            conversation_id=thread,
                            contact_name=spoken.contact,
                            speaker_name=name,
                        )
                    )
        people = [{"name": garbled(name)} for name in (spoken.contact, PAGE, *([] if spoken.ours else ["A third"]))]
        base = {"participants": people, "title": garbled(spoken.contact), "thread_path": f"inbox/{thread}"}
        messages.reverse()
        half = len(messages) // 2 + 1  # between the two of one millisecond
        for number, part in ((1, messages[:half]), (2, messages[half:])):
            file = folder / "messages" / "inbox" / thread / f"message_{number}.json"
            write_json(file, base | {"messages": part, "magic_words": []})
    return rows
