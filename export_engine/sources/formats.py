"""Which format an input has, as its first bytes tell, and what to do with one that cannot be read."""

from __future__ import annotations

import codecs
import re
from typing import Literal

from export_engine.errors import OptionError, SourceError
from export_engine.schema import COLUMN_NAMES, CREATED_AT
from export_engine.sources.inputs import Input, option_text

__all__ = ["ARRAY", "IPC_FILE", "IPC_STREAM", "ZIP", "Format", "checked_format"]

Format = Literal["parquet", "ipc", "csv", "jsonl"]

#: How an Arrow IPC file begins, and a stream's messages, of which the first is its beginning.
IPC_FILE, IPC_STREAM = b"ARROW1", b"\xff\xff\xff\xff"
#: How formats begin that are no text.
_BEGINNINGS: dict[bytes, Format] = {b"PAR1": "parquet", IPC_FILE: "ipc", IPC_STREAM: "ipc"}
ZIP = b"PK\x03\x04"
#: What else people have, what it is called, and what to do with it.
_OTHERS = {
    ZIP: ("a ZIP or an Excel workbook", "unpack it, or save the sheet as CSV"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "save the sheet as CSV"),
    b"SQLite format 3\0": (
        "a SQLite database",
        "give it by its URL, with a query: --database sqlite:///FILE --sql 'SELECT …' (in Python read_database)",
    ),
    b"\xfd7zXZ\0": ("compressed by xz", "pipe it in: xz -dc FILE | export-engine export -"),
    b"\x04\x22\x4d\x18": ("compressed by lz4", "pipe it in: lz4 -dc FILE | export-engine export -"),
    b"\x1f\x8b": ("compressed twice", "decompress it once"),
    b"\x28\xb5\x2f\xfd": ("compressed twice", "decompress it once"),
    b"BZh": ("compressed twice", "decompress it once"),
    b"Obj\x01": ("an Avro file", "convert it to Parquet or JSON Lines"),
    b"ORC": ("an ORC file", "convert it to Parquet"),
    b"%PDF": ("a PDF", "give the data as CSV or JSON Lines"),
}
_BOM = codecs.BOM_UTF8
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)  # that of UTF-32-LE begins like the first
#: How marked-up text begins, and what to do with it.
_MARKUP = re.compile(rb"<(?:\?xml|!doctype|html)\b", re.IGNORECASE)
_MARKUP_ADVICE = "export it as JSON or CSV where it was made, or make rows of it in Python (from_rows)"
#: How an array of objects begins, on one line or many.
ARRAY = re.compile(rb"\[\s*+\{")
#: How an object over many lines begins.
_SPREAD = re.compile(rb"\{[ \t\r]*+\n")


def checked_format(file: Input, said: Format | None, *, is_text: bool) -> Format:
    """What an input is: as it is `said` to be, if the content does not say otherwise; else as the content says.

    With `is_text` the bytes may be of any encoding, and nothing is refused for how they look. Raises SourceError for
    content that says otherwise, OptionError where nothing says anything.
    """
    if is_text:
        return said or "csv"
    head = file.peek(1 << 16)
    for beginning, (name, advice) in _OTHERS.items():
        if head.startswith(beginning):
            raise SourceError(f"{file.name} is {name}: {advice}")
    text = head.removeprefix(_BOM).lstrip()
    if _MARKUP.match(text):
        raise SourceError(f"{file.name} is XML or HTML: {_MARKUP_ADVICE}")
    found = _found(head)
    if head.startswith(_WIDE) and "csv" not in (said, found):
        raise SourceError(
            f"{file.name} is UTF-16 or UTF-32, and JSON Lines are UTF-8: pipe it in, "
            "iconv -f utf-16 -t utf-8 FILE | export-engine export -"
        )
    if said is None and found is None:
        raise OptionError(
            f"{file.name} is {_described(head)}: neither its name nor its content tells the format; say which it is "
            "with --format csv, jsonl, ipc or parquet (format= in Python)",
            option="format",
        )
    if said is not None and found is not None and said != found and (said, found) != ("jsonl", "csv"):
        raise SourceError(
            f"{file.name} is to be read as {said}, but begins like {found}: read it with "
            f"{option_text('format', found)}, or rename it"
        )
    if (said or found) == "jsonl" and ARRAY.match(text):
        raise SourceError(
            f"{file.name} is one JSON array: write an object a line instead, for example with jq -c '.[]' {file.name}, "
            "or say with --map (read_mapped in Python) what its columns are"
        )
    if (said or found) == "jsonl" and _SPREAD.match(text):
        raise SourceError(
            f"{file.name} has a JSON object over several lines: write an object a line instead, for example with "
            f"jq -c . {file.name}; rows that stand within it are taken out by a query (--sql, in Python read_sql)"
        )
    return said or found  # type: ignore[return-value]  # one of them is one


def _found(head: bytes) -> Format | None:
    for beginning, format_ in _BEGINNINGS.items():
        if head.startswith(beginning):
            return format_
    text = head.removeprefix(_BOM).lstrip()
    if text.startswith(b"{") or ARRAY.match(text):
        return "jsonl"
    line = re.split(rb"[\r\n]", text, maxsplit=1)[0].replace(b"\0", b"")
    cells = {cell.strip(b' "').decode("utf-8", "replace") for cell in re.split(rb"[,;\t|]", line)}
    return "csv" if cells & {*COLUMN_NAMES, CREATED_AT} else None


def _described(head: bytes) -> str:
    return f"data that begins with {head[:24]!r}" if head else "empty"
