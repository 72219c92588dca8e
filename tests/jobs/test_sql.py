"""Channels and conversations out of real databases: SQLite and PostgreSQL."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from export_engine import DateRange, Export, OptionError, RowError, SourceError, export_conversations
from export_engine.jobs import sql_schema
from export_engine.jobs.files import open_files
from export_engine.jobs.parts import WorkspaceChannel
from export_engine.jobs.sql import SqlConversations, SqlDirectory, _statement, open_sql
from export_engine.jobs.sql_schema import CHANNEL, CONVERSATION, MESSAGE, SCHEMA, create_schema
from export_engine.schema import COLUMN_NAMES
from export_engine.service.demo import DEMO_CHANNELS, DEMO_WORKSPACE, write_demo
from export_engine.sources import MAX_BYTES
from tests.reference import COLUMNS

WHATSAPP, SMS = (WorkspaceChannel(**channel) for channel in DEMO_CHANNELS)
NUMBER = "+12025550123"
JUNE = DateRange(date(2026, 6, 1), date(2026, 6, 30))
NOON = datetime(2026, 6, 11, 12, tzinfo=UTC)


@pytest.fixture
def source(database_url: str) -> Iterator[SqlConversations]:
    """A database of each kind, with the schema and the demo's two channels."""
    made = sa.create_engine(database_url.replace("postgresql:", "postgresql+psycopg:"))
    create_schema(made)
    with made.begin() as connection:
        connection.execute(CHANNEL.insert(), DEMO_CHANNELS)
    made.dispose()
    _, conversations = open_sql(database_url)
    yield conversations
    conversations.engine.dispose()


@pytest.fixture
def directory(source: SqlConversations) -> SqlDirectory:
    """The channels of the same database."""
    return SqlDirectory(source.engine)


def fill(engine: sa.Engine, conversations: list[dict[str, Any]], messages: list[dict[str, Any]]) -> None:
    """Put these rows in place of all there are."""
    with engine.begin() as connection:
        connection.execute(MESSAGE.delete())
        connection.execute(CONVERSATION.delete())
        if conversations:
            connection.execute(CONVERSATION.insert(), conversations)
        if messages:
            connection.execute(MESSAGE.insert(), messages)


def conversation(identifier: str, **more: Any) -> dict[str, Any]:
    """A row of `conversation`."""
    row = {"id": identifier, "channel_id": SMS.id, "contact_name": "Jane Doe", "contact_phone": None}
    return {**row, "created_at": NOON, **more}


def message(identifier: str, of: str, **more: Any) -> dict[str, Any]:
    """A row of `message`."""
    row = {"id": identifier, "conversation_id": of, "message_time": NOON, "direction": "inbound"}
    texts = dict.fromkeys(("speaker_name", "message_text", "media_url", "status", "sender_account"))
    return {**row, "speaker_type": "customer", **texts, **more}


def export(given: Any, days: DateRange = JUNE, zone: tzinfo = UTC, channel: WorkspaceChannel = SMS) -> Export:
    """An export of what a source gave."""
    return export_conversations(
        given, channel=channel.channel, date_range=days, zone=zone, export_id="0", compression="store", threads=1
    )


