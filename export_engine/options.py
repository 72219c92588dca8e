"""Everything that shapes an archive's bytes and how they are made, in one value that is checked once.

The library, the command line, workers and the service all build this same object; it pickles, so that another process
or machine can carry it. What belongs to one archive alone (its channel, its date range, its id) is not in it.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import asdict, dataclass, fields, replace
from datetime import tzinfo
from decimal import Decimal
from hashlib import sha256
from typing import Any, Literal, TypedDict, get_args

from export_engine.errors import OptionError
from export_engine.times import time_zone, zone_name

__all__ = [
    "BYTES_FORMAT",
    "DEFAULT_NAME_BUDGET",
    "EMPTY_ARCHIVE",
    "EXCEL",
    "MAX_NAME_BUDGET",
    "MIN_NAME_BUDGET",
    "SPOOL_LIMIT",
    "Compression",
    "CsvDialect",
    "Epoch",
    "ExportOptions",
    "OptionKeywords",
    "RangeBy",
    "byte_count",
    "check_kind",
    "chosen_options",
]

#: Raised whenever names or any preset's bytes change: archives of another number are other bytes for the same options.
BYTES_FORMAT = 1

#: The presets, from the fastest to the smallest, and no compression. What deflates each is `pipeline.deflate`'s choice.
Compression = Literal["fast", "balanced", "small", "store"]

#: What the date range is held against: each message's time, or when the conversation was created.
RangeBy = Literal["message_time", "created_at"]

#: What times that are numbers count since 1970: seconds, milliseconds, microseconds or nanoseconds.
Epoch = Literal["s", "ms", "us", "ns"]

#: Bounds of a CSV's name in UTF-8 bytes. 255 is the limit of ext4, NTFS and APFS; 180 leaves room for what synced or
#: encrypted folders put around a name; 64 still has room for the time, a number and some of both labels.
MIN_NAME_BUDGET, DEFAULT_NAME_BUDGET, MAX_NAME_BUDGET = 64, 180, 255

#: Deflated bytes of one member that are held so that its sizes can stand in its local header.
SPOOL_LIMIT = 8 << 20

#: Bytes of an archive without members, under which no limit makes sense.
EMPTY_ARCHIVE = 22

_LINE_ENDS = ("\r\n", "\n")

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT])(i?)B", re.IGNORECASE)


def byte_count(text: str, option: str) -> int:
    """What a size as people write it means in bytes: `500MB` and `2.5 GB` are decimal, `1GiB` is 1024 to the third.

    Raises OptionError, whose `option` is the one given, for what is no number with a unit.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise OptionError(
            f"{option} {text!r} is no size: write a number with a unit, such as 500MB, 2GB or 1GiB", option=option
        )
    number, prefix, binary = found.groups()
    return int(Decimal(number) * (1024 if binary else 1000) ** ("KMGT".index(prefix.upper()) + 1))


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise OptionError(f"{name} {value!r} is unknown: choose from {', '.join(map(_spelt, choices))}", option=name)


def _spelt(choice: str) -> str:
    return choice if choice.isprintable() else repr(choice)


