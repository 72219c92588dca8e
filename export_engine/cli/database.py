"""`export-engine database`: the revision of the jobs database's tables, and what its processes have to agree on."""

from __future__ import annotations

from pathlib import Path

import click

from export_engine.cli.common import EPILOG, Command
from export_engine.cli.options import export_options, with_options
from export_engine.cli.service import DATA, DATABASE, SECRET_FILE, environment_secret, service_libraries
from export_engine.options import ExportOptions
from export_engine.service.settings import Settings

__all__ = ["database"]


@click.group(epilog=EPILOG, short_help="Upgrade the jobs database, or change what its processes agree on.")
def database() -> None:
    """Upgrade the jobs database, say what revision it has, or change what its processes have to agree on.

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


@database.command("set-options", cls=Command, epilog=EPILOG, short_help="Change the options of all exports.")
@with_options(DATA, DATABASE, export_options(environment=True))
def set_options_command(data: Path | None, database: str | None, options: ExportOptions) -> None:
    """Change the options of the export that all processes have to have.

    The first process writes its options down, and those that have others are refused. This is refused while a job is
    queued or started. Stop all processes first, and start them with the new options: one that goes on with the old ones
    makes and takes no job any more.
    """
    with service_libraries():
        from export_engine.service.server import change_options  # noqa: PLC0415  # heavy, there with the extra
    changes = change_options(options, database=database, data=data)
    click.echo("\n".join(changes) if changes else "they are so already")


@database.command("set-secret", cls=Command, epilog=EPILOG, short_help="Change the secret of all links.")
@with_options(DATA, DATABASE, SECRET_FILE)
def set_secret_command(data: Path | None, database: str | None, secret_file: Path | None) -> None:
    """Change the secret of links that all processes have to have: to that of --secret-file, or the environment's.

    Without either it is the folder's. The first process writes down what its secret is known by, and those that have
    another are refused. Stop all processes first, and start them with the new secret: links that were made before are
    dead then; whoever polls a job has a new one.
    """
    with service_libraries():
        from export_engine.service.server import change_secret  # noqa: PLC0415  # heavy, there with the extra
    settings = Settings(data=data, database=database, secret_file=secret_file, secret=environment_secret())
    click.echo("changed" if change_secret(settings) else "it is so already")


@database.command("version", cls=Command, epilog=EPILOG)
@with_options(DATA, DATABASE)
def version_command(data: Path | None, database: str | None) -> None:
    """Print its revision; `none` if it is empty."""
    with service_libraries():
        from export_engine.service.server import revision  # noqa: PLC0415  # heavy, there with the extra
    click.echo(revision(database=database, data=data) or "none")
