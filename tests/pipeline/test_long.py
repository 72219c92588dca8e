"""Long conversations: the events they become, and archives that are the same however their rows came."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import FrozenInstanceError, fields, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export_engine import Contact, Conversation, Message
from export_engine.errors import ArchiveError, RowError
from export_engine.options import Compression, ExportOptions
from export_engine.pipeline.deflate import DEFLATED, WINDOW, backend
from export_engine.pipeline.flow import Pipeline
from export_engine.pipeline.grouping import groups
from export_engine.pipeline.long import (
    ConversationBegins,
    Creation,
    LongConversation,
    LongEvent,
    MemberBegins,
    MemberEnds,
    Piece,
    RowsRefused,
)
from export_engine.pipeline.members import MemberSpec, member_spec, render_rows
from export_engine.pipeline.workers import Workers
from export_engine.pipeline.writer import Writer
from export_engine.schema import CREATED_AT, ROW_SCHEMA
from tests import reference
from tests.pipeline.exporting import CHANNEL, JUNE, cut, exported, members, rows_of

PATIENT = settings(deadline=None, max_examples=150)
START = datetime(2026, 6, 1, tzinfo=UTC)
HEADER = (reference.COLUMNS + "\r\n").encode()


def noise(number: int) -> str:
    """Text that does not deflate to nothing."""
    return f"{number * 2654435761 % 4294967296:08x}" * 3


def talk(
    times: Sequence[datetime], created_at: datetime | None = None, name: str = "c", repeat: int = 1
) -> Conversation:
    own = [Message(f"{name}{i}", time, "inbound", "customer", noise(i) * repeat) for i, time in enumerate(times)]
    return Conversation(name, Contact(name), own, created_at)


def seconds(count: int, step: int = 1) -> list[datetime]:
    """Times from the second day on, one a step."""
    return [START + timedelta(days=1, seconds=i * step) for i in range(count)]


def csv_of(conversation: Conversation) -> bytes:
    rows = [reference.row(conversation, message, UTC, guard=False) + "\r\n" for message in conversation.messages]
    return HEADER + "".join(rows).encode()


# --- events --------------------------------------------------------------------------------------------------------


def specified(options: ExportOptions | None = None, **limits: Any) -> MemberSpec:
    return replace(member_spec(options or ExportOptions(), CHANNEL, JUNE), **limits)


def events(table: pa.Table, spec: MemberSpec, size: int = 5, max_rows: int = 8) -> list[LongEvent]:
    """What the rows of one conversation become."""
    made: list[LongEvent] = []
    with closing(Workers(1)) as workers:
        long = LongConversation(spec, workers)
        for group in groups(cut(table, size), max_rows):
            made += long.add(group, render_rows(spec, group))
        made += long.end()
    return made


def test_events_of_a_conversation() -> None:
    """It begins, its member begins, pieces follow, the member ends with what is known of it; all of it is frozen."""
    times = seconds(40)
    conversation = talk(times)
    made = events(rows_of([conversation], UTC), specified(piece=1000, hashed=True))
    csv = csv_of(conversation)
    assert made[:2] == [ConversationBegins("c", "c", None), MemberBegins(1)]
    pieces = [event for event in made if isinstance(event, Piece)]
    assert made[2:-1] == pieces
    assert [piece.csv_bytes for piece in pieces] == [1000] * (len(csv) // 1000) + [len(csv) % 1000]
    data = zlib.decompressobj(-15).decompress(b"".join(piece.deflated() for piece in pieces))
    assert data == csv
    end = made[-1]
    assert isinstance(end, MemberEnds)
    us = [(time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for time in times]
    assert (end.rows, end.csv_bytes, end.crc32, end.method) == (40, len(csv), zlib.crc32(csv), DEFLATED)
    assert (end.first, end.last, end.creation) == (us[0], us[-1], Creation(us[0], "c0", 1))
    assert end.sha256 is not None
    for event in made:
        with pytest.raises(FrozenInstanceError):
            setattr(event, fields(event)[0].name, None)


def test_parts() -> None:
    """Before a member would pass its limit it ends, at a row's end, and another part begins."""
    conversation = talk(seconds(40))
    made = events(rows_of([conversation], UTC), specified(piece=1000, member_limit=2000))
    begun = [event.part for event in made if isinstance(event, MemberBegins)]
    ends = [event for event in made if isinstance(event, MemberEnds)]
    assert begun == list(range(1, len(ends) + 1))
    assert sum(end.rows for end in ends) == 40
    assert all(end.csv_bytes <= 2000 for end in ends)
    assert sum(end.csv_bytes - len(HEADER) for end in ends) == len(csv_of(conversation)) - len(HEADER)
    assert all(first.last is not None and first.last < (second.first or 0) for first, second in pairwise(ends))


