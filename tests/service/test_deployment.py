"""The page on deployment: what it has people write and run, held against the programs that read it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import httpx
import psycopg
import pytest
import yaml

from export_engine import service
from export_engine.cli.commands import commands
from export_engine.jobs.backends.database import open_database
from export_engine.jobs.backends.keys import SqlKeys
from tests.jobs.postgres import running_cluster
from tests.ports import free_port
from tests.service.running import NOW, OTHER_WORKSPACE, SMS, Service, until

PAGE = Path(service.__file__).with_name("DEPLOYMENT.md").read_text("utf-8")
README = Path(service.__file__).with_name("README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The page's blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def needs(program: str) -> str:
    """A program's path; the test is skipped where it is not installed."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


# --- the package's own commands ------------------------------------------------------------------------------------


def own_commands() -> list[str]:
    """What the page has run of this package, in shells and in units."""
    lines = [line for block in (*blocks("sh"), *blocks("ini")) for line in block.splitlines()]
    return [
        found.replace("%i", "1")
        for line in lines
        for found in re.findall(r"export-engine ((?:serve|worker|key|database) .*)", line)
    ]


def test_the_page_has_commands() -> None:
    """The tests below hold something."""
    assert len(own_commands()) == 4


@pytest.mark.parametrize("line", own_commands())
def test_a_command_is_one(line: str) -> None:
    """With those options, and values that it takes."""
    command: Any = commands
    arguments, context = shlex.split(line), None
    while isinstance(command, click.Group):
        context = click.Context(command, parent=context)
        _, command, arguments = command.resolve_command(context, arguments)
    assert command.make_context(line, arguments, parent=context).params


def test_no_option_variable_or_metric_is_made_up() -> None:
    """They are those of the service's page, which is held against the commands."""
    assert set(re.findall(r"`(--[\w-]+)`", PAGE)) <= set(re.findall(r"`(--[\w-]+)`", README))
    assert set(re.findall(r"EXPORT_ENGINE_\w+", PAGE)) <= set(re.findall(r"EXPORT_ENGINE_\w+", README))
    _, rules = (yaml.safe_load(block) for block in blocks("yaml"))
    expressions = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    named = set(re.findall(r"\b(?:export|http)_\w+", expressions))
    assert named <= set(re.findall(r"`(\w+)[{`]", README))
    assert len(named) == 4
    events = re.findall(r'event="(\w+)"', expressions)
    assert [event for event in events if f"`{event}`" not in README] == []


def test_both_units_are_told_of_their_metrics() -> None:
    """The ports that are scraped are those of the units."""
    scrape, _ = (yaml.safe_load(block) for block in blocks("yaml"))
    [targets] = [config["targets"] for job in scrape["scrape_configs"] for config in job["static_configs"]]
    ports = re.findall(r"--metrics-port (\S+)", "\n".join(blocks("ini")))
    assert ports == ["9100", "910%i"]
    assert targets == [f"127.0.0.1:910{number}" for number in range(3)]


def test_the_page_comes_with_the_package() -> None:
    """Beside the module that it is about, also in a wheel."""
    data = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    assert "service/DEPLOYMENT.md" in data["tool"]["setuptools"]["package-data"]["export_engine"]
    assert "](DEPLOYMENT.md)" in README


# --- others' programs ----------------------------------------------------------------------------------------------


def test_the_units(tmp_path: Path) -> None:
    """Systemd knows every line of them, and finds little that they could do."""
    program = needs("systemd-analyze")
    unit, worker_line = [block for block in blocks("ini") if "ExecStart" in block]
    worker = re.sub(r"^ExecStart=.*\n", worker_line, unit, flags=re.MULTILINE)
    for name, text in (("export-engine.service", unit), ("export-engine-worker@1.service", worker)):
        (tmp_path / name).write_text(text.replace("/opt/export-engine/bin/export-engine", "/bin/true"))
        done = subprocess.run([program, "verify", tmp_path / name], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        measured = subprocess.run(
            [program, "security", "--offline=true", "--threshold=20", "--no-pager", tmp_path / name],
            capture_output=True,
            text=True,
            check=False,
        )
        assert measured.returncode == 0, measured.stdout[-200:]


def test_logrotate(tmp_path: Path) -> None:
    """It knows every line of its block."""
    program = needs("logrotate")
    [block] = [block for block in blocks("text") if "rotate" in block]
    (tmp_path / "conf").write_text(block)
    (tmp_path / "conf").chmod(0o600)
    done = subprocess.run(
        [program, "-d", "-s", tmp_path / "state", tmp_path / "conf"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "error" not in done.stderr


@contextmanager
def nginx(folder: Path, port: int, behind: str) -> Iterator[None]:
    """The page's proxy on a port, before a service that listens elsewhere."""
    program, openssl = needs("nginx"), needs("openssl")
    files = ["-keyout", f"{folder}/privkey.pem", "-out", f"{folder}/fullchain.pem"]
    subject = ["-days", "2", "-subj", "/CN=exports.example.com"]
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *subject], check=True, capture_output=True
    )
    [block] = blocks("nginx")
    for there, here in (
        ("/etc/ssl/exports", str(folder)),
        ("/var/log/nginx", str(folder)),
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("127.0.0.1:8000", behind),
    ):
        assert there in block
        block = block.replace(there, here)
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("proxy", "client_body"))
    own = f"daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
    (folder / "nginx.conf").write_text(f"{own}http {{\n{temporary}{block}}}\n")
    command = [program, "-c", f"{folder}/nginx.conf", "-p", str(folder)]
    tried = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stderr
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


