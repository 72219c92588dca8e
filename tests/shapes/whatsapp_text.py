"""WhatsApp's text of a chat, as a telephone saves it."""

from __future__ import annotations

from pathlib import Path

from tests.shapes.talks import TALKS, Row, Said, row

__all__ = ["US", "write"]

US = "Lamp Repair"
_OMITTED = "<Media omitted>"


def write(folder: Path) -> list[Row]:
    """A file for each chat of ours: of an iPhone with 12 hours, of Android with 24 and with 12."""
    rows = []
    (folder / "whatsapp").mkdir()
    for at, spoken in enumerate((talk for talk in TALKS if talk.ours), 1):
        path = f"whatsapp/WhatsApp Chat with {at}.txt"
        apple = at == 1
        lines = []

        def head(message: Said, *, apple: bool = apple, half: bool = at % 2 == 1) -> str:
            time = message.time
            clock = f"{time.hour % 12 or 12}:{time:%M}" if half else f"{time:%H:%M}"
            clock += f":{time:%S}" if apple else ""
            clock += f"\u202f{time:%p}" if apple else f"\u202f{'pm' if time.hour > 11 else 'am'}" if half else ""
            return f"[{time:%d/%m/%Y}, {clock}] " if apple else f"{time:%d/%m/%Y}, {clock} - "

        lines.append(head(spoken.said[0]) + "Messages and calls are end-to-end encrypted. Tap to learn more.")
        item = 1
        for message in spoken.said:
            name = US if message.who != "customer" else spoken.contact
            parts: list[tuple[str, str | None, str]] = []
            for number, _ in enumerate(message.media):
                file = f"0000001{number}-PHOTO.jpg" if apple else f"IMG-20260611-WA000{number}.jpg"
                said = f"\u200e<attached: {file}>" if apple else f"\u200e{file} (file attached)"
                parts.append((said, None, file))
            parts.append((message.text, message.text, "") if message.text is not None else (_OMITTED, _OMITTED, ""))
            for said, text, media in parts:
                item += 1
                mark = "\u200e" if media and apple else ""
                lines.append(f"{mark}{head(message)}{name}: {said}")
                if message.exported:
                    second = message.time.second if apple else 0
                    time = message.time.replace(second=second, microsecond=0)
                    rows.append(
                        row(
                            Said("customer" if name == spoken.contact else "agent", time, text, (media,) * bool(media)),
                            message_id=f"{item}",
                            conversation_id=path,
                            contact_name=spoken.contact,
                            speaker_name=name,
                        )
                    )
        end = "\r\n" if apple else "\n"
        text = end.join([*(line.replace("\n", end) for line in lines), ""])
        (folder / path).write_text(text, "utf-8-sig" if at == 2 else "utf-8", newline="")
    return rows
