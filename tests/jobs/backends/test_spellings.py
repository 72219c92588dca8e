"""Directory and requests agree on ids and phone numbers, however files and tables write them; with every directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from export_engine import ExportOptions
from export_engine.jobs.backends.files import open_files
from export_engine.jobs.backends.query import open_query
from export_engine.jobs.backends.sql import open_sql
from export_engine.jobs.backends.strays import strays_of_tables
from export_engine.jobs.identifiers import stored_uuid, uuid_spellings
from export_engine.jobs.ports import ChannelPlace
from tests.jobs.rows import JUNE, NUMBER, SMS, export, read_back

WORKSPACE = SMS.workspace_id
MIXED = SMS.id.replace("b2c3", "B2c3")
CONVERSATION = "0a0b0c0d-0000-4000-8000-000000000001"
SPELLINGS = [*uuid_spellings(SMS.id)]

PLAIN = """
CREATE TABLE channel (id {type} PRIMARY KEY, workspace_id {type}, type TEXT, name TEXT, phone_number TEXT);
CREATE TABLE conversation (id {type}, channel_id {type}, contact_name TEXT, contact_phone TEXT, created_at {time});
CREATE TABLE message (id {type}, conversation_id {type}, message_time {time}, direction TEXT, speaker_type TEXT,
    speaker_name TEXT, message_text TEXT, media_url TEXT, status TEXT, sender_account TEXT);
"""
QUERY = """
SELECT CAST(m.id AS TEXT) AS message_id, CAST(c.id AS TEXT) AS conversation_id, m.direction, m.speaker_type,
    '2026-06-11T00:00:00Z' AS message_time
FROM message m JOIN conversation c ON c.id = m.conversation_id WHERE c.channel_id = :channel_id ORDER BY c.id
"""


def made(url: str, rows: dict[str, list[dict[str, Any]]], of: str = "TEXT") -> str:
    """A database as others make theirs: tables without this package's checks and keys."""
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    time = "TIMESTAMPTZ" if engine.dialect.name == "postgresql" else "INTEGER"
    moment = "2026-06-11T00:00:00Z" if time == "TIMESTAMPTZ" else 1_781_136_000_000_000
    with engine.begin() as connection:
        for statement in PLAIN.format(type=of, time=time).split(";")[:-1]:
            connection.execute(sa.text(statement))
        for table, listed in rows.items():
            for row in listed:
                values = {name: moment if value == "NOW" else value for name, value in row.items()}
                names = ", ".join(values)
                given = ", ".join(f":{name}" for name in values)
                connection.execute(
                    sa.text(f"INSERT INTO {table} ({names}) VALUES ({given})").bindparams(  # noqa: S608  # ours
                        *(sa.bindparam(name, value, type_=sa.types.NULLTYPE) for name, value in values.items())
                    )
                )
    engine.dispose()
    return url


def tables(
    channel_id: str, of_conversation: str | None = None, number: str = NUMBER
) -> dict[str, list[dict[str, Any]]]:
    """A channel with one conversation of one message, its ids as they are given."""
    workspace = WORKSPACE.upper() if channel_id.isupper() else WORKSPACE
    channel = {"id": channel_id, "workspace_id": workspace, "type": "LOCAL", "name": "SMS", "phone_number": number}
    message = {"id": CONVERSATION, "conversation_id": CONVERSATION, "message_time": "NOW", "direction": "inbound"}
    return {
        "channel": [channel],
        "conversation": [{"id": CONVERSATION, "channel_id": of_conversation or channel_id, "created_at": "NOW"}],
        "message": [message | {"speaker_type": "customer"}],
    }


def test_what_the_spellings_are() -> None:
    """Each is known for the same; what is none is left as it is."""
    assert {stored_uuid(spelling) for spelling in (*SPELLINGS, MIXED)} == {SMS.id}
    assert len(SPELLINGS) == 4
    for text in ("", "b2c3", f"{{{SMS.id}}}", SMS.id + "\n", SMS.id.replace("-", "", 1), "ı" * 32):
        assert stored_uuid(text) is None
        assert uuid_spellings(text) == (text,)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("opened", ["tables", "query"])
