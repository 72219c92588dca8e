"""Columns that are called as they should be but for case and separators."""

from __future__ import annotations

import re
from collections.abc import Sequence

from export_engine.schema import COLUMN_NAMES, CREATED_AT

__all__ = ["similar_columns", "suggested_map"]


def similar_columns(given: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """By the name of a column that is not given, those that are called so but for case and separators."""
    spelt: dict[str, list[str]] = {}
    for name in given:
        spelt.setdefault(_letters(name), []).append(name)
    return {
        name: tuple(spelt[_letters(name)])
        for name in (*COLUMN_NAMES, CREATED_AT)
        if name not in given and _letters(name) in spelt
    }


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


def suggested_map(missing: Sequence[str], similar: dict[str, tuple[str, ...]]) -> dict[str, str | None]:
    """An SQL expression for each column that is missing, or that another column may hold."""
    if not missing:
        return {}
    quoted = {name: '"' + found[0].replace('"', '""') + '"' for name, found in similar.items()}
    return {name: quoted.get(name) for name in (*COLUMN_NAMES, CREATED_AT) if name in missing or name in quoted}
