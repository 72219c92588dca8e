"""The documented schema, views in its place, and what is refused: on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from export_engine import ExportOptions, OptionError, RowError, SourceError
from export_engine.jobs.backends import sql_schema
from export_engine.jobs.backends.sql import SqlConversations, SqlDirectory, open_sql
from export_engine.jobs.backends.sql_schema import CONVERSATION, SCHEMA
from export_engine.service.demo import DEMO_WORKSPACE
from tests.jobs.rows import (
    JUNE,
    SMS,
    checked_out,
    conversation,
    export,
    fill,
    many,
    message,
)


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
    assert sum(batch.num_rows for batch in read.conversations(SMS, JUNE, ExportOptions())) == 20
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
        ("message", "message_text", b"A\xff", "b'A\\xff' (bytes) is not text"),
        ("conversation", "created_at", "noon", "'noon' (str) is not an integer, the microseconds since"),
    ],
)
def test_a_value_of_the_wrong_type(loose: SqlConversations, table: str, column: str, value: object, told: str) -> None:
    """Is named with its place, and the connection given back."""
    fill(loose.engine, [conversation("c"), conversation("d")], [message("m1", "c"), message("m2", "d")])
    loose_table = sa.table(table, sa.column("id"), sa.column(column))
    change = loose_table.update().where(loose_table.c.id == ("d" if table == "conversation" else "m2"))
    # Text that is not UTF-8 is put in as SQLite's tools do.
    stored = sa.text(f"CAST(x'{value.hex()}' AS TEXT)") if isinstance(value, bytes) else value
    with loose.engine.begin() as connection:
        connection.execute(change.values({column: stored}))
    with pytest.raises(RowError) as caught:
        b"".join(export(loose.conversations(SMS, JUNE, ExportOptions())))
    assert str(caught.value).startswith(f"conversation 'd', message 'm2', row 2, column '{column}': {told}")
    assert (caught.value.row, caught.value.column, caught.value.value) == (2, column, value)
    assert checked_out(loose) == 0
