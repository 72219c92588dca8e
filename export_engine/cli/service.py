"""What the commands around the export job have in common: `serve`, `worker`, `key` and `database`.

Help and errors of usage wait for no web framework and no database: each command imports them when it is run. They alone
read the environment, as services are set up by it; and what an argument says, such as a password in a URL, every user
of the machine can read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from export_engine.cli.options import environment_option, export_options, with_options
from export_engine.options import ExportOptions
from export_engine.service.settings import Settings

__all__ = [
    "DATA",
    "DATABASE",
    "HOST",
    "METRICS_PORT",
    "PORT",
    "SECRET_FILE",
    "SECRET_VARIABLE",
    "environment_secret",
    "service_libraries",
    "service_settings",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])

HOST, PORT = "127.0.0.1", 8000

#: The environment variable that may hold the secret of links. There is no option for it: an argument can be read.
SECRET_VARIABLE = "EXPORT_ENGINE_SECRET"  # noqa: S105  # a name, no secret

#: Ten years: a time that far away is still a time, and longer waits are for ever.
_LONGEST_DAYS = 3660


class _Seconds(click.FloatRange):
    """How long something may take, in seconds."""

    def __init__(self, low: float, *, low_open: bool = False) -> None:
        super().__init__(min=low, min_open=low_open, max=_LONGEST_DAYS * 86_400)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. Fails for what is none, which compares with no bound."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return number


DATA = environment_option(
    "--data",
    help="The folder for all that is not said otherwise: database, archives, conversations, the secret of links.",
    type=click.Path(file_okay=False, path_type=Path),
)
DATABASE = environment_option(
    "--database", help="Jobs and keys: sqlite:///file.db or postgresql://user:password@host/name.", metavar="URL"
)
SECRET_FILE = environment_option(
    "--secret-file",
    help="Holds 32 bytes or more that links to a folder of archives are signed with, the same for serve and worker "
    f"(or put them into {SECRET_VARIABLE}).",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
METRICS_PORT = environment_option(
    "--metrics-port",
    help="Serve Prometheus' metrics of this process, at --host and without a key (default: nowhere).",
    type=click.IntRange(1, 65535),
)
_SETTINGS = (
    DATA,
    DATABASE,
    environment_option(
        "--archives", help="Finished archives: a folder, or s3://, gs:// or az:// with a bucket.", metavar="PLACE"
    ),
    environment_option(
        "--conversations", help="Channels and conversations: a folder of files, or a database's URL.", metavar="PLACE"
    ),
    environment_option(
        "--conversations-query",
        help="A file with the SQL that finds a channel's conversations in that database, with :channel_id, :start and "
        ":end. Of the tables it then needs channel alone.",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
    ),
    environment_option(
        "--smtp", help="Mail server: smtp://user:password@host:25?from=exports@example.com.", metavar="URL"
    ),
    SECRET_FILE,
    environment_option(
        "--public-url",
        help="Where clients reach the service: links lead there (default of serve: where it listens).",
        metavar="URL",
    ),
    environment_option(
        "--max-queued",
        help="How many exports of a workspace may wait to be started; more are answered with 429 (default: 100).",
        type=click.IntRange(min=1),
    ),
    environment_option(
        "--max-attempts",
        help="How often an export is begun before it is given up: workers are lost, connections break (default: 5).",
        type=click.IntRange(min=1),
    ),
    environment_option(
        "--lease",
        help="How long a job stays with a worker that shows no sign of life (default: 120).",
        type=_Seconds(1),
        metavar="SECONDS",
    ),
    environment_option(
        "--max-run",
        help="How long an export may take; then it is ended, and has failed (default: 21600, six hours).",
        type=_Seconds(0, low_open=True),
        metavar="SECONDS",
    ),
    environment_option(
        "--max-silence",
        help="For how long an export may read no row and write no byte; then it is ended, and tried again "
        "(default: 600, ten minutes).",
        type=_Seconds(0, low_open=True),
        metavar="SECONDS",
    ),
    environment_option(
        "--keep-jobs",
        help="How long a job is known after its end; then it is forgotten, with its e-mail address (default: 30).",
        type=click.IntRange(min=2, max=_LONGEST_DAYS),
        metavar="DAYS",
    ),
    export_options(environment=True),
    environment_option(
        "--grace",
        help="How long a running export may go on once it is to stop; then its job is handed back.",
        type=_Seconds(0),
        default=20,
        show_default=True,
        metavar="SECONDS",
    ),
)


def service_settings(command: _Command) -> _Command:
    """Give a command the options that a service is made of; it is called with `settings` and `grace` (a timedelta)."""

    @wraps(command)
    def run(
        *arguments: Any,
        data: Path | None,
        database: str | None,
        archives: str | None,
        conversations: str | None,
        conversations_query: Path | None,
        smtp: str | None,
        secret_file: Path | None,
        public_url: str | None,
        max_queued: int | None,
        max_attempts: int | None,
        lease: float | None,
        max_run: float | None,
        max_silence: float | None,
        keep_jobs: int | None,
        options: ExportOptions,
        grace: float,
        **others: Any,
    ) -> Any:
        settings = Settings(
            data=data,
            database=database,
            archives=archives,
            conversations=conversations,
            conversations_query=conversations_query,
            smtp=smtp,
            secret=environment_secret(),
            secret_file=secret_file,
            public_url=public_url,
            max_queued=max_queued,
            max_attempts=max_attempts,
            lease=_seconds(lease),
            max_run=_seconds(max_run),
            max_silence=_seconds(max_silence),
            keep_jobs=None if keep_jobs is None else timedelta(days=keep_jobs),
            options=options,
        )
        return command(*arguments, settings=settings, grace=timedelta(seconds=grace), **others)

    return with_options(*_SETTINGS)(run)  # type: ignore[return-value]  # the same command with other options


def environment_secret() -> bytes | None:
    """The secret of links that the environment has; any bytes may be one's."""
    return os.fsencode(os.environ.get(SECRET_VARIABLE, "")) or None


def _seconds(number: float | None) -> timedelta | None:
    return None if number is None else timedelta(seconds=number)


@contextmanager
def service_libraries() -> Iterator[None]:
    """For the import of what a command does. Raises ClickException if the libraries for it are not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is missing, which the service needs: pip install 'export-engine[service]'"
        ) from None
