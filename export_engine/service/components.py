"""What a service is made of, and how it is opened as an operator's settings say.

What the settings do not place elsewhere is kept in one folder:

    jobs.sqlite      jobs and keys
    archives/        finished archives, until their links expire
    demo/            channels and conversations made up, if there are no others
    secret           what links to those archives are signed with; made when it is first needed
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionLeftError

from export_engine.errors import ExportError, OptionError
from export_engine.jobs.backends.agreement import agree
from export_engine.jobs.backends.archives import check_secret, open_archives
from export_engine.jobs.backends.database import open_database
from export_engine.jobs.backends.files import open_files
from export_engine.jobs.backends.keys import SqlKeys
from export_engine.jobs.backends.mail import mailer_from_url
from export_engine.jobs.backends.query import open_query
from export_engine.jobs.backends.sql import SqlDirectory, open_sql
from export_engine.jobs.backends.store import SqlJobStore
from export_engine.jobs.backends.strays import Strays, strays_of_files, strays_of_tables
from export_engine.jobs.job import KEEP_JOBS, LEASE, MAX_ATTEMPTS, MAX_QUEUED, MAX_RUN, MAX_SILENCE
from export_engine.jobs.ports import ArchiveStore, ChannelDirectory, ConversationSource, JobStore, KeyStore, Mailer
from export_engine.options import ExportOptions
from export_engine.service.downloads import ServedArchives
from export_engine.service.settings import Settings

__all__ = [
    "DEMO",
    "UNREACHABLE",
    "Components",
    "job_database_url",
    "now",
    "open_components",
    "open_job_database",
    "secret_of",
    "serves_archives",
]

#: The part of the folder with the demo's channels and conversations.
DEMO = "demo"

#: What a database raises that is not there, is locked, or has no connection left.
UNREACHABLE: tuple[type[Exception], ...] = (OperationalError, InterfaceError, NoConnectionLeftError)

#: How long a transaction waits for a lock or a connection, and on PostgreSQL for its statements: less than a client
#: waits for an answer. Workers ask again.
PATIENCE = timedelta(seconds=1.5)


def now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Components:
    """The components of one service, ready to use; each is used from several threads at once.

    `options` shape the exports; their time zone is also that of the days in requests. `mailer` None means that no
    e-mail is sent. `lease`, `max_run`, `max_silence` and `keep_jobs` are its worker's. `downloads` are the archives
    whose links lead to the service, None if a bucket serves its own. `strays` looks for what belongs to no channel.
    `clock` gives aware times.
    """

    store: JobStore
    archives: ArchiveStore
    directory: ChannelDirectory
    source: ConversationSource
    keys: KeyStore
    mailer: Mailer | None = None
    options: ExportOptions = field(default_factory=ExportOptions)
    keep_jobs: timedelta = KEEP_JOBS
    lease: timedelta = LEASE
    max_run: timedelta = MAX_RUN
    max_silence: timedelta = MAX_SILENCE
    downloads: ServedArchives | None = None
    strays: Callable[[], Iterable[Strays]] | None = None
    clock: Callable[[], datetime] = now


@contextmanager
def open_job_database(*, database: str | None, data: Path | None) -> Iterator[Engine]:
    """The database of jobs and keys, closed at the end.

    Raises OptionError for a URL that cannot work or is missing, ExportError if the database cannot be reached, or is
    not to be used for what is done in the block.
    """
    with job_database_url(database=database, data=data) as url:
        engine = open_database(url, patience=PATIENCE)
    try:
        with _usable("database"):
            yield engine
    finally:
        engine.dispose()


@contextmanager
def job_database_url(*, database: str | None, data: Path | None) -> Iterator[str]:
    """Where the database of jobs and keys is; what cannot be done there in the block raises as `open_job_database`."""
    url = database or f"sqlite:///{_inside(data, 'jobs.sqlite', 'database')}"
    with _as_option("database"):
        yield url


@contextmanager
def open_components(settings: Settings, public_url: str) -> Iterator[Components]:
    """All components, closed at the end; `public_url` is where clients reach the service, for the links it serves.

    Raises OptionError, with the option's name, for what cannot be opened as it was said.
    """
    if settings.public_url is not None:
        _check_url(settings.public_url)
    place = settings.archives or str(_inside(settings.data, "archives", "archives"))
    served = serves_archives(settings)
    with _as_option("smtp"):
        mailer = mailer_from_url(settings.smtp) if settings.smtp else None
    secret = secret_of(settings) if served else None
    with _as_option("archives"):
        archives = open_archives(place, secret=secret, download_url=f"{public_url.rstrip('/')}/downloads")
    with (
        _conversations(settings) as (directory, source, strays),
        open_job_database(database=settings.database, data=settings.data) as engine,
    ):
        try:
            agreed = agree(engine, settings.options, secret=secret)
        except OptionError as error:
            raise OptionError(str(error), option=_OPTIONS.get(error.option, error.option)) from None
        yield Components(
            store=SqlJobStore(
                engine,
                max_attempts=settings.max_attempts or MAX_ATTEMPTS,
                max_queued=settings.max_queued or MAX_QUEUED,
                agreed=agreed,
            ),
            archives=archives,
            directory=directory,
            source=source,
            keys=SqlKeys(engine),
            mailer=mailer,
            options=settings.options,
            keep_jobs=settings.keep_jobs or KEEP_JOBS,
            lease=settings.lease or LEASE,
            max_run=settings.max_run or MAX_RUN,
            max_silence=settings.max_silence or MAX_SILENCE,
            downloads=archives if served else None,
            strays=strays,
        )


def _check_url(url: str) -> None:
    """Raise OptionError for what cannot be put before the path of a link."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fits = False
    if not fits or not url.isprintable() or set(url) & set(" ?#@"):
        raise OptionError(
            f"{url!r} is no URL that links can begin with: write it like https://exports.example.com",
            option="public_url",
        )


