r"""What a member's name has to be, whoever reads it: `<contact>--<created_at>--<channel>.csv`.

The rules are those of the product's page and of the file systems that a name has to live on:

- it splits on `--` into three, and the middle is a time that there is;
- contact and channel are NFC, without controls, formats (but ZWJ and ZWNJ), noncharacters, `<>:"/\|?*`, or white space
  other than single blanks; without runs of dots; without a blank, dot, hyphen or joiner at either end or a leading
  `~`; no device of Windows;
- the whole is at most 255 bytes of UTF-8, and no other name of the archive on a file system that knows no case;
- ` (part N)` at the end follows on part N - 1 of the same conversation.

Names are looked at many at a time, and one by one only to say what is wrong with which.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Sequence
from unicodedata import category, is_normalized, normalize

import numpy as np
from numpy.typing import NDArray

__all__ = ["check_names", "collision_keys", "part_of"]

_JOINERS = "\u200c\u200d"
_EDGES = " .-" + _JOINERS
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
# Microsoft, "Naming Files, Paths, and Namespaces": what stands before the first dot, blanks at its end aside.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|(?:com|lpt)[0-9¹²³]|conin\$|conout\$) *(?:\.|\Z)", re.IGNORECASE)
_LONGEST = 255

_CREATED = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})_([0-9]{2})([0-9]{2})([0-9]{2})")
_PART = re.compile(r" \(part ([0-9]{1,9})\)(?: \([0-9]{1,9}\))?\.csv\Z")

# Names as most are, a line each: words with a blank, dot or hyphen between them, or two or three of these that differ.
_WORD = r'[^- .\n<>:"/\\|?*]+'
_LABEL = rf"{_WORD}(?:(?:[- .]|\. | - ){_WORD})*+"
_NOT_A_DEVICE = r"(?!~|(?=[acnplACNPL])(?i:con|prn|aux|nul|(?:com|lpt)[0-9¹²³]|conin\$|conout\$) *(?:\.|--|$))"
_TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{6}"
_LINES = re.compile(
    rf"^{_NOT_A_DEVICE}{_LABEL}--({_TIME})--{_NOT_A_DEVICE}{_WORD}(?:(?:[- ]|\. | - |\.(?!csv$)){_WORD})*+\.csv$",
    re.MULTILINE,
)

#: The earliest and latest time that a ZIP can hold (APPNOTE 4.4.6, MS-DOS), as year to second; seconds are even.
_DOS_FIRST, _DOS_LAST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)

_Complain = Callable[[str], object]


def check_names(names: Sequence[str], dates: NDArray[np.int64], times: NDArray[np.int64], complain: _Complain) -> None:
    """Complain of names that break a rule, and of DOS dates and times that are not the one in the name."""
    text = "\n".join(names)
    created = _LINES.findall(text)
    plain = len(created) == len(names) == text.count("\n") + 1
    if plain and not text.isascii():
        plain = is_normalized("NFC", text) and text.replace("\n", "").isprintable()
    if plain and not _too_long(names, 1 if text.isascii() else 4) and _dos_times_are(created, dates, times):
        return
    for name, date, time in zip(names, dates.tolist(), times.tolist(), strict=True):
        problem = _problem(name)
        if problem is not None:
            complain(f"{name!r} {problem}")
            continue
        stamp = _stamp(name.split("--")[1])
        if stamp is not None and (date, time) != _dos(stamp):
            complain(f"{name!r}: the member's time {_spelt(date, time)} is not the creation time in its name")


def _too_long(names: Sequence[str], most: int) -> bool:
    """Whether a name has too many bytes; a character has `most` at the most."""
    longest = max(map(len, names), default=0)
    return most * longest > _LONGEST and any(len(name.encode()) > _LONGEST for name in names)


def _problem(name: str) -> str | None:
    """What is wrong with a name, None if nothing."""
    stem = name.removesuffix(".csv")
    if stem == name:
        return "is no safe name of a CSV: it does not end in .csv"
    if len(name.encode(errors="surrogatepass")) > _LONGEST:
        return f"is no safe name of a CSV: it has more than {_LONGEST} bytes"
    parts = stem.split("--")
    for part in parts:
        if (reason := _label_problem(part)) is not None:
            return f"is no safe name of a CSV: {reason}"
    if len(parts) != 3:
        return "does not split on -- into contact, creation time and channel"
    if _stamp(parts[1]) is None:
        return f"does not split on -- into contact, creation time and channel: {parts[1]!r} is no time"
    return None


def _label_problem(label: str) -> str | None:
    forbidden = _FORBIDDEN.search(label)
    if char := _odd_characters(label) or (forbidden[0] if forbidden else ""):
        return f"it has U+{ord(char):04X} ({char!a}), which is not seen or means something to a file system"
    if not is_normalized("NFC", label):
        return "it is not in Unicode's normal form NFC"
    if "  " in label or ".." in label:
        return "it has two blanks or dots in a row"
    if not label or label[0] in _EDGES + "~" or label[-1] in _EDGES:
        return "a part of it is empty, begins with ~, or has a blank, dot, hyphen or joiner at an end"
    if _DEVICE.match(label):
        return "a part of it is a device of Windows"
    return None


def _odd_characters(text: str) -> str:
    """The first character that a name has no place for; empty if there is none."""
    if text.isprintable():
        return ""
    for char in text:
        if char.isprintable() or char in _JOINERS:
            continue
        noncharacter = ord(char) & 0xFFFE == 0xFFFE or "\ufdd0" <= char <= "\ufdef"
        if noncharacter or char.isspace() or category(char) in ("Cc", "Cf", "Cs"):
            return char
    return ""


def collision_keys(names: Sequence[str]) -> list[str]:
    """What is equal for names that a file system may take for the same: Unicode's canonical caseless match (D145)."""
    text = "\n".join(names)
    if text.count("\n") >= len(names):  # a name with a line end, which is a problem by itself
        return [key for name in names for key in collision_keys([name.replace("\n", " ")])]
    if text.isascii():
        return text.lower().split("\n")
    return normalize("NFC", normalize("NFD", text).casefold()).split("\n")


