"""CSV text in blocks of whole rows, its quotes held to RFC 4180.

A block is looked at as bits, 64 bytes at once: which bytes are quotes, and by a running parity of them which lie inside
quoted cells. So row ends inside cells are told from those between rows, and every quote is either the first of a cell,
the last of one, or doubled; any other is refused where it stands, as programs read it each in their own way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["BrokenRowError", "joined", "row_blocks", "uneven_row"]

#: Bytes looked at at a time; a longer row is met with longer blocks.
BLOCK = 1 << 20
#: The longest row, far below what pyarrow takes as one block.
LARGEST_ROW = 1 << 30

_ONE, _LAST = np.uint64(1), np.uint64(63)
_Bits = NDArray[np.uint64]
#: Bytes compared at a time, few enough to stay in a processor's cache.
_CHUNK = 1 << 18


class BrokenRowError(Exception):
    """Something wrong in the first row after those that were given so far.

    `advice` says what to do; `cell` counts the row's cells before it, and is None where that is not known.
    """

    def __init__(self, problem: str, advice: str, cell: int | None = None) -> None:
        super().__init__(problem)
        self.advice = advice
        self.cell = cell


_DOUBLE = 'put a cell that holds quotes into quotes, and double those inside: "5"" pipe"'
_ESCAPE = "quotes are escaped by backslashes here: read it with --csv-escape '\\' (escape=\"\\\\\" in Python)"


def row_blocks(read: Callable[[int], bytes], delimiter: str, escape: str | None) -> Iterator[pa.Buffer]:
    """Yield blocks of whole rows, in which quotes inside cells are doubled, whatever they were escaped by.

    `read` gives some bytes, none at the end. With `escape`, that character before a quote or before itself, inside
    quotes, makes it text; anywhere else it is text itself. Raises BrokenRowError for a quote that may not be where it
    is, after the last whole row before it, and lets one of `read` through.

    The blocks are memory of pyarrow's own: its threads never hold, and never have to free, anything of Python's.
    """
    rest = b""
    while True:
        data = read(max(BLOCK, len(rest)))
        block = joined(rest, data)
        error = None
        if b'"' in data or b'"' in rest:
            found = _Block(block, delimiter, escape)
            end, error = found.cut(last=not data)
            rows = found.doubled(end)
        else:
            end = _rows_end(data, len(rest)) if data else len(rest)
            rows = block.slice(0, end)
        if end:
            yield rows
        if error is not None:
            raise error
        if not data:
            return
        rest = block.slice(end).to_pybytes()
        if len(rest) > LARGEST_ROW:
            raise BrokenRowError("the row is longer than 1 GiB", "perhaps a quote is never closed, or this is no CSV")


def joined(*parts: bytes | NDArray[np.uint8]) -> pa.Buffer:
    """Bytes in a row, as memory of pyarrow's own."""
    block = pa.allocate_buffer(sum(map(len, parts)))
    np.concatenate([np.frombuffer(part, np.uint8) for part in parts], out=np.frombuffer(block, np.uint8))
    return block


def _rows_end(data: bytes, before: int) -> int:
    """Where the last whole row ends without a quote anywhere: any line end is a row's; what stood `before` has none."""
    end = data.rfind(b"\n") + 1 or data.rfind(b"\r") + 1
    return before + end if end else 0


def uneven_row(block: pa.Buffer, delimiter: str, cells: int) -> tuple[int, int] | None:
    """Where the first row with another number of cells begins, and how many it has; None if all are even.

    Empty lines are no rows.
    """
    found = _Block(block, delimiter, None)
    ends = np.append(_positions(found.row_ends), len(block))
    starts = np.append(0, ends[:-1] + 1)
    delimiters = _positions(found.delimiters & ~found.inside)
    counts = np.searchsorted(delimiters, ends) - np.searchsorted(delimiters, starts) + 1
    uneven = np.flatnonzero((counts != cells) & (ends > starts))
    return (int(starts[uneven[0]]), int(counts[uneven[0]])) if len(uneven) else None


