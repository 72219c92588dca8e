"""Flat tables in files: Parquet, Arrow IPC and CSV.

Each reader opens its file when the batches are first asked for, reads it in pieces, and closes it at the end, on an
error, and with the batches. What the rows must look like is `sources.tables`' business.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from export_engine.errors import SourceError
from export_engine.schema import MAX_BATCH_BYTES, MAX_BATCH_ROWS
from export_engine.sources import Source, SourceContext
from export_engine.sources.tables import normalised, numbered, wanted_columns

__all__ = ["read_csv", "read_ipc", "read_parquet"]

_Path = str | os.PathLike[str]

#: Bytes of CSV read at a time. A longer row is met with larger blocks, up to what pyarrow can hold.
_CSV_BLOCK = 1 << 20
_CSV_LARGEST = 1 << 30


def read_parquet(path: _Path) -> Source:
    """Make a source of a Parquet file; see `from_arrow` for its columns.

    The file is mapped, so it must not be cut short meanwhile. Memory: a page and some rows of each column.
    """
    return _File(path, _parquet)


def read_ipc(path: _Path) -> Source:
    """Make a source of an Arrow IPC file or stream, or Feather version 2; see `from_arrow` for its columns."""
    return _File(path, _ipc)


def read_csv(path: _Path) -> Source:
    """Make a source of a CSV file (UTF-8, with a header; `.gz` is gzip); see `from_arrow` for its columns.

    An unquoted empty field is null, `""` is empty text, as this library writes them. `media_url` is comma-separated.
    A row may be up to 1 GiB. SourceError for rows of another length than the header, and for quotes that do not pair
    up, as in a file cut short within a value. `row` in errors counts rows, as a value may hold line ends.
    """
    return _File(path, _csv)


@dataclass(frozen=True, slots=True)
class _File:
    path: _Path
    read: Any

    @property
    def paths(self) -> tuple[str | os.PathLike[str] | int, ...]:
        """What is read, so that nothing is written over it."""
        return (self.path,)

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        return cast("Generator[pa.RecordBatch, None, None]", self.read(os.fspath(self.path), context))


@contextmanager
def _reading(path: str, kind: str) -> Iterator[None]:
    """Say which file cannot be read; what the operating system says of itself passes."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, csv.Error, OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _unreadable(path, kind, error) from error


def _told(path: str, kind: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches; only the reader's errors are the file's."""
    with _reading(path, kind):
        yield from batches


def _parquet(path: str, context: SourceContext) -> Iterator[pa.RecordBatch]:
    kind = "a Parquet file"
    with _reading(path, kind):
        opened = pq.ParquetFile(path, memory_map=True, pre_buffer=False)
    with opened as file:
        wanted = wanted_columns(file.schema_arrow.names, context)
        schema = pa.schema([file.schema_arrow.field(name) for name in wanted])
        yield from normalised(schema, numbered(_told(path, kind, _row_groups(file, wanted))), context)


def _row_groups(file: pq.ParquetFile, wanted: list[str]) -> Iterator[pa.RecordBatch]:
    """Fewer rows at a time where they are long: the decoded rows are all that is held."""
    for at in range(file.num_row_groups):
        group = file.metadata.row_group(at)
        chunks = map(group.column, range(group.num_columns))
        size = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] in wanted)
        rows = max(1, min(MAX_BATCH_ROWS, MAX_BATCH_BYTES * group.num_rows // max(size, 1)))
        yield from file.iter_batches(rows, row_groups=[at], columns=wanted, use_threads=False)


def _ipc(path: str, context: SourceContext) -> Iterator[pa.RecordBatch]:
    kind = "an Arrow IPC file or stream"
    with _reading(path, kind):
        mapped = pa.memory_map(path)
    with mapped as file:
        with _reading(path, kind):
            whole = file.read(6) == b"ARROW1"
            file.seek(0)
            schema = (pa.ipc.open_file(file) if whole else pa.ipc.open_stream(file)).schema
            file.seek(0)
        wanted = wanted_columns(schema.names, context)
        # Columns that are left out are not decompressed either.
        options = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(name) for name in wanted])
        with _reading(path, kind):
            reader = pa.ipc.open_file(file, options=options) if whole else pa.ipc.open_stream(file, options=options)
        batches = map(reader.get_batch, range(reader.num_record_batches)) if whole else iter(reader)
        yield from normalised(reader.schema, numbered(_told(path, kind, batches)), context)


class _Quotes(io.RawIOBase):
    """A file that counts the quotes read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.count = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.count += int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord('"')))
        return data


def _csv(path: str, context: SourceContext) -> Iterator[pa.RecordBatch]:
    kind = "a CSV file with a header"
    with _reading(path, kind), _open(path) as file, _header_text(file) as text:
        names = next(filter(None, csv.reader(text)), [])
    if not names:
        raise SourceError(f"{path} cannot be read as {kind}: it is empty; its first line must name the columns")
    wanted = wanted_columns(names, context)
    schema = pa.schema([(name, pa.string()) for name in wanted])
    with closing(_csv_rows(path, wanted)) as rows:  # an error's traceback would keep it, and the file, alive
        yield from normalised(schema, numbered(_told(path, kind, rows)), context)


def _header_text(file: IO[bytes]) -> io.TextIOWrapper:
    """What is not UTF-8 in an ignored column's name, or further on in what is read ahead, does no harm here."""
    return io.TextIOWrapper(file, "utf-8-sig", "backslashreplace", newline="")


def _csv_reader(file: _Quotes, block: int, wanted: list[str]) -> pacsv.CSVStreamingReader:
    convert = pacsv.ConvertOptions(
        check_utf8=False,  # done later, where the row is known
        column_types=dict.fromkeys(wanted, pa.string()),
        include_columns=wanted,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    # One thread is as fast, reads less ahead and knows the number of a wrong row.
    read = pacsv.ReadOptions(block_size=block, use_threads=False)
    return pacsv.open_csv(file, read, pacsv.ParseOptions(newlines_in_values=True), convert)


def _csv_rows(path: str, wanted: list[str]) -> Generator[pa.RecordBatch, None, None]:
    done, block = 0, _CSV_BLOCK
    while True:
        try:
            with _open(path) as raw, closing(_Quotes(raw)) as file, _csv_reader(file, block, wanted) as reader:
                skip = done
                for batch in reader:
                    rest = batch.slice(min(skip, batch.num_rows))
                    skip -= batch.num_rows - rest.num_rows
                    done += rest.num_rows
                    yield rest
                if file.count % 2:
                    raise SourceError(
                        f"{path} has an odd number of quotes: it was cut short, or a value with a quote in it is not "
                        'quoted (quote it, and double the quotes inside: "5"" pipe")'
                    )
                return
        except pa.ArrowInvalid as error:
            # A row longer than a block: start again with larger ones, and leave out what was handed on.
            if "straddling object" not in str(error) or block >= _CSV_LARGEST:
                raise
            block *= 8


def _open(path: str) -> IO[bytes]:
    if path.lower().endswith(".gz"):
        return cast("IO[bytes]", gzip.open(path))  # the caller closes it
    return open(path, "rb")  # noqa: PTH123  # the caller closes it


def _unreadable(path: str, kind: str, error: Exception) -> SourceError:
    return SourceError(f"{path} cannot be read as {kind}: {error}")
