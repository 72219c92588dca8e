"""`serve`, `worker` and `key` as an operator runs them: processes, signals, exit codes, the environment."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from export_engine import EXCEL, DateRange, ExportOptions, export_conversations
from export_engine.cli.commands import commands
from export_engine.cli.service import SECRET_VARIABLE
from export_engine.jobs.backends.files import open_files
from export_engine.jobs.backends.keys import SqlKeys
from export_engine.jobs.errors import UnauthorizedError
from export_engine.service.components import open_components, open_job_database
from export_engine.service.demo import DEMO_WORKSPACE, write_demo
from export_engine.service.settings import Settings
from export_engine.verify import verify_archive
from tests.service.running import BY_CHANNEL, JUNE, NOW, OTHER_WORKSPACE, SMS, ended, until

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "export_engine"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("EXPORT_ENGINE")} | {
    "PYTHONPATH": str(ROOT)
}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def run(*arguments: str | Path, **environment: str) -> tuple[int, str, str]:
    """Run a command to its end; returns exit code, stdout and stderr. There is never a traceback."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], env=ENVIRONMENT | environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@dataclass
class Process:
    """A command that runs."""

    popen: subprocess.Popen[bytes]
    out: Path
    log: Path

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Have it end by a signal; returns its exit code."""
        self.popen.send_signal(number)
        return self.popen.wait(60)

    def lines(self) -> list[dict[str, Any]]:
        """Its log; every line of it is JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def running(folder: Path, name: str, *arguments: str | Path, **environment: str) -> Iterator[Process]:
    """A command while the block runs; what it prints and logs is in the folder."""
    out, log = folder / f"{name}.out", folder / f"{name}.log"
    with out.open("wb") as stdout, log.open("wb") as stderr:
        popen = subprocess.Popen(
            [*COMMAND, *map(str, arguments)], env=ENVIRONMENT | environment, stdout=stdout, stderr=stderr, umask=0
        )
        process = Process(popen, out, log)
        try:
            yield process
        finally:
            popen.kill()
            popen.wait(60)


def shown(process: Process) -> tuple[str, str]:
    """Where the demo is served, and its key."""
    until(lambda: "curl -o" in process.out.read_text() or process.popen.poll() is not None)
    text = process.out.read_text()
    assert "curl -o" in text, process.log.read_text()
    found = re.search(r"Serving demo data at (\S+), .*X-API-Key: (\S+)'", text, re.DOTALL)
    assert found is not None
    return found[1], found[2]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.mark.slow
def test_the_demo(tmp_path: Path) -> None:
    """One command, and what it prints can be pasted: trigger, poll, download. SIGTERM is an end in good order."""
    with running(tmp_path, "serve", "serve", "--port", "0", TMPDIR=str(tmp_path)) as process:
        url, key = shown(process)
        trigger, poll, download = re.findall(r"^curl .*?(?=\n\n)", process.out.read_text(), re.DOTALL | re.MULTILINE)

        def paste(command: str) -> httpx.Response:
            done = subprocess.run(["sh", "-c", f"{command} -sS"], cwd=tmp_path, capture_output=True, check=True)
            return httpx.Response(200, content=done.stdout)

        job_id = paste(trigger).json()["export_job_id"]
        document = ended(lambda: paste(poll.replace("<export_job_id>", job_id)))
        assert document["presigned_url"].startswith(f"{url}/downloads/")
        paste(download.replace("<presigned_url>", document["presigned_url"]))
        assert verify_archive(tmp_path / "conversations.zip").ok
        assert process.stop() == 0
        lines = process.lines()
    signature = document["presigned_url"].rpartition("=")[2]
    log = process.log.read_text()
    assert key not in log
    assert signature not in log
    assert {line.get("job") for line in lines if line["message"] in ("export job queued", "export job finished")} == {
        job_id
    }
    assert {line["status"] for line in lines if line["message"] == "request"} == {200, 202}
    assert [path.name for path in tmp_path.glob("export-engine-*")] == []


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_an_export_that_hangs(tmp_path: Path) -> None:
    """Its job fails in the limit that was given, its error tells which; another channel's is done. Nothing is left."""
    data = tmp_path / "data"
    write_demo(data / "demo")
    [file] = (data / "demo" / "conversations").glob(f"{SMS}*")
    file.unlink()
    os.mkfifo(file.with_name(f"{SMS}.jsonl"))
    limits = {"MAX_SILENCE": "2", "MAX_ATTEMPTS": "1", "LEASE": "30", "MAX_RUN": "300"}
    environment = {f"EXPORT_ENGINE_{name}": value for name, value in limits.items()}
    serve: list[str | Path] = ["serve", "--port", "0", "--data", data]
    with running(tmp_path, "serve", *serve, TMPDIR=str(tmp_path), **environment) as process:
        url, key = shown(process)
        with httpx.Client(headers={"X-API-Key": key}) as client:
            path = f"{url}/api/v1/workspace/{DEMO_WORKSPACE}/export-conversations"
            jobs = [client.post(path, json=body).json()["export_job_id"] for body in (JUNE, BY_CHANNEL)]
            hung, done = (ended(partial(client.get, f"{path}/{job_id}")) for job_id in jobs)
        assert process.stop() == 0
    assert (hung["status"], done["status"]) == ("failed", "finished")
    assert "nothing could be read or written for 2 seconds" in hung["error_message"]
    assert [path.name for path in tmp_path.glob("export-engine-*")] == []


