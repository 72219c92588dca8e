"""The export job, to embed in a service: trigger, validate, resolve the channel, run, notify, expire.

    from export_engine import jobs

    store = jobs.SqlJobStore(jobs.open_database("sqlite:///jobs.sqlite"))
    job = jobs.trigger(body, workspace_id=workspace, store=store, directory=directory, now=datetime.now(UTC))
    worker = jobs.Worker(store, archives, directory, source)

The rules stand in `api`, `request`, `channels`, `identifiers`, `job`, `errors` and `failures`; what they need of the
world around them in `ports`, real ones in `backends`, ones in memory, for tests, in `testing`; `worker`, `lease` and
`notices` do the jobs; `runs`, `child`, `exporting` and `scratch` have exports made in a process of their own. Each name
is loaded when it is first asked for: who only checks requests waits for no database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from export_engine.door import door

if TYPE_CHECKING:
    from export_engine.jobs.api import cancel, details, list_channels, list_exports, poll, trigger
    from export_engine.jobs.backends.archives import ObjectArchives, open_archives
    from export_engine.jobs.backends.database import database_revision, open_database, upgrade_database
    from export_engine.jobs.backends.files import FileConversations, FileDirectory, open_files
    from export_engine.jobs.backends.keys import SqlKeys
    from export_engine.jobs.backends.mail import SmtpMailer, mailer_from_url
    from export_engine.jobs.backends.sql import SqlConversations, SqlDirectory, open_sql
    from export_engine.jobs.backends.sql_schema import create_schema
    from export_engine.jobs.backends.store import SqlJobStore
    from export_engine.jobs.channels import COARSE_TYPES, find_channel, resolve_channel
    from export_engine.jobs.errors import (
        ActiveExportError,
        AmbiguousChannelError,
        FutureStartError,
        IdempotencyError,
        InvalidRequestError,
        LeaseLostError,
        LinkError,
        NotFoundError,
        Problem,
        QueueFullError,
        RequestError,
        RevisionError,
        TransitionError,
        UnauthorizedError,
    )
    from export_engine.jobs.failures import failure_message
    from export_engine.jobs.job import (
        LINK_LIFE,
        Job,
        Status,
        accepted_document,
        details_document,
        poll_after,
        status_document,
    )
    from export_engine.jobs.ports import (
        ArchiveStore,
        ChannelDirectory,
        ChannelPlace,
        ConversationSource,
        Idempotency,
        JobPlace,
        JobStore,
        KeyStore,
        Lease,
        Mailer,
        Notice,
        WorkspaceChannel,
    )
    from export_engine.jobs.request import CHANNEL_TYPES, ChannelType, ExportRequest
    from export_engine.jobs.worker import JobEvent, Observer, Worker

__all__ = [
    "CHANNEL_TYPES",
    "COARSE_TYPES",
    "LINK_LIFE",
    "ActiveExportError",
    "AmbiguousChannelError",
    "ArchiveStore",
    "ChannelDirectory",
    "ChannelPlace",
    "ChannelType",
    "ConversationSource",
    "ExportRequest",
    "FileConversations",
    "FileDirectory",
    "FutureStartError",
    "Idempotency",
    "IdempotencyError",
    "InvalidRequestError",
    "Job",
    "JobEvent",
    "JobPlace",
    "JobStore",
    "KeyStore",
    "Lease",
    "LeaseLostError",
    "LinkError",
    "Mailer",
    "NotFoundError",
    "Notice",
    "ObjectArchives",
    "Observer",
    "Problem",
    "QueueFullError",
    "RequestError",
    "RevisionError",
    "SmtpMailer",
    "SqlConversations",
    "SqlDirectory",
    "SqlJobStore",
    "SqlKeys",
    "Status",
    "TransitionError",
    "UnauthorizedError",
    "Worker",
    "WorkspaceChannel",
    "accepted_document",
    "cancel",
    "create_schema",
    "database_revision",
    "details",
    "details_document",
    "failure_message",
    "find_channel",
    "list_channels",
    "list_exports",
    "mailer_from_url",
    "open_archives",
    "open_database",
    "open_files",
    "open_sql",
    "poll",
    "poll_after",
    "resolve_channel",
    "status_document",
    "trigger",
    "upgrade_database",
]

#: Where each name stands.
_MODULES = {
    "api": ("cancel", "details", "list_channels", "list_exports", "poll", "trigger"),
    "backends.archives": ("ObjectArchives", "open_archives"),
    "backends.database": ("database_revision", "open_database", "upgrade_database"),
    "backends.files": ("FileConversations", "FileDirectory", "open_files"),
    "backends.keys": ("SqlKeys",),
    "backends.mail": ("SmtpMailer", "mailer_from_url"),
    "backends.sql": ("SqlConversations", "SqlDirectory", "open_sql"),
    "backends.sql_schema": ("create_schema",),
    "backends.store": ("SqlJobStore",),
    "channels": ("COARSE_TYPES", "find_channel", "resolve_channel"),
    "errors": (
        "ActiveExportError",
        "AmbiguousChannelError",
        "FutureStartError",
        "IdempotencyError",
        "InvalidRequestError",
        "LeaseLostError",
        "LinkError",
        "NotFoundError",
        "Problem",
        "QueueFullError",
        "RequestError",
        "RevisionError",
        "TransitionError",
        "UnauthorizedError",
    ),
    "failures": ("failure_message",),
    "job": ("LINK_LIFE", "Job", "Status", "accepted_document", "details_document", "poll_after", "status_document"),
    "ports": (
        "ArchiveStore",
        "ChannelDirectory",
        "ChannelPlace",
        "ConversationSource",
        "Idempotency",
        "JobPlace",
        "JobStore",
        "KeyStore",
        "Lease",
        "Mailer",
        "Notice",
        "WorkspaceChannel",
    ),
    "request": ("CHANNEL_TYPES", "ChannelType", "ExportRequest"),
    "worker": ("JobEvent", "Observer", "Worker"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__getattr__, __dir__ = door(globals(), _HOME, extra="jobs")
