r"""Names: of the ZIP, of each CSV in it, and what to call a second file of the same name.

Pure text to text. Every name is safe to create on Windows, macOS and Linux, stays within a budget of UTF-8 bytes
and splits back on `--` into contact, creation time and channel. This holds because each label is cleaned alone:

1. White space of any kind (tabs, line ends and separators too) is a blank, so that words stay apart. Other control,
   format (except ZWJ and ZWNJ), lone surrogate and noncharacter code points are dropped; a pair of surrogates is the
   character that it stands for. Private use and unassigned ones stay: they may be letters of a newer Unicode.
2. NFC, after the dropping, which can bring a letter and its accent together.
3. `<>:"/\|?*` become `_`, runs of blanks, of hyphens and of dots become one. Two dots are no way up here, but
   `shutil.unpack_archive` drops every name that has them, in silence (python/cpython#111791).
4. Blanks, dots, hyphens and joiners are trimmed from both ends: no hidden file, no name that reads as an option, no
   third hyphen beside a separator, no dot more before `.csv`, no label of joiners alone. So is a leading `~`, which
   Ruby's `File.expand_path` and shells take for somebody's home. A leading `$` or `@` is left to the user.
5. A label that Windows would take for a device (`NUL`, `con.tar`, `AUX .x`) gets a `_` after that word. The time
   behind the contact would save `NUL`, not `con.tar`, and a script may make folders of the parts.

A cleaned label is a fixed point of these steps, and so is one that was cut: NFC is closed under taking substrings
(UAX #15), and a cut label is trimmed and checked again. Most labels need none of it, which one pattern tells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from unicodedata import category, is_normalized, normalize

from export_engine.errors import OptionError
from export_engine.model import Channel
from export_engine.options import DEFAULT_NAME_BUDGET, MAX_NAME_BUDGET, MIN_NAME_BUDGET
from export_engine.schema import joined_pairs

__all__ = [
    "UNKNOWN_CONTACT",
    "MemberNamer",
    "channel_label",
    "collision_keys",
    "contact_label",
    "member_namer",
    "numbered",
    "part",
    "zip_name",
]

#: Longest channel part of a ZIP's name, in characters (ASCII all of them).
_SLUG_CHARACTERS = 64

#: What stands for a contact without name and phone.
UNKNOWN_CONTACT = "Unknown contact"

#: Bytes of a contact that are not given up for a long channel, where a third of the room allows.
_CONTACT_KEEPS = 32

_JOINERS = "\u200c\u200d"
_EDGES = " .-" + _JOINERS
_LEADING = _EDGES + "~"
_DROPPED = frozenset({"Cc", "Cf", "Cs"})
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_RUNS = re.compile(r"([-.])\1+")

# Windows looks at what stands before the first dot, blanks at its end aside (Microsoft, "Naming Files, Paths, and
# Namespaces"; CONIN$ and CONOUT$ from CreateFile's page).
_DEVICE_NAME = r"(?i:con|prn|aux|nul|(?:com|lpt)[0-9¹²³]|conin\$|conout\$)(?= *(?:\.|\Z))"
_DEVICE = re.compile(_DEVICE_NAME)

# What cleaning would not change, as far as ASCII goes: words with one blank, dot, hyphen or `. ` between them.
_WORD = r"[!#-),+0-9;=@-\[\]-{}~\x80-\U0010ffff]+"
# Only a name that begins with a device's first letter is held against the devices; the possessive end never goes back.
_PLAIN = re.compile(rf"(?!~|(?=[acnplACNPL]){_DEVICE_NAME}){_WORD}(?:(?:[ .-]|\. ){_WORD})*+")

# The only characters (U+0345, and Greek ones that it is a part of) whose case folding depends on whether the text was
# taken apart before: everything else may be folded as it is, and is normalised after (Unicode, section 3.13).
_IOTA_BELOW = re.compile("[\u0345\u1f80-\u1fff]")

#: What `numbered` and `part` put behind a name; never cut away by a second suffix.
_SUFFIX = re.compile(r" \((?:part )?[0-9]{1,9}\)\Z")

_EXPORT_ID = re.compile("[A-Za-z0-9-]{1,64}")


def zip_name(channel: Channel, start: date, export_id: str) -> str:
    """`<channel>_<YYYY-MM>_<id>.zip`, as the seed has it: `SMS_Support_2026-06_1c4639da.zip`.

    The channel part is its name as an ASCII slug of at most 64 characters; else its phone, else its id, else
    `channel`, also where one of them leaves nothing of a slug. `start` is the first day of the range. With an id of
    at most 64 characters the whole is at most 141. Raises OptionError (`export_id`) unless `export_id` is 1 to 64 of
    A-Z, a-z, 0-9 and `-`.
    """
    from slugify import slugify  # noqa: PLC0415  # needed once an export, not by whoever imports this

    if not isinstance(export_id, str) or not _EXPORT_ID.fullmatch(export_id):
        raise OptionError(
            f"export_id {export_id!r} must be 1 to 64 of the characters A-Z, a-z, 0-9 and -", option="export_id"
        )
    slug = ""
    for text in (channel.name, channel.phone, channel.id):
        # The backend is named because the default takes Unidecode where it happens to be installed.
        slug = slug or slugify(
            joined_pairs(text or ""),
            separator="_",
            lowercase=False,
            max_length=_SLUG_CHARACTERS,
            backend="text-unidecode",
        )
    return f"{slug or 'channel'}_{start.year:04d}-{start.month:02d}_{export_id}.zip"


def contact_label(name: str | None, phone: str | None) -> str:
    """The contact's part of a CSV's name: its name, else its phone, else `Unknown contact`.

    One that is empty once it is cleaned counts as missing. The label is not cut here.
    """
    return (name and _label(name)) or (phone and _label(phone)) or UNKNOWN_CONTACT


def channel_label(channel: Channel) -> str:
    """The channel's part of a CSV's name: `name (phone)`, `name`, `phone`, else its id, else `channel`.

    One that is empty once it is cleaned counts as missing. The label is not cut here.
    """
    name, phone = _clean(channel.name or ""), _clean(channel.phone or "")
    label = f"{name} ({phone})" if name and phone else name or phone or _clean(channel.id or "")
    return _guarded(label or "channel")


@dataclass(frozen=True, slots=True)
class MemberNamer:
    """Gives `<contact>--<created_at>--<channel>.csv`; made by `member_namer`. Keeps nothing between calls.

    `ending` is what stands behind the time, `folded_ending` the same in `collision_keys`, and `room` what a contact's
    label has, in bytes.
    """

    label: str
    ending: str
    folded_ending: str
    room: int
    budget: int

    def __call__(self, contact_name: str | None, contact_phone: str | None, created_at: str) -> str:
        """A member's name; `created_at` is ready-made text, `YYYY-MM-DD_HHMMSS`."""
        contact = contact_label(contact_name, contact_phone)
        # No character has more than four bytes: most contacts need not be encoded to be known as short enough.
        if 4 * len(contact) <= self.room or len(contact.encode()) <= self.room:
            return f"{contact}--{created_at}{self.ending}"
        return _fitted(contact, created_at, self.label, "", self.budget)


