"""Conversations in, one ZIP of CSVs out: in bounded memory and deterministic bytes.

from export_engine import Channel, DateRange, export_conversations

export = export_conversations(conversations, channel=Channel("SMS Support", "+12025550123"), date_range=june)
export.write_to("archives/")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from export_engine.door import door
from export_engine.errors import (
    ArchiveError,
    ExportError,
    GroupingError,
    OptionError,
    RowError,
    SchemaError,
    SourceError,
    SourceTypeError,
    StateError,
)
from export_engine.model import Channel, Contact, Conversation, DateRange, Direction, Message, SpeakerType
from export_engine.report import ExportReport, MemberRecord, Progress

if TYPE_CHECKING:
    from export_engine.check import CheckReport, check_source
    from export_engine.engine import Export, export_conversations
    from export_engine.options import EXCEL, Compression, CsvDialect, ExportOptions, OptionKeywords, RangeBy
    from export_engine.sources.open import open_source
    from export_engine.verify import Verification, verify_archive

__version__ = "0.1.0"

__all__ = [
    "EXCEL",
    "ArchiveError",
    "Channel",
    "CheckReport",
    "Compression",
    "Contact",
    "Conversation",
    "CsvDialect",
    "DateRange",
    "Direction",
    "Export",
    "ExportError",
    "ExportOptions",
    "ExportReport",
    "GroupingError",
    "MemberRecord",
    "Message",
    "OptionError",
    "OptionKeywords",
    "Progress",
    "RangeBy",
    "RowError",
    "SchemaError",
    "SourceError",
    "SourceTypeError",
    "SpeakerType",
    "StateError",
    "Verification",
    "check_source",
    "export_conversations",
    "open_source",
    "verify_archive",
]

#: Where the names stand that need numpy or pyarrow, which are loaded with the first of them.
_LOADED_WHEN_USED = {
    "CheckReport": "check",
    "EXCEL": "options",
    "Compression": "options",
    "CsvDialect": "options",
    "Export": "engine",
    "ExportOptions": "options",
    "OptionKeywords": "options",
    "RangeBy": "options",
    "Verification": "verify",
    "check_source": "check",
    "export_conversations": "engine",
    "open_source": "sources.open",
    "verify_archive": "verify",
}

__getattr__, __dir__ = door(globals(), _LOADED_WHEN_USED)
