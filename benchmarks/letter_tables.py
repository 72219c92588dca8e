"""Make `export_engine/_letters.h`: the characters beyond ASCII that the kernel takes into names as they are.

    python3.11 -m benchmarks.letter_tables

`export_engine.pipeline.naming` says what a name may hold and when two are the same; the kernel builds those that need
no cleaning and leaves the others to it. A character is here if a label of such characters, in the order of their
combining classes, stays as it is, and is folded character by character to compare it:

- it is printable, so that cleaning drops nothing;
- it is in NFC whatever stands before it (UAX #15: NFC_Quick_Check is Yes), and so is what it is folded to;
- it is folded to one character of its own combining class, and it has nothing of the iota below.

All of this is stable (Unicode's policies): what holds for the characters of one version holds in later ones, whose new
characters Python sees to. So the oldest Python supported makes the file; a test holds it against `naming` on each.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from unicodedata import combining, decomposition, normalize, unidata_version

FILE = Path(__file__).parents[1] / "export_engine" / "_letters.h"
#: What is beyond: rare ideographs, tags, private use.
END = 0x20000
PAGE = 64

#: What a character may be composed with: Hangul's vowels and finals by rule, the others by their decompositions.
_SECONDS = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)} | {
    int(parts[1], 16)
    for parts in (decomposition(chr(code)).split() for code in range(0x110000))
    if len(parts) == 2 and not parts[0].startswith("<")  # a kind of compatibility
}


def _stays(char: str) -> bool:
    return ord(char) not in _SECONDS and normalize("NFC", char) == char


def kind(char: str) -> tuple[int, int] | None:
    """The combining class and how far what it is folded to lies from it; None for one that Python sees to."""
    folded = char.casefold()
    if char == "\u0345" or "\u1f80" <= char <= "\u1fff" or len(folded) != 1 or not char.isprintable():
        return None
    if not _stays(char) or not _stays(folded) or combining(char) != combining(folded):
        return None
    return combining(char), ord(folded) - ord(char)


def _array(declared: str, values: list[int]) -> str:
    text = fill(", ".join(map(str, values)), 118, initial_indent="    ", subsequent_indent="    ")
    return f"static const {declared}[{len(values)}] = {{\n{text}}};\n"


def main() -> None:
    """Write the file."""
    kinds: dict[tuple[int, int] | None, int] = {None: 0}
    letters = bytes(kinds.setdefault(kind(chr(code)), len(kinds)) if code >= 0x80 else 0 for code in range(END))
    pages: dict[bytes, int] = {}
    places = [pages.setdefault(letters[at : at + PAGE], len(pages)) for at in range(0, END, PAGE)]
    said = [found or (0, 0) for found in kinds]
    FILE.write_text(
        f"/* Made by benchmarks/letter_tables.py of Unicode {unidata_version}. */\n\n"
        f"enum {{ LETTERS_END = {END}, LETTER_PAGE = {PAGE} }};\n"
        + _array("uint16_t LETTER_PAGES", places)
        + "/* By page and place there: 0 for a character that is left to Python, else its kind. */\n"
        + _array("uint8_t LETTER_KINDS", list(b"".join(pages)))
        + "/* By kind: combining class, and how far off what it is folded to. */\n"
        + _array("uint8_t COMBINING", [one for one, _ in said])
        + _array("int32_t FOLDED", [far for _, far in said]),
        "ascii",
    )


if __name__ == "__main__":
    main()
