"""Text of every type, as Arrow's and as Python's: the same strings, or a refusal that says where."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.schema import joined_pairs
from export_engine.sources import SourceContext
from export_engine.sources.refusal import BadValue
from export_engine.sources.text import NUMBERED, text, text_of, uuid_text

PAIR, HIGH, LOW = "\ud83d\ude02", "\ud83d", "\ude02"
SURROGATES = st.text(st.sampled_from(["a", "é", "😂", HIGH, LOW, "\ufffd"]), max_size=6)
KINDS = [pa.string(), pa.large_string(), pa.string_view()]


def octets(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


@settings(deadline=None)
@given(st.lists(st.none() | SURROGATES, max_size=6), st.sampled_from(KINDS))
def test_pairs_are_joined_and_lone_ones_replaced(values: list[str | None], kind: pa.DataType) -> None:
    """As UTF-16 has it; as Python's text, as bytes, and as bytes in a column that says it is UTF-8."""
    expected = [v if v is None else v.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for v in values]
    lone = sum((e or "").count("\ufffd") - (v or "").count("\ufffd") for e, v in zip(expected, values, strict=True))
    binary = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}[kind]
    raw = [None if v is None else octets(v) for v in values]
    column = pa.array(raw, binary)
    makes: list[Callable[[SourceContext], pa.Array]] = [
        lambda context: text_of("status", values, context),
        lambda context: text_of("status", raw, context),
        lambda context: text(column, context),
        lambda context: text(column.view(kind), context),
    ]
    for make in makes:
        context = SourceContext(UTC)
        assert make(context).to_pylist() == expected
        assert context.replaced_surrogates == lone
        if lone:
            with pytest.raises(BadValue, match="lone surrogate") as caught:
                make(SourceContext(UTC, strict=True))
            at = caught.value.at
            assert (expected[at] or "").count("\ufffd") > (values[at] or "").count("\ufffd")


@given(SURROGATES)
def test_joining_pairs_alone(value: str) -> None:
    """Lone ones stay; what is joined encodes to the same UTF-16."""
    joined = joined_pairs(value)
    assert joined.encode("utf-16", "surrogatepass") == value.encode("utf-16", "surrogatepass")
    assert not any("\ud800" <= a <= "\udbff" and "\udc00" <= b <= "\udfff" for a, b in pairwise(joined))


@given(st.lists(st.none() | st.uuids(), max_size=9), st.integers(0, 3))
def test_uuids_are_their_36_characters(uuids: list[UUID | None], start: int) -> None:
    """With small letters and hyphens, as `str` of Python's has it; of slices too."""
    stored = pa.array([None if u is None else u.bytes for u in uuids], pa.binary(16))
    column = pa.ExtensionArray.from_storage(pa.uuid(), stored).slice(start)
    expected = [None if u is None else str(u) for u in uuids[start:]]
    found = uuid_text(column)
    found.validate(full=True)
    assert (found.type, found.to_pylist()) == (pa.string(), expected)
    assert text_of("message_id", uuids[start:], SourceContext(UTC)).to_pylist() == expected


@given(st.lists(st.none() | st.integers(-(10**37), 10**37), max_size=5), st.integers(0, 3))
def test_whole_decimals_are_digits(numbers: list[int | None], scale: int) -> None:
    """Of any precision and scale, as Arrow's and as Python's."""
    decimals = [None if n is None else Decimal(f"{n}.{'0' * scale}" if scale else n) for n in numbers]
    expected = [None if n is None else str(n) for n in numbers]
    assert text(pa.array(decimals, pa.decimal256(76, scale)), SourceContext(UTC)).to_pylist() == expected
    assert text_of("contact_phone", decimals, SourceContext(UTC)).to_pylist() == expected


@pytest.mark.parametrize("name", sorted(NUMBERED))
def test_whole_numbers_are_digits_in_ids_and_phones(name: str) -> None:
    """Python's, numpy's and decimals, whatever their exponent; text beside them stays."""
    values = [12025550123, "x", None, -0, 10**40, np.int64(7), np.uint8(7), Decimal("7.00"), Decimal("7E+3"), b"y"]
    expected = ["12025550123", "x", None, "0", str(10**40), "7", "7", "7", "7000", "y"]
    assert text_of(name, values, SourceContext(UTC)).to_pylist() == expected


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        np.True_,
        1.0,
        np.float64(1),
        Decimal("7.5"),
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal("1E+999999"),
    ],
)
@pytest.mark.parametrize("name", sorted(NUMBERED))
def test_other_numbers_are_no_ids(name: str, value: Any) -> None:
    """A float may have lost digits, truth is no name."""
    with pytest.raises(BadValue) as caught:
        text_of(name, ["x", value], SourceContext(UTC))
    assert caught.value.at == 1


@pytest.mark.parametrize("value", [1, Decimal(1), uuid4(), [], {}, object()])
def test_other_columns_are_text_alone(value: Any) -> None:
    """A number in a message's text is somebody's mistake."""
    with pytest.raises(BadValue, match="not text") as caught:
        text_of("message_text", ["x", value], SourceContext(UTC))
    assert caught.value.at == 1


def test_a_uuid_is_no_phone() -> None:
    """Only ids may be UUIDs."""
    with pytest.raises(BadValue, match="no whole number"):
        text_of("contact_phone", [uuid4()], SourceContext(UTC))


def test_a_decimal_with_a_fraction_is_found() -> None:
    """With its place in the column."""
    column = pa.array([Decimal("1.00"), None, Decimal("2.50")], pa.decimal128(9, 2))
    with pytest.raises(BadValue, match="no whole number") as caught:
        text(column, SourceContext(UTC))
    assert caught.value.at == 2


@pytest.mark.parametrize("value", [b"caf\xe9", b"\xed\xa0", b"\xf5\x80\x80\x80", b"\xc0\x80"])
def test_bytes_of_another_encoding_are_refused(value: bytes) -> None:
    """They are not guessed at; nor are overlong forms characters."""
    for make in (text_of, lambda _, values, context: text(pa.array(values, pa.binary()), context)):
        with pytest.raises(BadValue, match="not UTF-8") as caught:
            make("status", [None, b"fine", value], SourceContext(UTC))
        assert caught.value.at == 2
