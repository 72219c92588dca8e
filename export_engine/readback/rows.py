"""A member's CSV as rows: cut into runs of whole rows, and read row by row where they are not plain.

A row may be of any length. Of one that passes `LONGEST_ROW` bytes, the long cells are cut where they are read:
what is kept of them is their beginning, so that memory is bounded and every other cell is read as ever.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain

import numpy as np

from export_engine.errors import ArchiveError
from export_engine.schema import COLUMN_NAMES

__all__ = ["BOM", "HEADERS", "LONGEST_ROW", "Row", "cause", "first_row", "header_of", "scanned", "whole_rows"]

BOM = b"\xef\xbb\xbf"
_NAMES = ",".join(COLUMN_NAMES).encode()

#: What a CSV can begin with, and the line end that goes with it.
HEADERS = {bom + _NAMES + line_end: line_end for bom in (b"", BOM) for line_end in (b"\r\n", b"\n")}

#: A longer row is not held whole.
LONGEST_ROW = 8 << 20
#: What is kept of a long cell of such a row.
_KEPT = 1 << 16
#: After so many searches for a row's end one by one they are all looked up at once.
_TRIES = 32

# A cell: quoted, with quotes in it doubled; or not, as null is, or as other programs write. What ends it comes next.
_CELL = re.compile(rb'(?:"([^"]*+(?:""[^"]*+)*+)"|([^",\r\n]*+))(,|\r\n|\n)')
_OPEN = re.compile(rb'"[^"]*+(?:""[^"]*+)*+\Z')


def header_of(chunks: Iterator[bytes]) -> tuple[bytes, bytes, Iterator[bytes]]:
    """The header, its line end, and the chunks behind it. Raises ArchiveError for another header than the engine's."""
    held = b""
    longest = max(map(len, HEADERS))
    for chunk in chunks:
        held += chunk
        if len(held) >= longest:
            break
    for header, line_end in HEADERS.items():
        if held.startswith(header):
            return header, line_end, chain([held[len(header) :]], chunks)
    first = held.split(b"\n", 1)[0][:200].decode(errors="backslashreplace")
    raise ArchiveError(f"the header is not the twelve columns but {first!r}")


