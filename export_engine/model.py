"""The vocabulary: channels, contacts, conversations and messages as plain frozen values.

Nothing here checks or converts anything: rules are applied where rows are read, in batches, so that a value
breaks the same rule with the same error whether it came as an object, a line of JSON or a table's cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from export_engine.errors import OptionError

__all__ = ["Channel", "Contact", "Conversation", "DateRange", "Direction", "Message", "SpeakerType"]

Direction = Literal["inbound", "outbound"]
SpeakerType = Literal["bot", "agent", "customer"]


@dataclass(frozen=True, slots=True)
class Channel:
    """The channel whose conversations are exported. Its name and phone are part of the file names.

    At least one of the three is worth having: the ZIP's name falls back from `name` to `phone` to `id`.
    """

    name: str | None = None
    phone: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Contact:
    """The person the channel talks with; both parts may be unknown (None)."""

    name: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message: one row of a CSV.

    `time` may be aware or naive; naive times are in the export's time zone. `direction` is inbound (from the
    contact) or outbound (from the channel). `speaker_name` is the bot's name, the agent's full name or the
    contact's name; None on a customer's message means the contact's name. `sender_account` belongs to human
    agents only. `media_urls` holds one URL an item. None is written as an empty unquoted field, `""` as `""`.
    """

    id: str
    time: datetime
    direction: Direction
    speaker_type: SpeakerType
    text: str | None = None
    speaker_name: str | None = None
    media_urls: Sequence[str] = ()
    status: str | None = None
    sender_account: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation: one CSV. `messages` may be any iterable, read once and in its own order.

    `created_at` (aware, or naive in the export's time zone) is part of the CSV's name; None means the time of the
    earliest message, wherever it stands.
    """

    id: str
    contact: Contact
    messages: Iterable[Message]
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DateRange:
    """Whole days from `start` to `end`, both included, in the export's time zone; without `end` the range is open.

    Raises OptionError when `end` is before `start`, and for what is no date (a datetime is none).
    """

    start: date
    end: date = date.max

    def __post_init__(self) -> None:
        for name, day in (("start", self.start), ("end", self.end)):
            if not isinstance(day, date) or isinstance(day, datetime):
                raise OptionError(
                    f"{name} is {day!r}: it must be a day, such as datetime.date(2026, 6, 1)", option=name
                )
        if self.end < self.start:
            raise OptionError(f"end {self.end} is before start {self.start}: swap them", option="end")
