"""The source for whatever was given: conversations, Arrow data, or inputs by their endings and content."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from glob import glob
from itertools import chain
from typing import Any, get_args
from urllib.parse import urlsplit

import pyarrow as pa

from export_engine.errors import OptionError, RowError, SourceTypeError
from export_engine.sources import Source, SourceContext
from export_engine.sources.channels import folder_channel, one_channel
from export_engine.sources.formats import Format, checked_format
from export_engine.sources.inputs import FileSource, Given, Input, Reader, checked_inputs, name_of, without_compression
from export_engine.sources.urls import is_folder, is_url, shown
from export_engine.sources.whole import refuse_again

__all__ = ["ending_format", "expanded", "open_source", "source_of"]


def source_of(given: Any) -> Source:
    """The source that reads an object: a source, conversations, Arrow data or an iterable of record batches.

    Nothing is read yet. Raises SourceTypeError for an object that is none of these, and for rows as dictionaries, which
    `from_rows` takes: here or, of an iterator, when it is read.
    """
    if hasattr(given, "batches"):
        source: Source = given
        return source
    if hasattr(given, "__arrow_c_stream__") or hasattr(given, "__arrow_c_array__"):
        from export_engine.sources.tables import from_arrow  # noqa: PLC0415  # a source is loaded when it is used

        return from_arrow(given)
    if isinstance(given, str | bytes | os.PathLike | Mapping) or not isinstance(given, Iterable):
        raise _no_source(given)
    if isinstance(given, Sequence) and given and _is_row(given[0]):
        raise _no_source(given[0], "rows")
    return _Items(given)


def _is_row(given: Any) -> bool:
    """Whether `from_rows` takes it: a mapping, or what is like one (`sqlite3.Row`)."""
    return isinstance(given, Mapping) or (hasattr(given, "keys") and hasattr(given, "__getitem__"))


def _no_source(given: Any, what: str = "") -> SourceTypeError:
    """What to do with an object that nothing is known to read."""
    advice = "pass conversations or Arrow data, or for a file what open_source(path) returns"
    if _is_row(given):
        advice = "pass from_rows(rows) for rows as dictionaries, or pyarrow.table(columns) for a dictionary of columns"
    elif callable(getattr(given, "collect", None)):
        advice = "pass what its .collect() returns"
    return SourceTypeError(f"a source cannot be made of {what and f'{what} as '}{type(given).__name__}: {advice}")


@dataclass(frozen=True, slots=True)
class _Items:
    """Conversations or record batches: the first item tells."""

    items: Iterable[Any]

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        """Read the items."""
        items = iter(self.items)
        for first in items:
            with closing(_of_items(first, _Chained(first, items)).batches(context)) as batches:
                yield from batches
            return


def _of_items(first: Any, items: Iterable[Any]) -> Source:
    if _is_row(first):
        raise _no_source(first, "rows")
    if isinstance(first, pa.RecordBatch):
        from export_engine.sources.tables import from_arrow  # noqa: PLC0415  # loaded when used

        return from_arrow(items)
    from export_engine.sources.objects import from_conversations  # noqa: PLC0415  # the same

    return from_conversations(items)


@dataclass(slots=True)
class _Chained:
    """An iterator with its first item put back, still closable."""

    first: Any
    rest: Iterator[Any]

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from chain([self.first], self.rest)
        finally:
            close = getattr(self.rest, "close", None)
            if close is not None:
                close()


#: Which reader a file's ending asks for; the ending of a compression behind it is looked through.
_ENDINGS: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "ipc",
    ".arrows": "ipc",
    ".ipc": "ipc",
    ".feather": "ipc",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}


def open_source(
    *inputs: Given,
    format: Format | None = None,  # noqa: A002  # the word for it
    encoding: str | None = None,
    delimiter: str | None = None,
    escape: str | None = None,
) -> Source:
    """A source that reads inputs, one after the other, each opened once when its turn comes.

    An input is a path, `-` for standard input, or a binary file object. Pipes will do (`/dev/stdin`, a FIFO, what a
    shell makes of `<(command)`), but for Parquet and Arrow IPC files, which must seek. A folder means all files in it
    and its folders that have one of the endings below, and a pattern (`log-*.csv`, `**/*.jsonl`) those that fit it; in
    the order of their names, hidden ones not.

    `s3://`, `gs://` and `az://` URLs are read by obstore (`pip install 'export-engine[cloud]'`), with the credentials
    of the cloud's own environment variables: streamed, Parquet and Arrow IPC files by ranges. One that ends in a slash
    means all objects below it, and a key may be a pattern. `https://` URLs are read likewise, one by one.

    `format` is what all inputs are. Without it a path's ending tells: `.parquet` `.pq`; `.arrow` `.arrows` `.ipc`
    `.feather` (Arrow IPC, file or stream); `.csv` `.tsv`; `.jsonl` `.ndjson`. Where there is none of these, the content
    does: how Parquet and Arrow begin, `{` for JSON Lines, and CSV if its first line names a column. JSON Lines with a
    `messages` key in the first line are nested, else flat. gzip, zstd and bz2 around all but Parquet and Arrow IPC
    files are told by their content.

    `encoding`, `delimiter` and `escape` are `read_csv`'s, for CSV only.

    Raises OptionError for no input or one that cannot be read (text, a pipe twice, a folder without files), an unknown
    format, and an option that cannot work; FileNotFoundError for a file that is not there; ModuleNotFoundError for a
    URL without obstore. Errors while reading: SourceError for content that is not of its format or cannot be fetched,
    OptionError where nothing tells the format, and those of the format's reader.
    """
    if not inputs:
        raise OptionError("no file was given: pass one path or more", option="inputs")
    if format is not None and format not in get_args(Format):
        raise OptionError(f"format {format!r} is unknown: choose from {', '.join(get_args(Format))}", option="format")
    inputs = expanded(inputs)
    checked_inputs(inputs)
    given = {"encoding": encoding, "delimiter": delimiter, "escape": escape}
    options = {name: value for name, value in given.items() if value is not None}
    kinds = [format or ending_format(name_of(item)) or ("csv" if options else None) for item in inputs]
    for option in options:
        if other := next((kind for kind in kinds if kind != "csv"), None):
            raise OptionError(f"{option} is for CSV, and an input is {other}: leave it away", option=option)
    if options:
        from export_engine.sources.csv_file import csv_options  # noqa: PLC0415  # loaded when used

        csv_options(**options)  # checked before anything is opened
    return _Inputs(
        tuple(FileSource(item, partial(_read, kind, options)) for item, kind in zip(inputs, kinds, strict=True))
    )


def expanded(inputs: tuple[Given, ...]) -> tuple[Given, ...]:
    """The inputs with folders and patterns as the files that they mean, by name; see `open_source`.

    Raises OptionError for a folder or pattern that means none, and as `sources.remote.listed` does.
    """
    return tuple(file for given in inputs for file in _meant(given))


def _meant(given: Given) -> Sequence[Given]:
    if not isinstance(given, str | os.PathLike) or given == "-":
        return (given,)
    found: list[str]
    path = os.fspath(given)
    if is_url(path):
        if not is_folder(path):
            return (given,)
        from export_engine.sources.remote import listed  # noqa: PLC0415  # there with the extra

        found = listed(path)
        if path.endswith("/"):
            found = [url for url in found if ending_format(url) is not None]
    elif os.path.isdir(path):  # noqa: PTH112  # any kind of path
        found = _files_in(path)
    elif not os.path.exists(path) and set(path) & set("*?["):  # noqa: PTH110  # the same
        found = sorted(name for name in glob(path, recursive=True) if not os.path.isdir(name))  # noqa: PTH112, PTH207
    else:
        return (given,)
    if not found:
        raise OptionError(f"{shown(path) if is_url(path) else path}: there is no file to read", option="inputs")
    return found


def _files_in(folder: str) -> list[str]:
    """The files in a folder and those in it that are of a known ending, hidden ones not, by name."""
    found = []
    for place, folders, names in os.walk(folder, onerror=_raised):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(place, name) for name in names if not name.startswith(".") and ending_format(name)]  # noqa: PTH118  # the same
    return sorted(found)


def _raised(error: OSError) -> None:
    raise error


def ending_format(name: str) -> Format | None:
    """The format that a file's ending tells, if it tells one."""
    stem = without_compression(urlsplit(name).path if is_url(name) else name)[0]
    return _ENDINGS.get(os.path.splitext(stem)[1].lower())  # noqa: PTH122  # any kind of path


