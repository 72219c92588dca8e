"""`export-engine serve`: the export API over HTTP."""

from __future__ import annotations

from datetime import timedelta

import click

from export_engine.cli.common import EPILOG, Command
from export_engine.cli.options import environment_option
from export_engine.cli.service import HOST, METRICS_PORT, PORT, service_libraries, service_settings
from export_engine.service.settings import Settings

__all__ = ["serve"]


@click.command(cls=Command, epilog=EPILOG)
@service_settings
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
@METRICS_PORT
def serve(settings: Settings, host: str, port: int, workers: int, metrics_port: int | None, grace: timedelta) -> None:
    """Serve the export API over HTTP.

    Prints where it listens and the commands that come next. Without --conversations it serves demo data with a key of
    its own. Logs go to stderr as JSON Lines. On a signal to end (SIGTERM, Ctrl-C, SIGHUP, SIGQUIT) requests are
    answered to their end and a running export is finished or handed to another worker.
    """
    with service_libraries():
        from export_engine.service.server import serve_until_signal  # noqa: PLC0415  # heavy, there with the extra
    serve_until_signal(settings, host=host, port=port, metrics_port=metrics_port, worker=workers == 1, grace=grace)
