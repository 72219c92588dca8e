"""Rows out of databases: the same archive as from files, in bounded memory, read only, and no secret told."""

from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pymysql
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export_engine import Channel, DateRange, OptionError, RowError, SchemaError, SourceError, export_conversations
from export_engine.sources import Source, SourceContext, from_arrow, read_database
from tests.cli.command import FLAT, JUNE, NAME, run
from tests.exports import until
from tests.jobs.postgres import fresh_database

ROW = "'m-1' AS message_id, 'c-1' AS conversation_id, 'inbound' AS direction, 'customer' AS speaker_type"
TIMED = f"{ROW}, '2026-06-01T10:00:00Z' AS message_time"
SECRET = "swordfish-1"  # noqa: S105  # of nothing
#: Written so that more than one piece is fetched.
MANY = """
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
    SELECT i AS message_id, i - i % 7 AS conversation_id, 'inbound' AS direction, 'customer' AS speaker_type,
        '2026-06-01T10:00:00Z' AS message_time FROM n ORDER BY i
"""


def rows(source: Source, zone: tzinfo = UTC) -> list[dict[str, Any]]:
    return [row for batch in source.batches(SourceContext(zone)) for row in batch.to_pylist()]


def one(url: str, query: str, parameters: dict[str, Any] | None = None, zone: tzinfo = UTC) -> dict[str, Any]:
    (row,) = rows(read_database(url, query, parameters), zone)
    return row


def rows_of_june() -> pa.Table:
    """The fixture's rows, but for NUL, which PostgreSQL's text cannot hold."""
    table = pq.read_table(FLAT)
    texts = pc.replace_substring(table["message_text"], "\0", "NUL")
    return table.set_column(table.schema.get_field_index("message_text"), "message_text", texts)


def filled(url: str) -> None:
    """Put the fixture's rows into a table, as text; lists are JSON."""
    engine = sa.create_engine(url_of(sa.make_url(url)))
    table = rows_of_june()
    long = sa.Text(2**24) if engine.dialect.name == "mysql" else sa.Text()
    metadata = sa.MetaData()
    columns = [sa.Column("place", sa.Integer), *(sa.Column(name, long) for name in table.schema.names)]
    made = sa.Table("rows_of_june", metadata, *columns)
    values = [{name: _text(v) for name, v in row.items()} | {"place": at} for at, row in enumerate(table.to_pylist())]
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(made.insert(), values)
    engine.dispose()


def url_of(place: sa.URL) -> sa.URL:
    """The URL with its driver."""
    drivers = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "sqlite": "sqlite"}
    return place.set(drivername=drivers[place.drivername])


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(value) if isinstance(value, list) else value


@pytest.mark.slow
def test_a_database_gives_what_the_file_gives(any_database: str) -> None:
    """Byte for byte, whatever the database."""
    filled(any_database)
    columns = ", ".join(pq.read_schema(FLAT).names)
    source = read_database(any_database, f"SELECT {columns} FROM rows_of_june ORDER BY place")  # noqa: S608  # ours
    june = DateRange(date(2026, 6, 1), date(2026, 6, 30))
    made = [
        b"".join(export_conversations(each, channel=Channel("SMS Support"), date_range=june, export_id="x"))
        for each in (from_arrow(rows_of_june()), source)
    ]
    assert made[0] == made[1]


@pytest.mark.slow
def test_many_rows_come_in_bounded_pieces(any_database: str) -> None:
    """All of them, in order, by their numbers."""
    query = MANY
    if any_database.startswith("mysql"):  # which stops recursion after 1000
        query = "WITH n AS (SELECT seq AS i FROM seq_1_to_20000) SELECT i AS" + MANY.partition("SELECT i AS")[2]  # noqa: S608  # ours
    batches = list(read_database(any_database, query).batches(SourceContext(UTC)))
    assert len(batches) > 4
    assert max(batch.num_rows for batch in batches) <= 4096
    found = [value for batch in batches for value in batch.column("message_id").to_pylist()]
    assert found == [str(number) for number in range(1, 20001)]


