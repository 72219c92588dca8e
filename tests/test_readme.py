"""The README's examples run, and what it says of the format is so."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from export_engine import DateRange
from export_engine.schema import COLUMN_NAMES
from export_engine.service.demo import DEMO_WORKSPACE, write_demo
from tests import reference

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
JUNE = DateRange(date(2026, 6, 1), date(2026, 6, 30))


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Run the example that holds some words, in a directory of its own; gives its names."""
    shutil.copytree(ROOT / "fixtures", tmp_path / "fixtures")
    monkeypatch.chdir(tmp_path)

    def run(words: str) -> dict[str, Any]:
        (text,) = [text for text in EXAMPLES if words in text]
        names: dict[str, Any] = {}
        exec(compile(text, "README.md", "exec"), names)  # noqa: S102  # running them is the point
        return names

    return run


def names_in(data: bytes, path: Path) -> list[str]:
    path.write_bytes(data)
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None
        return opened.namelist()


def test_write_a_file(example: Callable[[str], dict[str, Any]]) -> None:
    """The archive holds the CSV of the seed's example."""
    names = example('export.write_to("archives/")  #')
    with zipfile.ZipFile(names["path"]) as opened:
        assert opened.namelist() == ["Jane Doe--2026-04-08_032443--SMS Support (+12025550123).csv"]
    assert names["export"].report.rows == 2


def test_wsgi(example: Callable[[str], dict[str, Any]], tmp_path: Path) -> None:
    """Headers first, then the archive; close() is there for the server."""
    seen: list[Any] = []
    made = reference.some(3, datetime(2026, 6, 1, tzinfo=UTC))
    body = example("# WSGI")["download"]({}, lambda *head: seen.extend(head), made, JUNE)
    assert hasattr(body, "close")
    assert len(names_in(b"".join(body), tmp_path / "out.zip")) == 3
    assert "SMS_Support_2026-06_" in dict(seen[1])["Content-Disposition"]


def test_asgi(example: Callable[[str], dict[str, Any]], tmp_path: Path) -> None:
    """The same, without holding up the event loop."""
    sent: list[dict[str, Any]] = []

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    app = example("# ASGI")["app"]
    asyncio.run(app({}, None, send, reference.some(3, datetime(2026, 6, 1, tzinfo=UTC)), JUNE))
    assert sent[0]["status"] == 200
    assert len(names_in(b"".join(event["body"] for event in sent[1:]), tmp_path / "out.zip")) == 3


def test_database_cursor(example: Callable[[str], dict[str, Any]], tmp_path: Path) -> None:
    """Rows come straight from the cursor, grouped by conversation."""
    database = sqlite3.connect(":memory:")
    database.executescript(
        """
        CREATE TABLE conversation (id, name, phone);
        CREATE TABLE message (id, conversation, time, direction, speaker, text);
        INSERT INTO conversation VALUES ('a', 'Jane Doe', NULL), ('b', NULL, '+12025550147');
        INSERT INTO message VALUES ('1', 'a', '2026-06-02T10:00:00', 'inbound', 'customer', 'Hi'),
          ('2', 'b', '2026-06-03T10:00:00', 'inbound', 'customer', 'Hello'),
          ('3', 'a', '2026-06-02T10:01:00', 'outbound', 'agent', 'How can I help?');
        """
    )
    export = example("sqlite3.Connection")["export_june"](database)
    assert names_in(b"".join(export), tmp_path / "out.zip") == [
        "Jane Doe--2026-06-02_100000--SMS Support.csv",
        "+12025550147--2026-06-03_100000--SMS Support.csv",
    ]
    assert export.report.rows == 3
    database.close()


def test_parquet(example: Callable[[str], dict[str, Any]]) -> None:
    """The fixture becomes an archive with a manifest beside it."""
    names = example("open_source(")
    assert sorted(path.name for path in Path("archives").iterdir()) == sorted(
        [names["export"].file_name, "manifest.parquet"]
    )
    assert names["export"].report.members == 29


def test_embedding_the_job(example: Callable[[str], dict[str, Any]], tmp_path: Path) -> None:
    """Queued, worked on, finished with a link; refused with the API's status where it must be."""
    write_demo(tmp_path / "data")
    (tmp_path / "archives").mkdir()
    names = example("jobs.trigger(")
    body = {"phone_number": "+12025550123", "start_date": "2026-02-01", "end_date": "2026-02-28"}
    status, document = names["post"](DEMO_WORKSPACE, body)
    assert (status, len(document["detail"]["candidates"])) == (409, 2)
    status, document = names["post"](DEMO_WORKSPACE, body | {"channel_type": "whatsapp"})
    assert (status, document["status"]) == (202, "queued")
    assert names["post"](DEMO_WORKSPACE, body | {"channel_type": "whatsapp"})[0] == 409
    assert names["worker"].step()
    status, found = names["get"](DEMO_WORKSPACE, document["export_job_id"])
    assert (status, found["status"]) == (200, "finished")
    assert found["presigned_url"].startswith("https://example.com/d/")
    assert names["get"](DEMO_WORKSPACE, "no-job")[0] == 404
    (archive,) = (tmp_path / "archives").rglob("*.zip")
    assert len(names_in(archive.read_bytes(), tmp_path / "out.zip")) > 10


def test_the_table_names_every_column_in_order() -> None:
    """The README's columns are the schema's."""
    assert tuple(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)) == COLUMN_NAMES


def test_ci_runs_the_readme_s_commands() -> None:
    """What stands under "Try it" is run as it stands there: the main job first, then the tests."""
    tried = README.partition("## Try it\n")[2].partition("\n## ")[0]
    main_job, tests = re.findall(r"```sh\n(.*?)```", tried, re.DOTALL)
    assert "export fixtures/conversations.jsonl" in main_job
    assert "python -m pytest -q" in tests
    script = (ROOT / ".ci" / "run").read_text()
    for number in (1, 2):
        assert f'bash -euxc "$(readme {number})"' in script
