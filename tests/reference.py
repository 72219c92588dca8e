"""A plain export to compare with: row by row, by the standard library, with nothing of the code under test."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo

from export_engine.model import Channel, Contact, Conversation, DateRange, Message

COLUMNS = (
    "message_id,conversation_id,contact_name,contact_phone,direction,speaker_type,"
    "speaker_name,message_time,message_text,media_url,status,sender_account"
)
#: Where a spreadsheet could take a text for a formula: at a cell's start, or inside it behind a separator.
FORMULA = re.compile(r"""\A(?=[-=+@'\0\t\r\n＝＋－＠])|(?<=[;\t\r\n])(?="*[-=+@'\0＝＋－＠])""")

#: What of an id, a phone number or an account a spreadsheet takes for a number or a date and writes otherwise.
DIGITS = re.compile(
    r"""[ ]*(?: 0 [0-9]+  |  [0-9]{16,}  # zeros that are dropped, digits that are
          | [0-9]+ [.,] [0-9.,]*  |  [.,] [0-9]+  |  [0-9.,]+ [eE] [+-]? [0-9]+  |  [0-9.,]+ [ ]? %  |  \( [0-9.,]+ \)
          | [0-9]{1,2} [-/] [0-9]{1,4}  |  [0-9]{1,2} [-/] [0-9]{1,2} [-/] [0-9]{1,4}
          | [0-9]{4} [-/] [0-9]{1,2}  |  [0-9]{4} [-/] [0-9]{1,2} [-/] [0-9]{1,2}
          | [0-9]+ : [0-9:]*  |  [0-9]+ : [0-9:]* [.,] [0-9]*
    )[ ]*""",
    re.VERBOSE,
)
LABELS = ("message_id", "conversation_id", "contact_phone", "sender_account")


def guarded(value: str, column: str, *, digits: bool) -> str:
    """A cell with the guard's quotes."""
    label = digits and column in LABELS and DIGITS.fullmatch(value)
    return f"'{value}" if label else FORMULA.sub("'", value)


def aware(moment: datetime, zone: tzinfo) -> datetime:
    """The moment in the zone; a naive one is already there (through UTC, as it may not exist on the zone's clocks)."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC).astimezone(zone)


def iso(moment: datetime) -> str:
    """With microseconds always, and `Z` for no offset."""
    text = moment.isoformat(timespec="microseconds")
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def dos(stamp: datetime) -> tuple[int, int]:
    """DOS time and date, APPNOTE 4.4.6."""
    time = stamp.hour << 11 | stamp.minute << 5 | stamp.second // 2
    return time, (stamp.year - 1980) << 9 | stamp.month << 5 | stamp.day


def cell(value: str | None, column: str = "", *, guard: bool, digits: bool = False) -> str:
    """Null is empty; everything else is quoted."""
    if value is None:
        return ""
    if guard:
        value = guarded(value, column, digits=digits)
    return '"' + value.replace('"', '""') + '"'


def row(conversation: Conversation, message: Message, zone: tzinfo, *, guard: bool, digits: bool = False) -> str:
    """One line, without its end."""
    contact = conversation.contact
    speaker = message.speaker_name
    if speaker is None and message.speaker_type == "customer":
        speaker = contact.name
    values = [
        message.id,
        conversation.id,
        contact.name,
        contact.phone,
        message.direction,
        message.speaker_type,
        speaker,
        iso(aware(message.time, zone)),
        message.text,
        ",".join(url.replace(",", "%2C") for url in message.media_urls) or None,
        message.status,
        message.sender_account,
    ]
    cells = zip(COLUMNS.split(","), values, strict=True)
    return ",".join(cell(value, column, guard=guard, digits=digits) for column, value in cells)


def within(moment: datetime, days: DateRange) -> bool:
    """Whether a local time's own day lies in the range."""
    return days.start <= date(moment.year, moment.month, moment.day) <= days.end


def csvs(
    conversations: Iterable[Conversation],
    channel: Channel,
    days: DateRange,
    zone: tzinfo,
    *,
    by_creation: bool = False,
    bom: bool = False,
    line_end: str = "\r\n",
    guard: bool = False,
    digits: bool = False,
) -> Iterator[tuple[str, bytes]]:
    """Each CSV's name and bytes. Contacts must have names that need no cleaning."""
    taken: set[str] = set()
    for conversation in conversations:
        messages = list(conversation.messages)
        if conversation.created_at is not None:
            created = aware(conversation.created_at, zone)
        else:
            created = min(aware(message.time, zone).astimezone(UTC) for message in messages).astimezone(zone)
        if by_creation:
            chosen = messages if within(created, days) else []
        else:
            chosen = [message for message in messages if within(aware(message.time, zone), days)]
        if not chosen and (messages or not within(created, days)):
            continue
        contact = conversation.contact.name or conversation.contact.phone or "Unknown contact"
        stem = f"{contact}--{created:%Y-%m-%d_%H%M%S}--{channel.name} ({channel.phone})"
        name, number = f"{stem}.csv", 2
        while unicodedata.normalize("NFC", name).casefold() in taken:
            name, number = f"{stem} ({number}).csv", number + 1
        taken.add(unicodedata.normalize("NFC", name).casefold())
        lines = [COLUMNS, *(row(conversation, message, zone, guard=guard, digits=digits) for message in chosen)]
        yield name, (("\ufeff" if bom else "") + "".join(line + line_end for line in lines)).encode()


def some(count: int, start: datetime, step: timedelta = timedelta(minutes=7), rows: int = 3) -> Iterator[Conversation]:
    """Simple conversations, as many as wanted."""
    for number in range(count):
        first = start + number * step
        yield Conversation(
            f"c{number}",
            Contact(f"Contact {number % 97}", f"+120255501{number % 100:02d}"),
            [
                Message(f"c{number}-{i}", first + i * timedelta(seconds=5), "inbound", "customer", f'text {i} é "q"')
                for i in range(rows)
            ],
            first,
        )
