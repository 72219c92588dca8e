"""`export-engine database`: the revision of the jobs database's tables."""

from __future__ import annotations

from pathlib import Path

import click

from export_engine.cli.common import EPILOG, Command
from export_engine.cli.options import with_options
from export_engine.cli.service import DATA, DATABASE, service_libraries

__all__ = ["database"]


@click.group(epilog=EPILOG)
def database() -> None:
    """Upgrade the jobs database, or say what revision it has.

    An empty one gets its tables when it is first used, and a SQLite file of an older release is upgraded then.
    PostgreSQL is upgraded by `upgrade` alone: make a backup, upgrade, then start the new release's processes.
    """


@database.command("upgrade", cls=Command, epilog=EPILOG)
@with_options(DATA, DATABASE)
def upgrade_command(data: Path | None, database: str | None) -> None:
    """Bring it to this release's revision."""
    with service_libraries():
        from export_engine.service.server import upgrade  # noqa: PLC0415  # heavy, there with the extra
    before, after = upgrade(database=database, data=data)
    if before == after:
        click.echo(f"is at revision {after} already")
    else:
        click.echo(f"upgraded from revision {before} to {after}" if before else f"made at revision {after}")


@database.command("version", cls=Command, epilog=EPILOG)
@with_options(DATA, DATABASE)
def version_command(data: Path | None, database: str | None) -> None:
    """Print its revision; `none` if it is empty."""
    with service_libraries():
        from export_engine.service.server import revision  # noqa: PLC0415  # heavy, there with the extra
    click.echo(revision(database=database, data=data) or "none")
