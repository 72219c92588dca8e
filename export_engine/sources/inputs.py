"""An input, opened once and read once: a path, standard input, a pipe or a file object; compressed or not.

Whatever is given becomes an `Input`: bytes in order, with a look ahead that takes nothing away, so that the format and
the kind of JSON Lines are told without opening twice. What must seek asks for it (`Input.mapped`) and says what to do
where that cannot be.
"""

from __future__ import annotations

import bz2
import errno
import io
import os
import stat
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import IO, Any, cast

import pyarrow as pa

from export_engine.errors import OptionError, SourceError, StateError
from export_engine.sources import SourceContext
from export_engine.sources.urls import SCHEMES, is_url, shown

__all__ = [
    "FileSource",
    "Given",
    "Input",
    "Reader",
    "checked_inputs",
    "name_of",
    "opened",
    "option_text",
    "path_of",
    "reading",
    "told",
    "without_compression",
]

#: A path or URL, `-` for standard input, or a file object that gives bytes.
Given = str | os.PathLike[str] | IO[bytes]

_BUFFER = 1 << 20
#: How compressed data begins. A zstd file may begin with a frame that is skipped.
_MAGIC = {
    "gzip": (b"\x1f\x8b\x08",),
    "bz2": (b"BZh",),
    "zstd": (b"\x28\xb5\x2f\xfd", *(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60))),
}
_ENDINGS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}


def option_text(name: str, value: str) -> str:
    """An option as both the command and the library write it, for advice."""
    plain = value.strip("'").replace(r"\t", "\t")  # the command line has a tab's name, Python's too
    return f"--{name} {value} ({name}={plain!r} in Python)"


def without_compression(name: str) -> tuple[str, str | None]:
    """A file's name without the ending of a compression, and which one that is."""
    stem, ending = os.path.splitext(name)  # noqa: PTH122  # any kind of path
    compression = _ENDINGS.get(ending.lower())
    return (name, None) if compression is None else (stem, compression)


class Input:
    """Bytes in order, decompressed, with a look ahead; `name` is what errors call it.

    `path` is that of a file on disk; `again` opens what else can be read in any order.

    Reading raises SourceError for compressed data that are damaged, cut short or followed by something else, and
    whatever the file raises.
    """

    def __init__(
        self,
        name: str,
        file: IO[bytes],
        path: str | None = None,
        again: Callable[[], IO[bytes]] | None = None,
        size: int | None = None,
    ) -> None:
        self.name = name
        self.compression: str | None = None
        self.closed = False
        self._file = file
        self._path = path
        self._again = again
        self._packed: Input | None = None
        self._given = 0
        #: How many bytes there are to read, as far as it is known, before decompression.
        self.size = size
        #: How much has been read, where a reader that seeks knows it.
        self.known_share: float | None = None
        self._head = b""
        self._start = file.tell() if path is None and file.seekable() else 0

    def close(self) -> None:
        """Nothing: whoever opened the file closes it."""

    def decompressed(self) -> Input:
        """The input without its compression, as its content tells; a path whose ending promises one is held to it."""
        head = self.peek(4)
        found = next((kind for kind, magics in _MAGIC.items() if head.startswith(magics)), None)
        promised = without_compression(self._path)[1] if self._path is not None else None
        if found is None:
            if promised is not None:
                raise SourceError(
                    f"{self.name} does not begin like {promised} data, as its ending says: it is cut short or damaged "
                    "(make or fetch it again), or it is not compressed (leave the ending away)"
                )
            return self
        raw = _Bunzip2(self) if found == "bz2" else pa.CompressedInputStream(pa.PythonFile(self, mode="r"), found)
        plain = Input(self.name, io.BufferedReader(_Damage(raw, self.name, found), _BUFFER))
        plain.compression = found
        plain._packed = self  # of the same class
        return plain

    def share(self) -> float | None:
        """How much has been read, from 0 to 1; None where it is not known how much there is."""
        if self._packed is not None:
            return self._packed.share()
        if self.known_share is not None or not self.size:
            return self.known_share
        return min(1.0, self._given / self.size)

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, or all that are left; they are still there to be read."""
        while len(self._head) < size and (data := self._taken(size - len(self._head))):
            self._head += data
        return self._head[:size]

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end."""
        data, self._head = self._head[:size], self._head[size:]
        if len(data) < size:
            parts = [data]
            missing = size - len(data)
            while missing and (data := self._taken(missing)):
                parts.append(data)
                missing -= len(data)
            data = b"".join(parts) if len(parts) > 1 else parts[0]
        return data

    def first_line(self) -> bytes:
        """The first line that is not blank, without a byte order mark; it is still there to be read."""
        size = 1 << 16
        while True:
            head = self.peek(size)
            line, end, _ = head.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")
            if end or len(head) < size:
                return line
            size *= 2

    def readline(self) -> bytes:
        """The rest of the line, with its end."""
        end = self._head.find(b"\n") + 1
        if end:
            line, self._head = self._head[:end], self._head[end:]
            return line
        line, self._head = self._head, b""
        rest = self._file.readline()
        self._given += len(rest)
        return line + rest

    def _taken(self, size: int) -> bytes:
        data: bytes | None = self._file.read(size)
        if data is None:
            raise SourceError(f"{self.name} does not wait for its data (it is non-blocking): make it block")
        self._given += len(data)
        return data

    def mapped(self, kind: str) -> pa.NativeFile:
        """The input for a format that must seek, from its beginning; SourceError where it cannot."""
        if self.compression is not None:
            raise SourceError(
                f"{self.name} is compressed as a whole ({self.compression}), and {kind} is read from its end: "
                "decompress it to a file first"
            )
        if self._path is not None:
            return pa.memory_map(self._path)
        if self._again is not None:
            return pa.PythonFile(self._again(), mode="r")
        if not self._file.seekable():
            raise SourceError(
                f"{self.name} cannot seek, and {kind} is read from its end: save it to a file first, and give that; "
                "CSV, JSON Lines and Arrow IPC streams can be read from a pipe"
            )
        self._file.seek(self._start)
        self._head = b""
        return pa.PythonFile(self._file, mode="r")

    def in_order(self) -> pa.NativeFile:
        """The input for pyarrow, from where it stands: mapped if it is a file, with no copy of its bytes."""
        if self._path is None or self.compression is not None:
            return pa.PythonFile(self, mode="r")
        return pa.memory_map(self._path)


