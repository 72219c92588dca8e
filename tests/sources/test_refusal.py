"""What an error says of a bad value."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from export_engine.sources.jsonl_flat import _Object
from export_engine.sources.refusal import row_error


def error_of(value: Any, **ids: Any) -> Any:
    given = {"conversation_id": "c1", "message_id": "m1", **ids}
    return row_error("is wrong", column="status", value=value, row=7, advice="mend it", **given)


@pytest.mark.parametrize(
    ("value", "shown"),
    [("x", "'x' "), (None, ""), (5, "5 (int) "), (b"\xff", r"b'\xff' (bytes) "), (_Object([]), "{} (dict) ")],
)
def test_it_shows_the_value_and_its_type(value: Any, shown: str) -> None:
    """Text by itself; what is missing not at all."""
    error = error_of(value)
    assert str(error) == f"conversation 'c1', message 'm1', row 7, column 'status': {shown}is wrong; mend it"
    assert error.value == value


def test_a_long_value_is_cut() -> None:
    """In the message, not in the attribute."""
    error = error_of("x" * 100_000)
    assert len(str(error)) < 400
    assert len(error.value) == 100_000


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (7, "7"),
        (UUID(int=7), str(UUID(int=7))),
        (Decimal(7), "7"),
        (b"a\xff", r"a\xff"),
        (None, None),
        (True, None),
        ([], None),
    ],
)
def test_ids_are_named_where_they_are_ids(given: Any, named: str | None) -> None:
    """As text, whatever they came as."""
    assert error_of("x", conversation_id=given, message_id=given).conversation_id == named