def test_a_row_that_no_member_can_hold() -> None:
    """The error names the conversation and what to do."""
    table = rows_of([talk(seconds(20), repeat=50)], UTC)
    with pytest.raises(
        ArchiveError, match=r"conversation 'c': one message makes 1[0-9]+ bytes of CSV, more than the 900"
    ):
        events(table, specified(piece=500, member_limit=900))


def test_a_conversation_without_rows_in_the_range() -> None:
    """It only begins: its id has been there, and no member."""
    made = events(rows_of([talk([time - timedelta(days=90) for time in seconds(30)])], UTC), specified())
    assert made == [ConversationBegins("c", "c", None)]


def test_what_is_known_of_its_creation() -> None:
    """Each piece says which message is the earliest that begins before the piece's end."""
    times = seconds(40)[::-1]
    conversation = talk(times)
    made = events(rows_of([conversation], UTC), specified(piece=1000))
    begins = [len(csv_of(replace(conversation, messages=list(conversation.messages)[:i]))) for i in range(40)]
    pieces = [event for event in made if isinstance(event, Piece)]
    for number, piece in enumerate(pieces[:-1], 1):
        known = sum(begin < 1000 * number for begin in begins) - 1
        assert (piece.creation.message_id, piece.creation.row) == (f"c{known}", known + 1)
    assert pieces[-1].creation.message_id == "c39"


def test_by_creation_nothing_is_deflated_for_one_that_is_over() -> None:
    """Once a message is earlier than the range, no later one can bring the conversation back."""
    times = [START - timedelta(days=1), *seconds(60)]
    made = events(rows_of([talk(times)], UTC), specified(ExportOptions(range_by="created_at"), piece=1000))
    assert [type(event) for event in made] == [ConversationBegins, MemberBegins, Piece]
    given_ = events(rows_of([talk(times, times[0])], UTC), specified(ExportOptions(range_by="created_at"), piece=1000))
    assert given_ == [ConversationBegins("c", "c", None)]


def wrong(table: pa.Table, row: int) -> pa.Table:
    directions = table["direction"].to_pylist()
    directions[row] = "sideways"
    return table.set_column(table.schema.get_field_index("direction"), table.schema.field("direction"), [directions])


def test_a_wrong_row_of_a_conversation_that_may_be_left_out() -> None:
    """By creation, a wrong row is an error only if the conversation is exported, however its rows came."""
    options = ExportOptions(range_by="created_at")
    inside, outside = (rows_of([talk(times)], UTC) for times in (seconds(40), [START + timedelta(days=60)] * 40))
    made = events(wrong(inside, 20), specified(options))
    assert any(isinstance(event, RowsRefused) for event in made)
    for size in (1, 5, 8):
        with pytest.raises(RowError, match="'sideways' is not one of") as caught:
            exported(cut(wrong(inside, 20), size), options, max_rows=8)
        assert caught.value.row == 21
        assert exported(cut(wrong(outside, 20), size), options, max_rows=8).members == []
        assert exported(cut(wrong(outside, 20), size), options).members == []


# --- archives ------------------------------------------------------------------------------------------------------


def long_one(rows: int) -> list[Conversation]:
    """A small, a long and a small conversation; the long one's text does not compress to nothing."""
    return [talk(seconds(n), START + timedelta(days=1), name, 2) for name, n in (("a", 5), ("b", rows), ("c", 5))]


@pytest.fixture(scope="module")
def long_rows() -> pa.Table:
    return rows_of(long_one(30_000), UTC)


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["fast", "balanced", "small", "store"])
def test_a_long_conversation_is_the_same_from_pieces_and_from_batches(
    long_rows: pa.Table, compression: Compression
) -> None:
    """Megabytes of CSV, cut into pieces by any number of threads, from batches of any size."""
    options = ExportOptions(compression=compression, spool_limit=1 << 30)
    cuts = ((8192, 1), (8192, 2), (1000, 7), (7777, 2))
    (data,) = {exported(cut(long_rows, size), options, threads=threads).data for size, threads in cuts}
    assert members(data) == list(reference.csvs(long_one(30_000), CHANNEL, JUNE, UTC))


