"""Channels and conversations out of real databases: SQLite and PostgreSQL."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export_engine import DateRange, ExportOptions, SourceError, export_conversations
from export_engine.jobs.backends.files import open_files
from export_engine.jobs.backends.sql import SqlConversations, SqlDirectory
from export_engine.jobs.ports import WorkspaceChannel
from export_engine.schema import COLUMN_NAMES
from export_engine.service.demo import DEMO_WORKSPACE, write_demo
from tests.jobs.rows import (
    JUNE,
    NOON,
    NUMBER,
    SMS,
    WHATSAPP,
    conversation,
    export,
    fill,
    message,
    read_back,
)
from tests.reference import COLUMNS


def test_a_channel_by_its_id(directory: SqlDirectory) -> None:
    """The one with that id."""
    assert directory.find(DEMO_WORKSPACE, channel_id=SMS.id) == [SMS]


def test_channels_by_their_number(directory: SqlDirectory) -> None:
    """All that share it, by id."""
    assert directory.find(DEMO_WORKSPACE, phone_number=NUMBER) == [WHATSAPP, SMS]


@pytest.mark.parametrize("workspace", ["another", "", f"{DEMO_WORKSPACE}\0", "\ud800"])
def test_a_channel_is_not_found_from_another_workspace(directory: SqlDirectory, workspace: str) -> None:
    """Neither by id nor by number, also where no workspace can have that id."""
    assert directory.find(workspace, channel_id=SMS.id) == []
    assert directory.find(workspace, phone_number=NUMBER) == []


def test_an_unknown_channel(directory: SqlDirectory) -> None:
    """No channel, no error."""
    assert directory.find(DEMO_WORKSPACE, channel_id="00000000-0000-0000-0000-000000000000") == []
    assert directory.find(DEMO_WORKSPACE, phone_number="+12025550199") == []


def test_a_table_of_channels_that_is_gone(directory: SqlDirectory) -> None:
    """An error that says so, where SQLite itself says that the database cannot be used: either is a 503."""
    with directory.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE channel RENAME TO was"))
    with pytest.raises((SourceError, sa.exc.OperationalError), match="channel"):
        directory.find(DEMO_WORKSPACE, channel_id=SMS.id)
    with pytest.raises((SourceError, sa.exc.OperationalError), match="channel"):
        directory.page(DEMO_WORKSPACE, limit=1)


# Changes of clocks about midnight, a day that is left out, and ends of the calendar.
RANGES = [
    (DateRange(date(2026, 6, 1), date(2026, 6, 30)), ZoneInfo("UTC")),
    (DateRange(date(2026, 3, 8), date(2026, 3, 8)), ZoneInfo("America/Havana")),
    (DateRange(date(2026, 11, 1), date(2026, 11, 1)), ZoneInfo("America/Havana")),
    (DateRange(date(2005, 10, 29), date(2005, 10, 29)), ZoneInfo("America/St_Johns")),
    (DateRange(date(2005, 10, 30), date(2005, 10, 30)), ZoneInfo("America/St_Johns")),
    (DateRange(date(2011, 12, 29), date(2011, 12, 29)), ZoneInfo("Pacific/Apia")),
    (DateRange(date(2011, 12, 30), date(2011, 12, 30)), ZoneInfo("Pacific/Apia")),
    (DateRange(date(2026, 6, 1), date(2026, 6, 2)), ZoneInfo("Asia/Kathmandu")),
    (DateRange(date(2026, 6, 1), date.max), ZoneInfo("Pacific/Kiritimati")),
    (DateRange(date.min, date(2026, 6, 1)), ZoneInfo("Pacific/Niue")),
]


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


MAYBE = st.none() | TEXT


IDS = st.lists(TEXT.filter(bool), min_size=1, max_size=6, unique=True)


@st.composite
def rows(draw: st.DrawFn) -> tuple[DateRange, tzinfo, list[dict[str, Any]], list[dict[str, Any]]]:
    """A range and rows, many of them near its ends."""
    date_range, timezone = draw(st.sampled_from(RANGES))
    near = [
        datetime.combine(day, datetime.min.time(), UTC)
        for day in (date_range.start, date_range.end)
        if date.min < day < date.max
    ]
    moments = st.builds(
        lambda base, hours, us: base + timedelta(hours=hours, microseconds=us),
        st.sampled_from(near),
        st.integers(-40, 60) | st.sampled_from([-1, 0, 24]),
        st.integers(-2, 2) | st.integers(0, 3_600_000_000),
    )
    conversations = [
        conversation(
            identifier,
            channel_id=draw(st.sampled_from([SMS.id, SMS.id, WHATSAPP.id])),
            contact_name=draw(MAYBE),
            contact_phone=draw(MAYBE),
            created_at=draw(moments),
        )
        for identifier in draw(IDS)
    ]
    messages = []
    for number in range(draw(st.integers(0, 12))):
        speaker = draw(st.sampled_from(["bot", "agent", "customer"]))
        messages.append(
            message(
                f"{draw(TEXT)}{number}",
                draw(st.sampled_from(conversations))["id"],
                message_time=draw(moments),
                direction=draw(st.sampled_from(["inbound", "outbound"])),
                speaker_type=speaker,
                speaker_name=draw(MAYBE),
                message_text=draw(MAYBE),
                media_url=draw(st.none() | st.just("https://example.com/a,https://example.com/b%2Cc")),
                status=draw(MAYBE),
                sender_account=draw(MAYBE) if speaker == "agent" else draw(st.sampled_from([None, ""])),
            )
        )
    return date_range, timezone, conversations, messages


def expected(
    date_range: DateRange, timezone: tzinfo, conversations: list[dict[str, Any]], messages: list[dict[str, Any]]
) -> list[list[dict[str, str]]]:
    """What the archive has to hold, worked out a row at a time."""
    csvs = []
    for talk in sorted(conversations, key=lambda c: (c["created_at"], c["id"].encode())):
        said = [m for m in messages if m["conversation_id"] == talk["id"] and talk["channel_id"] == SMS.id]
        lines = []
        for one in sorted(said, key=lambda m: (m["message_time"], m["id"].encode())):
            local = one["message_time"].astimezone(timezone)
            if not date_range.start <= local.date() <= date_range.end:
                continue
            speaker = one["speaker_name"]
            if speaker is None and one["speaker_type"] == "customer":
                speaker = talk["contact_name"]
            time = local.isoformat(timespec="microseconds")
            line = {**talk, **one, "message_id": one["id"], "speaker_name": speaker}
            line["message_time"] = time.replace("+00:00", "Z")
            lines.append({name: line[name] or "" for name in COLUMN_NAMES})
        if lines:
            csvs.append(lines)
    return csvs


@pytest.mark.slow
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example empties the tables first
)
@given(rows())
def test_what_is_in_the_database_comes_out_of_the_archive(
    source: SqlConversations, given: tuple[DateRange, tzinfo, list[dict[str, Any]], list[dict[str, Any]]]
) -> None:
    """Every message of the channel that shows one of the days, and no other, in order and with all its values."""
    date_range, timezone, conversations, messages = given
    fill(source.engine, conversations, messages)
    archive = b"".join(
        export(source.conversations(SMS, date_range, ExportOptions(timezone=timezone)), date_range, timezone)
    )
    assert read_back(archive) == expected(*given)


@pytest.mark.parametrize("timezone", ["UTC", "Asia/Taipei", "-04:00"])
def test_conversations_by_when_they_were_created(source: SqlConversations, timezone: str) -> None:
    """Those of the range come whole, with the messages before and after it; others not, whatever was said in it."""
    options = ExportOptions(range_by="created_at", timezone=timezone, compression="store", threads=1)
    first, month = datetime(2026, 6, 1, tzinfo=options.tzinfo), timedelta(days=30)
    created = {"before": first - timedelta(seconds=1), "first": first, "last": first + month - timedelta(seconds=1)}
    created["after"] = first + month
    times = [first - month, first + timedelta(days=3), first + 2 * month]
    fill(
        source.engine,
        [conversation(name, created_at=moment) for name, moment in created.items()],
        [message(f"{name}-{n}", name, message_time=time) for name in created for n, time in enumerate(times)],
    )
    made = export_conversations(
        source.conversations(SMS, JUNE, options), channel=SMS.channel, date_range=JUNE, options=options
    )
    rows = read_back(b"".join(made))
    assert [[row["message_id"] for row in member] for member in rows] == [
        ["first-0", "first-1", "first-2"],
        ["last-0", "last-1", "last-2"],
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("date_range", "timezone"), RANGES[1:8], ids=str)
def test_days_are_those_that_the_zones_clocks_show(
    source: SqlConversations, date_range: DateRange, timezone: tzinfo
) -> None:
    """Also where clocks change about midnight: nothing that shows the day is left out, at any five minutes."""
    first = datetime.combine(date_range.start, datetime.min.time(), UTC) - timedelta(days=2)
    times = [first + timedelta(minutes=5 * n, seconds=30) for n in range(5 * 288)]
    given = [conversation("c")], [message(f"m{n:04}", "c", message_time=time) for n, time in enumerate(times)]
    fill(source.engine, *given)
    archive = b"".join(
        export(source.conversations(SMS, date_range, ExportOptions(timezone=timezone)), date_range, timezone)
    )
    assert read_back(archive) == expected(date_range, timezone, *given)


def test_only_the_range_is_read(source: SqlConversations) -> None:
    """The database leaves out what lies outside, to the microsecond."""
    times = [datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)]
    near = [time + timedelta(microseconds=us) for time in times for us in (-1, 0)]
    fill(source.engine, [conversation("c")], [message(f"m{n}", "c", message_time=t) for n, t in enumerate(near)])
    batches = list(source.conversations(SMS, JUNE, ExportOptions()))
    assert [id_ for batch in batches for id_ in batch["message_id"].to_pylist()] == ["m1", "m2"]


def test_a_channel_without_messages_in_the_range(source: SqlConversations) -> None:
    """Is a valid export of nothing."""
    fill(source.engine, [conversation("c")], [message("m", "c", message_time=NOON - timedelta(days=90))])
    assert read_back(b"".join(export(source.conversations(SMS, JUNE, ExportOptions())))) == []


def test_null_and_empty_text_stay_distinct(source: SqlConversations) -> None:
    """As they do everywhere in the format."""
    fill(source.engine, [conversation("c")], [message("m", "c", message_text="")])
    archive = b"".join(export(source.conversations(SMS, JUNE, ExportOptions())))
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        header, row, _ = opened.read(opened.namelist()[0]).decode().split("\r\n")
    assert header == COLUMNS
    assert row == ('"m","c","Jane Doe",,"inbound","customer","Jane Doe","2026-06-11T12:00:00.000000Z","",,,')


def flat(document: dict[str, Any]) -> list[dict[str, Any]]:
    """A line of nested JSON Lines as rows of a table: the twelve columns and `created_at`."""
    contact = document["contact"]
    return [
        {
            "message_id": one["id"],
            "conversation_id": document["id"],
            "contact_name": contact["name"],
            "contact_phone": contact["phone"],
            "direction": one["direction"],
            "speaker_type": one["speaker_type"],
            "speaker_name": contact["name"] if one["speaker_type"] == "customer" else one["speaker_name"],
            "message_time": datetime.fromisoformat(one["time"]),
            "message_text": one["text"],
            "media_url": ",".join(url.replace(",", "%2C") for url in one["media_urls"]) or None,
            "status": one["status"],
            "sender_account": one["sender_account"],
            "created_at": datetime.fromisoformat(document["created_at"]),
        }
        for one in document["messages"]
    ]


@pytest.mark.parametrize("channel", [WHATSAPP, SMS], ids=lambda channel: channel.name)
def test_the_archive_is_the_same_from_files_and_from_a_database(
    source: SqlConversations, tmp_path: Path, channel: WorkspaceChannel
) -> None:
    """To the byte: nested JSON Lines, Parquet and SQL with the same conversations."""
    date_range = DateRange(date(2026, 2, 1), date(2026, 6, 10))
    write_demo(tmp_path)
    nested = tmp_path / "conversations" / f"{channel.id}.jsonl"
    talks = [flat(json.loads(line)) for line in nested.read_text("utf-8").splitlines()]
    fill(
        source.engine,
        [{"id": talk[0]["conversation_id"], "channel_id": channel.id, **talk[0]} for talk in talks],
        [{"id": row["message_id"], **row} for talk in talks for row in talk],
    )
    _, files = open_files(tmp_path)
    archives = [
        b"".join(export(conversations.conversations(channel, date_range, ExportOptions()), date_range, channel=channel))
        for conversations in (source, files)
    ]
    pq.write_table(pa.Table.from_pylist([row for talk in talks for row in talk]), nested.with_suffix(".parquet"))
    nested.unlink()
    archives.append(
        b"".join(export(files.conversations(channel, date_range, ExportOptions()), date_range, channel=channel))
    )
    assert len(read_back(archives[0])) == len(talks)
    assert archives[0] == archives[1]
    assert archives[0] == archives[2]
