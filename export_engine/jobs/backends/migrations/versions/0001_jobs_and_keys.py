"""The jobs and the API keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TIME = sa.TIMESTAMP(timezone=True).with_variant(sa.String(32), "sqlite")

ACTIVE = "finished_time IS NULL"
KEPT = "archive IS NOT NULL"
UNTOLD = "finished_time IS NOT NULL AND notification_email IS NOT NULL AND notified_time IS NULL"


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "export_job",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workspace_id", sa.String, nullable=False),
        sa.Column("channel_id", sa.String, nullable=False),
        sa.Column("start_date", sa.Date, nullable=False),
        sa.Column("end_date", sa.Date, nullable=False),
        sa.Column("created_time", TIME, nullable=False),
        sa.Column("notification_email", sa.String),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("finished_time", TIME),
        sa.Column("archive", sa.String),
        sa.Column("file_name", sa.String),
        sa.Column("error_message", sa.String),
        sa.Column("token", sa.String),
        sa.Column("lease_until", TIME),
        sa.Column("notified_time", TIME),
        sa.CheckConstraint("(status = 'started') = (token IS NOT NULL)", name="export_job_token"),
        sa.CheckConstraint("(token IS NULL) = (lease_until IS NULL)", name="export_job_lease"),
        sa.CheckConstraint("(status IN ('finished', 'failed')) = (finished_time IS NOT NULL)", name="export_job_end"),
        sa.CheckConstraint("status IN ('queued', 'started', 'finished', 'failed')", name="export_job_status"),
    )
    index("export_job_active", "workspace_id", "channel_id", "start_date", "end_date", where=ACTIVE, unique=True)
    index("export_job_claim", "created_time", "id", where=ACTIVE)
    index("export_job_untold", "finished_time", "id", where=UNTOLD)
    index("export_job_expiry", "finished_time", "id", where=KEPT)
    index("export_job_archive", "archive", where=KEPT)
    index("export_job_status", "status")
    op.create_table(
        "api_key",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("workspace_id", sa.String, nullable=False),
        sa.Column("scope", sa.String, nullable=False),
        sa.Column("created_time", TIME, nullable=False),
        sa.Column("revoked", sa.Boolean, nullable=False),
    )


def index(name: str, *columns: str, where: str | None = None, unique: bool = False) -> None:
    """Make an index of some of the jobs."""
    some = None if where is None else sa.text(where)
    op.create_index(name, "export_job", columns, unique=unique, sqlite_where=some, postgresql_where=some)