class _Block:
    """Some bytes that begin where a row does, and what its bits say, one for each byte.

    `quotes` are those that begin or end quoted text, which a doubled one does twice; `inside` is set from the first to
    before the last. `fault` is where the first quote stands that may not be there, None if there is none: what follows
    the last byte is not known, and is let pass.
    """

    def __init__(self, block: pa.Buffer, delimiter: str, escape: str | None) -> None:
        self.block = block
        self.octets = np.frombuffer(block, np.uint8)
        self.escaping = escape is not None
        self.quotes, ends, self.delimiters = self._bits(b'"', b"\r\n", delimiter.encode())
        self.escaped_quotes = self.escaped_escapes = np.zeros(0, np.int64)
        if escape is not None:
            self.escaped_quotes, self.escaped_escapes = _escaped(self.octets, ord(escape))
        text = _of_positions(self.escaped_quotes, len(self.quotes))
        self.quotes &= ~text
        self.inside = _parity(self.quotes)
        self.row_ends = ends & ~self.inside
        self.fault = self._first_fault(ends, text)

    def _bits(self, *kinds: bytes) -> list[_Bits]:
        """For each of some kinds of bytes, where they stand; one bit more than there are bytes."""
        packed = [np.zeros(8 * (len(self.block) // 64 + 1), np.uint8) for _ in kinds]
        for at in range(0, len(self.block), _CHUNK):
            part = self.octets[at : at + _CHUNK]
            for into, kind in zip(packed, kinds, strict=True):
                mask = part == kind[0]
                for other in kind[1:]:
                    mask |= part == other
                bits = np.packbits(mask, bitorder="little")
                into[at // 8 : at // 8 + len(bits)] = bits
        return [bits.view("<u8") for bits in packed]

    def _first_fault(self, ends: _Bits, text: _Bits) -> int | None:
        beside = self.quotes | ends | self.delimiters
        beside[-1] |= np.uint64(1 << len(self.block) % 64)
        before, after = beside << _ONE, beside >> _ONE
        before[1:] |= beside[:-1] >> _LAST
        before[0] |= _ONE
        after[:-1] |= beside[1:] << _LAST
        wrong = self.quotes & ~(self.inside & before | ~self.inside & after)
        wrong |= text & ~self.inside
        words = np.flatnonzero(wrong)
        if not len(words):
            return None
        word = int(wrong[words[0]])
        return 64 * int(words[0]) + (word & -word).bit_length() - 1

    def cut(self, *, last: bool) -> tuple[int, BrokenRowError | None]:
        """Where the whole rows end, and what is wrong with the next; the `last` row needs no line end."""
        if self.fault is not None:
            return self._row_start(self.fault), self._misplaced(self.fault)
        end = len(self.block)
        if not last:
            return self._row_start(end), None
        if not self.inside[-1] >> _LAST:
            return end, None
        advice = f"the file is cut short, or {_DOUBLE}"
        return self._row_start(end), BrokenRowError("a quoted cell has no end", advice, self._cells_before(end))

    def _row_start(self, before: int) -> int:
        """Where the row begins in which a byte stands."""
        return _last_below(self.row_ends, before) + 1

    def _cells_before(self, at: int) -> int:
        """How many cells end before a byte of the row in which it stands."""
        between = _positions(self.delimiters & ~self.inside)
        return int(((between >= self._row_start(at)) & (between < at)).sum())

    def _misplaced(self, at: int) -> BrokenRowError:
        """The error for a quote that may not be there."""
        start = max(_last_below((self.delimiters | self.row_ends) & ~self.inside, at) + 1, at - 40)
        seen = self.octets[start : at + 8].tobytes().decode("utf-8", "backslashreplace")
        cell = self._cells_before(at)
        if self.inside[at // 64] >> np.uint64(at % 64) & _ONE or at in self.escaped_quotes:
            return BrokenRowError(f"a quote stands inside an unquoted cell: {seen!r}", _DOUBLE, cell)
        advice = _ESCAPE if self.octets[at - 1] == ord("\\") and not self.escaping else _DOUBLE
        return BrokenRowError(f"text follows a closing quote: {seen!r}", advice, cell)

    def doubled(self, end: int) -> pa.Buffer:
        """The bytes up to one, with quotes that are escaped doubled and escapes that are escaped as they are meant."""
        if not len(self.escaped_quotes) and not len(self.escaped_escapes):
            return self.block.slice(0, end)
        octets = self.octets[:end].copy()
        octets[self.escaped_quotes[self.escaped_quotes < end] - 1] = ord('"')
        at = self.escaped_escapes[self.escaped_escapes < end]
        inside = self.inside[at // 64] >> (at % 64).astype(np.uint64) & _ONE
        return joined(np.delete(octets, at[inside.astype(np.bool_)]))


def _parity(bits: _Bits) -> _Bits:
    """For every bit whether an odd number is set up to and with it."""
    odd = bits.copy()
    for shift in (1, 2, 4, 8, 16, 32):
        odd ^= odd << np.uint64(shift)
    before = np.bitwise_xor.accumulate(odd >> _LAST)
    odd[1:] ^= np.uint64(0) - before[:-1]
    return odd


def _escaped(octets: NDArray[np.uint8], escape: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where quotes, and where escapes, stand that the character before them makes text, in runs of two and two."""
    at = np.flatnonzero(octets == escape)
    if not len(at):
        return at, at
    begins = np.concatenate(([True], np.diff(at) != 1))
    nth = at - at[begins][np.cumsum(begins) - 1]
    follows = np.append(octets, 0)[at + 1]
    first = nth % 2 == 0
    return at[first & (follows == ord('"'))] + 1, at[first & (follows == escape)] + 1


def _of_positions(at: NDArray[np.int64], words: int) -> _Bits:
    bits = np.zeros(words, np.uint64)
    np.bitwise_or.at(bits, at // 64, _ONE << (at % 64).astype(np.uint64))
    return bits


def _positions(bits: _Bits) -> NDArray[np.int64]:
    return np.flatnonzero(np.unpackbits(bits.astype("<u8").view(np.uint8), bitorder="little"))


def _last_below(bits: _Bits, end: int) -> int:
    """The highest set bit below one; -1 if there is none."""
    low = bits[: end // 64 + 1].copy()
    if end // 64 < len(bits):
        low[-1] &= np.uint64((1 << end % 64) - 1)
    words = np.flatnonzero(low)
    return 64 * int(words[-1]) + int(low[words[-1]]).bit_length() - 1 if len(words) else -1