@pytest.mark.parametrize("spool", [0, 1 << 18])
def test_a_member_beyond_the_spool_limit_is_streamed(long_rows: pa.Table, spool: int) -> None:
    """Its sizes follow in a data descriptor, however the rows came; the content is the same."""
    options = ExportOptions(spool_limit=spool)
    cuts = ((8192, 1), (500, 2), (9999, 7))
    (streamed,) = {exported(cut(long_rows, size), options, threads=threads).data for size, threads in cuts}
    with zipfile.ZipFile(io.BytesIO(streamed)) as opened:
        flags = [bool(info.flag_bits & 8) for info in opened.infolist()]
    assert flags == ([True, True, True] if spool == 0 else [False, True, False])
    assert members(streamed) == members(exported(cut(long_rows, 8192)).data)


@pytest.mark.parametrize("spool", [0, 200, 1000, 3000, 5000, 1 << 20])
@pytest.mark.parametrize("max_rows", [10, 1000])
def test_a_streamed_member_is_always_deflated(spool: int, max_rows: int) -> None:
    """`store` keeps what is held as it is; what streams is deflate's stored blocks: readers refuse anything else."""
    options = ExportOptions(compression="store", spool_limit=spool)
    made = [talk(seconds(n), START + timedelta(days=1), name) for name, n in (("a", 1), ("b", 9), ("c", 40))]
    data = exported(cut(rows_of(made, UTC), 7), options, max_rows=max_rows, piece=2000).data
    assert members(data) == list(reference.csvs(made, CHANNEL, JUNE, UTC))
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        for info in opened.infolist():
            streamed = bool(info.flag_bits & 8)
            assert streamed is (info.compress_size > spool)
            if streamed:
                assert info.compress_type == zipfile.ZIP_DEFLATED
            elif info.file_size <= 2000:
                assert info.compress_type == zipfile.ZIP_STORED


@pytest.mark.slow
def test_a_conversation_goes_on_in_another_part_at_a_row_end(long_rows: pa.Table) -> None:
    """Before its CSV would pass the limit, with the header again; the totals and the records say so."""
    limit = 1_000_000
    made = [exported(cut(long_rows, size), threads=2, member_limit=limit) for size in (8192, 400)]
    assert made[0] == made[1]
    whole = dict(made[0].members)
    base = "b--2026-06-02_000000--SMS Support (+12025550123)"
    parts = [name for name in whole if name.startswith("b--")]
    assert parts == [f"{base}.csv", *(f"{base} (part {n}).csv" for n in range(2, len(parts) + 1))]
    assert len(parts) > 3
    for name in parts:
        assert whole[name].startswith(HEADER)
        assert whole[name].endswith(b"\r\n")
        assert len(whole[name]) <= limit
    body = b"".join(whole[name].removeprefix(HEADER) for name in parts)
    assert HEADER + body == dict(reference.csvs(long_one(30_000), CHANNEL, JUNE, UTC))[f"{base}.csv"]
    totals = made[0].totals
    assert (totals.split, totals.conversations, len(whole)) == (["b"], 3, len(parts) + 2)
    own = [record.part for record in made[0].records if record.conversation_id == "b"]
    assert own == list(range(1, len(parts) + 1))


@pytest.mark.parametrize("range_by", ["message_time", "created_at"])
def test_a_long_conversation_partly_or_wholly_outside_the_range(range_by: Any) -> None:
    """Rows outside leave no trace, and it has no member if none is in the range."""
    start = datetime(2026, 5, 31, 23, 50, tzinfo=UTC)
    made = list(reference.some(3, start, timedelta(days=-1), rows=300))
    got = exported(cut(rows_of(made, UTC), 7), ExportOptions(range_by=range_by), max_rows=10)
    assert got.members == list(reference.csvs(made, CHANNEL, JUNE, UTC, by_creation=range_by == "created_at"))


# --- when it was created -------------------------------------------------------------------------------------------


def within(moment: datetime) -> bool:
    return START <= moment < START + timedelta(days=30)


def text_of(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d_%H%M%S}"


