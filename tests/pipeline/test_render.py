"""CSV bytes: four readers give the values back, the cuts fall between rows, times and guards against plain Python."""

from __future__ import annotations

import csv
import io
import threading
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export_engine.options import CsvDialect
from export_engine.pipeline.render import Scratch, Times, header, render
from export_engine.schema import COLUMN_NAMES
from tests.reference import COLUMNS, cell

Row = tuple[str | None, ...]

WIDTH = len(COLUMN_NAMES)

# What readers trip over when it meets, beside any text at all.
PIECES = [
    "\0",
    "\r",
    "\n",
    "\r\n",
    '"',
    '""',
    '","',
    '"\r\n"',
    ",",
    "\ufeff",
    "👩‍👩‍👧",
    "\u202eabc\u202c",
    "\u2028",
    "NULL",
    " ",
    "\x1a",
    "é",
]
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
CELLS = st.none() | st.just("") | ANY | st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
ROWS = st.lists(st.tuples(*[CELLS] * WIDTH), max_size=6)
FORMS = st.builds(CsvDialect, bom=st.booleans(), line_end=st.sampled_from(["\r\n", "\n"]))

HARD: list[Row] = [(value, *("k" * (WIDTH - 1))) for value in (None, "", *PIECES)]
HARD += [(*("k" * (WIDTH - 1)), value) for value in (None, "", *PIECES)]
HARD += [(value,) * WIDTH for value in (None, "", *PIECES)]

PATIENT = settings(deadline=None, max_examples=60)
FEW = settings(deadline=None, max_examples=25)


pytestmark = pytest.mark.usefixtures("way")


def columns_of(rows: list[Row]) -> list[pa.Array]:
    return [pa.array([row[index] for row in rows], pa.string()) for index in range(WIDTH)]


def whole(rows: list[Row], form: CsvDialect) -> bytes:
    """A CSV with its header."""
    body, *_ = render(columns_of(rows), np.array([0, len(rows)]), form, Scratch())
    return header(form) + bytes(body)


def plain(row: Row, form: CsvDialect) -> bytes:
    """One row in plain Python."""
    return (",".join(cell(value, guard=False) for value in row) + form.line_end).encode()


# --- readers -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(ROWS, FORMS)
@example(HARD, CsvDialect())
@example(HARD, CsvDialect(bom=True, line_end="\n"))
@PATIENT
def test_stdlib_csv_reads_back(rows: list[Row], form: CsvDialect) -> None:
    """Python's csv gives every value; it cannot tell null from an empty text and reads both as empty."""
    text = whole(rows, form).decode("utf-8-sig" if form.bom else "utf-8")
    read = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert read == [list(COLUMN_NAMES), *([value or "" for value in row] for row in rows)]


@pytest.mark.slow
@given(ROWS, FORMS)
@example(HARD, CsvDialect())
@example(HARD, CsvDialect(bom=True, line_end="\n"))
@PATIENT
def test_pyarrow_reads_back(rows: list[Row], form: CsvDialect) -> None:
    """Arrow's reader gives every value, null apart from empty, once told that quoted text is never null."""
    table = pacsv.read_csv(
        pa.BufferReader(whole(rows, form)),
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(COLUMN_NAMES, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    assert table.column_names == list(COLUMN_NAMES)
    assert [tuple(row.values()) for row in table.to_pylist()] == rows


@given(ROWS, FORMS)
@example(HARD, CsvDialect())
@example(HARD, CsvDialect(bom=True, line_end="\n"))
@FEW
def test_polars_reads_back(rows: list[Row], form: CsvDialect) -> None:
    """Polars gives every value, null apart from empty, as it comes."""
    frame = pl.read_csv(whole(rows, form), infer_schema=False)
    assert frame.columns == list(COLUMN_NAMES)
    assert frame.rows() == rows


@pytest.mark.slow
@given(ROWS, FORMS)
@example(HARD, CsvDialect())
@example(HARD, CsvDialect(bom=True, line_end="\n"))
@FEW
def test_duckdb_reads_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Row], form: CsvDialect) -> None:
    """DuckDB gives every value, NUL included, null apart from empty, once told that quoted text is never null."""
    path = Path(tmp_path_factory.getbasetemp(), "duckdb.csv")
    path.write_bytes(whole(rows, form))
    with duckdb.connect() as connection:
        relation = connection.read_csv(
            str(path), header=True, sep=",", quotechar='"', escapechar='"', na_values="", allow_quoted_nulls=False,
            auto_detect=False, columns=dict.fromkeys(COLUMN_NAMES, "VARCHAR"),
        )  # fmt: skip
        assert relation.fetchall() == rows


