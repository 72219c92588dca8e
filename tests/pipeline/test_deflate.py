"""Deflate: what every preset makes inflates with the standard library's zlib, whole, in pieces and in fallback."""

from __future__ import annotations

import csv
import io
import random
import sys
import zlib
from functools import cache
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.options import Compression
from export_engine.pipeline.deflate import (
    DEFLATED,
    PIECE,
    PRESETS,
    STORED,
    WINDOW,
    Backend,
    backend,
    deflate_long,
)
from export_engine.pipeline.workers import Workers
from export_engine.schema import COLUMN_NAMES

LIBRARIES = ["export_engine._native", "isal", "zlib_ng", "deflate"]
WORDS = """the of to and a in is it you that he was for on are with as I his they be at one have this from or had by hot
word but what some we can out other were all there when up use your how said an each she which do their time if will way
about many then them write would like so these her long make thing see him two has look more day could go come did
number order shipped tomorrow refund invoice agent bot hello thanks please sorry 12:30 $19.99 謝謝 👍 https://example.com/track"""
EDGES = [0, 1, 2, 2047, 2048, WINDOW, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE - 1, 2 * PIECE, 2 * PIECE + 1]
PATIENT = settings(deadline=None, max_examples=30)


def inflate(data: bytes) -> bytes:
    """A raw stream that must end exactly with its last byte."""
    inflater = zlib.decompressobj(-15)
    inflated = inflater.decompress(data) + inflater.flush()
    assert inflater.eof
    assert not inflater.unused_data
    return inflated


def unpack(data: bytes, method: int) -> bytes:
    """A member's data by its ZIP method."""
    return data if method == STORED else inflate(data)


@cache
def mixed(size: int) -> bytes:
    """Text, then noise, then text again, in turns of odd lengths that no piece or window fits."""
    rng, words = random.Random(size), WORDS.split()  # noqa: S311  # test data
    parts: list[bytes] = []
    length = 0
    while length < size:
        parts += [" ".join(rng.choices(words, k=9_973)).encode(), rng.randbytes(13_337), b"\0" * 4_099]
        length += sum(map(len, parts[-3:]))
    return b"".join(parts)[:size]


@cache
def conversation(number: int, rows: int) -> bytes:
    """A CSV much like those exported."""
    rng, words, sink = random.Random(number), WORDS.split(), io.StringIO()  # noqa: S311  # test data
    contact, phone = f"{rng.choice(words).title()} {rng.choice(words).title()}", f"+1202555{rng.randrange(10**4):04d}"
    identity = rng.randbytes(16).hex()
    writer = csv.writer(sink, quoting=csv.QUOTE_ALL)
    sink.write(",".join(COLUMN_NAMES) + "\r\n")
    for row in range(rows):
        who = rng.choice([("inbound", "customer", contact, ""), ("outbound", "agent", "Ann Lee", "ann@example.com")])
        time = f"2026-06-{row // 24 + 1:02d}T{row % 24:02d}:{rng.randrange(60):02d}:07.{rng.randrange(10**6):06d}Z"
        text = " ".join(rng.choices(words, k=rng.randrange(1, 25)))
        writer.writerow([rng.randbytes(16).hex(), identity, contact, phone, *who[:3], time, text, "", "read", who[3]])
    return sink.getvalue().encode()


def whole(data: bytes, using: Backend) -> bytes:
    """A member of one call; its CRC-32 comes along."""
    made = using.members(memoryview(data), np.array([0, len(data)]), b"")
    assert (made.ends.tolist(), made.crc32s.tolist()) == ([len(made.data)], [zlib.crc32(data)])
    return made.data


def deflate_member(data: bytes, using: Backend) -> tuple[bytes, int]:
    """A member by its size: its bytes and ZIP method."""
    return (whole(data, using), using.whole_method) if len(data) <= PIECE else (deflate_long(data, using), DEFLATED)


def by_the_docstring(data: bytes, using: Backend) -> bytes:
    """The rule in the module's docstring: a piece every `PIECE` bytes, with the 32 KiB before it as dictionary."""
    pieces, dictionary = b"", b""
    while True:
        piece, data = data[:PIECE], data[PIECE:]
        pieces += using.piece(piece, dictionary, not data)
        dictionary = piece[-(1 << 15) :]
        if not data:
            return pieces


# --- members -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [*EDGES, 3 * PIECE + 12_345])
def test_members_come_back(preset: Compression, size: int) -> None:
    """Members of sizes around the cuts: one call up to `PIECE` bytes, pieces by the rule beyond."""
    data, using = mixed(size), backend(preset)
    deflated, method = deflate_member(data, using)
    assert unpack(deflated, method) == data
    if size <= PIECE:
        assert (deflated, method) == (whole(data, using), using.whole_method)
    else:
        assert (deflated, method) == (by_the_docstring(data, using), DEFLATED)


@pytest.mark.parametrize("preset", PRESETS)
@given(st.binary(max_size=3000) | st.text(max_size=3000).map(str.encode))
@PATIENT
def test_any_bytes_come_back(preset: Compression, data: bytes) -> None:
    """Any bytes at all, whole and as one last piece."""
    using = backend(preset)
    assert unpack(whole(data, using), using.whole_method) == data
    assert inflate(using.piece(data, b"", True)) == data


