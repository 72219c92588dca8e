"""Many rows of CSV at once, as long as they are plain: twelve cells, each quoted or empty, and one line end throughout.

That is what `CsvDialect` can write. Cells are found by their quotes alone, without looking at the text: outside of
quotes there is nothing but commas and line ends. Whatever else stands there makes `table` give up, and `rows` then
reads row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export_engine.schema import COLUMN_NAMES

__all__ = ["Table", "instants", "table"]

_WIDTH = len(COLUMN_NAMES)
_QUOTE, _COMMA, _LF, _CR = b'",\n\r'

_DAY = 86_400_000_000
#: Length of `YYYY-MM-DDTHH:MM:SS.ffffff`, which an offset from UTC follows: nothing but Z, or hours and minutes, and
#: seconds where there are any.
_LOCAL_TIME = 26
_SUFFIXES = (1, 6, 9)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of CSV, and for each row and column where in `data` the cell's text begins and how many bytes it has.

    Quotes inside a text are doubled still. The length is -1 for a null, which is an empty cell without quotes.
    `begins` has the place where each row begins.
    """

    data: bytes
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    begins: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.begins)

    def texts(self, column: int) -> list[bytes]:
        """A column's texts; empty for a null."""
        return self.cells(self.starts[:, column], self.lengths[:, column])

    def cells(self, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[bytes]:
        """The texts of some cells; empty for a null."""
        ends = starts + np.maximum(lengths, 0)
        texts = list(map(self.data.__getitem__, map(slice, starts.tolist(), ends.tolist())))
        return [text.replace(b'""', b'"') for text in texts] if b'""' in b"".join(texts) else texts

    def bytes_at(self, places: NDArray[np.int64], count: int) -> NDArray[np.void]:
        """`count` bytes from each of some places, as far as the data go."""
        whole = len(self.data) - count + 1
        view = np.ndarray((max(whole, 0),), f"V{count}", self.data, strides=(1,))
        return view[np.minimum(places, whole - 1)] if whole > 0 else np.zeros(len(places), f"V{count}")


def table(data: bytes, line_end: bytes) -> Table | None:
    """The rows in some bytes of CSV without its header; None where they are not plain."""
    if not data:
        nothing = np.zeros((0, _WIDTH), np.int64)
        return Table(data, nothing, nothing, nothing[:, 0])
    codes = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(codes == _QUOTE)
    if not len(quotes) or len(quotes) % 2 or quotes[0] or not data.endswith(line_end):
        return None
    opens, closes = quotes[::2], quotes[1::2]
    # Between a closing and the next opening quote: nothing where the two are one quote inside a text.
    gaps = opens[1:] - closes[:-1] - 1
    if not gaps.all():
        outside = gaps > 0
        opens = opens[np.concatenate((_TRUE, outside))]
        closes = closes[np.concatenate((outside, _TRUE))]
        gaps = gaps[outside]
    gaps = np.append(gaps, len(data) - closes[-1] - 1)
    ends = codes[closes + gaps] == _LF  # the gap's last byte
    commas = gaps - len(line_end) * ends
    if not _plain(codes, closes, commas, ends, line_end):
        return None
    # Cells are numbered throughout; the last gap of a row leads to the next row's first.
    cells = np.cumsum(commas + ends)
    cells = np.concatenate((cells[:1] * 0, cells))
    last = np.flatnonzero(ends)
    firsts = np.concatenate((last[:1] * 0, last + 1))
    if not np.array_equal(cells[firsts], np.arange(len(firsts)) * _WIDTH):
        return None
    shape = (len(last), _WIDTH)
    if len(opens) == len(last) * _WIDTH:
        starts = opens + 1
        return Table(data, starts.reshape(shape), (closes - starts).reshape(shape), opens[firsts[:-1]])
    starts, lengths = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
    starts.reshape(-1)[cells[:-1]] = opens + 1
    lengths.reshape(-1)[cells[:-1]] = closes - opens - 1
    return Table(data, starts, lengths, opens[firsts[:-1]])


_TRUE = np.ones(1, np.bool_)


def _plain(
    codes: NDArray[np.uint8],
    closes: NDArray[np.int64],
    commas: NDArray[np.int64],
    ends: NDArray[np.bool_],
    line_end: bytes,
) -> bool:
    """Whether there is nothing between quotes but commas, and behind them a line end where the gap has one."""
    if not ends[-1] or commas.min() < 0:
        return False
    if len(line_end) == 2 and not (codes[closes[ends] + commas[ends] + 1] == _CR).all():
        return False
    some = commas > 0
    if not (codes[closes[some] + 1] == _COMMA).all():
        return False
    more = np.flatnonzero(commas > 1)
    if not len(more):
        return True
    if commas[more].max() > _WIDTH:
        return False
    counts = commas[more] - 1
    begins = np.cumsum(counts) - counts
    places = np.arange(int(counts.sum())) + np.repeat(closes[more] + 2 - begins, counts)
    return bool((codes[places] == _COMMA).all())


# --- times ---------------------------------------------------------------------------------------------------------

# Where the digits of a time stand in its text, and what stands between them.
_DIGITS = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18, 20, 21, 22, 23, 24, 25]
_PUNCTUATION = {4: "-", 7: "-", 10: "T", 13: ":", 16: ":", 19: "."}
_ZERO = ord("0")