# --- bytes and cuts ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(ROWS, FORMS, st.data())
@example(HARD, CsvDialect(), None)
@PATIENT
def test_rows_and_cuts(rows: list[Row], form: CsvDialect, data: st.DataObject | None) -> None:
    """Every row's bytes are those of plain Python, and lie between its cuts, whatever bounds are asked for."""
    body, cuts, longest = render(columns_of(rows), np.arange(len(rows) + 1), form, Scratch())
    assert longest == max((len((cell or "").encode()) for row in rows for cell in row), default=0)
    pieces = [plain(row, form) for row in rows]
    assert [bytes(body)[start:stop] for start, stop in pairwise(cuts)] == pieces
    assert len(body) == cuts[-1]
    if data is not None:
        bounds = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=8)))
        same, some, _ = render(columns_of(rows), np.array(bounds, np.int64), form, Scratch())
        assert bytes(same) == bytes(body)
        assert some.tolist() == [cuts[bound] for bound in bounds]


@pytest.mark.slow
@given(ROWS, FORMS, st.data())
@PATIENT
def test_sliced_columns(rows: list[Row], form: CsvDialect, data: st.DataObject) -> None:
    """A slice renders as its rows alone, also where its columns have offsets of their own."""
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    columns = []
    for index, column in enumerate(columns_of(rows)):
        pad = data.draw(st.integers(0, 3)) if index % 5 == 0 else 0
        padded = pa.concat_arrays([pa.array(['"pad"'] * pad, pa.string()), column])
        columns.append(padded.slice(pad + start, stop - start))
    body, cuts, _ = render(columns, np.arange(stop - start + 1), form, Scratch())
    pieces = [plain(row, form) for row in rows[start:stop]]
    assert bytes(body) == b"".join(pieces)
    assert np.diff(cuts).tolist() == list(map(len, pieces))


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What the schema's times may be, and places to be at them.
YEARS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001  # as it asks for
EAST = st.sampled_from([0, 3600, 8 * 3600, -3 * 3600 - 1800, 8 * 3600 + 343, -86_399, 86_399])


@given(times=st.lists(st.tuples(YEARS, EAST), min_size=1, max_size=20), form=FORMS, one_zone=st.booleans())
@PATIENT
def test_times_are_spelt(times: list[tuple[datetime, int]], form: CsvDialect, *, one_zone: bool) -> None:
    """ISO 8601 with microseconds, in the zone each is in or all are."""
    zones = [times[0][1] if one_zone else east for _, east in times]
    us = np.array([(time - EPOCH) // timedelta(microseconds=1) for time, _ in times], np.int64)
    east = np.array(zones[:1] if one_zone else zones, np.int64) * 1_000_000
    columns = [Times(us, east), *columns_of([("x",) * WIDTH] * len(times))[1:]]
    body, cuts, _ = render(columns, np.arange(len(times) + 1), form, Scratch())
    for (time, _), zone, start, stop in zip(times, zones, cuts, cuts[1:], strict=False):
        cell, _, rest = bytes(body[start:stop]).decode().partition(",")
        spelt = time.astimezone(timezone(timedelta(seconds=zone))).isoformat(timespec="microseconds")
        assert cell == '"' + (spelt if zone else spelt.replace("+00:00", "Z")) + '"'
        assert rest == ",".join(['"x"'] * (WIDTH - 1)) + form.line_end


@pytest.mark.parametrize("hidden", ["x", "secret", 'se"cret'])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_null_over_hidden_bytes(hidden: str, place: int) -> None:
    """A null may hide bytes in its slot (Arrow allows it, polars leaves them): they are not written and move no cut."""
    values = ["a", 'b"', "c"]
    values[place] = hidden
    buffers = pa.array(values).buffers()
    valid = pa.array([at != place for at in range(3)]).buffers()[1]
    column = pa.Array.from_buffers(pa.string(), 3, [valid, *buffers[1:]])
    rows = [(value if at != place else None, *("k" * (WIDTH - 1))) for at, value in enumerate(values)]
    columns = [column, *columns_of(rows)[1:]]
    body, cuts, _ = render(columns, np.arange(4), CsvDialect(), Scratch())
    assert bytes(body) == b"".join(plain(row, CsvDialect()) for row in rows)
    assert np.diff(cuts).tolist() == [len(plain(row, CsvDialect())) for row in rows]


@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
@pytest.mark.parametrize("bom", [False, True])
def test_header(*, bom: bool, line_end: str) -> None:
    """The header is the seed's twelve names, unquoted, after the byte order mark where one is wanted."""
    form = CsvDialect(bom=bom, line_end=line_end)  # type: ignore[arg-type]  # one of the two it may be
    assert header(form) == (b"\xef\xbb\xbf" if bom else b"") + COLUMNS.encode() + line_end.encode()


# --- memory --------------------------------------------------------------------------------------------------------


def test_scratch_is_kept_within_bounds() -> None:
    """A thread renders into the same memory again, unless that was huge; another thread has its own."""
    scratch = Scratch()
    first = scratch.of(1000)
    assert first.size >= 1000
    assert scratch.of(first.size).address == first.address
    huge = scratch.of((64 << 20) + 1)
    assert huge.size > 64 << 20
    assert scratch.of(1).address == first.address
    others: list[int] = []
    thread = threading.Thread(target=lambda: others.append(scratch.of(1000).address))
    thread.start()
    thread.join(60)
    assert others != [first.address]
