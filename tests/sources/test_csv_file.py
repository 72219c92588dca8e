"""CSV: what is in it comes back as it went, or is refused by file, row and column, with what to do."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.errors import OptionError, SchemaError, SourceError
from export_engine.schema import COLUMN_NAMES
from export_engine.sources import Source, SourceContext
from export_engine.sources.csv_file import read_csv
from tests.sources.tables import MOMENT, batches, cells, refusal
from tests.sources.test_jsonl_flat import LINE

HEADER = ",".join(COLUMN_NAMES) + "\r\n"


def csv_of(folder: Path, *lines: str | bytes, name: str = "t.csv") -> Source:
    data = b"".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return read_csv(folder / name)


def csv_row(number: int, text: str) -> str:
    return f'"m{number}","c1",,,"inbound","customer",,"2026-06-11T06:50:43.861185Z",{text},,,\r\n'


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=6) | st.text('",\r\n\0', max_size=6)))
def test_csv_as_this_library_writes_it(tmp_path_factory: pytest.TempPathFactory, texts: list[str | None]) -> None:
    """Null and empty text, quotes, line ends and NUL come back as they went."""
    written = ["" if text is None else '"' + text.replace('"', '""') + '"' for text in texts]
    folder = tmp_path_factory.mktemp("csv")
    source = csv_of(folder, HEADER, *(csv_row(at, text) for at, text in enumerate(written)))
    assert cells(source, "message_text") == texts


@pytest.mark.parametrize(("end", "line_end"), [("", ""), ("", "\n"), ("", "\r"), ('""', ""), ("a", ""), ('"a"', "")])
@pytest.mark.parametrize("before", ["", "x", '""', '"x"'])
def test_the_last_cell_of_a_file(before: str, end: str, line_end: str, tmp_path: Path) -> None:
    """It is null where it is empty and unquoted, whatever stands before it and with a line end or without."""
    row = csv_row(1, "").removesuffix(",,\r\n") + f",{before},{end}{line_end}"
    expected = {"": None, '""': ""}
    source = csv_of(tmp_path, HEADER, row)
    assert cells(source, "sender_account") == [expected.get(end, "a")]
    assert cells(source, "status") == [expected.get(before, "x")]


def test_csv_of_other_programs(tmp_path: Path) -> None:
    """A byte order mark, LF, other columns, their order, compression and empty lines do no harm."""
    with (tmp_path / "t.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["x\ny", *reversed(LINE)])
        writer.writerow(["1", *reversed(LINE.values())])
    plain = (tmp_path / "t.csv").read_bytes() + b"\n"
    context = SourceContext(UTC)
    (batch,) = csv_of(tmp_path, plain, name="t.csv.gz").batches(context)
    assert batch.column("message_time").to_pylist() == [MOMENT]
    assert context.ignored_columns == ("x\ny",)


@pytest.mark.slow
@pytest.mark.parametrize("size", [900_000, 5 << 20, 20 << 20])
def test_csv_rows_longer_than_a_block(size: int, tmp_path: Path) -> None:
    """Cells larger than a block are read whole, and no row twice."""
    texts = ["first", "x\r\n" * (size // 3), "y", "z" * size, "last"]
    source = csv_of(tmp_path, HEADER, *(csv_row(at, f'"{text}"') for at, text in enumerate(texts)))
    assert cells(source, "message_text") == texts


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEADER + csv_row(1, '"a"') + '"m2","c1"\r\n',
        HEADER + csv_row(1, '"cut short'),
        HEADER + csv_row(1, '"a"').replace(",,,\r\n", ',,,"cut'),
        HEADER + csv_row(1, '5" pipe'),
    ],
)
def test_csv_that_cannot_be_read(data: str | bytes, tmp_path: Path) -> None:
    """Rows of another length and quotes that do not pair up are refused with the file's name, not guessed at."""
    with pytest.raises(SourceError, match=r"t\.csv"):
        batches(csv_of(tmp_path, data))


def test_csv_names_the_row_that_is_not_utf8(tmp_path: Path) -> None:
    """Latin-1 in a cell is refused by its row; in an ignored column it does not matter."""
    error = refusal(csv_of(tmp_path, HEADER, csv_row(1, ""), csv_row(2, "?").encode().replace(b"?", b"\xff")))
    assert (error.row, error.message_id, error.column, error.value) == (2, "m2", "message_text", b"\xff")
    ignored = [b"caf\xe9," + HEADER.encode(), b"\xe9," + csv_row(1, "").encode()]
    assert cells(csv_of(tmp_path, *ignored), "message_id") == ["m1"]


def lines(*texts: str) -> str:
    """A plain CSV with these texts."""
    head = "message_id,conversation_id,direction,speaker_type,message_time,message_text\n"
    return head + "".join(f"m{at},c1,inbound,customer,2026-06-11T06:50:43Z,{text}\n" for at, text in enumerate(texts))


