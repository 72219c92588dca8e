"""A look before the export: it finds everything at once, and its answer is the export's own."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather

from export_engine import (
    Channel,
    CheckReport,
    Contact,
    Conversation,
    DateRange,
    ExportError,
    ExportReport,
    Message,
    OptionError,
    RowError,
    check_source,
    export_conversations,
    open_source,
)
from export_engine.sources import from_conversations, from_rows, read_mapped, read_sql, sorted_rows

JUNE = DateRange(date(2026, 6, 1), date(2026, 6, 30))
NOON = datetime(2026, 6, 11, 12, tzinfo=UTC)
CHANNEL = Channel("SMS Support")
ROW = {
    "message_id": "m1",
    "conversation_id": "c1",
    "direction": "inbound",
    "speaker_type": "customer",
    "message_time": "2026-06-11T06:50:43Z",
}


def rows(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    """A message for each change of the usual one."""
    return [{**ROW, "message_id": f"m{number}", **change} for number, change in enumerate(changes, 1)]


def check(*changes: dict[str, Any], **options: Any) -> CheckReport:
    return check_source(from_rows(rows(*changes)), **options)


def exported(source: Any, days: DateRange = JUNE, **options: Any) -> ExportReport | None:
    """The report of an export, None of one that fails."""
    made = export_conversations(source, channel=CHANNEL, date_range=days, **options)
    try:
        for _ in made:
            pass
    except ExportError:
        return None
    return made.report


def export_succeeds(source: Any, **options: Any) -> bool:
    """Whether an export raises nothing."""
    return exported(source, **options) is not None


# --- the answer is the export's ------------------------------------------------------------------------------------

FAULTS: dict[str, st.SearchStrategy[Any]] = {
    "message_id": st.sampled_from([None, "", "m1", "x"]),
    "conversation_id": st.sampled_from([None, "", "c0", "c1", "c2"]),
    "direction": st.sampled_from([None, "", "in", "outbound"]),
    "speaker_type": st.sampled_from([None, "human", "agent", "bot"]),
    "message_time": st.sampled_from(
        [None, "", "2026-06-11", "11.06.2026 10:00", "2026-06-11 06:50", "2026-05-31T23:59:59Z", "9999-12-31T23:00:00Z"]
    ),
    "message_text": st.sampled_from(["=1", "x" * 40_000, "\ud800"]),
    "sender_account": st.sampled_from([None, "", "ann@example.com"]),
    "created_at": st.sampled_from([None, "2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z", "yesterday"]),
}
#: A row that moves to another conversation may tear one, which is no bad value: as likely as all of those.
FAULT = st.sampled_from(sorted(FAULTS)).flatmap(lambda name: st.tuples(st.just(name), FAULTS[name])) | st.tuples(
    st.just("conversation_id"), st.sampled_from(["c0", "c1", "c2"])
)


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows that are right but for a few faults, some of them no faults, and perhaps a column that is not there."""
    made = rows(*({"conversation_id": f"c{number // 3}"} for number in range(draw(st.integers(0, 12)))))
    for at, (name, value) in draw(st.lists(st.tuples(st.integers(0, 11), FAULT), max_size=4)):
        if at < len(made):
            made[at][name] = value
    for name in draw(st.lists(st.sampled_from([*ROW, "message_text"]), max_size=1 if draw(st.booleans()) else 0)):
        for row in made:
            row.pop(name, None)
    return made


