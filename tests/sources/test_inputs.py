"""Inputs of every sort: what a pipe, a file object or compressed data give is what the file gives, or an error."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine import OptionError, SourceError, StateError, open_source
from export_engine.schema import ROW_SCHEMA
from export_engine.sources import SourceContext, read_csv, read_ipc, read_parquet

ROWS = [
    {
        "message_id": f"m{at}",
        "conversation_id": f"c{at // 7}",
        "direction": "inbound",
        "speaker_type": "customer",
        "speaker_name": "Ána",
        "message_time": f"2026-06-11T06:50:{at % 60:02}.000001Z",
        "message_text": 'says "hi",\r\nand goes' * (at % 5),
    }
    for at in range(3000)
]


def csv_text() -> bytes:
    lines = [",".join(ROWS[0])]
    lines += [",".join('"' + value.replace('"', '""') + '"' for value in row.values()) for row in ROWS]
    return "\r\n".join(lines).encode()


def nested_text() -> bytes:
    talks: dict[str, list[dict[str, str]]] = {}
    for row in ROWS:
        talks.setdefault(row["conversation_id"], []).append(row)
    names = {"id": "message_id", "time": "message_time", "text": "message_text"}
    names |= {name: name for name in ("direction", "speaker_type", "speaker_name")}
    return b"".join(
        json.dumps(
            {"id": name, "contact": {}, "messages": [{k: r[v] for k, v in names.items()} for r in rows]}
        ).encode()
        + b"\n"
        for name, rows in talks.items()
    )


def arrow_stream() -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(ROWS)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=500)
    return bytes(sink.getvalue())


def arrow_file() -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(ROWS)
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return bytes(sink.getvalue())


STREAMS = {
    "csv": csv_text(),
    "flat.jsonl": b"\n\n".join(json.dumps(row).encode() for row in ROWS),
    "nested.jsonl": nested_text(),
    "arrow": arrow_stream(),
}


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstd, "bz2": bz2.compress}


def read(*given: Any, **options: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.Table.from_batches(
        open_source(*given, **options).batches(SourceContext(UTC)), ROW_SCHEMA
    ).to_pylist()
    return rows


EXPECTED = read(io.BytesIO(STREAMS["flat.jsonl"]))
assert len(EXPECTED) == len(ROWS)


class Pipe(io.RawIOBase):
    """Bytes that come in pieces of any size and never again."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.rest = memoryview(data)
        self.sizes = sizes
        self.at = 0

    def readable(self) -> bool:  # noqa: D102  # as any file's
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: D102  # the same
        self.at += 1
        piece = self.rest[: min(len(buffer), self.sizes[self.at % len(self.sizes)])]
        self.rest = self.rest[len(piece) :]
        buffer[: len(piece)] = piece
        return len(piece)


