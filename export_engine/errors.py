"""Every error this library raises on purpose.

    ExportError
    ├── OptionError (ValueError)         an argument of the export that cannot work
    │   └── SourceTypeError (TypeError)  an object that no source can be made of
    ├── SourceError                      input that cannot be read as conversations
    │   ├── SchemaError (TypeError)      a column that is missing or of an impossible type
    │   ├── RowError (ValueError)        one value that breaks a rule: says which and where
    │   └── GroupingError (ValueError)   rows of one conversation that do not stand together
    ├── ArchiveError                     an archive that cannot be written as asked, or read
    └── StateError (RuntimeError)        an export used twice, or asked too early

The export job's errors are drawn in `export_engine.jobs.errors`, the service's in `export_engine.service.errors`.

Messages are advice: they say what is wrong, where, and how to mend it. The facts are attributes too.
Errors of the caller's own iterator, callback or sink are never wrapped: they arrive as they were raised.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

__all__ = [
    "ArchiveError",
    "ExportError",
    "GroupingError",
    "OptionError",
    "RowError",
    "SchemaError",
    "SourceError",
    "SourceTypeError",
    "StateError",
]


class ExportError(Exception):
    """Base of every error raised by this library. All of them pickle, with their attributes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[ExportError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> ExportError:
    """An error as it was, without asking its own constructor, which wants more than the message."""
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(attributes)
    return error


class OptionError(ExportError, ValueError):
    """An argument of the export that cannot work; `option` is its name."""

    def __init__(self, message: str, *, option: str) -> None:
        super().__init__(message)
        self.option = option


class SourceTypeError(OptionError, TypeError):
    """An object that no source can be made of; `option` is `source`."""

    def __init__(self, message: str) -> None:
        super().__init__(message, option="source")


class SourceError(ExportError):
    """Input that cannot be read as conversations."""


class SchemaError(SourceError, TypeError):
    """Columns that are missing or of an impossible type.

    `column` is the name of the first, `missing` are those that are not there, `given` those that are, as far as known.
    """

    def __init__(
        self, message: str, *, column: str, missing: tuple[str, ...] = (), given: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.column = column
        self.missing = missing
        self.given = given


class RowError(SourceError, ValueError):
    """One value that breaks a rule.

    Attributes: `conversation_id` and `message_id` (None where the input has none), `column`, `value` (as it
    was given), `row` (1-based number of the message in the source, or the line of a JSON Lines or CSV file;
    None where it is not known), `time` (when the message was sent, where that is known), `problem` (what is wrong),
    `rule` (the same without the value) and `advice`.
    """

    def __init__(
        self,
        problem: str,
        *,
        column: str,
        value: object = None,
        conversation_id: str | None = None,
        message_id: str | None = None,
        row: int | None = None,
        time: datetime | str | None = None,
        advice: str = "",
        rule: str | None = None,
    ) -> None:
        where = [f"conversation {conversation_id!r}" if conversation_id is not None else ""]
        where += [f"message {message_id!r}" if message_id is not None else ""]
        where += [f"row {row}" if row is not None else "", f"column {column!r}"]
        message = f"{', '.join(filter(None, where))}: {problem}"
        super().__init__(f"{message}; {advice}" if advice else message)
        self.column = column
        self.value = value
        self.conversation_id = conversation_id
        self.message_id = message_id
        self.row = row
        self.time = time
        self.problem = problem
        self.rule = problem if rule is None else rule
        self.advice = advice


class GroupingError(SourceError, ValueError):
    """A conversation that came back after another had begun, or was whole already; `conversation_id` names it.

    `places` are where the two stand that are one whole conversation each, else empty.
    """

    def __init__(self, conversation_id: str, places: tuple[str, ...] = ()) -> None:
        sorting = "with --sort (in Python sorted_rows(source))"
        if places:
            problem = (
                f": {' and '.join(places)} are whole conversations with this one id; give each its own, or give all "
                f"messages in one, or put their rows together {sorting}"
            )
        else:
            problem = (
                f" after another conversation began, and its rows must stand together: sort them, {sorting}, or with "
                "ORDER BY conversation_id, message_time where a query gives them"
            )
        super().__init__(f"conversation {conversation_id!r} comes back{problem}")
        self.conversation_id = conversation_id
        self.places = places


class ArchiveError(ExportError):
    """An archive that cannot be written as asked, or not be read.

    A file or an object that is there already or must not be replaced, a store that refuses, a row no member can hold.
    """


class StateError(ExportError, RuntimeError):
    """An export iterated twice, or its report asked for before the end."""
