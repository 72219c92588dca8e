"""Rows sorted out of core: the order, what is there twice, whose errors arrive, and that nothing is left behind."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine import OptionError, RowError
from export_engine.schema import ROW_SCHEMA
from export_engine.sources import SourceContext
from export_engine.sources.sorting import sorted_rows
from export_engine.sources.tables import from_arrow
from tests.exports import bytes_in, until

ROOT = Path(__file__).parents[2]
EPOCH = datetime(2026, 6, 1, tzinfo=UTC)

IDS = st.text(min_size=1, max_size=3).filter(lambda text: text.encode("utf-8", "replace").decode() == text)
ROWS = st.lists(
    st.tuples(
        st.sampled_from("ab") | IDS,
        st.integers(0, 3),
        st.sampled_from("xyz") | IDS,
        st.none() | st.text("pq", max_size=2),
    ),
    max_size=40,
)

Row = tuple[str, int, str, str | None]


def table(rows: list[Row]) -> pa.Table:
    conversations, times, messages, texts = zip(*rows, strict=True) if rows else ((), (), (), ())
    given: dict[str, pa.Array] = {
        "conversation_id": pa.array(conversations, pa.string()),
        "message_time": pa.array([EPOCH + timedelta(seconds=t) for t in times], pa.timestamp("us", "UTC")),
        "message_id": pa.array(messages, pa.string()),
        "message_text": pa.array(texts, pa.string()),
        "direction": pa.array(["inbound"] * len(rows), pa.string()),
        "speaker_type": pa.array(["customer"] * len(rows), pa.string()),
    }
    return pa.table([given.get(f.name, pa.nulls(len(rows), f.type)) for f in ROW_SCHEMA], schema=ROW_SCHEMA)


def read(source: Any, **options: Any) -> list[Row]:
    """The rows that come out, as they were put in."""
    batches = list(sorted_rows(source, **options).batches(SourceContext(UTC)))
    assert all(batch.schema.equals(ROW_SCHEMA) for batch in batches)
    return [
        (
            row["conversation_id"],
            int((row["message_time"] - EPOCH).total_seconds()),
            row["message_id"],
            row["message_text"],
        )
        for batch in batches
        for row in batch.to_pylist()
    ]


def order(row: Row) -> tuple[bytes, int, bytes, bool, bytes]:
    """The promised order: ids bytewise, then the text, nulls last."""
    return row[0].encode(), row[1], row[2].encode(), row[3] is None, (row[3] or "").encode()


@pytest.mark.slow
@settings(deadline=None)  # each example opens a database
@given(ROWS, st.randoms())
def test_rows_are_ordered_by_bytes_and_time(rows: list[Row], random: Any) -> None:
    """However they were shuffled, the same rows come out in the same order, and all of them."""
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert read(from_arrow(table(shuffled))) == sorted(rows, key=order)


@pytest.mark.slow
@settings(deadline=None)  # as above
@given(ROWS, st.integers(1, 7))
def test_repeated_rows_are_one_and_others_are_refused(rows: list[Row], size: int) -> None:
    """Rows alike are kept once; an id with two contents in a conversation is an error that names it."""
    found = from_arrow(table(rows * 2).to_reader(size)) if rows else from_arrow(table(rows))
    distinct = set(rows)
    keys = [(row[0], row[2]) for row in distinct]
    doubled = {key for key in keys if keys.count(key) > 1}
    if doubled:
        with pytest.raises(RowError, match="is there twice, with different contents") as caught:
            read(found, dedupe=True)
        assert (caught.value.conversation_id, caught.value.message_id) in doubled
    else:
        assert read(found, dedupe=True) == sorted(distinct, key=order)


@pytest.mark.slow
def test_a_long_conversation_is_checked_across_batches() -> None:
    """Ids are remembered from one batch to the next, and forgotten with their conversation."""
    rows: list[Row] = [("a", n, f"m{n}", None) for n in range(30_000)]
    again: list[Row] = [("b", n, f"m{n}", None) for n in range(30_000)]
    assert len(read(from_arrow(table(rows + again)), dedupe=True)) == 60_000
    with pytest.raises(RowError, match="'m7' is there twice"):
        read(from_arrow(table([*rows, ("a", 29_999, "m7", None)])), dedupe=True)


class OwnError(Exception):
    """The source's own."""


def test_the_source_s_error_arrives_as_it_was_raised() -> None:
    """Not as what DuckDB makes of it."""

    def failing() -> Iterator[pa.RecordBatch]:
        yield from table([("a", 1, "m", None)]).to_batches()
        raise OwnError("mine")

    with pytest.raises(OwnError, match="mine"):
        read(from_arrow(failing()))
    broken = table([("a", 1, "m", None)]).set_column(7, "message_time", pa.array(["noon"]))
    with pytest.raises(RowError, match="noon"):
        read(from_arrow(broken))