@pytest.mark.parametrize(
    ("value", "column", "text"),
    [
        ("'6F9619FF-8B86-D011-B42D-00CF4FC964FF'::uuid", "message_id", "6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
        ("1029384756102938475::bigint", "message_id", "1029384756102938475"),
        ("12345678901234567890123::numeric", "message_id", "12345678901234567890123"),
        ("12.00::numeric", "message_id", "12"),
        ("7::smallint", "conversation_id", "7"),
        ("'inbound'::varchar(9)", "direction", "inbound"),
        ("ARRAY['https://x/1', 'https://x/2,3']", "media_url", "https://x/1,https://x/2%2C3"),
        ("'{}'::text[]", "media_url", None),
        ("""'["https://x/1", "https://x/2"]'::jsonb""", "media_url", "https://x/1,https://x/2"),
        ("""'{"a": 1}'::json""", "message_text", '{"a": 1}'),
        ("'2026-06-01 12:00:00.123456+02'::timestamptz", "message_time", datetime(2026, 6, 1, 10, 0, 0, 123456, UTC)),
        ("'2026-06-01 10:00:00'::timestamp", "message_time", datetime(2026, 6, 1, 8, tzinfo=UTC)),
        ("'2026-06-01T10:00:00Z'", "message_time", datetime(2026, 6, 1, 10, tzinfo=UTC)),
        ("'1880-01-01 00:00:00'::timestamptz", "message_time", datetime(1879, 12, 31, 23, 6, 32, tzinfo=UTC)),
    ],
)
def test_types_of_postgresql(value: str, column: str, text: Any, cluster: str) -> None:
    """Each becomes what the columns have; a time without a zone is in the export's, and so is the session."""
    columns = dict(part.split(" AS ")[::-1] for part in TIMED.split(", ")) | {column: value}
    query = "SELECT " + ", ".join(f"{value} AS {name}" for name, value in columns.items())
    assert one(cluster, query, zone=ZoneInfo("Europe/Berlin"))[column] == text


@pytest.mark.parametrize(
    "zone",
    [
        UTC,
        ZoneInfo("Asia/Kathmandu"),
        ZoneInfo("UTC"),
        timezone(timedelta(hours=-3, minutes=-30)),
        timezone(timedelta()),
    ],
)
def test_the_session_is_in_the_export_s_zone(zone: tzinfo, any_database: str) -> None:
    """So that a time without one is the same moment, whoever makes it one."""
    if any_database.startswith("sqlite"):
        pytest.skip("SQLite has neither zones nor moments")
    if any_database.startswith("mysql") and isinstance(zone, ZoneInfo):
        pytest.skip("MariaDB knows names once mysql.time_zone_name is filled")
    moment = "'2026-06-01 10:00:00'::timestamptz" if "postgres" in any_database else "FROM_UNIXTIME(1780308000)"
    expected = (
        datetime(2026, 6, 1, 10, tzinfo=zone) if "postgres" in any_database else datetime(2026, 6, 1, 10, tzinfo=UTC)
    )
    assert one(any_database, f"SELECT {ROW}, {moment} AS message_time", zone=zone)["message_time"] == expected


def test_times_that_are_none_are_named_with_their_row(cluster: str) -> None:
    """Those of PostgreSQL's that no calendar has."""
    query = f"SELECT {ROW}, unnest(ARRAY['2026-06-01', 'infinity']::timestamptz[]) AS message_time"
    with pytest.raises(RowError, match="infinity") as caught:
        rows(read_database(cluster, query))
    assert (caught.value.row, caught.value.column, caught.value.message_id) == (2, "message_time", "m-1")


@pytest.mark.slow
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
def test_a_parameter_stays_a_value(text: str, any_database: str) -> None:
    """Whatever stands in it: quotes, percent signs, names of parameters, statements."""
    cast = ":x" if "postgres" not in any_database else "CAST(:x AS text)"
    assert one(any_database, f"SELECT {TIMED}, {cast} AS message_text", {"x": text})["message_text"] == text


def test_a_parameter_may_be_a_list(cluster: str) -> None:
    """An array of PostgreSQL's."""
    query = f"SELECT {TIMED}, unnest(CAST(:wanted AS text[])) AS message_text"
    assert [row["message_text"] for row in rows(read_database(cluster, query, {"wanted": ["a", "c"]}))] == ["a", "c"]


def test_a_query_may_hold_what_looks_like_parameters(any_database: str) -> None:
    """Percent signs, times, and a colon that is escaped."""
    query = rf"SELECT {TIMED}, '100% of 12:30 %s \:x' AS message_text"
    assert one(any_database, query)["message_text"] == "100% of 12:30 %s :x"


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({}, "the query has :inbox, which has no value"),
        ({"inbox": 1, "box": 2}, "box is not in the query; it has :inbox"),
    ],
)
def test_parameters_and_query_must_fit(parameters: dict[str, Any], says: str, sqlite: str) -> None:
    """Both ways, by name."""
    with pytest.raises(OptionError, match=says) as caught:
        rows(read_database(sqlite, f"SELECT {TIMED} WHERE 1 = :inbox", parameters))
    assert caught.value.option == "param"


