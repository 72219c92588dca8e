"""The members' records as a file: JSON Lines, one `MemberRecord` a line, or Parquet with a column for each field.

Where an export may have several archives (`max_archive_size`), the file also names them: in lines of their own behind
the members', one `ArchiveRecord` each; in Parquet as its metadata `archives`, a JSON array of the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import fields
from io import RawIOBase
from operator import attrgetter
from typing import IO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from export_engine.report import ArchiveRecord, MemberRecord

__all__ = ["MANIFEST_SCHEMA", "open_manifest"]

_Listener = Callable[[MemberRecord | ArchiveRecord], None]

_TYPES = {
    "name": pa.string(),
    "conversation_id": pa.string(),
    "sha256": pa.string(),
    "part": pa.int32(),
    "archive": pa.int32(),
}
_TYPES |= dict.fromkeys(("first_time", "last_time"), pa.timestamp("us", tz="UTC"))

#: The columns of a Parquet manifest: the fields of `MemberRecord`.
MANIFEST_SCHEMA = pa.schema([(f.name, _TYPES.get(f.name, pa.int64())) for f in fields(MemberRecord)])

_values: Callable[[MemberRecord], tuple[object, ...]] = attrgetter(*MANIFEST_SCHEMA.names)

_ROW_GROUP = 8192


def open_manifest(suffix: str, file: IO[bytes] | RawIOBase) -> AbstractContextManager[_Listener]:
    """A listener that writes each record it is called with to `file`: Parquet for `.parquet`, else JSON Lines.

    To be given to `Export.listen`, with `sha256=True` if the records are to have it; of a set of archives it is called
    with each one's record besides. The file is whole once the block has ended, and stays open.
    """
    return _parquet(file) if suffix.lower() == ".parquet" else _json_lines(file)


@contextmanager
def _json_lines(file: IO[bytes] | RawIOBase) -> Iterator[_Listener]:
    encode = msgspec.json.Encoder().encode

    def listener(record: MemberRecord | ArchiveRecord) -> None:
        file.write(encode(record) + b"\n")

    yield listener


@contextmanager
def _parquet(file: IO[bytes] | RawIOBase) -> Iterator[_Listener]:
    held: list[tuple[object, ...]] = []
    archives: list[ArchiveRecord] = []

    def write() -> None:
        columns = zip(*held, strict=True)
        arrays = [pa.array(values, type_) for values, type_ in zip(columns, MANIFEST_SCHEMA.types, strict=True)]
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=MANIFEST_SCHEMA))
        held.clear()

    def listener(record: MemberRecord | ArchiveRecord) -> None:
        if isinstance(record, ArchiveRecord):
            archives.append(record)
            return
        held.append(_values(record))
        if len(held) == _ROW_GROUP:
            write()

    writer = pq.ParquetWriter(file, MANIFEST_SCHEMA)
    try:
        yield listener
        if held:
            write()
        if archives:
            writer.add_key_value_metadata({"archives": msgspec.json.encode(archives).decode()})
    except BaseException:
        with suppress(Exception):  # what it says at its end must not hide what came first
            writer.close()
        raise
    writer.close()
