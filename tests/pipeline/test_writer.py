"""The writer alone: events in, an archive's bytes, records and totals out."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from export_engine.errors import GroupingError, RowError
from export_engine.options import ExportOptions
from export_engine.pipeline.deflate import DEFLATED
from export_engine.pipeline.long import ConversationBegins, Creation, MemberBegins, MemberEnds, Piece, RowsRefused
from export_engine.pipeline.members import build, member_spec
from export_engine.pipeline.workers import Result
from export_engine.pipeline.writer import Event, WholeMembers, Writer
from export_engine.report import MemberRecord, Progress
from tests import reference
from tests.pipeline.exporting import CHANNEL, JUNE, joined, members
from tests.pipeline.test_members import group_of, some

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def us(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


JUNE_2 = Creation(us("2026-06-02T08:00:00Z"), "m1", 1)
MAY_11 = Creation(us("2026-05-11T08:00:00Z"), "m9", 9)
JULY_3 = Creation(us("2026-07-03T08:00:00Z"), "m5", 5)


def writer(records: list[MemberRecord] | None = None, **options: Any) -> Writer:
    spec = member_spec(ExportOptions(**options), CHANNEL, JUNE)
    return Writer(spec, on_member=None if records is None else records.append)


def begins(id_: str = "c", name: str | None = "Ana") -> ConversationBegins:
    return ConversationBegins(id_, name, None)


def pieces(texts: list[bytes], creations: list[Creation]) -> list[Event]:
    """A member's pieces and its end."""
    made: list[Event] = []
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    for number, (text, creation) in enumerate(zip(texts, creations, strict=True), 1):
        data = deflater.compress(text) + deflater.flush(zlib.Z_FINISH if number == len(texts) else zlib.Z_SYNC_FLUSH)
        made.append(Piece(Result(partial(bytes, data)), len(text), creation))
    csv = b"".join(texts)
    end = MemberEnds(3, len(csv), zlib.crc32(csv), DEFLATED, JUNE_2.us, JUNE_2.us + 1, None, creations[-1])
    return [*made, end]


def take(tested: Writer, events: Iterable[Event]) -> list[bytes]:
    """What each event makes the writer hand out."""
    return [b"".join(joined(tested.write(event))) for event in events]


def archive(tested: Writer, written: list[bytes]) -> bytes:
    return b"".join((*written, *tested.archives.finish()))


NOISE = [zlib.compress(str(number).encode()) * 99 for number in range(3)]


def test_whole_members() -> None:
    """A group's members are written at once, with their records and totals."""
    records: list[MemberRecord] = []
    tested = writer(records)
    built = build(member_spec(ExportOptions(), CHANNEL, JUNE), group_of(*some(5)))
    event = WholeMembers(Result(lambda: built), 1)
    data = archive(tested, take(tested, [event]))
    assert members(data) == list(reference.csvs(some(5), CHANNEL, JUNE, UTC))
    assert [(record.conversation_id, record.part, record.rows) for record in records] == [
        (f"c{i}", 1, 3) for i in range(5)
    ]
    assert (tested.totals.conversations, tested.totals.rows, tested.totals.split) == (5, 15, [])
    assert tested.totals.csv_bytes == sum(len(csv) for _, csv in members(data))


def test_taken_names_leave_what_was_built_alone() -> None:
    """A name that is taken gets its number here; the task's result is not changed."""
    tested = writer()
    group = group_of(*some(2))
    spec = member_spec(ExportOptions(), CHANNEL, JUNE)
    first, second = build(spec, group), build(spec, group_of(*(replace(c, id=f"{c.id}x") for c in some(2))))
    names = list(second.members.names)
    data = archive(
        tested, take(tested, [WholeMembers(Result(lambda: first), 1), WholeMembers(Result(lambda: second), 1)])
    )
    assert second.members.names == names
    assert [name for name, _ in members(data)] == [*names, *(name.replace(".csv", " (2).csv") for name in names)]


def test_pieces_are_held_to_the_members_end() -> None:
    """Under the spool limit nothing leaves before the sizes are known; then they stand in the local header."""
    records: list[MemberRecord] = []
    tested = writer(records)
    written = take(tested, [begins(), MemberBegins(1), *pieces(NOISE, [JUNE_2] * 3)])
    assert [bool(part) for part in written] == [False] * 5 + [True]
    data = archive(tested, written)
    name = "Ana--2026-06-02_080000--SMS Support (+12025550123).csv"
    assert members(data) == [(name, b"".join(NOISE))]
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        (info,) = opened.infolist()
    assert (info.flag_bits, info.date_time) == (0, (2026, 6, 2, 8, 0, 0))
    (record,) = records
    assert (record.name, record.rows, record.deflated_bytes) == (name, 3, info.compress_size)


def test_pieces_stream_beyond_the_spool_limit() -> None:
    """The header leaves with what was held, further pieces at once, and the sizes follow."""
    events = [begins(), MemberBegins(1), *pieces(NOISE, [JUNE_2] * 3)]
    sizes = [len(event.deflated()) for event in events if isinstance(event, Piece)]
    tested = writer(spool_limit=sizes[0])
    written = take(tested, events)
    assert [bool(part) for part in written] == [False, False, False, True, True, True]
    assert len(written[4]) == sizes[2]
    data = archive(tested, written)
    assert members(data)[0][1] == b"".join(NOISE)
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.infolist()[0].flag_bits == 8


