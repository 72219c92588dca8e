"""One phone number, however it is written; and which are written wrongly."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from export_engine.jobs.channels import find_channel
from export_engine.jobs.errors import AmbiguousChannelError, NotFoundError
from export_engine.jobs.phones import number_key, number_problem, same_number
from export_engine.jobs.ports import WorkspaceChannel
from export_engine.jobs.testing import MemoryDirectory
from tests.jobs.test_channels import WORKSPACE, asking

SAME = [
    ("+5215512345678", "+525512345678"),  # Mexico
    ("+5491123456789", "+541123456789"),  # Argentina
    ("+5493511234567", "+543511234567"),
    ("+5531987654321", "+553187654321"),  # Brazil
    ("+4402079460000", "+442079460000"),  # a trunk prefix
    ("+12025550123", "+1 (202) 555-0123"),
]
OTHERS = [
    ("+525512345678", "+525512345679"),
    ("+5215512345678", "+5225512345678"),
    ("+551131234567", "+5511931234567"),  # a fixed line of Brazil has no ninth digit
    ("+12025550123", "+2025550123"),
    ("+390612345678", "+39612345678"),  # a zero that belongs to the number
    ("+12025550123", "nonsense23"),
    ("nonsense", "other nonsense"),
    ("+493012345678", "+4930123456"),  # one the end of the other is another
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_one_number_in_two_ways(one: str, other: str) -> None:
    """Whichever is the directory's, and whichever the request's."""
    assert same_number(one, other)
    assert same_number(other, one)
    assert number_key(one) == number_key(other)


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_two_numbers(one: str, other: str) -> None:
    """Whatever they have in common."""
    assert not same_number(one, other)
    assert not same_number(other, one)


@pytest.mark.parametrize("number", [number for pair in SAME for number in pair if number[1:].isdigit()])
def test_both_ways_may_be_asked_for(number: str) -> None:
    """The older one too, which has too many digits for today's plan; only a trunk prefix is none of E.164's."""
    assert number_problem(number) == (
        "is not in E.164 format: write +442079460000" if number == "+4402079460000" else None
    )


@pytest.mark.parametrize("number", ["+52155123456789", "+5493", "+55319876543210", "+9991234567"])
def test_what_is_no_number_in_either_way(number: str) -> None:
    """Digits too few or too many stay wrong."""
    assert number_problem(number) is not None


@pytest.mark.parametrize("number", ["+43000000", "+4400002079460000"])
def test_the_advice_can_be_followed(number: str) -> None:
    """What it says to write is well written, however many zeros stood there."""
    advice = number_problem(number)
    assert advice is not None
    assert advice.startswith("is not in E.164 format: write +")
    assert number_problem(advice.rpartition(" ")[2]) is None


@given(st.from_regex(r"\A\+[1-9][0-9]{1,14}\Z"))
@example("+43000000")
def test_the_key_is_a_number_of_the_same_key(number: str) -> None:
    """Of any number; the reference for what it is, where no plan has changed, is the library's own matching."""
    key = number_key(number)
    if key is None:
        return
    assert number_key(key) == key
    once = phonenumbers.format_number(phonenumbers.parse(number), phonenumbers.PhoneNumberFormat.E164)
    if number != key == once:  # two trunk prefixes are two numbers to the library
        match = phonenumbers.is_number_match(number, key)
        changed = number.startswith(("+521", "+549", "+55"))
        assert changed or match == phonenumbers.MatchType.EXACT_MATCH


MOBILE = WorkspaceChannel("a1b2c3d4-1111-2222-3333-444455556666", WORKSPACE, "WHATSAPP", "WhatsApp", "+5215512345678")
SMS = WorkspaceChannel("b2c3d4e5-7777-8888-9999-000011112222", WORKSPACE, "LOCAL", "SMS", "+525512345678")


@pytest.mark.parametrize("number", ["+5215512345678", "+525512345678"])
def test_channels_whose_number_is_written_in_two_ways(number: str) -> None:
    """They share it: the type tells them apart, and without one it is ambiguous; never the one that was not meant."""
    both = MemoryDirectory([MOBILE, SMS])
    assert find_channel(both, WORKSPACE, asking(phone_number=number, channel_type="whatsapp")) is MOBILE
    assert find_channel(both, WORKSPACE, asking(phone_number=number, channel_type="sms")) is SMS
    with pytest.raises(AmbiguousChannelError):
        find_channel(both, WORKSPACE, asking(phone_number=number))
    for channel in (MOBILE, SMS):
        assert find_channel(MemoryDirectory([channel]), WORKSPACE, asking(phone_number=number)) is channel
    with pytest.raises(NotFoundError):
        find_channel(both, WORKSPACE, asking(phone_number="+525512345679"))