class Bare:
    """A file object with nothing but `read`, as clients of object stores give."""

    def __init__(self, file: io.RawIOBase) -> None:
        self.read = file.read


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(STREAMS)),
    st.sampled_from([None, *PACKERS]),
    st.integers(1, 3),
    st.lists(st.sampled_from([1, 2, 5, 1000, 70_000, 1 << 20]), min_size=1, max_size=3).filter(lambda s: max(s) > 900),
    st.sampled_from([io.BufferedReader, Bare, lambda raw: raw]),
)
def test_a_stream_that_cannot_seek_gives_what_the_file_gives(
    kind: str, packer: str | None, members: int, sizes: list[int], wrapped: Callable[[io.RawIOBase], Any]
) -> None:
    """Every format that can stream, compressed or not, in members or frames one after the other, in any pieces."""
    data = STREAMS[kind]
    if packer is not None:
        cuts = [len(data) * at // members for at in range(members + 1)]
        data = b"".join(PACKERS[packer](data[low:high]) for low, high in pairwise(cuts))
    assert read(wrapped(Pipe(data, sizes))) == EXPECTED


@pytest.mark.slow
@pytest.mark.parametrize("packer", [None, *PACKERS])
@pytest.mark.parametrize("kind", STREAMS)
def test_files_without_a_telling_name(kind: str, packer: str | None, tmp_path: Path) -> None:
    """Format and compression are told by the content, and an ending of a compression is looked through."""
    data = PACKERS[packer](STREAMS[kind]) if packer else STREAMS[kind]
    ending = kind.rpartition(".")[2]
    for name in ("data", f"data.{ending}", f"data.{ending}.{packer or 'more'}"):
        (tmp_path / name).write_bytes(data)
        assert read(tmp_path / name) == EXPECTED


@pytest.mark.parametrize("make", [parquet, arrow_file])
def test_formats_that_seek(make: Callable[[], bytes], tmp_path: Path) -> None:
    """A file object that can seek will do, from where it stands; a pipe or compressed data are told what to do."""
    data = make()
    (tmp_path / "data").write_bytes(data)
    assert read(tmp_path / "data") == EXPECTED
    assert read(io.BytesIO(data)) == EXPECTED
    with pytest.raises(SourceError, match="save it to a file first"):
        read(io.BufferedReader(Pipe(data, [1000])))
    with pytest.raises(SourceError, match="decompress it to a file first"):
        read(io.BytesIO(gzip.compress(data)))


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("kind", ["csv", "nested.jsonl", "arrow"])
def test_damaged_compression(kind: str, packer: str, tmp_path: Path) -> None:
    """Cut short anywhere, followed by anything, empty: an error with the file's name, and never fewer rows."""
    path = tmp_path / f"d.{kind}.{packer}"
    whole = PACKERS[packer](STREAMS[kind])
    for data in (whole[: len(whole) // 2], whole[:-1], whole[:3], b"", whole + whole[:9]):
        path.write_bytes(data)
        with pytest.raises(SourceError, match=rf"d\.{kind}\.{packer}.*cut short"):
            read(path)
    for more in (b"junk that follows", b"\0" * 600):
        path.write_bytes(whole + more)
        with pytest.raises(SourceError, match=rf"d\.{kind}\.{packer}.*damaged"):
            read(path)
    path.write_bytes(b"plain text")
    with pytest.raises(SourceError, match="as its ending says"):
        read(path)


def test_zstd_that_begins_with_a_frame_to_skip() -> None:
    """As pzstd writes it."""
    skipped = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    assert read(io.BytesIO(skipped + zstd(STREAMS["csv"]))) == EXPECTED


@contextmanager
def fifo(folder: Path, data: bytes) -> Iterator[Path]:
    path = folder / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(data,))
    writer.start()
    yield path
    writer.join(120)
    assert not writer.is_alive()


@pytest.mark.timeout(300)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.parametrize("kind", STREAMS)
def test_a_fifo_is_opened_once(kind: str, tmp_path: Path) -> None:
    """A second opening would wait for a second writer."""
    with fifo(tmp_path, STREAMS[kind]) as path:
        assert read(path) == EXPECTED


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is its bytes; it is left open, and read once."""
    stdin = io.TextIOWrapper(io.BytesIO(STREAMS["csv"]))
    monkeypatch.setattr(sys, "stdin", stdin)
    source = open_source("-")
    assert len(list(source.batches(SourceContext(UTC)))) > 0
    assert not stdin.buffer.closed
    with pytest.raises(StateError, match="standard input was read already"):
        next(source.batches(SourceContext(UTC)))
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SourceError, match="standard input is closed"):
        read("-")


def test_what_is_read_is_known() -> None:
    """Paths, descriptors; nothing for what is no file of the system."""
    with Path(__file__).open("rb") as file:
        source: Any = open_source(__file__, "-", file, io.BytesIO())
        assert source.paths == (__file__, 0, file.fileno())


def test_a_file_can_be_read_again_and_a_file_object_cannot(tmp_path: Path) -> None:
    """A second reading that finds nothing would be an export of nothing."""
    path = tmp_path / "a.csv"
    path.write_bytes(STREAMS["csv"])
    source = open_source(path)
    assert list(source.batches(SourceContext(UTC))) == list(source.batches(SourceContext(UTC)))
    with path.open("rb") as file:
        source = open_source(file)
        list(source.batches(SourceContext(UTC)))
        with pytest.raises(StateError, match="cannot be read again"):
            list(source.batches(SourceContext(UTC)))
        assert not file.closed


def test_several_inputs_of_several_kinds(tmp_path: Path) -> None:
    """One after the other, each told for itself."""
    (tmp_path / "a").write_bytes(STREAMS["nested.jsonl"])
    assert read(tmp_path / "a", io.BytesIO(gzip.compress(STREAMS["csv"]))) == EXPECTED * 2


class Never:
    """A file that has no data yet and does not wait for any."""

    def read(self, size: int) -> None:  # noqa: D102  # as any file's
        del size


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (io.StringIO("text"), r"pass its \.buffer"),
        (b"bytes", "no input: pass a path"),
        (7, "no input: pass a path"),
        ("ftp://example.com/a.csv", "URLs that are read begin with s3://"),
        ("*.csv", "there is no file to read"),
        (".", "there is no file to read"),
    ],
)
def test_what_is_no_input(given: Any, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before anything is read, with what to do."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match=says) as caught:
        open_source(given)
    assert caught.value.option == "inputs"


def test_streams_that_cannot_be_read() -> None:
    """One that gives text but does not say so, and one that gives nothing instead of waiting."""
    text = Bare(io.BytesIO())  # type: ignore[arg-type]  # anything with read
    text.read = io.StringIO("message_id").read
    with pytest.raises(OptionError, match="gives text"):
        read(text)
    with pytest.raises(SourceError, match="non-blocking"):
        read(Never())


def test_what_can_be_read_once_is_given_once(tmp_path: Path) -> None:
    """The second reader would find nothing."""
    pipe = io.BufferedReader(Pipe(b"", [1]))
    for twice in (("-", "-"), (pipe, pipe)):
        with pytest.raises(OptionError, match="twice"):
            open_source(*twice)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "f")
        (tmp_path / "g").symlink_to("f")
        with pytest.raises(OptionError, match="twice"):
            open_source(tmp_path / "f", tmp_path / "g")
    (tmp_path / "a").touch()
    open_source(tmp_path / "a", tmp_path / "a")


PACKED = [(kind, packer) for kind in STREAMS for packer in (None, *PACKERS)]


@pytest.mark.slow
@pytest.mark.parametrize("end", ["finished", "closed", "failed"])
@pytest.mark.parametrize(("kind", "packer"), [*PACKED, ("parquet", None), ("arrow file", None)])
def test_files_are_closed(kind: str, packer: str | None, end: str, tmp_path: Path) -> None:
    """At the end, when closed early and after an error, no file is left open."""
    opened = Path("/proc/self/fd")
    if not opened.exists():
        pytest.skip("open files cannot be counted here")
    more = {"parquet": parquet(), "arrow file": arrow_file()}
    data = {**STREAMS, **more}[kind]
    path = tmp_path / "data"
    path.write_bytes(PACKERS[packer](data) if packer else data)
    before = {item.resolve() for item in opened.iterdir()}
    reading = open_source(path).batches(SourceContext(UTC))
    if end == "finished":
        list(reading)
    else:
        next(reading)
    if end == "closed":
        reading.close()
    if end == "failed":
        with pytest.raises(ZeroDivisionError):
            reading.throw(ZeroDivisionError())
    left = {item.resolve() for item in opened.iterdir()} - before
    assert not [item for item in left if tmp_path in item.parents]


def test_an_arrow_stream_is_read_to_its_end(tmp_path: Path) -> None:
    """A second one behind it, as `cat` makes, would else be lost in silence."""
    (tmp_path / "two.arrows").write_bytes(STREAMS["arrow"] * 2)
    for twice in (tmp_path / "two.arrows", io.BufferedReader(Pipe(STREAMS["arrow"] * 2, [1000]))):
        with pytest.raises(SourceError, match="more data after the end"):
            read(twice)


def test_a_reader_takes_what_open_source_takes() -> None:
    """Each reader by itself reads file objects too."""
    for reader, data in ((read_csv, STREAMS["csv"]), (read_ipc, STREAMS["arrow"]), (read_parquet, parquet())):
        batches = reader(io.BytesIO(data)).batches(SourceContext(UTC))
        assert pa.Table.from_batches(batches).to_pylist() == EXPECTED
