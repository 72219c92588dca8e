"""A source of SQLite's own: a file that must be there, one alone, and text that may be anything."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from export_engine import Channel, DateRange, RowError, SourceError, export_conversations
from export_engine.sources import read_database
from tests.sources.test_database import TIMED, rows, url_of


def test_a_file_of_sqlite_must_be_there(tmp_path: Path) -> None:
    """None is made."""
    with pytest.raises(FileNotFoundError):
        read_database(f"sqlite:///{tmp_path / 'none.db'}", "SELECT 1")
    assert not list(tmp_path.iterdir())


def test_a_file_of_sqlite_is_what_is_read(sqlite: str) -> None:
    """No sink writes over it."""
    source = read_database(sqlite, f"SELECT {TIMED}")
    (path,) = source.paths  # type: ignore[attr-defined]  # optional in the protocol
    june = DateRange(date(2026, 6, 1), date(2026, 6, 30))
    export = export_conversations(source, channel=Channel("X"), date_range=june)
    with pytest.raises(Exception, match=r"a b%3f\.db"):
        export.write_to(path, overwrite=True)
    assert Path(path).read_bytes().startswith(b"SQLite format 3")


def test_sqlite_attaches_nothing(sqlite: str, tmp_path: Path) -> None:
    """A query that would makes no file."""
    with pytest.raises(SourceError, match="too many attached databases"):
        rows(read_database(sqlite, f"ATTACH '{tmp_path / 'other.db'}' AS other"))
    assert not (tmp_path / "other.db").exists()


@pytest.mark.parametrize("column", ["message_id", "conversation_id", "direction", "message_time", "message_text"])
def test_text_of_sqlite_that_is_not_utf8_is_named(column: str, sqlite: str) -> None:
    """By conversation, message and row, as in any other source; sqlite3 itself would say none of them."""
    engine = sa.create_engine(url_of(sa.make_url(sqlite)))
    values = {"message_id": "'m' || i", "conversation_id": "'c'", "direction": "'inbound'", "message_text": "NULL"}
    values |= {"speaker_type": "'customer'", "message_time": "'2026-06-01T10:00:00Z'"}
    values[column] = f"CASE i WHEN 300 THEN CAST(x'636166e9' AS TEXT) ELSE {values[column]} END"
    selected = ", ".join(f"{value} AS {name}" for name, value in values.items())
    with engine.begin() as connection:
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)"
        connection.execute(sa.text(f"CREATE TABLE made AS {numbers} SELECT {selected} FROM n"))  # noqa: S608  # ours
    engine.dispose()
    with pytest.raises(RowError, match=r"; ") as caught:
        rows(read_database(sqlite, "SELECT * FROM made"))
    assert (caught.value.row, caught.value.column, caught.value.value) == (300, column, b"caf\xe9")
