"""What an export failed of: whether trying again can help, and the `error_message` for the people whose export it was.

Errors of a connection or a server (it was lost, refused, timed out; the other side answered with an error of its own)
pass; those of the data, the options or a program do not.

People can mend their data, so the message names the conversation, the message and the value. It names nothing of the
machinery, nor of where the data lie (paths, hosts, queries): errors' own messages may hold that, and go to the log.
"""

from __future__ import annotations

from reprlib import Repr

from export_engine.errors import ExportError, GroupingError, RowError, SchemaError, SourceError
from export_engine.jobs.errors import NotFoundError

__all__ = ["LONGEST_MESSAGE", "failure_message", "is_transient"]

#: Characters of a failed job's message.
LONGEST_MESSAGE = 1000

#: Kinds of OSError that are there again the next time.
_LASTING = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
#: What databases and object stores raise of a connection or a server, by where it is defined: neither is imported here.
_PASSING = frozenset(
    {
        ("sqlalchemy.exc", "OperationalError"),
        ("sqlalchemy.exc", "InterfaceError"),
        ("sqlalchemy.exc", "TimeoutError"),
        ("psycopg", "OperationalError"),
        ("obstore.exceptions", "GenericError"),
        ("obstore.exceptions", "JoinError"),
    }
)

_short = Repr()
_short.maxstring = 100


def is_transient(error: BaseException) -> bool:
    """Whether what ended an export may be over the next time: the same export is worth another try."""
    if isinstance(error, ExportError):
        # Readers wrap what a file or a server said, if they add where it was.
        return type(error) is SourceError and error.__cause__ is not None and is_transient(error.__cause__)
    if isinstance(error, OSError):
        return not isinstance(error, _LASTING)
    return any((kind.__module__, kind.__name__) in _PASSING for kind in type(error).__mro__)


def failure_message(error: Exception, job_id: str) -> str:
    """What `error_message` says of an export that `error` has ended: advice if it can be mended, else whom to ask.

    It tells what may pass (triggering again helps, later) from what stays. At most `LONGEST_MESSAGE` characters.
    """
    if is_transient(error):
        text = (
            "The channel's data or the place for archives could not be reached, and trying again did not help. This is "
            f"a fault that passes: trigger the export again later; when asking for help, name the job: {job_id}."
        )
    elif isinstance(error, NotFoundError):
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
            "The export failed for a reason of ours, which triggering it again will not mend. When asking for help, "
            f"name the job: {job_id}."
        )
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 3]}..."


def _value(value: object) -> str:
    """A value, if it is text; any other could be of any size, or refuse to be shown."""
    return _short.repr(value) if value is None or isinstance(value, str) else f"of type {type(value).__name__}"
