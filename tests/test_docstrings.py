"""What docstrings, comments and pages name of the package is there to be imported."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

import export_engine

PACKAGE = Path(export_engine.__file__).parent
ROOT = Path(__file__).parents[1]
PAGES = sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.md"), ROOT / "README.md"])


def is_there(name: str) -> bool:
    """Whether a dotted name is a module, or of one."""
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for part in parts[split:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", [page for page in PAGES if page.exists()], ids=lambda page: page.name)
def test_what_is_named_is_there(page: Path) -> None:
    """In backticks, with the package's name before it."""
    names = set(re.findall(r"`(export_engine(?:\.\w+)+)", page.read_text("utf-8")))
    assert [name for name in sorted(names) if not is_there(name)] == []
