"""`serve` as an operator runs it: what it prints, what is done there, how it ends."""

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
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from export_engine.service.demo import DEMO_WORKSPACE, write_demo
from export_engine.verify import verify_archive
from tests.cli.processes import invoke, needs_signals, run, running, shown
from tests.ports import free_port
from tests.service.running import BY_CHANNEL, JUNE, SMS, ended, until

pytestmark = needs_signals


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
def test_an_export_that_hangs(tmp_path: Path) -> None:
    """Its job fails in the limit that was given, its error tells which; another channel's is done. Nothing is left."""
    data = tmp_path / "data"
    write_demo(data / "demo")
    [file] = (data / "demo" / "conversations").glob(f"{SMS}*")
    file.unlink()
    os.mkfifo(file.with_name(f"{SMS}.jsonl"))
    limits = {"MAX_SILENCE": "6", "MAX_ATTEMPTS": "1", "LEASE": "30", "MAX_RUN": "300"}
    environment = {f"EXPORT_ENGINE_{name}": value for name, value in limits.items()}
    serve: list[str | Path] = ["serve", "--port", "0", "--data", data]
    with running(tmp_path, "serve", *serve, TMPDIR=str(tmp_path), **environment) as process:
        url, key = shown(process)
        with httpx.Client(headers={"X-API-Key": key}, timeout=90) as client:
            path = f"{url}/api/v1/workspace/{DEMO_WORKSPACE}/export-conversations"
            jobs = [client.post(path, json=body).json()["export_job_id"] for body in (JUNE, BY_CHANNEL)]
            hung, done = (ended(partial(client.get, f"{path}/{job_id}")) for job_id in jobs)
        assert process.stop() == 0
    assert (hung["status"], done["status"]) == ("failed", "finished")
    assert "nothing could be read or written for 6 seconds" in hung["error_message"]
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
        [url] = re.findall(r"^Listening on (http://127\.0\.0\.1:[1-9]\d+)\.$", text, re.MULTILINE)
        assert f"Metrics are at http://127.0.0.1:{metrics}/metrics." in text
        assert "export_jobs" in httpx.get(f"http://127.0.0.1:{metrics}/metrics", timeout=90).text
        # A signal before it serves would be no end in good order.
        assert httpx.get(f"{url}/healthz", timeout=90).status_code == 200
        assert process.stop() == 0


@pytest.mark.slow
def test_a_folder_is_kept(tmp_path: Path) -> None:
    """With --data all outlives the process: keys, archives, links, and the job that was under way at its end."""
    data, port = tmp_path / "data", str(free_port())
    with running(tmp_path, "first", "serve", "--port", port, "--data", data, "--grace", "0") as process:
        url, key = shown(process)
        path = f"{url}/api/v1/workspace/{DEMO_WORKSPACE}/export-conversations"
        with httpx.Client(headers={"X-API-Key": key}, timeout=90) as client:
            job_id = client.post(path, json=JUNE).json()["export_job_id"]
            document = ended(lambda: client.get(f"{path}/{job_id}"))
            later = client.post(path, json=JUNE).json()["export_job_id"]
        assert process.stop(signal.SIGINT) == 0
    modes = {stat.S_IMODE(path.stat().st_mode) for path in data.rglob("*") if not path.is_dir()}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in (data, *data.rglob("*")) if path.is_dir()}
    assert (modes, folders) == ({0o600}, {0o700})
    with (
        running(tmp_path, "second", "serve", "--port", port, "--data", data) as process,
        httpx.Client(headers={"X-API-Key": key}, timeout=90) as client,
    ):
        shown(process)
        assert client.get(f"{path}/{job_id}").json() == document
        assert client.get(document["presigned_url"]).status_code == 200
        assert ended(lambda: client.get(f"{path}/{later}"))["status"] == "finished"


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
        assert httpx.post(path, json=body, headers={"X-API-Key": key}, timeout=90).status_code == 202
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