def test_the_source_is_read_in_the_caller_s_thread() -> None:
    """A cursor that belongs to this thread works."""
    database = sqlite3.connect(":memory:")
    batches = table([("b", 1, "m", None), ("a", 1, "m", None)]).to_batches()

    def rows() -> Iterator[pa.RecordBatch]:
        for _ in range(20):
            database.execute("SELECT 1").fetchall()
            yield from batches

    assert len(read(from_arrow(rows()))) == 40
    database.close()


@pytest.mark.parametrize(
    ("options", "option"),
    [({"memory_limit": "much"}, "memory_limit"), ({"spill_folder": "/no/such/folder"}, "spill_folder")],
)
def test_options_that_cannot_work(options: dict[str, Any], option: str) -> None:
    """The error names the option."""
    with pytest.raises(OptionError) as caught:
        read(from_arrow(table([])), **options)
    assert caught.value.option == option


@pytest.mark.slow
def test_the_spill_folder_is_removed(tmp_path: Path) -> None:
    """At the end, when the batches are closed early, and on an error."""
    source = from_arrow(table([("a", n, f"m{n}", None) for n in range(20_000)]))
    assert len(read(source, spill_folder=tmp_path)) == 20_000
    batches = sorted_rows(source, spill_folder=tmp_path).batches(SourceContext(UTC))
    next(batches)
    assert len(list(tmp_path.iterdir())) == 1
    batches.close()
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys
from datetime import UTC
import numpy as np, pyarrow as pa
from export_engine.schema import ROW_SCHEMA
from export_engine.sources import SourceContext
from export_engine.sources.sorting import sorted_rows
from export_engine.sources.tables import from_arrow

def rows():
    for number in range(100_000):
        n = 10_000
        noise = np.random.default_rng(number).bytes(n * 32).hex()
        given = {name: pa.array([noise[i * 64 : i * 64 + 64] for i in range(n)])
                 for name in ("conversation_id", "message_id", "message_text")}
        given |= {"direction": pa.array(["inbound"] * n), "speaker_type": pa.array(["bot"] * n),
                  "message_time": pa.array(np.arange(n), pa.timestamp("us", "UTC"))}
        arrays = [given.get(f.name, pa.nulls(n, f.type)) for f in ROW_SCHEMA]
        yield pa.RecordBatch.from_arrays(arrays, schema=ROW_SCHEMA)

next(sorted_rows(from_arrow(rows()), memory_limit="50MB", spill_folder=sys.argv[1]).batches(SourceContext(UTC)))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_killed_process_leaves_nothing(tmp_path: Path) -> None:
    """What it had spilled is gone soon after SIGKILL."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path], cwd=ROOT)
    try:
        until(lambda: process.poll() is not None or bytes_in(tmp_path))
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    until(lambda: not list(tmp_path.iterdir()))


MANY = """
import resource, sys
from datetime import UTC
import numpy as np, pyarrow as pa
from export_engine.schema import ROW_SCHEMA
from export_engine.sources import SourceContext
from export_engine.sources.sorting import sorted_rows
from export_engine.sources.tables import from_arrow

ROWS, CONVERSATIONS = int(sys.argv[2]), int(sys.argv[3])

def rows():
    for start in range(0, ROWS, 10_000):
        at = np.arange(start, min(start + 10_000, ROWS))
        given = {
            "conversation_id": pa.array([f"c{n:08d}" for n in at * 7919 % CONVERSATIONS]),
            "message_id": pa.array([f"m{n:09d}" for n in at]),
            "message_text": pa.array([f"text {n * 31 % 1000003} " * 4 for n in at]),
            "direction": pa.array(["inbound"] * len(at)),
            "speaker_type": pa.array(["bot"] * len(at)),
            "message_time": pa.array(at * 1000, pa.timestamp("us", "UTC")),
        }
        arrays = [given.get(f.name, pa.nulls(len(at), f.type)) for f in ROW_SCHEMA]
        yield pa.RecordBatch.from_arrays(arrays, schema=ROW_SCHEMA)

count, last = 0, ""
source = sorted_rows(from_arrow(rows()), memory_limit=sys.argv[4], spill_folder=sys.argv[1])
for batch in source.batches(SourceContext(UTC)):
    ids = batch.column("conversation_id").to_pylist()
    assert last <= ids[0] and ids == sorted(ids)
    count, last = count + batch.num_rows, ids[-1]
assert count == ROWS
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.scale
@pytest.mark.timeout(3600)
@pytest.mark.skipif(os.name != "posix", reason="memory of POSIX")
@pytest.mark.parametrize(
    ("rows", "conversations", "limit", "most"),
    [(4_000_000, 200_000, "256MB", 600), (10_000_000, 500_000, "200MB", 600)],
)
def test_many_rows_are_sorted_in_little_memory(
    rows: int, conversations: int, limit: str, most: int, tmp_path: Path
) -> None:
    """Interleaved rows, in MiB of the whole process; nothing is left in the spill folder."""
    arguments = [tmp_path, rows, conversations, limit]
    done = subprocess.run(
        [sys.executable, "-c", MANY, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) / 1024 < most
    assert list(tmp_path.iterdir()) == []
