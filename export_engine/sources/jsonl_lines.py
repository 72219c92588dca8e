"""What both kinds of JSON Lines have: an input read in blocks of whole lines, and two roads from a block to rows.

The fast road is pyarrow's JSON reader: a block straight to columns, with no Python object a line, outside the
interpreter's lock. It is taken where everything is as it should be, and gives nothing at the least doubt: a character
that is none, a value of another kind, a key that is there twice. Then the block is halved a few times, so that the good
parts still take it, and the rest takes the careful road: the standard library decodes line by line and keeps lone
surrogates and numbers as they were written, and errors can name their place. Where both roads give rows, they give the
same.
"""

from __future__ import annotations

import io
import json
import sys
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.json as pajson
from numpy.typing import NDArray

from export_engine.errors import SourceError
from export_engine.schema import MAX_BATCH_BYTES
from export_engine.sources import SourceContext
from export_engine.sources.inputs import Input

__all__ = ["INTEGER", "NUMBER", "Lines", "by_two_roads", "decoded", "in_columns", "line_blocks", "read_lines"]

_T = TypeVar("_T")
_Made = TypeVar("_Made")

#: What numbers are to the fast road: integers, or times with a fraction, which keep their digits.
INTEGER, NUMBER = pa.int64(), pa.decimal128(38, 9)

_BOM = b"\xef\xbb\xbf"
#: How often a block is halved: an eighth of one with a single odd line takes the careful road.
_HALVINGS = 3
#: How many blocks are begun before the one that is asked for, where there is a thread for them.
_AHEAD = 2


class Lines:
    """A run of whole lines and the number of the first."""

    __slots__ = ("block", "number", "starts")

    def __init__(self, number: int, block: bytes, starts: NDArray[np.int64] | None = None) -> None:
        self.number = number
        self.block = block
        #: Where they begin.
        self.starts = _line_starts(block) if starts is None else starts

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """The lines that are not blank, with their numbers."""
        for number, line in enumerate(io.BytesIO(self.block), self.number):
            if not line.isspace():
                yield number, line

    def halves(self) -> tuple[Lines, Lines]:
        """The first half of two lines or more, and the second."""
        half = len(self.starts) // 2
        at = int(self.starts[half])
        return (
            Lines(self.number, self.block[:at], self.starts[:half]),
            Lines(self.number + half, self.block[at:], self.starts[half:] - at),
        )


def line_blocks(file: Input, size: int) -> Iterator[Lines]:
    """Yield runs of whole lines, of about `size` bytes or one longer line.

    A block that is blank as a whole is left out, its lines counted.
    """
    number = 1
    while block := file.read(size) + file.readline():
        lines = Lines(number, block.removeprefix(_BOM) if number == 1 else block)
        if lines.block and not lines.block.isspace():
            yield lines
        number += len(lines.starts)


def _line_starts(block: bytes) -> NDArray[np.int64]:
    """Where the lines of a block begin; none in an empty one."""
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
    starts = np.concatenate((np.zeros(1, np.int64), ends))
    return starts[:-1] if starts[-1] == len(block) else starts


def by_two_roads(
    blocks: Iterator[Lines],
    fast: Callable[[Lines, SourceContext], _Made | None],
    taken: Callable[[Lines, _Made], _T | None],
    careful: Callable[[Lines], Iterator[_T]],
    context: SourceContext,
) -> Iterator[_T]:
    """What is made of blocks of lines, in order: by the fast road where it is open.

    `fast` makes something of a block, in whichever thread and perhaps before the blocks in front of it are asked for;
    it gets a context of its own. `taken` is called in order, with what was made: there is what one block has to know of
    another. Either gives None where the careful road is to be taken.
    """

    def made(lines: Lines, apart: SourceContext, result: _Made | None, halvings: int) -> Iterator[_T]:
        found = None if result is None else taken(lines, result)
        if found is not None:
            context.add(apart)
            yield found
        elif halvings and len(lines.starts) > 1:
            for half in lines.halves():
                apart = context.apart()
                yield from made(half, apart, fast(half, apart), halvings - 1)
        else:
            yield from careful(lines)

    for lines, apart, result in _begun(blocks, fast, context):
        yield from made(lines, apart, result(), _HALVINGS)


