"""Which channel a request means: by id, by number, by number and type, none, several."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.jobs.channels import COARSE_TYPES, find_channel, resolve_channel
from export_engine.jobs.errors import AmbiguousChannelError, NotFoundError
from export_engine.jobs.ports import WorkspaceChannel
from export_engine.jobs.request import CHANNEL_TYPES, ExportRequest
from export_engine.jobs.testing import MemoryDirectory

WORKSPACE = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
NUMBER = "+12025550123"
WHATSAPP = WorkspaceChannel(
    "a1b2c3d4-1111-2222-3333-444455556666", WORKSPACE, "WHATSAPP_BUSINESS_PLATFORM", "WhatsApp Sales", NUMBER
)
SMS = WorkspaceChannel("b2c3d4e5-7777-8888-9999-000011112222", WORKSPACE, "LOCAL", "SMS Support", NUMBER)
OTHER = WorkspaceChannel("c3d4e5f6-0000-0000-0000-000000000000", WORKSPACE, "LINE", None, None)
CHANNELS = [OTHER, SMS, WHATSAPP]


def asking(**choice: str) -> ExportRequest:
    body = {"start_date": "2026-02-01", "end_date": "2026-02-28", **choice}
    return ExportRequest.from_mapping(body, today=date(2026, 6, 15))


def test_the_pages_types() -> None:
    """The two that the page names, and every coarse type can be reached."""
    assert COARSE_TYPES["LOCAL"] == "sms"
    assert COARSE_TYPES["WHATSAPP_BUSINESS_PLATFORM"] == "whatsapp"
    assert set(COARSE_TYPES.values()) == set(CHANNEL_TYPES)


@pytest.mark.parametrize("channel", CHANNELS)
def test_by_id(channel: WorkspaceChannel) -> None:
    """An id is unambiguous on its own, however it is written on either side."""
    assert resolve_channel(CHANNELS, asking(channel_id=channel.id.upper())) is channel
    shouted = replace(channel, id=channel.id.upper())
    assert resolve_channel([shouted], asking(channel_id=channel.id)) is shouted


@pytest.mark.parametrize(("type_", "channel"), [("sms", SMS), ("whatsapp", WHATSAPP)])
def test_by_number_and_type(type_: str, channel: WorkspaceChannel) -> None:
    """The coarse type tells channels of one number apart."""
    assert resolve_channel(CHANNELS, asking(phone_number=NUMBER, channel_type=type_)) is channel


def test_by_a_number_of_one_channel() -> None:
    """No type is needed, and a channel listed twice is one."""
    assert resolve_channel([OTHER, SMS, SMS], asking(phone_number=NUMBER)) is SMS


def test_a_number_that_several_channels_share() -> None:
    """409 with the page's body, whatever the order of the channels."""
    for channels in (CHANNELS, CHANNELS[::-1]):
        with pytest.raises(AmbiguousChannelError) as caught:
            resolve_channel(channels, asking(phone_number=NUMBER))
        assert caught.value.status == 409
        assert caught.value.body == {
            "detail": {
                "message": "Multiple channels match this phone number. Specify channel_type or channel_id.",
                "candidates": [
                    {
                        "channel_id": "a1b2c3d4-1111-2222-3333-444455556666",
                        "channel_type": "WHATSAPP_BUSINESS_PLATFORM",
                        "name": "WhatsApp Sales",
                    },
                    {
                        "channel_id": "b2c3d4e5-7777-8888-9999-000011112222",
                        "channel_type": "LOCAL",
                        "name": "SMS Support",
                    },
                ],
            }
        }


