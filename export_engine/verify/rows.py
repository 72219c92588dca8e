"""What each row has to be: quoted, twelve cells, ids, known words, a time with its offset, one conversation a member.

Rows are held against the rules many at a time. Only where some break one are they looked at one by one, to say which.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from export_engine.errors import ArchiveError
from export_engine.readback.rows import scanned
from export_engine.readback.table import Table, instants, table
from export_engine.schema import COLUMN_NAMES, COLUMNS, DIRECTIONS, SPEAKER_TYPES
from export_engine.verify.seen import Seen, cell_hashes

__all__ = ["Facts", "Guard", "MemberFacts", "distinct", "plain_facts", "read_rows"]

_ID, _CONVERSATION, _PHONE, _DIRECTION, _SPEAKER, _TIME, _ACCOUNT = map(
    COLUMN_NAMES.index,
    ("message_id", "conversation_id", "contact_phone", "direction", "speaker_type", "message_time", "sender_account"),
)
_REQUIRED = [number for number, column in enumerate(COLUMNS) if column.required]
_WORDS = {_DIRECTION: DIRECTIONS, _SPEAKER: SPEAKER_TYPES}

#: What a spreadsheet may take for the beginning of a formula, and the guard against it (OWASP, "CSV injection").
_FORMULA = b"=+-@\t\r\n\0"
_GUARD = b"'"
_STARTS = np.zeros(256, np.uint8)
_STARTS[list(_FORMULA)] = 1
_STARTS[_GUARD[0]] = 2
_WIDE = tuple(sign.encode() for sign in "＝＋－＠")
_STARTS[_WIDE[0][0]] = 3  # and two bytes more that tell
_WIDE_ENDS = np.array([int.from_bytes(sign[1:], "big") for sign in _WIDE], np.uint16)

#: Cells of digits that are no numbers, and what of them a spreadsheet writes otherwise: long numbers, those with a zero
#: in front, a point or an exponent, dates and times. The guard against that is the same quote.
_LABELS = (_ID, _CONVERSATION, _PHONE, _ACCOUNT)
_CHANGED = re.compile(
    rb" *(?:0[0-9]+|[0-9]{16,}|[0-9]+[.,][0-9.,]*|[.,][0-9]+|[0-9.,]+[eE][+-]?[0-9]+|[0-9.,]+ ?%|\([0-9.,]+\)"
    rb"|(?:[0-9]{1,2}[-/])?[0-9]{1,2}[-/][0-9]{1,4}|[0-9]{4}[-/][0-9]{1,2}(?:[-/][0-9]{1,2})?"
    rb"|[0-9]+:[0-9:]*(?:[.,][0-9]*)?) *"
)
_OF_NUMBERS = np.zeros(256, np.bool_)
_OF_NUMBERS[list(b"0123456789 .,eE+-/:%()")] = True

_Complain = Callable[[str], object]


@dataclass(slots=True)
class Guard:
    """What the cells say of the formula guard, and of that of digits.

    `formulas` counts the cells that it would have guarded but for phone numbers, `phones` phone numbers that begin
    with +, `guarded` cells that look as if it had. With `formulas` it was off. `digits` counts the cells that the guard
    of digits would have guarded, `guarded_digits` those that look as if it had; with both it was off.
    """

    formulas: int = 0
    phones: int = 0
    guarded: int = 0
    digits: int = 0
    guarded_digits: int = 0

    def add(self, other: Guard) -> None:
        """Count more cells."""
        self.formulas += other.formulas
        self.phones += other.phones
        self.guarded += other.guarded
        self.digits += other.digits
        self.guarded_digits += other.guarded_digits

    @property
    def unsafe(self) -> int:
        """The cells that nothing guards: a quote before digits is a text's own where the guard of digits was off."""
        return self.formulas + (self.guarded_digits if self.digits else 0)

    @property
    def by_formula(self) -> bool:
        """Whether cells show that the formula guard was on, and none that it was off."""
        return bool(self.guarded or self.guarded_digits) and not self.unsafe

    @property
    def by_digits(self) -> bool:
        """Whether they show the same of the guard of digits."""
        return self.by_formula and self.guarded_digits > 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What plain rows of some members say, as parallel lists: nothing is wrong with them.

    `ids` are the conversations', empty without rows. `first` and `last` are UTC microseconds, meaningless without rows.
    `keys` are the hashes of the rows' message ids.
    """

    rows: NDArray[np.int64]
    ids: list[bytes]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    keys: NDArray[np.int64]
    guard: Guard


def plain_facts(data: bytes, bounds: NDArray[np.int64], line_end: bytes) -> Facts | None:
    """What the CSVs of some members say, which stand one after another without headers; None if anything is wrong.

    `bounds` has where each begins, and where the last ends.
    """
    rows = table(data, line_end)
    if rows is None:
        return None
    places = np.searchsorted(rows.begins, bounds)
    if not np.array_equal(np.append(rows.begins, len(data))[places], bounds):
        return None
    us = instants(rows, _TIME)
    if us is None or not _known_words(rows) or (rows.lengths[:, _ID] < 1).any():
        return None
    counts = np.diff(places)
    filled = np.flatnonzero(counts)
    firsts = places[:-1][filled]
    ids = _one_conversation(rows, firsts, counts[filled])
    if ids is None:
        return None
    keys = cell_hashes(data, rows.starts[:, _ID], rows.lengths[:, _ID])
    first, last = np.zeros((2, len(counts)), np.int64)
    all_ids = [b""] * len(counts)
    if len(filled):
        first[filled], last[filled] = np.minimum.reduceat(us, firsts), np.maximum.reduceat(us, firsts)
        for number, id_ in zip(filled.tolist(), ids, strict=True):
            all_ids[number] = id_
    return Facts(counts, all_ids, first, last, keys, _guard(rows))


def distinct(facts: Facts) -> bool:
    """Whether no member has a message id twice."""
    # Hashes of different members are kept apart by a number for each.
    apart = facts.keys + np.repeat(np.arange(len(facts.rows)), facts.rows) * _ODD
    apart.sort()
    return not (apart[1:] == apart[:-1]).any()


_ODD = 0x1E3779B97F4A7C15


def _known_words(rows: Table) -> bool:
    """Whether each direction and speaker type is one there is, and no account is anybody's but an agent's."""
    for column, words in _WORDS.items():
        starts, lengths = rows.starts[:, column], rows.lengths[:, column]
        text = rows.bytes_at(starts, 8).view("<u8").reshape(-1)
        known = np.zeros(len(rows), np.bool_)
        for word in words:
            bits = 8 * len(word)
            said = (lengths == len(word)) & (
                text & np.uint64((1 << bits) - 1) == np.uint64(int.from_bytes(word.encode(), "little"))
            )
            known |= said
            if column == _SPEAKER and word == "agent":
                by_agent = said
        if not known.all():
            return False
    return not ((rows.lengths[:, _ACCOUNT] > 0) & ~by_agent).any()


def _one_conversation(rows: Table, firsts: NDArray[np.int64], counts: NDArray[np.int64]) -> list[bytes] | None:
    """Each member's conversation; None where a row has another than the rows before, or none."""
    starts, lengths = rows.starts[:, _CONVERSATION], rows.lengths[:, _CONVERSATION]
    if not len(rows):
        return []
    if lengths.min() < 1 or (lengths != np.repeat(lengths[firsts], counts)).any():
        return None
    ids = rows.cells(starts[firsts], lengths[firsts])
    if len(firsts) == len(rows):
        return ids
    width = int(lengths.max())
    if int(lengths.min()) == width:
        texts = rows.bytes_at(starts, width)
        return ids if (texts == np.repeat(texts[firsts], counts)).all() else None
    texts_ = rows.texts(_CONVERSATION)
    expected = [id_ for id_, count in zip(ids, counts.tolist(), strict=True) for _ in range(count)]
    return ids if texts_ == expected else None