def _check_number(name: str, value: object, least: int, most: int | None, unit: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise OptionError(f"{name} is {value!r}: it must be a whole number of {unit}", option=name)
    if value < least or (most is not None and value > most):
        bounds = f"from {least} to {most}" if most is not None else f"{least} or more"
        raise OptionError(f"{name} is {value}: it must be {bounds} {unit}", option=name)


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise OptionError(f"{name} is {value!r}: it must be True or False", option=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvDialect:
    r"""How the CSVs are written. The defaults are RFC 4180 with text preserved to the byte.

    - `bom`: begin each CSV with a UTF-8 byte order mark, as Excel wants.
    - `line_end`: `"\r\n"`, or `"\n"`.
    - `formula_guard`: put one `'` before what a spreadsheet could take for a formula (OWASP, "CSV injection"): a cell
      that begins with `=`, `+`, `-`, `@`, their full-width forms, TAB, CR, LF or NUL, and what follows a `;`, TAB, CR
      or LF inside a cell and begins so, since some spreadsheets separate there. A `'` in those places is guarded too:
      taking one `'` off the beginning of a cell and after each `;`, TAB, CR and LF in it gives the value back. The
      rule in full is `export_engine.pipeline.formulas`.
    - `bare_e164`: with the guard on, leave a well-formed E.164 number (`+` and 2 to 15 digits) in `contact_phone` as
      it is.
    - `digits_guard`: with the guard on, put its `'` also before ids, phone numbers and accounts that a spreadsheet
      would take for a number or a date and write otherwise: more than 15 digits, of which it keeps 15, a zero in front,
      which it drops, `1718087443.861185`, `12e5`, `2026-06-11`. The same rule takes it off again.

    Raises OptionError for another line end, for what is not True or False, and for `bare_e164` or `digits_guard`
    without the guard that they change.
    """

    bom: bool = False
    line_end: Literal["\r\n", "\n"] = "\r\n"
    formula_guard: bool = False
    bare_e164: bool = False
    digits_guard: bool = False

    def __post_init__(self) -> None:
        _check_choice("line_end", self.line_end, _LINE_ENDS)
        for name in ("bom", "formula_guard", "bare_e164", "digits_guard"):
            _check_flag(name, getattr(self, name))
        if self.bare_e164 and not self.formula_guard:
            raise OptionError(
                "bare_e164 is an exception from the formula guard: set formula_guard too", option="bare_e164"
            )
        if self.digits_guard and not self.formula_guard:
            raise OptionError(
                "digits_guard can be undone only where ' is guarded too: set formula_guard as well",
                option="digits_guard",
            )


#: For people who open the CSVs in Excel: byte order mark, formula guard and digits guard.
EXCEL = CsvDialect(bom=True, formula_guard=True, digits_guard=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What shapes the bytes of an archive, and how they are made. The defaults are what most exports want.

    What shapes the bytes:

    - `timezone`: a time zone name (`"Asia/Taipei"`, `"UTC"`), an offset (`"+08:00"`) or a `tzinfo`; the range's days,
      naive times and the times written are in it. It is held as a `tzinfo`.
    - `epoch`: what times that are numbers count since 1970, `"s"`, `"ms"`, `"us"` or `"ns"`; without it (None) such
      times are refused, for nothing tells it surely.
    - `range_by`: `"message_time"` exports the messages sent in the range, and conversations that have any;
      `"created_at"` exports, whole, the conversations created in it.
    - `compression`: `"fast"`, `"balanced"`, `"small"` or `"store"` (see `export_engine.pipeline.deflate`).
    - `dialect`: how the CSVs are written, see `CsvDialect`; `EXCEL` is ready-made.
    - `name_budget`: the most UTF-8 bytes of a CSV's name, 64 to 255 (180).
    - `spool_limit`: deflated bytes of one member to hold before it is streamed (8 MiB), from 0. A conversation too long
      to hold must show by then when it was created: an earlier message after that is a RowError.
    - `strict`: refuse lone surrogates (RowError) instead of writing U+FFFD and counting them.
    - `max_archive_size`: the most bytes of an archive, as a whole file: a number, or text such as `"2GB"` or `"1GiB"`;
      it is held as a number, 22 or more. What would grow past it goes on in another archive, cut between members; a
      member that is larger by itself is alone in one. Only what writes files can make several: `Export.write_to`,
      `Export.upload_to` and batches. An export that is iterated, and the export job's, is one ZIP, and refuses the
      option. None (default): one archive of any size.

    How they are made:

    - `threads`: how many deflate, from 1; by default (None) the processors this process may use, at most 8.
    - `sha256`: put the archive's SHA-256 into the report; it costs a few per cent of the time.

    Raises OptionError, whose `option` is the field's name, for a value that cannot work.
    """

    timezone: str | tzinfo = "UTC"
    epoch: Epoch | None = None
    range_by: RangeBy = "message_time"
    compression: Compression = "fast"
    dialect: CsvDialect = CsvDialect()
    name_budget: int = DEFAULT_NAME_BUDGET
    spool_limit: int = SPOOL_LIMIT
    strict: bool = False
    max_archive_size: int | str | None = None
    threads: int | None = None
    sha256: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "timezone", time_zone(self.timezone))
        if self.epoch is not None:
            _check_choice("epoch", self.epoch, get_args(Epoch))
        _check_choice("range_by", self.range_by, get_args(RangeBy))
        _check_choice("compression", self.compression, get_args(Compression))
        if not isinstance(self.dialect, CsvDialect):
            raise OptionError(f"dialect is {self.dialect!r}: give a CsvDialect, such as EXCEL", option="dialect")
        _check_number("name_budget", self.name_budget, MIN_NAME_BUDGET, MAX_NAME_BUDGET, "bytes")
        _check_number("spool_limit", self.spool_limit, 0, None, "bytes")
        if isinstance(self.max_archive_size, str):
            size = byte_count(self.max_archive_size, "max_archive_size")
            object.__setattr__(self, "max_archive_size", size)
        if self.max_archive_size is not None:
            _check_number("max_archive_size", self.max_archive_size, EMPTY_ARCHIVE, None, "bytes")
        if self.threads is not None:
            _check_number("threads", self.threads, 1, None, "threads")
        for name in ("strict", "sha256"):
            _check_flag(name, getattr(self, name))

    @property
    def tzinfo(self) -> tzinfo:
        """The time zone."""
        assert isinstance(self.timezone, tzinfo)  # noqa: S101  # made so when it was checked
        return self.timezone

    @property
    def archive_limit(self) -> int | None:
        """The most bytes of an archive."""
        assert not isinstance(self.max_archive_size, str)  # noqa: S101  # made a number when it was checked
        return self.max_archive_size

    def digest(self) -> str:
        """What shapes the bytes, as text to compare and store: `<format>-<16 hexadecimal digits>`.

        The same in every process and on every machine; options that can give other bytes, or refuse other input, have
        another. The number before the hyphen is `BYTES_FORMAT`. Raises
        OptionError (`timezone`) for a `tzinfo` of the caller's own making: nothing stable can be said of its rules.
        """
        text = json.dumps(self.shape(), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return f"{BYTES_FORMAT}-{sha256(text.encode()).hexdigest()[:16]}"

    def shape(self) -> dict[str, Any]:
        """What shapes the bytes, by its names and as JSON has it: what `digest` is made of, to be read by people.

        Raises OptionError as `digest` does.
        """
        said: dict[str, Any] = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in ("threads", "sha256", "timezone", "dialect")
        }
        if self.max_archive_size is None:  # what it always was, for one archive
            del said["max_archive_size"]
        return said | {"timezone": zone_name(self.tzinfo), "dialect": asdict(self.dialect)}


class OptionKeywords(TypedDict, total=False):
    """The fields of `ExportOptions`, as keyword arguments of `export_conversations`."""

    timezone: str | tzinfo
    epoch: Epoch | None
    range_by: RangeBy
    compression: Compression
    dialect: CsvDialect
    name_budget: int
    spool_limit: int
    strict: bool
    max_archive_size: int | str | None
    threads: int | None
    sha256: bool


def check_kind(name: str, given: object, kind: type) -> None:
    """Raise OptionError for an argument that is none of a kind."""
    if not isinstance(given, kind):
        raise OptionError(f"{name} is {given!r}: it must be of the type {kind.__name__} of export_engine", option=name)


def chosen_options(options: ExportOptions | None, keywords: OptionKeywords) -> ExportOptions:
    """The options with the keywords in place of their own. Raises OptionError for what is none, and for a keyword."""
    known = [field.name for field in fields(ExportOptions)]
    for name in keywords:
        if name not in known:
            like = difflib.get_close_matches(name, known, 1)
            meant = f"did you mean {like[0]}?" if like else f"the options are {', '.join(known)}"
            raise OptionError(f"there is no option {name}: {meant}", option=name)
    options = ExportOptions() if options is None else options
    check_kind("options", options, ExportOptions)
    return replace(options, **keywords)
