"""The kernel: whatever bytes it is given, three other libraries give them back, and nothing but the bytes counts."""

from __future__ import annotations

import random
import threading
import zlib
from collections.abc import Callable
from itertools import pairwise, product
from typing import Any
from uuid import UUID

import deflate
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from isal import isal_zlib

native = pytest.importorskip("export_engine._native", reason="built where there is a compiler")

HEADER = b"message_id,conversation_id,contact_name,message_text\r\n"
INFLATERS: dict[str, Callable[[bytes, int], bytes]] = {
    "zlib": lambda data, _: zlib.decompress(data, -15),
    "libdeflate": lambda data, size: bytes(deflate.deflate_decompress(data, size)) if size else b"",
    "isal": lambda data, _: isal_zlib.decompress(data, -15),
}


def members(texts: list[bytes], header: bytes = HEADER) -> tuple[list[bytes], list[int]]:
    """Each member's deflate stream and CRC-32, all made in one call."""
    cuts = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    data, ends, crcs = native.deflate_members(b"".join(texts), cuts.tobytes(), header)
    bounds = [0, *np.frombuffer(ends, np.int64).tolist()]
    assert bounds[-1] == len(data)
    return [data[a:b] for a, b in pairwise(bounds)], np.frombuffer(crcs, np.uint32).tolist()


def one(text: bytes, header: bytes = HEADER) -> bytes:
    (data,), _ = members([text], header)
    return data


def holds(data: bytes, text: bytes) -> None:
    """Every library gives the text back, from a stream that ends where the data do."""
    inflater = zlib.decompressobj(-15)
    assert inflater.decompress(data) == text
    assert inflater.eof
    assert inflater.unused_data == b""
    for name, inflate in INFLATERS.items():
        assert inflate(data, len(text)) == text, name


def csv(rng: random.Random, rows: int, words: str) -> bytes:
    """Rows like an export's: an id, what repeats, a time, and words of an alphabet."""
    said = []
    for row in range(rows):
        text = " ".join("".join(rng.choices(words, k=rng.randrange(1, 9))) for _ in range(rng.randrange(12)))
        id_, time = UUID(int=rng.getrandbits(128)), f"2026-06-01T00:{row % 60:02}:00Z"
        said.append(f'"{id_}","talk","Zoë","inbound","{time}","{text}",,\r\n')
    return "".join(said).encode()


ALPHABETS = {
    "Latin": "aeinorstlu",
    "Cyrillic": "аеиностлвр",
    "Arabic": "ابتنيروملس",
    "Chinese": "的一是不了人我在有他这中大来上个国",
    "emoji": "🙂👍🎉🚀",
}
PATIENT = settings(deadline=None)  # CI's machines stop now and then
#: Pieces that data are put together from: what the kernel looks for, and what stands around it.
PIECES = st.one_of(
    st.binary(max_size=80),
    st.sampled_from([b'\r\n"', b'"', b'","', b"\n", b'"0123456789abcdef","', b"\x00" * 40, HEADER, b"a" * 300]),
    st.text(max_size=40).map(str.encode),
    st.builds(lambda seed, rows: csv(random.Random(seed), rows, "abcdefgh"), st.integers(0, 9), st.integers(0, 30)),  # noqa: S311
)
TEXTS = st.builds(
    lambda pieces, times: b"".join(pieces) * times, st.lists(PIECES, max_size=12), st.sampled_from((1, 1, 1, 3, 40))
)


@pytest.mark.slow
@given(st.lists(TEXTS, max_size=5), st.binary(max_size=512))
@example([b""], b"")
@example([b"", b"a", b'"'], b"")
@example([b"\n"], b'"')
@PATIENT
def test_what_is_deflated_comes_back(texts: list[bytes], header: bytes) -> None:
    """Any members after any header, by zlib, libdeflate and ISA-L; the CRC-32s are zlib's."""
    made, crcs = members(texts, header)
    assert crcs == [zlib.crc32(header + text) for text in texts]
    for data, text in zip(made, texts, strict=True):
        holds(data, header + text)


