"""CSV files: text of any encoding to blocks of whole rows, and those by pyarrow to record batches.

pyarrow gets each block from memory. Its streaming reader would read ahead from a Python file object in a thread of its
own, which may outlive an error and end the process by a signal while the interpreter shuts down.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Container, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from export_engine.errors import OptionError, RowError, SchemaError, SourceError
from export_engine.schema import COLUMN_NAMES, CREATED_AT
from export_engine.sources import Source, SourceContext
from export_engine.sources.csv_rows import BrokenRowError, joined, row_blocks, uneven_row
from export_engine.sources.inputs import FileSource, Given, Input, option_text
from export_engine.sources.tables import normalised, numbered, wanted_columns

__all__ = ["check_header", "check_once", "csv_columns", "csv_options", "read_csv"]

#: A row, after empty lines, in text whose quotes are as they should be.
_HEADER = re.compile(rb'[\r\n]*+((?:"[^"]*+"|[^"\r\n]++)*+)')
_BOM = b"\xef\xbb\xbf"
#: The longest first: that of UTF-32 begins as that of UTF-16 does.
_OTHER_BOMS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SEPARATORS = {";": "';'", "\t": r"'\t'", "|": "'|'", ",": "','"}


def read_csv(given: Given, *, encoding: str = "utf-8", delimiter: str = ",", escape: str | None = None) -> Source:
    r"""Make a source of a CSV file with a header; see `from_arrow` for its columns.

    `given` is a path, `-` for standard input, or a binary file object; gzip, zstd and bz2 are told by its content.

    An unquoted empty field is null, `""` is empty text, as this library writes them. `media_url` is comma-separated.
    Quotes are as in RFC 4180: around a whole cell, and doubled inside one. A row may be up to 1 GiB.

    - `encoding`: any text encoding of Python's, such as `utf-16`, `cp1252`, `shift_jis`. A byte order mark is dropped.
    - `delimiter`: one ASCII character, such as `;` or a tab.
    - `escape`: one ASCII character that stands, inside quotes, before a quote or before itself to make it text, as in
      `"she said \"hello\""`. Before anything else it is text.

    Raises OptionError for an option that cannot work. Errors while reading: SourceError for rows of another length than
    the header, bytes that are not of the encoding, and another format; RowError for a quote where none may be, as in a
    file cut short within a value. `row` in errors counts rows below the header, as a value may hold line ends.
    """
    return FileSource(given, csv_options(encoding, delimiter, escape))


def csv_options(
    encoding: str = "utf-8", delimiter: str = ",", escape: str | None = None
) -> Callable[[Input, SourceContext], Iterator[pa.RecordBatch]]:
    """What reads an opened input with these options; OptionError for one that cannot work."""
    return partial(_csv_batches, **_checked(encoding, delimiter, escape))


def csv_columns(
    file: Input, *, encoding: str = "utf-8", delimiter: str = ",", escape: str | None = None
) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    """All the columns of an opened input: their names, and their rows as strings, with the errors of `read_csv`.

    Nobody has looked whether the strings are UTF-8.
    """
    checked = _checked(encoding, delimiter, escape)
    if checked["encoding"] is None:
        _check_encoding(file)
    rows = _Rows(file, **checked)
    names = rows.header()
    check_header(file.name, names, delimiter)
    return names, rows.batches(_strings(names), range(len(names)))


def _checked(encoding: str, delimiter: str, escape: str | None) -> dict[str, Any]:
    """The options, if they can work; None stands for UTF-8."""
    try:
        found = codecs.lookup(encoding)
        octets = "a".encode(encoding)  # not all codecs are of text
        codecs.getincrementaldecoder(encoding)(_FIRST_WRONG).decode(octets, final=True)  # or tell what is wrong
    except (LookupError, UnicodeError):
        raise OptionError(
            f"there is no text encoding {encoding!r}: give one that Python knows, such as utf-16, cp1252, latin-1, "
            "shift_jis or gb18030",
            option="encoding",
        ) from None
    for option, value in (("delimiter", delimiter), ("escape", escape)):
        if value is not None and (len(value) != 1 or not value.isascii() or value in '"\r\n\0'):
            raise OptionError(f"{option} {value!r} is not one ASCII character other than a quote", option=option)
    if escape == delimiter:
        raise OptionError(f"{escape!r} cannot be both the delimiter and the escape", option="escape")
    plain = found.name in {"utf-8", "utf-8-sig"}
    return {"encoding": None if plain else encoding, "delimiter": delimiter, "escape": escape}


def _csv_batches(
    file: Input, context: SourceContext, *, encoding: str | None, delimiter: str, escape: str | None
) -> Iterator[pa.RecordBatch]:
    """Read an opened input; see `read_csv`. `encoding` is None for UTF-8."""
    context.is_csv = True
    if encoding is None:
        _check_encoding(file)
    rows = _Rows(file, encoding, delimiter, escape)
    names = rows.header()
    wanted = _wanted(file.name, names, delimiter, context)
    schema = _strings(wanted)
    yield from normalised(schema, numbered(rows.batches(schema, list(map(names.index, wanted)))), context)


def _strings(names: list[str]) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])


def _check_encoding(file: Input) -> None:
    """Refuse what is plainly not UTF-8, which else would look like strange columns."""
    head = file.peek(4096)
    found = next((name for mark, name in _OTHER_BOMS.items() if head.startswith(mark)), None)
    if found is None and b"\0" in (line := head.split(b"\n")[0]):
        for at, name in ((1, "utf-16-le"), (0, "utf-16-be")):
            found = name if len(line) > 2 and not line[at : len(line) // 2 * 2 : 2].strip(b"\0") else found
        if found is None:
            raise SourceError(f"{file.name} has NUL bytes in its first line: it is no CSV, or damaged; write it again")
    if found is not None:
        raise SourceError(f"{file.name} is {found.upper()}, not UTF-8: read it with {option_text('encoding', found)}")


def _wanted(name: str, names: list[str], delimiter: str, context: SourceContext) -> list[str]:
    """The columns that are read; where some are missing, another delimiter may be why."""
    known = {*COLUMN_NAMES, CREATED_AT}
    try:
        return wanted_columns(names, context)
    except SchemaError as error:
        check_header(name, names, delimiter, known)
        if len(names) == 1:
            raise SchemaError(
                f"{name}: its first line names one column alone, {names[0]!r}: take away what stands above the names of"
                " the columns, as a report's title does; or, if all is in that column, map it with --map (in Python "
                "read_mapped)",
                column=error.column,
                given=error.given,
            ) from None
        raise SchemaError(f"{name}: {error}", column=error.column, missing=error.missing, given=error.given) from error


def check_header(name: str, names: list[str], delimiter: str, known: Container[str] = ()) -> None:
    """Raise SchemaError for a header that is none: a spreadsheet's `sep=`, or names that another delimiter parts.

    It does if there is one name alone, or if it makes more that are `known`.
    """
    line = delimiter.join(names)
    if re.fullmatch("sep=.", line):
        raise SchemaError(
            f"{name}: its first line, {line}, is for a spreadsheet and names no columns: take it away",
            column="message_id",
        )
    for other, said in _SEPARATORS.items():
        cells = next(csv.reader([line], delimiter=other), [])
        more = sum(cell in known for cell in cells) > sum(cell in known for cell in names)
        if other != delimiter and len(cells) > 1 and (more or len(names) == 1):
            raise SchemaError(
                f"{name}: the columns are separated by {said}: read it with {option_text('delimiter', said)}",
                column="message_id",
            )


def check_once(name: str, names: list[str], is_wanted: Callable[[str], bool]) -> None:
    """Raise SchemaError for a column that is wanted and there twice, which a query would tell apart by a number."""
    for column in dict.fromkeys(names):
        if names.count(column) > 1 and is_wanted(column):
            raise SchemaError(
                f"{name}: column {column!r} is there {names.count(column)} times: keep one",
                column=column,
                given=tuple(names),
            )


class _Text:
    """An input as UTF-8, without a byte order mark."""

    def __init__(self, file: Input, encoding: str | None) -> None:
        self._file = file
        self._encoding = encoding
        self._decoder = None if encoding is None else codecs.getincrementaldecoder(encoding)(_FIRST_WRONG)
        self._wrong: int | None = None
        self._begun = False

    def read(self, size: int) -> bytes:
        """Some bytes, none at the end. BrokenRowError for one that cannot be decoded, once all before it is given."""
        data = self._decoded(size)
        if not self._begun and data:
            self._begun = True
            data = data.removeprefix(_BOM) or self._decoded(size)
        return data

    def _decoded(self, size: int) -> bytes:
        if self._decoder is None:
            return self._file.read(size)
        if self._wrong is not None:
            raise BrokenRowError(
                f"the byte 0x{self._wrong:02x} cannot be decoded as {self._encoding}",
                "give the encoding that the file is in, or mend it",
            )
        while True:
            data = self._file.read(size)
            try:
                text = self._decoder.decode(data, final=not data)
            except UnicodeError as error:  # no mark says in which order the bytes are
                raise BrokenRowError(
                    f"the text cannot be decoded as {self._encoding} ({error})",
                    f"say which, {self._encoding}-le or {self._encoding}-be, or give the encoding that the file is in",
                ) from None
            try:
                octets = text.encode()
            except UnicodeEncodeError as error:
                self._wrong = ord(text[error.start]) & 0xFF
                octets = text[: error.start].encode()
            if octets or not data:
                return octets or (self._decoded(size) if self._wrong is not None else b"")
            if self._wrong is not None:
                return self._decoded(size)


def _first_wrong(error: UnicodeError) -> tuple[str, int]:
    """A byte that cannot be decoded, as a surrogate, which then cannot be encoded: so it is found."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return chr(0xDC00 + error.object[error.start]), error.end


