"""The commands `serve`, `worker` and `key` of `export-engine`, as the command line has them.

The command line imports this module whatever is run, so it imports no web framework and no database: that is done when
one of these commands is run, by `export_engine.service.server`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, tzinfo
from pathlib import Path
from types import ModuleType
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

__all__ = ["COMMANDS"]

_Command = TypeVar("_Command", bound=Callable[..., object])

_HOST, _PORT = "127.0.0.1", 8000


def _zone(_: click.Context, __: click.Parameter, name: str) -> tzinfo:
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise click.BadParameter(f"{name!r} is unknown: use a name such as America/New_York or UTC") from None


def _option(flag: str, help_text: str, **more: object) -> Callable[[_Command], _Command]:
    """An option that the environment may give too: what an argument says, every user of the machine can read."""
    variable = f"EXPORT_ENGINE_{flag.strip('-').replace('-', '_').upper()}"
    return click.option(flag, help=help_text, envvar=variable, show_envvar=True, **more)  # type: ignore[arg-type]  # passed on


_DATA = _option(
    "--data",
    "The folder for all that is not said otherwise: database, archives, conversations, the secret of links.",
    type=click.Path(file_okay=False, path_type=Path),
)
_DATABASE = _option(
    "--database", "Jobs and keys: sqlite:///file.db or postgresql://user:password@host/name.", metavar="URL"
)
_PARTS = (
    _DATA,
    _DATABASE,
    _option("--archives", "Finished archives: a folder, or s3://, gs:// or az:// with a bucket.", metavar="PLACE"),
    _option("--conversations", "Channels and conversations: a folder of files, or a database's URL.", metavar="PLACE"),
    _option("--smtp", "Mail server: smtp://user:password@host:25?from=exports@example.com.", metavar="URL"),
    _option(
        "--secret-file",
        "Holds 32 bytes or more that links to a folder of archives are signed with, the same for serve and worker "
        "(or put them into EXPORT_ENGINE_SECRET).",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
    ),
    _option("--public-url", f"Where clients reach the service (default: http://{_HOST}:{_PORT}).", metavar="URL"),
    _option(
        "--timezone", "Of the days that are exported.", default="UTC", show_default=True, callback=_zone, metavar="NAME"
    ),
    _option(
        "--grace",
        "How long a running export may go on once it is to stop; then its job is handed back.",
        type=click.FloatRange(min=0),
        default=20,
        show_default=True,
        metavar="SECONDS",
    ),
)


def _with(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _server() -> ModuleType:
    """What the commands do. Raises ClickException if the libraries for it are not installed."""
    try:
        from export_engine.service import server  # noqa: PLC0415  # heavy, and there only with the extra
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is missing, which the service needs: pip install 'export-engine[service]'"
        ) from None
    return server


@click.command()
@_with(*_PARTS)
@_option("--host", "Address to listen on.", default=_HOST, show_default=True)
@_option(
    "--port",
    "Port to listen on; 0 takes any free one.",
    default=_PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
)
@_option("--workers", "Workers in this process: 0 or 1.", default=1, show_default=True, type=click.IntRange(0, 1))
def serve(host: str, port: int, public_url: str | None, workers: int, **settings: object) -> None:
    """Serve the export API over HTTP.

    Without --conversations it serves demo data with a key of its own, and prints the curl lines to try it. Logs go to
    stderr as JSON Lines. On SIGTERM or Ctrl-C requests are answered to their end and a running export is finished or
    handed to another worker.
    """
    _server().serve(host, port, public_url, worker=workers == 1, **settings)


@click.command()
@_with(*_PARTS)
@_option(
    "--metrics-port", "Serve Prometheus' metrics of this worker (default: nowhere).", type=click.IntRange(1, 65535)
)
@_option("--host", "Address that metrics are served on.", default=_HOST, show_default=True)
def worker(public_url: str | None, **settings: object) -> None:
    """Run a worker beside the service.

    Any number of them, on any machine that sees the same database, archives and conversations. Give it the same
    --public-url and secret as the service: its e-mails hold the links.
    """
    _server().work(public_url or f"http://{_HOST}:{_PORT}", **settings)


@click.group()
def key() -> None:
    """Make and revoke API keys."""


@key.command()
@_with(_DATA, _DATABASE)
@click.option("--workspace", required=True, type=click.UUID, metavar="UUID", help="The workspace it holds for.")
def create(workspace: object, **where: object) -> None:
    """Make a key for a workspace and print it; it cannot be read again later."""
    click.echo(_server().create_key(str(workspace), **where))


@key.command()
@_with(_DATA, _DATABASE)
@click.argument("key_id", metavar="KEY_ID")
def revoke(key_id: str, **where: object) -> None:
    """Have a key hold no more. KEY_ID is its middle part: of ek_0123456789abcdef_..., 0123456789abcdef."""
    if not _server().revoke_key(key_id, **where):
        raise click.ClickException("there is no key of that id: give the part between ek_ and the next _")
    click.echo("revoked")


#: For the command line to add to its own.
COMMANDS: tuple[click.Command, ...] = (serve, worker, key)
