"""Text of inputs and archives as a terminal may have it."""

from __future__ import annotations

from unicodedata import category

__all__ = ["printable"]


def printable(text: str) -> str:
    r"""Spell what a terminal could obey as escapes, as in `\x1b`: controls, line ends, formats except joiners."""
    if text.isprintable():
        return text
    kept = "\u200c\u200d"
    return "".join(c if c.isprintable() or c in kept or category(c) == "Zs" else ascii(c)[1:-1] for c in text)