def read(data: bytes, **options: Any) -> list[str | None]:
    return cells(read_csv(io.BytesIO(data), **options), "message_text")


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        ["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "shift_jis", "gb18030", "iso2022_jp", "utf-7"]
    ),
    # ESC is how iso2022_jp changes its character sets.
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x1b"), max_size=20), min_size=1, max_size=5),
    st.booleans(),
)
def test_encodings(encoding: str, texts: list[str], mark: bool) -> None:
    """Any text encoding of Python's, in pieces that cut its characters; a byte order mark is none of the text."""
    texts = [text.encode(encoding, "ignore").decode(encoding).replace('"', "") for text in texts]
    rows = lines(*(f'"{text}"' for text in texts))
    if mark and encoding.startswith("utf"):
        rows = "\ufeff" + rows
    file = io.BytesIO(rows.encode(encoding))

    class Pieces:
        def read(self, size: int) -> bytes:
            del size
            return bytes(file.read(7))

    assert cells(read_csv(cast("Any", Pieces()), encoding=encoding), "message_text") == texts
    assert read(rows.encode(encoding), encoding=encoding) == texts


@pytest.mark.parametrize("encoding", ["shift_jis", "utf-16", "ascii", "gb18030", "utf-32"])
@pytest.mark.parametrize("row", [1, 2, 7000, 20_000])
def test_a_byte_that_is_not_of_the_encoding_is_named_by_its_row(encoding: str, row: int) -> None:
    """Wherever it stands; all rows before it are read."""
    texts = ["x" * 90] * 20_000
    texts[row - 1] = "@@"
    wrong = {"utf-16": b"\x00\xdc", "utf-32": b"\xff" * 4}.get(encoding, b"\xff\xff")
    mark = "@@".encode(encoding.replace("utf-16", "utf-16-le").replace("utf-32", "utf-32-le"))
    data = lines(*texts).encode(encoding).replace(mark, wrong)
    with pytest.raises(
        SourceError, match=rf"row {row} \(line {row + 1}\): the byte 0x.. cannot be decoded as {encoding}"
    ):
        read(data, encoding=encoding)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (lines("a").encode("utf-16"), "--encoding utf-16 "),
        (lines("a").encode("utf-16-le"), "--encoding utf-16-le "),
        (lines("a").encode("utf-16-be"), "--encoding utf-16-be "),
        (lines("a").encode("utf-32"), "--encoding utf-32 "),
        (lines("a").replace(",", ";").encode(), "--delimiter ';' "),
        (lines("a").replace(",", "\t").encode(), r"--delimiter '\t' (delimiter='\t' in Python)"),
        (lines("a").replace(",", "|").encode(), "--delimiter '|' "),
        (b"Sid;Number;Sent\n", "--delimiter ';' "),
        (b"Sid|Number, of what|Sent\n", "the columns are Sid|Number,  of what|Sent"),
        (b'Sid;"Number, of what";Sent\n', "--delimiter"),
        (b"Report: June\n\n" + lines("a").encode(), "take away what stands above the names of the columns"),
        (b"\0\0message_id", "NUL"),
        (b"one,two\n", "the columns are one, two"),
        (lines('she said \\"hi\\"').encode(), "inside an unquoted cell"),
        (lines('"she said \\"hi\\""').encode(), "--csv-escape"),
        (lines('"caf\xe9"').encode("latin-1"), "not UTF-8"),
    ],
)
def test_what_would_read_it_is_said(data: bytes, says: str) -> None:
    """Another encoding, separator or escape is named with the option that reads it."""
    with pytest.raises(SourceError) as caught:
        read(data)
    assert says in str(caught.value)


def test_other_separators_and_escapes() -> None:
    """With the option, it is read; an escape anywhere but before a quote or itself is text."""
    assert read(lines("a").replace(",", ";").encode(), delimiter=";") == ["a"]
    text = lines(r'"she said \"hello\" \\ C:\new \,"', r"plain\\", '"doubled """', r'"\\"')
    assert read(text.encode(), escape="\\") == [r'she said "hello" \ C:\new \,', r"plain\\", 'doubled "', "\\"]
    assert read(lines("'a'''").replace("'", '"').encode(), escape="!") == ['a"']


@pytest.mark.parametrize(
    "options",
    [
        {"encoding": "klingon"},
        {"encoding": "base64"},
        {"delimiter": ""},
        {"delimiter": ", "},
        {"delimiter": '"'},
        {"delimiter": "\n"},
        {"delimiter": "§"},
        {"escape": '"'},
        {"escape": ","},
    ],
)
def test_options_that_cannot_work(options: dict[str, str]) -> None:
    """They are refused before anything is opened, by name."""
    with pytest.raises(OptionError) as caught:
        read_csv("none", **options)
    assert caught.value.option in options


