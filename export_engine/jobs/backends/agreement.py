"""What all processes at one database have to agree on: the options that shape exports, and the secret of links.

A service that takes another day for today than its workers do, or two workers that write CSVs differently, would each
do as told and be wrong together; and a link that one process signs with a secret of its own holds nowhere else. The
first process writes both down, of the secret a fingerprint; every other one is held against them as it begins, and by
`SqlJobStore` whenever a job is made or taken, as they may be changed meanwhile.
"""

from __future__ import annotations

import hmac
import json
from typing import Any

from sqlalchemy import Connection, Engine, Table, func, select, text

from export_engine.errors import ExportError, OptionError
from export_engine.jobs.backends.database import writing
from export_engine.jobs.backends.settings import keep_setting, kept_settings
from export_engine.jobs.backends.tables import ACTIVE, export_job, export_setting
from export_engine.options import ExportOptions

__all__ = ["agree", "set_options", "set_secret"]

_OPTIONS, _SECRET = "options", "secret"


def agree(engine: Engine, options: ExportOptions, *, secret: bytes | None = None) -> dict[str, str]:
    """Hold a process's options and its secret of links against those of the database; the first ones are written down.

    Of the options only what shapes an archive counts, see `ExportOptions.shape`; a process without a secret has none
    to agree on. Returns what is agreed on, for `SqlJobStore`. Raises OptionError, whose `option` is the first that
    differs, with all differences, or `secret`.
    """
    own = {_OPTIONS: _text(options)} | ({} if secret is None else {_SECRET: _fingerprint(secret)})
    with writing(engine) as connection:
        _keep_others_out(connection, export_setting)
        kept = kept_settings(connection, own)
        agreed = own | kept
        if differing := _differences(agreed[_OPTIONS], own[_OPTIONS]):
            listed = (f"{name} {_shown(kept)} (not {_shown(given)})" for name, (kept, given) in differing.items())
            raise OptionError(
                f"the exports of this database are made with {', '.join(listed)}: give all processes the same options, "
                "or change them for all with export-engine database set-options",
                option=next(iter(differing)),
            )
        if agreed.get(_SECRET) != own.get(_SECRET):
            raise OptionError(
                "the links to this database's archives are signed with another secret: give all processes the same, "
                "or change it for all with export-engine database set-secret",
                option="secret",
            )
        for name in own.keys() - kept.keys():
            keep_setting(connection, name, own[name])
    return agreed


def set_options(engine: Engine, options: ExportOptions) -> list[str]:
    """Change the options that processes have to agree on; the changes, for people to read.

    Those that have begun with others make and take no job any more. Raises ExportError while a job is queued or
    started: it would be half one and half the other.
    """
    with writing(engine) as connection:
        _keep_others_out(connection, export_job)
        _keep_others_out(connection, export_setting)
        active = connection.execute(select(func.count()).select_from(export_job).where(ACTIVE)).scalar_one()
        if active:
            raise ExportError(
                f"{active} export jobs are queued or started, and their options stay as they are: wait until they have "
                "ended, or cancel them"
            )
        kept = kept_settings(connection, [_OPTIONS]).get(_OPTIONS)
        changes = _differences(kept or "{}", _text(options))
        if changes or kept is None:
            keep_setting(connection, _OPTIONS, _text(options))
    return [f"{name}: {_shown(after)}, was {_shown(before)}" for name, (before, after) in changes.items()]


def set_secret(engine: Engine, secret: bytes) -> bool:
    """Change the secret that processes have to agree on; False if it is that one already.

    Those that have begun with another make and take no job any more, and the links that it has signed hold nowhere.
    """
    with writing(engine) as connection:
        _keep_others_out(connection, export_setting)
        kept = kept_settings(connection, [_SECRET]).get(_SECRET)
        keep_setting(connection, _SECRET, _fingerprint(secret))
    return kept != _fingerprint(secret)


def _text(options: ExportOptions) -> str:
    return json.dumps(options.shape(), sort_keys=True)


def _fingerprint(secret: bytes) -> str:
    """What a secret is known by, and cannot be made of again."""
    return hmac.digest(secret, b"export-engine: a secret of links", "sha256").hex()


def _keep_others_out(connection: Connection, table: Table) -> None:
    """Let nobody else change the table until the transaction ends."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
        connection.execute(text(f"LOCK TABLE {table.name} IN EXCLUSIVE MODE"))


def _named(shape: str) -> dict[str, Any]:
    """The options by one name each, those of the dialect among them."""
    options: dict[str, Any] = json.loads(shape)
    dialect: dict[str, Any] = options.pop("dialect", {})
    return options | dialect


def _differences(before: str, after: str) -> dict[str, tuple[Any, Any]]:
    """What differs, by name. An option that another release does not know has its default there."""
    usual, old, new = _named(_text(ExportOptions())), _named(before), _named(after)
    values = {
        name: (old.get(name, usual.get(name)), new.get(name, usual.get(name)))
        for name in sorted(old.keys() | new.keys())
    }
    return {name: both for name, both in values.items() if both[0] != both[1]}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value)