def named_at(
    conversation: Conversation, wanted: list[bool], options: ExportOptions, piece: int
) -> tuple[int, list[int]]:
    """The byte of the CSV at which the header is written, and the bytes at which the messages stand: plain Python."""
    text, places, using = HEADER, list[int](), backend(options.compression)
    for message, exported_ in zip(list(conversation.messages), wanted, strict=True):
        places.append(len(text) if exported_ else (len(text) - 1 if text != HEADER else -1))
        if exported_:
            text += (reference.row(conversation, message, UTC, guard=False) + "\r\n").encode()
    end, deflated = len(text) + 1, 0
    if len(text) <= piece:
        return end, places
    for at in range(0, len(text), piece):
        last = at + piece >= len(text)
        deflated += len(using.piece(text[at : at + piece], text[max(at - WINDOW, 0, at - piece) : at], last))
        if deflated > options.spool_limit:
            return end if last else at + piece, places
    return end, places


TIMES = st.integers(-200_000, 200_000) | st.integers(-3000, 3000).map(lambda tenth: tenth / 1000)
BASES = st.sampled_from([START + timedelta(days=shift) for shift in (-2, 0, 3, 30)])


@pytest.mark.slow
@PATIENT
@given(
    BASES,
    st.lists(TIMES, min_size=9, max_size=50),
    st.sampled_from(["as they are", "earliest first", "latest first"]),
    st.booleans(),
    st.sampled_from([0, 300, 600, 1500, 3000, 10**6]),
    st.sampled_from([500, 700, 1000]),
    st.sampled_from(["fast", "store"]),
)
@example(START + timedelta(days=3), [float(-i) for i in range(40)], "as they are", False, 0, 500, "fast")
def test_the_earliest_message_whatever_the_order(
    base: datetime,
    shifts: list[float],
    order: str,
    by_creation: bool,
    spool: int,
    piece: int,
    compression: Compression,
) -> None:
    """Its name and membership are its earliest message's, or it is refused: by its bytes alone, not how they came."""
    times = [base + timedelta(seconds=shift) for shift in shifts]
    if order != "as they are":
        times.sort(reverse=order == "latest first")
    conversation = talk(times)
    options = ExportOptions(
        range_by="created_at" if by_creation else "message_time", spool_limit=spool, compression=compression
    )
    table, results = rows_of([conversation], UTC), set[bytes | str]()
    for size, threads in ((1, 1), (3, 1), (8, 2), (5, 7)):
        try:
            results.add(exported(cut(table, size), options, threads=threads, max_rows=8, piece=piece).data)
        except RowError as error:
            results.add(str(error))
    (result,) = results
    wanted = [by_creation or within(time) for time in times]
    byte, places = named_at(conversation, wanted, options, piece)
    known = min(time for time, place in zip(times, places, strict=True) if place < byte or time == times[0])
    same = text_of(known) == text_of(min(times))
    if not any(wanted) or (by_creation and not within(known) and not within(min(times))):
        assert result == exported(iter(())).data
    elif same and (within(known) or not by_creation):
        expected = list(reference.csvs([conversation], CHANNEL, JUNE, UTC, by_creation=by_creation))
        assert isinstance(result, bytes)
        assert members(result) == expected
    else:
        assert isinstance(result, str)
        assert f"as created at {text_of(known)} by then; give created_at" in result


@pytest.mark.parametrize("size", [1, 7, 10])
def test_one_that_is_named_too_early(size: int) -> None:
    """The error says which message of which conversation and row, and what to do."""
    times = [*seconds(100), START + timedelta(hours=1), *seconds(3)]
    table = rows_of([talk(times[:2], START, "first"), talk(times)], UTC)
    with pytest.raises(RowError) as caught:
        exported(cut(table, size), ExportOptions(spool_limit=1000), max_rows=10, piece=500)
    assert str(caught.value) == (
        "conversation 'c', message 'c100', row 103, column 'message_time': is from 2026-06-01_010000, but its "
        "conversation, too long to hold, had been named as created at 2026-06-02_000000 by then; give created_at in "
        "the conversation's rows, or sort its messages by time, earliest first"
    )
    assert (caught.value.row, caught.value.conversation_id, caught.value.message_id) == (103, "c", "c100")
    assert caught.value.value == times[100]
    for mended in (talk(times, START), talk(sorted(times))):
        assert (
            len(exported(cut(rows_of([mended], UTC), size), ExportOptions(spool_limit=1000), max_rows=10).members) == 1
        )