_FIRST_WRONG = "export_engine.first_wrong"
codecs.register_error(_FIRST_WRONG, _first_wrong)


class _Rows:
    """The rows of one input; counts rows and lines, for errors."""

    def __init__(self, file: Input, encoding: str | None, delimiter: str, escape: str | None) -> None:
        self._name = file.name
        self._delimiter = delimiter
        self._blocks = self._told(row_blocks(_Text(file, encoding).read, delimiter, escape))
        self._names: list[str] = []
        self._rows = 0
        self._lines = 0

    def _told(self, blocks: Iterator[pa.Buffer]) -> Iterator[pa.Buffer]:
        try:
            yield from blocks
        except BrokenRowError as fault:
            if not self._names or fault.cell is None:
                other = "" if self._names else ", or say what separates the cells (--delimiter, delimiter= in Python)"
                raise SourceError(f"{self._place()}: {fault}; {fault.advice}{other}") from None
            raise RowError(
                f"{fault}, in {self._name}",
                column=self._names[fault.cell] if fault.cell < len(self._names) else str(fault.cell + 1),
                row=self._rows + 1,
                advice=fault.advice,
            ) from None

    def _place(self) -> str:
        """The row after those that were read."""
        line = f" (line {self._lines + 1})" if self._lines else ""
        return f"{self._name}, row {self._rows + 1}{line}" if self._names else f"{self._name}, header"

    def header(self) -> list[str]:
        """The names of the columns; SourceError for an empty input."""
        for block in self._blocks:
            found = _HEADER.match(block)
            if found is None or not found[1]:
                continue
            self._blocks = chain([block.slice(found.end())], self._blocks)
            self._lines = found[0].count(b"\n")
            # What is not UTF-8 in an ignored column's name does no harm.
            text = found[1].decode("utf-8", "backslashreplace")
            try:
                self._names = next(csv.reader([text], delimiter=self._delimiter))
            except csv.Error as error:
                raise SourceError(f"{self._name} cannot be read as CSV: its header has {error}") from error
            return self._names
        raise SourceError(f"{self._name} cannot be read as CSV: it is empty; its first line must name the columns")

    def batches(self, schema: pa.Schema, at: Sequence[int]) -> Iterator[pa.RecordBatch]:
        """Some columns, by their places, as those of a schema, a block at a time."""
        places = list(map(str, at))
        convert = pacsv.ConvertOptions(
            check_utf8=False,  # done later, where the row is known
            column_types=dict.fromkeys(places, pa.string()),
            include_columns=places,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        parse = pacsv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True)
        for block in self._blocks:
            for table in self._tables(block, parse, convert):
                for batch in table.to_batches():
                    yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

    def _tables(self, block: pa.Buffer, parse: pacsv.ParseOptions, convert: pacsv.ConvertOptions) -> Iterator[pa.Table]:
        """The rows of a block, none where all its lines are empty; SourceError after those before an uneven one."""
        columns = [str(at) for at in range(len(self._names))]
        read = pacsv.ReadOptions(column_names=columns, block_size=len(block) + 2, use_threads=False)
        octets = np.frombuffer(block, np.uint8)
        lines = int(np.count_nonzero(octets == ord("\n")))
        if octets[: len(_BOM)].tobytes() == _BOM:  # pyarrow takes a mark at the beginning away; here it is text
            block = joined(b"\n", octets)
        if octets[-1:].tobytes() not in b"\r\n":  # pyarrow 26 takes an empty last cell for quoted after a quoted one
            block = joined(np.frombuffer(block, np.uint8), b"\n")
        try:
            table = pacsv.read_csv(pa.BufferReader(block), read, parse, convert)
        except pa.ArrowInvalid as error:
            uneven = uneven_row(block, self._delimiter, len(columns))
            if uneven is None:
                if block.to_pybytes().strip(b"\r\n"):
                    raise SourceError(f"{self._name} cannot be read as CSV: {error}") from error
                self._lines += lines
                return
            start, cells = uneven
            if start:
                yield from self._tables(block.slice(0, start), parse, convert)
            raise SourceError(
                f"{self._place()} has {cells} cells, and the header {len(columns)}; "
                f"{_TOO_MANY if cells > len(columns) else _TOO_FEW}"
            ) from None
        yield table
        self._rows += table.num_rows
        self._lines += lines


_TOO_MANY = "put a cell that holds the delimiter into quotes"
_TOO_FEW = "write each row with all its cells, empty ones too; a file cut short ends like this"
