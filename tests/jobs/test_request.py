"""What triggers an export: every rule of the API's page, and whatever else a body may be."""

from __future__ import annotations

import asyncio
import json
from datetime import date, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import httpx
import phonenumbers
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.jobs.errors import FutureStartError, InvalidRequestError, RequestError
from export_engine.jobs.request import CHANNEL_TYPES, ExportRequest
from export_engine.model import DateRange

TODAY = date(2026, 6, 15)
#: What is loaded on first use takes its time.
relaxed = settings(deadline=None)
BY_ID: dict[str, Any] = {
    "channel_id": "a1b2c3d4-1111-2222-3333-444455556666",
    "start_date": "2026-02-01",
    "end_date": "2026-02-28",
    "notification_email": "agent@example.com",
}
BY_NUMBER: dict[str, Any] = {
    "phone_number": "+12025550123",
    "channel_type": "whatsapp",
    "start_date": "2026-02-01",
    "end_date": "2026-02-28",
    "notification_email": "agent@example.com",
}


def problems(body: object) -> list[tuple[str | None, str]]:
    """What is wrong with a body; the answer to it can be sent and is short."""
    with pytest.raises(InvalidRequestError) as caught:
        ExportRequest.from_mapping(body, today=TODAY)
    error = caught.value
    assert error.status == 422
    assert len(json.dumps(error.body, ensure_ascii=False).encode()) < 10_000
    assert [detail["msg"] for detail in error.body["detail"]] == [problem.message for problem in error.problems]
    return [(problem.field, problem.message) for problem in error.problems]


def mapping(request: ExportRequest) -> dict[str, Any]:
    """A request as the body that it came from."""
    return request.model_dump(mode="json", exclude_none=True)


def test_the_pages_first_example() -> None:
    """A channel by its id."""
    assert ExportRequest.from_mapping(BY_ID, today=TODAY) == ExportRequest(
        start_date=date(2026, 2, 1),
        end_date=date(2026, 2, 28),
        channel_id="a1b2c3d4-1111-2222-3333-444455556666",
        notification_email="agent@example.com",
    )


def test_the_pages_second_example() -> None:
    """A channel by its number and type."""
    request = ExportRequest.from_mapping(BY_NUMBER, today=TODAY)
    assert request == ExportRequest(
        start_date=date(2026, 2, 1),
        end_date=date(2026, 2, 28),
        phone_number="+12025550123",
        channel_type="whatsapp",
        notification_email="agent@example.com",
    )
    assert request.date_range == DateRange(date(2026, 2, 1), date(2026, 2, 28))


def test_neither_channel_id_nor_phone_number() -> None:
    """The page's message, of the body as a whole."""
    body = {"start_date": "2026-02-01", "end_date": "2026-02-28"}
    assert problems(body) == [(None, "either channel_id or phone_number must be provided")]
    with pytest.raises(InvalidRequestError, match=r"^either channel_id or phone_number must be provided$") as caught:
        ExportRequest.from_mapping(body, today=TODAY)
    assert caught.value.body == {
        "detail": [
            {"loc": ["body"], "msg": "either channel_id or phone_number must be provided", "type": "value_error"}
        ]
    }


def test_both_channel_id_and_phone_number() -> None:
    """Exactly one is to be given."""
    assert problems(BY_ID | BY_NUMBER) == [(None, "either channel_id or phone_number must be provided, not both")]


def test_null_is_left_out() -> None:
    """An optional field may be null; a required one may not."""
    body = BY_ID | {"phone_number": None, "channel_type": None, "notification_email": None}
    assert ExportRequest.from_mapping(body, today=TODAY).notification_email is None
    assert problems(BY_ID | {"start_date": None}) == [("start_date", "must be provided, as YYYY-MM-DD")]
    assert problems(BY_ID | {"channel_id": None}) == [(None, "either channel_id or phone_number must be provided")]


def test_a_range_that_begins_in_the_future() -> None:
    """400 in the page's words; today itself is none, and the end may lie ahead."""
    begin = {"start_date": "2026-06-15", "end_date": "2027-01-01"}
    assert ExportRequest.from_mapping(BY_ID | begin, today=TODAY).start_date == TODAY
    with pytest.raises(FutureStartError, match=r"^start_date is in the future\.$") as caught:
        ExportRequest.from_mapping(BY_ID | begin, today=TODAY - timedelta(days=1))
    assert caught.value.status == 400


