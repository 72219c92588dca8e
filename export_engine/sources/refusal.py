"""A value that breaks a rule: who knows the rule raises BadValue, who knows where the value stands makes the error."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from numbers import Integral
from reprlib import Repr
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from export_engine.errors import RowError

__all__ = ["BadValue", "row_error", "within"]


class _Shown(Repr):
    """Values for people to see, cut short."""

    def repr_int(self, x: int, level: int) -> str:
        """Hexadecimal digits where there are too many of the others: Python writes no more than 4,300."""
        try:
            return super().repr_int(x, level)
        except ValueError:
            return self.repr_str(hex(x), level).strip("'")


_SHOWN = _Shown()
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = 160


class BadValue(Exception):  # noqa: N818  # never seen by users: a source makes a RowError of it
    """A value that breaks a rule: `at` is its place in the column, `problem` and `advice` are the error's words."""

    def __init__(self, at: int, problem: str, advice: str) -> None:
        super().__init__(at, problem, advice)
        self.at = at
        self.problem = problem
        self.advice = advice


def within(which: NDArray[np.bool_], read: Callable[[pa.Array], Any], column: pa.Array) -> Any:
    """What is read from some of a column's values; BadValue tells where among all of them."""
    try:
        return read(column.filter(pa.array(which)))
    except BadValue as bad:
        raise BadValue(int(np.flatnonzero(which)[bad.at]), bad.problem, bad.advice) from bad


def row_error(
    problem: str,
    *,
    column: str,
    value: object,
    conversation_id: object,
    message_id: object,
    row: int | None,
    advice: str,
    rule: str | None = None,
) -> RowError:
    """The error of one bad value, which it shows; ids may be what the source has for them.

    `rule` is the problem where it is not the same for all values of a kind.
    """
    if isinstance(value, str):
        shown = f"{_SHOWN.repr(value)} "
    else:
        # Not of a class of this package's, which knows how a number was written, or a key that is there twice.
        kind = next(kind for kind in type(value).__mro__ if not kind.__module__.startswith("export_engine")).__name__
        shown = "" if value is None else f"{_SHOWN.repr(value)} ({kind}) "
        try:
            str(value)
        except ValueError:  # with an integer of more digits than Python writes
            value = _SHOWN.repr(value)
    return RowError(
        f"{shown}{problem}",
        column=column,
        value=value,
        conversation_id=_identifier(conversation_id),
        message_id=_identifier(message_id),
        row=row,
        advice=advice,
        rule=problem if rule is None else rule,
    )


def _identifier(value: object) -> str | None:
    """An id as an error names it, where it is one."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if not isinstance(value, str | Integral | UUID | Decimal) or isinstance(value, bool):
        return None
    try:
        return str(value)
    except ValueError:  # an integer of more digits than Python writes
        return None
