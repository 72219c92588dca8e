"""Times in every form that a source may hold them: what each is, and what is no time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import ROUND_FLOOR, Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # its stubs are a package of their own
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export_engine.sources.instants import FORMS, instants, instants_of
from export_engine.sources.refusal import BadValue
from export_engine.times import EPOCH, MAX_US, MIN_US

TAIPEI = ZoneInfo("Asia/Taipei")
MOMENT = datetime(2026, 6, 11, 6, 50, 43, 861185, tzinfo=UTC)
WHOLE = MOMENT.replace(microsecond=0)
Unit = Literal["s", "ms", "us", "ns"]
UNITS: dict[Unit, int] = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def read(*texts: str | None, **options: Any) -> list[datetime | None]:
    """From Arrow's column and from Python's values, which are held to be the same."""
    zone = options.pop("zone", UTC)
    found: list[datetime | None] = instants(pa.array(texts, pa.string()), zone, **options).to_pylist()
    assert instants_of(texts, zone, **options).to_pylist() == found
    return found


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-06-11T06:50:43.861185Z", MOMENT),
        ("2026-06-11t06:50:43.861185z", MOMENT),
        ("2026-06-11 06:50:43.861185", MOMENT),
        ("2026-06-11 06:50:43,861185+00", MOMENT),
        ("2026-06-11T06:50:43.861185999Z", MOMENT),
        ("2026-06-11 06:50:43.861185 UTC", MOMENT),
        ("2026-06-11 06:50:43.861185 utc", MOMENT),
        ("2026-06-11 06:50:43.8611850 +00:00", MOMENT),
        (str(MOMENT), MOMENT),
        (str(MOMENT.astimezone(TAIPEI)), MOMENT),
        (MOMENT.isoformat(), MOMENT),
        ("2026-06-11 06:50:43 UTC", WHOLE),
        ("2026-06-11 06:50:43 GMT", WHOLE),
        ("2026-06-11 06:50:43Z", WHOLE),
        ("2026-06-11 06:50:43 +0000", WHOLE),
        ("2026-06-11 14:50:43 +0800", WHOLE),
        ("2026-06-11 14:50:43+08", WHOLE),
        ("2026-06-10T22:50:43 -08:00", WHOLE),
        ("2026-06-11 06:50 UTC", WHOLE.replace(second=0)),
        ("2026-06-11 06", WHOLE.replace(minute=0, second=0)),
        ("1969-12-31 23:59:59.9999999 UTC", EPOCH - timedelta(microseconds=1)),
        ("1969-12-31 23:59:59.0000009 UTC", EPOCH - timedelta(seconds=1)),
        *((form, WHOLE) for form in FORMS.replace(" or ", ", ").split(", ")[2:]),
    ],
)
def test_forms_of_text(text: str, moment: datetime) -> None:
    """Each alone and beside other forms: what else is in a column does not matter."""
    assert read(text) == [moment]
    beside = ["2026-06-11T06:50:43Z", "2026-06-11 06:50:43", None, "2026-06-11 06:50:43,5 +00"]
    assert read(text, *beside) == [moment, WHOLE, WHOLE, None, WHOLE + timedelta(microseconds=500_000)]


def test_text_without_offset_is_local() -> None:
    """In whatever form it is."""
    local = ["2026-06-11 06:50:43", "2026-06-11t06:50:43", "2026-06-11 06:50:43,0", "2026-06-11 06:50:43 +0800"]
    assert read(*local, zone=TAIPEI) == [WHOLE - timedelta(hours=8)] * 4


@pytest.mark.parametrize(
    "text",
    [
        *("2016-12-31T23:59:60Z", "2016-12-31 23:59:60.7 UTC", "2017-01-01T07:59:60+08:00", "2016-12-31T18:59:60-05"),
        *("2016-12-31T23:59:60", "2016-12-31t23:59:60,123456789z"),
    ],
)
def test_leap_second_is_the_last_microsecond_before_it(text: str) -> None:
    """It stays in its day, whatever fraction of it has passed."""
    assert read(text, "2016-12-31T23:59:59Z")[0] == datetime(2016, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "x", "2026-06-11", "2026-06-11 UTC", "11.06.2026 06:50", "2026-6-11 06:50", "0000-00-00 00:00:00"),
        *("2026-06-31T06:50:43Z", "2026-02-29T06:50:43Z", "2026-06-11T24:00:00Z", "2026-06-11T06:50:61Z"),
        *("2026-06-11T06:50:60Z", "2026-06-11T23:58:60Z", "2026-06-11T06:50:43+24:00", "2026-06-11T06:50:43 PST"),
        *("2026-06-11T06:50:43  UTC", "2026-06-11T06:50:43 ", " 2026-06-11T06:50:43", "2026-06-11T06:50:43Z\n"),
        *("2026-06-11T06:50:43.", "2026-06-11T06:50.5Z", "20260611T065043Z", "infinity", "2026-06-11T06:50:43+0860"),
        *("\ud800", "２０２６-06-11T06:50:43Z"),
    ],
)
@pytest.mark.parametrize("epoch", [None, "ms"])
def test_what_is_no_time(text: str, epoch: Unit | None) -> None:
    """It is found where it stands, and the advice shows forms that work."""
    for read_ in (instants_of, lambda texts, *more: instants(pa.array(texts, pa.string()), *more)):
        if text == "\ud800" and read_ is not instants_of:
            continue
        with pytest.raises(BadValue, match="not a time") as caught:
            read_([str(MOMENT), text, str(MOMENT)], UTC, epoch)
        assert (caught.value.at, FORMS in caught.value.advice) == (1, True)


NEARLY = st.text("0123456789TZ:-.+ ", min_size=12, max_size=29) | st.builds(
    "".join,
    st.lists(
        st.sampled_from(["2026", "06", "11", "23", "5", "-", "-", "T", "T", " ", ":", ":", ".", "861", "Z", "+08:00"]),
        min_size=6,
        max_size=16,
    ),
)
PARTS = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["2026-06-11", "20260611", "2026-6-11", "2026-06-11T", "2026-06-31", "0000-01-01", "9999-12-31"]),
    st.sampled_from(["T", " ", "t", ""]),
    st.sampled_from(["06:50:43", "06:50", "065043", "06", "06:50:60", "23:59:60", "24:00:00", "06:50:4"]),
    st.sampled_from(["", ".", ".8", ".861185", ".8611851", ".861185000", ",86"]),
    st.sampled_from(["Z", "Z", "z", "", "ZZ", "+08:00", "+08", "-0330", " Z", " UTC", "+08:60"]),
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(PARTS | NEARLY)
@example("2026-06-11T06:50.5Z")
def test_what_else_is_in_a_column_does_not_matter(text: str) -> None:
    """What pyarrow's casts take is what the expression takes, which a comma in another value makes necessary."""

    def outcome(*texts: str) -> object:
        try:
            return instants(pa.array(texts), TAIPEI)[0].as_py()
        except BadValue as bad:
            return bad.at, bad.problem

    assert outcome(text) == outcome(text, "2026-06-11 06:50:43,5")


