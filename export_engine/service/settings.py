"""What an operator says of a service: where everything is and how exports are made, as one value.

It opens nothing, so that the command line can be read without a database or a web framework being loaded; what is made
of it stands in `export_engine.service.components`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from export_engine.options import ExportOptions

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where everything is; what is None is kept in the folder `data`.

    - `database`: jobs and keys, `sqlite:///file.db` or `postgresql://user:password@host/name` (`data`/jobs.sqlite).
    - `archives`: a folder, or `s3://`, `gs://` or `az://` with a bucket (`data`/archives).
    - `conversations`: a folder of files or the URL of a database (`data`/demo).
    - `conversations_query`: a file with the SQL that finds a channel's conversations in that database, where it has
      other tables than the ones of `export_engine.jobs.backends.sql_schema`.
    - `smtp`: the mail server, as `export_engine.jobs.mailer_from_url` takes it; None: no e-mail is sent.
    - `secret`, `secret_file`: what links to a folder of archives are signed with, 32 bytes or more; of the two the
      file counts. Without either one is made and kept (`data`/secret).
    - `public_url`: where clients reach the service.
    - `max_queued`: how many queued jobs a workspace may have (100).
    - `max_attempts`: how often a job is begun before it is given up (5).
    - `lease`: how long a job stays with a worker that shows no sign of life (two minutes).
    - `max_run`, `max_silence`: how long an export may take, and for how long it may read no row and write no byte,
      before it is ended (six hours, ten minutes).
    - `keep_jobs`: how long an ended job is known (30 days); longer than its link lives.
    - `options`: how exports are made; their time zone is also that of the days in requests.

    What may hold a password is not in its `repr`.
    """

    data: Path | None = None
    database: str | None = field(default=None, repr=False)
    archives: str | None = None
    conversations: str | None = field(default=None, repr=False)
    conversations_query: Path | None = None
    smtp: str | None = field(default=None, repr=False)
    secret: bytes | None = field(default=None, repr=False)
    secret_file: Path | None = None
    public_url: str | None = None
    max_queued: int | None = None
    max_attempts: int | None = None
    lease: timedelta | None = None
    max_run: timedelta | None = None
    max_silence: timedelta | None = None
    keep_jobs: timedelta | None = None
    options: ExportOptions = field(default_factory=ExportOptions)
