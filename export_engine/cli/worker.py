"""`export-engine worker`: export jobs done beside the service."""

from __future__ import annotations

import click

from export_engine.cli.common import EPILOG, Command
from export_engine.cli.options import environment_option, with_options
from export_engine.cli.service import HOST, PARTS, PORT, server

__all__ = ["worker"]


@click.command(cls=Command, epilog=EPILOG)
@with_options(*PARTS)
@environment_option(
    "--metrics-port",
    help="Serve Prometheus' metrics of this worker (default: nowhere).",
    type=click.IntRange(1, 65535),
)
@environment_option("--host", help="Address that metrics are served on.", default=HOST, show_default=True)
def worker(public_url: str | None, **settings: object) -> None:
    """Run a worker beside the service.

    Any number of them, on any machine that sees the same database, archives and conversations. Give it the same
    --public-url and secret as the service: its e-mails hold the links.
    """
    server().work(public_url or f"http://{HOST}:{PORT}", **settings)
