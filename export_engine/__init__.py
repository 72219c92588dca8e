"""Conversations in, one ZIP of CSVs out: in bounded memory and deterministic bytes.

from export_engine import Channel, DateRange, export_conversations

export = export_conversations(conversations, channel=Channel("SMS Support", "+12025550123"), date_range=june)
export.write_to("archives/")
"""

from __future__ import annotations

from export_engine.engine import Export, export_conversations
from export_engine.errors import (
    ArchiveError,
    ExportError,
    GroupingError,
    OptionError,
    RowError,
    SchemaError,
    SourceError,
    StateError,
)
from export_engine.model import Channel, Contact, Conversation, DateRange, Direction, Message, SpeakerType
from export_engine.render import EXCEL, CsvFormat
from export_engine.report import ExportReport, MemberRecord, Progress
from export_engine.sources.choose import open_source

__version__ = "0.1.0"

__all__ = [
    "EXCEL",
    "ArchiveError",
    "Channel",
    "Contact",
    "Conversation",
    "CsvFormat",
    "DateRange",
    "Direction",
    "Export",
    "ExportError",
    "ExportReport",
    "GroupingError",
    "MemberRecord",
    "Message",
    "OptionError",
    "Progress",
    "RowError",
    "SchemaError",
    "SourceError",
    "SpeakerType",
    "StateError",
    "export_conversations",
    "open_source",
]