def instants(rows: Table, column: int) -> NDArray[np.int64] | None:
    """UTC microseconds since 1970 of a column's times; None where one is not in the form that the engine writes.

    That is `2026-06-11T06:50:43.861185Z`, or with `+08:00` where the offset is not zero.
    """
    starts, lengths = rows.starts[:, column], rows.lengths[:, column]
    if not len(rows):
        return np.zeros(0, np.int64)
    if lengths.min() != lengths.max():
        if not set(np.unique(lengths).tolist()) <= {_LOCAL_TIME + suffix for suffix in _SUFFIXES}:
            return None
        us = np.zeros(len(rows), np.int64)
        for suffix in _SUFFIXES:
            which = np.flatnonzero(lengths == _LOCAL_TIME + suffix)
            some = _instants(rows, starts[which], suffix) if len(which) else starts[which]
            if some is None:
                return None
            us[which] = some
        return us
    suffix = int(lengths[0]) - _LOCAL_TIME
    return _instants(rows, starts, suffix) if suffix in _SUFFIXES else None


def _instants(rows: Table, starts: NDArray[np.int64], suffix: int) -> NDArray[np.int64] | None:
    """The same of times that begin at some places and have an offset of one length."""
    width = _LOCAL_TIME + suffix
    text = rows.bytes_at(starts, width).view(np.uint8).reshape(len(starts), width)
    for place, char in _PUNCTUATION.items():
        if (text[:, place] != ord(char)).any():
            return None
    digits = text[:, _DIGITS] - _ZERO
    east = _east(text[:, _LOCAL_TIME:])
    if (digits > 9).any() or east is None:
        return None
    century, year, month, day, hour, minute, second, *micros = (digits[:, ::2] * 10 + digits[:, 1::2]).T.astype(
        np.int64
    )
    year += century * 100
    if (
        min(year.min(), month.min(), day.min()) < 1
        or month.max() > 12
        or max(int(minute.max()), int(second.max())) > 59
        or hour.max() > 23
    ):
        return None
    months = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    first, after = months.astype("M8[D]").astype(np.int64), (months + 1).astype("M8[D]").astype(np.int64)
    if (day > after - first).any():
        return None
    seconds = (hour * 60 + minute) * 60 + second - east
    micro = (micros[0] * 100 + micros[1]) * 100 + micros[2]
    us: NDArray[np.int64] = (first + day - 1) * _DAY + seconds * 1_000_000 + micro
    return us


def _east(text: NDArray[np.uint8]) -> NDArray[np.int64] | int | None:
    """Seconds east of UTC of the texts of offsets, all of one length; None where one is not in its form."""
    if text.shape[1] == 1:
        return 0 if (text == ord("Z")).all() else None
    sign = text[:, 0]
    colons = text[:, 3::3]
    digits = text[:, [1, 2, 4, 5, 7, 8][: 4 if text.shape[1] == 6 else 6]].astype(np.int64) - _ZERO
    if not ((sign == ord("+")) | (sign == ord("-"))).all() or (colons != ord(":")).any():
        return None
    if (digits > 9).any() or (digits < 0).any():
        return None
    numbers = digits[:, ::2] * 10 + digits[:, 1::2]
    seconds = numbers[:, 0] * 3600 + numbers[:, 1] * 60 + (numbers[:, 2] if numbers.shape[1] == 3 else 0)
    # The shortest form is the one that is written: no offset of zero, no seconds of zero.
    if (
        (numbers[:, 0] > 23).any()
        or (numbers[:, 1:] > 59).any()
        or (numbers[:, -1] == 0).any() * (numbers.shape[1] == 3)
    ):
        return None
    if (seconds == 0).any():
        return None
    return np.where(sign == ord("-"), -seconds, seconds)