def _guard(rows: Table) -> Guard:
    filled = rows.lengths > 0
    codes = np.frombuffer(rows.data, np.uint8)
    kinds = _STARTS[codes[np.where(filled, rows.starts, 0)]]
    digits = sum(_changed(rows, rows.starts[:, column], rows.lengths[:, column]) for column in _LABELS)
    if not kinds.any():
        return Guard(digits=digits)
    formulas = ((kinds == 1) | _wide(codes, kinds == 3, rows.starts)) & filled
    phones = formulas[:, _PHONE].copy()
    if phones.any():
        formulas[:, _PHONE] = phones & ~_e164(rows)
        phones &= ~formulas[:, _PHONE]
    guards = (kinds == 2) & filled
    if not guards.any():
        return Guard(int(formulas.sum()), int(phones.sum()), digits=digits)
    kinds = _STARTS[codes[np.where(guards, rows.starts + 1, 0)]]
    behind = ((kinds == 1) | (kinds == 2) | _wide(codes, kinds == 3, rows.starts + 1)) & (rows.lengths > 1)
    quoted = guards & ~behind
    guarded_digits = 0
    for column in _LABELS:
        at = quoted[:, column]
        guarded_digits += _changed(rows, rows.starts[at, column] + 1, rows.lengths[at, column] - 1)
    return Guard(
        int(formulas.sum() + quoted.sum()) - guarded_digits,
        int(phones.sum()),
        int((guards & behind).sum()),
        digits,
        guarded_digits,
    )


