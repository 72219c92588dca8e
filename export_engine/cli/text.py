"""Text in a terminal's width: folded between words, never within a character as people see it."""

from __future__ import annotations

from collections.abc import Iterator

import regex
from rich.cells import cell_len

__all__ = ["folded"]

#: What is left of a line for text is never less, however narrow the terminal.
_LEAST = 8


def folded(text: str, width: int, *, head: str = "", indent: int = 0) -> Iterator[str]:
    """`head` and `text` in lines of at most `width` columns, all but the first indented.

    A line is broken at a blank, which goes, or where a word is longer than a line between two grapheme clusters: a flag
    or a letter with its accents stays whole.
    """
    indent = min(indent, max(width - _LEAST, 0))
    line, used = head, cell_len(head)
    empty = True
    for number, word in enumerate(text.split(" ")):
        gap = "" if number == 0 else " "
        columns = cell_len(word)
        if not empty and used + len(gap) + columns > width:
            yield line
            line, used, gap = " " * indent, indent, ""
        line, used, empty = line + gap, used + len(gap), False
        if used + columns <= width:
            line, used = line + word, used + columns
            continue
        for cluster in regex.findall(r"\X", word):
            columns = cell_len(cluster)
            if used + columns > width and used > indent:
                yield line
                line, used = " " * indent, indent
            line, used = line + cluster, used + columns
    yield line
