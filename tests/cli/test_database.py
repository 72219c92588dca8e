"""`export-engine database` as an operator runs it: what it prints, its exit codes, what it refuses."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from export_engine.jobs.backends import migrations
from export_engine.jobs.backends.database import database_revision, open_database, writing
from export_engine.jobs.backends.migrations import VERSION_TABLE
from export_engine.service.components import open_components
from export_engine.service.demo import write_demo
from export_engine.service.settings import Settings
from tests.cli.processes import needs_signals, run
from tests.service.running import OTHER_WORKSPACE

pytestmark = needs_signals


@pytest.mark.slow
def test_from_nothing(tmp_path: Path) -> None:
    """An empty one is made; the second time there is nothing to do; the revision is a word for scripts."""
    latest = migrations.latest()
    assert run("database", "version", "--data", tmp_path) == (0, "none\n", "")
    assert list(tmp_path.iterdir()) == []
    assert run("database", "upgrade", "--data", tmp_path) == (0, f"made at revision {latest}\n", "")
    assert run("database", "upgrade", "--database", f"sqlite:///{tmp_path}/jobs.sqlite") == (
        0,
        f"is at revision {latest} already\n",
        "",
    )
    assert run("database", "version", "--data", tmp_path) == (0, f"{latest}\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["database upgrade", "key revoke 0123456789abcdef"])
def test_a_newer_release_s_database(tmp_path: Path, command: str) -> None:
    """Every command that opens it says the same, and leaves it as it is."""
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    engine = open_database(url)
    with writing(engine) as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9001'")  # noqa: S608  # our own name
    engine.dispose()
    done = subprocess.run(
        [sys.executable, "-m", "export_engine", *command.split(), "--data", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"error: {url} was made by a newer release (revision 9001, this one knows those up to {migrations.latest()}): "
        "upgrade export-engine\n"
    ).replace("sqlite:", "sqlite+pysqlite:")
    assert database_revision(url) == "9001"


@pytest.mark.slow
def test_no_database_named(tmp_path: Path) -> None:
    """The error names the option, in either command."""
    for command in ("upgrade", "version"):
        code, output, errors = run("database", command)
        assert (code, output) == (2, "")
        assert errors.startswith("error: --database: say where it is")
    code, _, errors = run("database", "upgrade", "--data", tmp_path / "missing")
    assert code == 2
    assert "there is no folder" in errors


@pytest.mark.slow
def test_processes_with_other_options(tmp_path: Path) -> None:
    """Refused at their start by what the database knows, until the options are changed for all."""
    write_demo(tmp_path / "demo")
    here: list[str | Path] = ["--data", tmp_path, "--conversations", tmp_path / "demo"]
    with open_components(Settings(data=tmp_path), "http://localhost"):
        pass
    code, _, errors = run("worker", *here, "--timezone", "Asia/Taipei", "--excel")
    assert code == 2
    assert errors.startswith(
        "error: --bom: the exports of this database are made with bom false (not true), digits_guard false (not true), "
        "formula_guard false (not true), timezone UTC (not Asia/Taipei): give all processes the same options"
    )
    set_options = ("database", "set-options", "--data", tmp_path)
    code, output, _ = run(*set_options, EXPORT_ENGINE_TIMEZONE="Asia/Taipei")
    assert (code, output) == (0, "timezone: Asia/Taipei, was UTC\n")
    assert run(*set_options, "--timezone", "Asia/Taipei") == (0, "they are so already\n", "")
    code, _, errors = run("serve", "--port", "0", "--data", tmp_path)
    assert (code, errors.startswith("error: --timezone: the exports of this database")) == (2, True)


@pytest.mark.slow
def test_processes_with_another_secret(tmp_path: Path) -> None:
    """Refused at their start, until the secret is changed for all; a text that is none is no secret."""
    write_demo(tmp_path / "demo")
    with open_components(Settings(data=tmp_path), "http://localhost"):
        pass
    kept, other = (tmp_path / "secret").read_text(), "another secret of 32 bytes or so"
    code, _, errors = run("serve", "--port", "0", "--data", tmp_path, EXPORT_ENGINE_SECRET=other)
    assert (code, kept in errors or other in errors) == (2, False)
    assert errors.startswith("error: --secret-file: the links to this database's archives are signed with another")
    set_secret = ("database", "set-secret", "--data", tmp_path)
    assert run(*set_secret) == (0, "it is so already\n", "")
    assert run(*set_secret, EXPORT_ENGINE_SECRET=other) == (0, "changed\n", "")
    code, _, errors = run("serve", "--port", "0", "--data", tmp_path)
    assert (code, errors.startswith("error: --secret-file: the links")) == (2, True)
    code, _, errors = run(*set_secret, "--secret-file", "/dev/null")
    assert (code, errors.startswith("error: --secret-file: the secret has 0 bytes")) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [["key", "list"], ["database", "version"], ["database", "upgrade"], ["database", "set-options"]]
)
def test_a_file_that_is_no_database(tmp_path: Path, command: list[str]) -> None:
    """One line."""
    (tmp_path / "jobs.sqlite").write_bytes(b"no database " * 1000)
    code, _, errors = run(*command, "--data", tmp_path)
    assert (code, errors) == (1, "error: --database: the database cannot be used: file is not a database\n")


@pytest.mark.slow
def test_a_database_that_is_locked(tmp_path: Path) -> None:
    """One line, once it has been waited for."""
    assert run("database", "upgrade", "--data", tmp_path)[0] == 0
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        code, _, errors = run("key", "create", "--workspace", OTHER_WORKSPACE, "--data", tmp_path)
    assert (code, errors) == (1, "error: --database: the database cannot be used: database is locked\n")
