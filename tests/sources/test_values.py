"""Rules that join the columns of a row, and which types may hold a column."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from export_engine.schema import IDS, REQUIRED, ROW_SCHEMA
from export_engine.sources import SourceContext
from export_engine.sources.refusal import BadValue
from export_engine.sources.values import column, column_of, impossible, named

MOMENT = datetime(2026, 6, 11, tzinfo=UTC)
SOME: dict[str, Any] = {"message_time": MOMENT, "created_at": MOMENT}


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_required_columns_hold_no_null(name: str) -> None:
    """But where a conversation has no message: as Arrow's and as Python's."""
    values = [SOME.get(name, "a"), None, None]
    with pytest.raises(BadValue, match="is missing") as caught:
        column(name, pa.array(values, ROW_SCHEMA.field(name).type), SourceContext(UTC))
    assert caught.value.at == 1
    for blanks, at in (((), 1), ((1,), 2), ((2,), 1)):
        with pytest.raises(BadValue, match="is missing") as caught:
            column_of(name, values, SourceContext(UTC), blanks=blanks)
        assert caught.value.at == at
    assert column_of(name, values, SourceContext(UTC), blanks=[1, 2]).null_count == 2


@pytest.mark.parametrize("name", ROW_SCHEMA.names)
def test_only_ids_may_not_be_empty(name: str) -> None:
    """As `verify` holds them against the same rule."""
    if name in SOME:
        return
    for make in (column_of, lambda name, values, context: column(name, pa.array(values), context)):
        if name in IDS:
            with pytest.raises(BadValue, match="is empty") as caught:
                make(name, ["a", ""], SourceContext(UTC))
            assert caught.value.at == 1
        else:
            assert make(name, ["a", ""], SourceContext(UTC)).to_pylist() == ["a", ""]


def test_columns_have_the_schemas_type() -> None:
    """Also where all is null."""
    for field in ROW_SCHEMA:
        value = SOME.get(field.name, "a")
        assert column_of(field.name, [value], SourceContext(UTC)).type == field.type
        if field.nullable:
            assert column(field.name, pa.nulls(2), SourceContext(UTC)).type == field.type
            assert column_of(field.name, [None], SourceContext(UTC)).type == field.type


def test_a_customer_without_a_name_has_the_contacts() -> None:
    """Null alone is no name; where the contact has none either, null stays."""
    kinds = ["customer", "customer", "customer", "agent", "bot", None]
    given = named(
        pa.array([None, "", None, None, None, None], pa.string()),
        pa.array(kinds),
        pa.array(["Ana", "Ana", None, "Ana", "Ana", "Ana"]),
    )
    assert given.to_pylist() == ["Ana", "", None, None, None, None]


WRONG = [pa.bool_(), pa.date32(), pa.time64("us"), pa.duration("us"), pa.struct([("a", pa.string())]), pa.bool8()]
NUMBERS = [pa.int8(), pa.uint64(), pa.decimal128(38, 9), pa.float64(), pa.float32()]


@pytest.mark.parametrize("name", ROW_SCHEMA.names)
def test_types_that_cannot_hold_a_column(name: str) -> None:
    """Each is refused with what would do, and so is what wraps it."""
    for kind in WRONG:
        for wrapped in (kind, pa.dictionary(pa.int8(), kind), pa.run_end_encoded(pa.int32(), kind)):
            assert impossible(name, wrapped, "s")
    assert impossible(name, pa.opaque(pa.binary(), "numeric", "PostgreSQL"), "s")
    for kind in NUMBERS:
        time, number = name in SOME, name in (*IDS, "contact_phone")
        whole = not pa.types.is_floating(kind)
        assert bool(impossible(name, kind, "s")) is not (time or (number and whole))
        assert impossible(name, kind, None) or (number and whole)
    if name in SOME:
        assert "--epoch" in str(impossible(name, pa.int64(), None))
    assert bool(impossible(name, pa.timestamp("ns"), None)) is (name not in SOME)
    assert bool(impossible(name, pa.uuid(), None)) is (name not in IDS)
    assert bool(impossible(name, pa.list_(pa.string()), None)) is (name != "media_url")
    assert impossible(name, pa.null(), None) is None  # there may be no rows
