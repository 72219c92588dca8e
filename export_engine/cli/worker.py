"""`export-engine worker`: export jobs done beside the service."""

from __future__ import annotations

from datetime import timedelta

import click

from export_engine.cli.common import EPILOG, Command
from export_engine.cli.options import environment_option
from export_engine.cli.service import HOST, METRICS_PORT, service_libraries, service_settings
from export_engine.service.settings import Settings

__all__ = ["worker"]


@click.command(cls=Command, epilog=EPILOG)
@service_settings
@METRICS_PORT
@environment_option("--host", help="Address that metrics are served on.", default=HOST, show_default=True)
def worker(settings: Settings, host: str, metrics_port: int | None, grace: timedelta) -> None:
    """Run a worker beside the service.

    Any number of them, on any machine that sees the same database, archives and conversations. Give it the options of
    the export that the service has, and with --smtp its --public-url and secret: the e-mails hold the links.
    """
    with service_libraries():
        from export_engine.service.server import work_until_signal  # noqa: PLC0415  # heavy, there with the extra
    work_until_signal(settings, host=host, metrics_port=metrics_port, grace=grace)