def read_back(archive: bytes) -> list[list[dict[str, str]]]:
    """The rows of each CSV, by the standard library; nulls are empty."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        texts = [io.StringIO(opened.read(name).decode(), newline="") for name in opened.namelist()]
    return [list(csv.DictReader(text, strict=True)) for text in texts]


# --- directory -----------------------------------------------------------------------------------------------------


def test_a_channel_by_its_id(directory: SqlDirectory) -> None:
    """The one with that id."""
    assert directory.find(DEMO_WORKSPACE, channel_id=SMS.id) == [SMS]


def test_channels_by_their_number(directory: SqlDirectory) -> None:
    """All that share it, by id."""
    assert directory.find(DEMO_WORKSPACE, phone_number=NUMBER) == [WHATSAPP, SMS]


@pytest.mark.parametrize("workspace", ["another", "", f"{DEMO_WORKSPACE}\0", "\ud800"])
def test_a_channel_is_not_found_from_another_workspace(directory: SqlDirectory, workspace: str) -> None:
    """Neither by id nor by number, also where no workspace can have that id."""
    assert directory.find(workspace, channel_id=SMS.id) == []
    assert directory.find(workspace, phone_number=NUMBER) == []


def test_an_unknown_channel(directory: SqlDirectory) -> None:
    """No channel, no error."""
    assert directory.find(DEMO_WORKSPACE, channel_id="00000000-0000-0000-0000-000000000000") == []
    assert directory.find(DEMO_WORKSPACE, phone_number="+12025550199") == []


# --- conversations -------------------------------------------------------------------------------------------------

# Changes of clocks about midnight, a day that is left out, and ends of the calendar.
RANGES = [
    (DateRange(date(2026, 6, 1), date(2026, 6, 30)), ZoneInfo("UTC")),
    (DateRange(date(2026, 3, 8), date(2026, 3, 8)), ZoneInfo("America/Havana")),
    (DateRange(date(2026, 11, 1), date(2026, 11, 1)), ZoneInfo("America/Havana")),
    (DateRange(date(2005, 10, 29), date(2005, 10, 29)), ZoneInfo("America/St_Johns")),
    (DateRange(date(2005, 10, 30), date(2005, 10, 30)), ZoneInfo("America/St_Johns")),
    (DateRange(date(2011, 12, 29), date(2011, 12, 29)), ZoneInfo("Pacific/Apia")),
    (DateRange(date(2011, 12, 30), date(2011, 12, 30)), ZoneInfo("Pacific/Apia")),
    (DateRange(date(2026, 6, 1), date(2026, 6, 2)), ZoneInfo("Asia/Kathmandu")),
    (DateRange(date(2026, 6, 1), date.max), ZoneInfo("Pacific/Kiritimati")),
    (DateRange(date.min, date(2026, 6, 1)), ZoneInfo("Pacific/Niue")),
]
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
MAYBE = st.none() | TEXT
IDS = st.lists(TEXT.filter(bool), min_size=1, max_size=6, unique=True)


@st.composite
def rows(draw: st.DrawFn) -> tuple[DateRange, tzinfo, list[dict[str, Any]], list[dict[str, Any]]]:
    """A range and rows, many of them near its ends."""
    days, zone = draw(st.sampled_from(RANGES))
    near = [
        datetime.combine(day, datetime.min.time(), UTC) for day in (days.start, days.end) if date.min < day < date.max
    ]
    moments = st.builds(
        lambda base, hours, us: base + timedelta(hours=hours, microseconds=us),
        st.sampled_from(near),
        st.integers(-40, 60) | st.sampled_from([-1, 0, 24]),
        st.integers(-2, 2) | st.integers(0, 3_600_000_000),
    )
    conversations = [
        conversation(
            identifier,
            channel_id=draw(st.sampled_from([SMS.id, SMS.id, WHATSAPP.id])),
            contact_name=draw(MAYBE),
            contact_phone=draw(MAYBE),
            created_at=draw(moments),
        )
        for identifier in draw(IDS)
    ]
    messages = []
    for number in range(draw(st.integers(0, 12))):
        speaker = draw(st.sampled_from(["bot", "agent", "customer"]))
        messages.append(
            message(
                f"{draw(TEXT)}{number}",
                draw(st.sampled_from(conversations))["id"],
                message_time=draw(moments),
                direction=draw(st.sampled_from(["inbound", "outbound"])),
                speaker_type=speaker,
                speaker_name=draw(MAYBE),
                message_text=draw(MAYBE),
                media_url=draw(st.none() | st.just("https://example.com/a,https://example.com/b%2Cc")),
                status=draw(MAYBE),
                sender_account=draw(MAYBE) if speaker == "agent" else draw(st.sampled_from([None, ""])),
            )
        )
    return days, zone, conversations, messages


def expected(
    days: DateRange, zone: tzinfo, conversations: list[dict[str, Any]], messages: list[dict[str, Any]]
) -> list[list[dict[str, str]]]:
    """What the archive has to hold, worked out a row at a time."""
    csvs = []
    for talk in sorted(conversations, key=lambda c: (c["created_at"], c["id"].encode())):
        said = [m for m in messages if m["conversation_id"] == talk["id"] and talk["channel_id"] == SMS.id]
        lines = []
        for one in sorted(said, key=lambda m: (m["message_time"], m["id"].encode())):
            local = one["message_time"].astimezone(zone)
            if not days.start <= local.date() <= days.end:
                continue
            speaker = one["speaker_name"]
            if speaker is None and one["speaker_type"] == "customer":
                speaker = talk["contact_name"]
            time = local.isoformat(timespec="microseconds")
            line = {**talk, **one, "message_id": one["id"], "speaker_name": speaker}
            line["message_time"] = time.replace("+00:00", "Z")
            lines.append({name: line[name] or "" for name in COLUMN_NAMES})
        if lines:
            csvs.append(lines)
    return csvs


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example empties the tables first
)
@given(rows())
def test_what_is_in_the_database_comes_out_of_the_archive(
    source: SqlConversations, given: tuple[DateRange, tzinfo, list[dict[str, Any]], list[dict[str, Any]]]
) -> None:
    """Every message of the channel that shows one of the days, and no other, in order and with all its values."""
    days, zone, conversations, messages = given
    fill(source.engine, conversations, messages)
    archive = b"".join(export(source.conversations(SMS, days, zone), days, zone))
    assert read_back(archive) == expected(*given)


@pytest.mark.parametrize(("days", "zone"), RANGES[1:8], ids=str)
def test_days_are_those_that_the_zones_clocks_show(source: SqlConversations, days: DateRange, zone: tzinfo) -> None:
    """Also where clocks change about midnight: nothing that shows the day is left out, at any five minutes."""
    first = datetime.combine(days.start, datetime.min.time(), UTC) - timedelta(days=2)
    times = [first + timedelta(minutes=5 * n, seconds=30) for n in range(5 * 288)]
    given = [conversation("c")], [message(f"m{n:04}", "c", message_time=time) for n, time in enumerate(times)]
    fill(source.engine, *given)
    archive = b"".join(export(source.conversations(SMS, days, zone), days, zone))
    assert read_back(archive) == expected(days, zone, *given)


def test_only_the_range_is_read(source: SqlConversations) -> None:
    """The database leaves out what lies outside, to the microsecond."""
    times = [datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)]
    near = [time + timedelta(microseconds=us) for time in times for us in (-1, 0)]
    fill(source.engine, [conversation("c")], [message(f"m{n}", "c", message_time=t) for n, t in enumerate(near)])
    batches = list(source.conversations(SMS, JUNE, UTC))
    assert [id_ for batch in batches for id_ in batch["message_id"].to_pylist()] == ["m1", "m2"]


def test_a_channel_without_messages_in_the_range(source: SqlConversations) -> None:
    """Is a valid export of nothing."""
    fill(source.engine, [conversation("c")], [message("m", "c", message_time=NOON - timedelta(days=90))])
    assert read_back(b"".join(export(source.conversations(SMS, JUNE, UTC)))) == []


def test_null_and_empty_text_stay_distinct(source: SqlConversations) -> None:
    """As they do everywhere in the format."""
    fill(source.engine, [conversation("c")], [message("m", "c", message_text="")])
    archive = b"".join(export(source.conversations(SMS, JUNE, UTC)))
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        header, row, _ = opened.read(opened.namelist()[0]).decode().split("\r\n")
    assert header == COLUMNS
    assert row == ('"m","c","Jane Doe",,"inbound","customer","Jane Doe","2026-06-11T12:00:00.000000Z","",,,')


def flat(document: dict[str, Any]) -> list[dict[str, Any]]:
    """A line of nested JSON Lines as rows of a table: the twelve columns and `created_at`."""
    contact = document["contact"]
    return [
        {
            "message_id": one["id"],
            "conversation_id": document["id"],
            "contact_name": contact["name"],
            "contact_phone": contact["phone"],
            "direction": one["direction"],
            "speaker_type": one["speaker_type"],
            "speaker_name": contact["name"] if one["speaker_type"] == "customer" else one["speaker_name"],
            "message_time": datetime.fromisoformat(one["time"]),
            "message_text": one["text"],
            "media_url": ",".join(url.replace(",", "%2C") for url in one["media_urls"]) or None,
            "status": one["status"],
            "sender_account": one["sender_account"],
            "created_at": datetime.fromisoformat(document["created_at"]),
        }
        for one in document["messages"]
    ]


@pytest.mark.parametrize("channel", [WHATSAPP, SMS], ids=lambda channel: channel.name)
def test_the_archive_is_the_same_from_files_and_from_a_database(
    source: SqlConversations, tmp_path: Path, channel: WorkspaceChannel
) -> None:
    """To the byte: nested JSON Lines, Parquet and SQL with the same conversations."""
    days = DateRange(date(2026, 2, 1), date(2026, 6, 10))
    write_demo(tmp_path)
    nested = tmp_path / "conversations" / f"{channel.id}.jsonl"
    talks = [flat(json.loads(line)) for line in nested.read_text("utf-8").splitlines()]
    fill(
        source.engine,
        [{"id": talk[0]["conversation_id"], "channel_id": channel.id, **talk[0]} for talk in talks],
        [{"id": row["message_id"], **row} for talk in talks for row in talk],
    )
    _, files = open_files(tmp_path)
    archives = [
        b"".join(export(conversations.conversations(channel, days, UTC), days, channel=channel))
        for conversations in (source, files)
    ]
    pq.write_table(pa.Table.from_pylist([row for talk in talks for row in talk]), nested.with_suffix(".parquet"))
    nested.unlink()
    archives.append(b"".join(export(files.conversations(channel, days, UTC), days, channel=channel)))
    assert len(read_back(archives[0])) == len(talks)
    assert archives[0] == archives[1]
    assert archives[0] == archives[2]


# --- connections, memory, plans ------------------------------------------------------------------------------------


def checked_out(source: SqlConversations) -> int:
    """How many connections are in use."""
    pool = source.engine.pool
    assert isinstance(pool, sa.QueuePool)
    return pool.checkedout()


def many(source: SqlConversations, count: int, text: str = "") -> None:
    """That many messages, ten a conversation."""
    said = [message(f"{n:06}", f"c{n // 10:05}", message_text=text) for n in range(count)]
    fill(source.engine, [conversation(f"c{n:05}") for n in range(count // 10)], said)


def test_the_connection_is_taken_when_reading_begins_and_given_back_at_the_end(source: SqlConversations) -> None:
    """An export that is made but not read holds none."""
    many(source, 1_000)
    batches = source.conversations(SMS, JUNE, UTC)
    assert checked_out(source) == 0
    assert next(batches).num_rows
    assert checked_out(source) == 1
    assert sum(batch.num_rows for batch in batches) < 1_000
    assert checked_out(source) == 0


def test_closing_early_gives_the_connection_back(source: SqlConversations) -> None:
    """Closing the batches, or an export that has them."""
    many(source, 10_000, "x" * 400)
    batches = source.conversations(SMS, JUNE, UTC)
    next(batches)
    batches.close()
    assert checked_out(source) == 0
    chunks = iter(export(source.conversations(SMS, JUNE, UTC)))
    assert next(chunks)
    assert checked_out(source) == 1
    chunks.close()  # type: ignore[attr-defined]  # it is a generator, and said to be an iterator
    assert checked_out(source) == 0


def test_an_error_gives_the_connection_back(source: SqlConversations) -> None:
    """Whoever raises it."""
    many(source, 1_000)
    with (
        pytest.raises(ZeroDivisionError),
        closing(source.conversations(SMS, JUNE, UTC)) as batches,
    ):
        assert next(batches).num_rows / 0
    assert checked_out(source) == 0
    with source.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE message"))
    with pytest.raises(sa.exc.DBAPIError):
        list(source.conversations(SMS, JUNE, UTC))
    assert checked_out(source) == 0


def test_pieces_are_bounded_in_bytes(source: SqlConversations) -> None:
    """Fewer rows at a time where they are long."""
    many(source, 1_500, "x" * 20_000)
    sizes = [batch.nbytes for batch in source.conversations(SMS, JUNE, UTC)]
    assert sum(sizes) > 1_500 * 20_000
    assert max(sizes) < 1.5 * MAX_BYTES


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
from export_engine import DateRange, export_conversations
from export_engine.jobs.sql import open_sql

def kib(field):
    return int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

days = DateRange(date(2026, 6, 1), date(2026, 6, 30))
directory, source = open_sql(sys.argv[1])

def rows(channel_id):
    [channel] = directory.find(sys.argv[2], channel_id=channel_id)
    export = export_conversations(
        source.conversations(channel, days, UTC), channel=channel.channel, date_range=days, threads=1)
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


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_300_000_messages(source: SqlConversations, database_url: str) -> None:
    """At most 80 MiB more than for a single message; nothing is sorted but each conversation's own, along the indexes.

    Read without a server-side cursor or in one piece, they take 150 MiB and more.
    """
    fill_with_much(source.engine)
    steps = plan(source.engine, _statement(source.engine.dialect, SMS.id, JUNE, UTC))
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
        cwd=Path(__file__).parent.parent.parent,
        timeout=120,
    )
    rows, peak = map(int, done.stdout.split())
    assert rows == 300_000
    assert peak < 80 << 10


# --- schema and opening --------------------------------------------------------------------------------------------


def test_the_documented_schema_is_the_one_that_is_made() -> None:
    """The module's description shows PostgreSQL's statements."""
    documented = [line[4:] for line in str(sql_schema.__doc__).splitlines() if line.startswith("    ")]
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
    made: list[sa.DDLElement] = [CreateTable(table) for table in SCHEMA.sorted_tables]
    made += [CreateIndex(index) for table in SCHEMA.sorted_tables for index in table.indexes]
    statements = [" ".join(str(one.compile(dialect=dialect)).split()) for one in made]
    assert " ".join(" ".join(documented).split()).replace("( ", "(").replace(" )", ")") == " ".join(
        f"{statement};".replace("( ", "(").replace(" )", ")") for statement in statements
    )


def test_views_do_as_well_as_tables(source: SqlConversations, directory: SqlDirectory, database_url: str) -> None:
    """What counts are names and columns."""
    many(source, 20)
    with source.engine.begin() as connection:
        for table in SCHEMA.sorted_tables:
            connection.execute(sa.text(f"ALTER TABLE {table.name} RENAME TO kept_{table.name}"))
        for table in SCHEMA.sorted_tables:
            kept = sa.table(f"kept_{table.name}", *(sa.column(column.name) for column in table.columns))
            view = sa.select(kept, sa.literal_column("1").label("more")).compile(source.engine)
            connection.execute(sa.text(f"CREATE VIEW {table.name} AS {view}"))
    views, read = open_sql(database_url)
    assert views.find(DEMO_WORKSPACE, channel_id=SMS.id) == directory.find(DEMO_WORKSPACE, channel_id=SMS.id) == [SMS]
    assert sum(batch.num_rows for batch in read.conversations(SMS, JUNE, UTC)) == 20
    read.engine.dispose()


def test_moments_come_back_as_they_went(source: SqlConversations) -> None:
    """In UTC, to the microsecond, from both databases; naive ones are refused."""
    moment = datetime(2026, 6, 11, 6, 50, 43, 861185, tzinfo=ZoneInfo("Asia/Taipei"))
    fill(source.engine, [conversation("c", created_at=moment)], [])
    with source.engine.connect() as connection:
        assert connection.scalar(sa.select(CONVERSATION.c.created_at)) == moment
    with pytest.raises(sa.exc.StatementError, match="give it one"):
        fill(source.engine, [conversation("c", created_at=moment.replace(tzinfo=None))], [])


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("channel", "id", SMS.id.upper()),
        ("channel", "phone_number", "12025550123"),
        ("message", "direction", "sideways"),
        ("message", "speaker_type", "parrot"),
        ("message", "sender_account", "somebody@example.com"),
    ],
)
def test_the_schema_holds_the_rules(source: SqlConversations, table: str, column: str, value: str) -> None:
    """What no export could carry does not get in."""
    fill(source.engine, [conversation("c")], [message("m", "c")])
    change = SCHEMA.tables[table].update().values({column: value})
    with pytest.raises(sa.exc.IntegrityError), source.engine.begin() as connection:
        connection.execute(change)


def test_a_database_without_the_tables(source: SqlConversations, database_url: str) -> None:
    """Says what is missing, and how to get it."""
    SCHEMA.drop_all(source.engine)
    with pytest.raises(SourceError, match="has no channel, conversation, message: make the tables with"):
        open_sql(database_url)


def test_a_table_without_a_column(source: SqlConversations, database_url: str) -> None:
    """Says which."""
    with source.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE message DROP COLUMN status"))
    with pytest.raises(SourceError, match=r"has no message\.status: make"):
        open_sql(database_url)


@pytest.mark.parametrize("url", ["conversations.db", "mysql://127.0.0.1/name", "duckdb:///file.db"])
def test_a_url_that_cannot_be_used(url: str) -> None:
    """Says what to give, and nothing of what was given: it may hold a password."""
    with pytest.raises(OptionError, match="give sqlite:///path") as caught:
        open_sql(url)
    assert url not in str(caught.value)


def test_an_sqlite_file_that_is_not_there(tmp_path: Path) -> None:
    """Is an error; SQLite would make an empty one."""
    with pytest.raises(FileNotFoundError):
        open_sql(f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def loose(tmp_path: Path) -> Iterator[SqlConversations]:
    """An SQLite database with tables of its own making, which take any value."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/loose.db")
    with engine.begin() as connection:
        for table in SCHEMA.sorted_tables:
            connection.execute(sa.text(f"CREATE TABLE {table.name} ({', '.join(table.columns.keys())})"))
    _, conversations = open_sql(str(engine.url))
    engine.dispose()
    yield conversations
    conversations.engine.dispose()


