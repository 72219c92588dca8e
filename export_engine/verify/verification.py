"""What was found: read, told, and counted where it is too much to be told."""

from __future__ import annotations

from dataclasses import dataclass

from export_engine.options import CsvDialect

__all__ = ["MAX_PROBLEMS", "Listed", "Verification"]

#: How many problems are listed; the rest is only counted.
MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Verification:
    """What was read, and every problem found, ready to print.

    `bytes` is the size of the archive, or of all in a set. `dialect` is how its CSVs are written, as far as they tell:
    the formula guard is seen where cells have it and none lacks it, and so is that of digits; None where no CSV could
    be read. `formulas` counts the cells that a spreadsheet may take for formulas, as nothing guards them. `warnings`
    are what the engine writes as it was given but is hardly meant: message ids that a conversation has twice. To find
    them all would cost an export 3 to 10 % of its time, so they are told here, and by `check_source` beforehand; its
    report counts those that follow each other.
    """

    members: int
    conversations: int
    rows: int
    bytes: int
    problems: tuple[str, ...]
    dialect: CsvDialect | None = None
    formulas: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there was no problem; a warning is none."""
        return not self.problems


class Listed:
    """The first things that are told, `MAX_PROBLEMS` at the most, and how many there are; `what` they are called."""

    def __init__(self, what: str) -> None:
        self.count = 0
        self._what = what
        self._first: list[str] = []

    def __call__(self, said: str) -> None:
        """Tell one more."""
        self.count += 1
        if self.count <= MAX_PROBLEMS:
            self._first.append(said)

    def told(self) -> tuple[str, ...]:
        """All that were kept, and how many were not."""
        more = self.count - len(self._first)
        return (*self._first, f"and {more} more {self._what}") if more else tuple(self._first)
