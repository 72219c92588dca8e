"""Blocks of lines ahead of the one that is asked for: in order, bounded, and the same as one after the other."""

from __future__ import annotations

import io
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, date
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from export_engine import Channel, DateRange, Export, RowError, SourceError, export_conversations
from export_engine.sources import Source, SourceContext, jsonl_flat, jsonl_nested, read_flat_jsonl, read_nested_jsonl

pytestmark = pytest.mark.timeout(300)

MESSAGE = {"direction": "inbound", "speaker_type": "customer"}
TIME = "2026-06-11T06:50:43Z"


def nested(number: int, **changes: object) -> bytes:
    message = MESSAGE | {"id": f"m{number}", "time": TIME} | changes
    return json.dumps({"id": f"c{number}", "contact": {"name": "Jane"}, "messages": [message]}).encode() + b"\n"


def flat(number: int, **changes: object) -> bytes:
    row = MESSAGE | {"message_id": f"m{number}", "conversation_id": f"c{number}", "message_time": TIME} | changes
    return json.dumps(row).encode() + b"\n"


class Kind(NamedTuple):
    """A kind of JSON Lines, and the keys of a message's text and time in it."""

    read: Callable[[Any], Source]
    line: Callable[..., bytes]
    text: str
    time: str


KINDS = {
    "nested": Kind(read_nested_jsonl, nested, "text", "time"),
    "flat": Kind(read_flat_jsonl, flat, "message_text", "message_time"),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """Each kind, in blocks of a few lines, so that a small input has many."""
    for module in (jsonl_flat, jsonl_nested):
        monkeypatch.setattr(module, "_BLOCK", 1000)
    return KINDS[request.param]


def later() -> tuple[SourceContext, deque[object]]:
    """A context whose tasks are done when they are waited for, and those that were begun."""
    begun = deque[object]()

    def submit(task: Callable[..., Any], *arguments: object) -> Callable[[], Any]:
        begun.append(task)
        return partial(task, *arguments)

    return SourceContext(UTC, submit=submit), begun


def ids(batches: Iterator[pa.RecordBatch]) -> list[str]:
    return [row["message_id"] for batch in batches for row in batch.to_pylist()]


def export(source: Source, threads: int) -> Export:
    june = DateRange(date(2026, 6, 1), date(2026, 6, 30))
    return export_conversations(source, channel=Channel("SMS"), date_range=june, export_id="x", threads=threads)


def test_threads_never_show(kind: Kind) -> None:
    """Lines that take the careful road among many that do not: the same bytes and counts from any threads."""
    odd: dict[int, dict[str, object]] = {
        7: {kind.text: "\ud800"},
        90: {kind.time: "2026-06-11 06:50:43"},
        91: {kind.text: "\ud83d"},
    }
    data = b"".join(kind.line(number, **odd.get(number, {})) for number in range(200))
    made = []
    for threads in (1, 2, 4):
        one = export(kind.read(io.BytesIO(data)), threads)
        made.append((b"".join(one), one.report.rows, one.report.replaced_surrogates))
    assert made[0] == made[1] == made[2]
    assert made[0][1:] == (200, 2)


def test_what_is_read_twice_is_counted_once(kind: Kind) -> None:
    """A block with an odd line is read again by halves."""
    texts = {9: "\ud800"}
    lines = [kind.line(n, **{kind.time: "2026-06-11 06:50:43", kind.text: texts.get(n, "x")}) for n in range(30)]
    context, _ = later()
    assert len(ids(kind.read(io.BytesIO(b"".join(lines))).batches(context))) == len(lines)
    assert (context.naive_times, context.replaced_surrogates) == (len(lines), 1)


def test_few_blocks_are_ahead(kind: Kind) -> None:
    """Two besides the one that is asked for, however many there are; without another thread none."""
    data = b"".join(map(kind.line, range(200)))
    context, begun = later()
    batches = kind.read(io.BytesIO(data)).batches(context)
    next(batches)
    assert len(begun) == 3
    next(batches)
    assert len(begun) == 4
    batches.close()
    assert len(begun) == 4


class Breaking(io.BytesIO):
    """A file that breaks off."""

    def read(self, size: int | None = -1, /) -> bytes:
        """What there is, and an error at the end."""
        data = super().read(size)
        if not data:
            raise OSError(5, "Input/output error")
        return data


def test_what_is_wrong_comes_in_its_turn(kind: Kind) -> None:
    """A file that breaks off gives the blocks before that; a bad line in them is what is told, with its number."""
    lines = [kind.line(number) for number in range(30)]

    def batches() -> Iterator[pa.RecordBatch]:
        return kind.read(Breaking(b"".join(lines))).batches(later()[0])

    found: list[str] = []
    with pytest.raises(OSError, match="Input/output error"):
        found.extend(id_ for batch in batches() for id_ in batch["message_id"].to_pylist())
    assert len(found) > 20
    assert found == [f"m{number}" for number in range(len(found))]
    lines[12] = kind.line(12, **{kind.time: "never"})
    with pytest.raises(RowError) as refused:
        ids(batches())
    assert refused.value.row == 13
    lines[12] = b"{\n"
    with pytest.raises(SourceError, match="line 13 is not JSON"):
        ids(batches())


def test_a_closed_export_leaves_no_thread(kind: Kind) -> None:
    """An export that is abandoned with blocks ahead stops its threads."""
    data = b"".join(kind.line(number, **{kind.text: "x" * 500}) for number in range(3000))
    with export(kind.read(io.BytesIO(data)), 3) as abandoned:
        chunks = iter(abandoned)
        next(chunks)
        assert any(thread.name.startswith("export-engine") for thread in threading.enumerate())
    assert not any(thread.name.startswith("export-engine") for thread in threading.enumerate())