@pytest.mark.slow
def test_ones_own_data(tmp_path: Path) -> None:
    """It says where it listens, on the port that it got, and what comes next: make a key, list channels, trigger."""
    write_demo(tmp_path / "own")
    arguments: list[str | Path] = ["serve", "--port", "0", "--data", tmp_path / "a folder", "--conversations"]
    with running(tmp_path, "serve", *arguments, tmp_path / "own") as process:
        until(lambda: "end_date" in process.out.read_text() or process.popen.poll() is not None)
        text = process.out.read_text()
        url = re.findall(r"^Serving at (http://127\.0\.0\.1:[1-9]\d+), until Ctrl-C", text)[0]
        [make] = re.findall(r"^export-engine (.*)$", text, re.MULTILINE)
        code, key, _ = run(*shlex.split(make.replace("<workspace_id>", DEMO_WORKSPACE)))
        assert code == 0

        def paste(command: str) -> Any:
            for name, value in (("workspace_id", DEMO_WORKSPACE), ("your_api_key", key.strip()), ("channel_id", SMS)):
                command = command.replace(f"<{name}>", value)
            done = subprocess.run(["sh", "-c", f"{command} -sS"], capture_output=True, check=True)
            return json.loads(done.stdout)

        channels, trigger = re.findall(r"^curl .*?'$(?=\n\n|\n\Z)", text, re.DOTALL | re.MULTILINE)
        assert url in channels
        assert SMS in [channel["channel_id"] for channel in paste(channels)["channels"]]
        assert paste(trigger)["status"] == "queued"
        assert process.stop() == 0


@pytest.mark.slow
def test_where_it_listens_and_is_reached(tmp_path: Path) -> None:
    """Both are said where they differ, and where the metrics are; no worker here is said, too."""
    write_demo(tmp_path / "own")
    metrics = str(free_port())
    arguments: list[str | Path] = ["serve", "--port", "0", "--workers", "0", "--metrics-port", metrics]
    arguments += ["--public-url", "https://exports.example.com", "--database", f"sqlite:///{tmp_path}/jobs.db"]
    with running(tmp_path, "serve", *arguments, "--conversations", tmp_path / "own") as process:
        until(lambda: "Metrics" in process.out.read_text() or process.popen.poll() is not None)
        text = process.out.read_text()
        assert text.startswith("Serving at https://exports.example.com, until Ctrl-C")
        assert "export-engine worker, started apart" in text
        assert "key create --workspace <workspace_id>\n" in text
        assert "'https://exports.example.com/api/v1/workspace/<workspace_id>/channels'" in text
        assert re.search(r"^Listening on http://127\.0\.0\.1:[1-9]\d+\.$", text, re.MULTILINE)
        assert f"Metrics are at http://127.0.0.1:{metrics}/metrics." in text
        until(lambda: "export_jobs" in httpx.get(f"http://127.0.0.1:{metrics}/metrics").text)
        assert process.stop() == 0