def test_a_future_start_is_told_last() -> None:
    """What breaks a rule is told first: 422, not 400."""
    body = {"channel_id": BY_ID["channel_id"], "start_date": "9999-01-01", "end_date": "9998-01-01"}
    assert [field for field, _ in problems(body)] == ["end_date"]


def test_all_problems_are_told_at_once() -> None:
    """Field by field, then of the body, then the unknown fields."""
    body = {
        "start_date": "1 June",
        "end_date": "2026-02-30",
        "channel_type": "fax",
        "notification_email": "nobody",
        "limit": 5,
    }
    assert [field for field, _ in problems(body)] == [
        "start_date",
        "end_date",
        "channel_type",
        "notification_email",
        None,
        "limit",
    ]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("start_date", "2026-2-1", "write YYYY-MM-DD"),
        ("start_date", "20260201", "write YYYY-MM-DD"),
        ("start_date", "2026-W05-7", "write YYYY-MM-DD"),
        ("start_date", "2026-02-01T00:00:00Z", "write YYYY-MM-DD"),
        ("start_date", "2026-02-01\n", "write YYYY-MM-DD"),
        ("start_date", "٢٠٢٦-٠٢-٠١", "write YYYY-MM-DD"),
        ("start_date", "", "write YYYY-MM-DD"),
        ("start_date", "2026-02-29", "no day of the calendar"),
        ("start_date", "0000-01-01", "no day of the calendar"),
        ("start_date", 20260201, "must be text, not a number"),
        ("start_date", True, "must be text, not a boolean"),
        ("end_date", ["2026-02-01"], "must be text, not an array"),
        ("end_date", {"day": 1}, "must be text, not an object"),
        ("end_date", "2026-01-31", "on or after start_date"),
        ("channel_id", "", "not a UUID"),
        ("channel_id", "a1b2c3d4111122223333444455556666", "not a UUID"),
        ("channel_id", "{a1b2c3d4-1111-2222-3333-444455556666}", "not a UUID"),
        ("channel_id", "urn:uuid:a1b2c3d4-1111-2222-3333-444455556666", "not a UUID"),
        ("channel_id", "g1b2c3d4-1111-2222-3333-444455556666", "not a UUID"),
        ("channel_id", "a1b2c3d4-1111-2222-3333-44445555666", "not a UUID"),
        ("channel_id", 7, "must be text"),
        ("channel_type", "SMS", "sms, whatsapp, messenger, instagram, line"),
        ("channel_type", "LOCAL", "must be one of"),
        ("notification_email", "agent", "not an e-mail address"),
        ("notification_email", "agent@example.com, other@example.com", "not an e-mail address"),
        ("notification_email", "agent@example.com\r\nBcc: other@example.com", "not an e-mail address"),
        ("notification_email", "Agent <agent@example.com>", "not an e-mail address"),
        ("notification_email", "\ud800@example.com", "not an e-mail address"),
        ("notification_email", "agent@\ud800.com", "not an e-mail address"),
    ],
)
def test_a_field_that_breaks_a_rule(field: str, value: object, words: str) -> None:
    """It alone is named, with how to mend it."""
    [(named, message)] = problems(BY_ID | {field: value})
    assert named == field
    assert words in message


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("12025550123", "not in E.164 format"),
        ("+1 202 555 0123", "not in E.164 format"),
        ("+1-202-555-0123", "not in E.164 format"),
        ("tel:+12025550123", "not in E.164 format"),
        ("+012025550123", "not in E.164 format"),
        ("+1202555012345678", "not in E.164 format"),
        ("+١٢٠٢٥٥٥٠١٢٣", "not in E.164 format"),
        ("+12025550123\n", "not in E.164 format"),
        ("+", "not in E.164 format"),
        ("+999123456789", "country code"),
        ("+1202", "digits"),
        ("+15550123", "digits"),
        ("+120255501234", "digits"),
        ("+4402079460000", r"write +442079460000"),
        (12025550123, "must be text"),
    ],
)
def test_a_phone_number_that_is_none(value: object, words: str) -> None:
    """E.164 to the letter, and possible in its country."""
    [(named, message)] = problems(BY_NUMBER | {"phone_number": value})
    assert named == "phone_number"
    assert words in message