class _Bunzip2:
    """The streams of a bz2 file, to the last byte: `bz2.open` ignores what follows the first and is none."""

    def __init__(self, packed: Input) -> None:
        self._packed = packed
        self._stream = bz2.BZ2Decompressor()

    def read(self, size: int) -> bytes:
        """Some bytes; none at the end."""
        while True:
            data = b""
            if self._stream.eof:
                data = self._stream.unused_data or self._packed.read(_BUFFER)
                if not data:
                    return b""
                self._stream = bz2.BZ2Decompressor()
            elif self._stream.needs_input:
                data = self._packed.read(_BUFFER)
                if not data:
                    raise EOFError("cut short")
            if data := self._stream.decompress(data, size):
                return data


class _Damage(io.RawIOBase):
    """Reads something that decompresses; its errors are the file's."""

    def __init__(self, raw: Any, name: str, compression: str) -> None:
        self._raw = raw
        self._what = f"{name}: the {compression} data"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._raw.read(len(buffer))
        except (pa.ArrowException, OSError, EOFError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            cut = isinstance(error, EOFError) or "Truncated" in str(error)
            what = "they are cut short" if cut else f"or followed by something else ({error})"
            raise SourceError(f"{self._what} are damaged, {what}: make or fetch the file again") from error
        buffer[: len(data)] = data
        return len(data)


class _Readable(io.RawIOBase):
    """A file object of which no more is known than that it can be read."""

    def __init__(self, file: Any, name: str) -> None:
        self._file = file
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        if data is None:
            raise SourceError(f"{self._name} does not wait for its data (it is non-blocking): make it block")
        if isinstance(data, str):
            raise _gives_text(self._name)
        buffer[: len(data)] = data
        return len(data)


def _gives_text(name: str) -> OptionError:
    return OptionError(
        f"{name} gives text, and bytes are needed: pass its .buffer, or open the file with mode 'rb'", option="inputs"
    )


def name_of(given: Given) -> str:
    """What errors call an input."""
    if isinstance(given, str | os.PathLike):
        return "standard input" if given == "-" else shown(str(given)) if is_url(given) else os.fspath(given)
    name = getattr(given, "name", None)
    return "standard input" if name == "<stdin>" else name if isinstance(name, str) else "the file object"


def path_of(given: Given) -> tuple[str | os.PathLike[str] | int, ...]:
    """The path or descriptor of an input, none where it is no file of the system: see `export_engine.sources`."""
    if isinstance(given, str | os.PathLike):
        return () if is_url(given) else (0 if given == "-" else given,)
    try:
        return (given.fileno(),)
    except (AttributeError, OSError):  # no file of the system
        return ()


@contextmanager
def opened(given: Given) -> Iterator[Input]:
    """The input, opened once and decompressed; what was opened here is closed at the end.

    Raises OSError for a path that cannot be opened, SourceError as reading does.
    """
    name = name_of(given)
    if is_url(given):
        from export_engine.sources.remote import by_ranges, streamed  # noqa: PLC0415  # there with the extra

        stream, length = streamed(str(given))
        with stream:
            yield Input(name, stream, again=partial(by_ranges, str(given)), size=length).decompressed()
    elif isinstance(given, str | os.PathLike) and given != "-":
        with open(given, "rb", buffering=_BUFFER) as file:  # noqa: PTH123  # any kind of path
            found = os.fstat(file.fileno())
            regular = stat.S_ISREG(found.st_mode)
            path, size = (os.fspath(given), found.st_size) if regular else (None, None)
            yield Input(name, file, path, size=size).decompressed()
    else:
        taken: IO[bytes] = _stdin() if given == "-" else cast("IO[bytes]", given)
        yield Input(name, taken if isinstance(taken, io.BufferedIOBase) else _buffered(taken, name)).decompressed()


def _buffered(file: IO[bytes], name: str) -> IO[bytes]:
    return io.BufferedReader(_Readable(file, name), _BUFFER)


def _stdin() -> IO[bytes]:
    if sys.stdin is None:
        raise SourceError("standard input is closed: there is nothing to read from -")
    return sys.stdin.buffer


@contextmanager
def reading(name: str, kind: str) -> Iterator[None]:
    """Say which input cannot be read as what; what the operating system says of itself passes."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last for a column's name
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise SourceError(f"{name} cannot be read as {kind}: {error}") from error


def told(name: str, kind: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches; only the reader's errors are the input's."""
    with reading(name, kind):
        yield from batches


#: What reads an opened input.
Reader = Callable[[Input, SourceContext], Iterator[pa.RecordBatch]]


@dataclass(slots=True)
class FileSource:
    """A source that opens one input when its batches are asked for, and what reads it.

    A file on disk can be read again; a pipe, standard input or a file object once: StateError the second time.
    """

    given: Given
    read: Reader
    _spent: bool = field(default=False, init=False)
    _input: Input | None = field(default=None, init=False)

    @property
    def paths(self) -> tuple[str | os.PathLike[str] | int, ...]:
        """What is read, so that nothing is written over it."""
        return path_of(self.given)

    def batches(self, context: SourceContext) -> Generator[pa.RecordBatch, None, None]:
        """Read the input to its end."""
        checked_inputs((self.given,))
        if self._spent:
            raise StateError(f"{name_of(self.given)} was read already and cannot be read again: open it anew")
        self._spent = _read_once(self.given) is not None
        with opened(self.given) as found, closing(cast("Any", self.read(found, context))) as batches:
            self._input, context.share = found, self.share
            yield from batches

    def share(self) -> float | None:
        """How much has been read, from 0 to 1; None where it is not known."""
        return None if self._input is None else self._input.share()


def checked_inputs(inputs: tuple[Given, ...]) -> None:
    """Refuse what cannot be an input, before anything is opened.

    Raises OptionError for a directory, a pattern, a URL, a text stream, and what can be read once but is given twice;
    FileNotFoundError for a file that is not there, OSError for one that cannot be looked at.
    """
    once = [key for key in map(_read_once, inputs) if key is not None]
    for given in inputs:
        _check(given)
    if len(once) > len(set(once)):
        raise OptionError("a pipe is given twice, and can be read once: give it once", option="inputs")


def _check(given: Given) -> None:
    if isinstance(given, io.TextIOBase):
        raise _gives_text(name_of(given))
    if not isinstance(given, str | os.PathLike):
        if not hasattr(given, "read"):
            raise OptionError(
                f"{type(given).__name__} is no input: pass a path, '-' for standard input, or a binary file object",
                option="inputs",
            )
        return
    path = os.fspath(given)
    if is_url(path):
        import_module("export_engine.sources.remote")  # without its library it says so now
        return
    if path == "-" or os.path.isfile(path):  # noqa: PTH113  # any kind of path
        return
    if os.path.isdir(path):  # noqa: PTH112  # the same
        raise OptionError(f"{path} is a directory", option="inputs")
    try:
        os.stat(path)  # noqa: PTH116  # the same
    except (FileNotFoundError, NotADirectoryError, ValueError):  # no path has a NUL
        if "://" in path:
            raise OptionError(
                f"{shown(path)}: URLs that are read begin with {', '.join(f'{scheme}://' for scheme in SCHEMES)}: "
                "fetch the file first, or pipe it in and give - as the input",
                option="inputs",
            ) from None
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None


def _read_once(given: Given) -> object:
    """What is the same for inputs that share one stream; None for a file on disk."""
    try:
        if isinstance(given, str | os.PathLike):
            if is_url(given) or (given != "-" and os.path.isfile(given)):  # noqa: PTH113  # any kind of path
                return None
            found = os.fstat(0) if given == "-" else os.stat(given)  # noqa: PTH116  # the same
            return (found.st_dev, found.st_ino)
    except OSError:
        return None
    return id(given)
