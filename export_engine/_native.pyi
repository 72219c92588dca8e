# What each does is said by its docstring, in _native.c.

from collections.abc import Callable
from typing import TypeAlias

from typing_extensions import Buffer

VERSION: int

#: A column of strings as Arrow lays it out: which rows are not null, the first row's bit there, offsets, text.
_Column: TypeAlias = tuple[Buffer | None, int, Buffer, Buffer | None]

def deflate_members(csv: Buffer, cuts: Buffer, header: Buffer, /) -> tuple[bytes, bytes, bytes]: ...
def zip_members(
    csv: Buffer, cuts: Buffer, header: Buffer, names: Buffer, ends: Buffer, created: Buffer, model: Buffer, /
) -> tuple[bytes, bytes, bytes, bytes, bytes]: ...
def deflate_piece(data: Buffer, dictionary: Buffer, last: bool, /) -> bytes: ...
def crc32(data: Buffer, start: int = 0, /) -> int: ...
def render_csv(
    columns: tuple[_Column | tuple[Buffer, Buffer], ...],
    rows: int,
    line_end: Buffer,
    bounds: Buffer,
    out: Buffer,
    /,
) -> tuple[int, bytes, int]: ...
def find_words(column: _Column, rows: int, words: tuple[str, ...], /) -> bytes: ...
def count_doubled(column: _Column, rows: int, /) -> int: ...
def are_utf8(offsets: Buffer, width: int, data: Buffer, /) -> bool: ...
def member_names(
    names: _Column,
    phones: _Column,
    count: int,
    rows: Buffer,
    created: Buffer,
    ending: Buffer,
    folded_ending: Buffer,
    unknown: Buffer,
    room: int,
    key: Buffer,
    odd: Callable[[int], tuple[bytes, bytes]],
    /,
) -> tuple[bytes, bytes, bytes]: ...
def digest_rows(column: _Column, count: int, rows: Buffer, key: Buffer, /) -> bytes: ...
def interleave(columns: tuple[tuple[Buffer, Buffer, Buffer], ...], /) -> bytes: ...
