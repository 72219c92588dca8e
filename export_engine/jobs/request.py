"""What triggers an export: the request's body as one model, which validates it, and describes it in OpenAPI.

The rules and their words are those of the API's page. What it leaves open is read strictly: a date, a UUID and a phone
number have one way of being written each, so that what is stored is what was sent. No text is echoed at length, and
none that an answer could not carry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self, TypeVar, get_args
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from export_engine.jobs.errors import FutureStartError, InvalidRequestError, Problem
from export_engine.jobs.identifiers import E164_PATTERN, is_e164, uuid_of
from export_engine.jobs.phones import number_problem
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

_Value = TypeVar("_Value")


# --- the rules of single values ------------------------------------------------------------------------------------


def _refusal(message: str) -> PydanticCustomError:
    """What is wrong with a value, as advice."""
    return PydanticCustomError("value_error", "{message}", {"message": message})


def _checked_text(value: object) -> str:
    if not isinstance(value, str):
        raise _refusal(f"must be text, not {_kind(value)}")
    if len(value) > _LONGEST:
        raise _refusal(f"is {len(value)} characters long: at most {_LONGEST} are taken")
    return value


def _date(value: object) -> date:
    if value is None:
        raise _refusal("must be provided, as YYYY-MM-DD")
    if isinstance(value, date) and not isinstance(value, datetime):  # from Python; JSON has none
        return value
    text = _checked_text(value)
    # `fromisoformat` alone would take `20260201` and `2026-W05-7` too.
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise _refusal(f"{_quoted(text)} is no day of the calendar (0001-01-01 to 9999-12-31)") from None
    raise _refusal(f"{_quoted(text)} is not a date: write YYYY-MM-DD, such as 2026-02-01")


def _optional(rule: Callable[[str], _Value]) -> Callable[[object], _Value | None]:
    """A rule for a field that may be left out, or null."""

    def check(value: object) -> _Value | None:
        return None if value is None else rule(_checked_text(value))

    return check


def _uuid(text: str) -> str:
    canonical = uuid_of(text)
    if canonical is None:
        raise _refusal(
            f"{_quoted(text)} is not a UUID: write it with hyphens, such as a1b2c3d4-1111-2222-3333-444455556666"
        )
    return canonical


def _phone_number(text: str) -> str:
    if not is_e164(text):
        raise _refusal(
            f"{_quoted(text)} is not in E.164 format: write +, the country code and the number, digits only, such as "
            "+12025550123"
        )
    if problem := number_problem(text):
        raise _refusal(f"{text} {problem}")
    return text


def _channel_type(text: str) -> str:
    if text not in CHANNEL_TYPES:
        raise _refusal(f"{_quoted(text)} is not a channel type: it must be one of {', '.join(CHANNEL_TYPES)}")
    return text


def _email(text: str) -> str:
    try:
        # Whether its domain takes mail now says little about the time when the mail is sent: nothing is asked of DNS.
        address = validate_email(text, check_deliverability=False)
    except EmailNotValidError as error:
        raise _refusal(f"{_quoted(text)} is not an e-mail address: {_printable(str(error), 200)}") from None
    return address.ascii_email or address.normalized


def _kind(value: object) -> str:
    """What a value is, in JSON's words."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "an array", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _quoted(text: str) -> str:
    """A value as messages have it: quoted, its unprintable characters escaped, and cut if it is long."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}..."


def _printable(text: str, most: int = _SHOWN) -> str:
    """Text that UTF-8 can carry (JSON can hold half a character, which it cannot), cut if it is long."""
    cut = text if len(text) <= most else f"{text[:most]}..."
    return cut.encode("utf-8", "backslashreplace").decode()


# --- the request ---------------------------------------------------------------------------------------------------

# What is validated by the rules above, and how JSON Schema describes what they take.
_Date = Annotated[date, BeforeValidator(_date)]
_ChannelId = Annotated[str | None, BeforeValidator(_optional(_uuid), json_schema_input_type=UUID | None)]
_E164 = Annotated[str, Field(pattern=E164_PATTERN)]
_PhoneNumber = Annotated[str | None, BeforeValidator(_optional(_phone_number), json_schema_input_type=_E164 | None)]
_ChannelType = Annotated[
    ChannelType | None, BeforeValidator(_optional(_channel_type), json_schema_input_type=ChannelType | None)
]
_Address = Annotated[str, Field(max_length=_LONGEST, json_schema_extra={"format": "email"})]
_Email = Annotated[str | None, BeforeValidator(_optional(_email), json_schema_input_type=_Address | None)]


def _exactly_one_channel(schema: dict[str, JsonValue]) -> None:
    """Say that one of the two is text and the other is left out or null."""
    schema["oneOf"] = [
        {"required": [given], "properties": {given: {"type": "string"}, other: {"type": "null"}}}
        for given, other in (("channel_id", "phone_number"), ("phone_number", "channel_id"))
    ]


class ExportRequest(BaseModel):
    """Exactly one of `channel_id` and `phone_number` is given; a null is taken for a field left out."""

    # What is unknown is refused by `_check_whole`; `extra` says so in the schema.
    model_config = ConfigDict(
        title="ExportConversationsRequest", frozen=True, extra="forbid", json_schema_extra=_exactly_one_channel
    )

    start_date: _Date = Field(
        description="Start of the range (inclusive), YYYY-MM-DD. Cannot be in the future.", examples=["2026-02-01"]
    )
    end_date: _Date = Field(
        description="End of the range (inclusive), YYYY-MM-DD. Must be on or after start_date.",
        examples=["2026-02-28"],
    )
    channel_id: _ChannelId = Field(
        default=None,
        description="Channel/phone UUID. Provide either channel_id or phone_number.",
        examples=["a1b2c3d4-1111-2222-3333-444455556666"],
    )
    phone_number: _PhoneNumber = Field(
        default=None,
        description="Channel phone number in E.164 format. Used to look up the channel in the workspace.",
        examples=["+12025550123"],
    )
    channel_type: _ChannelType = Field(
        default=None,
        description="Disambiguates a phone number shared by multiple channels "
        "(e.g. a WhatsApp and an SMS channel on the same number).",
    )
    notification_email: _Email = Field(
        default=None,
        description="Email address to send the download link to when the export is ready.",
        examples=["agent@example.com"],
    )

    @property
    def date_range(self) -> DateRange:
        """The range, as an export takes it."""
        return DateRange(self.start_date, self.end_date)

    @classmethod
    def from_mapping(cls, body: object, *, today: date) -> Self:
        """Check a request's body, as JSON gives it; `today` is the day in the export's time zone.

        The result's `channel_id` is in lower case, its `notification_email` in the form that mail servers take (an
        international domain as `xn--...`). Raises InvalidRequestError (422) with all problems at once; if there is
        none, FutureStartError (400) when the range begins after `today`.
        """
        try:
            request = cls.model_validate(body)
        except ValidationError as error:
            raise InvalidRequestError([_problem(found) for found in _details(error)]) from None
        if request.start_date > today:
            raise FutureStartError("start_date is in the future.")
        return request

    @field_validator("end_date")
    @classmethod
    def _check_order(cls, end: date, info: ValidationInfo) -> date:
        start = info.data.get("start_date")
        if start is not None and end < start:
            raise _refusal(f"must be on or after start_date, and {end} is before {start}: swap them")
        return end

    @model_validator(mode="wrap")
    @classmethod
    def _check_whole(cls, body: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Check the fields, and what no field alone says, so that all problems are found at once."""
        if isinstance(body, cls):
            return body
        if not isinstance(body, Mapping):
            raise _refusal(f"the body must be a JSON object, not {_kind(body)}")
        request, problems = None, []
        try:
            request = handler({name: body.get(name) for name in cls.model_fields})
        except ValidationError as error:
            problems += _details(error)
        problems += _channel_problems(body)
        problems += _unknown_fields(body, list(cls.model_fields))
        if problems or request is None:
            raise ValidationError.from_exception_data(cls.__name__, problems)
        return request


