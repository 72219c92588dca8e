"""Rows for databases of conversations, what an export of them is, and what the standard library reads of it."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import UTC, date, datetime, tzinfo
from typing import Any

import sqlalchemy as sa

from export_engine import DateRange, Export, export_conversations
from export_engine.jobs.backends.sql import SqlConversations
from export_engine.jobs.backends.sql_schema import CONVERSATION, MESSAGE
from export_engine.jobs.ports import WorkspaceChannel
from export_engine.service.demo import DEMO_CHANNELS

__all__ = [
    "JUNE",
    "NOON",
    "NUMBER",
    "SMS",
    "WHATSAPP",
    "checked_out",
    "conversation",
    "export",
    "fill",
    "many",
    "message",
    "read_back",
]

WHATSAPP, SMS = (WorkspaceChannel(**channel) for channel in DEMO_CHANNELS)
NUMBER = "+12025550123"
JUNE = DateRange(date(2026, 6, 1), date(2026, 6, 30))
NOON = datetime(2026, 6, 11, 12, tzinfo=UTC)


def fill(engine: sa.Engine, conversations: list[dict[str, Any]], messages: list[dict[str, Any]]) -> None:
    """Put these rows in place of all there are."""
    with engine.begin() as connection:
        connection.execute(MESSAGE.delete())
        connection.execute(CONVERSATION.delete())
        if conversations:
            connection.execute(CONVERSATION.insert(), conversations)
        if messages:
            connection.execute(MESSAGE.insert(), messages)


def conversation(identifier: str, **more: Any) -> dict[str, Any]:
    """A row of `conversation`."""
    row = {"id": identifier, "channel_id": SMS.id, "contact_name": "Jane Doe", "contact_phone": None}
    return {**row, "created_at": NOON, **more}


def message(identifier: str, of: str, **more: Any) -> dict[str, Any]:
    """A row of `message`."""
    row = {"id": identifier, "conversation_id": of, "message_time": NOON, "direction": "inbound"}
    texts = dict.fromkeys(("speaker_name", "message_text", "media_url", "status", "sender_account"))
    return {**row, "speaker_type": "customer", **texts, **more}


def export(given: Any, date_range: DateRange = JUNE, timezone: tzinfo = UTC, channel: WorkspaceChannel = SMS) -> Export:
    """An export of what a source gave."""
    return export_conversations(
        given,
        channel=channel.channel,
        date_range=date_range,
        timezone=timezone,
        export_id="0",
        compression="store",
        threads=1,
    )


def read_back(archive: bytes) -> list[list[dict[str, str]]]:
    """The rows of each CSV, by the standard library; nulls are empty."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        texts = [io.StringIO(opened.read(name).decode(), newline="") for name in opened.namelist()]
    return [list(csv.DictReader(text, strict=True)) for text in texts]


def checked_out(source: SqlConversations) -> int:
    """How many connections are in use."""
    pool = source.engine.pool
    assert isinstance(pool, sa.QueuePool)
    return pool.checkedout()


def many(source: SqlConversations, count: int, text: str = "") -> None:
    """That many messages, ten a conversation."""
    said = [message(f"{n:06}", f"c{n // 10:05}", message_text=text) for n in range(count)]
    fill(source.engine, [conversation(f"c{n:05}") for n in range(count // 10)], said)