def serves_archives(settings: Settings) -> bool:
    """Whether links lead to the service, which keeps the archives itself; a bucket has links of its own."""
    place = settings.archives or ""
    return "://" not in place or place.startswith(("file://", "memory://"))


@contextmanager
def _conversations(
    settings: Settings,
) -> Iterator[tuple[ChannelDirectory, ConversationSource, Callable[[], Iterable[Strays]]]]:
    place = settings.conversations or str(_inside(settings.data, DEMO, "conversations"))
    if "://" not in place:
        if settings.conversations_query is not None:
            raise OptionError("a query is for a database: give its URL (--conversations)", option="conversations_query")
        folder, files = open_files(Path(place))
        yield folder, files, lambda: strays_of_files(folder)
        return
    directory, source = _in_database(place, settings.conversations_query)
    try:
        alone = settings.conversations_query is not None
        yield directory, source, lambda: strays_of_tables(directory.engine, channels_alone=alone)
    finally:
        directory.engine.dispose()


def _in_database(url: str, query: Path | None) -> tuple[SqlDirectory, ConversationSource]:
    """The channels and conversations in a database, by its own tables or by a query."""
    with _as_option("conversations"):
        return open_sql(url) if query is None else open_query(url, query.read_text("utf-8"))


def secret_of(settings: Settings) -> bytes:
    """The secret of links that was given, or the folder's own, which is made if it is missing. Raises OptionError."""
    with _as_option("secret_file"):
        secret = _given_or_kept(settings)
        check_secret(secret)
    return secret


def _given_or_kept(settings: Settings) -> bytes:
    if settings.secret_file is not None:
        return settings.secret_file.read_bytes()  # any bytes may be a secret's, also blanks at its ends
    if settings.secret:
        return settings.secret
    path = _inside(settings.data, "secret", "secret_file")
    if not path.exists():
        # Written apart and linked: of several processes that begin at once one wins, and none reads half of it.
        made = path.with_name(f".secret.{secrets.token_hex(4)}")
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(made, path)
        except FileExistsError:
            pass
        finally:
            made.unlink()
    return path.read_bytes()


def _inside(data: Path | None, name: str, option: str) -> Path:
    if data is None:
        raise OptionError("say where it is, or give --data, the folder for all that is not said", option=option)
    if not data.is_dir():
        raise OptionError(
            f"there is no folder {data}: make it, or give the one that the other processes have", option="data"
        )
    return data / name


#: What says of itself which option it is, and what that is called here.
_OPTIONS = {"secret": "secret_file", "query": "conversations_query", "data": "data"}


@contextmanager
def _as_option(name: str) -> Iterator[None]:
    """Name an option as it is called here, and by its option what cannot be reached or made."""
    try:
        with _usable(name):
            yield
    except OptionError as error:
        raise OptionError(str(error), option=_OPTIONS.get(error.option, name)) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise ExportError(f"--{name.replace('_', '-')}: {where}{error.strerror or error}") from None


@contextmanager
def _usable(name: str) -> Iterator[None]:
    """Name a database that is not there, is locked or is none by its option. Raises ExportError."""
    try:
        yield
    except DBAPIError as error:
        # The driver's own words; SQLAlchemy's would add a statement and a link.
        raise ExportError(f"--{name}: the database cannot be used: {error.orig}") from None
