"""How conversations are read out of a database: its connections, the pieces, memory, plans. SQLite and PostgreSQL."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from export_engine import ExportOptions
from export_engine.jobs.backends.sql import SqlConversations, _statement
from export_engine.schema import MAX_BATCH_BYTES
from export_engine.service.demo import DEMO_WORKSPACE
from tests.jobs.rows import (
    JUNE,
    SMS,
    WHATSAPP,
    checked_out,
    conversation,
    export,
    fill,
    many,
    message,
)


def test_the_connection_is_taken_when_reading_begins_and_given_back_at_the_end(source: SqlConversations) -> None:
    """An export that is made but not read holds none."""
    many(source, 1_000)
    batches = source.conversations(SMS, JUNE, ExportOptions())
    assert checked_out(source) == 0
    assert next(batches).num_rows
    assert checked_out(source) == 1
    assert sum(batch.num_rows for batch in batches) < 1_000
    assert checked_out(source) == 0


@pytest.mark.slow
def test_closing_early_gives_the_connection_back(source: SqlConversations) -> None:
    """Closing the batches, or an export that has them."""
    many(source, 10_000, "x" * 400)
    batches = source.conversations(SMS, JUNE, ExportOptions())
    next(batches)
    batches.close()
    assert checked_out(source) == 0
    chunks = iter(export(source.conversations(SMS, JUNE, ExportOptions())))
    assert next(chunks)
    assert checked_out(source) == 1
    chunks.close()  # type: ignore[attr-defined]  # it is a generator, and said to be an iterator
    assert checked_out(source) == 0


def test_an_error_gives_the_connection_back(source: SqlConversations) -> None:
    """Whoever raises it."""
    many(source, 1_000)
    with (
        pytest.raises(ZeroDivisionError),
        closing(source.conversations(SMS, JUNE, ExportOptions())) as batches,
    ):
        assert next(batches).num_rows / 0
    assert checked_out(source) == 0
    with source.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE message"))
    with pytest.raises(sa.exc.DBAPIError):
        list(source.conversations(SMS, JUNE, ExportOptions()))
    assert checked_out(source) == 0


def test_pieces_are_bounded_in_bytes(source: SqlConversations) -> None:
    """Fewer rows at a time where they are long."""
    many(source, 1_500, "x" * 20_000)
    sizes = [batch.nbytes for batch in source.conversations(SMS, JUNE, ExportOptions())]
    assert sum(sizes) > 1_500 * 20_000
    assert max(sizes) < 1.5 * MAX_BATCH_BYTES


FILLING = """
    WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {rows} - 1)
    INSERT INTO {table} {select} FROM n
"""


def fill_with_much(engine: sa.Engine) -> None:
    """300,000 messages in 3,000 conversations of one channel, and a single one in the other."""
    fill(engine, [conversation("c", channel_id=WHATSAPP.id)], [message("m", "c")])
    second = "1781000000000000 + {} * 1000000"
    if engine.dialect.name == "postgresql":
        second = "timestamptz '2026-06-09Z' + {} * interval '1 second'"
    talks = f"(id, channel_id, contact_name, created_at) SELECT 'c' || i, '{SMS.id}', 'Jane Doe', {second.format('i')}"
    said = (
        "(id, conversation_id, message_time, direction, speaker_type, message_text) "
        f"SELECT 'm' || i, 'c' || (i % 3000), {second.format('i')}, 'inbound', 'customer', '{'lorem ' * 30}' || i"
    )
    with engine.begin() as connection:
        connection.execute(sa.text(FILLING.format(rows=3_000, table="conversation", select=talks)))
        connection.execute(sa.text(FILLING.format(rows=300_000, table="message", select=said)))
        connection.execute(sa.text("ANALYZE"))


PROGRAM = """
import re, sys
from datetime import UTC, date
from export_engine import DateRange, ExportOptions, export_conversations
from export_engine.jobs.backends.sql import open_sql

def kib(field):
    return int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

date_range, options = DateRange(date(2026, 6, 1), date(2026, 6, 30)), ExportOptions(threads=1)
directory, source = open_sql(sys.argv[1])

def rows(channel_id):
    [channel] = directory.find(sys.argv[2], channel_id=channel_id)
    export = export_conversations(
        source.conversations(channel, date_range, options),
        channel=channel.channel, date_range=date_range, options=options)
    for _ in export:
        pass
    return export.report.rows

assert rows(sys.argv[3]) == 1
baseline = kib("VmRSS")
print(rows(sys.argv[4]), kib("VmHWM") - baseline)
"""


def plan(engine: sa.Engine, statement: sa.Select[Any]) -> str:
    """What the database would do, a line a step."""
    how = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN DECLARE plan NO SCROLL CURSOR FOR "

    def explained(_connection: Any, _cursor: Any, text: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        return how + text, parameters

    sa.event.listen(engine, "before_cursor_execute", explained, retval=True)
    try:
        with engine.connect() as connection:
            cursor = connection.execute(statement).cursor
            assert cursor is not None
            return "\n".join(str(step[-1]) for step in cursor.fetchall())
    finally:
        sa.event.remove(engine, "before_cursor_execute", explained)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_300_000_messages(source: SqlConversations, database_url: str) -> None:
    """At most 80 MiB more than for a single message; nothing is sorted but each conversation's own, along the indexes.

    Read without a server-side cursor or in one piece, they take 150 MiB and more.
    """
    fill_with_much(source.engine)
    steps = plan(source.engine, _statement(source.engine.dialect, [SMS.id], JUNE, ExportOptions()))
    assert "conversation_order" in steps
    assert "message_order" in steps
    if source.engine.dialect.name == "sqlite":
        assert "USE TEMP B-TREE FOR ORDER BY" not in steps
    else:
        assert re.findall(r"(\w*) ?Sort +\(cost", steps) == ["Incremental"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, database_url, DEMO_WORKSPACE, WHATSAPP.id, SMS.id],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[3],
        timeout=240,
    )
    rows, peak = map(int, done.stdout.split())
    assert rows == 300_000
    assert peak < 80 << 10
