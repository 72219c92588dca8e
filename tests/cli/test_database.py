"""`export-engine database` as an operator runs it: what it prints, its exit codes, what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from export_engine.jobs.backends import migrations
from export_engine.jobs.backends.database import database_revision, open_database, writing
from export_engine.jobs.backends.migrations import VERSION_TABLE


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Run the command to its end; returns exit code, stdout and stderr. There is never a traceback."""
    command = [sys.executable, "-m", "export_engine", "database", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_from_nothing(tmp_path: Path) -> None:
    """An empty one is made; the second time there is nothing to do; the revision is a word for scripts."""
    latest = migrations.latest()
    assert run("version", "--data", tmp_path) == (0, "none\n", "")
    assert list(tmp_path.iterdir()) == []
    assert run("upgrade", "--data", tmp_path) == (0, f"made at revision {latest}\n", "")
    assert run("upgrade", "--database", f"sqlite:///{tmp_path}/jobs.sqlite") == (
        0,
        f"is at revision {latest} already\n",
        "",
    )
    assert run("version", "--data", tmp_path) == (0, f"{latest}\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["database upgrade", "key revoke 0123456789abcdef"])
def test_a_newer_release_s_database(tmp_path: Path, command: str) -> None:
    """Every command that opens it says the same, and leaves it as it is."""
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    engine = open_database(url)
    with writing(engine).begin() as connection:
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
        code, output, errors = run(command)
        assert (code, output) == (2, "")
        assert errors.startswith("error: --database: say where it is")
    code, _, errors = run("upgrade", "--data", tmp_path / "missing")
    assert code == 2
    assert "there is no folder" in errors