def test_text_for_a_moment(loose: SqlConversations) -> None:
    """SQLite finds it in no range, so it is refused as the database is opened."""
    with loose.engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO message (message_time) VALUES ('2026-06-11T12:00:00Z')"))
    with pytest.raises(SourceError, match=r"has text in message\.message_time: it must be an integer"):
        open_sql(str(loose.engine.url))


@pytest.mark.parametrize(
    ("table", "column", "value", "told"),
    [
        ("message", "message_text", 5, "5 (int) is not text"),
        ("conversation", "contact_name", 1.5, "1.5 (float) is not text"),
        ("conversation", "created_at", "noon", "'noon' (str) is not an integer, the microseconds since"),
    ],
)
def test_a_value_of_the_wrong_type(loose: SqlConversations, table: str, column: str, value: object, told: str) -> None:
    """Is named with its place, and the connection given back."""
    fill(loose.engine, [conversation("c"), conversation("d")], [message("m1", "c"), message("m2", "d")])
    loose_table = sa.table(table, sa.column("id"), sa.column(column))
    change = loose_table.update().where(loose_table.c.id == ("d" if table == "conversation" else "m2"))
    with loose.engine.begin() as connection:
        connection.execute(change.values({column: value}))
    with pytest.raises(RowError) as caught:
        b"".join(export(loose.conversations(SMS, JUNE, UTC)))
    assert str(caught.value).startswith(f"conversation 'd', message 'm2', row 2, column '{column}': {told}")
    assert (caught.value.row, caught.value.column, caught.value.value) == (2, column, value)
    assert checked_out(loose) == 0
