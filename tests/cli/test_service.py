"""What the service's commands have in common: settings and what is wrong with them, the libraries they load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from export_engine.cli.commands import commands
from export_engine.cli.service import SECRET_VARIABLE
from export_engine.errors import ExportError
from tests.cli.command import ROOT
from tests.cli.processes import ENVIRONMENT, invoke, needs_signals, run
from tests.service.running import OTHER_WORKSPACE

pytestmark = needs_signals


@pytest.mark.parametrize(
    ("arguments", "option", "message"),
    [
        (["worker"], "--archives", "say where it is, or give --data"),
        (["key", "create", "--workspace", OTHER_WORKSPACE], "--database", "say where it is, or give --data"),
        (["serve", "--database", "ftp://x"], "--database", "the database's URL is neither"),
        (["serve", "--archives", "ftp://x"], "--archives", "ftp://x cannot be opened"),
        (["serve", "--smtp", "smtp://u:hunter2@h"], "--smtp", "the mail server's URL must have the sender"),
        (["serve", "--secret-file", "/dev/null"], "--secret-file", "the secret has 0 bytes: it must have 32 or more"),
        (
            ["worker", "--smtp", "smtp://localhost?from=a@example.com"],
            "--public-url",
            "the e-mails' links lead to the service, which keeps the archives: say where clients reach it",
        ),
        (["worker", "--data", "/nowhere"], "--data", "there is no folder /nowhere: make it"),
        (["key", "list", "--data", "/nowhere"], "--data", "there is no folder /nowhere: make it"),
        *(
            (["worker", "--data", "/tmp", "--public-url", url], "--public-url", f"{url!r} is no URL that links can")  # noqa: S108  # nothing is made there
            for url in (
                "ftp://h",
                "exports.example.com",
                "//h",
                "https://",
                "http://h?a=b",
                "http://h#a",
                "http://h:x",
                "http://a b",
            )
        ),
    ],
)
def test_a_setting_that_cannot_work(arguments: list[str], option: str, message: str) -> None:
    """An error with advice and the option's name, which the command line says; never a password."""
    result = invoke(*arguments, *(["--port", "0"] if arguments[0] == "serve" else []))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {option}: {message}")
    assert "hunter2" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--archives", "file"], "--archives: file: File exists"),
        (["--conversations", "sqlite:///none.db"], "--conversations: none.db: No such file or directory"),
        (["--data", "/proc/none"], "--data: /proc/none: No such file or directory"),
    ],
)
def test_a_place_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    """The error says which option, where, and why."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    result = invoke("serve", "--port", "0", *arguments)
    assert isinstance(result.exception, ExportError)  # which the command line prints
    assert str(result.exception) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--timezone", "Mars/Base"], "--timezone: time zone 'Mars/Base' is unknown"),
        (["serve", "--workers", "2"], "Invalid value for '--workers'"),
        (["key", "create", "--workspace", "1"], "Invalid value for '--workspace'"),
        (["serve", "--host", "0.0.0.0", "--port", "0"], "0.0.0.0 is every address"),  # noqa: S104  # it is refused
        *(
            ([command, option, number], f"Invalid value for '{option}'")
            for command in ("serve", "worker")
            for option in ("--lease", "--max-run", "--max-silence", "--grace", "--keep-jobs")
            for number in ("nan", "inf", "1e300", "1e12", "-1")
        ),
    ],
)
def test_an_argument_that_cannot_work(arguments: list[str], message: str) -> None:
    """Wrong usage, with advice."""
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert f"error: {message}" in result.stderr.replace("Error:", "error:")


@pytest.mark.slow
@pytest.mark.parametrize("option", ["database", "conversations"])
def test_a_database_that_is_not_there(option: str) -> None:
    """One line, without the password."""
    variable = {f"EXPORT_ENGINE_{option.upper()}": "postgresql://u:hunter2@127.0.0.1:1/x"}
    code, _, errors = run("serve", "--port", "0", **variable)
    assert (code, errors.count("\n")) == (1, 1)
    assert errors.startswith(f"error: --{option}: the database cannot be used: connection failed")
    assert "hunter2" not in errors


def test_a_secret_of_any_bytes() -> None:
    """Also where they are no text."""
    result = CliRunner().invoke(commands, ["serve", "--database", "ftp://x"], env={SECRET_VARIABLE: "\udcff" * 32})
    assert (result.exit_code, result.stderr[:18]) == (2, "error: --database:")


HEAVY = {"fastapi", "starlette", "pydantic", "sqlalchemy", "uvicorn", "prometheus_client", "obstore", "phonenumbers"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [
        "import export_engine",
        "from export_engine.cli import serve, worker, key",
        "from export_engine.cli.commands import commands; commands.main(['export', '-h'], standalone_mode=False)",
    ],
    ids=["the library", "the commands", "the command line"],
)
def test_what_is_not_loaded(program: str) -> None:
    """Neither the library nor `export-engine export` loads the service's libraries."""
    program = f"import sys; {program}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert HEAVY.isdisjoint(done.stdout.split())
    assert "export_engine.jobs" not in done.stdout.split()


@pytest.mark.slow
def test_a_missing_library(tmp_path: Path) -> None:
    """Without the extra, the service's commands say what to install."""
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('No module named uvicorn', name='uvicorn')\n")
    environment: dict[str, str] = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    code, _, errors = run("serve", **environment)
    assert code == 1
    assert errors == "error: uvicorn is missing, which the service needs: pip install 'export-engine[service]'\n"