def roads(made: Sequence[dict[str, Any]], folder: Path) -> Iterator[Any]:
    """The rows by several roads, each made anew whenever it is asked for."""
    names = list(dict.fromkeys(name for row in made for name in row))
    text = "".join(json.dumps(row) + "\n" for row in made)
    yield lambda: from_rows(made)
    yield lambda: open_source(io.BytesIO(text.encode()), format="jsonl")
    yield lambda: sorted_rows(from_rows(made), dedupe=True)
    if made and "\ud800" not in {row.get("message_text") for row in made}:
        table = pa.table({name: pa.array([row.get(name) for row in made], pa.string()) for name in names})
        yield lambda: table
        pq.write_table(table, folder / "a.parquet")
        yield lambda: open_source(folder / "a.parquet")
        yield lambda: read_sql("SELECT * FROM read_parquet($file)", {"file": str(folder / "a.parquet")})
        feather.write_feather(table, folder / "a.arrow", "uncompressed")
        yield lambda: open_source(folder / "a.arrow")
        pacsv.write_csv(table, folder / "a.csv")
        yield lambda: open_source(folder / "a.csv")


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    tables(),
    st.sampled_from(["message_time", "created_at"]),
    st.booleans(),
    st.sampled_from([JUNE, DateRange(date.min)]),
)
def test_it_says_yes_exactly_when_the_export_succeeds(
    tmp_path_factory: pytest.TempPathFactory, made: list[dict[str, Any]], range_by: Any, strict: bool, days: DateRange
) -> None:
    """For any rows, by any road: and then its counts are the report's."""
    for road in roads(made, tmp_path_factory.mktemp("rows")):
        found = check_source(road(), date_range=days, range_by=range_by, strict=strict)
        report = exported(road(), days, range_by=range_by, strict=strict)
        assert found.ok is (report is not None), found
        json.dumps(found.as_json())
        if report is not None:
            assert (found.messages_in_range, found.conversations_in_range) == (report.rows, report.conversations)
            assert found.replaced_surrogates == report.replaced_surrogates


@pytest.mark.slow
@pytest.mark.parametrize("spool_limit", [0, 8 << 20])
@pytest.mark.parametrize("wrong", [0, 29_000])
def test_a_long_conversation_that_turns_out_to_be_older(spool_limit: int, wrong: int) -> None:
    """A value that breaks a rule counts where the export has stumbled over it before it knew that it leaves it out."""
    count, start = 30_000, datetime(2026, 6, 1, tzinfo=UTC)
    times = [start + timedelta(minutes=at) for at in range(count)]
    times[14_319] = datetime(2026, 5, 20, tzinfo=UTC)
    table = pa.table(
        {
            "message_id": [str(at) for at in range(count)],
            "conversation_id": ["long"] * (count - 1) + ["last"],
            "direction": ["in" if at == wrong else "inbound" for at in range(count)],
            "speaker_type": ["customer"] * count,
            "message_time": times,
        }
    )
    found = check_source(table, date_range=JUNE, range_by="created_at", spool_limit=spool_limit)
    assert found.ok is export_succeeds(table, range_by="created_at", spool_limit=spool_limit) is (spool_limit > 0)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from(["message_time", "created_at"]), st.sampled_from([0, 500, 8 << 20]))
def test_long_conversations(data: st.DataObject, range_by: Any, spool_limit: int) -> None:
    """Those too long for a group, whose creation a late message may change, too."""
    count, start = 30_000, datetime(2026, 6, 1, tzinfo=UTC)
    times = [start + timedelta(minutes=at) for at in range(count)]
    for at in data.draw(st.lists(st.integers(0, count - 1), max_size=2)):
        times[at] = data.draw(st.sampled_from([datetime(2026, 5, 20, tzinfo=UTC), datetime(2026, 8, 1, tzinfo=UTC)]))
    directions = ["inbound"] * count
    if data.draw(st.booleans()):
        directions[data.draw(st.integers(0, count - 1))] = "in"
    table = pa.table(
        {
            "message_id": [str(at) for at in range(count)],
            "conversation_id": ["long"] * (count - 1) + ["last"],
            "direction": directions,
            "speaker_type": ["customer"] * count,
            "message_time": times,
        }
    )
    found = check_source(table, date_range=JUNE, range_by=range_by, spool_limit=spool_limit)
    assert found.ok is export_succeeds(table, range_by=range_by, spool_limit=spool_limit), found
    if found.ok:
        export = export_conversations(
            table, channel=CHANNEL, date_range=JUNE, range_by=range_by, spool_limit=spool_limit
        )
        b"".join(export)
        assert found.messages_in_range == export.report.rows
        assert found.conversations_in_range == export.report.conversations


# --- what is found -------------------------------------------------------------------------------------------------


