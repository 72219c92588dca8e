"""The demo's data answer the API page's own examples."""

from __future__ import annotations

import zipfile
from datetime import date
from pathlib import Path

import pytest

from export_engine import DateRange, ExportOptions, export_conversations
from export_engine.jobs.backends.files import open_files
from export_engine.jobs.channels import find_channel
from export_engine.jobs.errors import AmbiguousChannelError
from export_engine.jobs.request import ExportRequest
from export_engine.service.demo import DEMO_WORKSPACE, write_demo

TODAY = date(2026, 6, 11)
FEBRUARY = {"start_date": "2026-02-01", "end_date": "2026-02-28", "notification_email": "agent@example.com"}
BY_ID = {**FEBRUARY, "channel_id": "a1b2c3d4-1111-2222-3333-444455556666"}
BY_NUMBER = {**FEBRUARY, "phone_number": "+12025550123", "channel_type": "whatsapp"}
JUNE = {"start_date": "2026-06-01", "end_date": "2026-06-10", "channel_id": "b2c3d4e5-7777-8888-9999-000011112222"}


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """The demo's folder."""
    write_demo(tmp_path / "demo")
    return tmp_path / "demo"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (BY_ID, "WhatsApp_Sales_2026-02_"),
        (BY_NUMBER, "WhatsApp_Sales_2026-02_"),
        (JUNE, "SMS_Support_2026-06_"),
    ],
)
def test_the_pages_requests_find_dozens_of_conversations(
    demo: Path, tmp_path: Path, body: dict[str, str], name: str
) -> None:
    """By id, by number and type, and in the range of its status example; all kinds of speakers, and media."""
    directory, source = open_files(demo)
    request = ExportRequest.from_mapping(body, today=TODAY)
    channel = find_channel(directory, DEMO_WORKSPACE, request)
    given = source.conversations(channel, request.date_range, ExportOptions())
    export = export_conversations(given, channel=channel.channel, date_range=request.date_range)
    path = export.write_to(tmp_path)
    assert path.name.startswith(name)
    assert export.report.conversations >= 36
    with zipfile.ZipFile(path) as archive:
        text = "".join(archive.read(member).decode() for member in archive.namelist())
    for word in ('"bot"', '"agent"', '"customer"', "https://", "%2C", "山田太郎", "¿", '""'):
        assert word in text


def test_the_pages_name_of_a_csv_is_in_the_archive(demo: Path, tmp_path: Path) -> None:
    """A conversation of April that goes on in June, with its messages of June alone."""
    directory, source = open_files(demo)
    request = ExportRequest.from_mapping(JUNE, today=TODAY)
    channel = find_channel(directory, DEMO_WORKSPACE, request)
    given = source.conversations(channel, request.date_range, ExportOptions())
    path = export_conversations(given, channel=channel.channel, date_range=request.date_range).write_to(tmp_path)
    with zipfile.ZipFile(path) as archive:
        text = archive.read("Jane Doe--2026-04-08_032443--SMS Support (+12025550123).csv").decode()
    assert text.count("2026-06-02T") == 2
    assert "2026-04" not in text


def test_the_number_alone_is_ambiguous(demo: Path) -> None:
    """With the page's candidates, in its order."""
    directory, _ = open_files(demo)
    body = {name: value for name, value in BY_NUMBER.items() if name != "channel_type"}
    with pytest.raises(AmbiguousChannelError) as caught:
        find_channel(directory, DEMO_WORKSPACE, ExportRequest.from_mapping(body, today=TODAY))
    assert caught.value.candidates == [
        {
            "channel_id": "a1b2c3d4-1111-2222-3333-444455556666",
            "channel_type": "WHATSAPP_BUSINESS_PLATFORM",
            "name": "WhatsApp Sales",
        },
        {"channel_id": "b2c3d4e5-7777-8888-9999-000011112222", "channel_type": "LOCAL", "name": "SMS Support"},
    ]


def test_every_conversation_lies_in_the_pages_ranges(demo: Path) -> None:
    """No message but the two of April is outside."""
    directory, source = open_files(demo)
    ranges = {
        "WhatsApp Sales": (date(2026, 2, 1), date(2026, 2, 28)),
        "SMS Support": (date(2026, 6, 1), date(2026, 6, 10)),
    }
    counts = {}
    for channel in directory.channels():
        rows = []
        for date_range in (DateRange(*ranges[str(channel.name)]), DateRange(date(2020, 1, 1), date(2030, 1, 1))):
            given = source.conversations(channel, date_range, ExportOptions())
            export = export_conversations(given, channel=channel.channel, date_range=date_range)
            list(export)
            rows.append(export.report.rows)
        counts[channel.name] = rows[1] - rows[0]
    assert counts == {"WhatsApp Sales": 0, "SMS Support": 2}


def test_it_is_the_same_each_time(demo: Path, tmp_path: Path) -> None:
    """Also over what is there."""
    write_demo(tmp_path / "other")
    files = sorted(path.relative_to(demo) for path in demo.rglob("*.jsonl"))
    assert len(files) == 3
    before = [(demo / file).read_bytes() for file in files]
    write_demo(demo)
    assert [(demo / file).read_bytes() for file in files] == before
    assert [(tmp_path / "other" / file).read_bytes() for file in files] == before
