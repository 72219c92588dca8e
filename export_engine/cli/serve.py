"""`export-engine serve`: the export API over HTTP."""

from __future__ import annotations

import click

from export_engine.cli.common import EPILOG, Command
from export_engine.cli.options import environment_option, with_options
from export_engine.cli.service import HOST, PARTS, PORT, server

__all__ = ["serve"]


@click.command(cls=Command, epilog=EPILOG)
@with_options(*PARTS)
@environment_option("--host", help="Address to listen on.", default=HOST, show_default=True)
@environment_option(
    "--port",
    help="Port to listen on; 0 takes any free one.",
    default=PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
)
@environment_option(
    "--workers",
    help="Workers in this process: 0 or 1.",
    default=1,
    show_default=True,
    type=click.IntRange(0, 1),
)
def serve(host: str, port: int, public_url: str | None, workers: int, **settings: object) -> None:
    """Serve the export API over HTTP.

    Without --conversations it serves demo data with a key of its own, and prints the curl lines to try it. Logs go to
    stderr as JSON Lines. On SIGTERM or Ctrl-C requests are answered to their end and a running export is finished or
    handed to another worker.
    """
    server().serve(host, port, public_url, worker=workers == 1, **settings)
