"""What both kinds of JSON Lines have: an input read in blocks of whole lines, numbered, without its byte order mark."""

from __future__ import annotations

from collections.abc import Generator

from export_engine.sources.inputs import Input

__all__ = ["line_blocks"]

_BOM = b"\xef\xbb\xbf"


def line_blocks(file: Input, size: int) -> Generator[tuple[int, bytes], None, None]:
    """Yield runs of whole lines, of about `size` bytes or one longer line, with the number of the first (from 1).

    A block that is blank as a whole is left out, its lines counted.
    """
    number = 1
    while block := file.read(size) + file.readline():
        whole = block.removeprefix(_BOM) if number == 1 else block
        if whole and not whole.isspace():
            yield number, whole
        number += block.count(b"\n")
