"""What alembic runs: the steps, on the connection that `upgrade` was given and within its transaction."""

from __future__ import annotations

from alembic import context

from export_engine.jobs.backends.migrations import VERSION_TABLE

# The name that alembic runs it by; whoever imports all modules of the package runs nothing.
if __name__ == "env_py":
    context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
    context.run_migrations()
