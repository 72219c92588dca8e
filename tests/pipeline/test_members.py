"""One task's work: a group of whole conversations becomes members, in this process or another."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import zlib
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from export_engine import EXCEL, Contact, Conversation, DateRange, Message
from export_engine.errors import RowError
from export_engine.options import ExportOptions
from export_engine.pipeline.archive import unpack
from export_engine.pipeline.deflate import DEFLATED, STORED
from export_engine.pipeline.grouping import Group, groups
from export_engine.pipeline.members import MemberBatch, MemberSpec, build, member_spec, render_rows, row_cuts
from tests import reference
from tests.pipeline.exporting import CHANNEL, JUNE, cut, rows_of

START = datetime(2026, 6, 2, tzinfo=UTC)


def specified(options: ExportOptions | None = None, days: DateRange = JUNE) -> MemberSpec:
    return member_spec(options or ExportOptions(), CHANNEL, days)


def group_of(*conversations: Conversation) -> Group:
    """All of it in one group."""
    (group,) = groups(cut(rows_of(conversations, UTC), 10_000))
    return group


def some(count: int = 20) -> list[Conversation]:
    return list(reference.some(count, START))


def contents(built: MemberBatch) -> list[tuple[str, bytes]]:
    """Names and inflated data."""
    members = built.members
    made = []
    ends = members.deflated_bytes.cumsum().tolist()
    whole = unpack(built.packed, members)
    assert not ends or ends[-1] == len(whole)
    parts = [whole[start:stop] for start, stop in zip([0, *ends], ends, strict=False)]
    for name, data, method in zip(members.names, parts, members.methods.tolist(), strict=True):
        made.append((name, data if method == STORED else zlib.decompress(data, -15)))
    return made


@pytest.mark.parametrize("options", [ExportOptions(), ExportOptions(compression="store", dialect=EXCEL)])
def test_a_group_becomes_members(options: ExportOptions) -> None:
    """Each with its name, CSV, CRC-32 and sizes; ids of those left out are there, too."""
    outside = Conversation("out", Contact("Out"), [Message("o", START + timedelta(days=90), "inbound", "customer")])
    built = build(specified(options), group_of(*some(), outside))
    form = options.dialect
    guard, digits = form.formula_guard, form.digits_guard
    expected = list(reference.csvs(some(), CHANNEL, JUNE, UTC, bom=form.bom, guard=guard, digits=digits))
    assert contents(built) == expected
    assert built.members.crc32s.tolist() == [zlib.crc32(csv) for _, csv in expected]
    assert built.members.csv_bytes.tolist() == [len(csv) for _, csv in expected]
    assert set(built.members.methods.tolist()) == {STORED if options.compression == "store" else DEFLATED}
    assert built.ids.to_pylist() == [*(f"c{number}" for number in range(20)), "out"]
    assert built.hashes == [None] * 20


def test_hashes() -> None:
    """A CSV's SHA-256 is there where it is asked for."""
    built = build(replace(specified(), hashed=True), group_of(*some()))
    assert built.hashes == [hashlib.sha256(csv).hexdigest() for _, csv in contents(built)]


def test_nothing_is_exported() -> None:
    """A group that lies outside the range has no members, and its conversations have been there."""
    built = build(specified(days=DateRange(date(2020, 1, 1), date(2020, 1, 2))), group_of(*some()))
    assert (contents(built), len(built.ids)) == ([], 20)


def test_a_wrong_row_is_refused_by_its_number() -> None:
    """The error names conversation, message, column, value and row."""
    wrong = Conversation("w", Contact("W"), [Message("w0", START, "sideways", "customer")])  # type: ignore[arg-type]  # wrong
    with pytest.raises(RowError) as caught:
        build(specified(), group_of(*some(), wrong))
    error = caught.value
    assert (error.conversation_id, error.message_id, error.column, error.value) == ("w", "w0", "direction", "sideways")
    assert error.row == 61
    assert render_rows(specified(), group_of(wrong)).problem is not None


def test_rows_and_their_cuts() -> None:
    """The CSV of one conversation's rows, and the byte at which each begins."""
    (conversation,) = some(1)
    rendered = render_rows(specified(), group_of(conversation))
    lines = [reference.row(conversation, m, UTC, guard=False).encode() + b"\r\n" for m in conversation.messages]
    assert bytes(rendered.csv) == b"".join(lines)
    assert row_cuts(specified(), group_of(conversation)).tolist() == [len(b"".join(lines[:n])) for n in range(4)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ExportOptions(),
        ExportOptions(compression="balanced", timezone="Asia/Taipei", range_by="created_at"),
        ExportOptions(compression="small", timezone="-03:30", dialect=EXCEL, name_budget=64),
        ExportOptions(compression="store", spool_limit=0),
    ],
)
def test_another_process_makes_the_same(options: ExportOptions) -> None:
    """What a task needs pickles, and means the same bytes in a process that was spawned, as Spark's and others' are."""
    group, spec = group_of(*some()), specified(options)
    again: Any = pickle.loads(pickle.dumps(spec))  # noqa: S301  # our own
    here, there = build(spec, group), build(again, group)
    assert (here.packed.local, here.packed.central) == (there.packed.local, there.packed.central)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        local, central = pool.apply_async(packed, (spec, options, group)).get(120)
    assert (local, central) == (here.packed.local, here.packed.central)


def packed(spec: MemberSpec, options: ExportOptions, group: Group) -> tuple[bytes, bytes]:
    """What another process makes of it, of the specification and of the options alike."""
    one, other = build(spec, group).packed, build(member_spec(options, CHANNEL, JUNE), group).packed
    assert one.local == other.local
    return one.local, one.central
