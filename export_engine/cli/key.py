"""`export-engine key`: the API keys of the service."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import click

from export_engine.cli.common import EPILOG, Command
from export_engine.cli.options import with_options
from export_engine.cli.service import DATA, DATABASE, service_libraries

__all__ = ["key"]


@click.group(epilog=EPILOG)
def key() -> None:
    """Make and revoke API keys."""


@key.command(cls=Command, epilog=EPILOG)
@with_options(DATA, DATABASE)
@click.option("--workspace", required=True, type=click.UUID, metavar="UUID", help="The workspace it holds for.")
def create(workspace: UUID, data: Path | None, database: str | None) -> None:
    """Make a key for a workspace and print it; it cannot be read again later."""
    with service_libraries():
        from export_engine.service.server import create_key  # noqa: PLC0415  # heavy, there with the extra
    click.echo(create_key(str(workspace), database=database, data=data))


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
