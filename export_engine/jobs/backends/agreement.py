"""What all processes at one database have to agree on: the options that shape exports.

A service that takes another day for today than its workers do, or two workers that write CSVs differently, would each
do as told and be wrong together. The first process writes its options down; every other one is held against them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Engine, Table, delete, func, insert, select, text

from export_engine.errors import ExportError, OptionError
from export_engine.jobs.backends.database import ACTIVE, export_job, export_setting, writing
from export_engine.options import ExportOptions

__all__ = ["agree_on_options", "set_options"]

_OPTIONS = "options"


def agree_on_options(engine: Engine, options: ExportOptions) -> None:
    """Hold a process's options against those of the database; the first ones are written down.

    Only what shapes an archive counts, see `ExportOptions.shape`. Raises OptionError, whose `option` is the first that
    differs, with all differences.
    """
    with writing(engine) as connection:
        _keep_others_out(connection, export_setting)
        agreed = _kept(connection)
        if agreed is None:
            _keep(connection, options)
            return
    differing = _differences(agreed, _named(options.shape()))
    if differing:
        listed = ", ".join(f"{name} {_shown(kept)} (not {_shown(given)})" for name, (kept, given) in differing.items())
        raise OptionError(
            f"the exports of this database are made with {listed}: give all processes the same options, or change them "
            "for all with export-engine database set-options",
            option=next(iter(differing)),
        )


def set_options(engine: Engine, options: ExportOptions) -> list[str]:
    """Change what processes have to agree on, from their next start; the changes, for people to read.

    Raises ExportError while a job is queued or started: it would be half one and half the other.
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
        kept = _kept(connection)
        connection.execute(delete(export_setting).where(export_setting.c.name == _OPTIONS))
        _keep(connection, options)
    changes = _differences(kept or {}, _named(options.shape()))
    return [f"{name}: {_shown(after)}, was {_shown(before)}" for name, (before, after) in changes.items()]


def _kept(connection: Connection) -> dict[str, Any] | None:
    """The options in the database, or None if no process has written any."""
    query = select(export_setting.c.value).where(export_setting.c.name == _OPTIONS)
    value = connection.execute(query).scalar_one_or_none()
    return None if value is None else _named(json.loads(value))


def _keep(connection: Connection, options: ExportOptions) -> None:
    value = json.dumps(options.shape(), sort_keys=True)
    connection.execute(insert(export_setting).values(name=_OPTIONS, value=value))


def _keep_others_out(connection: Connection, table: Table) -> None:
    """Let nobody else change the table until the transaction ends."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
        connection.execute(text(f"LOCK TABLE {table.name} IN EXCLUSIVE MODE"))


def _named(shape: Mapping[str, Any]) -> dict[str, Any]:
    """The options by one name each, those of the dialect among them."""
    dialect: dict[str, Any] = shape["dialect"]
    return {name: value for name, value in shape.items() if name != "dialect"} | dialect


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What differs, by name. An option that another release does not know has its default there."""
    usual = _named(ExportOptions().shape())
    values = {
        name: (before.get(name, usual.get(name)), after.get(name, usual.get(name)))
        for name in sorted(before.keys() | after.keys())
    }
    return {name: both for name, both in values.items() if both[0] != both[1]}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value)
