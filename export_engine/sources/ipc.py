"""Arrow IPC: files, which seek, and streams, which do not have to."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from export_engine.errors import SourceError
from export_engine.sources import Source, SourceContext
from export_engine.sources.formats import IPC_FILE, IPC_STREAM
from export_engine.sources.inputs import FileSource, Given, Input, reading, told
from export_engine.sources.tables import normalised, numbered, wanted_columns

__all__ = ["ipc_batches", "read_ipc"]

_LARGEST_SCHEMA = 64 << 20
_KIND = "an Arrow IPC file or stream"


def read_ipc(given: Given) -> Source:
    """Make a source of an Arrow IPC file or stream, or Feather version 2; see `from_arrow` for its columns.

    `given` is a path, `-` for standard input, or a binary file object; a file, unlike a stream, has to seek. gzip, zstd
    and bz2 around a stream are told by its content.
    """
    return FileSource(given, ipc_batches)


def ipc_batches(file: Input, context: SourceContext) -> Iterator[pa.RecordBatch]:
    """Read an opened input; see `read_ipc`."""
    if file.peek(len(IPC_FILE)) == IPC_FILE:
        yield from _file_batches(file, context)
    else:
        yield from _stream_batches(file, context)


def _file_batches(file: Input, context: SourceContext) -> Iterator[pa.RecordBatch]:
    with file.mapped("an Arrow IPC file") as mapped:
        with reading(file.name, _KIND):
            options = _chosen(pa.ipc.open_file(mapped).schema, context)
            reader = pa.ipc.open_file(mapped, options=options)
        batches = _each(file, reader)
        yield from normalised(reader.schema, numbered(told(file.name, _KIND, batches)), context)


def _each(file: Input, reader: pa.RecordBatchFileReader) -> Iterator[pa.RecordBatch]:
    for at in range(reader.num_record_batches):
        batch = reader.get_batch(at)
        file.known_share = (at + 1) / reader.num_record_batches
        yield batch


def _stream_batches(file: Input, context: SourceContext) -> Iterator[pa.RecordBatch]:
    with reading(file.name, _KIND):
        options = _chosen(pa.ipc.read_schema(pa.py_buffer(file.peek(_schema_size(file)))), context)
    file.size = None  # what is mapped is not seen being read
    with file.in_order() as stream:
        with reading(file.name, _KIND):
            reader = pa.ipc.open_stream(stream, options=options)
        yield from normalised(reader.schema, numbered(told(file.name, _KIND, iter(reader))), context)
        # To the end, where what was compressed is found to be whole or not.
        if stream.read(1):
            raise SourceError(
                f"{file.name} has more data after the end of its Arrow IPC stream, which would be lost: give each "
                "stream as an input of its own"
            )


def _schema_size(file: Input) -> int:
    """Bytes of a stream's first message, its schema: a mark (none before Arrow 0.15), its length, and that many."""
    head = file.peek(8)
    mark = 4 if head.startswith(IPC_STREAM) else 0
    size = int.from_bytes(head[mark : mark + 4], "little")
    if not 0 < size <= _LARGEST_SCHEMA:
        raise pa.ArrowInvalid(f"it begins with {head!r}, and not with a schema")
    return mark + 4 + size


def _chosen(schema: pa.Schema, context: SourceContext) -> pa.ipc.IpcReadOptions:
    """Columns that are left out are not decompressed either."""
    if not schema.names:
        return pa.ipc.IpcReadOptions()
    fields = [schema.get_field_index(name) for name in wanted_columns(schema.names, context)]
    return pa.ipc.IpcReadOptions(included_fields=fields)
