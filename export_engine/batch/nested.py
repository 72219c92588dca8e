"""A lake of conversations, one a line of JSON, as a query: their messages are its rows.

The keys are those of `export_engine.sources.read_nested_jsonl`, and `channel_id`, `channel_name` and `channel_phone`
beside a conversation's `id`. Values are handed on as text, to the rules of every source; what those would not see is
looked for here, in one pass: keys that nobody knows, which would be lost without a word, and conversations without
messages, which rows cannot tell of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from export_engine.errors import SchemaError, SourceError
from export_engine.sources.duck import query_errors
from export_engine.sources.jsonl_columns import MESSAGE_KEYS

if TYPE_CHECKING:
    import duckdb

__all__ = ["conversations_query"]

#: What the columns are called that a key of a contact or a conversation makes.
_CONTACT = {"name": "contact_name", "phone": "contact_phone"}
_NEEDED = {"id": "conversation_id", "channel_id": "channel_id"}
_WANTED = {name: name for name in ("channel_name", "channel_phone", "created_at")}
_KNOWN = (*_NEEDED, *_WANTED, "contact", "messages")

#: Characters of a value that an error shows.
_LONGEST = 160


class _Kind(NamedTuple):
    """What kind of JSON a key's value may be: the words for another, and a condition on the value; null is of each."""

    words: str
    holds: str

    def unlike(self, name: str, value: str) -> tuple[str, tuple[str, str]]:
        """What is said of a value of another kind, and the condition under which it is one, with the value."""
        return f"a value of {name} that is {self.words}", (f"NOT {self.holds.format(value)}", value)


_TEXT = _Kind("no text", "json_type({0}) IN ('VARCHAR', 'NULL')")
_WHOLE = _Kind(
    "neither text nor a whole number",
    "(json_type({0}) IN ('VARCHAR', 'BIGINT', 'UBIGINT', 'NULL') OR regexp_full_match({0} ->> '$', '-?[0-9]+'))",
)
_LIST = _Kind("neither text nor a list", "json_type({0}) IN ('VARCHAR', 'ARRAY', 'NULL')")
#: What the values of keys may be, as those of a single export: on their way through SQL all would pass for text. Times
#: are told by what reads them.
_KINDS = {"id": _WHOLE, "channel_id": _WHOLE, "channel_name": _TEXT, "channel_phone": _WHOLE}
_CONTACT_KINDS = {"name": _TEXT, "phone": _WHOLE}
_MESSAGE_KINDS = {key: _TEXT for key in MESSAGE_KEYS if key != "time"} | {"id": _WHOLE, "media_urls": _LIST}

_READ = (
    "read_json($files, format='newline_delimited', union_by_name=true, maximum_depth=1, sample_size=-1, "
    "map_inference_threshold=-1, field_appearance_threshold=0, maximum_object_size=67108864)"
)


def conversations_query(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> str:
    """The SELECT that reads `files`, bound as `$files`; they are read to their end for what is wrong with them.

    Raises SchemaError for a key that is missing or unknown, SourceError for files that cannot be read, an object that
    has a key twice, and conversations without messages.
    """
    bound = {"files": [*files]}
    with query_errors():
        keys = [name for name, *_ in connection.execute(f"DESCRIBE SELECT * FROM {_READ}", bound).fetchall()]  # noqa: S608  # no text of a user's
        _check_keys("a conversation", keys, _KNOWN)
        for key in (*_NEEDED, "contact", "messages"):
            if key not in keys:
                raise SchemaError(
                    f"no conversation has the key {key!r}: a line has {', '.join(keys)}", column=_NEEDED.get(key, key)
                )
        _check_conversations(connection, bound, keys)
    columns = [
        *(f"c.{key} ->> '$' AS {name}" for key, name in (_NEEDED | _WANTED).items() if key in keys),
        *(f"c.contact ->> '$.{key}' AS {name}" for key, name in _CONTACT.items()),
        *(f"c.message ->> '$.{key}' AS {name}" for key, name in MESSAGE_KEYS.items()),
    ]
    return (
        f"SELECT {', '.join(columns)}\n"  # noqa: S608  # names of ours
        f"FROM (SELECT *, unnest(CAST(messages AS JSON[])) AS message FROM {_READ}) AS c"
    )


def _check_conversations(
    connection: duckdb.DuckDBPyConnection, bound: Mapping[str, object], keys: Sequence[str]
) -> None:
    """Look at all of them. What is wrong is told with the first place."""
    conversations = f"(SELECT *, NULL::JSON AS message FROM {_READ})"  # noqa: S608  # texts of ours
    messages = f"(SELECT id, unnest(CAST(messages AS JSON[])) AS message FROM {_READ})"  # noqa: S608  # the same
    wrong = {
        "a contact that is no object": ("json_type(contact) IS DISTINCT FROM 'OBJECT'", "contact"),
        "messages that are no list": ("coalesce(json_type(messages), 'NULL') NOT IN ('ARRAY', 'NULL')", "messages"),
        "no messages, and rows cannot tell of them": ("coalesce(json_array_length(messages), 0) = 0", "NULL"),
        **dict(kind.unlike(repr(key), key) for key, kind in _KINDS.items() if key in keys),
        **dict(
            kind.unlike(f"the contact's {key!r}", f"(contact -> '$.{key}')") for key, kind in _CONTACT_KINDS.items()
        ),
    }
    _refuse(connection, bound, conversations, "conversations", wrong)
    wrong = dict(kind.unlike(repr(key), f"(message -> '$.{key}')") for key, kind in _MESSAGE_KINDS.items())
    _refuse(connection, bound, messages, "messages", wrong)
    for what, known, objects in (
        ("a contact", _CONTACT, f"SELECT contact AS object FROM {_READ}"),  # noqa: S608  # the same
        ("a message", MESSAGE_KEYS, f"SELECT message AS object FROM {messages}"),  # noqa: S608  # the same
    ):
        query = (
            "SELECT DISTINCT unnest(keys), len(keys) > len(list_distinct(keys)) "  # noqa: S608  # the same
            f"FROM (SELECT json_keys(object) AS keys FROM ({objects}))"
        )
        found = connection.execute(query, dict(bound)).fetchall()
        _check_keys(what, sorted({key for key, _ in found}), tuple(known))
        if any(twice for _, twice in found):
            raise SourceError(f"{what} has a key twice: keep one of them")


def _refuse(
    connection: duckdb.DuckDBPyConnection,
    bound: Mapping[str, object],
    table: str,
    what: str,
    wrong: Mapping[str, tuple[str, str]],
) -> None:
    """Raise SourceError for the first thing that is wrong anywhere: how often, and where first, with the value.

    `wrong` are conditions, and values to be shown, by what is said of them.
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
            raise SourceError(
                f"{count} {what} have {said}, the first {place}{shown}: mend them, or take them out of the files"
            )


def _check_keys(what: str, keys: Sequence[str], known: Sequence[str]) -> None:
    for key in keys:
        if key not in known:
            raise SchemaError(f"{what} has the unknown key {key!r}: its keys are {', '.join(known)}", column=key)