def test_nothing_can_be_written(any_database: str) -> None:
    """Neither by a statement nor, on PostgreSQL, inside of a query."""
    place = sa.make_url(any_database)
    if place.drivername != "sqlite":
        with _connection(any_database) as connection, connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS t")
            cursor.execute("CREATE TABLE t (x integer)")
            connection.commit()
    statements = ["INSERT INTO t VALUES (1)"]
    if place.drivername == "postgresql":
        statements.append(f"WITH i AS (INSERT INTO t VALUES (1) RETURNING x) SELECT {TIMED} FROM i")  # noqa: S608  # ours
    for statement in statements:
        with pytest.raises(SourceError):
            rows(read_database(any_database, statement))
    assert rows(read_database(any_database, f"SELECT {TIMED} FROM t")) == []  # noqa: S608  # ours


def _connection(url: str) -> Any:
    place = sa.make_url(url)
    if place.drivername == "mysql":
        return pymysql.connect(host=place.host, port=place.port or 0, user="root", database=place.database)
    return psycopg.connect(url)


def test_a_query_that_takes_too_long_is_stopped(any_database: str) -> None:
    """By the database."""
    if any_database.startswith("sqlite"):
        with pytest.raises(OptionError, match="SQLite has no time-out") as caught:
            read_database(any_database, "SELECT 1", statement_timeout=timedelta(seconds=1))
        assert caught.value.option == "statement_timeout"
        return
    slow = f"SELECT {TIMED}, CASE WHEN pg_sleep(60) IS NULL THEN '' END AS status"
    if any_database.startswith("mysql"):
        slow = "SELECT COUNT(*) FROM seq_1_to_1000000000 a JOIN seq_1_to_1000000000 b"
    with pytest.raises(SourceError, match=r"statement timeout|max_statement_time"):
        rows(read_database(any_database, slow, statement_timeout=timedelta(milliseconds=50)))


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://robin:{SECRET}@127.0.0.1:1/none",
        f"postgresql://robin:{SECRET}@nowhere.invalid/none",
        f"postgresql://robin:{SECRET}@rest@127.0.0.1/none",
        f"postgresql://robin:x@{SECRET}@127.0.0.1/none",
        f"postgresql://robin:{SECRET}@127.0.0.1:port/none",
        f"postgresql+nothing://robin:{SECRET}@127.0.0.1/none",
        f"oracle://robin:{SECRET}@127.0.0.1/none",
        f"{SECRET}",
        f"mysql://robin:{SECRET}@127.0.0.1:1/none",
    ],
)
def test_no_password_is_told(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not in an error, what caused it, a representation or a log."""
    caplog.set_level(logging.DEBUG)
    shown = []

    def read() -> None:
        source = read_database(url, f"SELECT {TIMED}")
        shown.append(repr(source))
        rows(source)

    with pytest.raises((OptionError, SourceError)) as caught:
        read()
    assert SECRET not in "".join(shown)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in f"{error!r} {error}"
        error = None if error.__suppress_context__ else error.__context__
    assert SECRET not in caplog.text


def test_a_wrong_password_is_not_told(cluster: str) -> None:
    """Nor what a query's error says, nor parameters in a representation."""
    source = read_database(cluster, "SELECT nope FROM nowhere WHERE 1 = :x", {"x": SECRET})
    assert SECRET not in repr(source)
    with pytest.raises(SourceError, match='the query failed: relation "nowhere" does not exist') as caught:
        rows(source)
    assert SECRET not in str(caught.value)


def connections(cluster: str, name: str) -> int:
    """How many there are of a name: others' may be closed, and not yet gone."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name = %s"
    with psycopg.connect(cluster) as connection:
        found = connection.execute(asked, [name]).fetchone()
    assert found
    return int(found[0])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["end", "close", "error"])
def test_the_connection_is_closed(how: str, cluster: str) -> None:
    """At the end, by closing the batches early, and on an error."""
    name = f"closed by {how}"
    batches = read_database(f"{cluster}?application_name={name}", MANY).batches(SourceContext(UTC))
    next(batches)
    assert connections(cluster, name) == 1
    if how == "end":
        assert sum(batch.num_rows for batch in batches) == 20000 - 256
    elif how == "close":
        batches.close()
    else:
        with pytest.raises(ZeroDivisionError):
            batches.throw(ZeroDivisionError())
    until(lambda: connections(cluster, name) == 0)  # the server needs a moment to see that nobody is there any more


def test_closing_early_is_quick(mariadb: str) -> None:
    """An unbuffered cursor of PyMySQL reads all the rest when it is closed: the connection goes instead."""
    endless = "SELECT seq AS message_id, 1 AS conversation_id, 'inbound' AS direction, 'customer' AS speaker_type, "
    query = f"{endless} '2026-06-01T10:00:00Z' AS message_time FROM seq_1_to_1000000000"
    batches = read_database(mariadb, query).batches(SourceContext(UTC))
    next(batches)
    batches.close()


def test_a_source_pickles(any_database: str) -> None:
    """What is made of the pickle connects anew."""
    source: Source = pickle.loads(pickle.dumps(read_database(any_database, f"SELECT {TIMED}")))  # noqa: S301  # ours
    assert len(rows(source)) == 1


def test_a_column_that_is_missing_is_named(any_database: str) -> None:
    """Before a row is read."""
    with pytest.raises(SchemaError, match="message_time") as caught:
        rows(read_database(any_database, f"SELECT {ROW}"))
    assert caught.value.column == "message_time"


def test_a_bad_value_is_named(any_database: str) -> None:
    """By its row, column and ids."""
    query = f"SELECT {TIMED} UNION ALL SELECT NULL, 'c-1', 'inbound', 'customer', '2026-06-01T10:00:00Z'"
    with pytest.raises(RowError, match="is missing") as caught:
        rows(read_database(any_database, query))
    assert (caught.value.row, caught.value.column, caught.value.conversation_id) == (2, "message_id", "c-1")


def test_other_columns_are_named(any_database: str) -> None:
    """In the report."""
    context = SourceContext(UTC)
    list(read_database(any_database, f"SELECT {TIMED}, 1 AS surprise").batches(context))
    assert context.ignored_columns == ("surprise",)


@pytest.mark.slow
def test_the_command_reads_a_database(sqlite: str, tmp_path: Path) -> None:
    """With its parameters, conditions and sorting."""
    query = f"SELECT {TIMED}, :text AS message_text UNION ALL SELECT 'm-0', 'c-1', 'inbound', 'customer', "
    (tmp_path / "q.sql").write_text(f"{query} '2026-06-01T09:00:00Z', 'before'")
    how = ("--database", sqlite, "--sql", tmp_path / "q.sql", "--param", "text=last", "--sort")
    code, _, errors = run("export", *how, *JUNE, "--output", tmp_path)
    assert (code, errors) == (0, "")
    assert (tmp_path / NAME).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([FLAT, "--database", "sqlite:///x.db"], "--database cannot stand with INPUT"),
        (["--sql", "SELECT 1", "--statement-timeout", "1"], "--statement-timeout cannot stand with files"),
        (["--sql", "SELECT 1", "--database", "sqlite:///none.db"], "--database: none.db does not exist"),
        (["--sql", "SELECT 1", "--database", f"oracle://u:{SECRET}@h/n"], "--database: there is no database"),
    ],
)
def test_what_means_nothing_is_refused(arguments: list[str | Path], says: str, tmp_path: Path) -> None:
    """By the option's name, and without the password."""
    code, _, errors = run("export", *arguments, *JUNE, "--output", tmp_path / "o.zip", cwd=tmp_path)
    assert code == 2
    assert says in errors
    assert SECRET not in errors


PEAK = """
import resource, sys
from datetime import UTC
from export_engine.sources import SourceContext, read_database
source = read_database(sys.argv[1], sys.argv[2], {"inbox": 1})
print(sum(batch.num_rows for batch in source.batches(SourceContext(UTC))))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.scale
def test_two_million_rows_in_bounded_memory(cluster: str) -> None:
    """With a parameter, in less than 300 MiB."""
    url = fresh_database(cluster.removesuffix("/postgres"))
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE TABLE m AS SELECT gen_random_uuid() AS message_id, i / 20 AS conversation_id, "
            "'inbound' AS direction, 'customer' AS speaker_type, "
            "'2026-06-01'::timestamptz + i * interval '1 second' AS message_time, "
            "repeat('text ', 20) || i AS message_text, 1 AS inbox FROM generate_series(1, 2000000) i"
        )
    query = "SELECT * FROM m WHERE inbox = :inbox ORDER BY conversation_id, message_time"
    done = subprocess.run([sys.executable, "-c", PEAK, url, query], capture_output=True, check=True, text=True)
    count, peak = map(int, done.stdout.split())
    assert count == 2000000
    assert peak < 300 * 1024 * (1024 if sys.platform == "darwin" else 1)
