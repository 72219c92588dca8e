"""The tables of the database of jobs and keys, as this release works with them.

Whoever changes them adds a step that brings an older database there: see `migrations`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Date,
    Dialect,
    Enum,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    and_,
    false,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

from export_engine.jobs.job import Status

__all__ = [
    "ACTIVE",
    "KEPT",
    "NOT_NOTIFIED",
    "REPEATABLE",
    "UtcTime",
    "api_key",
    "export_job",
    "export_setting",
    "export_turn",
    "insert_into",
    "metadata",
]


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime, read back in UTC with its microseconds.

    PostgreSQL has a type for it. SQLite has none: ISO 8601 text, always in UTC and of one width, sorts as time does.
    """

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The database's own type."""
        own: TypeEngine[Any] = String(32) if dialect.name == "sqlite" else TIMESTAMP(timezone=True)
        return dialect.type_descriptor(own)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | str | None:
        """To the database. A naive datetime is a ValueError (inside a StatementError): it would pass for local time."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone: give an aware datetime")
        value = value.astimezone(UTC)
        return value.isoformat(timespec="microseconds") if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  # SQLAlchemy's signature
        """From the database."""
        if value is None:
            return None
        return (datetime.fromisoformat(value) if isinstance(value, str) else value).astimezone(UTC)


metadata = MetaData()

#: The jobs: the fields of `Job`, and what only the store knows of them.
export_job = Table(
    "export_job",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace_id", String, nullable=False),
    Column("channel_id", String, nullable=False),
    Column("start_date", Date, nullable=False),
    Column("end_date", Date, nullable=False),
    Column("created_time", UtcTime, nullable=False),
    Column("notification_email", String),
    Column(
        "status",
        Enum(
            Status,
            name="export_job_status",
            native_enum=False,
            create_constraint=True,
            values_callable=lambda statuses: [status.value for status in statuses],
        ),
        nullable=False,
    ),
    Column("attempts", Integer, nullable=False),
    Column("finished_time", UtcTime),
    Column("archive", String),
    Column("file_name", String),
    Column("error_message", String),
    # The lease of the worker that is at it: its token, and when it runs out unless renewed.
    Column("token", String),
    Column("lease_until", UtcTime),
    # When the e-mail was sent, or given up; until then how often it was tried, and when it may be tried next.
    Column("notified_time", UtcTime),
    Column("notice_tries", Integer, nullable=False, server_default="0"),
    Column("notice_time", UtcTime),
    Column("notice_given_up", Boolean, nullable=False, server_default=false()),
    # When a job that failed for a while may be taken again; when its last attempt began; when it was cancelled.
    Column("retry_time", UtcTime),
    Column("started_time", UtcTime),
    Column("cancelled_time", UtcTime),
    # What has been exported so far, and in the end: messages, conversations, the archive's bytes and its SHA-256.
    Column("rows", BigInteger),
    Column("conversations", BigInteger),
    Column("bytes", BigInteger),
    Column("sha256", String),
    # The channel as it was when the job was made.
    Column("channel_type", String),
    Column("channel_name", String),
    # The API key that asked for it; the name that the client gave its request, and a digest of that.
    Column("key_id", String),
    Column("idempotency_key", String),
    Column("request_digest", String),
    # A started job has a lease and no other has, so that none can be stuck and a token alone says "started".
    CheckConstraint("(status = 'started') = (token IS NOT NULL)", name="export_job_token"),
    CheckConstraint("(token IS NULL) = (lease_until IS NULL)", name="export_job_lease"),
    CheckConstraint("(status IN ('finished', 'failed')) = (finished_time IS NOT NULL)", name="export_job_end"),
)

# Conditions of queries that have an index of their own. They hold no value, only NULL or not: a planner does not see
# that such an index fits a query with a bound parameter, and rather takes one of all jobs that ever were.

#: Jobs that have not ended: queued or started, by the constraint above.
ACTIVE = export_job.c.finished_time.is_(None)
#: Jobs that have ended and whose e-mail has neither been sent nor given up.
NOT_NOTIFIED = and_(
    export_job.c.finished_time.is_not(None),
    export_job.c.notification_email.is_not(None),
    export_job.c.notified_time.is_(None),
)
#: Jobs whose archive is there.
KEPT = export_job.c.archive.is_not(None)
#: Jobs whose client named its request.
REPEATABLE = export_job.c.idempotency_key.is_not(None)


def _index(name: str, *columns: str, where: ColumnElement[bool] | None = None, unique: bool = False) -> None:
    of = (export_job.c[column] for column in columns)
    Index(name, *of, unique=unique, sqlite_where=where, postgresql_where=where)


# "Only one active export is allowed per channel and date range" (the API's page).
_index("export_job_active", "workspace_id", "channel_id", "start_date", "end_date", where=ACTIVE, unique=True)
# One for each question that workers and metrics ask again and again.
_index("export_job_claim", "created_time", "id", where=ACTIVE)
_index("export_job_untold", "finished_time", "id", where=NOT_NOTIFIED)
_index("export_job_expiry", "finished_time", "id", where=KEPT)
_index("export_job_status", "status")
_index("export_job_turn", "workspace_id", "created_time", "id", where=ACTIVE)
_index("export_job_list", "workspace_id", "created_time", "id")
_index("export_job_ended", "finished_time", where=export_job.c.finished_time.is_not(None))
_index("export_job_repeated", "workspace_id", "idempotency_key", where=REPEATABLE, unique=True)

#: Which workspace's job was taken when: the one with the lowest turn is next.
export_turn = Table(
    "export_turn",
    metadata,
    Column("workspace_id", String, primary_key=True),
    Column("turn", BigInteger, nullable=False),
)

#: What all processes at the database have to agree on, and what they tell each other: see `settings`.
export_setting = Table(
    "export_setting",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)

#: The API keys; of a key's secret only the SHA-256 is there.
api_key = Table(
    "api_key",
    metadata,
    Column("id", String, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("workspace_id", String, nullable=False),
    Column("scope", String, nullable=False),
    Column("created_time", UtcTime, nullable=False),
    Column("revoked", Boolean, nullable=False),
    Column("name", String),
    Column("expires_time", UtcTime),
    Column("used_time", UtcTime),
)


def insert_into(table: Table, dialect: Dialect) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows of conflicts, which each database has in a way of its own."""
    return sqlite.insert(table) if dialect.name == "sqlite" else postgresql.insert(table)