@pytest.mark.parametrize("number", ["+12025550123", "+886223456789", "+390612345678", "+442079460000", "+6561234567"])
def test_phone_numbers_of_many_countries(number: str) -> None:
    """They are kept as they were written, an Italian zero too."""
    assert ExportRequest.from_mapping(BY_NUMBER | {"phone_number": number}, today=TODAY).phone_number == number


def test_a_uuid_in_capitals() -> None:
    """It is kept in lower case, as channels are looked up."""
    body = BY_ID | {"channel_id": BY_ID["channel_id"].upper()}
    assert ExportRequest.from_mapping(body, today=TODAY).channel_id == BY_ID["channel_id"]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("Agent@EXAMPLE.com", "Agent@example.com"),
        ("agent@bücher.example.com", "agent@xn--bcher-kva.example.com"),
        ("ägent@example.com", "ägent@example.com"),
    ],
)
def test_an_international_address(written: str, kept: str) -> None:
    """It is kept as mail servers take it, as far as they take it."""
    body = BY_ID | {"notification_email": written}
    assert ExportRequest.from_mapping(body, today=TODAY).notification_email == kept


def test_the_first_and_the_last_day() -> None:
    """All that a calendar has."""
    body = BY_ID | {"start_date": "0001-01-01", "end_date": "9999-12-31"}
    assert ExportRequest.from_mapping(body, today=TODAY).date_range == DateRange(date.min, date.max)


@pytest.mark.parametrize("body", [None, [], [BY_ID], "start_date", 1, 1.5, True])
def test_a_body_that_is_no_object(body: object) -> None:
    """One problem, of the body."""
    [(field, message)] = problems(body)
    assert field is None
    assert message.startswith("the body must be a JSON object, not ")


def test_an_unknown_field_is_named() -> None:
    """With those that there are."""
    [(field, message)] = problems(BY_ID | {"chanel_type": None})
    assert field == "chanel_type"
    assert message == (
        "is unknown: the fields are start_date, end_date, channel_id, phone_number, channel_type, notification_email"
    )


def test_a_thousand_unknown_fields() -> None:
    """Ten are named, the others counted."""
    told = problems(BY_ID | {f"field {number}": 1 for number in range(1000)})
    assert [field for field, _ in told] == [*(f"field {number}" for number in range(10)), None]
    assert told[-1][1] == "990 more fields are unknown"


@pytest.mark.parametrize("field", [*BY_ID, "phone_number", "channel_type"])
@pytest.mark.parametrize("character", ["1", "a", "@", "é", "\ud800", "\0", "\u202e"])
@pytest.mark.parametrize("length", [100, 320, 5_000_000])
def test_an_absurdly_long_text(field: str, character: str, length: int) -> None:
    """It is refused at once, and not sent back."""
    other = {"phone_number": "channel_id", "channel_id": "phone_number"}.get(field)
    body = {name: value for name, value in (BY_ID | {field: character * length}).items() if name != other}
    if field == "phone_number":
        body.pop("channel_id", None)
    [(named, message)] = problems(body)
    assert named == field
    assert len(message) < 600
    assert length <= 320 or message == f"is {length} characters long: at most 320 are taken"


def test_an_absurdly_long_name() -> None:
    """It is cut, and half a character in it is escaped."""
    [(field, _)] = problems(BY_ID | {"\ud800" * 1_000_000: 1})
    assert field is not None
    assert len(field) < 600
    assert field.startswith("\\ud800")


def test_a_route_of_fastapi_takes_the_model() -> None:
    """Who declares it as a route's body gets the same 422, by FastAPI's own means, and the same OpenAPI schema."""
    app = FastAPI()

    @app.post("/exports")
    def post(body: ExportRequest) -> str:
        return str(body.channel_id)

    body = {"start_date": "2026-2-1", "end_date": "2026-02-28", "limit": 5}

    async def answers() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return [await client.post("/exports", json=given) for given in (BY_ID, body)]

    accepted, refused = asyncio.run(answers())
    assert accepted.json() == BY_ID["channel_id"]
    assert refused.status_code == 422
    with pytest.raises(InvalidRequestError) as caught:
        ExportRequest.from_mapping(body, today=TODAY)
    kept = [{name: found[name] for name in ("loc", "msg", "type")} for found in refused.json()["detail"]]
    assert kept == caught.value.body["detail"]


