"""How the peers get CSVs into one ZIP: each way takes the members with their bytes, and a sink that cannot seek."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from unittest.mock import patch

from isal import isal_zlib

from benchmarks.job import Member, Sink

__all__ = [
    "Text",
    "by_hayazip",
    "by_isal",
    "by_isal_on_threads",
    "by_stream_zip",
    "by_zipfile",
    "isal_object",
    "ram_folder",
    "through_zipstream",
    "zlib_object",
]

#: A CSV: bytes, or an Arrow buffer.
Text: TypeAlias = Any

#: Members that a thread makes at a time.
_SHARE = 512


@contextmanager
def ram_folder() -> Iterator[str]:
    """A folder for a peer that needs files, on a RAM disk where there is one; temporary files go there too."""
    ram = "/dev/shm"  # noqa: S108  # the folder in it is made by tempfile
    with (
        tempfile.TemporaryDirectory(dir=ram if Path(ram).is_dir() else None) as folder,
        patch.dict(os.environ, TMPDIR=folder),
    ):
        yield folder


# --- zipfile -------------------------------------------------------------------------------------------------------


def by_zipfile(members: Iterable[tuple[Member, Text]], sink: Sink, level: int | None) -> None:
    """With the standard library's zlib."""
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for member, text in members:
            created = member.created
            # The tuple by hand: `timetuple()` costs five times as much.
            moment = (created.year, created.month, created.day, created.hour, created.minute, created.second)
            archive.writestr(zipfile.ZipInfo(member.name, moment), text, zipfile.ZIP_DEFLATED, level)


@contextmanager
def _deflating(made: Callable[..., Any]) -> Iterator[None]:
    """Another compressor, and ISA-L's CRC-32, in the place of those that zipfile takes from zlib."""
    # zipfile has no public place for it; who wants ISA-L there does exactly this.
    with patch.object(zipfile, "_get_compressor", made), patch.object(zipfile, "crc32", isal_zlib.crc32):
        yield


def by_isal(members: Iterable[tuple[Member, Text]], sink: Sink, level: int) -> None:
    """With ISA-L in the place of zlib."""
    with _deflating(lambda *_: isal_object(level)):
        by_zipfile(members, sink, None)


class _Ready:
    """A compressor whose work is done."""

    def __init__(self, stream: bytes) -> None:
        self._stream = stream

    def compress(self, _text: Text) -> bytes:
        return self._stream

    def flush(self) -> bytes:
        return b""


def by_isal_on_threads(members: list[Member], csv: Callable[[Member], Text], sink: Sink, level: int) -> None:
    """CSVs rendered and deflated by ISA-L on a thread a processor; zipfile only writes."""

    def made(share: list[Member]) -> list[tuple[Member, Text, bytes]]:
        texts = [(member, csv(member)) for member in share]
        return [(member, text, isal_zlib.compress(text, level, -15)) for member, text in texts]

    shares = [members[at : at + _SHARE] for at in range(0, len(members), _SHARE)]
    streams: list[bytes] = []

    def given() -> Iterator[tuple[Member, Text]]:
        for share in pool.map(made, shares):
            for member, text, stream in share:
                streams.append(stream)
                yield member, text

    with ThreadPoolExecutor(os.cpu_count()) as pool, _deflating(lambda *_: _Ready(streams.pop())):
        by_zipfile(given(), sink, None)


# --- other archivers -----------------------------------------------------------------------------------------------


def zlib_object(level: int) -> Any:
    """A compressor of the standard library's zlib, for raw deflate."""
    return zlib.compressobj(level, zlib.DEFLATED, -15)


def isal_object(level: int) -> Any:
    """The same, ISA-L's."""
    return isal_zlib.compressobj(level, isal_zlib.DEFLATED, -15)


def through_zipstream(members: Iterable[tuple[Member, Any]]) -> Iterator[bytes]:
    """The chunks of zipstream-ng; what it takes as a member's content is bytes or an iterable of them."""
    from zipstream import ZipStream  # noqa: PLC0415  # a peer is loaded when it is used

    archive = ZipStream(compress_type=zipfile.ZIP_DEFLATED)
    for member, content in members:
        archive.add(content, member.name)
        yield from archive.file()
    yield from archive.finalize()


def by_stream_zip(members: Iterable[tuple[Member, Text]], sink: Sink, deflate: Callable[[], Any]) -> None:
    """With stream-zip and a compressor of one's choice."""
    from stream_zip import ZIP_32, stream_zip  # noqa: PLC0415  # a peer is loaded when it is used

    files = ((member.name, member.created, 0o100644, ZIP_32, (text,)) for member, text in members)
    # ZIP_32 and no extended times write the least; whole members as one chunk, and large chunks out, cost the least.
    sink.writelines(stream_zip(files, chunk_size=1 << 20, get_compressobj=deflate, extended_timestamps=False))


def by_hayazip(members: Iterable[tuple[Member, Text]], sink: Sink) -> None:
    """A folder of files, zipped by hayazip: libdeflate on threads. It chooses the level, and the members' order."""
    import hayazip  # noqa: PLC0415  # a peer is loaded when it is used

    with ram_folder() as folder:
        files = f"{folder}/members"
        os.mkdir(files)  # noqa: PTH102  # beside the calls below
        for member, text in members:
            # The bare calls take half of the time of `open`.
            file = os.open(f"{files}/{member.name}", os.O_WRONLY | os.O_CREAT, 0o644)
            os.write(file, text)
            os.close(file)
        hayazip.create_zip(files, f"{folder}/archive.zip")
        with Path(folder, "archive.zip").open("rb") as archive:
            shutil.copyfileobj(archive, sink, 1 << 20)