SHAPE = {"compression": "small", "excel": "1", "timezone": "Asia/Taipei"}
ARGUMENTS = ("--compression", "small", "--excel", "--timezone", "Asia/Taipei")
ENVIRON = {f"EXPORT_ENGINE_{name.upper()}": value for name, value in SHAPE.items()}


@pytest.mark.slow
@pytest.mark.parametrize("said", ["serve", "serve by the environment", "worker"])
def test_options_shape_the_archives(tmp_path: Path, said: str) -> None:
    """A job's archive is, byte for byte, what the library makes with those options."""
    data, port = tmp_path / "data", str(free_port())
    separate = ("--workers", "0") if said == "worker" else ()
    arguments: tuple[str, ...] = ARGUMENTS if said != "serve by the environment" else ()
    environment = {} if arguments else ENVIRON
    serve: list[str | Path] = ["serve", "--port", port, "--data", data, *separate, *arguments]
    with ExitStack() as stack:
        url, key = shown(stack.enter_context(running(tmp_path, "serve", *serve, **environment)))
        if separate:
            work: list[str | Path] = [
                "worker",
                "--data",
                data,
                "--conversations",
                data / "demo",
                "--public-url",
                url,
                *arguments,
            ]
            stack.enter_context(running(tmp_path, "worker", *work))
        client = stack.enter_context(httpx.Client(headers={"X-API-Key": key}))
        path = f"{url}/api/v1/workspace/{DEMO_WORKSPACE}/export-conversations"
        job_id = client.post(path, json=JUNE).json()["export_job_id"]
        document = ended(lambda: client.get(f"{path}/{job_id}"))
        archive = client.get(document["presigned_url"]).content
    directory, source = open_files(data / "demo")
    [channel] = directory.find(DEMO_WORKSPACE, channel_id=SMS)
    date_range = DateRange(date(2026, 6, 1), date(2026, 6, 10))

    def export(options: ExportOptions) -> bytes:
        conversations = source.conversations(channel, date_range, options)
        made = export_conversations(
            conversations, channel=channel.channel, date_range=date_range, options=options, export_id=job_id[:8]
        )
        return b"".join(made)

    assert archive == export(ExportOptions(compression="small", dialect=EXCEL, timezone="Asia/Taipei"))
    assert archive != export(ExportOptions())


@pytest.mark.slow
def test_a_folder_is_kept(tmp_path: Path) -> None:
    """With --data all outlives the process: keys, archives, links, and the job that was under way at its end."""
    data, port = tmp_path / "data", str(free_port())
    with running(tmp_path, "first", "serve", "--port", port, "--data", data, "--grace", "0") as process:
        url, key = shown(process)
        path = f"{url}/api/v1/workspace/{DEMO_WORKSPACE}/export-conversations"
        with httpx.Client(headers={"X-API-Key": key}) as client:
            job_id = client.post(path, json=JUNE).json()["export_job_id"]
            document = ended(lambda: client.get(f"{path}/{job_id}"))
            later = client.post(path, json=JUNE).json()["export_job_id"]
        assert process.stop(signal.SIGINT) == 0
    modes = {stat.S_IMODE(path.stat().st_mode) for path in data.rglob("*") if not path.is_dir()}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in (data, *data.rglob("*")) if path.is_dir()}
    assert (modes, folders) == ({0o600}, {0o700})
    with (
        running(tmp_path, "second", "serve", "--port", port, "--data", data) as process,
        httpx.Client(headers={"X-API-Key": key}) as client,
    ):
        shown(process)
        assert client.get(f"{path}/{job_id}").json() == document
        assert client.get(document["presigned_url"]).status_code == 200
        assert ended(lambda: client.get(f"{path}/{later}"))["status"] == "finished"


