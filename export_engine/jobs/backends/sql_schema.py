"""Where a SQL database keeps channels, conversations and messages: three tables, or views like them.

What is kept where, as PostgreSQL has it (`create_schema` makes it). Names and columns are what counts: a database that
keeps its conversations otherwise gives views instead.

    CREATE TABLE channel (
        id TEXT COLLATE "C" NOT NULL,
        workspace_id TEXT COLLATE "C" NOT NULL,
        type TEXT NOT NULL,
        name TEXT,
        phone_number TEXT COLLATE "C",
        PRIMARY KEY (id),
        CONSTRAINT channel_id_lower CHECK (id = lower(id)),
        CONSTRAINT channel_phone_number_e164 CHECK (substr(phone_number, 1, 1) = '+')
    );
    CREATE TABLE conversation (
        id TEXT COLLATE "C" NOT NULL,
        channel_id TEXT COLLATE "C" NOT NULL,
        contact_name TEXT,
        contact_phone TEXT,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(channel_id) REFERENCES channel (id)
    );
    CREATE TABLE message (
        id TEXT COLLATE "C" NOT NULL,
        conversation_id TEXT COLLATE "C" NOT NULL,
        message_time TIMESTAMP WITH TIME ZONE NOT NULL,
        direction TEXT NOT NULL,
        speaker_type TEXT NOT NULL,
        speaker_name TEXT,
        message_text TEXT,
        media_url TEXT,
        status TEXT,
        sender_account TEXT,
        PRIMARY KEY (id),
        CONSTRAINT message_direction CHECK (direction IN ('inbound', 'outbound')),
        CONSTRAINT message_speaker_type CHECK (speaker_type IN ('bot', 'agent', 'customer')),
        CONSTRAINT message_sender_account CHECK (speaker_type = 'agent' OR sender_account = ''),
        FOREIGN KEY(conversation_id) REFERENCES conversation (id)
    );
    CREATE INDEX channel_phone_number ON channel (workspace_id, phone_number);
    CREATE INDEX conversation_order ON conversation (channel_id, created_at, id);
    CREATE INDEX message_order ON message (conversation_id, message_time, id);

- A channel's `id` is a UUID in lower case, its `type` the detailed one (`LOCAL`), its `phone_number` E.164.
- Moments are `timestamptz` in PostgreSQL. SQLite has no such type: there they are integers, the microseconds since
  1970-01-01 in UTC (text could be written in several ways, which do not sort as time does). `Instant` is the column
  type that takes and gives aware datetimes on both.
- `media_url` is text as the export has it: URLs parted by commas, a comma inside one written `%2C`. Over an array in
  PostgreSQL a view says `array_to_string(urls, ',')`.
- A customer's message without a `speaker_name` bears the contact's name. NULL and empty text stay distinct.
- Texts compare by their bytes (`COLLATE "C"`; SQLite does so anyway), so that the order of an archive does not depend
  on the server's locale.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from export_engine.schema import DIRECTIONS, SPEAKER_TYPES

__all__ = ["CHANNEL", "CONVERSATION", "MESSAGE", "SCHEMA", "Instant", "create_schema", "has_instants"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(sa.types.TypeDecorator[datetime]):
    """A moment: takes and gives aware datetimes; see the module's description for how it is kept.

    Raises ValueError (in SQLAlchemy's StatementError) for a naive datetime.
    """

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        """The type that the database has for it."""
        return dialect.type_descriptor(sa.TIMESTAMP(timezone=True) if has_instants(dialect) else sa.BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        """What the driver is given."""
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError(f"{value!r} has no time zone: give it one, such as datetime.UTC")
        return value if has_instants(dialect) else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        """What the driver has given, in UTC."""
        if value is None:
            return None
        moment: datetime = value if has_instants(dialect) else _EPOCH + value * _MICROSECOND
        return moment.astimezone(UTC)


def has_instants(dialect: sa.Dialect) -> bool:
    """Whether the database has a type for moments."""
    return dialect.name == "postgresql"


def _key() -> TypeEngine[str]:
    """Text that is compared by its bytes."""
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _one_of(column: str, words: Sequence[str]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=f"message_{column}")


def _integral(table: str, column: str) -> sa.CheckConstraint:
    """SQLite would take any text for a moment, and then find it in no range."""
    is_integer = sa.CheckConstraint(f"typeof({column}) = 'integer'", name=f"{table}_{column}")
    return is_integer.ddl_if(dialect="sqlite")


SCHEMA = sa.MetaData()

CHANNEL = sa.Table(
    "channel",
    SCHEMA,
    sa.Column("id", _key(), primary_key=True),
    sa.Column("workspace_id", _key(), nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("name", sa.Text),
    sa.Column("phone_number", _key()),
    sa.CheckConstraint("id = lower(id)", name="channel_id_lower"),
    sa.CheckConstraint("substr(phone_number, 1, 1) = '+'", name="channel_phone_number_e164"),
    sa.Index("channel_phone_number", "workspace_id", "phone_number"),
)
CONVERSATION = sa.Table(
    "conversation",
    SCHEMA,
    sa.Column("id", _key(), primary_key=True),
    sa.Column("channel_id", _key(), sa.ForeignKey(CHANNEL.c.id), nullable=False),
    sa.Column("contact_name", sa.Text),
    sa.Column("contact_phone", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
    _integral("conversation", "created_at"),
    sa.Index("conversation_order", "channel_id", "created_at", "id"),
)
MESSAGE = sa.Table(
    "message",
    SCHEMA,
    sa.Column("id", _key(), primary_key=True),
    sa.Column("conversation_id", _key(), sa.ForeignKey(CONVERSATION.c.id), nullable=False),
    sa.Column("message_time", Instant, nullable=False),
    sa.Column("direction", sa.Text, nullable=False),
    sa.Column("speaker_type", sa.Text, nullable=False),
    sa.Column("speaker_name", sa.Text),
    sa.Column("message_text", sa.Text),
    sa.Column("media_url", sa.Text),
    sa.Column("status", sa.Text),
    sa.Column("sender_account", sa.Text),
    _integral("message", "message_time"),
    _one_of("direction", DIRECTIONS),
    _one_of("speaker_type", SPEAKER_TYPES),
    # NULL passes, as with every CHECK.
    sa.CheckConstraint("speaker_type = 'agent' OR sender_account = ''", name="message_sender_account"),
    sa.Index("message_order", "conversation_id", "message_time", "id"),
)


def create_schema(engine: sa.Engine) -> None:
    """Create the tables and indexes that are not there yet."""
    SCHEMA.create_all(engine)