@pytest.mark.slow
def test_nginx(service: Service, tmp_path: Path) -> None:
    """The API, ranges of a download and the limit of a body go through it; its log has no link and no key."""
    port, headers = free_port(), {"X-API-Key": service.key}
    with (
        nginx(tmp_path, port, urlsplit(service.url).netloc),
        httpx.Client(base_url=f"https://127.0.0.1:{port}", headers=headers, verify=False, timeout=90) as client,  # noqa: S501  # its own certificate
    ):
        until(lambda: answers(client))
        body = {"channel_id": SMS, "start_date": "2026-06-03", "end_date": "2026-06-04"}
        document = service.ended(client.post(service.path(), json=body))
        link = urlsplit(document["presigned_url"])
        whole = client.get(f"{link.path}?{link.query}")
        part = client.get(f"{link.path}?{link.query}", headers={"Range": "bytes=10-19"})
        assert (whole.status_code, part.status_code, part.content) == (200, 206, whole.content[10:20])
        assert client.post(service.path(), content=b" " * 70_000).status_code == 413
        assert client.get(f"{link.path}?{link.query}x").status_code == 403
    log = (tmp_path / "exports.log").read_text()
    assert link.path in log
    assert "signature" not in log
    assert service.key not in log


def answers(client: httpx.Client) -> bool:
    """Whether the proxy listens, and passes on what it is asked."""
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def backup_line(program: str) -> list[str]:
    """The page's command that makes a backup."""
    [line] = [line for block in blocks("sh") for line in block.splitlines() if line.startswith(f"{program} ")]
    return shlex.split(line)


def test_a_backup_of_sqlite(tmp_path: Path) -> None:
    """Whole, while the database is open and its newest part is in its log."""
    program, (_, file, backup) = needs("sqlite3"), backup_line("sqlite3")
    engine = open_database(f"sqlite:///{tmp_path}/jobs.sqlite")
    key = SqlKeys(engine).create(OTHER_WORKSPACE, now=NOW)
    assert file == "/var/lib/export-engine/jobs.sqlite"
    copy = tmp_path / "copy.sqlite"
    backup = backup.replace("/var/backups/export-engine.sqlite", str(copy))
    subprocess.run([program, tmp_path / "jobs.sqlite", backup], check=True)
    engine.dispose()
    with closing(sqlite3.connect(copy)) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    again = open_database(f"sqlite:///{copy}")
    SqlKeys(again).check(key, OTHER_WORKSPACE, now=NOW)
    again.dispose()


@pytest.mark.slow
def test_a_backup_of_postgresql(tmp_path: Path) -> None:
    """The page's two commands lead from one database to another."""
    program, restore = needs("pg_dump"), needs("pg_restore")
    [said] = re.findall(r"`pg_restore (.*?) --dbname=\.\.\.`", PAGE)
    _, *dump = backup_line("pg_dump")
    with running_cluster() as cluster:
        urls = [f"{cluster}/one", f"{cluster}/other"]
        with psycopg.connect(f"{cluster}/postgres", autocommit=True) as server:
            server.execute("CREATE DATABASE one")
            server.execute("CREATE DATABASE other")
        engine = open_database(urls[0])
        key = SqlKeys(engine).create(OTHER_WORKSPACE, now=NOW)
        engine.dispose()
        places = {"$EXPORT_ENGINE_DATABASE": urls[0], "--file=/var/backups/export-engine.dump": f"--file={tmp_path}/d"}
        subprocess.run([program, *(places.get(each, each) for each in dump)], check=True)
        subprocess.run([restore, *said.split(), f"--dbname={urls[1]}", tmp_path / "d"], check=True)
        again = open_database(urls[1])
        SqlKeys(again).check(key, OTHER_WORKSPACE, now=NOW)
        again.dispose()
