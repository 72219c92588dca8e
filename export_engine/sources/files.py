"""Flat tables in files: Parquet, Arrow IPC, CSV and flat JSON Lines.

Each reader opens its file when the batches are first asked for, reads it in pieces, and closes it at the end, on an
error, and with the batches. What the rows must look like is `sources.arrow`'s business.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import IO, Any, cast

import msgspec
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from export_engine.errors import RowError, SchemaError, SourceError
from export_engine.schema import COLUMN_NAMES, CREATED_AT
from export_engine.sources import MAX_ROWS, Intake, Source
from export_engine.sources.arrow import normalised, wanted_columns

__all__ = ["read_csv", "read_flat_jsonl", "read_ipc", "read_parquet"]

_Path = str | os.PathLike[str]

#: Bytes of CSV read at a time; a row must fit.
_CSV_BLOCK = 8 << 20
#: Bytes of JSON Lines decoded at a time; a longer line is read whole.
_JSON_BLOCK = 1 << 20
_BOM = b"\xef\xbb\xbf"
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_parquet(path: _Path) -> Source:
    """Make a source of a Parquet file; see `from_arrow` for its columns. Memory: one row group's pages at the most."""
    return _File(path, _parquet)


def read_ipc(path: _Path) -> Source:
    """Make a source of an Arrow IPC file or stream, or Feather version 2; see `from_arrow` for its columns."""
    return _File(path, _ipc)


def read_csv(path: _Path) -> Source:
    """Make a source of a CSV file (UTF-8, with a header; `.gz` is gzip); see `from_arrow` for its columns.

    An unquoted empty field is null, `""` is empty text, as this library writes them. `media_url` is comma-separated.
    A row may be up to 8 MiB.
    """
    return _File(path, _csv)


def read_flat_jsonl(path: _Path) -> Source:
    """Make a source of JSON Lines with one message a line (`.gz` is gzip); see `from_arrow` for its keys.

    A missing key is null, an unknown one is ignored. Ids may be integers; times are ISO 8601 text; `media_url` is text
    or a list. Blank lines are skipped.
    """
    return _File(path, _flat_jsonl)


@dataclass(frozen=True, slots=True)
class _File:
    path: _Path
    read: Any

    def batches(self, intake: Intake) -> Generator[pa.RecordBatch, None, None]:
        return cast("Generator[pa.RecordBatch, None, None]", self.read(os.fspath(self.path), intake))


def _parquet(path: str, intake: Intake) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
            wanted = wanted_columns(file.schema_arrow.names, intake)
            schema = pa.schema([file.schema_arrow.field(name) for name in wanted])
            yield from normalised(schema, file.iter_batches(MAX_ROWS, columns=wanted, use_threads=False), intake)
    except pa.ArrowInvalid as error:
        raise _unreadable(path, "a Parquet file", error) from error


def _ipc(path: str, intake: Intake) -> Iterator[pa.RecordBatch]:
    try:
        with pa.memory_map(path) as file:
            if file.read(6) == b"ARROW1":
                reader = pa.ipc.open_file(file)
                batches = (reader.get_batch(at) for at in range(reader.num_record_batches))
            else:
                file.seek(0)
                reader = batches = pa.ipc.open_stream(file)
            yield from normalised(reader.schema, batches, intake)
    except pa.ArrowInvalid as error:
        raise _unreadable(path, "an Arrow IPC file", error) from error


def _csv(path: str, intake: Intake) -> Iterator[pa.RecordBatch]:
    read = pacsv.ReadOptions(block_size=_CSV_BLOCK, use_threads=False)
    parse = pacsv.ParseOptions(newlines_in_values=True)
    try:
        with pa.input_stream(path, compression="detect") as file, pacsv.open_csv(file, read, parse) as reader:
            wanted = wanted_columns(reader.schema.names, intake)
        convert = pacsv.ConvertOptions(
            check_utf8=False,
            column_types=dict.fromkeys(wanted, pa.string()),
            include_columns=wanted,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        with pa.input_stream(path, compression="detect") as file, pacsv.open_csv(file, read, parse, convert) as reader:
            yield from normalised(reader.schema, reader, intake)
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _unreadable(path, "a CSV file with a header", error) from error


def _unreadable(path: str, kind: str, error: Exception) -> SourceError:
    return SourceError(f"{path} cannot be read as {kind}: {error}")


# --- flat JSON Lines -----------------------------------------------------------------------------------------------

_KEYS = (*COLUMN_NAMES, CREATED_AT)
_IDS = frozenset({"message_id", "conversation_id"})


def _kind(name: str) -> Any:
    if name in _IDS:
        return str | int | None
    return str | list[str | None] | None if name == "media_url" else str | None


_Row = msgspec.defstruct("_Row", [(name, _kind(name), None) for name in _KEYS], gc=False)
_DECODER = msgspec.json.Decoder(_Row)


def _flat_jsonl(path: str, intake: Intake) -> Iterator[pa.RecordBatch]:
    schema = pa.schema([(name, pa.string()) for name in _KEYS])
    with closing(_blocks(path)) as blocks:
        first = next(blocks, None)
        if first is None:
            return
        _check_keys(path, first[1], intake)

        def batches() -> Iterator[pa.RecordBatch]:
            number, block = first
            while block:
                rows = _rows(path, number, block)
                columns = [_column(name, rows, number, intake) for name in _KEYS]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)
                number, block = next(blocks, (0, b""))

        yield from normalised(schema, batches(), intake)


