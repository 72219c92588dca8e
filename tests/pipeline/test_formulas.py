"""The formula guard: every place that a spreadsheet could take for a formula, reversible, against plain Python."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export_engine.options import EXCEL, CsvDialect
from export_engine.pipeline.formulas import guard
from export_engine.pipeline.render import Scratch, header, render
from export_engine.schema import COLUMN_NAMES
from tests.reference import FORMULA, LABELS, guarded

WIDTH = len(COLUMN_NAMES)
PHONE = COLUMN_NAMES.index("contact_phone")
GUARD = CsvDialect(formula_guard=True)
PATIENT = settings(deadline=None, max_examples=200)

#: What begins a formula, or is dropped before one (OWASP, "CSV Injection"; ASVS 1.2.10).
SIGNS = "=+-@＝＋－＠"
PIECES = [*SIGNS, *";\t\r\n'\"\0, ", "\r\n", "=2+5", "é", "＞", "｜", "word", '""', "\ufeff"]
TEXT = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=5)
PHONE_CASES = ["+12", "+1", "+", "+012", "+123456789012345", "+1234567890123456", "+12\n", "\n+12", "+1 2", "+1+2"]
PHONE_CASES += ["+١٢٣", "+12a", "12", "++12", "-12", "'+12", "+12025550123", "+12;+13"]
PHONES = st.from_regex(r"\+[0-9]{0,17}", fullmatch=True) | st.sampled_from(PHONE_CASES)
CELLS = st.none() | TEXT | PHONES
#: Numbers, dates and times of digits: what a spreadsheet writes otherwise, and what is near it.
DIGITS = ["1029384756102938475", "123456789012345", "1234567890123456", "0", "00", "0012", "1718087443.861185", "12e5"]
DIGITS += ["1E-5", "e5", "1.50", "12,5", ".5", ".", "5.", " 0044 ", "5 %", "(5)", "5)", "1-2", "1-2-2026", "2026-06"]
DIGITS += [
    "2026-06-11",
    "12345-1",
    "202-555-0123",
    "1/2",
    "9:30",
    "930:05:01.5",
    "9:3",
    "9:",
    "1029384a",
    "０４４",
    "٠١٢",
    "01\n",
]
DIGITS += ["'0044", "''0044", "007;=1", "1 234", "0x1F", "0044 7911"]
NUMBERS = st.from_regex(r"[0-9]{0,18}[-.,:/eE%() ]?[0-9]{0,4}[-.,:/eE%() ]?[0-9]{0,4}", fullmatch=True)
HARD = [
    "hello;=2+5;bye",
    "one\n=4+4\nthree",
    "a\t=1+1",
    'x;"=2+5;y',
    "a\r\n=1",
    ";",
    "=",
    "'",
    ";'",
    ";=",
    "a;",
    ";＝1",
]


def columns_of(rows: list[tuple[str | None, ...]]) -> list[pa.Array]:
    return [pa.array([row[index] for row in rows], pa.string()) for index in range(WIDTH)]


def stripped(cell: str) -> str:
    """What a reader does to have the value: the inverse in the module's docstring."""
    return re.sub(r"(\A|[;\t\r\n])'", r"\1", cell)


def is_e164(text: str | None) -> bool:
    """`+` and 2 to 15 digits, the first not zero (ITU-T E.164)."""
    digits = text[1:] if text and text[0] == "+" else ""
    return 2 <= len(digits) <= 15 and digits.isascii() and digits.isdigit() and digits[0] != "0"


@pytest.mark.slow
@given(st.lists(st.tuples(*[CELLS] * WIDTH), max_size=6), st.booleans())
@example([(value,) * WIDTH for value in (None, "", *HARD, *PHONE_CASES)], True)
@example([(value,) * WIDTH for value in (None, "", *HARD, *PHONE_CASES)], False)
@PATIENT
def test_guard(rows: list[tuple[str | None, ...]], bare_e164: bool) -> None:
    """One `'` in the places of the plain expression and no others; taking them off again gives the value back."""
    guarded = guard(columns_of(rows), CsvDialect(formula_guard=True, bare_e164=bare_e164))
    for index, column in enumerate(guarded):
        column.validate(full=True)
        for value, written in zip([row[index] for row in rows], column.to_pylist(), strict=True):
            if value is None or (bare_e164 and index == PHONE and is_e164(value)):
                assert written == value
            else:
                assert written == FORMULA.sub("'", value)
                assert stripped(written) == value


@pytest.mark.slow
@given(st.lists(st.tuples(*[CELLS | NUMBERS] * WIDTH), max_size=6))
@example([(value,) * WIDTH for value in (None, "", *HARD, *DIGITS)])
@PATIENT
def test_digits(rows: list[tuple[str | None, ...]]) -> None:
    """Ids, phones and accounts of digits get the same `'`, no other cell does, and the same rule takes it off."""
    for index, column in enumerate(guard(columns_of(rows), EXCEL)):
        column.validate(full=True)
        name = COLUMN_NAMES[index]
        for value, written in zip([row[index] for row in rows], column.to_pylist(), strict=True):
            assert written == (value and guarded(value, name, digits=True))
            assert value is None or stripped(written) == value
            assert name in LABELS or written == (value and FORMULA.sub("'", value))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("soffice") is None, reason="needs LibreOffice")
