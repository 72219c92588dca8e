"""What goes wrong, goes wrong cleanly: the caller's own exception, no archive, no file, no thread."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine import (
    ArchiveError,
    Channel,
    Contact,
    Conversation,
    DateRange,
    Export,
    GroupingError,
    Message,
    OptionError,
    RowError,
    StateError,
    export_conversations,
)
from tests import reference

CHANNEL = Channel("SMS Support", "+12025550123")
JUNE = DateRange(date(2026, 6, 1), date(2026, 6, 30))
START = datetime(2026, 6, 1, tzinfo=UTC)


class OwnError(Exception):
    """An error of the caller's."""


def export(source: object, **options: object) -> Export:
    return export_conversations(source, channel=CHANNEL, date_range=JUNE, **options)  # type: ignore[arg-type]  # many kinds of option


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("export-engine")]


def failing(at: int, rows: int = 700) -> Iterator[Conversation]:
    """Conversations whose message number `at` cannot be read."""
    count = 0

    def talk(conversation: Conversation) -> Iterator[Message]:
        nonlocal count
        for message in conversation.messages:
            if count == at:
                raise OwnError
            count += 1
            yield message

    for conversation in reference.some(100, START, rows=rows):
        yield Conversation(conversation.id, conversation.contact, talk(conversation), conversation.created_at)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 69_999), st.sampled_from([1, 2, 7]))
def test_a_source_that_raises_at_any_row(at: int, threads: int) -> None:
    """Its exception arrives as it is; what was handed out is no archive; no thread is left."""
    taken: list[bytes] = []
    made = export(failing(at), threads=threads)
    with pytest.raises(OwnError):
        taken.extend(made)
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(b"".join(taken)))
    with pytest.raises(StateError):
        _ = made.report
    assert not workers()


