"""What both kinds of JSON Lines have: a file read in blocks of whole lines, numbered, without its byte order mark."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Generator
from typing import IO, cast

from export_engine.errors import SourceError

__all__ = ["line_blocks", "opened"]

_BOM = b"\xef\xbb\xbf"
_BUFFER = 1 << 20


def opened(path: str | os.PathLike[str]) -> IO[bytes]:
    """A file's bytes; one whose name ends in `.gz` is gzip. The caller closes it."""
    if os.fspath(path).lower().endswith(".gz"):
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return open(path, "rb", buffering=_BUFFER)  # noqa: PTH123  # any kind of path


def line_blocks(file: IO[bytes], name: str, size: int) -> Generator[tuple[int, bytes], None, None]:
    """Yield runs of whole lines, of about `size` bytes or one longer line, with the number of the first (from 1).

    A block that is blank as a whole is left out, its lines counted. `name` is the file's in errors: SourceError for a
    damaged gzip file.
    """
    number = 1
    try:
        while block := file.read(size) + file.readline():
            whole = block.removeprefix(_BOM) if number == 1 else block
            if whole and not whole.isspace():
                yield number, whole
            number += block.count(b"\n")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(
            f"{name}, after line {number - 1}: the gzip file is damaged ({error}); make or fetch it again"
        ) from error
