"""Settings in the database of jobs: a name and a text each, by which its processes know of one another."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select

from export_engine.jobs.backends.tables import export_setting, insert_into

__all__ = ["keep_setting", "kept_settings"]


def kept_settings(connection: Connection, names: Iterable[str]) -> dict[str, str]:
    """Those of the settings that are there, by name."""
    query = select(export_setting.c.name, export_setting.c.value).where(export_setting.c.name.in_(list(names)))
    return {row.name: row.value for row in connection.execute(query)}


def keep_setting(connection: Connection, name: str, value: str) -> None:
    """Keep a setting, in place of what it was; in a transaction that writes."""
    kept = insert_into(export_setting, connection.dialect).values(name=name, value=value)
    connection.execute(kept.on_conflict_do_update(index_elements=["name"], set_={"value": kept.excluded.value}))
