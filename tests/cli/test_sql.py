"""Input as people have it: queries, mapping, conditions and sorting, as a shell gives them."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.cli.command import CHANNEL, FLAT, JUNE, NAME, NESTED, run

LOG = """\
From,To,Body,Sent,Sid,Direction
+1202,+1999,later,2026-06-03 10:00:00,SM3,inbound
+1203,+1999,other,2026-06-02 10:00:00,SM2,inbound
+1999,+1202,"said ""hi"", then left",2026-06-01 10:00:00,SM1,outbound-api
"""
FIRST = [("+1202", 'said "hi", then left', "outbound"), ("+1202", "later", "inbound")]
MAP = [
    *("--map", "message_id=Sid"),
    *("--map", 'conversation_id=CASE WHEN Direction = \'inbound\' THEN "From" ELSE "To" END'),
    *("--map", "direction=CASE WHEN Direction = 'inbound' THEN 'inbound' ELSE 'outbound' END"),
    *("--map", "speaker_type=CASE WHEN Direction = 'inbound' THEN 'customer' ELSE 'agent' END"),
    *("--map", "message_time=Sent"),
    *("--map", "message_text=Body"),
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A message log with columns of its own names, newest first."""
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


def rows(archive: Path) -> list[tuple[str, str, str]]:
    """The conversation, text and direction of each message in an archive."""
    with ZipFile(archive) as opened:
        tables = [csv.DictReader(StringIO(opened.read(name).decode(), newline="")) for name in opened.namelist()]
    return [(row["conversation_id"], row["message_text"], row["direction"]) for table in tables for row in table]


@pytest.mark.slow
def test_a_log_is_mapped_and_sorted(log: Path, tmp_path: Path) -> None:
    """Columns are made by expressions, and conversations put together."""
    code, _, errors = run("export", log, *MAP, "--sort", *JUNE, "--output", tmp_path)
    assert (code, errors) == (0, "")
    assert rows(tmp_path / NAME) == [*FIRST, ("+1203", "other", "inbound")]


@pytest.mark.slow
def test_what_show_sql_prints_works_with_sql(log: Path, tmp_path: Path) -> None:
    """It is the query that is run, and its parameters are listed before it."""
    code, query, errors = run("export", log, *MAP, "--where", "Body <> 'other'", "--show-sql", *JUNE)
    assert (code, errors) == (0, "")
    (tmp_path / "q.sql").write_bytes(query)
    assert query.startswith(f"-- --param files={log}\n".encode())
    sql = ("--sql", tmp_path / "q.sql", "--param", f"files={log}", "--sort")
    assert run("export", *sql, *JUNE, "--output", tmp_path)[::2] == (0, "")
    assert rows(tmp_path / NAME) == FIRST


@pytest.mark.slow
@pytest.mark.parametrize("given", [NESTED, FLAT])
def test_a_condition_is_for_any_input(given: Path, tmp_path: Path) -> None:
    """Nested JSON Lines too, as rows."""
    assert run("export", given, "--where", "direction = 'inbound'", *JUNE, "--output", tmp_path)[0] == 0
    kept = rows(tmp_path / NAME)
    assert run("export", given, *JUNE, "--output", tmp_path, "--overwrite")[0] == 0
    assert kept == [row for row in rows(tmp_path / NAME) if row[2] == "inbound"] != []


@pytest.mark.slow
def test_without_an_end_the_range_is_open(tmp_path: Path) -> None:
    """It has all from the first day on; the archive is called after its month."""
    assert run("export", NESTED, *CHANNEL, "--start", "2026-06-10", "--id", "x", "--output", tmp_path / "a.zip")[0] == 0
    days = ("--start", "2026-06-10", "--end", "2027-01-01")
    assert run("export", NESTED, *CHANNEL, *days, "--id", "x", "--output", tmp_path / "b.zip")[0] == 0
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert rows(tmp_path / "a.zip") != []


@pytest.mark.slow
def test_torn_conversations_are_refused_with_the_way_to_sort(log: Path, tmp_path: Path) -> None:
    """The message names the option."""
    torn = log.read_text() + "+1202,+1999,again,2026-06-04 10:00:00,SM4,inbound\n"
    log.write_text(torn)
    code, _, errors = run("export", log, *MAP, *JUNE, "--output", tmp_path)
    assert code == 1
    assert "'+1202' comes back" in errors
    assert "with --sort" in errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "say what to read"),
        ([FLAT, "--sql", "SELECT 1"], "--sql names its files itself"),
        ([FLAT, "--param", "x=1"], "--param cannot stand with INPUT"),
        (["--sql", "SELECT 1", "--map", "message_id=x"], "--map cannot stand with --sql"),
        (["--sql", "SELECT 1", "--delimiter", ";"], "--delimiter cannot stand with --sql"),
        (["--sql", "none.sql"], "none.sql: No such file"),
        ([FLAT, "--memory-limit", "1GB"], "--memory-limit cannot stand with plain files"),
        ([FLAT, "--map", "message_id"], "write NAME=VALUE"),
        ([FLAT, "--map", "message_id=a", "--map", "message_id=b"], "says twice what message_id is"),
        ([FLAT, "--map", "surprise=a"], "there is no column surprise"),
        ([FLAT, "--map", "message_id=nope"], "'message_id=nope' cannot be used"),
        ([FLAT, "--map", "message_id=status) , (direction"], "more than one expression"),
        ([FLAT, "--where", "nope = 1"], "--where: 'nope = 1' cannot be used"),
        ([NESTED, "--where", "nope = 1"], "--where: 'nope = 1' cannot be used"),
        ([FLAT, "--show-sql"], "--show-sql shows the query of"),
        ([FLAT, "--sort", "--memory-limit", "much"], "--memory-limit: memory_limit 'much'"),
    ],
)
def test_what_means_nothing_is_refused_by_name(arguments: list[str | Path], says: str, tmp_path: Path) -> None:
    """Before anything is written."""
    code, _, errors = run("export", *arguments, *JUNE, "--output", tmp_path / "o.zip")
    assert code == 2
    assert says in errors
    assert not list(tmp_path.iterdir())