@pytest.mark.parametrize("preset", PRESETS)
@given(st.lists(st.binary(max_size=300) | st.text(max_size=300).map(str.encode), max_size=6), st.binary(max_size=99))
@PATIENT
def test_members_of_a_group_are_those_alone(preset: Compression, texts: list[bytes], header: bytes) -> None:
    """Deflated together, each is what it is alone; the header before each is part of it."""
    using = backend(preset)
    cuts = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    made = using.members(memoryview(b"".join(texts)), cuts, header)
    ends = made.ends.tolist()
    assert made.crc32s.tolist() == [zlib.crc32(header + text) for text in texts]
    for start, stop, text in zip([0, *ends], ends, texts, strict=False):
        alone = using.members(memoryview(text), np.array([0, len(text)]), header)
        assert made.data[start:stop] == alone.data
        assert unpack(alone.data, using.whole_method) == header + text


@pytest.mark.parametrize("preset", PRESETS)
@given(st.lists(st.integers(1, 70_000), min_size=1, max_size=8))
@PATIENT
def test_pieces_join(preset: Compression, sizes: list[int]) -> None:
    """Pieces of any sizes, each deflated apart, stand one after another as one stream; so do their CRC-32s."""
    using, data = backend(preset), conversation(1, 200) * 8 + mixed(300_000)
    stream, crc32, at = b"", 0, 0
    for number, size in enumerate(sizes):
        piece = data[at : at + size]
        deflated = using.piece(piece, data[max(at - WINDOW, 0) : at], number == len(sizes) - 1)
        if number < len(sizes) - 1:
            assert deflated.endswith(b"\0\0\xff\xff")  # the empty stored block of a sync flush: byte-aligned
        stream += deflated
        crc32 = using.crc32(memoryview(piece), crc32)
        at += size
    assert inflate(stream) == data[:at]
    assert crc32 == zlib.crc32(data[:at])


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_bytes_are_repeatable(preset: Compression) -> None:
    """The same data and backend, in this thread or another, give the same bytes."""
    data = mixed(2 * PIECE + 1)
    workers = Workers(3)
    tasks = [workers.submit(deflate_member, data, backend(preset)) for _ in range(3)]
    results = {task() for task in tasks}
    workers.close()
    assert results == {deflate_member(data, backend(preset))}


def test_pieces_are_as_small_as_one_stream() -> None:
    """The dictionaries make up for the cuts: within half a percent of one stream by the same library."""
    data = b"".join(conversation(number, 200) for number in range(50))
    assert len(data) > 2 * PIECE
    deflated, _ = deflate_member(data, backend("small"))
    one = backend("small").piece(data, b"", True)
    assert len(deflated) < 1.005 * len(one)


@pytest.mark.slow
def test_small_is_small() -> None:
    """Over CSVs of 1 to 200 rows `small` is not half a percent larger than zlib at its level 9."""
    members = [conversation(rows, rows) for rows in range(1, 201)]
    small, using = 0, backend("small")
    for member in members:
        deflated, method = deflate_member(member, using)
        assert unpack(deflated, method) == member
        small += len(deflated)
    assert small <= 1.005 * sum(len(zlib.compress(member, 9, wbits=-15)) for member in members)


def test_presets_are_in_order() -> None:
    """From the first preset to the third the result gets smaller; `store` keeps the bytes as they are."""
    data = conversation(7, 200)
    sizes = [len(whole(data, backend(preset))) for preset in ("fast", "balanced", "small")]
    assert sizes == sorted(sizes, reverse=True)
    assert deflate_member(data, backend("store")) == (data, STORED)


# --- backends ------------------------------------------------------------------------------------------------------


def has_kernel() -> bool:
    try:
        import_module("export_engine._native")
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("missing", [LIBRARIES, *([library] for library in LIBRARIES)], ids="+".join)
@pytest.mark.parametrize("preset", PRESETS)
def test_fallback(preset: Compression, missing: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its library a preset is zlib's, says so in its name, and makes a valid stream all the same."""
    for library in missing:
        monkeypatch.setitem(sys.modules, library, None)
    using, level = backend(preset), {"fast": 1, "balanced": 6, "small": 9, "store": 0}[preset]
    if preset == "fast":
        fallback = "isal 2" if "isal" not in missing else "zlib 1"
        assert using.name == (fallback if not has_kernel() else "native 1")
        lacks = using.name == "zlib 1"
    else:
        lacks = preset != "store" and not {"zlib_ng", "deflate"}.isdisjoint(missing)
    if lacks:
        assert using.name == f"zlib {level}"
        assert whole(b"abc" * 99, using) == zlib.compress(b"abc" * 99, level, wbits=-15)
        assert using.crc32 is zlib.crc32
    else:
        assert "zlib " not in using.name
    data = mixed(PIECE + 1)
    assert unpack(*deflate_member(data, using)) == data


def test_names_are_distinct() -> None:
    """Each preset's report can be told from another's."""
    assert len({backend(preset).name for preset in PRESETS}) == len(PRESETS)