@cache
def possible_numbers() -> st.SearchStrategy[str]:
    """Numbers as countries have them for examples."""
    examples = (phonenumbers.example_number(region) for region in sorted(phonenumbers.SUPPORTED_REGIONS))
    texts = [phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) for number in examples if number]
    return st.sampled_from(texts)


@st.composite
def valid_bodies(draw: st.DrawFn) -> dict[str, Any]:
    """Bodies that are good, in canonical form."""
    start = draw(st.dates(max_value=TODAY))
    body: dict[str, Any] = {"start_date": str(start), "end_date": str(draw(st.dates(min_value=start)))}
    if draw(st.booleans()):
        body["channel_id"] = str(draw(st.uuids()))
    else:
        body["phone_number"] = draw(possible_numbers())
    if draw(st.booleans()):
        body["channel_type"] = draw(st.sampled_from(CHANNEL_TYPES))
    if draw(st.booleans()):
        body["notification_email"] = draw(
            st.from_regex(r"[a-z]([a-z0-9+-]{0,20}[a-z0-9])?@[a-z]{1,20}\.com", fullmatch=True)
        )
    names = draw(st.permutations(sorted(body)))
    return {name: body[name] for name in names}


def json_values() -> st.SearchStrategy[Any]:
    """Whatever a JSON parser may give, half characters included."""
    texts = st.text(st.characters(codec=None, exclude_categories=()))
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
    return st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=10)


@pytest.mark.slow
@relaxed
@given(valid_bodies())
def test_a_valid_body_comes_back(body: dict[str, Any]) -> None:
    """The request says what the body said, no more and no less."""
    assert mapping(ExportRequest.from_mapping(body, today=TODAY)) == body


@pytest.mark.slow
@relaxed
@given(valid_bodies(), st.data())
def test_a_valid_body_with_one_thing_wrong(body: dict[str, Any], data: st.DataObject) -> None:
    """That thing is named, and nothing else."""
    field = data.draw(st.sampled_from(sorted(body)))
    wrong = data.draw(
        st.integers() | st.lists(st.text()) | st.booleans() | st.just("?" * data.draw(st.integers(1, 400)))
    )
    assert [named for named, _ in problems(body | {field: wrong})] == [field]


@relaxed
@given(valid_bodies())
def test_a_valid_body_with_a_day_too_few(body: dict[str, Any]) -> None:
    """An end before the start is the end's problem."""
    start = date.fromisoformat(body["start_date"])
    if start > date.min:
        assert [named for named, _ in problems(body | {"end_date": str(start - timedelta(days=1))})] == ["end_date"]


@pytest.mark.slow
@relaxed
@given(st.fixed_dictionaries({}, optional=dict.fromkeys([*BY_ID, *BY_NUMBER, "other"], json_values())) | json_values())
def test_whatever_json_gives(body: Any) -> None:
    """A request, or an error that can be answered with."""
    answer: RequestError | None = None
    try:
        request = ExportRequest.from_mapping(body, today=TODAY)
    except RequestError as error:
        answer = error
    if answer is None:
        assert ExportRequest.from_mapping(mapping(request), today=TODAY) == request
    else:
        assert answer.status in (400, 422)
        assert json.dumps(answer.body, ensure_ascii=False).encode()


@relaxed
@given(st.text(max_size=40) | st.from_regex(r"[0-9a-fA-F-]{30,40}", fullmatch=True))
def test_only_uuids_are_taken_for_ids(text: str) -> None:
    """Whatever is taken is a UUID in its own words."""
    try:
        request = ExportRequest.from_mapping(BY_ID | {"channel_id": text}, today=TODAY)
    except InvalidRequestError:
        return
    assert str(UUID(request.channel_id)) == request.channel_id == text.lower()


@relaxed
@given(st.text(max_size=30) | st.from_regex(r"[a-z.]{1,9}@[a-z.-]{1,20}", fullmatch=True))
def test_only_addresses_are_taken_for_addresses(text: str) -> None:
    """Whatever is taken is taken again as it was kept."""
    try:
        kept = ExportRequest.from_mapping(BY_ID | {"notification_email": text}, today=TODAY).notification_email
    except InvalidRequestError:
        return
    assert ExportRequest.from_mapping(BY_ID | {"notification_email": kept}, today=TODAY).notification_email == kept