@pytest.mark.slow
def test_workers_in_other_processes(tmp_path: Path) -> None:
    """Two of them share the jobs of a service without a worker; each job is done once. The environment sets them up."""
    write_demo(tmp_path / "conversations")
    port, metrics = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        "EXPORT_ENGINE_DATABASE": f"sqlite:///{tmp_path}/jobs.db",
        "EXPORT_ENGINE_ARCHIVES": str(tmp_path / "archives"),
        "EXPORT_ENGINE_CONVERSATIONS": str(tmp_path / "conversations"),
        "EXPORT_ENGINE_SECRET": "0123456789abcdef0123456789abcdef",
        "EXPORT_ENGINE_PUBLIC_URL": url,
    }
    with open_job_database(database=environment["EXPORT_ENGINE_DATABASE"], data=None) as engine:
        key = SqlKeys(engine).create(DEMO_WORKSPACE, now=NOW)
    with (
        running(tmp_path, "serve", "serve", "--workers", "0", EXPORT_ENGINE_PORT=str(port), **environment),
        running(tmp_path, "one", "worker", "--metrics-port", str(metrics), **environment) as one,
        running(tmp_path, "two", "worker", **environment) as two,
        httpx.Client(transport=httpx.HTTPTransport(retries=10), headers={"X-API-Key": key}) as client,
    ):
        path = f"{url}/api/v1/workspace/{DEMO_WORKSPACE}/export-conversations"
        until(lambda: answers(client, f"{url}/healthz"))
        bodies = [
            {"channel_id": SMS, "start_date": f"2026-06-{day:02}", "end_date": "2026-06-10"} for day in range(1, 5)
        ]
        jobs = [client.post(path, json=body).json()["export_job_id"] for body in bodies]
        documents = [ended(lambda job=job: client.get(f"{path}/{job}")) for job in jobs]  # type: ignore[misc]  # mypy has no type for a default of a lambda
        assert {client.get(document["presigned_url"]).status_code for document in documents} == {200}
        assert 'export_jobs{status="finished"} 4.0' in client.get(f"http://127.0.0.1:{metrics}/metrics").text
        assert (one.stop(), two.stop(signal.SIGINT)) == (0, 0)
    lines = [line for process in (one, two) for line in process.lines()]
    assert sorted(line["job"] for line in lines if line["message"] == "export job started") == sorted(jobs)


def answers(client: httpx.Client, url: str) -> bool:
    """Whether a service is there."""
    try:
        return client.get(url).status_code == 200
    except httpx.TransportError:
        return False


def invoke(*arguments: str | Path) -> Result:
    """Run a command in this process, as far as it comes before it serves."""
    return CliRunner().invoke(commands, [*map(str, arguments)], env=dict.fromkeys(os.environ.keys() - ENVIRONMENT))


def test_keys(tmp_path: Path) -> None:
    """Made, used, revoked; what is printed is the key alone."""
    made = invoke("key", "create", "--workspace", OTHER_WORKSPACE.upper(), "--data", tmp_path)
    assert (made.exit_code, made.stderr) == (0, "")
    assert re.fullmatch(r"ek_[0-9a-f]{16}_[\w-]{43}\n", made.stdout)
    with open_job_database(database=None, data=tmp_path) as engine:
        keys = SqlKeys(engine)
        keys.check(made.stdout.strip(), OTHER_WORKSPACE, now=NOW)
        revoked = invoke("key", "revoke", made.stdout.split("_")[1], "--data", tmp_path)
        assert (revoked.exit_code, revoked.output) == (0, "revoked\n")
        with pytest.raises(UnauthorizedError):
            keys.check(made.stdout.strip(), OTHER_WORKSPACE, now=NOW)
    named = ("--name", "billing", "--expires", "2999-01-01")
    assert invoke("key", "create", "--workspace", OTHER_WORKSPACE, *named, "--data", tmp_path).exit_code == 0
    listed = [line.split("\t") for line in invoke("key", "list", "--data", tmp_path).stdout.splitlines()]
    assert [line[1:3] + line[4:] for line in listed] == [
        [OTHER_WORKSPACE, "revoked", "-", "2026-06-11 06:50", "-"],
        [OTHER_WORKSPACE, "holds", "2999-01-01 00:00", "-", "billing"],
    ]
    assert listed[0][0] == made.stdout.split("_")[1]
    late = invoke("key", "create", "--workspace", OTHER_WORKSPACE, "--expires", "2026-01-01", "--data", tmp_path)
    assert late.exit_code == 2
    assert late.stderr.startswith("error: --expires: the key would have expired at 2026-01-01 00:00:00+00:00")
    missing = invoke("key", "revoke", "0123456789abcdef", "--data", tmp_path)
    assert missing.exit_code == 1
    assert missing.stderr == "Error: there is no key of that id: give the part between ek_ and the next _\n"


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


