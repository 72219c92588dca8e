"""What is wrong with a source: gathered by column and rule, counted, with the first few values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from export_engine.check.report import Example, Problem
from export_engine.errors import GroupingError, RowError, SourceError

__all__ = ["SHOWN", "Findings", "example_of"]

#: How many values of one kind are shown, how much of each, and how many are counted in a column of one batch.
SHOWN, _LONGEST_SHOWN, _COUNTED = 3, 160, 2_000


_ONE = "give all messages in one, give each an id of its own, or sort with --sort"


@dataclass(slots=True)
class _Found:
    advice: str
    count: int = 0
    more: bool = False
    examples: list[Example] = field(default_factory=list)


class Findings:
    """What is wrong, by column and rule, in the order of finding."""

    def __init__(self) -> None:
        self.stopped: str | None = None
        #: Columns in which a source has refused a value.
        self.refused: set[str] = set()
        self._found: dict[tuple[str | None, str], _Found] = {}
        # The bad values of a column since the last batch.
        self._recent: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._found) or self.stopped is not None

    def refuse(self, error: SourceError) -> bool:
        """Take a value that a source refuses; whether more of its column are wanted."""
        if isinstance(error, GroupingError):
            example = Example(" and ".join(error.places), None, error.conversation_id, None)
            self.add("conversation_id", "is that of two whole conversations, one after the other", _ONE, 1, [example])
            return True
        if not isinstance(error, RowError):
            self.add(
                None, "cannot be read", "mend the line, or leave it out", 1, [Example(str(error), None, None, None)]
            )
            return True
        self.refused.add(error.column)
        self.add(error.column, error.rule, error.advice, 1, [example_of(error)])
        count = self._recent[error.column] = self._recent.get(error.column, 0) + 1
        if count >= _COUNTED:
            self._found[error.column, error.rule].more = True
        return count < _COUNTED

    def next_batch(self) -> None:
        """Count anew."""
        self._recent = {}

    def add(self, column: str | None, rule: str, advice: str, count: int, examples: Iterable[Example]) -> None:
        """Take some values that break a rule."""
        found = self._found.setdefault((column, rule), _Found(advice))
        found.count += count
        for example in examples:
            if len(found.examples) < SHOWN:
                found.examples.append(example)

    def take(self, other: Findings) -> None:
        """Take all that others found."""
        for (column, rule), found in other._found.items():
            self.add(column, rule, found.advice, found.count, found.examples)

    def has(self, error: RowError) -> bool:
        """Whether the rule that an error is about is known to be broken."""
        return (error.column, error.rule) in self._found

    def problems(self) -> tuple[Problem, ...]:
        """All of it."""
        return tuple(
            Problem(column, rule, found.advice, found.count, found.more, tuple(found.examples))
            for (column, rule), found in self._found.items()
        )


def example_of(error: RowError) -> Example:
    """The value that an error is about."""
    value = error.value
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    text = None if value is None else str(value)
    shown = text if text is None or len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
    return Example(shown, error.row, error.conversation_id or None, error.message_id or None)
