"""Conversations that a query finds in a database with tables of its own."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import date
from io import BytesIO
from zipfile import ZipFile

import pytest
import sqlalchemy as sa

from export_engine import DateRange, ExportOptions, OptionError, SourceError, export_conversations
from export_engine.jobs.backends.query import QueryConversations, open_query
from export_engine.jobs.backends.sql import SqlDirectory
from export_engine.jobs.backends.sql_schema import CHANNEL
from export_engine.service.demo import DEMO_CHANNELS, DEMO_WORKSPACE
from tests.jobs.rows import JUNE, SMS, WHATSAPP

QUERY = """
    -- The head may say something; 12:30 is no parameter.
    SELECT m.id AS message_id, m.talk AS conversation_id, 'inbound' AS direction, 'customer' AS speaker_type,
        m.sent AS message_time, m.body AS message_text, t.began AS created_at
    FROM msg m JOIN talk t ON t.id = m.talk
    WHERE t.line = :channel_id AND m.sent >= :start AND m.sent < :end
    ORDER BY m.talk, m.sent;
"""
UNBOUND = QUERY.replace("AND m.sent >= :start AND m.sent < :end", "").replace(", t.began AS created_at", "")


@pytest.fixture
def url(database_url: str) -> Iterator[str]:
    """A database with a table `channel` and two of somebody's own."""
    engine = sa.create_engine(database_url.replace("postgresql:", "postgresql+psycopg:"))
    moment = "timestamptz" if engine.dialect.name == "postgresql" else "text"
    CHANNEL.create(engine)
    with engine.begin() as connection:
        connection.execute(CHANNEL.insert(), DEMO_CHANNELS)
        connection.execute(sa.text(f"CREATE TABLE talk (id integer, line text, began {moment})"))
        connection.execute(sa.text(f"CREATE TABLE msg (id integer, talk integer, sent {moment}, body text)"))
        talks = [{"id": 1, "line": SMS.id}, {"id": 2, "line": WHATSAPP.id}]
        connection.execute(sa.text("INSERT INTO talk VALUES (:id, :line, '2026-05-01T08:00:00Z')"), talks)
        sent = ["2026-05-31T23:59:59Z", "2026-06-01T00:00:00Z", "2026-06-30T23:59:59Z", "2026-07-01T00:00:00Z"]
        messages = [{"id": at, "talk": talk, "sent": time} for talk in (1, 2) for at, time in enumerate(sent)]
        connection.execute(sa.text("INSERT INTO msg VALUES (:id, :talk, :sent, 'text')"), messages)
    yield database_url
    engine.dispose()


def exported(source: QueryConversations, date_range: DateRange = JUNE) -> list[tuple[str, int]]:
    """The names of the CSVs of the channel's export, and how many lines each has."""
    options = ExportOptions()
    conversations = source.conversations(SMS, date_range, options)
    made = export_conversations(
        conversations, channel=SMS.channel, date_range=date_range, options=options, export_id="x"
    )
    with ZipFile(BytesIO(b"".join(made))) as archive:
        return [(name, archive.read(name).count(b"\n")) for name in archive.namelist()]


def opened(url: str, query: str) -> tuple[SqlDirectory, QueryConversations]:
    directory, source = open_query(url, query)
    directory.engine.dispose()
    return directory, source


def test_the_query_s_rows_of_the_channel_and_range(url: str) -> None:
    """Named after when the conversation was created, which lies before the range."""
    directory, source = opened(url, QUERY)
    assert directory.find(DEMO_WORKSPACE, channel_id=SMS.id) == [SMS]
    directory.engine.dispose()
    assert exported(source) == [("Unknown contact--2026-05-01_080000--SMS Support (+12025550123).csv", 3)]
    assert exported(source, DateRange(date(2027, 1, 1), date(2027, 1, 2))) == []


def test_a_query_may_leave_the_range_to_the_export(url: str) -> None:
    """It then needs no `created_at`: the first message of all is seen."""
    _, source = opened(url, UNBOUND)
    assert exported(source) == [("Unknown contact--2026-05-31_235959--SMS Support (+12025550123).csv", 3)]


def test_it_pickles(url: str) -> None:
    """To be handed to another process."""
    _, source = opened(url, QUERY)
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301  # ours
    assert exported(copy) == exported(source)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (QUERY.replace(":channel_id", "'x'"), "no :channel_id"),
        (QUERY.replace("'customer'", ":customer"), "has :customer; there are"),
        (QUERY.replace(", t.began AS created_at", ""), "filters by time and has no column created_at"),
        (UNBOUND.replace("m.id AS message_id,", ""), "'message_id' is missing"),
    ],
)
def test_a_query_that_cannot_do_is_refused_at_once(query: str, says: str, url: str) -> None:
    """Before there is a job."""
    with pytest.raises(OptionError, match=says) as caught:
        open_query(url, query)
    assert caught.value.option == "query"


def test_a_query_that_fails_is_told_at_once(url: str) -> None:
    """In the database's words."""
    with pytest.raises(SourceError, match="nowhere"):
        open_query(url, QUERY.replace("msg m", "nowhere m"))