def test_a_mailing_worker_whose_links_are_the_buckets_own() -> None:
    """It needs to know of no service: what it is refused for is something else."""
    result = invoke("worker", "--smtp", "smtp://localhost?from=a@example.com", "--archives", "s3://bucket")
    assert result.stderr.startswith("error: --conversations: say where it is")


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
@pytest.mark.parametrize("option", ["database", "conversations"])
def test_a_database_that_is_not_there(option: str) -> None:
    """One line, without the password."""
    variable = {f"EXPORT_ENGINE_{option.upper()}": "postgresql://u:hunter2@127.0.0.1:1/x"}
    code, _, errors = run("serve", "--port", "0", **variable)
    assert (code, errors.count("\n")) == (1, 1)
    assert errors.startswith(f"error: --{option}: the database cannot be used: connection failed")
    assert "hunter2" not in errors


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


def test_a_secret_of_any_bytes() -> None:
    """Also where they are no text."""
    result = CliRunner().invoke(commands, ["serve", "--database", "ftp://x"], env={SECRET_VARIABLE: "\udcff" * 32})
    assert (result.exit_code, result.stderr[:18]) == (2, "error: --database:")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_terminal_that_goes_is_an_end_in_good_order(tmp_path: Path, command: str, number: signal.Signals) -> None:
    """As SIGTERM is: what is at hand is finished or handed back, and nothing is left."""
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored here, as below nohup, and so by what is started")
    data = tmp_path / "data"
    write_demo(data / "demo")
    (temporary := tmp_path / "tmp").mkdir()
    pipe = next((data / "demo" / "conversations").iterdir())
    pipe.unlink()
    os.mkfifo(pipe)
    where: list[str | Path] = ["--data", data, "--grace", "1"]
    with ExitStack() as stack:
        workers = ("--workers", "0") if command == "worker" else ()
        process = stack.enter_context(
            running(tmp_path, "serve", "serve", "--port", "0", *workers, *where, TMPDIR=str(temporary))
        )
        url, key = shown(process)
        if command == "worker":
            process = stack.enter_context(running(tmp_path, "worker", "worker", *where, TMPDIR=str(temporary)))
        path = f"{url}/api/v1/workspace/{DEMO_WORKSPACE}/export-conversations"
        body = {"channel_id": pipe.name.split(".")[0], "start_date": "2026-02-01", "end_date": "2026-02-02"}
        assert httpx.post(path, json=body, headers={"X-API-Key": key}).status_code == 202
        until(lambda: any(line["message"] == "export job started" for line in process.lines()))
        assert process.stop(number) == 0
        assert not [line for line in process.lines() if line["level"] != "info"]
        assert list(temporary.iterdir()) == []
    with closing(sqlite3.connect(data / "jobs.sqlite")) as jobs:
        assert jobs.execute("SELECT status, attempts FROM export_job").fetchall() == [("queued", 0)]


def test_a_port_that_is_taken() -> None:
    """Says so, with advice."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        result = invoke("serve", "--port", str(port))
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: cannot listen on 127.0.0.1 port {port}: ")
    assert result.stderr.count("\n") == 1


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
    assert errors == "Error: uvicorn is missing, which the service needs: pip install 'export-engine[service]'\n"