@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("rows", [1, 3, 20, 400, 9000])
def test_conversations_of_any_length_and_script_come_back(rows: int, alphabet: str) -> None:
    """From members that take a trained table to those of several blocks, past the window."""
    text = csv(random.Random(rows), rows, ALPHABETS[alphabet])  # noqa: S311  # nothing secret
    data = one(text)
    holds(data, HEADER + text)
    assert len(data) < 1.2 * len(zlib.compress(HEADER + text, 1))


@pytest.mark.slow
@given(st.lists(TEXTS, min_size=1, max_size=6))
@PATIENT
def test_a_member_does_not_depend_on_its_neighbours(texts: list[bytes]) -> None:
    """Nothing of an earlier member shows in a later one: all in one call is each in a call of its own."""
    assert members(texts)[0] == [one(text) for text in texts]


def test_a_member_does_not_depend_on_thousands_before_it() -> None:
    """Also where positions have been counted so far that they begin again."""
    texts = [csv(random.Random(seed), 3, "abc") for seed in range(40)]  # noqa: S311  # nothing secret
    alone = [one(text) for text in texts]
    assert members(texts * 1000)[0] == alone * 1000


def test_data_without_any_order_are_stored() -> None:
    """They take a tenth of a percent more than they are, at the most."""
    text = random.Random(2).randbytes(3 << 20)  # noqa: S311  # nothing secret
    data = one(text)
    holds(data, HEADER + text)
    assert len(data) < 1.001 * len(text)