def member_namer(channel: Channel, *, budget: int = DEFAULT_NAME_BUDGET) -> MemberNamer:
    """Return `name_of(contact_name, contact_phone, created_at)`, which gives `<contact>--<created_at>--<channel>.csv`.

    `created_at` is ready-made text, `YYYY-MM-DD_HHMMSS`, and always stays whole. A name of more than `budget` UTF-8
    bytes (64 to 255, default 180) is shortened at grapheme boundaries: the contact first, but not below 32 bytes (or a
    third of what both labels may have), then the channel. Only a single grapheme too wide for its place is cut inside.
    Raises OptionError (`name_budget`) for a budget out of bounds.
    """
    _check_budget(budget)
    label = _cut(channel_label(channel), budget)  # no more of it is ever used: a huge one costs once
    ending = f"--{label}.csv"
    (folded,) = collision_keys([ending])
    return MemberNamer(label, ending, folded, budget - len(f"--YYYY-MM-DD_HHMMSS{ending}".encode()), budget)


def numbered(name: str, number: int, *, budget: int = DEFAULT_NAME_BUDGET) -> str:
    """Name a further file of the same name: `X.csv` and 2 give `X (2).csv`.

    `name` comes from `member_namer`, `numbered` or `part` and is shortened as there, so that the result is within
    `budget` bytes and still splits on `--` into three. The suffix that `name` ends with is kept. Two long names may
    become one by it: ask for the next number then. Raises OptionError (`number`) outside 1 to 999,999,999,
    (`name_budget`) for a budget out of bounds.
    """
    return _suffixed(name, number, "", budget)


