"""Conversation objects for tests, and their rows as the source makes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pyarrow as pa

from export_engine.model import Contact, Conversation, Message
from export_engine.sources import SourceContext, objects
from export_engine.sources.objects import from_conversations

NOON = datetime(2026, 6, 11, 12, tzinfo=UTC)
JANE = Contact("Jane", "+12025550123")


def rows_of(batches: Iterable[pa.RecordBatch]) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.to_pylist()]


def cut(rows: int, characters: int, block: int) -> Any:
    """Make batches end elsewhere."""
    return patch.multiple(
        objects,
        MAX_BATCH_ROWS=rows,
        MAX_BATCH_BYTES=characters,
        _ENOUGH_ROWS=max(1, rows * 3 // 4),
        _ENOUGH_CHARACTERS=max(1, characters * 3 // 4),
        _BLOCK=block,
    )


def message(number: int = 1, **changes: Any) -> Message:
    return dataclasses.replace(Message(f"m{number}", NOON, "inbound", "customer"), **changes)


def conversation(*messages: Message, **changes: Any) -> Conversation:
    return dataclasses.replace(Conversation("c1", JANE, messages), **changes)


def read(*conversations: Any, **options: Any) -> list[dict[str, Any]]:
    return rows_of(from_conversations(conversations).batches(SourceContext(**{"timezone": UTC, **options})))
