"""The index of archives goes: no question asks by it."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Drop it."""
    op.drop_index("export_job_archive", "export_job")