def test_all_bad_values_are_counted() -> None:
    """Each rule with its column, how many break it, and the first three with where they stand."""
    found = check(
        {"direction": "in"},
        {"direction": "in", "message_time": "soon"},
        {"direction": "IN", "message_id": None},
        {"direction": "out", "message_time": "later"},
        {"sender_account": "ann"},
    )
    counts = {(problem.column, problem.rule): problem.count for problem in found.problems}
    assert counts == {
        ("message_time", "is not a time"): 2,
        ("message_id", "is missing"): 1,
        ("direction", "is not one of inbound, outbound"): 4,
        ("sender_account", "is set on a message that no human agent sent"): 1,
    }
    direction = next(problem for problem in found.problems if problem.column == "direction")
    assert [(one.value, one.row, one.message_id) for one in direction.examples] == [
        ("in", 1, "m1"),
        ("in", 2, "m2"),
        ("IN", 3, None),
    ]
    assert not direction.more
    assert (found.messages, found.ok) == (5, False)


@pytest.mark.slow
def test_a_column_that_is_wrong_throughout() -> None:
    """It is counted up to a bound in each batch, and the other columns are looked at all the same."""
    found = check(*[{"message_time": "11/06/2026", "direction": "in"}] * 5000)
    counts = {problem.column: (problem.count, problem.more) for problem in found.problems}
    assert counts["direction"] == (5000, False)
    assert 2000 <= counts["message_time"][0] <= 5000
    assert counts["message_time"][1]


def test_rows_outside_of_the_range_may_be_wrong() -> None:
    """What is not exported breaks no rule on words, as in the export itself; a time must be one everywhere."""
    before = {"message_time": "2026-05-01T00:00:00Z", "direction": "in"}
    assert check(before, {}, date_range=JUNE).ok
    assert not check(before, {}).ok
    assert not check({"message_time": "2026-05"}, {}, date_range=JUNE).ok


def test_span_and_naive_times() -> None:
    """The first and the last time, and how many had no offset and were taken in the zone."""
    found = check(
        {"message_time": "2026-06-11 06:50:43"},
        {"message_time": datetime(2026, 6, 12)},  # noqa: DTZ001  # naive on purpose
        {"message_time": "2026-06-13T00:00:00Z"},
        timezone="Asia/Taipei",
    )
    assert (found.naive_times, found.timezone, found.ok) == (2, "Asia/Taipei", True)
    assert found.first_time == datetime(2026, 6, 10, 22, 50, 43, tzinfo=UTC)
    assert found.last_time == datetime(2026, 6, 13, tzinfo=UTC)


def test_torn_conversations() -> None:
    """How many come back, each once, and the names of the first."""
    order = ["a", "b", "a", "c", "b", "a", "d", "c", "d", "e"]
    found = check(*({"conversation_id": name} for name in order))
    assert (found.torn_conversations, found.torn_examples) == (4, ("a", "b", "c"))
    assert (found.conversations, found.conversations_in_range, found.messages, found.ok) == (5, 5, 10, False)
    assert check_source(sorted_rows(from_rows(rows(*({"conversation_id": name} for name in order))))).ok


def test_repeated_ids() -> None:
    """Within a conversation they are told, and no fault; another conversation may have the same."""
    found = check({"message_id": "x"}, {"message_id": "x"}, {"conversation_id": "c2", "message_id": "x"})
    assert (found.repeated_ids, found.ok) == (1, True)
    (example,) = found.repeated_examples
    assert (example.row, example.conversation_id, example.message_id) == (2, "c1", "x")


def test_repeated_ids_of_a_long_conversation() -> None:
    """Across the batches, too."""
    found = check_source(from_rows({**ROW, "message_id": str(at % 20_000)} for at in range(20_003)))
    assert (found.repeated_ids, found.conversations, found.ok) == (3, 1, True)


def test_long_cells() -> None:
    """A cell holds 32,767 characters of UTF-16; those with more are counted where they are exported."""
    texts = ["x" * 32_767, "é" * 32_767, "x" * 32_768, "😀" * 16_384, "😀" * 20_000]
    found = check(*({"message_text": text} for text in texts))
    assert (found.long_cells, found.longest_cell, found.ok) == (3, 40_000, True)
    outside = {"message_time": "2026-05-01T00:00:00Z"}
    export = export_conversations(
        from_rows(rows(*({"message_text": text} for text in texts))), channel=CHANNEL, date_range=JUNE
    )
    b"".join(export)
    assert export.report.long_cells == 3
    long = from_rows(rows(*[{}] * 20_000, *({"message_text": text} for text in texts)))
    export = export_conversations(long, channel=CHANNEL, date_range=JUNE)
    b"".join(export)
    assert export.report.long_cells == 3
    found = check(*({"message_text": text, **outside} for text in texts), date_range=JUNE)
    assert (found.long_cells, found.longest_cell) == (0, 0)


