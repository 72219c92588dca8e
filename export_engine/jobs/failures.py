"""What an export failed of: whether trying again can help, and the `error_message` for the people whose export it was.

Errors of a connection or a server (it was lost, refused, timed out; the other side answered with an error of its own)
pass; those of the data, the options or a program do not.

People can mend their data, so the message names the conversation, the message and the value. It names nothing of the
machinery, nor of where the data lie (paths, hosts, queries): errors' own messages may hold that, and go to the log.
"""

from __future__ import annotations

from functools import partial
from reprlib import Repr
from typing import Any

from export_engine.errors import ExportError, GroupingError, RowError, SchemaError, SourceError
from export_engine.jobs.errors import DirectoryError, LimitError, NotFoundError, RunLostError, spoken

__all__ = ["ENDS", "LONGEST_MESSAGE", "ForeignError", "failure_message", "is_transient"]

#: Characters of a failed job's message.
LONGEST_MESSAGE = 1000

#: What ends a thread or a process on purpose. All else is an error, be it no `Exception`: what libraries in Rust raise
#: when they panic is none, and obstore does so where its first use finds no file descriptor left.
ENDS = (KeyboardInterrupt, SystemExit, GeneratorExit)

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


class ForeignError(Exception):
    """What is known of an error that could not come out of the process in which it was raised."""

    def __init__(self, text: str, *, transient: bool, message: str) -> None:
        super().__init__(text)
        self.transient = transient
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(ForeignError, transient=self.transient, message=self.message), self.args


def is_transient(error: BaseException) -> bool:
    """Whether what ended an export may be over the next time: the same export is worth another try."""
    if isinstance(error, ForeignError):
        return error.transient
    if isinstance(error, LimitError):  # a connection that went silent is made anew; what is long stays long
        return error.limit == "max_silence"
    if isinstance(error, RunLostError | DirectoryError):
        return True
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
    if isinstance(error, ForeignError):
        text = error.message
    elif isinstance(error, LimitError):
        text = _of_limit(error, job_id)
    elif is_transient(error):
        text = _of_passing(error, job_id)
    elif isinstance(error, NotFoundError):
        text = str(error)
    elif isinstance(error, GroupingError):
        text = _of_grouping(error)
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


def _of_passing(error: Exception, job_id: str) -> str:
    if isinstance(error, RunLostError):
        what, passes = "export was interrupted", "This may pass"
    elif isinstance(error, DirectoryError):
        what, passes = "list of channels could not be read", "This is a fault that passes"
    else:
        what = "channel's data or the place for archives could not be reached"
        passes = "This is a fault that passes"
    return (
        f"The {what}, and trying again did not help. {passes}: trigger the export again later; when asking for help, "
        f"name the job: {job_id}."
    )


def _of_grouping(error: GroupingError) -> str:
    conversation = _short.repr(error.conversation_id)
    if error.places:
        what = f"The channel's data have two whole conversations {conversation}: make one of them, or change an id"
    else:
        what = (
            f"The messages of conversation {conversation} do not stand together in the channel's data: sort the data "
            "by conversation"
        )
    return f"{what}, and trigger the export again."


def _of_limit(error: LimitError, job_id: str) -> str:
    if error.limit == "max_silence":
        return (
            f"The export was ended because nothing could be read or written for {spoken(error.after)}, and trying "
            "again did not help. This is a fault that passes: trigger the export again later; when asking for help, "
            f"name the job: {job_id}."
        )
    return (
        f"The export was ended because it took longer than {spoken(error.after)}, the longest that one may take. "
        "Triggering it again will not mend that: ask for a shorter range of dates. When asking for help, name the job: "
        f"{job_id}."
    )


def _value(value: object) -> str:
    """A value, if it is text; any other could be of any size, or refuse to be shown."""
    return _short.repr(value) if value is None or isinstance(value, str) else f"of type {type(value).__name__}"
