"""The README's examples run, those of the pages it leads to also, and what it says of the format is so."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

import duckdb
import pandas as pd  # type: ignore[import-untyped]  # its stubs are a package of their own
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from export_engine import Channel, Contact, Conversation, DateRange, Message, export_conversations, jobs, open_source
from export_engine.schema import COLUMN_NAMES, REQUIRED
from export_engine.service.demo import DEMO_WORKSPACE, write_demo
from tests import reference

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EMBEDDING = Path(jobs.__file__).with_name("README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README + EMBEDDING, re.DOTALL)
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

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def serve() -> None:
        response = await example("# ASGI")["download"](reference.some(3, datetime(2026, 6, 1, tzinfo=UTC)), JUNE)
        await response({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)

    asyncio.run(serve())
    assert sent[0]["status"] == 200
    assert b"content-disposition" in dict(sent[0]["headers"])
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


@pytest.mark.slow
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


def section(title: str) -> str:
    return README.partition(f"\n{title}\n")[2].partition("\n## ")[0].partition("\n### ")[0]


@pytest.fixture
def typed(tmp_path: Path) -> Callable[[str], str]:
    """Run the shell blocks of a section as they stand there, beside the files that it shows; gives what they print."""
    shutil.copytree(ROOT / "fixtures", tmp_path / "fixtures")
    command = f'export-engine() {{ "{sys.executable}" -m export_engine "$@"; }}\npip() {{ :; }}\n'

    def run(title: str) -> str:
        text = section(title)
        for name, content in re.findall(r"`(\w+\.csv)`[^`]*:\n\n```csv\n(.*?)```", text, re.DOTALL):
            (tmp_path / name).write_text(content)
        [block] = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
        program = ["bash", "-euc", command + block]
        done = subprocess.run(
            program, cwd=tmp_path, env=environment, capture_output=True, check=False, encoding="utf-8"
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


def only_archive(folder: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of the one archive there, by CSV."""
    [path] = folder.glob("*.zip")
    return rows_in(path)


def rows_in(archive: Path | io.BytesIO) -> dict[str, list[dict[str, str]]]:
    with zipfile.ZipFile(archive) as opened:
        texts = {name: opened.read(name).decode() for name in opened.namelist()}
    return {name: list(csv.DictReader(io.StringIO(text, newline=""))) for name, text in texts.items()}


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@needs_bash
@pytest.mark.slow
def test_a_file(typed: Callable[[str], str], tmp_path: Path) -> None:
    """The CSV that is shown is checked and exported; its conversation as a line of JSON is the same."""
    assert typed("### A file").startswith("an export would succeed\n")
    [(name, rows)] = only_archive(tmp_path).items()
    assert name == "Jane Doe--2026-06-11_065043--SMS Support.csv"
    assert [row["message_text"] for row in rows] == ["Is my order on its way?", "Let me look."]
    [line] = re.findall(r"```json\n(.*?)```", section("### A file"), re.DOTALL)
    (tmp_path / "talk.jsonl").write_text(line)
    export = export_conversations(open_source(tmp_path / "talk.jsonl"), channel=Channel("SMS Support"), date_range=JUNE)
    [row] = rows_in(io.BytesIO(b"".join(export)))[name]
    assert row == rows[0]


def test_the_columns_that_have_to_be_there() -> None:
    """The first five of the CSV that is shown."""
    [header] = re.findall(r"```csv\n(.*)", section("### A file"))
    assert set(header.split(",")[:5]) == REQUIRED
    assert "The first five columns have to be there" in section("### A file")


@needs_bash
@pytest.mark.slow
def test_a_file_with_other_columns(typed: Callable[[str], str], tmp_path: Path) -> None:
    """Mapped and sorted, as the command says."""
    typed("### A file with other columns")
    [rows] = only_archive(tmp_path).values()
    assert [(row["message_id"], row["direction"], row["speaker_type"]) for row in rows] == [
        ("SM1", "inbound", "customer"),
        ("SM2", "outbound", "agent"),
    ]


@needs_bash
@pytest.mark.slow
def test_looks_before_and_after(typed: Callable[[str], str]) -> None:
    """The fixture is checked, exported, verified, listed and read."""
    said = typed("## Look before and after")
    assert said.startswith("an export would succeed\n")
    assert "no problems" in said
    assert said.rstrip().splitlines()[-1].startswith("2026-06-")


def test_the_table_names_every_column_in_order() -> None:
    """The README's columns are the schema's."""
    assert tuple(re.findall(r"^\| `(\w+)` \|", section("## The format"), re.MULTILINE)) == COLUMN_NAMES


def test_ci_runs_the_readme_s_commands() -> None:
    """What stands under "Try it" is run as it stands there: the main job first, then the tests."""
    tried = README.partition("## Try it\n")[2].partition("\n## ")[0]
    main_job, tests = re.findall(r"```sh\n(.*?)```", tried, re.DOTALL)
    assert "export fixtures/conversations.jsonl" in main_job
    assert "python -m pytest -q" in tests
    script = (ROOT / ".ci" / "run").read_text()
    for number in (1, 2):
        assert f'bash -euxc "$(readme {number})"' in script


TEXTS = [
    None,
    "",
    "NA",
    "null",
    "007",
    "1029384756102938475",
    "+12025550101",
    'a "b"',
    "one\r\ntwo\nthree",
    "a,b;c\td",
    "é 😀",
    " x ",
]


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    """One CSV with texts that readers lose."""
    messages = [
        Message(f"{n}", datetime(2026, 6, 2, tzinfo=UTC), "outbound", "bot", text) for n, text in enumerate(TEXTS)
    ]
    conversations = [Conversation("c", Contact("Ana"), messages)]
    data = b"".join(export_conversations(conversations, channel=Channel("x"), date_range=JUNE))
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        (tmp_path / "f.csv").write_bytes(opened.read(opened.namelist()[0]))
    return tmp_path / "f.csv"


def read_by_python(path: Path) -> list[str | None]:
    with path.open(newline="", encoding="utf-8") as file:
        return [row["message_text"] for row in csv.DictReader(file)]


def read_by_pyarrow(path: Path) -> list[str | None]:
    convert = pacsv.ConvertOptions(
        column_types=dict.fromkeys(COLUMN_NAMES, pa.string()),
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    table = pacsv.read_csv(path, parse_options=pacsv.ParseOptions(newlines_in_values=True), convert_options=convert)
    return cast("list[str | None]", table["message_text"].to_pylist())


def read_by_polars(path: Path) -> list[str | None]:
    return pl.read_csv(path, infer_schema=False)["message_text"].to_list()


def read_by_pandas(path: Path) -> list[str | None]:
    return list(pd.read_csv(path, dtype=str, keep_default_na=False)["message_text"])


def read_by_duckdb(path: Path) -> list[str | None]:
    query = "SELECT message_text FROM read_csv(?, all_varchar=true, allow_quoted_nulls=false)"
    return [text for (text,) in duckdb.execute(query, [str(path)]).fetchall()]


@pytest.mark.parametrize(
    ("read", "all_of_it"),
    [
        (read_by_python, False),
        (read_by_pyarrow, True),
        (read_by_polars, True),
        (read_by_pandas, False),
        (read_by_duckdb, True),
    ],
)
def test_csvs_are_read_without_loss(read: Callable[[Path], list[str | None]], all_of_it: bool, csv_file: Path) -> None:
    """As the table in the archive's page says: every text comes back, and null too where it says so."""
    expected = TEXTS if all_of_it else [text or "" for text in TEXTS]
    assert read(csv_file) == expected
