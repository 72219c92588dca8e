"""What the commands `serve`, `worker`, `key` and `database` do: open the components, run, close them."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import click
from fastapi import FastAPI

from export_engine.errors import ExportError, OptionError
from export_engine.jobs.backends.agreement import set_options, set_secret
from export_engine.jobs.backends.database import database_revision, upgrade_database
from export_engine.jobs.backends.keys import KeyInfo, SqlKeys
from export_engine.options import ExportOptions
from export_engine.service.app import create_app
from export_engine.service.background import Background, make_worker
from export_engine.service.components import (
    DEMO,
    Components,
    job_database_url,
    now,
    open_components,
    open_job_database,
    secret_of,
    serves_archives,
)
from export_engine.service.connections import http_server
from export_engine.service.demo import DEMO_WORKSPACE, write_demo
from export_engine.service.hints import demo_hint, own_hint
from export_engine.service.logs import log_to
from export_engine.service.metrics import Metrics
from export_engine.service.settings import Settings

#: Where the links of a worker without a mailer lead to: it makes none.
_NOWHERE = "http://localhost"

__all__ = [
    "change_options",
    "change_secret",
    "create_key",
    "list_keys",
    "revision",
    "revoke_key",
    "serve_until_signal",
    "upgrade",
    "work_until_signal",
]

#: The signals that end a process in good order; of these uvicorn knows the first two.
_ENDS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT") if hasattr(signal, name))

#: How long threads are waited for that should have ended.
_LAST_THREADS = timedelta(seconds=5)

_log = logging.getLogger(__name__)


def serve_until_signal(
    settings: Settings, *, host: str, port: int, metrics_port: int | None, worker: bool, grace: timedelta
) -> None:
    """Serve until a signal (`_ENDS`); with `worker`, one runs in this process.

    Raises ClickException if the address cannot be listened on, OptionError for a setting that cannot work,
    ExportError for a place that cannot be used.
    """
    with ExitStack() as stack:
        stack.enter_context(_private())
        data = stack.enter_context(_folder(settings.data))
        listener = stack.enter_context(_listening(host, port))
        listening = _url(host, listener.getsockname()[1])
        address = settings.public_url or _reachable(host, listening)
        demo = settings.conversations is None
        if demo and not (data / DEMO / "channels.jsonl").exists():
            with _written_to(data):
                write_demo(data / DEMO)
        components = stack.enter_context(open_components(replace(settings, data=data), address))
        app = create_app(components, worker=worker, grace=grace)
        if metrics_port is not None:
            with _port_errors(host, metrics_port):
                stack.enter_context(app.state.metrics.served(host, metrics_port))
        click.echo(_hint(settings, address, data, components, worker=worker))
        if address != listening:
            click.echo(f"Listening on {listening}.")
        if metrics_port is not None:
            click.echo(f"Metrics are at {_url(host, metrics_port)}/metrics.")
        _run(app, listener, grace)
    _end_at_last()


def work_until_signal(settings: Settings, *, host: str, metrics_port: int | None, grace: timedelta) -> None:
    """Work on jobs until a signal (`_ENDS`).

    Raises ClickException if metrics cannot be served there, OptionError for a setting that cannot work.
    """
    if settings.smtp is not None and settings.public_url is None and serves_archives(settings):
        raise OptionError(
            "the e-mails' links lead to the service, which keeps the archives: say where clients reach it",
            option="public_url",
        )
    with ExitStack() as stack:
        stack.enter_context(_private())
        components = stack.enter_context(open_components(settings, settings.public_url or _NOWHERE))
        log_to(sys.stderr)
        stop = _stop_asked_for()  # before anybody can see that there is a worker
        metrics = Metrics(components.store.counts)
        if metrics_port is not None:
            with _port_errors(host, metrics_port):
                stack.enter_context(metrics.served(host, metrics_port))
        worker = Background(make_worker(components, metrics, grace=grace), grace=grace)
        worker.start()
        while worker.alive and not stop.wait(1):
            pass
        failed = not worker.alive
        worker.stop()
    _end_at_last()
    if failed:
        raise click.ClickException("the worker has failed: the log says why")


def create_key(
    workspace_id: str, *, name: str | None, expires: datetime | None, database: str | None, data: Path | None
) -> str:
    """Make a key for a workspace. Raises OptionError if the database cannot be used, and as `SqlKeys.create` does."""
    with open_job_database(database=database, data=data) as engine:
        return SqlKeys(engine).create(workspace_id, now=now(), name=name, expires=expires)


def list_keys(*, database: str | None, data: Path | None) -> list[tuple[KeyInfo, str]]:
    """Every key, and whether it `holds`, is `expired` or `revoked`. Raises OptionError as `create_key` does."""
    with open_job_database(database=database, data=data) as engine:
        keys = SqlKeys(engine).all()
    return [(key, _state(key)) for key in keys]


def _state(key: KeyInfo) -> str:
    if key.revoked:
        return "revoked"
    return "expired" if key.expires_time is not None and key.expires_time <= now() else "holds"


def revoke_key(key_id: str, *, database: str | None, data: Path | None) -> bool:
    """Have a key hold no more; False if there is none of that id. Raises OptionError as `create_key` does."""
    with open_job_database(database=database, data=data) as engine:
        return SqlKeys(engine).revoke(key_id)


def change_options(options: ExportOptions, *, database: str | None, data: Path | None) -> list[str]:
    """Change the options that processes have to agree on; the changes. Raises as `set_options` and `create_key` do."""
    with open_job_database(database=database, data=data) as engine:
        return set_options(engine, options)


def change_secret(settings: Settings) -> bool:
    """Change the secret that processes have to agree on; False if it is that one already. Raises as `create_key`."""
    secret = secret_of(settings)
    with open_job_database(database=settings.database, data=settings.data) as engine:
        return set_secret(engine, secret)


def upgrade(*, database: str | None, data: Path | None) -> tuple[str | None, str]:
    """Upgrade the database; its revisions before and after. Raises OptionError as `create_key` does."""
    with job_database_url(database=database, data=data) as url:
        return upgrade_database(url)


def revision(*, database: str | None, data: Path | None) -> str | None:
    """The database's revision, or None if it is empty. Raises OptionError as `create_key` does."""
    with job_database_url(database=database, data=data) as url:
        return database_revision(url)


