"""A lake of conversations, one a line of JSON, as a query: their messages are its rows.

The keys are those of `export_engine.sources.read_nested_jsonl`, and `channel_id`, `channel_name` and `channel_phone`
beside a conversation's `id`. Values are handed on as text, to the rules of every source; what those would not see is
looked for here, in one pass: keys that nobody knows, which would be lost without a word, and conversations without
messages, which rows cannot tell of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from export_engine.batch.kinds import of_other_kinds, refuse
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
        **of_other_kinds((name, repr(key), key) for key, name in (_NEEDED | _WANTED).items() if key in keys),
        **of_other_kinds((name, f"the contact's {key!r}", f"(contact -> '$.{key}')") for key, name in _CONTACT.items()),
    }
    refuse(connection, bound, conversations, "conversations", wrong)
    wrong = of_other_kinds((name, repr(key), f"(message -> '$.{key}')") for key, name in MESSAGE_KEYS.items())
    refuse(connection, bound, messages, "messages", wrong)
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


def _check_keys(what: str, keys: Sequence[str], known: Sequence[str]) -> None:
    for key in keys:
        if key not in known:
            raise SchemaError(f"{what} has the unknown key {key!r}: its keys are {', '.join(known)}", column=key)