def test_an_earlier_message_within_the_same_second_is_fine() -> None:
    """A name has seconds: what does not change it is no error."""
    times = [*seconds(100), START + timedelta(days=1, microseconds=-1), START + timedelta(days=1)]
    times = [time + timedelta(milliseconds=5) for time in times]
    (member,) = exported(
        cut(rows_of([talk(times)], UTC), 7), ExportOptions(spool_limit=0), max_rows=10, piece=500
    ).members
    assert member[0] == "c--2026-06-02_000000--SMS Support (+12025550123).csv"


@pytest.mark.parametrize("first", [START + timedelta(days=45), START + timedelta(days=5)])
def test_by_creation_a_message_that_decides_too_late(first: datetime) -> None:
    """In or out, once decided the conversation may not change sides; what confirms it is fine."""
    late = START - timedelta(days=1) if within(first) else START + timedelta(days=2)
    times = [first + timedelta(seconds=i) for i in range(100)]
    options = ExportOptions(range_by="created_at", spool_limit=1000)
    for size in (1, 10):
        with pytest.raises(RowError, match=f"had been {'named' if within(first) else 'left out'} as created") as caught:
            exported(cut(rows_of([talk([*times, late])], UTC), size), options, max_rows=10, piece=500)
        assert caught.value.row == 101
    confirmed = [*times, first - timedelta(microseconds=1) if within(first) else first - timedelta(days=1)]
    if not within(first):
        assert exported(cut(rows_of([talk(confirmed)], UTC), 9), options, max_rows=10, piece=500).members == []


def test_under_the_spool_limit_any_order_succeeds() -> None:
    """The name is not needed before the end."""
    made = [talk(seconds(500)[::-1])]
    for size in (1, 10):
        got = exported(cut(rows_of(made, UTC), size), max_rows=10, piece=500).members
        assert got == list(reference.csvs(made, CHANNEL, JUNE, UTC))


def test_parts_are_named_after_the_first() -> None:
    """Where a later part holds an earlier message, the first part's name was wrong: that is an error, too."""
    table = rows_of([talk([*seconds(60), START])], UTC)
    with pytest.raises(RowError, match="had been named as created at 2026-06-02_000000"):
        exported(cut(table, 5), max_rows=10, piece=500, member_limit=2000)


def test_what_is_held_of_a_member_is_bounded_by_the_spool_limit() -> None:
    """Bytes leave long before the conversation's end, once the limit is passed."""
    spec = specified(ExportOptions(spool_limit=2000), piece=500)
    read = 0

    def source() -> Iterator[pa.RecordBatch]:
        nonlocal read
        for batch in cut(rows_of([talk(seconds(1000))], UTC), 10):
            read += batch.num_rows
            yield batch

    with closing(Workers(1)) as workers:
        next(Pipeline(spec, workers, Writer(spec), 1, max_rows=10).chunks(source()))
    assert read < 200


@pytest.mark.parametrize("by_creation", [False, True])
@pytest.mark.parametrize("size", [1, 7, 10])
@pytest.mark.parametrize("at", [1, 9, 10, 11, 77, 99])
@pytest.mark.parametrize(
    ("first", "other"),
    [(START, START + timedelta(days=1)), (START, None), (None, START), (START - timedelta(days=99), START)],
)
def test_rows_of_a_long_conversation_say_one_creation(
    first: datetime | None, other: datetime | None, at: int, size: int, by_creation: bool
) -> None:
    """Wherever the other stands, whatever was exported so far, and however the rows came: the two rows are named."""
    table = rows_of([talk(seconds(100), first)], UTC)
    said = pa.array([first] * at + [other] * (100 - at), ROW_SCHEMA.field(CREATED_AT).type)
    table = table.set_column(ROW_SCHEMA.get_field_index(CREATED_AT), ROW_SCHEMA.field(CREATED_AT), said)
    options = ExportOptions(range_by="created_at" if by_creation else "message_time")
    with pytest.raises(RowError, match="in row") as caught:
        exported(cut(table, size), options, max_rows=10, piece=500)
    shown = [value.isoformat() if value else "null" for value in (other, first)]
    assert f"row {at + 1}, column 'created_at': is {shown[0]}, and {shown[1]} in row {at}, " in str(caught.value)
    assert (caught.value.conversation_id, caught.value.message_id) == ("c", f"c{at}")
