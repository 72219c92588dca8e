"""The kinds of JSON that a lake's values may be, looked at before SQL makes text of them all.

A single export refuses a number, a boolean or an object where text is to be; on their way through SQL they would pass
for text, and a number for one that is written otherwise. What is wrong anywhere is found in one pass, and refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from export_engine.batch.runs import LAKE_COLUMNS
from export_engine.errors import SourceError
from export_engine.schema import TIMES
from export_engine.sources.duck import query_errors

if TYPE_CHECKING:
    import duckdb

__all__ = ["check_flat", "of_other_kinds", "refuse"]

#: What is said of a value of another kind, and the condition on one of this; null is of each.
_TEXT = ("no text", "json_type({0}) IN ('VARCHAR', 'NULL')")
_WHOLE = (
    "neither text nor a whole number",
    "(json_type({0}) IN ('VARCHAR', 'BIGINT', 'UBIGINT', 'NULL') OR regexp_full_match({0} ->> '$', '-?[0-9]+'))",
)
_LIST = ("neither text nor a list", "json_type({0}) IN ('VARCHAR', 'ARRAY', 'NULL')")
#: By column. Times are told by what reads them.
_KINDS = (
    {name: _TEXT for name in LAKE_COLUMNS if name not in TIMES}
    | dict.fromkeys(("message_id", "conversation_id", "channel_id", "contact_phone", "channel_phone"), _WHOLE)
    | {"media_url": _LIST}
)
#: Characters of a value that an error shows.
_LONGEST = 160


def of_other_kinds(values: Iterable[tuple[str, str, str]]) -> dict[str, tuple[str, str]]:
    """What `refuse` is to look for: of each column, the words for where its values stand and what they are in SQL."""
    found = {}
    for name, where, value in values:
        if name in _KINDS:
            words, holds = _KINDS[name]
            found[f"a value of {where} that is {words}"] = f"NOT {holds.format(value)}", value
    return found


def refuse(
    connection: duckdb.DuckDBPyConnection,
    bound: Mapping[str, object],
    table: str,
    what: str,
    wrong: Mapping[str, tuple[str, str]],
    advice: str = "take them out of the files",
) -> None:
    """Raise SourceError for the first thing that is wrong anywhere: how often, and where first, with the value.

    `wrong` are conditions, and values to be shown, by what is said of them; `table` has a conversation's `id` and its
    `message`, or null for that, as JSON.
    """
    columns = ", ".join(
        f"count(*) FILTER ({condition}), "
        f"min(ROW(id ->> '$', message ->> '$.id', {value}::VARCHAR)) FILTER ({condition})"
        for condition, value in wrong.values()
    )
    found = connection.execute(f"SELECT {columns} FROM {table}", dict(bound)).fetchone() or ()  # noqa: S608  # texts of ours
    for said, count, first in zip(wrong, found[::2], found[1::2], strict=True):
        if count:
            conversation, message, value = first
            place = f"conversation {conversation!r}" + ("" if message is None else f", message {message!r}")
            shown = "" if value is None else f" ({value[:_LONGEST]}{'…' if len(value) > _LONGEST else ''})"
            raise SourceError(f"{count} {what} have {said}, the first {place}{shown}: mend them, or {advice}")


def check_flat(connection: duckdb.DuckDBPyConnection, bound: Mapping[str, object], names: Iterable[str]) -> None:
    """Look at the values of columns of JSON Lines with a message a line, whose files are bound as `$files`.

    Raises SourceError for one of another kind than a single export takes.
    """
    wanted = [name for name in names if name in LAKE_COLUMNS]
    if not {"conversation_id", "message_id"} <= {*wanted}:
        return  # they are mapped: what is made of the others is the caller's own SQL
    columns = ", ".join(f"'{name}': 'JSON'" for name in wanted)
    table = (
        "(SELECT *, conversation_id AS id, json_object('id', message_id) AS message FROM "  # noqa: S608  # names of ours
        f"read_json($files, records=true, columns={{{columns}}}, maximum_object_size=67108864))"
    )
    with query_errors():
        wrong = of_other_kinds((name, repr(name), name) for name in wanted)
        refuse(connection, bound, table, "messages", wrong, "take their text as it is, with --map NAME=NAME (columns)")
