"""Blocks of whole CSV rows, held against a reader of single characters."""

from __future__ import annotations

import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export_engine.sources.csv_rows import BrokenRowError, joined, row_blocks, uneven_row


def in_pieces(data: bytes, sizes: list[int]) -> io.BytesIO:
    """A file whose reads give pieces of these sizes in turn, whatever is asked for."""

    class Pieces(io.BytesIO):
        at = 0

        def read(self, size: int | None = -1) -> bytes:
            del size
            self.at += 1
            return super().read(sizes[self.at % len(sizes)])

    return Pieces(data)


def cut(data: bytes, sizes: list[int], escape: str | None = None) -> tuple[bytes, BrokenRowError | None]:
    """All blocks together, and the error after them."""
    rows = b""
    try:
        for block in row_blocks(in_pieces(data, sizes).read, ",", escape):
            rows += block.to_pybytes()
    except BrokenRowError as error:
        return rows, error
    return rows, None


def reference(text: str, escape: str | None) -> tuple[str, int | None]:
    """The same by RFC 4180, character by character: the sound rows and, if one is not, in which of its cells."""
    done, row, state, cell = "", "", "begin", 0
    at = 0
    while at < len(text):
        char, after = text[at], text[at + 1 : at + 2]
        at += 1
        if state == "quoted":
            if escape is not None and char == escape and after in (escape, '"') and after:
                row += '""' if after == '"' else escape
                at += 1
            elif char == '"' and after == '"':
                row += '""'
                at += 1
            else:
                row += char
                state = "quoted" if char != '"' else "closed"
        elif char in "\r\n":
            done, row, state, cell = done + row + char, "", "begin", 0
        elif char == ",":
            row, state, cell = row + char, "begin", cell + 1
        elif char == '"' and state == "begin":
            row, state = row + char, "quoted"
        elif char == '"' or state == "closed":
            return done, cell
        else:
            row, state = row + char, "plain"
    return (done, cell) if state == "quoted" else (done + row, None)


TEXTS = (
    st.text('"",,\n\rab', max_size=40) | st.text('"",\n\\\\a', max_size=30) | st.text('"\n', min_size=60, max_size=150)
)
SIZES = st.lists(st.integers(1, 70), min_size=1, max_size=4)


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(TEXTS, SIZES, st.sampled_from([None, "\\"]))
@example('a,"b\n', [1], None)
@example('"a\\"",b\\\n"\\\\"', [3], "\\")
def test_any_text_in_any_pieces(text: str, sizes: list[int], escape: str | None) -> None:
    """Sound rows come whole and as they are, quotes doubled; the first unsound one is an error that knows its cell."""
    rows, error = cut(text.encode(), sizes, escape)
    expected, cell = reference(text, escape)
    assert rows.decode() == expected
    assert (None if error is None else error.cell) == cell


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["", "a", '"b\n"', '"c,""d"']), max_size=5), max_size=30), st.integers(1, 5))
def test_the_first_row_of_another_length(rows: list[list[str]], cells: int) -> None:
    """Where it begins and how many cells it has; empty lines are no rows."""
    lines = [",".join(row) for row in rows]
    block = joined("\r\n".join(lines).encode())
    uneven = [at for at, line in enumerate(lines) if line and len(rows[at]) != cells]
    expected = (sum(len(line) + 2 for line in lines[: uneven[0]]), len(rows[uneven[0]])) if uneven else None
    if len(block):
        assert uneven_row(block, ",", cells) == expected


def test_a_row_longer_than_a_block_is_read_in_few_passes() -> None:
    """What is read at a time doubles, so that a long row costs no more than a few times its length."""
    data = b'"' + b'x"",\n' * 2_000_000 + b'"\nb\n'
    file, sizes = io.BytesIO(data), []

    def read(size: int) -> bytes:
        sizes.append(size)
        return file.read(size)

    assert b"".join(block.to_pybytes() for block in row_blocks(read, ",", None)) == data
    assert len(sizes) < 8


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('a,"b"c\n', 'text follows a closing quote: \'"b"c'),
        ('a,b" c\n', "inside an unquoted cell: 'b\" c"),
        ('a,"she said \\"x\\""\n', "--csv-escape"),
        ('a,"b\n', "cut short"),
    ],
)
def test_what_is_said(text: str, says: str) -> None:
    """What stands there, and what to do."""
    _, error = cut(text.encode(), [100])
    assert error is not None
    assert says in f"{error}; {error.advice}"