def chunks_of(threads: int) -> int:
    return sum(1 for _ in export(reference.some(100, START, rows=700), threads=threads))


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_a_consumer_that_stops_at_any_chunk(threads: int, taken: int) -> None:
    """Closing the iterator stops the workers and closes the source."""
    closed: list[bool] = []

    def source() -> Iterator[Conversation]:
        try:
            yield from reference.some(100, START, rows=700)
        finally:
            closed.append(True)

    chunks = iter(export(source(), threads=threads))
    for _ in range(taken):
        next(chunks)
    chunks.close()  # type: ignore[attr-defined]  # it is a generator
    assert not workers()
    assert closed == ([True] if taken else [])


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_a_listener_that_raises(at: int, tmp_path: Path) -> None:
    """A callback's exception ends the export like any other."""
    seen = 0

    def listener(_: object) -> None:
        nonlocal seen
        seen += 1
        if seen > at:
            raise OwnError

    for members in (True, False):
        seen = 0
        made = export(reference.some(100, START, rows=700), on_progress=None if members else listener)
        if members:
            made.listen(listener)
        with pytest.raises(OwnError):
            made.write_to(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not workers()


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 5_000, 69_999])
def test_a_failed_export_leaves_no_file(at: int, tmp_path: Path) -> None:
    """Neither the archive, nor its manifest, nor a part of them."""
    with pytest.raises(OwnError):
        export(failing(at)).write_to(tmp_path / "out.zip", manifest=tmp_path / "manifest.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    """Overwriting happens at the end or not at all."""
    target = tmp_path / "out.zip"
    target.write_bytes(b"before")
    with pytest.raises(OwnError):
        export(failing(50)).write_to(target, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out.zip"]
    assert target.read_bytes() == b"before"


def test_a_file_that_is_there_is_not_overwritten_unasked(tmp_path: Path) -> None:
    """Also when it comes while the export runs."""
    target = tmp_path / "out.zip"
    target.write_bytes(b"before")
    with pytest.raises(ArchiveError, match="exists already"):
        export([]).write_to(target)
    late = tmp_path / "late.zip"

    def source() -> Iterator[Conversation]:
        late.write_bytes(b"late")
        yield from reference.some(3, START)

    with pytest.raises(ArchiveError, match="exists already"):
        export(source()).write_to(late)
    assert late.read_bytes() == b"late"
    export([]).write_to(target, overwrite=True)
    assert zipfile.ZipFile(target).namelist() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["late.zip", "out.zip"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk's own error arrives, and nothing stays."""
    opened = Path.open

    def full(self: Path, *args: object, **kwargs: object) -> object:
        if self.name.endswith(".part"):
            self.touch()
            return opened(Path("/dev/full"), "wb")
        return opened(self, *args, **kwargs)  # type: ignore[call-overload]  # passed on as it came

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left") as caught:
        export(reference.some(100, START, rows=700)).write_to(tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []
    assert not workers()


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    """After SIGKILL only a hidden `.part` file can be there."""
    program = f"""
import os, sys
from tests.test_faults import *
def source():
    for number, conversation in enumerate(reference.some(1000, START, rows=700)):
        if number == 300: os.kill(os.getpid(), 9)
        yield conversation
export(source()).write_to({str(tmp_path)!r})
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent.parent, check=False)
    assert done.returncode == -9
    assert all(path.name.startswith(".") and path.name.endswith(".part") for path in tmp_path.iterdir())


@pytest.mark.slow
def test_the_first_bytes_leave_before_the_source_is_a_tenth_read() -> None:
    """Reading and writing alternate: the source is never far ahead of what was handed out."""
    text = "All work and no play. " * 180
    for threads in (1, 2):
        events: list[str] = []

        def source(events: list[str] = events) -> Iterator[Conversation]:
            for number in range(60_000):  # 240 MB
                events.append("row")
                message = Message(f"m{number}", START, "inbound", "customer", text)
                yield Conversation(f"c{number}", Contact("Jane"), [message])

        for _ in export(source(), threads=threads):
            events.append("chunk")  # noqa: PERF401  # the order of two writers is the point
        runs = [len(run) for run in "".join("r" if event == "row" else " " for event in events).split()]
        assert max(runs) < 6_000


def test_an_export_is_used_once() -> None:
    """The second time is an error, not an empty archive."""
    made = export([])
    with pytest.raises(StateError, match="iterated to its end"):
        _ = made.report
    b"".join(made)
    with pytest.raises(StateError, match="can be used once"):
        iter(made)
    with pytest.raises(StateError, match="before the first chunk"):
        made.listen(print)


@pytest.mark.parametrize("field", ["name", "phone", "id"])
@pytest.mark.parametrize("value", [12025550123, b"Desk", 1.5])
def test_what_is_no_text(field: str, value: object) -> None:
    """A number or bytes for what is in names: refused at once, before anything is read."""
    with pytest.raises(OptionError, match=rf"channel\.{field} is .*: it must be text, or None") as caught:
        export_conversations([], channel=Channel(**{field: value}), date_range=JUNE)  # type: ignore[arg-type]  # wrong
    assert caught.value.option == "channel"


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": "../etc/passwd"}, "timezone"),
        ({"threads": 0}, "threads"),
        ({"compression": "lzma"}, "compression"),
        ({"spool_limit": -1}, "spool_limit"),
        ({"range_by": "sent"}, "range_by"),
        ({"export_id": "a/b"}, "export_id"),
        ({"export_id": 5}, "export_id"),
        ({"options": {"threads": 1}}, "options"),
        ({"name_budget": 256}, "name_budget"),
    ],
)
def test_an_option_that_cannot_work(options: dict[str, object], option: str) -> None:
    """It is refused at once, by name."""
    with pytest.raises(OptionError) as caught:
        export([], **options)
    assert caught.value.option == option


def test_a_date_range_that_ends_before_it_starts() -> None:
    """Refused where it is made."""
    with pytest.raises(OptionError, match="before"):
        DateRange(date(2026, 6, 2), date(2026, 6, 1))


def test_a_source_that_is_a_path() -> None:
    """A string is no iterable of conversations: the advice names the reader."""
    with pytest.raises(OptionError, match="open_source"):
        export("chats.jsonl")


def conversation(id_: str, **changes: object) -> Conversation:
    talk = {"id": f"{id_}-m", "time": START, "direction": "inbound", "speaker_type": "customer"} | changes
    return Conversation(id_, Contact("Jane"), [Message(**talk)])  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("changes", "column", "words"),
    [
        ({"direction": "sideways"}, "direction", "inbound, outbound"),
        ({"speaker_type": "robot"}, "speaker_type", "bot, agent, customer"),
        ({"sender_account": "agent@example.com"}, "sender_account", "set it to null"),
    ],
)
def test_a_value_that_breaks_a_rule(changes: dict[str, object], column: str, words: str) -> None:
    """The error names conversation, message, row, column and value, and says how to mend it."""
    source = [
        conversation("a"),
        conversation("out", time=datetime(2020, 1, 1, tzinfo=UTC)),
        conversation("b", **changes),
    ]
    with pytest.raises(RowError, match=words) as caught:
        b"".join(export(source))
    error = caught.value
    assert (error.conversation_id, error.message_id, error.row, error.column) == ("b", "b-m", 3, column)
    assert error.value == changes[column]
    for part in ("'b'", "'b-m'", "row 3", column, str(changes[column])):
        assert part in str(error)


@pytest.mark.parametrize("between", [1, 3000])
def test_a_conversation_that_comes_back(between: int) -> None:
    """It is named, and the advice is to sort; near by or batches later."""
    source = [conversation("a"), *(conversation(f"x{i}") for i in range(between)), conversation("a")]
    with pytest.raises(GroupingError, match="ORDER BY") as caught:
        b"".join(export(source))
    assert caught.value.conversation_id == "a"


def test_a_lone_surrogate_is_replaced_and_counted_or_refused() -> None:
    """U+FFFD in its place; `strict` names where it stood."""
    made = export([conversation("a", text="x\ud800y\udc00")])
    data = b"".join(made)
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert "x\ufffdy\ufffd" in opened.read(opened.namelist()[0]).decode()
    assert made.report.replaced_surrogates == 2
    with pytest.raises(RowError) as caught:
        b"".join(export([conversation("a", text="x\ud800y")], strict=True))
    assert (caught.value.conversation_id, caught.value.message_id, caught.value.column) == ("a", "a-m", "message_text")


@pytest.mark.slow
def test_no_environment_is_needed(tmp_path: Path) -> None:
    """An export works with an empty environment and an unwritable home."""
    program = "from tests.test_faults import *; print(len(b''.join(export(reference.some(3, START)))))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"HOME": str(tmp_path / "none"), "PATH": os.environ["PATH"]},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        check=True,
    )
    assert int(done.stdout) > 500