def test_columns_of_other_names() -> None:
    """Every missing column at once, what is called so but for case and separators, and a whole mapping."""
    header = 'Message-ID,conversationId,"Conversation ""Id""",Contact Name,Direction,message_time\n'
    found = check_source(open_source(io.BytesIO(header.encode()), format="csv"))
    assert found.missing_columns == ("message_id", "conversation_id", "direction", "speaker_type")
    assert found.similar_columns == {
        "message_id": ("Message-ID",),
        "conversation_id": ("conversationId", 'Conversation "Id"'),
        "contact_name": ("Contact Name",),
        "direction": ("Direction",),
    }
    assert found.suggested_map == {
        "message_id": '"Message-ID"',
        "conversation_id": '"conversationId"',
        "contact_name": '"Contact Name"',
        "direction": '"Direction"',
        "speaker_type": None,
    }
    assert not found.ok


def test_types_that_cannot_be() -> None:
    """All of them are told, as they end the reading."""
    table = pa.table({**{name: pa.array(["x"]) for name in ROW}, "message_id": [1.5], "direction": [1]})
    found = check_source(table)
    assert found.stopped is not None
    assert "'message_id' is double" in found.stopped
    assert "'direction' is int64" in found.stopped
    assert not found.ok


def test_lines_that_cannot_be_read() -> None:
    """Flat or nested, a line that is no JSON is told with its number, and the others are read."""
    flat = json.dumps(ROW)
    nested = '{"id": "c%d", "contact": {}, "messages": [{"id": "m", "time": "2026-06-11 10:00Z", %s}]}'
    words = '"direction": "inbound", "speaker_type": "bot"'
    for text, read in (
        ([flat, "{", flat, "[]"], 2),
        ([nested % (1, words), "{", nested % (2, words), nested % (3, '"x": 1')], 2),
    ):
        found = check_source(open_source(io.BytesIO("\n".join(text).encode()), format="jsonl"))
        assert found.messages == read
        assert sum(problem.count for problem in found.problems) == 2
        assert "line 2" in str(found.problems[0].examples[0].value)
        assert found.stopped is None
        assert not found.ok


def test_input_that_ends_in_the_middle() -> None:
    """What was read before is told, and why there is no more."""
    header = ",".join(ROW)
    text = f"{header}\n{','.join(ROW.values())}\nm2,c1\n"
    found = check_source(open_source(io.BytesIO(text.encode()), format="csv"))
    assert found.stopped is not None
    assert "has 2 cells" in found.stopped
    assert (found.messages, found.ok) == (1, False)


def test_conversations() -> None:
    """Objects are looked at like rows, those without messages too."""
    start = datetime(2026, 6, 11, tzinfo=UTC)
    message: Any = Message("m", start, "inbound", "customer")
    wrong: Any = Message("m", "noon", "inward", "customer")  # type: ignore[arg-type]  # wrong on purpose
    talks = [Conversation("a", Contact(), [message, wrong]), Conversation("b", Contact(), [], start)]
    talks.append(Conversation("c", Contact(), []))
    found = check_source(talks)
    assert {problem.column: problem.count for problem in found.problems} == {
        "created_at": 1,
        "message_time": 1,
        "direction": 1,
    }
    assert (found.messages, found.conversations) == (2, 3)


def test_options_are_the_export_s() -> None:
    """What cannot be an option is refused, and what the source itself raises arrives as it is."""
    with pytest.raises(OptionError, match="no option timezon"):
        check_source([], timezon="UTC")  # type: ignore[call-arg]  # wrong on purpose

    def broken() -> Iterator[dict[str, Any]]:
        yield ROW
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        check_source(from_rows(broken()))