def _changed(rows: Table, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> int:
    """How many of some texts a spreadsheet would write otherwise. What is not of digits is told by its beginning."""
    if not len(starts):
        return 0
    text = rows.bytes_at(starts, 16).view(np.uint8).reshape(-1, 16)
    cut = starts > len(rows.data) - 16  # `bytes_at` has others there
    if not (_OF_NUMBERS[text[:, 0]] | cut).any():
        return 0
    behind = np.arange(16) >= lengths[:, None]
    # A number of up to fifteen digits without a zero in front, or a zero alone, stays as it is.
    kept = (lengths < 16) & ((text[:, 0] != ord("0")) | (lengths == 1)) & ((text - ord("0") <= 9) | behind).all(axis=1)
    may = (lengths > 0) & (cut | ~kept & (_OF_NUMBERS[text] | behind).all(axis=1))
    return sum(map(bool, map(_CHANGED.fullmatch, rows.cells(starts[may], lengths[may]))))


def _wide(codes: NDArray[np.uint8], which: NDArray[np.bool_], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of some places, where the byte of one may begin, have a full-width sign."""
    found = which.copy()
    if found.any():
        second, third = (codes[np.minimum(starts[which] + step, len(codes) - 1)] for step in (1, 2))
        found[which] = np.isin(second.astype(np.uint16) << 8 | third, _WIDE_ENDS)
    return found


def _e164(rows: Table) -> NDArray[np.bool_]:
    """Which phone numbers are well-formed E.164: + and two to fifteen digits, the first no zero."""
    starts, lengths = rows.starts[:, _PHONE], rows.lengths[:, _PHONE]
    text = rows.bytes_at(starts, 16).view(np.uint8).reshape(-1, 16)
    digits = text - ord("0") <= 9
    digits |= np.arange(16) >= lengths[:, None]
    right: NDArray[np.bool_] = (lengths >= 3) & (lengths <= 16) & (text[:, 0] == ord("+")) & (text[:, 1] != ord("0"))
    right &= digits[:, 1:].all(axis=1)
    return right


# --- row by row ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class MemberFacts:
    """What the rows of one member say, as far as they have been read.

    `conversation` is the first row's, None without rows. `first` and `last` are UTC microseconds, None without times.
    """

    rows: int = 0
    conversation: bytes | None = None
    first: int | None = None
    last: int | None = None
    guard: Guard = field(default_factory=Guard)
    # The hashes of message ids, and the number of each one's row, a pair of arrays for each run of rows.
    _keys: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=list)

    def take(self, found: Facts) -> bool:
        """Add plain rows; False, with nothing added, if they are of another conversation than those before."""
        (rows,), (id_,), (first,), (last,) = found.rows.tolist(), found.ids, found.first.tolist(), found.last.tolist()
        if not rows:
            return True
        if self.conversation not in (None, id_):
            return False
        self.note(found.keys, np.arange(self.rows + 1, self.rows + 1 + rows))
        self.conversation = id_
        self.rows += rows
        self.widen(first, last)
        self.guard.add(found.guard)
        return True

    def widen(self, first: int, last: int) -> None:
        """Take two more times into the span."""
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)

    def note(self, keys: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        """Note the message ids of some rows."""
        self._keys.append((keys, numbers.astype(np.uint32)))

    def again(self) -> Iterator[tuple[int, int]]:
        """Each row whose message id a row before had, and that row."""
        if not self._keys:
            return
        keys = np.concatenate([keys for keys, _ in self._keys])
        ordered = np.sort(keys)
        if not (ordered[1:] == ordered[:-1]).any():
            return
        numbers = np.concatenate([numbers for _, numbers in self._keys])
        for item, before in Seen().add(keys, numbers.astype(np.int64)):
            yield int(numbers[item]), before


def read_rows(data: bytes, line_end: bytes, facts: MemberFacts, complain: _Complain) -> None:
    """Hold whole rows of a member against the rules one by one, and add them to its facts.

    `complain` is called with each problem, which begins with row and column. Raises ArchiveError where reading on is
    not possible.
    """
    ids: list[bytes] = []
    numbers: list[int] = []
    rows = scanned(data, line_end)
    try:
        while (row := next(rows, None)) is not None:
            facts.rows += 1
            where = f"row {facts.rows}"
            if row.problem:
                complain(f"{where}, {row.problem}")
            if len(row.cells) != len(COLUMN_NAMES):
                complain(f"{where} has {len(row.cells)} cells, not {len(COLUMN_NAMES)}")
                continue
            for column, problem in _problems(row.cells, facts):
                complain(f"{where}, column {COLUMN_NAMES[column]!r}: {_shown(row.cells[column])} {problem}")
            if id_ := row.cells[_ID]:
                ids.append(id_.replace(b'"', b'""'))  # as it stands in plain rows
                numbers.append(facts.rows)
    except ArchiveError as error:
        raise ArchiveError(f"row {facts.rows + 1}, {error}") from None
    finally:
        data = b"".join(ids)
        lengths = np.array(list(map(len, ids)), np.int64)
        facts.note(cell_hashes(data, np.cumsum(lengths) - lengths, lengths), np.array(numbers, np.int64))


def _problems(cells: list[bytes | None], facts: MemberFacts) -> Iterator[tuple[int, str]]:
    """What is wrong with a row's cells: column and problem. What is right goes to the facts."""
    for column in (_ID, _CONVERSATION):
        if not cells[column]:
            yield column, "is no id"
    conversation = cells[_CONVERSATION] or b""
    if facts.conversation is None:
        facts.conversation = conversation
    elif conversation != facts.conversation:
        yield _CONVERSATION, f"is not {_shown(facts.conversation)}, as in the rows before"
    for column, words in _WORDS.items():
        if (cells[column] or b"").decode(errors="replace") not in words:
            yield column, f"is none of {', '.join(sorted(words))}"
    if cells[_ACCOUNT] and cells[_SPEAKER] != b"agent":
        yield _ACCOUNT, "is set on a message that no human agent sent"
    us = _instant(cells[_TIME] or b"")
    if us is None:
        yield _TIME, "is no ISO 8601 time with its offset from UTC, to the microsecond"
    else:
        facts.widen(us, us)
    _see_guard(cells, facts.guard)


def _see_guard(cells: list[bytes | None], guard: Guard) -> None:
    """Count what a row's cells say of the formula guard."""
    for column, cell in enumerate(cells):
        if cell and (cell[0] in _FORMULA or cell.startswith(_WIDE)):
            guard.add(Guard(phones=1) if column == _PHONE and _E164.fullmatch(cell) else Guard(formulas=1))
        elif cell and cell.startswith(_GUARD):
            guarded = cell[1:].startswith(_WIDE) or (cell[1:2] and cell[1] in _FORMULA + _GUARD)
            digits = column in _LABELS and _CHANGED.fullmatch(cell[1:])
            guard.add(Guard(guarded=1) if guarded else Guard(guarded_digits=1) if digits else Guard(formulas=1))
        elif cell and column in _LABELS and _CHANGED.fullmatch(cell):
            guard.add(Guard(digits=1))


_E164 = re.compile(rb"\+[1-9][0-9]{1,14}")
_FORM = re.compile(
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}(?:Z|[+-][0-9]{2}:[0-9]{2}(?::[0-9]{2})?)"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _instant(text: bytes) -> int | None:
    """UTC microseconds of a time in the engine's form, None for anything else."""
    if len(text) > 40 or not _FORM.fullmatch(text):
        return None
    # Zero is written Z, and seconds only where there are any.
    if not text.endswith(b"Z") and (text[27:] == b"00:00" or text[33:] == b"00"):
        return None
    try:
        return (datetime.fromisoformat(text.decode()) - _EPOCH) // timedelta(microseconds=1)
    except ValueError:
        return None


def _shown(cell: bytes | None) -> str:
    text = (cell or b"")[:400].decode(errors="backslashreplace")
    return repr(text if len(text) <= 80 else f"{text[:80]}...")
