"""How the jobs database came to its tables: the steps that make them in an empty one and bring an older one up to date.

A step is a module in `versions/`, named by its number (the revision it leads to) and what it does. Alembic runs those
that a database lacks, in order. Which revision a database has stands in its table `export_engine_revision`; one with
jobs but without that table was made before there were revisions, and has `FIRST`.

To change the tables:

1. Change them in `export_engine.jobs.backends.tables`, which says what they are now.
2. Add the step that leads there, say `versions/0002_retry_schedule.py`:

       revision, down_revision = "0002", "0001"

       def upgrade() -> None:
           op.add_column("export_job", sa.Column("retry_time", TIME))

   A step spells out its own types and tables, as the first one does, and imports nothing of this package: what it
   imported would go on changing, and it must do the same for ever.
3. Run `tests/jobs/backends/test_migrations.py`: it holds that the steps lead to the tables, on SQLite and PostgreSQL,
   from nothing and from the first revision with jobs in it.

What a step must keep to:

- Once released it is never edited, only followed by another. There is no way back down: a backup is.
- Processes of the release before may run on while a database is upgraded under them. So add, and let what is added be
  null or have a `server_default`; rename nothing; drop only what that release has no use for any more.
- SQLite adds columns, and makes and drops tables and indexes, as it is. All else (a constraint, a type) copies the
  table: `with op.batch_alter_table(...)`, with `copy_from` and all the constraints, as checks are not read back.
- It runs within one transaction, on SQLite as well; what fails leaves the database as it was.
"""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from export_engine.errors import ExportError

__all__ = ["FIRST", "VERSION_TABLE", "current", "is_known", "latest", "upgrade"]

#: The first revision, which a database that does not say its own has.
FIRST = "0001"

#: Where a database keeps its revision: a name of its own, as others' tables may be in the same database.
VERSION_TABLE = "export_engine_revision"

#: Tables by which one that does not say its revision is told.
_FIRST_TABLES = ("api_key", "export_job")

#: The folders that hold the steps.
_FOLDERS = [Path(__file__).parent / "versions"]

# Alembic's `op` and `context`, which the steps use, are one of each in a process.
_ALONE = threading.Lock()


def current(connection: Connection) -> str | None:
    """The revision of a database, or None for one without tables of this package.

    Raises ExportError if only some of the tables are there: then they are somebody else's.
    """
    if said := _said(connection):
        return said
    names = inspect(connection).get_table_names()  # of one moment: another process may be making them
    there = [name for name in _FIRST_TABLES if name in names]
    if there and len(there) < len(_FIRST_TABLES):
        raise ExportError(
            f"the database has a table {there[0]} that export-engine did not make: give it a database of its own"
        )
    # Asked again, as both may have come since it was asked first.
    return _said(connection) or FIRST if there else None


def latest() -> str:
    """The revision that this release works with."""
    head = _scripts().get_current_head()
    assert head is not None, "the steps are part of the package"  # noqa: S101  # for the type checker
    return head


def is_known(revision: str) -> bool:
    """Whether a step of this release leads to the revision; it does not to those of newer releases."""
    return revision in {step.revision for step in _scripts().walk_revisions()}


def upgrade(connection: Connection) -> None:
    """Run the steps that the database lacks, in the transaction that the connection is in: the caller's to commit.

    It must be the only one at it: take a lock that other processes heed.
    """
    config = _config()
    config.attributes["connection"] = connection
    found = current(connection)
    with _ALONE:
        if found is not None and not _said(connection):
            command.stamp(config, found)
        command.upgrade(config, "head")


def _said(connection: Connection) -> str:
    """The revision that the database says it has; nothing if it says none."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return ", ".join(context.get_current_heads())


def _config() -> Config:
    config = Config()
    options = {
        "script_location": str(Path(__file__).parent),
        "version_locations": "\n".join(map(str, _FOLDERS)),
        "path_separator": "newline",
    }
    for name, value in options.items():
        config.set_main_option(name, value.replace("%", "%%"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
