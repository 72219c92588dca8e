"""What triggers an export, checked: a request body in, an `ExportRequest` or every problem it has out.

The rules and their words are those of the API's page. What it leaves open is read strictly: a date, a UUID and a phone
number have one way of being written each, so that what is stored is what was sent. No text is echoed at length, and
none that an answer could not carry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import date
from typing import Any, Literal, get_args
from uuid import UUID

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from phonenumbers import NumberParseException, PhoneNumberFormat, ValidationResult

from export_engine.jobs.errors import FutureStartError, InvalidRequestError, Problem
from export_engine.model import DateRange

__all__ = ["CHANNEL_TYPES", "ChannelType", "ExportRequest"]

#: The coarse categories of channels.
ChannelType = Literal["sms", "whatsapp", "messenger", "instagram", "line"]
CHANNEL_TYPES: tuple[ChannelType, ...] = get_args(ChannelType)

#: Characters of a field's text; an e-mail address, the longest of them, has at most 254.
_LONGEST = 320
#: Characters of a refused value or name that are shown.
_SHOWN = 60
#: Unknown fields that are named one by one.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """A wish for one channel's conversations over a range of days, both ends included.

    Made by `from_mapping`, which is where the rules are held; nothing is checked here. Exactly one of `channel_id`
    (a UUID in lower case) and `phone_number` (E.164) is given. `channel_type` tells channels of one number apart.
    `notification_email` is the address in the form that mail servers take (an international domain as `xn--...`).
    """

    start_date: date
    end_date: date
    channel_id: str | None = None
    phone_number: str | None = None
    channel_type: ChannelType | None = None
    notification_email: str | None = None

    @property
    def date_range(self) -> DateRange:
        """The range, as an export takes it."""
        return DateRange(self.start_date, self.end_date)

    @classmethod
    def from_mapping(cls, body: object, *, today: date) -> ExportRequest:
        """Check a request's body, as JSON gives it; `today` is the day in the export's time zone.

        A null is taken for a field left out. Raises InvalidRequestError (422) with all problems at once; if there is
        none, FutureStartError (400) when the range begins after `today`.
        """
        if not isinstance(body, Mapping):
            raise InvalidRequestError([Problem(None, f"the body must be a JSON object, not {_kind(body)}")])
        values, problems = _read_fields(body)
        problems += _between_fields(body, values)
        problems += _unknown_fields(body)
        if problems:
            raise InvalidRequestError(problems)
        request = cls(**values)
        if request.start_date > today:
            raise FutureStartError("start_date is in the future.")
        return request


class _RefusedError(Exception):
    """What is wrong with one field's value, as advice."""


def _read_fields(body: Mapping[Any, object]) -> tuple[dict[str, Any], list[Problem]]:
    """The fields that are good, and a problem for each that is not."""
    values: dict[str, Any] = {}
    problems = []
    for name, read in _READERS.items():
        value = body.get(name)
        if value is None:
            if name in _REQUIRED:
                problems.append(Problem(name, "must be provided, as YYYY-MM-DD"))
            continue
        try:
            values[name] = read(_text(value))
        except _RefusedError as refused:
            problems.append(Problem(name, str(refused)))
    return values, problems


def _between_fields(body: Mapping[Any, object], values: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with fields that are good each for itself, or left out."""
    problems = []
    start, end = values.get("start_date"), values.get("end_date")
    if start and end and end < start:
        problems.append(Problem("end_date", f"must be on or after start_date, and {end} is before {start}: swap them"))
    given = sum(body.get(name) is not None for name in ("channel_id", "phone_number"))
    if given == 0:
        problems.append(Problem(None, "either channel_id or phone_number must be provided"))
    elif given == 2:
        problems.append(Problem(None, "either channel_id or phone_number must be provided, not both"))
    return problems


def _unknown_fields(body: Mapping[Any, object]) -> list[Problem]:
    known = [field.name for field in fields(ExportRequest)]
    unknown = [name for name in body if name not in known]
    advice = f"is unknown: the fields are {', '.join(known)}"
    problems = [Problem(_printable(str(name)), advice) for name in unknown[:_NAMED]]
    if len(unknown) > _NAMED:
        problems.append(Problem(None, f"{len(unknown) - _NAMED} more fields are unknown"))
    return problems


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _RefusedError(f"must be text, not {_kind(value)}")
    if len(value) > _LONGEST:
        raise _RefusedError(f"is {len(value)} characters long: at most {_LONGEST} are taken")
    return value


def _date(text: str) -> date:
    # `fromisoformat` alone would take `20260201` and `2026-W05-7` too.
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise _RefusedError(f"{_shown(text)} is no day of the calendar (0001-01-01 to 9999-12-31)") from None
    raise _RefusedError(f"{_shown(text)} is not a date: write YYYY-MM-DD, such as 2026-02-01")


def _uuid(text: str) -> str:
    try:
        canonical = str(UUID(text))
    except ValueError:
        canonical = None
    # `UUID` alone would take braces, `urn:uuid:` and digits without hyphens too.
    if canonical is None or canonical != text.lower():
        raise _RefusedError(
            f"{_shown(text)} is not a UUID: write it with hyphens, such as a1b2c3d4-1111-2222-3333-444455556666"
        )
    return canonical


def _phone_number(text: str) -> str:
    if not re.fullmatch(r"\+[1-9][0-9]{1,14}", text):
        raise _RefusedError(
            f"{_shown(text)} is not in E.164 format: write +, the country code and the number, digits only, such as "
            "+12025550123"
        )
    try:
        number = phonenumbers.parse(text)
    except NumberParseException:
        raise _RefusedError(f"{text} is not a possible phone number: its country code is unknown") from None
    if phonenumbers.is_possible_number_with_reason(number) != ValidationResult.IS_POSSIBLE:
        raise _RefusedError(f"{text} is not a possible phone number: it has too few or too many digits")
    canonical = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    if canonical != text:
        # A trunk prefix, as in +44 (0)20 7946 0000: the same number would be looked up under two names.
        raise _RefusedError(f"{text} is not in E.164 format: write {canonical}")
    return text


def _channel_type(text: str) -> str:
    if text not in CHANNEL_TYPES:
        raise _RefusedError(f"{_shown(text)} is not a channel type: it must be one of {', '.join(CHANNEL_TYPES)}")
    return text


def _email(text: str) -> str:
    try:
        # Whether its domain takes mail now says little about the time when the mail is sent: nothing is asked of DNS.
        address = validate_email(text, check_deliverability=False)
    except EmailNotValidError as error:
        raise _RefusedError(f"{_shown(text)} is not an e-mail address: {_printable(str(error), 200)}") from None
    return address.ascii_email or address.normalized


_READERS: dict[str, Callable[[str], object]] = {
    "start_date": _date,
    "end_date": _date,
    "channel_id": _uuid,
    "phone_number": _phone_number,
    "channel_type": _channel_type,
    "notification_email": _email,
}
_REQUIRED = ("start_date", "end_date")


def _kind(value: object) -> str:
    """What a value is, in JSON's words."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "an array", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _shown(text: str) -> str:
    """A value as messages have it: quoted, its unprintable characters escaped, and cut if it is long."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}..."


def _printable(text: str, most: int = _SHOWN) -> str:
    """Text that UTF-8 can carry (JSON can hold half a character, which it cannot), cut if it is long."""
    cut = text if len(text) <= most else f"{text[:most]}..."
    return cut.encode("utf-8", "backslashreplace").decode()