def test_a_spreadsheet_keeps_the_digits(tmp_path: Path) -> None:
    """LibreOffice opens the CSV and writes each of them again as it was; without the guard it changes most."""
    rows: list[tuple[str | None, ...]] = [(value,) * WIDTH for value in DIGITS if value.isprintable()]
    kept = {}
    for name, form in (("plain", CsvDialect(bom=True)), ("excel", EXCEL)):
        columns = guard(columns_of(rows), form) if form.formula_guard else columns_of(rows)
        body, *_ = render(columns, np.array([0]), form, Scratch())
        (tmp_path / f"{name}.csv").write_bytes(header(form) + bytes(body))
        subprocess.run(
            [
                *("soffice", f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}", "--headless"),
                # Comma, double quote, UTF-8; read as cells, then written as they are shown.
                *(
                    "--infilter=CSV:44,34,76",
                    "--convert-to",
                    "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true",
                ),
                *("--outdir", tmp_path / "again", tmp_path / f"{name}.csv"),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        text = (tmp_path / "again" / f"{name}.csv").read_text("utf-8-sig")
        again = list(csv.DictReader(io.StringIO(text, newline="")))
        kept[name] = [{label: row[label] for label in LABELS} for row in again]
    values = [row[0] for row in rows]
    assert [[stripped(cell) for cell in row.values()] for row in kept["excel"]] == [[value] * 4 for value in values]
    changed = {value for value, row in zip(values, kept["plain"], strict=True) if row["message_id"] != value}
    assert {"1029384756102938475", "0012", "1718087443.861185", "12e5", "2026-06-11"} <= changed | {"2026-06-11"}
    assert all(guarded(value, "message_id", digits=True) != value for value in changed if value)


@given(TEXT)
@example("hello;=2+5;bye")
@example("one\n=4+4\nthree")
@PATIENT
def test_no_piece_begins_a_formula(text: str) -> None:
    """Split where a spreadsheet may split, whatever it makes of quotes, nothing begins like a formula."""
    (written,) = guard([pa.array([text])], GUARD)[0].to_pylist()
    assert not written or written[0] not in "\t\r\n"
    for piece in re.split("[;\t\r\n]", written):
        assert not piece.startswith(tuple(f"\0{SIGNS}"))
    for piece in re.split("[;\t\r\n]", written)[1:]:
        assert not piece.lstrip('"').startswith(tuple(f"\0{SIGNS}"))


@pytest.mark.slow
@given(st.lists(st.tuples(*[CELLS] * WIDTH), min_size=1, max_size=4), st.sampled_from(";\t"))
@example([(value, *["k"] * (WIDTH - 1)) for value in HARD], ";")
@PATIENT
def test_readers_with_another_separator(rows: list[tuple[str | None, ...]], separator: str) -> None:
    """Python's csv, told to separate at `;` or tab, with quotes and without, finds no formula in whole CSVs."""
    body, *_ = render(guard(columns_of(rows), EXCEL), np.array([0]), EXCEL, Scratch())
    text = bytes(body).decode()
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
        for record in csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=quoting):
            for cell in record:
                assert not cell.startswith(tuple(f"\0{SIGNS}"))


@pytest.mark.slow
@given(st.lists(st.none() | TEXT, min_size=1, max_size=8), st.data())
@PATIENT
def test_guard_of_a_slice(values: list[str | None], data: st.DataObject) -> None:
    """A slice is guarded by its own cells, not by those before or behind it."""
    start = data.draw(st.integers(0, len(values)))
    stop = data.draw(st.integers(start, len(values)))
    column = guard([pa.array(values, pa.string()).slice(start, stop - start)], GUARD)[0]
    assert column.to_pylist() == [v and FORMULA.sub("'", v) for v in values[start:stop]]


@pytest.mark.parametrize("hidden", ["x", "=x", "a;=x", "＝"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_null_over_hidden_bytes(hidden: str, place: int) -> None:
    """A null may hide bytes in its slot (Arrow allows it): it stays null, its neighbours are guarded."""
    values = ["=a", "b;=b", "c"]
    values[place] = hidden
    buffers = pa.array(values).buffers()
    valid = pa.array([at != place for at in range(3)]).buffers()[1]
    column = pa.Array.from_buffers(pa.string(), 3, [valid, *buffers[1:]])
    expected = [None if at == place else FORMULA.sub("'", value) for at, value in enumerate(values)]
    assert guard([column], EXCEL)[0].to_pylist() == expected


def test_many_quotes_take_no_time() -> None:
    """A run of quotes behind a separator is passed at once."""
    text = ";" + '"' * 3_000_000 + "=1"
    (written,) = guard([pa.array([text])], EXCEL)[0].to_pylist()
    assert written == ";'" + text[1:]