def _channel_problems(body: Mapping[Any, object]) -> list[InitErrorDetails]:
    given = sum(body.get(name) is not None for name in ("channel_id", "phone_number"))
    if given == 0:
        return [_detail("either channel_id or phone_number must be provided")]
    return [_detail("either channel_id or phone_number must be provided, not both")] if given == 2 else []


def _unknown_fields(body: Mapping[Any, object], known: list[str]) -> list[InitErrorDetails]:
    unknown = [name for name in body if name not in known]
    advice = f"is unknown: the fields are {', '.join(known)}"
    problems = [_detail(advice, _printable(str(name))) for name in unknown[:_NAMED]]
    if len(unknown) > _NAMED:
        problems.append(_detail(f"{len(unknown) - _NAMED} more fields are unknown"))
    return problems


def _detail(message: str, *where: str) -> InitErrorDetails:
    """A problem as pydantic has it, without the value: it is not echoed."""
    return InitErrorDetails(type=_refusal(message), loc=where, input=None)


def _details(error: ValidationError) -> list[InitErrorDetails]:
    """The problems of an error, to go on with."""
    return [
        _detail(found["msg"], *map(str, found["loc"]))
        for found in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _problem(detail: InitErrorDetails) -> Problem:
    where = detail.get("loc", ())
    return Problem(str(where[0]) if where else None, str(detail["type"]))
