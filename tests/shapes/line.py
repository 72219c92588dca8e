"""LINE's text of a chat, as a telephone saves it."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from tests.shapes.talks import TALKS, Row, Said, row

__all__ = ["US", "write"]

US = "Lamp Repair"


def write(folder: Path) -> list[Row]:
    """A file for each chat of ours, of other languages and line ends, with what LINE says itself."""
    rows = []
    (folder / "line").mkdir()
    for at, spoken in enumerate((talk for talk in TALKS if talk.ours), 1):
        japanese = at % 2 == 0
        path = f"line/chat-{at}.txt"
        lines = (
            [f"[LINE] {spoken.contact}とのトーク履歴", "保存日時：2026/07/01 09:00"]
            if japanese
            else [f"[LINE] Chat history with {spoken.contact}", "Saved on: 2026/07/01 09:00"]
        )
        item = 0
        for day, said in groupby(spoken.said, lambda message: message.time.date()):
            lines += ["", f"{day:%Y/%m/%d}({'木' if japanese else 'Thu'})"]
            for message in said:
                time = message.time.replace(second=0, microsecond=0)
                clock = (
                    f"{'午後' if time.hour >= 12 else '午前'}{time.hour % 12}:{time:%M}"
                    if japanese
                    else f"{time:%H:%M}"
                )
                ours = message.who != "customer"
                text = "[Photo]" if message.text is None else message.text
                name = US if ours else spoken.contact
                lines.append(f"{clock}\t{name}\t" + (f'"{text}"' if "\n" in text else text))
                lines += [f"{clock}\t\tA message was unsent", f"{clock}\t{name} unsent a message."]
                item += 3
                if message.exported:
                    rows.append(
                        row(
                            Said("agent" if ours else "customer", time, text),
                            message_id=f"{item - 2}",
                            conversation_id=path,
                            contact_name=spoken.contact,
                            speaker_name=name,
                        )
                    )
        end = "\r\n" if at == 1 else "\n"
        text = end.join([*(line.replace("\n", end) for line in lines), ""])
        (folder / path).write_text(text, "utf-8-sig" if at == 1 else "utf-8", newline="")
    return rows
