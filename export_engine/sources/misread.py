"""What a query names to be read, and what of it DuckDB would read as something else, without a word.

A JSON array that is cut short behind a comma is whole to it, and decimals of more than 38 digits are floats.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export_engine.errors import OptionError, SourceError
from export_engine.sources.duck import query_errors, reach, syntax_tree
from export_engine.sources.formats import ARRAY, ZIP
from export_engine.sources.inputs import Input, opened
from export_engine.sources.open import ending_format
from export_engine.sources.urls import is_folder, is_url

if TYPE_CHECKING:
    import duckdb

__all__ = ["check_arrays", "check_decimals", "check_files", "meant", "named_in", "names", "values"]

_BOM = b"\xef\xbb\xbf"
#: Bytes of a file's beginning and end that tell whether it is a whole array.
_LOOKED_AT = 1 << 12
_READ = 1 << 20
#: The digits of a decimal that DuckDB keeps.
_DIGITS = 38


def check_files(connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, Any]) -> None:
    """Raise SourceError for a file of a query's that DuckDB would read as something else, and as `meant` does."""
    files = meant(named_in(query, parameters, connection))
    parquet = [file for file in files if ending_format(file) == "parquet"]
    check_arrays(file for file in files if file not in parquet)
    if parquet:
        reach(connection, query, parameters)
        with query_errors():
            check_decimals(connection, parquet, lambda name: names(query, name))


def names(said: str, column: str) -> bool:
    """Whether a text of SQL has a column's name, as a word of its own and in any case."""
    return re.search(rf"(?<!\w){re.escape(column)}(?!\w)", said, re.IGNORECASE) is not None


def named_in(
    query: str, parameters: Mapping[str, Any], connection: duckdb.DuckDBPyConnection | None = None
) -> list[str]:
    """The paths, patterns and URLs that stand in a query's FROMs, in its text or as its parameters.

    Nothing where it is no query; whoever runs it says so. Another parameter may be a URL too, which nobody is to fetch.
    """
    return list(_tables(syntax_tree(query, connection), parameters))


def values(parameters: Mapping[str, Any]) -> Iterator[str]:
    """All the texts and paths among parameters, those in lists too."""
    for value in parameters.values():
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, str | os.PathLike):
                yield os.fspath(one)


def _tables(node: object, parameters: Mapping[str, Any]) -> Iterator[str]:
    """The files of a parsed query: what stands for a table, and the texts that a table function is called with."""
    if isinstance(node, dict):
        kind = node.get("type")
        if kind == "BASE_TABLE":
            yield node["table_name"]
        elif kind == "TABLE_FUNCTION":
            yield from _texts(node["function"], parameters)
        node = list(node.values())
    for child in node if isinstance(node, list) else ():
        yield from _tables(child, parameters)


def _texts(node: object, parameters: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(node, dict):
        kind = node.get("type")
        if kind == "VALUE_PARAMETER":
            yield from values({name: value for name, value in parameters.items() if name == node.get("identifier")})
        elif kind == "VALUE_CONSTANT":
            # {"literal": {"text": …}} in one version of DuckDB, {"value": {"value": …}} in another.
            held = node.get("literal") or node.get("value") or {}
            yield from (text for key in ("text", "value") if isinstance(text := held.get(key), str))
        node = list(node.values())
    for child in node if isinstance(node, list) else ():
        yield from _texts(child, parameters)


def meant(named: Iterable[str]) -> list[str]:
    """The files on disk that paths and patterns mean, and the URLs; each once. What means nothing is left out.

    Raises SourceError for an object store that refuses.
    """
    found: dict[str, None] = {}
    for place in named:
        if is_url(place):
            if is_folder(place):
                from export_engine.sources.remote import listed  # noqa: PLC0415  # there with the extra

                try:
                    found |= dict.fromkeys(listed(place))
                except OptionError:  # the web lists no files: DuckDB says so, if it reads it
                    continue
            else:
                found[place] = None
        elif "\0" not in place:
            found |= dict.fromkeys(path for path in glob(place, recursive=True) if Path(path).is_file())  # noqa: PTH207  # absolute ones too
    return list(found)


def check_arrays(files: Iterable[str], name: str | None = None) -> None:
    """Raise SourceError for a file or URL that is a JSON array without its end, or a ZIP; `name` is said instead of it.

    An array that is compressed is read to its end for it, and of a URL its beginning and end.
    """
    for given in files:
        with opened(given) as file:
            if file.peek(4) == ZIP:
                raise SourceError(f"{file.name} is a ZIP: unpack it, and give what is in it")
            if ARRAY.match(file.peek(_LOOKED_AT).removeprefix(_BOM).lstrip()) and not _end(file).endswith(b"]"):
                raise SourceError(
                    f"{name or file.name} is a JSON array without its end: it is cut short; make or fetch it again"
                )


def _end(file: Input) -> bytes:
    """The last of an input's bytes, without blanks."""
    if file.compression is None:
        with file.mapped("JSON") as whole:
            whole.seek(max(0, whole.size() - _LOOKED_AT))
            end: bytes = whole.read()
        return end.rstrip()
    end = b""
    while data := file.read(_READ):
        end = (end + data)[-_LOOKED_AT:]
    return end.rstrip()


def check_decimals(connection: duckdb.DuckDBPyConnection, files: list[str], is_used: Callable[[str], bool]) -> None:
    """Raise SourceError for a column of Parquet that is used, and that DuckDB makes floats of."""
    query = (
        "SELECT DISTINCT file_name, name, precision FROM parquet_schema($files) WHERE precision > $most ORDER BY ALL"
    )
    for file, name, digits in connection.execute(query, {"files": files, "most": _DIGITS}).fetchall():
        if is_used(name):
            raise SourceError(
                f"{file}: column {name!r} holds decimals of up to {digits} digits, and a query keeps {_DIGITS}: write "
                "it as text"
            )
