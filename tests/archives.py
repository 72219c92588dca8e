"""Archives to read back: made by the engine, and changed by the standard library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from export_engine import Channel, Contact, Conversation, CsvDialect, DateRange, Message, export_conversations
from export_engine.options import Compression
from export_engine.pipeline.members import MEMBER_LIMIT
from export_engine.report import ExportReport
from export_engine.verify import verify_archive

JUNE = DateRange(date(2026, 6, 1), date(2026, 6, 30))
START = datetime(2026, 6, 3, 9, 15)  # noqa: DTZ001  # in the export's zone

HEADER = (
    "message_id,conversation_id,contact_name,contact_phone,direction,speaker_type,speaker_name,message_time,"
    "message_text,media_url,status,sender_account"
)


def talk(number: int, texts: Sequence[str | None], name: str | None = None) -> Conversation:
    return Conversation(
        id=f"talk-{number}",
        contact=Contact(name or f"Zoë {number}", "+12025550101"),
        messages=[
            Message(
                id=f"talk-{number}-{place}",
                time=START + timedelta(minutes=place),
                direction="inbound" if place % 2 else "outbound",
                speaker_type="customer" if place % 2 else "agent",
                text=text,
                speaker_name=None if place % 2 else "Riley [bold]Sample[/bold]",
                media_urls=["https://media.example.com/a,b.jpg", "https://media.example.com/2"] if place == 0 else (),
            )
            for place, text in enumerate(texts)
        ],
        created_at=START,
    )


SAMPLES = [
    talk(1, ["Hello", 'He said "yes",\r\nthen\nno', None, ""]),
    talk(2, ["=1+1", "nul:\0 escape:\x1b[31m", "two\u2028lines"], "=Jane"),
    talk(3, []),
    talk(4, ["the last"]),
]


@dataclass(frozen=True)
class Made:
    """An archive with its manifest and report."""

    path: Path
    manifest: Path
    report: ExportReport


def make(
    folder: Path,
    talks: Sequence[Conversation] = SAMPLES,
    *,
    form: CsvDialect | None = None,
    ending: str = ".jsonl",
    compression: Compression = "fast",
    spool_limit: int = 8 << 20,
    member_limit: int = MEMBER_LIMIT,
) -> Made:
    export = export_conversations(
        talks,
        channel=Channel("SMS Support"),
        date_range=JUNE,
        dialect=form or CsvDialect(),
        export_id="x",
        compression=compression,
        spool_limit=spool_limit,
    )
    export._spec = replace(export._spec, member_limit=member_limit)
    path = export.write_to(folder / "archive.zip", manifest=folder / f"manifest{ending}")
    return Made(path, folder / f"manifest{ending}", export.report)


def rewrite(path: Path, change: Callable[[list[tuple[ZipInfo, bytes]]], object]) -> None:
    """Have the standard library write the archive anew, with what `change` makes of its members."""
    with ZipFile(path) as archive:
        entries = [(info, archive.read(info)) for info in archive.infolist()]
    change(entries)
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for info, data in entries:
            archive.writestr(info, data)


def edit(path: Path, number: int, old: str, new: str) -> None:
    """Replace text in one member."""

    def change(entries: list[tuple[ZipInfo, bytes]]) -> None:
        info, data = entries[number]
        assert old.encode() in data
        entries[number] = (info, data.replace(old.encode(), new.encode(), 1))

    rewrite(path, change)


def rename(path: Path, number: int, name: str) -> None:
    def change(entries: list[tuple[ZipInfo, bytes]]) -> None:
        entries[number][0].filename = name

    rewrite(path, change)


def problems(path: Path, manifest: Path | None = None) -> str:
    """All problems as one text; there must be some."""
    found = verify_archive(path, manifest)
    assert not found.ok
    return "\n".join(found.problems)
