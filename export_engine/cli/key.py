"""`export-engine key`: the API keys of the service."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import click

from export_engine.cli.common import EPILOG, Command, minute_text
from export_engine.cli.options import with_options
from export_engine.cli.service import DATA, DATABASE, service_libraries

__all__ = ["key"]


@click.group(epilog=EPILOG)
def key() -> None:
    """Make, list and revoke API keys."""


@key.command(cls=Command, epilog=EPILOG, short_help="Make a key for a workspace and print it.")
@with_options(DATA, DATABASE)
@click.option("--workspace", required=True, type=click.UUID, metavar="UUID", help="The workspace it holds for.")
@click.option("--name", metavar="TEXT", help="What it is for, to know it by in the list.")
@click.option(
    "--expires",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]),
    metavar="TIME",
    help="When it ends to hold, in UTC: YYYY-MM-DD, of which it is the beginning, or with THH:MM:SSZ (default: never).",
)
def create(
    workspace: UUID, name: str | None, expires: datetime | None, data: Path | None, database: str | None
) -> None:
    """Make a key for a workspace and print it; it cannot be read again later."""
    with service_libraries():
        from export_engine.service.server import create_key  # noqa: PLC0415  # heavy, there with the extra
    ends = None if expires is None else expires.replace(tzinfo=UTC)
    click.echo(create_key(str(workspace), name=name, expires=ends, database=database, data=data))


@key.command("list", cls=Command, epilog=EPILOG, short_help="List the keys, the oldest first.")
@with_options(DATA, DATABASE)
def list_command(data: Path | None, database: str | None) -> None:
    """List the keys, the oldest first, as columns between tabs; times are in UTC.

    Key id, workspace, whether it holds (or is expired or revoked), when it was made, when it expires, when it was last
    used (to the minute), name; - for what is not there. Secrets are not known.
    """
    with service_libraries():
        from export_engine.service.server import list_keys  # noqa: PLC0415  # heavy, there with the extra
    for key, state in list_keys(database=database, data=data):
        times = (minute_text(time) for time in (key.created_time, key.expires_time, key.used_time))
        click.echo("\t".join(value or "-" for value in (key.id, key.workspace_id, state, *times, key.name)))


@key.command(cls=Command, epilog=EPILOG)
@with_options(DATA, DATABASE)
@click.argument("key_id", metavar="KEY_ID")
def revoke(key_id: str, data: Path | None, database: str | None) -> None:
    """Have a key hold no more. KEY_ID is its middle part: of ek_0123456789abcdef_..., 0123456789abcdef."""
    with service_libraries():
        from export_engine.service.server import revoke_key  # noqa: PLC0415  # heavy, there with the extra
    if not revoke_key(key_id, database=database, data=data):
        raise click.ClickException("there is no key of that id: give the part between ek_ and the next _")
    click.echo("revoked")
