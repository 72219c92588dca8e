"""A look before the export: everything that is wrong, at once."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from export_engine import (
    Contact,
    Conversation,
    Message,
    OptionError,
    RowError,
    check_source,
    export_conversations,
    open_source,
)
from export_engine.sources import from_conversations, from_rows, read_mapped, sorted_rows
from tests.checking import CHANNEL, JUNE, NOON, ROW, check, roads, rows


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