def test_a_number_that_channels_of_one_type_share() -> None:
    """The type does not help: only the id does."""
    toll_free = replace(SMS, id="b2c3d4e5-0000-0000-0000-000000000000", type="TOLL_FREE", name=None)
    with pytest.raises(AmbiguousChannelError) as caught:
        resolve_channel([*CHANNELS, toll_free], asking(phone_number=NUMBER, channel_type="sms"))
    assert caught.value.candidates == [
        {"channel_id": toll_free.id, "channel_type": "TOLL_FREE", "name": None},
        {"channel_id": SMS.id, "channel_type": "LOCAL", "name": "SMS Support"},
    ]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (
            {"channel_id": "d4e5f6a7-0000-0000-0000-000000000000"},
            "No channel found for channel_id d4e5f6a7-0000-0000-0000-000000000000.",
        ),
        ({"phone_number": "+12025550199"}, "No channel found for phone_number +12025550199."),
        (
            {"phone_number": NUMBER, "channel_type": "line"},
            "No channel found for phone_number +12025550123 and channel_type line.",
        ),
        (
            {"channel_id": "d4e5f6a7-0000-0000-0000-000000000000", "channel_type": "sms"},
            "No channel found for channel_id d4e5f6a7-0000-0000-0000-000000000000.",
        ),
    ],
)
def test_no_such_channel(choice: dict[str, str], wanted: str) -> None:
    """404, and it says what was looked for."""
    with pytest.raises(NotFoundError) as caught:
        resolve_channel(CHANNELS, asking(**choice))
    assert caught.value.status == 404
    assert caught.value.body == {"detail": {"message": wanted}}


@pytest.mark.parametrize("type_", ["sms", "whatsapp", "line"])
def test_an_id_with_a_type(type_: str) -> None:
    """The id is unambiguous on its own: the type beside it need not agree."""
    assert resolve_channel(CHANNELS, asking(channel_id=SMS.id, channel_type=type_)) is SMS


def test_a_type_of_ones_own() -> None:
    """The table is the caller's to extend; a type that is not in it is of no coarse type."""
    odd = replace(SMS, type="VIRTUAL")
    request = asking(phone_number=NUMBER, channel_type="sms")
    with pytest.raises(NotFoundError):
        resolve_channel([odd], request)
    assert resolve_channel([odd], request, types={**COARSE_TYPES, "VIRTUAL": "sms"}) is odd
    assert resolve_channel([odd], asking(phone_number=NUMBER)) is odd


def test_a_directory_is_asked_for_the_workspaces_channels() -> None:
    """A channel of another workspace is not found, by id or number."""
    directory = MemoryDirectory(CHANNELS)
    assert find_channel(directory, WORKSPACE, asking(channel_id=SMS.id)) is SMS
    assert find_channel(directory, WORKSPACE, asking(phone_number=NUMBER, channel_type="sms")) is SMS
    for choice in ({"channel_id": SMS.id}, {"phone_number": NUMBER}):
        with pytest.raises(NotFoundError):
            find_channel(directory, "another", asking(**choice))


TYPES = st.sampled_from([*sorted(COARSE_TYPES), "VIRTUAL"])
NUMBERS = st.sampled_from([NUMBER, "+12025550199", None])
SOME = st.lists(
    st.builds(WorkspaceChannel, st.uuids().map(str), st.just(WORKSPACE), TYPES, st.none() | st.text(), NUMBERS)
)


@settings(deadline=None)
@given(SOME, st.none() | st.sampled_from(CHANNEL_TYPES))
def test_any_channels(channels: list[WorkspaceChannel], type_: str | None) -> None:
    """One, none or several: as a plain count says."""
    meant = [
        channel
        for channel in channels
        if channel.phone_number == NUMBER and type_ in (None, COARSE_TYPES.get(channel.type))
    ]
    request = asking(phone_number=NUMBER, **({"channel_type": type_} if type_ else {}))
    if len(meant) == 1:
        assert resolve_channel(channels, request) is meant[0]
    elif meant:
        with pytest.raises(AmbiguousChannelError) as caught:
            resolve_channel(channels, request)
        assert [candidate["channel_id"] for candidate in caught.value.candidates] == sorted(c.id for c in meant)
    else:
        with pytest.raises(NotFoundError):
            resolve_channel(channels, request)
