# What each does is said by its docstring, in _native.c.

from typing_extensions import Buffer

VERSION: int

def deflate_members(csv: Buffer, cuts: Buffer, header: Buffer, /) -> tuple[bytes, bytes, bytes]: ...
def deflate_piece(data: Buffer, dictionary: Buffer, last: bool, /) -> bytes: ...
def crc32(data: Buffer, start: int = 0, /) -> int: ...
def render_csv(
    columns: tuple[tuple[Buffer | None, int, Buffer, Buffer | None], ...],
    rows: int,
    line_end: Buffer,
    bounds: Buffer,
    out: Buffer,
    /,
) -> tuple[int, bytes]: ...
def interleave(columns: tuple[tuple[Buffer, Buffer, Buffer], ...], /) -> bytes: ...
