"""The uses that type checkers hold are of names that are there."""

from __future__ import annotations

import pytest

from tests.typing import api


@pytest.mark.slow
def test_the_examples_import() -> None:
    """The file is checked by mypy with the rest; here every name in it exists, and what needs nothing runs."""
    assert api.wrapped([], compression="store", threads=1).file_name.startswith("SMS_Support_2026-06_")