def part(name: str, number: int, *, budget: int = DEFAULT_NAME_BUDGET) -> str:
    """Name a further part of one conversation: `X.csv` and 2 give `X (part 2).csv`. The rest is as for `numbered`."""
    return _suffixed(name, number, "part ", budget)


def collision_keys(names: Sequence[str]) -> list[str]:
    """Keys that are equal for names that a file system may take for the same one; no name has a line end.

    Unicode's canonical caseless match (D145): normalised and fully case folded, as a case-insensitive APFS compares.
    Upper-casing single characters, as NTFS does, joins no more than that but the dotless i.
    """
    # All at once: what is done to a text does not reach across a line end.
    text = "\n".join(names)
    if text.isascii():
        return text.lower().split("\n") if names else []
    if _IOTA_BELOW.search(text):
        text = normalize("NFD", text)
    return normalize("NFC", text.casefold()).split("\n")


def _label(text: str) -> str:
    """`text` cleaned and no device's name; empty when nothing is left."""
    # What is printable has no white space but the blank, and nothing that is dropped.
    if _PLAIN.fullmatch(text) and (text.isascii() or (text.isprintable() and is_normalized("NFC", text))):
        return text
    return _guarded(_clean(text))


def _clean(text: str) -> str:
    """Steps 1 to 4."""
    if not text.isprintable():
        text = "".join(char for char in joined_pairs(text) if char.isspace() or not _is_dropped(char))
    text = _FORBIDDEN.sub("_", normalize("NFC", text))
    return _RUNS.sub(r"\1", " ".join(text.split())).lstrip(_LEADING).rstrip(_EDGES)


def _is_dropped(char: str) -> bool:
    """Whether `char` (no white space) has no place in a name: see step 1."""
    noncharacter = ord(char) & 0xFFFE == 0xFFFE or "\ufdd0" <= char <= "\ufdef"
    return noncharacter or (category(char) in _DROPPED and char not in _JOINERS)


def _guarded(label: str) -> str:
    """Step 5."""
    device = _DEVICE.match(label)
    return f"{device[0]}_{label[device.end() :]}" if device else label


def _cut(label: str, room: int) -> str:
    """Cut a cleaned label to at most `room` (1 or more) bytes; never to nothing."""
    data = label.encode()
    if len(data) <= room:
        return label
    import regex  # noqa: PLC0415  # few names are ever cut

    end = used = 0
    for cluster in regex.finditer(r"\X", label):
        used += len(cluster[0].encode())
        if used > room:
            break
        end = cluster.end()
    head = (label[:end] or data[:room].decode(errors="ignore")).rstrip(_EDGES)
    if _DEVICE.match(head):  # "Console" cut to "Con"; without a dot, for what stood before one was guarded already
        head = f"{head[:-1]}_"
    return head or "_"


def _fitted(contact: str, created_at: str, channel: str, suffix: str, budget: int) -> str:
    """Join the parts, cutting the contact and then the channel to what the rest leaves of `budget`."""
    room = budget - len(f"--{created_at}--{suffix}.csv")
    contact = _cut(contact, max(room - len(channel.encode()), min(_CONTACT_KEEPS, room // 3)))
    channel = _cut(channel, room - len(contact.encode()))
    return f"{contact}--{created_at}--{channel}{suffix}.csv"


def _suffixed(name: str, number: int, word: str, budget: int) -> str:
    """`name` with ` (<word><number>)` before its `.csv`."""
    _check_budget(budget)
    if not 1 <= number <= 999_999_999:
        raise OptionError(f"number {number} must be from 1 to 999999999", option="number")
    contact, created_at, channel = name.removesuffix(".csv").split("--")
    kept = _SUFFIX.search(channel)
    start = kept.start() if kept else len(channel)
    return _fitted(contact, created_at, channel[:start], f"{channel[start:]} ({word}{number})", budget)


def _check_budget(budget: int) -> None:
    if not MIN_NAME_BUDGET <= budget <= MAX_NAME_BUDGET:
        raise OptionError(
            f"name_budget {budget} must be from {MIN_NAME_BUDGET} to {MAX_NAME_BUDGET} bytes", option="name_budget"
        )