def test_parts_and_numbers() -> None:
    """A further part is called after the first, as it was numbered; a conversation of two counts once, as split."""
    tested = writer()
    events = [begins("a"), MemberBegins(1), *pieces(NOISE, [JUNE_2] * 3)]
    events += [begins("b", "ANA"), MemberBegins(1), *pieces(NOISE, [JUNE_2] * 3), MemberBegins(2)]
    events += pieces(NOISE, [JUNE_2] * 3)
    data = archive(tested, take(tested, events))
    base = "--2026-06-02_080000--SMS Support (+12025550123)"
    names = [f"Ana{base}.csv", f"ANA{base} (2).csv", f"ANA{base} (2) (part 2).csv"]
    assert [name for name, _ in members(data)] == names
    assert (tested.totals.conversations, tested.totals.split) == (2, ["b"])


def test_the_name_is_what_is_known_when_the_header_is_due() -> None:
    """At the member's end, or when the spool limit is passed; what comes later may not change it."""
    late = [begins(), MemberBegins(1), *pieces(NOISE, [JUNE_2, JUNE_2, MAY_11])]
    tested = writer()
    ((name, _),) = members(archive(tested, take(tested, late)))
    assert name.startswith("Ana--2026-05-11_080000--")
    with pytest.raises(RowError) as caught:
        take(writer(spool_limit=0), late)
    assert (caught.value.conversation_id, caught.value.message_id, caught.value.row) == ("c", "m9", 9)
    assert caught.value.value == datetime(2026, 5, 11, 8, tzinfo=UTC)


def test_by_creation_it_is_decided_then_too() -> None:
    """Out of the range at the end, it leaves no trace; in or out, what comes after a decision may not change it."""
    options: dict[str, Any] = {"range_by": "created_at"}
    tested = writer(**options)
    out = [begins(), MemberBegins(1), *pieces(NOISE, [JUNE_2, JUNE_2, MAY_11])]
    late = [begins("d"), MemberBegins(1), *pieces(NOISE, [JULY_3, JULY_3, JUNE_2])]
    data = archive(tested, take(tested, [*out, *late]))
    assert [name for name, _ in members(data)] == ["Ana--2026-06-02_080000--SMS Support (+12025550123).csv"]
    assert tested.totals.conversations == 1
    for events, done in ((out, "named"), (late, "left out")):
        with pytest.raises(RowError, match=f"had been {done} as created at"):
            take(writer(spool_limit=0, **options), events)


def test_pieces_of_what_is_left_out_are_not_asked_for() -> None:
    """Their work is saved where it has not been done."""
    asked: list[int] = []

    def asking(number: int) -> bytes:
        asked.append(number)
        return b"x"

    def piece(number: int) -> Piece:
        return Piece(Result(partial(asking, number)), 1, JULY_3)

    tested = writer(range_by="created_at", spool_limit=0)
    assert take(tested, [begins(), MemberBegins(1), *map(piece, range(5))]) == [b""] * 7
    assert asked == [0]


def test_wrong_rows_count_if_the_conversation_is_exported() -> None:
    """The error is kept while that is not known."""
    error = RowError("is wrong", column="direction")
    events = [begins(), RowsRefused(error), MemberBegins(1), *pieces(NOISE, [JUNE_2] * 3)]
    for spool in (0, 1 << 20):
        with pytest.raises(RowError) as caught:
            take(writer(range_by="created_at", spool_limit=spool), events)
        assert caught.value is error
        out = [begins(), RowsRefused(error), MemberBegins(1), *pieces(NOISE, [MAY_11] * 3)]
        assert b"".join(take(writer(range_by="created_at", spool_limit=spool), out)) == b""
    late = [begins(), MemberBegins(1), *pieces(NOISE, [JUNE_2] * 3)[:2], RowsRefused(error)]
    with pytest.raises(RowError):
        take(writer(range_by="created_at", spool_limit=0), late)


def test_a_conversation_that_comes_back() -> None:
    """It is an error that names it and says how to sort."""
    built = build(member_spec(ExportOptions(), CHANNEL, JUNE), group_of(*some(2)))
    ways: list[list[Event]] = [
        [begins("c1"), WholeMembers(Result(lambda: built), 1)],
        [WholeMembers(Result(lambda: built), 1), begins("c1")],
    ]
    for events in ways:
        with pytest.raises(GroupingError, match=r"'c1'.*ORDER BY conversation_id"):
            take(writer(), events)


def test_what_a_task_raises_arrives() -> None:
    """Unwrapped, in its turn."""
    problem = OSError("disk")

    def fail() -> bytes:
        raise problem

    tested = writer()
    with pytest.raises(OSError, match="disk") as caught:
        take(tested, [begins(), MemberBegins(1), Piece(Result(fail), 1, JUNE_2)])
    assert caught.value is problem


def test_progress() -> None:
    """It tells what has been read and written."""
    told: list[Progress] = []
    tested = Writer(member_spec(ExportOptions(), CHANNEL, JUNE), on_progress=told.append)
    built = build(member_spec(ExportOptions(), CHANNEL, JUNE), group_of(*some(5)))
    written = take(tested, [WholeMembers(Result(lambda: built), 1)])
    tested.tell(99)
    assert told == [Progress(99, 15, 5, len(b"".join(written)))]
