"""The one options object: checked once, frozen, hashable, picklable, with a digest that is the same everywhere."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any, get_type_hints
from zoneinfo import ZoneInfo

import pytest

from export_engine import EXCEL, Channel, CsvDialect, DateRange, ExportOptions, export_conversations
from export_engine.errors import OptionError
from export_engine.options import BYTES_FORMAT, OptionKeywords
from tests import reference

JUNE = DateRange(date(2026, 6, 1), date(2026, 6, 30))
CHANNEL = Channel("SMS Support")

#: Another value for each field, which shapes the bytes or the input that is refused; and for each that does not.
OTHERS: dict[str, Any] = {
    "timezone": "Asia/Taipei",
    "epoch": "ms",
    "range_by": "created_at",
    "compression": "small",
    "dialect": EXCEL,
    "name_budget": 100,
    "spool_limit": 0,
    "strict": True,
    "max_archive_size": 2_000_000_000,
}
WITHOUT_TRACE: dict[str, Any] = {"threads": 3, "sha256": True}
ALL = ExportOptions(**OTHERS, **WITHOUT_TRACE)


def test_another_value_for_each_field() -> None:
    """The tables above are complete: a new field must say which kind it is."""
    assert [field.name for field in fields(ExportOptions)] == [*OTHERS, *WITHOUT_TRACE]
    for name, value in (OTHERS | WITHOUT_TRACE).items():
        assert replace(ExportOptions(), **{name: value}) != ExportOptions()


WRONG: list[tuple[str, list[Any]]] = [
    ("timezone", ["Mars/Olympus", "", "+25:00", 8, None, b"UTC"]),
    ("epoch", ["minutes", "", 1, True]),
    ("range_by", ["time", "", None, ["message_time"]]),
    ("compression", ["gzip", "FAST", None, 6]),
    ("dialect", ["excel", None, {"bom": True}]),
    ("name_budget", [63, 256, -1, 100.0, "100", True, None]),
    ("spool_limit", [-1, 1.5, "8", False, None]),
    ("strict", [1, 0, "yes", None]),
    ("max_archive_size", [21, 0, -1, 2.0, True, "", "2", "GB", "-2GB", "2 gigabytes", "1e3MB", "٣MB", b"2GB"]),
    ("threads", [0, -1, 2.0, "2", True]),
    ("sha256", [1, "no", None]),
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG for value in values])
def test_each_field_is_checked(name: str, value: object) -> None:
    """The error names the field, wherever the object is made."""
    given: dict[str, Any] = {name: value}
    for make in (
        lambda: ExportOptions(**given),
        lambda: replace(ExportOptions(), **given),
        lambda: export_conversations([], channel=CHANNEL, date_range=JUNE, **given),
    ):
        with pytest.raises(OptionError, match=r".") as caught:
            make()
        assert caught.value.option == name


@pytest.mark.parametrize(
    "given",
    [
        {"line_end": "\r"},
        {"line_end": None},
        {"bom": 1},
        {"formula_guard": "no"},
        {"bare_e164": None},
        {"bare_e164": True},
        {"digits_guard": 1},
        {"digits_guard": True},
    ],
)
def test_the_dialect_is_checked(given: dict[str, Any]) -> None:
    """So is how the CSVs are written."""
    with pytest.raises(OptionError) as caught:
        CsvDialect(**given)
    assert caught.value.option == next(iter(given))


def test_bounds_are_included() -> None:
    """The least and the most that the docstring names work."""
    assert ExportOptions(name_budget=64, spool_limit=0, threads=1).name_budget == 64
    assert ExportOptions(name_budget=255).name_budget == 255


@pytest.mark.parametrize(
    ("text", "number"),
    [("500MB", 500_000_000), ("2 gb", 2_000_000_000), ("1.5KiB", 1536), ("1GiB", 1 << 30), ("0.1TB", 10**11)],
)
def test_sizes_as_people_write_them(text: str, number: int) -> None:
    """Decimal and binary units, in either case; what is held, compared and digested is the number."""
    assert ExportOptions(max_archive_size=text) == ExportOptions(max_archive_size=number)
    assert ExportOptions(max_archive_size=text).max_archive_size == number


def test_frozen_and_keyword_only() -> None:
    """Nothing changes it once it is checked, and nobody passes options by position."""
    with pytest.raises(FrozenInstanceError):
        ALL.strict = False  # type: ignore[misc]  # that is the point
    with pytest.raises(TypeError):
        ExportOptions("UTC")  # type: ignore[call-arg]  # the same
    with pytest.raises(TypeError):
        CsvDialect(True)  # type: ignore[call-arg]  # the same


def test_equal_options_hash_and_pickle_alike() -> None:
    """It can be a key, and comes out of a pickle as it went in."""
    for options in (
        ExportOptions(),
        ALL,
        ExportOptions(timezone="-03:30"),
        ExportOptions(timezone=ZoneInfo("Asia/Tokyo")),
    ):
        again = pickle.loads(pickle.dumps(options))  # noqa: S301  # our own
        assert again == options
        assert hash(again) == hash(options)
        assert again.digest() == options.digest()
    assert len({ExportOptions(), ExportOptions(), ALL}) == 2


@pytest.mark.parametrize("zone", ["UTC", "utc", "Z", "+00:00", UTC, timezone(timedelta(0)), ZoneInfo("UTC")])
def test_utc_is_utc(zone: str | tzinfo) -> None:
    """However it is said."""
    assert ExportOptions(timezone=zone) == ExportOptions()
    assert ExportOptions(timezone=zone).digest() == ExportOptions().digest()
    assert ExportOptions(timezone=zone).tzinfo is UTC


# --- digest --------------------------------------------------------------------------------------------------------


def test_digest_is_stable() -> None:
    """Stores keep it: it changes when bytes do, by `BYTES_FORMAT`, or when there are other options."""
    assert BYTES_FORMAT == 1
    assert ExportOptions().digest() == "1-6f7f16f21ad31c0c"
    assert ALL.digest() == "1-086d16859434cf13"
    assert ExportOptions(timezone="+08:00").digest() == ExportOptions(timezone=timezone(timedelta(hours=8))).digest()


def test_digest_tells_whatever_shapes_the_bytes() -> None:
    """Each field that does changes it, also within the dialect; those that leave no trace do not."""
    dialects = [CsvDialect(bom=True), CsvDialect(line_end="\n"), CsvDialect(formula_guard=True)]
    dialects.append(CsvDialect(formula_guard=True, bare_e164=True))
    dialects.append(CsvDialect(formula_guard=True, digits_guard=True))
    some = [ExportOptions(), *(replace(ExportOptions(), **{name: value}) for name, value in OTHERS.items())]
    some += [ExportOptions(dialect=dialect) for dialect in dialects]
    assert len({options.digest() for options in some}) == len(some)
    for name, value in WITHOUT_TRACE.items():
        assert replace(ExportOptions(), **{name: value}).digest() == ExportOptions().digest()


def test_digest_of_a_zone_of_the_callers_own() -> None:
    """Nothing stable can be said of its rules."""

    class Own(tzinfo):
        def utcoffset(self, _: datetime | None) -> timedelta:
            return timedelta(hours=1)

        def dst(self, _: datetime | None) -> timedelta:
            return timedelta(0)

        def tzname(self, _: datetime | None) -> str:
            return "own"

    with pytest.raises(OptionError) as caught:
        ExportOptions(timezone=Own()).digest()
    assert caught.value.option == "timezone"


# --- keywords of export_conversations --------------------------------------------------------------------------------


def test_keywords_are_the_fields() -> None:
    """What a type checker knows of the keywords is what the object has, with the same types."""
    assert get_type_hints(OptionKeywords) == get_type_hints(ExportOptions)


def test_keywords_replace_those_of_the_options() -> None:
    """They are sugar: alone, or over an object."""
    made = list(reference.some(3, datetime(2026, 6, 2, tzinfo=UTC)))

    def data(**given: Any) -> bytes:
        return b"".join(export_conversations(made, channel=CHANNEL, date_range=JUNE, export_id="x", **given))

    small = ExportOptions(compression="small", dialect=EXCEL)
    assert data(options=small) == data(compression="small", dialect=EXCEL)
    assert data(options=small, compression="store") == data(options=replace(small, compression="store"))
    assert data(options=small) != data()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("compresion", "did you mean compression\\?"),
        ("time_zone", "did you mean timezone\\?"),
        ("zzz", "the options are timezone, epoch, "),
    ],
)
def test_an_unknown_keyword(name: str, said: str) -> None:
    """The error says which is meant."""
    given: dict[str, Any] = {name: 1}
    with pytest.raises(OptionError, match=f"there is no option {name}: {said}") as caught:
        export_conversations([], channel=CHANNEL, date_range=JUNE, **given)
    assert caught.value.option == name


@pytest.mark.parametrize("given", [{}, {"compression": "small"}, EXCEL])
def test_options_that_are_none(given: Any) -> None:
    """Also an empty dictionary, which once stood for all defaults."""
    with pytest.raises(OptionError, match=r"options is .*: it must be of the type ExportOptions of export_engine"):
        export_conversations([], channel=CHANNEL, date_range=JUNE, options=given)


@pytest.mark.parametrize(
    ("given", "meant"), [("Berlin", "Europe/Berlin"), ("asia/taipei", "Asia/Taipei"), ("New York", "America/New_York")]
)
def test_a_zone_that_is_nearly_called_so(given: str, meant: str) -> None:
    """The name it has is told."""
    with pytest.raises(OptionError, match=f"^time zone '{given}' is unknown: did you mean {meant}\\?$"):
        ExportOptions(timezone=given)


def test_another_process_has_the_same(tmp_path: Path) -> None:
    """Pickled, it means the same bytes in another process, whatever its hash seed."""
    (tmp_path / "options").write_bytes(pickle.dumps(ALL))
    program = "import pickle, sys; o = pickle.load(open(sys.argv[1], 'rb')); print(o.digest(), o.tzinfo, o.dialect.bom)"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "options")], capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == [ALL.digest(), "Asia/Taipei", "True"]


@pytest.mark.parametrize(
    ("option", "given"), [("channel", "D"), ("channel", None), ("date_range", (1, 2)), ("date_range", "2026-06")]
)
def test_arguments_of_another_kind_are_told(option: str, given: Any) -> None:
    """By name, with what they are, before anything is read."""
    arguments: Any = {"channel": Channel("D"), "date_range": DateRange(date(2026, 6, 1))} | {option: given}
    with pytest.raises(OptionError, match=f"{option} is ") as caught:
        export_conversations([], **arguments)
    assert caught.value.option == option


@pytest.mark.parametrize("given", ["2026-06-01", 5, None, datetime(2026, 6, 1, tzinfo=UTC)])
def test_days_are_dates(given: Any) -> None:
    """Text is not guessed, and a moment is no day."""
    with pytest.raises(OptionError, match=r"start is .*: it must be a day"):
        DateRange(given)
    with pytest.raises(OptionError, match=r"end is .*: it must be a day"):
        DateRange(date(2026, 6, 1), given)