def test_whole_conversations_of_one_id_are_all_told() -> None:
    """Those that follow each other are problems, each with where both stand."""
    made = [
        Conversation(id_, Contact("Jane"), [Message(f"m{n}", NOON, "inbound", "customer")])
        for n, id_ in enumerate(["a", "a", "b", "c", "c", "c"])
    ]
    found = check_source(made)
    (problem,) = found.problems
    assert (found.ok, problem.column, problem.count) == (False, "conversation_id", 3)
    assert [(e.value, e.conversation_id) for e in problem.examples] == [
        ("conversation number 1 and conversation number 2", "a"),
        ("conversation number 4 and conversation number 5", "c"),
        ("conversation number 5 and conversation number 6", "c"),
    ]
    assert check_source(sorted_rows(from_conversations(made))).ok


MAY, JULY = "2026-05-01T00:00:00Z", "2026-07-01T00:00:00Z"


@pytest.mark.parametrize("said", [(MAY, JULY, JULY), (None, MAY, MAY), (MAY, None, None)])
@pytest.mark.parametrize("range_by", ["message_time", "created_at"])
def test_rows_that_differ_in_creation_are_refused_by_every_road(tmp_path: Path, said: Any, range_by: Any) -> None:
    """The export names conversation, message, both rows and values; the look finds the same."""
    made = rows(*({"conversation_id": "c0", "created_at": MAY},), *({"created_at": created} for created in said))
    shown = [str(value).replace("Z", "+00:00") if value else "null" for value in said]
    for road in roads(made, tmp_path):
        with pytest.raises(RowError) as caught:
            list(export_conversations(road(), channel=CHANNEL, date_range=JUNE, range_by=range_by))
        # The first line of CSV is the header's; a row is a message there, too.
        assert str(caught.value).startswith(
            f"conversation 'c1', message 'm3', row 3, column 'created_at': is {shown[1]}, and {shown[0]} in row 2, of "
            "the same conversation; give all rows of a conversation the same ("
        )
        (problem,) = check_source(road(), date_range=JUNE, range_by=range_by).problems
        assert (problem.column, problem.rule) == ("created_at", "is not the same in all rows of a conversation")
        assert (problem.count, problem.examples[0].row, problem.examples[0].conversation_id) == (1, 3, "c1")


def test_a_creation_that_cannot_be_read_is_told_once() -> None:
    """The null that stands for it differs from its neighbours, and is no second problem; a true difference is."""
    found = check({"created_at": MAY}, {"created_at": "yesterday"}, {"created_at": MAY}, {"created_at": JULY})
    assert [(p.count, p.examples[0].row) for p in found.problems] == [(1, 2), (1, 4)]


def test_creations_of_a_long_conversation_are_told_once_each() -> None:
    """A difference between two groups of its rows is one, however many groups follow."""
    count = 60_000
    table = pa.table(
        {
            "message_id": [str(at) for at in range(count)],
            "conversation_id": ["long"] * count,
            "direction": ["inbound"] * count,
            "speaker_type": ["customer"] * count,
            "message_time": [NOON] * count,
            "created_at": [NOON] * 12_288 + [None] * 20_000 + [NOON] * (count - 32_288),
        }
    )
    (problem,) = check_source(table).problems
    assert (problem.count, [example.row for example in problem.examples]) == (2, [12_289, 32_289])


def test_mapped_csv_tells_all_bad_texts(tmp_path: Path) -> None:
    """As every other source: what is not UTF-8 is counted, and the other columns are looked at all the same."""
    line = b"m%d,c,in,customer,2026-06-11T06:50:43Z,%s\n"
    path = tmp_path / "a.csv"
    path.write_bytes(
        b"id,conversation_id,direction,speaker_type,message_time,body\n"
        + b"".join(line % (at, b"\xff" if at % 2 else b"x") for at in range(6))
    )
    found = check_source(read_mapped(path, columns={"message_id": "id", "message_text": "body"}, format="csv"))
    assert {(p.column, p.rule): p.count for p in found.problems} == {
        ("body", "is not UTF-8"): 3,
        ("direction", "is not one of inbound, outbound"): 6,
    }
    assert found.stopped is None