def _begun(
    blocks: Iterator[Lines], fast: Callable[[Lines, SourceContext], _Made | None], context: SourceContext
) -> Iterator[tuple[Lines, SourceContext, Callable[[], _Made | None]]]:
    """Each block, and what gives what is made of it: begun ahead where there is a thread for it.

    What is wrong with reading is raised when all that was read before it has been taken.
    """
    submit, ahead = (partial, 0) if context.submit is None else (context.submit, _AHEAD)
    begun: deque[tuple[Lines, SourceContext, Callable[[], _Made | None]]] = deque()
    failure: Exception | None = None
    more = True
    while more or begun:
        while more and len(begun) <= ahead:
            try:
                lines = next(blocks, None)
            except Exception as error:  # noqa: BLE001  # it is raised below, in its turn
                lines, failure = None, error
            more = lines is not None
            if lines is not None:
                apart = context.apart()
                begun.append((lines, apart, submit(fast, lines, apart)))
        if begun:
            yield begun.popleft()
    if failure is not None:
        raise failure


# --- the fast road -------------------------------------------------------------------------------------------------


def in_columns(lines: Lines, options: pajson.ParseOptions) -> pa.RecordBatch | None:
    """One row a line, as pyarrow reads it with an explicit schema; None where another road is taken."""
    if not 0 < len(lines.block) <= 2 * MAX_BATCH_BYTES:
        return None
    # pyarrow 26 crashes on a line that is null; such a line must not reach it, nor may any that begins otherwise.
    if (np.frombuffer(lines.block, np.uint8)[lines.starts] != ord("{")).any() or not _is_utf8(lines.block):
        return None
    try:
        read = pajson.ReadOptions(block_size=len(lines.block) + 1, use_threads=False)
        table = pajson.read_json(pa.BufferReader(lines.block), read, options)
    except pa.ArrowInvalid:
        return None
    if table.num_rows != len(lines.starts):  # two objects on a line
        return None
    return table.combine_chunks().to_batches()[0]


def _is_utf8(block: bytes) -> bool:
    """Whether a block is UTF-8; then so is every string in it, which the reader does not check itself."""
    if block.isascii():
        return True
    ends = pa.py_buffer(np.array([0, len(block)], np.int32))
    try:
        pa.Array.from_buffers(pa.string(), 1, [None, ends, pa.py_buffer(block)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


# --- the careful road ----------------------------------------------------------------------------------------------


class _Written(float):
    """A JSON number with a fraction or an exponent, that is shown as it was written: a float has fewer digits."""

    __slots__ = ("written",)
    written: str

    def __new__(cls, written: str) -> Self:
        made = super().__new__(cls, written)
        made.written = written
        return made

    def __repr__(self) -> str:
        return self.written


def read_lines(lines: Lines, read: Callable[[int, bytes], _T], context: SourceContext) -> Iterator[_T]:
    """What is read of each line; one that cannot be is left out where the context wants to be told of all."""
    for number, line in lines:
        try:
            yield read(number, line)
        except SourceError as error:
            if context.refused is None:
                raise
            context.refused(error)


def decoded(line: bytes, number: int, name: str, objects: Callable[[list[tuple[str, Any]]], Any]) -> Any:
    """The JSON value of a line; what `objects` makes of the keys and values of each object in it.

    Lone surrogates may be in it, escaped or as bytes. Raises SourceError for a line that is not JSON.
    """
    try:
        return json.loads(line.decode("utf-8", "surrogatepass"), object_pairs_hook=objects, parse_float=_Written)
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg}, at character {error.colno}"
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8: {error.reason}, at byte {error.start + 1}"
    except ValueError:  # Python's limit on the digits of an integer
        digits = f"{sys.get_int_max_str_digits():,}"
        raise SourceError(
            f"{name}, line {number} has a whole number of more than {digits} digits; write it as text, in quotes"
        ) from None
    except RecursionError:
        problem = "is nested too deeply"
    raise SourceError(f"{name}, line {number} {problem}; write one whole JSON object a line")