# --- numbers -------------------------------------------------------------------------------------------------------

numbers = st.decimals(-6 * 10**10, 25 * 10**10, places=12)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    st.lists(numbers | st.integers(-(10**9), 10**10).map(Decimal), min_size=1, max_size=4), st.sampled_from([*UNITS])
)
@example([Decimal("-0.0000001"), Decimal("-0.000001"), Decimal("1780387200.9999999")], "s")
def test_numbers_count_from_1970(seconds: list[Decimal], unit: Unit) -> None:
    """Cut down to the microsecond, before 1970 too, exactly: as decimals, as text and as Arrow's decimals."""
    given_ones = [number.scaleb(UNITS[unit]).normalize() for number in seconds]
    expected = [
        EPOCH + timedelta(microseconds=int(number.scaleb(6).to_integral_value(ROUND_FLOOR))) for number in seconds
    ]
    assert instants_of(given_ones, UTC, unit).to_pylist() == expected
    assert instants(pa.array(given_ones, pa.decimal256(60, 12)), UTC, unit).to_pylist() == expected
    texts = [format(number, "f") for number in given_ones]
    assert read(*texts, epoch=unit) == expected
    assert read(*texts, str(WHOLE), epoch=unit) == [*expected, WHOLE]
    assert read(*[format(number, "E") for number in given_ones], epoch=unit) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(MIN_US, MAX_US), min_size=1, max_size=4), st.sampled_from([*UNITS]))
