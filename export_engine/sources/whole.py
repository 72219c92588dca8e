"""Sources that give whole conversations, as objects or lines, and not rows: each comes once.

Rows of one id that follow each other are one conversation. Two conversations of one id are not: merged, they would be
a CSV that nobody wrote. Those that stand apart are refused where all ids are known, at the archive; those that follow
each other look like rows from there on, and are refused here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from export_engine.errors import GroupingError
from export_engine.sources import SourceContext

__all__ = ["each_once", "line_place", "refuse_again"]


def each_once(
    ids: pa.StringArray, place: Callable[[int], str], context: SourceContext, *, continued: bool = False
) -> None:
    """Take the next conversations, by their ids; `place(n)` says where the n-th of them stands.

    The first may be the last of before, `continued`. Raises GroupingError for one of the same id as the one before it.
    """
    if context.in_parts or not len(ids):
        return
    again = pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1))
    if context.last_whole is not None and not continued:
        last, there = context.last_whole
        if ids[0].as_py() == last:
            refuse_again(last, there, place(0), context)
    if again.true_count:
        for at in np.flatnonzero(again.to_numpy(zero_copy_only=False)).tolist():
            refuse_again(ids[at].as_py(), place(at), place(at + 1), context)
    context.last_whole = ids[-1].as_py(), place(len(ids) - 1)


def line_place(line: int, name: str) -> str:
    """Where a line stands, as errors say it."""
    return f"line {line} of {name}"


def refuse_again(conversation: str, first: str, second: str, context: SourceContext) -> None:
    """Refuse a conversation that stands in two places, in one of them as a whole. Raises GroupingError."""
    if not conversation:  # it stands for ids that were refused
        return
    error = GroupingError(conversation, (first, second))
    if context.refused is None:
        raise error
    context.refused(error)