def test_tables_that_write_ids_in_another_way(database_url: str, spelling: str, opened: str) -> None:
    """Found by the request's id, from the request's workspace, with all its conversations; the id is the usual one."""
    made(database_url, tables(spelling))
    directory, source = open_sql(database_url) if opened == "tables" else open_query(database_url, QUERY)
    for asked in ({"channel_id": SMS.id}, {"phone_number": NUMBER}):
        [channel] = directory.find(WORKSPACE, **asked)
        assert (channel.id, channel.workspace_id) == (SMS.id, WORKSPACE)
    assert directory.page(WORKSPACE, limit=2) == [channel]
    assert directory.page(WORKSPACE, limit=2, after=ChannelPlace("SMS", SMS.id)) == []
    assert directory.page(WORKSPACE, limit=2, after=ChannelPlace("SMS", SMS.id[:-1] + "1")) == [channel]
    assert directory.find(WORKSPACE, channel_id=SMS.id[:-1] + "3") == []
    given = source.conversations(channel, JUNE, ExportOptions())
    assert len(read_back(b"".join(export(given, channel=channel)))) == 1
    directory.engine.dispose()
    if opened == "tables":
        source.engine.dispose()  # type: ignore[union-attr]  # an SqlConversations


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_tables_that_do_not_agree_with_each_other(database_url: str, spelling: str) -> None:
    """Conversations are found by the channel's id in whatever way they write it, by the index and in order."""
    made(database_url, tables(SMS.id, spelling))
    directory, source = open_sql(database_url)
    given = source.conversations(SMS, JUNE, ExportOptions())
    assert len(read_back(b"".join(export(given)))) == 1
    source.engine.dispose()
    directory.engine.dispose()


@pytest.mark.parametrize("opened", ["tables", "query"])
def test_columns_of_postgresqls_own_type(postgresql_url: str, opened: str) -> None:
    """`uuid`, as most have it: no error about types, and the index is of use."""
    made(postgresql_url, tables(SMS.id), of="UUID")
    directory, source = open_sql(postgresql_url) if opened == "tables" else open_query(postgresql_url, QUERY)
    [channel] = directory.find(WORKSPACE, channel_id=SMS.id)
    assert (channel.id, channel.workspace_id, UUID(channel.id).version) == (SMS.id, WORKSPACE, UUID(SMS.id).version)
    assert directory.page(WORKSPACE, limit=2) == [channel]
    assert directory.page(WORKSPACE, limit=2, after=ChannelPlace("SMS", SMS.id)) == []
    given = source.conversations(channel, JUNE, ExportOptions())
    [[row]] = read_back(b"".join(export(given, channel=channel)))
    assert (row["message_id"], row["conversation_id"]) == (CONVERSATION, CONVERSATION)
    if opened == "tables":
        assert [strays.count for strays in strays_of_tables(directory.engine)] == [0, 0, 0, 0]
        source.engine.dispose()  # type: ignore[union-attr]  # an SqlConversations
    directory.engine.dispose()


@pytest.fixture
def postgresql_url(request: pytest.FixtureRequest) -> str:
    """An empty database of PostgreSQL's."""
    from tests.jobs.postgres import fresh_database  # noqa: PLC0415  # a server is started for those who ask alone

    return fresh_database(request.getfixturevalue("postgresql"))


def in_files(folder: Path, **channel: str) -> Any:
    """The directory of a folder with one channel."""
    row = {"id": SMS.id, "workspace_id": WORKSPACE, "type": "LOCAL", "name": "SMS", "phone_number": NUMBER}
    (folder / "channels.jsonl").write_text(json.dumps(row | channel), "utf-8")
    return open_files(folder)


@pytest.mark.parametrize("spelling", [*SPELLINGS, MIXED])
def test_files_that_write_ids_in_another_way(tmp_path: Path, spelling: str) -> None:
    """In `channels.jsonl`, its workspaces, and the names of the files beside it."""
    workspace = WORKSPACE.upper() if spelling.isupper() else WORKSPACE.replace("-", "")
    directory, source = in_files(tmp_path, id=spelling, workspace_id=workspace)
    (tmp_path / "conversations").mkdir()
    message = {"message_id": "m", "conversation_id": "c", "direction": "inbound", "speaker_type": "customer"}
    text = json.dumps(message | {"message_time": "2026-06-11T00:00:00Z"})
    (tmp_path / "conversations" / f"{spelling}.jsonl").write_text(text)
    [channel] = directory.find(WORKSPACE, channel_id=SMS.id)
    assert channel.id == SMS.id
    assert len(read_back(b"".join(export(source.conversations(channel, JUNE, ExportOptions()))))) == 1


NUMBERS = [
    ("+5215512345678", "+525512345678"),
    ("+525512345678", "+5215512345678"),
    ("+5531987654321", "+553187654321"),
]


@pytest.mark.parametrize(("there", "asked"), NUMBERS)
def test_numbers_that_are_written_in_two_ways(
    database_url: str, tmp_path_factory: pytest.TempPathFactory, there: str, asked: str
) -> None:
    """A channel is found by either, in tables and files alike; by no other number that ends as it does."""
    made(database_url, tables(SMS.id, number=there))
    finders: list[Callable[..., list[Any]]] = []
    directory, source = open_sql(database_url)
    finders += [directory.find, in_files(tmp_path_factory.mktemp("files"), phone_number=there)[0].find]
    for find in finders:
        assert [channel.phone_number for channel in find(WORKSPACE, phone_number=asked)] == [there]
        assert find(WORKSPACE, phone_number="+120255501" + asked[-2:]) == []
        assert find(WORKSPACE, phone_number="%") == find(WORKSPACE, phone_number="\0") == []
    directory.engine.dispose()
    source.engine.dispose()
