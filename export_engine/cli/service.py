"""What the commands around the export job have in common: `serve`, `worker` and `key`.

The command line imports these whatever is run, so they import no web framework and no database: that is done when one
of them is run, by `export_engine.service.server`.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import click

from export_engine.cli.options import environment_option, export_options

__all__ = ["DATA", "DATABASE", "HOST", "PARTS", "PORT", "server"]

HOST, PORT = "127.0.0.1", 8000

DATA = environment_option(
    "--data",
    help="The folder for all that is not said otherwise: database, archives, conversations, the secret of links.",
    type=click.Path(file_okay=False, path_type=Path),
)
DATABASE = environment_option(
    "--database", help="Jobs and keys: sqlite:///file.db or postgresql://user:password@host/name.", metavar="URL"
)

#: What `serve` and `worker` are made of, and how they export.
PARTS = (
    DATA,
    DATABASE,
    environment_option(
        "--archives", help="Finished archives: a folder, or s3://, gs:// or az:// with a bucket.", metavar="PLACE"
    ),
    environment_option(
        "--conversations", help="Channels and conversations: a folder of files, or a database's URL.", metavar="PLACE"
    ),
    environment_option(
        "--smtp", help="Mail server: smtp://user:password@host:25?from=exports@example.com.", metavar="URL"
    ),
    environment_option(
        "--secret-file",
        help="Holds 32 bytes or more that links to a folder of archives are signed with, the same for serve and worker "
        "(or put them into EXPORT_ENGINE_SECRET).",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
    ),
    environment_option(
        "--public-url", help=f"Where clients reach the service (default: http://{HOST}:{PORT}).", metavar="URL"
    ),
    environment_option(
        "--grace",
        help="How long a running export may go on once it is to stop; then its job is handed back.",
        type=click.FloatRange(min=0),
        default=20,
        show_default=True,
        metavar="SECONDS",
    ),
    export_options(environment=True),
)


def server() -> ModuleType:
    """What the commands do. Raises ClickException if the libraries for it are not installed."""
    try:
        from export_engine.service import server as found  # noqa: PLC0415  # heavy, and there only with the extra
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is missing, which the service needs: pip install 'export-engine[service]'"
        ) from None
    return found