@pytest.mark.parametrize("size", [0, 1, 8, 63, 64, 65, 4096, 31_000, 32_000, 65_535, 65_536, 262_144])
def test_runs_and_noise_at_every_bound_come_back(size: int) -> None:
    """Around block sizes, stored blocks, and the widths of what is loaded at once."""
    for text in (bytes(size), random.Random(size).randbytes(size), b'"' * size, b'\n"' * (size // 2)):  # noqa: S311
        holds(one(text), HEADER + text)
        holds(one(text, b""), text)


@pytest.mark.slow
@given(st.lists(TEXTS, min_size=1, max_size=5))
@PATIENT
def test_pieces_make_one_stream(texts: list[bytes]) -> None:
    """Each after the 32 KiB before it; all but the last end on a byte, in a sync flush."""
    data, before = b"", b""
    for number, text in enumerate(texts, 1):
        made = native.deflate_piece(text, before[-32768:], number == len(texts))
        assert number == len(texts) or made.endswith(b"\x00\x00\xff\xff")
        data += made
        before += text
    holds(data, before)


def test_a_piece_refers_to_its_dictionary() -> None:
    """What stood before it need not be said again."""
    text = random.Random(3).randbytes(20_000)  # noqa: S311  # nothing secret
    assert len(native.deflate_piece(text, text, True)) < 600
    assert native.deflate_piece(text, b"", True) != native.deflate_piece(text, text, True)


@given(st.binary(max_size=300), st.binary(max_size=3000))
@PATIENT
def test_crc32_is_zlibs(before: bytes, data: bytes) -> None:
    """From any start."""
    assert native.crc32(data, zlib.crc32(before)) == zlib.crc32(before + data)
    assert native.crc32(memoryview(data)) == zlib.crc32(data)


@pytest.mark.parametrize(
    ("cuts", "header"),
    [
        ([], b""),
        ([0, 11], b""),
        ([-1, 5], b""),
        ([5, 4], b""),
        ([0, 11, 3], b""),
        ([0, 5], bytes(513)),
        ([0, 1 << 62], b""),
        ([-(1 << 63), (1 << 63) - 1], b""),
    ],
)
def test_cuts_outside_the_data_are_refused(cuts: list[int], header: bytes) -> None:
    """Nothing is read outside what was given."""
    with pytest.raises(ValueError, match="cuts"):
        native.deflate_members(b"0123456789", np.array(cuts, np.int64).tobytes(), header)


def test_odd_arguments_are_refused() -> None:
    """Cuts that are no whole numbers, a dictionary beyond deflate's reach, text."""
    with pytest.raises(ValueError, match="64-bit"):
        native.deflate_members(b"", b"1234567", b"")
    with pytest.raises(ValueError, match="32 KiB"):
        native.deflate_piece(b"", bytes(32769), True)
    with pytest.raises(TypeError):
        native.deflate_piece("text", b"", True)
    with pytest.raises(BufferError):
        native.crc32(memoryview(b"0123456789")[::2])


@pytest.mark.parametrize(
    "changed",
    [
        {"ends": [5, 4]},
        {"ends": [2, 2]},
        {"ends": [2, 7]},
        {"ends": [-1, 2]},
        {"ends": [2]},
        {"created": [0]},
        {"model": bytes(45)},
        {"cuts": [0, 11, 12]},
        {"cuts": [0, 5, 4]},
    ],
)
def test_records_of_no_such_members_are_refused(changed: dict[str, Any]) -> None:
    """Nothing is read or written outside what was given."""
    facts: dict[str, Any] = {"cuts": [0, 5, 10], "ends": [2, 5], "created": [0, 0], "model": bytes(46)} | changed
    cuts, ends, created = (np.array(facts[name], np.int64).data for name in ("cuts", "ends", "created"))
    with pytest.raises(ValueError, match=r"cuts|names"):
        native.zip_members(b"0123456789", cuts, HEADER, b"ab\ncd\n", ends, created, facts["model"])


def test_no_member_is_no_data() -> None:
    """One cut is none between two."""
    assert native.deflate_members(b"", np.zeros(1, np.int64).tobytes(), HEADER) == (b"", b"", b"")


def column(texts: list[str | None]) -> tuple[object, int, object, object]:
    array = pa.array(texts, pa.string())
    valid, offsets, data = array.buffers()
    return valid, array.offset, offsets, data


CELLS = st.none() | st.text(max_size=40) | st.text('"a', max_size=40)


@pytest.mark.slow
@given(st.integers(1, 6).flatmap(lambda width: st.lists(st.tuples(*[CELLS] * width), min_size=1, max_size=20)))
@PATIENT
def test_csv_is_read_back(rows: list[tuple[str | None, ...]]) -> None:
    """Values between quotes, nulls as nothing; each row begins where its cut says."""
    columns = tuple(column(list(texts)) for texts in zip(*rows, strict=True))
    out, bounds = bytearray(20_000), np.arange(len(rows) + 1)
    size, cuts, longest = native.render_csv(columns, len(rows), b"\r\n", bounds.data, out)
    lines = []
    for row in rows:
        cells = ("" if cell is None else '"' + cell.replace('"', '""') + '"' for cell in row)
        lines.append((",".join(cells) + "\r\n").encode())
    assert bytes(out[:size]) == b"".join(lines)
    assert np.frombuffer(cuts, np.int64).tolist() == np.cumsum([0, *map(len, lines)]).tolist()
    assert not any(out[size + 32 :])
    assert longest == max(len((cell or "").encode()) for row in rows for cell in row)


@pytest.mark.parametrize(
    ("offsets", "rows", "room"),
    [([0, 3, 2], 2, 99), ([0, 3, 11], 2, 99), ([-1, 3, 4], 2, 99), ([0, 3], 2, 99), ([0, 5, 10], 2, 30), ([0], -1, 9)],
)
def test_offsets_outside_the_text_are_refused(offsets: list[int], rows: int, room: int) -> None:
    """Nothing is read outside the text, nothing written outside the room."""
    column = (None, 0, np.array(offsets, np.int32).data, b"0123456789")
    with pytest.raises(ValueError, match=r"offsets|short|should be"):
        native.render_csv((column,), rows, b"\n", b"", bytearray(room))


def test_times_without_memory_are_refused() -> None:
    """A time a row, one zone or as many; more room than text takes; any number is spelt as something."""
    times, one = np.array([0, -(1 << 63), (1 << 63) - 1], np.int64).data, np.array([-(1 << 63)], np.int64).data
    for column in ((times, one), (times, times)):
        assert native.render_csv((column,), 3, b"\n", b"", bytearray(3 * 39 + 32))
        with pytest.raises(ValueError, match="room"):
            native.render_csv((column,), 3, b"\n", b"", bytearray(2 * 38 + 50))
    for column in ((times[:2], one), (times, times[:2]), (times, times[:0])):
        with pytest.raises(ValueError, match="short"):
            native.render_csv((column,), 3, b"\n", b"", bytearray(999))


def test_bits_that_end_early_are_refused() -> None:
    """Nine rows need nine bits, from wherever they begin."""
    offsets = np.zeros(10, np.int32).data
    for valid, first in ((b"\xff", 0), (b"\xff\xff", 8), (b"\xff\xff", -1), (b"", 1 << 62)):
        with pytest.raises(ValueError, match="short"):
            native.render_csv(((valid, first, offsets, None),), 9, b"\n", b"", bytearray(999))


WORDS = ("inbound", "out", "", "bot", "a word of many letters", "ünï")


def sliced(texts: list[str | None], start: int) -> tuple[Any, int]:
    """A slice of a column as the kernel takes it, and its rows."""
    array = pa.array(texts, pa.string()).slice(start)
    valid, offsets, data = array.buffers()
    places = np.frombuffer(offsets or bytes(4), np.int32)[array.offset :].data
    return (valid, array.offset, places, data), len(array)


@given(st.lists(st.none() | st.text("ab", max_size=9), max_size=40), st.integers(0, 5))
@PATIENT
def test_doubled_are_counted(texts: list[str | None], start: int) -> None:
    """Each value that the row before has, too; a null is like nothing."""
    expected = sum(one == other is not None for one, other in pairwise(texts[start:]))
    assert native.count_doubled(*sliced(texts, start)) == expected
    with pytest.raises(ValueError, match="offsets"):
        native.count_doubled((None, 0, np.array([0, 11], np.int32).data, b"0123456789"), 1)


@given(st.lists(st.none() | st.sampled_from(WORDS) | st.text("inboutd", max_size=8), max_size=40), st.integers(0, 5))
@PATIENT
def test_words_are_found(texts: list[str | None], start: int) -> None:
    """Each value is one of the words by its number, or none of them, as null is; whatever stands around it."""
    found = native.find_words(*sliced(texts, start), WORDS)
    assert list(found) == [WORDS.index(text) if text in WORDS else len(WORDS) for text in texts[start:]]


def test_odd_words_are_refused() -> None:
    """Offsets that lead out of the text, too many words, a word that is no text."""
    offsets = np.array([0, 11], np.int32).data
    with pytest.raises(ValueError, match="offsets"):
        native.find_words((None, 0, offsets, b"0123456789"), 1, ("0",))
    with pytest.raises(ValueError, match="short"):
        native.find_words((None, 0, offsets, b"0123456789"), -1, ("0",))
    with pytest.raises(ValueError, match="16"):
        native.find_words((None, 0, offsets, b""), 1, ("0",) * 17)
    with pytest.raises(TypeError):
        native.find_words((None, 0, offsets, b""), 1, (b"0",))


def are_utf8(texts: list[bytes], kind: type[np.int32 | np.int64] = np.int32, before: bytes = b"") -> bool:
    ends = np.cumsum([len(before), *map(len, texts)], dtype=kind)
    found: bool = native.are_utf8(ends.data, ends.itemsize, before + b"".join(texts) + b"\xff")
    return found


def decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


#: Bytes at the bounds of what may follow what.
EDGES = bytes.fromhex("00 7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 ed ee ef f0 f1 f3 f4 f5 ff")


@pytest.mark.slow
def test_utf8_at_every_bound() -> None:
    """Every sequence of up to four bytes that are bounds in Unicode's table 3-7, anywhere in a register."""
    for count in (1, 2, 3, 4):
        for number, sequence in enumerate(product(EDGES, repeat=count)):
            text = b"a" * (number % 67) + bytes(sequence) + b"b" * (number % 3)
            assert are_utf8([text]) is decodes(text), text


@given(st.lists(st.text(max_size=30).map(str.encode) | st.binary(max_size=6), max_size=30), st.integers(0, 90))
@example(["é".encode()[:1], "é".encode()[1:]], 0)
@PATIENT
def test_utf8_is_what_python_decodes(texts: list[bytes], pad: int) -> None:
    """Each text for itself: none begins or ends inside a character, though together they may be UTF-8."""
    padded = [b"a" * pad, *texts, b"b" * pad]
    expected = all(map(decodes, texts))
    assert are_utf8(padded) is are_utf8(padded, np.int64) is are_utf8(padded, before=b"\x80") is expected


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("offsets", [[0, 11], [3, 2], [-1, 3], [0, 5, 4, 6], [0, 12, 5]])
@pytest.mark.parametrize("text", [b"0123456789", "é".encode() * 5])
def test_offsets_that_do_not_rise_are_not_utf8(text: bytes, offsets: list[int], kind: type[np.int32]) -> None:
    """Nothing is read outside what was given."""
    assert native.are_utf8(np.array(offsets, kind).data, np.dtype(kind).itemsize, text) is False


def test_no_offsets_are_refused() -> None:
    """There is one more than there are texts."""
    for offsets, width in ((b"", 4), (b"1234", 8), (b"12", 2)):
        with pytest.raises(ValueError, match="offsets"):
            native.are_utf8(offsets, width, b"")


@given(
    st.integers(0, 4).flatmap(lambda width: st.lists(st.tuples(*[st.binary(max_size=30)] * (width + 1)), max_size=9))
)
@PATIENT
def test_items_are_interleaved(records: list[tuple[bytes, ...]]) -> None:
    """Records of an item of each column, whatever lies between the items."""
    columns = []
    for items in zip(*records, strict=True):
        starts = np.cumsum([1, *(len(item) + 1 for item in items)], dtype=np.int64)[:-1]
        stops = starts + np.array(list(map(len, items)), np.int64)
        columns.append((b"|" + b"|".join(items), starts.data, stops.data))
    if columns:
        assert native.interleave(tuple(columns)) == b"".join(item for record in records for item in record)


@pytest.mark.parametrize(
    ("starts", "stops"), [([0], [11]), ([-1], [3]), ([4], [3]), ([0, 1], [1]), ([1 << 62], [1 << 62])]
)
def test_items_outside_their_column_are_refused(starts: list[int], stops: list[int]) -> None:
    """Nothing is read outside what was given."""
    spans = np.array(starts, np.int64).data, np.array(stops, np.int64).data
    with pytest.raises(ValueError, match="column"):
        native.interleave(((b"0123456789", *spans),))
    with pytest.raises(ValueError, match="columns"):
        native.interleave(())


def test_threads_do_not_meet() -> None:
    """Calls at the same time give what each gives alone."""
    texts = [csv(random.Random(seed), 30, "abcdef") for seed in range(200)]  # noqa: S311  # nothing secret
    expected = members(texts)
    results: list[object] = [None] * 4

    def run(at: int) -> None:
        results[at] = members(texts)

    threads = [threading.Thread(target=run, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


#: The CRC-32 of what comes out for texts of every alphabet: the kernel's bytes, on every platform.
KNOWN = {1: "662db300"}


@pytest.mark.slow
def test_the_bytes_are_those_of_this_version() -> None:
    """Another compiler, another processor, the same bytes; who changes them raises the version."""
    made = b"".join(
        one(csv(random.Random(rows), rows, words))  # noqa: S311  # nothing secret
        for words in ALPHABETS.values()
        for rows in (1, 3, 20, 400, 4000)
    )
    assert KNOWN[native.VERSION] == f"{zlib.crc32(made):08x}"