def _hint(settings: Settings, address: str, data: Path, components: Components, *, worker: bool) -> str:
    """What to do next: with the demo's data all of it, as a key comes with them."""
    if settings.conversations is None:
        return demo_hint(address, components.keys.create(DEMO_WORKSPACE, now=now(), name="demo"))
    kept = data if settings.database is None else None
    return own_hint(address, data=kept, today=now().astimezone(settings.options.tzinfo).date(), worker=worker)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _reachable(host: str, listening: str) -> str:
    """Where clients on this machine reach the service."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  # all addresses: which one clients use cannot be known
        raise click.UsageError(
            f"{host} is every address of this machine: say with --public-url which one links lead to"
        )
    return listening


@contextmanager
def _private() -> Iterator[None]:
    """Whatever is made meanwhile, by whichever library, is this user's alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    """The folder for what is not kept elsewhere; one that is gone at the end if none was named."""
    if data is None:
        with TemporaryDirectory(prefix="export-engine-") as folder:
            yield Path(folder)
    else:
        with _written_to(data):
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield data


@contextmanager
def _written_to(data: Path) -> Iterator[None]:
    """Say which folder could not be written to. Raises ExportError."""
    try:
        yield
    except OSError as error:
        raise ExportError(f"--data: {data}: {error.strerror or error}") from None


def _stop_asked_for() -> threading.Event:
    """Set by a signal; a second one interrupts."""
    stop = threading.Event()

    def ask(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.default_int_handler)

    for number in _ENDS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, ask)
    return stop


@contextmanager
def _port_errors(host: str, port: int) -> Iterator[None]:
    """Say which address could not be listened on. Raises ClickException."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {host} port {port}: {error.strerror or error}; choose others"
        ) from None


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that takes connections from now on: what is printed can be pasted at once."""
    with _port_errors(host, port):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=2048)
    with listener:
        yield listener


def _run(app: FastAPI, listener: socket.socket, grace: timedelta) -> None:
    server = http_server(app, grace=grace)
    log_to(sys.stderr)
    for number in _ENDS[2:]:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGTERM))
    with suppress(KeyboardInterrupt):  # raised once more when all has ended in good order
        server.run(sockets=[listener])
    if not server.started:
        raise click.ClickException("the service could not start: the log says why")


def _end_at_last() -> None:
    """End the process, be threads left that wait for a database that is frozen: the interpreter would wait for them.

    They are those of requests that were answered with 503.
    """
    last = time.monotonic() + _LAST_THREADS.total_seconds()
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    for thread in others:
        thread.join(max(0, last - time.monotonic()))
    if any(thread.is_alive() for thread in others):
        _log.error("the process ends, though threads of it still wait for what does not answer")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)