def _read(
    said: Format | None, options: dict[str, str], file: Input, context: SourceContext
) -> Iterator[pa.RecordBatch]:
    """Read an opened input as what it is."""
    kind = checked_format(file, said, is_text="encoding" in options)
    # Each reader, and what it needs, is loaded when it is used.
    read: Reader
    if kind == "parquet":
        from export_engine.sources.parquet import parquet_batches  # noqa: PLC0415

        read = parquet_batches
    elif kind == "ipc":
        from export_engine.sources.ipc import ipc_batches  # noqa: PLC0415

        read = ipc_batches
    elif kind == "csv":
        from export_engine.sources.csv_file import csv_options  # noqa: PLC0415

        read = csv_options(**options)
    else:
        from export_engine.sources.jsonl_flat import flat_batches  # noqa: PLC0415
        from export_engine.sources.jsonl_nested import looks_nested, nested_batches  # noqa: PLC0415

        read = nested_batches if looks_nested(file.first_line()) else flat_batches
    return read(file, context)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Several sources, one after the other."""

    sources: tuple[FileSource, ...]

    @property
    def paths(self) -> tuple[str | os.PathLike[str] | int, ...]:
        """What is read, so that nothing is written over it."""
        return tuple(path for source in self.sources for path in source.paths)

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        """Read each to its end."""
        sizes = [_size(source.given) for source in self.sources]
        last: str | None = None
        was_whole = False
        known = context.channel
        for at, source in enumerate(self.sources):
            before, fresh = context.last_whole, True
            with closing(source.batches(context)) as batches, self._named(source):
                for batch in batches:
                    ids = batch.column("conversation_id")
                    if fresh:
                        _check_folder(source, batch, context)
                    # Rows that follow a whole conversation in another file, or come before it, are not its own.
                    mixed = fresh and was_whole != (context.last_whole is not before)
                    if mixed and last is not None and ids[0].as_py() == last and not context.in_parts:
                        refuse_again(last, name_of(self.sources[at - 1].given), name_of(source.given), context)
                    last, fresh = ids[-1].as_py(), False
                    if context.channel is not None and not known:
                        known = context.channel = self._placed(source, *context.channel)
                    context.share = partial(self._share, at, sizes)
                    yield batch
            if not fresh:
                was_whole = context.last_whole is not before

    def _placed(self, source: FileSource, channel: str, row: str) -> tuple[str, str]:
        """The channel of a row, and the row with the input that it is in if there are several."""
        return channel, f"{row} of {name_of(source.given)}" if len(self.sources) > 1 else row

    @contextmanager
    def _named(self, source: FileSource) -> Iterator[None]:
        """Say which of several inputs a row that breaks a rule is in."""
        try:
            yield
        except RowError as error:
            if len(self.sources) > 1:
                error.add_note(f"this is in {name_of(source.given)}")
            raise

    def _share(self, at: int, sizes: Sequence[int | None]) -> float | None:
        """How much of all has been read, when some have been and one is being read."""
        own = self.sources[at].share()
        if len(sizes) == 1 or own is None or None in sizes:
            return own if len(sizes) == 1 else None
        known = [size or 0 for size in sizes]
        return (sum(known[:at]) + own * known[at]) / max(sum(known), 1)


def _check_folder(source: FileSource, batch: pa.RecordBatch, context: SourceContext) -> None:
    """Hold the channel that a file's folder is called after against the rows before. Raises RowError for another."""
    channel = folder_channel(name_of(source.given))
    if channel is not None:
        first = [batch.column(name)[0].as_py() for name in ("conversation_id", "message_id")]
        one_channel([channel], lambda _: (*first, 1), context)


def _size(given: Given) -> int | None:
    """Bytes of a file on disk; None for anything else."""
    if isinstance(given, str | os.PathLike) and os.path.isfile(given):  # noqa: PTH113  # any kind of path
        return os.path.getsize(given)  # noqa: PTH202  # the same
    return None
