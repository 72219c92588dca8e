"""Schedules of retries and notices, workspaces' turns, cancelling, facts of exports, and who asked for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TIME = sa.TIMESTAMP(timezone=True).with_variant(sa.String(32), "sqlite")

ACTIVE = sa.text("finished_time IS NULL")
ENDED = sa.text("finished_time IS NOT NULL")
REPEATABLE = sa.text("idempotency_key IS NOT NULL")


def upgrade() -> None:
    """Add to both tables, and make two others."""
    for column in (
        sa.Column("retry_time", TIME),
        sa.Column("started_time", TIME),
        sa.Column("cancelled_time", TIME),
        sa.Column("notice_tries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("notice_time", TIME),
        sa.Column("notice_given_up", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("rows", sa.BigInteger),
        sa.Column("conversations", sa.BigInteger),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("sha256", sa.String),
        sa.Column("channel_type", sa.String),
        sa.Column("channel_name", sa.String),
        sa.Column("key_id", sa.String),
        sa.Column("idempotency_key", sa.String),
        sa.Column("request_digest", sa.String),
    ):
        op.add_column("export_job", column)
    index("export_job_turn", "workspace_id", "created_time", "id", where=ACTIVE)
    index("export_job_list", "workspace_id", "created_time", "id")
    index("export_job_ended", "finished_time", where=ENDED)
    index("export_job_repeated", "workspace_id", "idempotency_key", where=REPEATABLE, unique=True)
    for column in (sa.Column("name", sa.String), sa.Column("expires_time", TIME), sa.Column("used_time", TIME)):
        op.add_column("api_key", column)
    op.create_table(
        "export_turn",
        sa.Column("workspace_id", sa.String, primary_key=True),
        sa.Column("turn", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "export_setting",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
    )


def index(name: str, *columns: str, where: sa.TextClause | None = None, unique: bool = False) -> None:
    """Make an index of some of the jobs."""
    op.create_index(name, "export_job", columns, unique=unique, sqlite_where=where, postgresql_where=where)
