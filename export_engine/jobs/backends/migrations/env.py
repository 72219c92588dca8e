"""What alembic runs: the steps, on the connection that `upgrade` was given and within its transaction."""

from __future__ import annotations

from alembic import context

from export_engine.jobs.backends.migrations import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