def test_whole_numbers_of_any_type(microseconds: list[int], unit: Unit) -> None:
    """Integers in Python and Arrow, and floats that are whole."""
    step = 10 ** (6 - UNITS[unit]) if unit != "ns" else 1
    factor = 1000 if unit == "ns" else 1
    limit = 2**63 // 1000 if unit == "ns" else MAX_US
    counts = [us // step * factor for us in microseconds if abs(us) < limit]
    expected = [EPOCH + timedelta(microseconds=count * step // factor) for count in counts]
    assert instants_of(counts, UTC, unit).to_pylist() == expected
    assert instants(pa.array(counts, pa.int64()), UTC, unit).to_pylist() == expected
    assert instants(pa.array(counts, pa.decimal128(38, 0)), UTC, unit).to_pylist() == expected
    if all(abs(count) < 2**53 for count in counts):
        assert instants(pa.array(map(float, counts), pa.float64()), UTC, unit).to_pylist() == expected


def test_a_float_is_what_it_is_written_as() -> None:
    """Not the binary fraction a little below it."""
    expected = [datetime(2026, 6, 2, 8, 0, 0, 123_000, tzinfo=UTC)] * 2
    for number in (1780387200.123, np.float64(1780387200.123)):
        assert instants_of([number, number], UTC, "s").to_pylist() == expected
    assert instants(pa.array([1780387200.123] * 2), UTC, "s").to_pylist() == expected
    assert instants(pa.array([1780387200123.0, 1780387200123.4]), UTC, "ms").to_pylist() == [
        expected[0],
        expected[0] + timedelta(microseconds=400),
    ]


@pytest.mark.parametrize("number", [1780387200, 1780387200.5, Decimal(5), np.int64(5), "1780387200", "-1.5", "1e9"])
def test_numbers_need_the_option(number: Any) -> None:
    """Nothing tells what they count: seconds of 2026 are milliseconds of 1970."""
    with pytest.raises(BadValue, match=r"is a number, not a time.*epoch"):
        instants_of([MOMENT, number], UTC)
    column = pa.array([None, number] if not isinstance(number, np.generic) else [None, number.item()])
    with pytest.raises(BadValue, match=r"is a number, not a time.*--epoch") as caught:
        instants(column, UTC)
    assert caught.value.at == 1


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    "number", [2**63 - 1, -(2**63), 10**30, "9" * 30, "1e999999999", "-1e25", 1e300, Decimal("-1E+40"), 2**64 - 1]
)
def test_numbers_out_of_bounds(number: Any, unit: Unit) -> None:
    """No unit overflows, nothing is wrapped around, and no power takes long."""
    far = unit != "ns" or not isinstance(number, int) or abs(number) > 2**64
    if far:
        with pytest.raises(BadValue, match="out of bounds") as caught:
            instants_of([0, number], UTC, unit)
        assert caught.value.at == 1
    if isinstance(number, int) and far and abs(number) < 2**64:
        kind = pa.uint64() if number > 2**63 else pa.int64()
        with pytest.raises(BadValue, match="out of bounds"):
            instants(pa.array([0, number], kind), UTC, unit)


@pytest.mark.parametrize("number", [float("inf"), Decimal("NaN"), Decimal("Infinity"), 1j, True, np.True_])
def test_numbers_that_are_no_time(number: Any) -> None:
    """Infinite ones, complex ones and truth."""
    with pytest.raises(BadValue, match="not a time"):
        instants_of([0, number], UTC, "s")
    if isinstance(number, float):
        with pytest.raises(BadValue, match="not a time"):
            instants(pa.array([0.0, number]), UTC, "s")


# --- Python's values -----------------------------------------------------------------------------------------------


def test_values_of_all_kinds_in_one_column() -> None:
    """Aware and naive datetimes, pandas' timestamps with nanoseconds, text, numbers, and what is missing."""
    stamp = pd.Timestamp(MOMENT) + pd.Timedelta(nanoseconds=999)
    early = pd.Timestamp("1969-12-31T23:59:59.999999999Z")
    given_ones = [
        *(MOMENT, MOMENT.replace(tzinfo=None), MOMENT.astimezone(timezone(timedelta(hours=8))), stamp),
        *(stamp.tz_localize(None), early, str(MOMENT), Decimal("1781160643.8611859"), None, pd.NaT, float("nan")),
    ]
    found = instants_of(given_ones, UTC, "s").to_pylist()
    assert found == [*[MOMENT] * 5, EPOCH - timedelta(microseconds=1), MOMENT, MOMENT, None, None, None]


def test_blanks_are_null() -> None:
    """Whatever stands there."""
    assert instants_of([MOMENT, EPOCH], UTC, blanks=[1]).to_pylist() == [MOMENT, None]
    assert instants_of([str(MOMENT), b"junk"], UTC, blanks=[1]).to_pylist() == [MOMENT, None]


@pytest.mark.parametrize("value", [date(2026, 6, 11), b"2026-06-11T06:50:43Z", [], {}, True, MOMENT.time()])
def test_values_that_are_no_time(value: Any) -> None:
    """A date alone least of all."""
    with pytest.raises(BadValue, match=r"is not a time.*give a datetime") as caught:
        instants_of([MOMENT, value], UTC, "s")
    assert caught.value.at == 1


@pytest.mark.parametrize(
    ("number", "epoch"), [("1781555518861000", "s"), ("1e40", "ms"), ("99999999999999999999", "us")]
)
def test_numbers_out_of_bounds_may_count_something_else(number: str, epoch: Unit) -> None:
    """The error says so."""
    with pytest.raises(BadValue) as caught:
        instants(pa.array([number]), UTC, epoch)
    assert "another of s, ms, us and ns" in caught.value.advice


@pytest.mark.parametrize(
    ("text", "is_day"),
    [
        ("15.06.2026 20:31:58", True),
        ("6/11/26, 6:50 PM", True),
        ("2026/06/11 06:50", True),
        ("soon", False),
        ("", False),
    ],
)
def test_days_of_another_form_can_be_mapped(text: str, is_day: bool) -> None:
    """The error of what has a day in it says how."""
    with pytest.raises(BadValue, match="is not a time") as caught:
        instants(pa.array([text]), UTC)
    assert ("--map, such as message_time=strptime(COLUMN, " in caught.value.advice) == is_day