def _blocks(path: str) -> Generator[tuple[int, bytes], None, None]:
    """Whole lines, some at a time, with the number of the first."""
    opened = cast("IO[bytes]", gzip.open(path) if path.lower().endswith(".gz") else open(path, "rb"))  # noqa: PTH123, SIM115  # closed below
    with opened as file:
        number = 1
        while lines := file.readlines(_JSON_BLOCK):
            if number == 1:
                lines[0] = lines[0].removeprefix(_BOM)
            block = b"".join(lines)
            if not block.isspace():
                yield number, block
            number += len(lines)


def _check_keys(path: str, block: bytes, intake: Intake) -> None:
    """Hold the keys of the first line against the columns."""
    line = block.lstrip().split(b"\n", 1)[0]
    try:
        document = json.loads(line.decode("utf-8", "surrogatepass"), object_pairs_hook=tuple)
    except ValueError as error:
        raise SourceError(
            f"{path}: the first line is not JSON ({error}); write one whole JSON object a line"
        ) from error
    if not isinstance(document, tuple):
        raise SourceError(f"{path}: the first line is no JSON object; write one object a line")
    keys = [key for key, _ in document]
    doubled = [key for key, count in Counter(keys).items() if count > 1]
    if doubled:
        raise SchemaError(f"{path}: the key {doubled[0]!r} is there twice in a line: keep one", column=doubled[0])
    wanted_columns(keys, intake)


def _rows(path: str, number: int, block: bytes) -> list[Any]:
    """The decoded lines of a block; line by line where one is refused, to say which."""
    try:
        return cast("list[Any]", _DECODER.decode_lines(block))
    except (msgspec.DecodeError, UnicodeDecodeError):
        rows = []
        for at, line in enumerate(block.split(b"\n"), number):
            if line and not line.isspace():
                rows.append(_row(path, at, line))
        return rows


def _row(path: str, number: int, line: bytes) -> Any:
    try:
        return _DECODER.decode(line)
    except msgspec.ValidationError as error:
        raise _mistyped(path, number, line, error) from error
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:  # lone surrogates are JSON to Python
            return msgspec.convert(json.loads(line.decode("utf-8", "surrogatepass")), _Row)
        except msgspec.ValidationError as error:
            raise _mistyped(path, number, line, error) from error
        except ValueError as error:
            raise SourceError(
                f"{path}, line {number} is not JSON ({error}); write one whole JSON object a line"
            ) from error


def _mistyped(path: str, number: int, line: bytes, error: Exception) -> SourceError:
    problem, _, place = str(error).partition(" - at `$.")
    name = re.split(r"[.`\[]", place)[0]
    document = json.loads(line.decode("utf-8", "surrogatepass"))
    if not isinstance(document, dict):
        return SourceError(f"{path}, line {number} is no JSON object; write one object a line")
    ids = [None if document.get(key) is None else str(document[key]) for key in ("conversation_id", "message_id")]
    return RowError(
        f"{problem}, in {path}",
        column=name,
        value=document.get(name),
        conversation_id=ids[0],
        message_id=ids[1],
        row=number,
        advice="write text as JSON strings" if name != "media_url" else "write text, or a list of strings",
    )


def _column(name: str, rows: list[Any], number: int, intake: Intake) -> pa.Array:
    values = [getattr(row, name) for row in rows]
    if name in _IDS and not all(type(value) is str for value in values):
        values = [str(value) if isinstance(value, int) else value for value in values]
    elif name == "media_url" and any(type(value) is list for value in values):
        values = [_joined(value, row, number + at) for at, (value, row) in enumerate(zip(values, rows, strict=True))]
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        return pa.array(
            [_mended(name, value, rows[at], number + at, intake) for at, value in enumerate(values)], pa.string()
        )


def _joined(value: Any, row: Any, number: int) -> str | None:
    if not isinstance(value, list):
        return cast("str | None", value)
    if None in value:
        raise _refused("media_url", value, row, number, "has a null among its URLs", "leave it out of the list")
    return ",".join(url.replace(",", "%2C") for url in value) or None


def _mended(name: str, value: str | None, row: Any, number: int, intake: Intake) -> str | None:
    """The text with U+FFFD for lone surrogates, counted; RowError with `strict`."""
    if value is None:
        return None
    mended, count = _SURROGATE.subn("\ufffd", value)
    if count and intake.strict:
        raise _refused(name, value, row, number, "has a lone surrogate", "mend the text, or export without strict")
    intake.replaced_surrogates += count
    return mended


def _refused(name: str, value: Any, row: Any, number: int, problem: str, advice: str) -> RowError:
    ids = [None if i is None else str(i) for i in (row.conversation_id, row.message_id)]
    return RowError(
        f"{value!r} {problem}",
        column=name,
        value=value,
        conversation_id=ids[0],
        message_id=ids[1],
        row=number,
        advice=advice,
    )
