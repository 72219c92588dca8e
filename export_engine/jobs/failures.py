"""The `error_message` of a failed job, for the people whose export it was.

They can mend their data, so it names the conversation, the message and the value. It names nothing of the machinery,
nor of where the data lie (paths, hosts, queries): errors' own messages may hold that, and go to the log.
"""

from __future__ import annotations

from reprlib import Repr

from export_engine.errors import GroupingError, RowError, SchemaError, SourceError
from export_engine.jobs.errors import NotFoundError

__all__ = ["LONGEST_MESSAGE", "failure_message"]

#: Characters of a failed job's message.
LONGEST_MESSAGE = 1000

_short = Repr()
_short.maxstring = 100


def failure_message(error: Exception, job_id: str) -> str:
    """What `error_message` says of an export that `error` has ended: advice if it can be mended, else whom to ask.

    At most `LONGEST_MESSAGE` characters.
    """
    if isinstance(error, NotFoundError):
        text = str(error)
    elif isinstance(error, GroupingError):
        text = (
            f"The messages of conversation {_short.repr(error.conversation_id)} do not stand together in the channel's "
            "data: sort the data by conversation, and trigger the export again."
        )
    elif isinstance(error, RowError):
        ids = [("conversation", error.conversation_id), ("message", error.message_id), ("row", error.row)]
        where = ", ".join(f"{name} {_short.repr(id_)}" for name, id_ in ids if id_ is not None)
        text = (
            f"The channel's data have a value that cannot be exported: {where + ', ' if where else ''}"
            f"{error.column} {_value(error.value)}. Correct it, and trigger the export again."
        )
    elif isinstance(error, SchemaError):
        text = f"The channel's data cannot be exported: {error.column} is missing, doubled or of a wrong type."
    elif isinstance(error, SourceError):
        text = f"The channel's data cannot be read. When asking for help, name the job: {job_id}."
    else:
        text = (
            f"The export failed for a reason of ours. Trigger it again; when asking for help, name the job: {job_id}."
        )
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 3]}..."


def _value(value: object) -> str:
    """A value, if it is text; any other could be of any size, or refuse to be shown."""
    return _short.repr(value) if value is None or isinstance(value, str) else f"of type {type(value).__name__}"
