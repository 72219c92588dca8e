r"""The guard: a `'` before each text that a spreadsheet could take for a formula, an array at a time.

What may be taken for one (OWASP, "CSV Injection"; ASVS 1.2.10):

- A cell that begins with `=`, `+`, `-` or `@`, with one of their full-width forms `＝＋－＠` (alive in East Asian
  Excels), or with a tab, CR, LF or NUL, which readers may drop.
- What follows a `;`, tab, CR or LF *inside* a cell, where it begins so: a spreadsheet that separates at `;` (those of
  most of Europe) or tab takes the commas for text and the quotes around the cells for no quotes, and makes cells of
  what lies between. There, quotes may stand before the formula: a field's leading quotes are the reader's own. Tabs
  and line ends are separators themselves, so that each CRLF between two lines stays as it is.

Each such place gets one `'`; so does one that begins with `'` itself. That makes it reversible: whoever takes one `'`
off the beginning of a cell, and after each `;`, tab, CR and LF inside it, has the value as it was. In Python:
`re.sub(r"(\A|[;\t\r\n])'", r"\1", cell)`.

A blank is no such beginning: spreadsheets take ` =1` for text, which is how people write it. Nor does a comma separate
anything but the cells: inside one it stands between quotes.

With `CsvDialect.digits_guard`, ids, phone numbers and accounts get the same `'` where a spreadsheet would take them for
a number or a date and show another text: more than 15 digits (of which it keeps 15), a zero in front, a fraction, an
exponent, a percentage, brackets, a date or a time of digits. LibreOffice changes all of these but some dates; Excel
those, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_engine.errors import ArchiveError
from export_engine.options import CsvDialect
from export_engine.schema import COLUMN_NAMES

__all__ = ["guard"]

_PHONE = COLUMN_NAMES.index("contact_phone")
#: The columns of digits that are no numbers.
_LABELS = frozenset(map(COLUMN_NAMES.index, ("message_id", "conversation_id", "contact_phone", "sender_account")))
#: What of them a spreadsheet writes otherwise: numbers that are not 1 to 15 digits without a zero in front, then dates
#: and times.
_CHANGED = (
    r"\A *(?:0[0-9]+|[0-9]{16,}|[0-9]+[.,][0-9.,]*|[.,][0-9]+|[0-9.,]+[eE][+-]?[0-9]+|[0-9.,]+ ?%|\([0-9.,]+\)"
    r"|(?:[0-9]{1,2}[-/])?[0-9]{1,2}[-/][0-9]{1,4}|[0-9]{4}[-/][0-9]{1,2}(?:[-/][0-9]{1,2})?"
    r"|[0-9]+:[0-9:]*(?:[.,][0-9]*)?) *\z"
)
_MOST = 2**31 - 1

_QUOTE, _MARK, _FULL_WIDTH = b"\"'\xef"


def _table(octets: bytes) -> NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[list(octets)] = True
    return table


_AT_START = _table(b"=+-@'\0\t\r\n")
_NUMBERS = _table(b"0123456789 .,(")
_INSIDE = _table(b"=+-@'\0")
#: What follows the first byte of a full-width `＋`, `－`, `＝` or `＠` in UTF-8, as one number.
_FULL_WIDTHS = np.array([int.from_bytes(sign.encode()[1:], "big") for sign in "＋－＝＠"])


def guard(columns: Sequence[pa.Array], dialect: CsvDialect) -> list[pa.Array]:
    """The string columns with `'` wherever a spreadsheet could take a text for a formula.

    With `dialect.bare_e164`, well-formed numbers in `contact_phone` stay as they are; with `dialect.digits_guard`, ids,
    phone numbers and accounts that it would change get one as well. Raises ArchiveError where a column would pass 2 GiB
    by it.
    """
    return [
        _guarded(
            column,
            bare_e164=dialect.bare_e164 and index == _PHONE,
            digits=dialect.digits_guard and index in _LABELS,
        )
        for index, column in enumerate(columns)
    ]


def _guarded(column: pa.Array, *, bare_e164: bool, digits: bool) -> pa.Array:
    _, offsets, data = column.buffers()
    if data is None or not len(column):
        return column
    bounds = np.frombuffer(offsets, np.int32, len(column) + 1, 4 * column.offset)
    octets = np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]]
    bounds = bounds.astype(np.int64) - bounds[0]
    if not len(octets):
        return column
    starts = bounds[:-1][bounds[:-1] < bounds[1:]]
    risky = _AT_START[octets[starts]] | _full_width(octets, starts)
    if bare_e164 and risky.any():
        risky &= ~_matching(column, r"\A\+[1-9][0-9]{1,14}\z")[bounds[:-1] < bounds[1:]]
    if digits and _NUMBERS[octets[starts]].any():
        risky |= _matching(column, _CHANGED)[bounds[:-1] < bounds[1:]]
    places = np.concatenate((starts[risky], _inside(octets, bounds)))
    if not len(places):
        return column
    places.sort()
    marked = np.insert(octets, places, _MARK)
    if len(marked) > _MOST:
        raise ArchiveError(
            "with the formula guard, the texts of one batch pass 2 GiB: keep such texts elsewhere and export links"
        )
    moved = (bounds + np.searchsorted(places, bounds)).astype(np.int32)
    valid = None
    if column.null_count:
        valid = pa.array(column.is_valid().to_numpy(zero_copy_only=False)).buffers()[1]
    return pa.StringArray.from_buffers(len(column), pa.py_buffer(moved), pa.py_buffer(marked), valid)


def _matching(column: pa.Array, pattern: str) -> NDArray[np.bool_]:
    """Which cells match an expression; nulls do not."""
    found: NDArray[np.bool_] = pc.match_substring_regex(column, pattern).fill_null(False).to_numpy(zero_copy_only=False)
    return found


def _inside(octets: NDArray[np.uint8], bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places inside cells, behind a separator, at which a text begins like a formula."""
    # A comparison a separator takes a fraction of looking each byte up.
    separators = (octets == ord(";")) | (octets == ord("\t")) | (octets == ord("\r")) | (octets == ord("\n"))
    after = np.flatnonzero(separators) + 1
    if not len(after):
        return after
    ends = bounds[np.searchsorted(bounds, after - 1, side="right")]
    after, ends = after[after < ends], ends[after < ends]
    begins = after
    if (octets[after] == _QUOTE).any():
        others = np.append(np.flatnonzero(octets != _QUOTE), len(octets))
        after = others[np.searchsorted(others, after)]
        begins, after = begins[after < ends], after[after < ends]
    return begins[_INSIDE[octets[after]] | _full_width(octets, after)]


def _full_width(octets: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a full-width sign stands at each place, which begins a character."""
    found: NDArray[np.bool_] = octets[places] == _FULL_WIDTH
    if found.any():
        wide = places[found]
        found[found] = np.isin(octets[wide + 1].astype(np.int64) << 8 | octets[wide + 2], _FULL_WIDTHS)
    return found