FAULTS: dict[str, tuple[str, str]] = {
    "a cell too many": ("fine,extra", "7 cells"),
    "a cell too few": ("", "5 cells"),
    "a quote inside": ('5" pipe', "inside an unquoted cell"),
    "text after a quote": ('"hi"there', "follows a closing quote"),
    "an open quote": ('"hi', ""),
    "a closing quote only": ('hi"', "inside an unquoted cell"),
    "a byte": ("\udcff", "not UTF-8"),
    "a time": ("fine", "not a time"),
}


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(FAULTS)), st.integers(1, 40_000), st.floats(0, 1), st.booleans(), st.integers(0, 60))
def test_a_fault_in_any_row_of_any_size_is_named_by_its_row(
    fault: str, rows: int, place: float, quoted: bool, length: int
) -> None:
    """Cells, quotes and bytes: the error has the number of the row, wherever blocks end."""
    at = int(place * (rows - 1))
    text, says = FAULTS[fault]
    texts = ['"' + "x" * length + '"' if quoted else "x" * length] * rows
    data = lines(*texts[:at], text, *texts[at + 1 :])
    if fault == "a cell too few":
        data = data.replace(f"\nm{at},c1,", f"\nm{at},")
    if fault == "a time":
        data = data.replace(f"\nm{at},c1,inbound,customer,2", f"\nm{at},c1,inbound,customer,x")
    with pytest.raises(SourceError, match=rf"row {at + 1}\b") as caught:
        read(data.encode("utf-8", "surrogateescape"))
    assert says in str(caught.value)


def test_the_column_of_a_fault() -> None:
    """A quote that may not be there is a RowError: row, column and what to do."""
    error = refusal(read_csv(io.BytesIO(lines("a", "b", '"Ana" Test').encode())))
    assert (error.row, error.column) == (3, "message_text")
    assert "double those inside" in str(error)
    with pytest.raises(SourceError, match="header: a quoted cell has no end"):
        read(b'message_id,"conversation_id\n')


def test_a_mark_in_the_middle_is_text() -> None:
    """Only the file's first bytes may be a byte order mark; a row that begins with one keeps it."""
    texts = ["x" * 200] * 12_000
    data = lines(*texts).replace("\nm", "\n\ufeffm").encode()
    assert set(cells(read_csv(io.BytesIO(data)), "message_id")) == {f"\ufeffm{at}" for at in range(12_000)}


def test_old_line_ends_and_empty_lines() -> None:
    """CR alone ends a row too; blocks of empty lines hold no rows, and are counted as lines."""
    assert read(lines("a", "b").replace("\n", "\r").encode()) == ["a", "b"]
    text = lines("a", "b,c").replace("\nm1", "\n" * 3_000_000 + "m1")
    with pytest.raises(SourceError, match=r"row 2 \(line 3000002\) has 7 cells, and the header 6"):
        read(text.encode())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_wide_text_without_a_byte_order_mark(encoding: str, order: str) -> None:
    """Its encoding needs the order of bytes, which the error asks for; with it the text is read."""
    row = f"a,c,,,inbound,bot,,2026-06-01T00:00:00Z,é😀{',' * 3}\r\n"
    octets = f"{HEADER}{row}".encode(f"{encoding}-{order}")
    with pytest.raises(SourceError, match=f"header: .*; say which, {encoding}-le or {encoding}-be, or give"):
        batches(read_csv(io.BytesIO(octets), encoding=encoding))
    assert cells(read_csv(io.BytesIO(octets), encoding=f"{encoding}-{order}"), "message_text") == ["é😀"]


@pytest.mark.parametrize("encoding", ["idna", "punycode", "undefined", "rot13", "hex", "klingon"])
def test_what_is_no_encoding_of_text(encoding: str) -> None:
    """Neither unknown codecs, nor those of something else, nor those that cannot say what is wrong."""
    with pytest.raises(OptionError, match="there is no text encoding"):
        read_csv(io.BytesIO(b""), encoding=encoding)


def test_a_spreadsheet_s_separator_line() -> None:
    """It names no columns, and the error says what it is."""
    for delimiter in ";", ",":
        with pytest.raises(SchemaError, match="its first line, sep=;, is for a spreadsheet and names no columns: take"):
            batches(read_csv(io.BytesIO(b"sep=;\r\nmessage_id;conversation_id\r\n"), delimiter=delimiter))


@pytest.mark.parametrize("number", ["9.00719925474099E+15", "9,00719925474099E+15", "1.20256E+11", "5E+22"])
@pytest.mark.parametrize("name", ["message_id", "conversation_id", "contact_phone"])
def test_numbers_that_a_spreadsheet_has_rounded(name: str, number: str) -> None:
    """They are no ids and no phones: those of several conversations would be one. Elsewhere they are text."""
    header, row = lines("a").replace("\n", ",contact_phone\n", 1).replace("43Z,a\n", "43Z,a,\n").splitlines()
    cells_ = dict(zip(header.split(","), row.split(","), strict=True))

    def table(**values: str) -> bytes:
        quoted = '","'.join((cells_ | values).values())
        return f'{header}\n{row}\n"{quoted}"\n'.encode()

    error = refusal(read_csv(io.BytesIO(table(**{name: number}))))
    assert (error.column, error.row, error.value) == (name, 2, number)
    assert "is a number that a spreadsheet has rounded; export it anew" in str(error)
    for fine in (f"{number}0 ", f"x{number}", number.replace("E+", "E"), "E+12"):
        assert read(table(**{name: fine})) == ["a", "a"]
    assert read(table(message_text=number)) == ["a", number]
