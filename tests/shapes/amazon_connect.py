"""Amazon Connect's chat transcripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.shapes.talks import (
    TALKS,
    Row,
    Said,
    iso,
    millis,
    row,
    speaker,
    write_json,
)


def write(folder: Path) -> list[Row]:
    """A transcript for each conversation: text and attachments are items of their own."""
    rows = []
    roles = {"customer": "CUSTOMER", "agent": "AGENT", "bot": "CUSTOM_BOT"}
    for at, spoken in enumerate(TALKS, 1):
        event = {"AbsoluteTime": iso(spoken.began), "Type": "EVENT", "Id": f"e{at}", "ContentType": "application/vnd.x"}
        transcript: list[dict[str, Any]] = [event]
        for place, message in enumerate(spoken.said):
            item = {
                "AbsoluteTime": iso(message.time),
                "DisplayName": speaker(spoken, message),
                "ParticipantRole": roles[message.who],
            }
            names = tuple(url.rpartition("/")[2] for url in message.media)
            items = []
            if message.text is not None:
                items.append((f"m-{at}-{place}", Said(message.who, message.time, message.text)))
                transcript.append(item | {"Id": items[-1][0], "Type": "MESSAGE", "Content": message.text})
            if names:
                items.append((f"a-{at}-{place}", Said(message.who, message.time, None, names)))
                attached = [{"AttachmentId": "x", "AttachmentName": name} for name in names]
                transcript.append(item | {"Id": items[-1][0], "Type": "ATTACHMENT", "Attachments": attached})
            rows += [
                row(
                    millis(part),
                    message_id=identifier,
                    conversation_id=f"contact-{at}",
                    contact_name=spoken.contact,
                    speaker_name=speaker(spoken, message),
                )
                for identifier, part in items
                if message.exported
            ]
        document = {"Version": "2019-08-26", "ContactId": f"contact-{at}", "Transcript": transcript}
        write_json(folder / "ChatTranscripts" / f"{spoken.began:%Y/%m/%d}" / f"{at}.json", document)
    return rows