def whole_rows(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """A CSV's bytes, cut at ends of rows. Raises ArchiveError for bytes that are not UTF-8 or rows that do not end."""
    decode = getincrementaldecoder("utf-8")().decode
    held: list[bytes] = []
    size = open_ = 0
    try:
        for chunk in chunks:
            decode(chunk)
            end = _last_end(chunk, open_)
            if end:
                yield b"".join((*held, chunk[:end]))
                held, size, open_ = [], 0, 0
                chunk = chunk[end:]  # noqa: PLW2901  # the rest of it
            if chunk:
                held.append(chunk)
                size += len(chunk)
                open_ ^= _quotes(chunk) & 1
            if size > LONGEST_ROW:
                held = [_shortened(b"".join(held))]
                size = len(held[0])
        decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise ArchiveError(f"the CSV cannot be read: {error}") from error
    if held:
        text = "the last cell's quotes are never closed" if open_ else "the last line has no end"
        raise ArchiveError(f"the CSV cannot be read: {text}")


def _quotes(data: bytes | memoryview) -> int:
    """How many quotes there are; several times as fast as counting them one after another."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == _QUOTE)) if len(data) else 0


_QUOTE = ord('"')


def _last_end(chunk: bytes, open_: int) -> int:
    """Where the last row that ends in a chunk ends, 0 if none does; `open_` is 1 where the chunk begins in quotes."""
    at = chunk.rfind(b"\n")
    if at < 0:
        return 0
    quotes = open_ + _quotes(memoryview(chunk)[:at])
    for _ in range(_TRIES):
        if not quotes % 2:
            return at + 1
        # This line end is in quotes; so is every one behind the quote before it.
        quote = chunk.rfind(b'"', 0, at)
        at = chunk.rfind(b"\n", 0, max(quote, 0))
        if at < 0:
            return 0
        quotes -= chunk.count(b'"', at, quote + 1)
    codes = np.frombuffer(chunk, np.uint8)
    line_ends = np.flatnonzero(codes[: at + 1] == ord("\n"))
    before = np.searchsorted(np.flatnonzero(codes[: at + 1] == ord('"')), line_ends) + open_
    outside = line_ends[before % 2 == 0]
    return int(outside[-1]) + 1 if len(outside) else 0


def _shortened(row: bytes) -> bytes:
    """The beginning of a row with its long cells cut. Raises ArchiveError where it has more cells than a row has."""
    cells: list[bytes] = []
    at = 0
    while len(cells) <= len(COLUMN_NAMES):
        cell = _CELL.match(row, at)
        if cell is None:
            break
        text, bare, behind = cell.groups()
        if max(len(text or b""), len(bare or b"")) > _KEPT:
            cells.append(b'"%b"%b' % (_cut(text or bare, digest=not cells), behind))
        else:
            cells.append(cell[0])
        at = cell.end()
    else:
        raise ArchiveError(f"the CSV cannot be read: a row of more than {LONGEST_ROW} bytes has more than 12 cells")
    rest = row[at:]
    if len(rest) > _KEPT:
        if not rest.startswith(b'"'):
            raise ArchiveError(f"the CSV cannot be read: a row of more than {LONGEST_ROW} bytes has no quotes")
        # Quotes at the very end may close the cell or not: what matters is whether their number is odd.
        text = rest[1:].rstrip(b'"')
        tail = len(rest) - 1 - len(text)
        rest = b'"%b%b' % (_cut(text, digest=not cells), b'"' * (tail % 2 or 2 * bool(tail)))
    return b"".join((*cells, rest))


def _cut(text: bytes, *, digest: bool) -> bytes:
    """A long text's beginning, with no half of two quotes or of a character; a digest keeps ids apart."""
    if text.count(b'"') != 2 * text.count(b'""'):
        raise ArchiveError("the CSV cannot be read: text stands behind the closing quote")
    head = text[:_KEPT].decode(errors="ignore").encode()
    if (len(head) - len(head.rstrip(b'"'))) % 2:
        head = head[:-1]
    return head + (blake2b(text, digest_size=16).hexdigest().encode() if digest else b"[...]")


@dataclass(slots=True)
class Row:
    """One row: its texts (quotes as they were meant; None for a null), and what is not as it should be written."""

    cells: list[bytes | None]
    problem: str = ""


def scanned(data: bytes, line_end: bytes) -> Iterator[Row]:
    """Rows one by one, as a reader would take them that bears with much.

    Raises ArchiveError, with the number of rows before it in these bytes, for text around quotes.
    """
    at, row, problem = 0, Row([]), ""
    while at < len(data):
        cell = _CELL.match(data, at)
        if cell is None:
            column = COLUMN_NAMES[min(len(row.cells), len(COLUMN_NAMES) - 1)]
            raise ArchiveError(f"column {column!r}: the CSV cannot be read: {_reason(data, at)}")
        text, bare, behind = cell.groups()
        if bare:
            column = COLUMN_NAMES[min(len(row.cells), len(COLUMN_NAMES) - 1)]
            shown = bare[:80].decode(errors="backslashreplace")
            problem = problem or f"column {column!r}: {shown!r} is not quoted"
        row.cells.append(bare or None if text is None else text.replace(b'""', b'"'))
        at = cell.end()
        if behind != b",":
            if behind != line_end:
                problem = problem or f"ends in {behind!r}, not {line_end!r} as the header does"
            row.problem = problem
            yield row
            row, problem = Row([]), ""


def first_row(chunks: Iterator[bytes]) -> Row | None:
    """The first row of a CSV, None without rows. Raises ArchiveError for a CSV that cannot be read so far."""
    _, line_end, rest = header_of(chunks)
    return next(chain.from_iterable(scanned(rows, line_end) for rows in whole_rows(rest)), None)


def cause(error: ArchiveError, data: Iterator[bytes]) -> str:
    """Why a CSV cannot be read: damage to its bytes, which reading on would find, explains all that is odd in it."""
    try:
        for _ in data:
            pass
    except ArchiveError as damage:
        return str(damage)
    return str(error)


def _reason(data: bytes, at: int) -> str:
    if data.startswith(b'"', at):
        return "the quotes are never closed" if _OPEN.match(data, at) else "text stands behind the closing quote"
    return "a quote or a line end stands within a text that is not quoted"