def part_of(name: str) -> int:
    """The number in ` (part N)` at the end of a name; 1 for a name without."""
    found = _PART.search(name)
    return int(found[1]) if found else 1


# --- times ---------------------------------------------------------------------------------------------------------


def _stamp(text: str) -> tuple[int, ...] | None:
    """Year to second of a creation time, None where there is no such time."""
    found = _CREATED.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = stamp = tuple(map(int, found.groups()))
    there_is = year and 1 <= month <= 12 and 1 <= day <= monthrange(year, month)[1]
    return stamp if there_is and hour < 24 and minute < 60 and second < 60 else None


def _dos(stamp: tuple[int, ...]) -> tuple[int, int]:
    """DOS date and time of year to second."""
    year, month, day, hour, minute, second = min(max(stamp, _DOS_FIRST), _DOS_LAST)
    return (year - 1980) << 9 | month << 5 | day, hour << 11 | minute << 5 | second // 2


def _spelt(date: int, time: int) -> str:
    year, month, day = (date >> 9) + 1980, date >> 5 & 15, date & 31
    return f"{year}-{month:02d}-{day:02d} {time >> 11:02d}:{time >> 5 & 63:02d}:{(time & 31) * 2:02d}"


def _dos_times_are(created: list[str], dates: NDArray[np.int64], times: NDArray[np.int64]) -> bool:
    """Whether creation times are times that there are, and the DOS dates and times those of them."""
    if not created:
        return True
    # Members of one export have few times more than once: all are compared as numbers.
    digits = np.frombuffer("".join(created).encode(), np.uint8).reshape(-1, 17).astype(np.int64) - ord("0")
    year, month = digits[:, :4] @ np.array([1000, 100, 10, 1]), digits[:, 5] * 10 + digits[:, 6]
    day, hour = digits[:, 8] * 10 + digits[:, 9], digits[:, 11] * 10 + digits[:, 12]
    minute, second = digits[:, 13] * 10 + digits[:, 14], digits[:, 15] * 10 + digits[:, 16]
    usual = (year >= 1980) & (year < 2108) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 28)
    usual &= (hour < 24) & (minute < 60) & (second < 60)
    same = (dates == (year - 1980) << 9 | month << 5 | day) & (times == hour << 11 | minute << 5 | second // 2)
    rest = np.flatnonzero(~(usual & same))
    for number in rest.tolist():
        stamp = _stamp(created[number])
        if stamp is None or _dos(stamp) != (int(dates[number]), int(times[number])):
            return False
    return True
