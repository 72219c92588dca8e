"""`worker` as an operator runs it, beside `serve`."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import httpx
import pytest

from export_engine import EXCEL, DateRange, ExportOptions, export_conversations
from export_engine.jobs.backends.files import open_files
from export_engine.jobs.backends.keys import SqlKeys
from export_engine.service.components import open_job_database
from export_engine.service.demo import DEMO_WORKSPACE, write_demo
from tests.cli.processes import invoke, needs_signals, running, shown
from tests.ports import free_port
from tests.service.running import JUNE, NOW, SMS, ended, until

pytestmark = needs_signals


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
        client = stack.enter_context(httpx.Client(headers={"X-API-Key": key}, timeout=90))
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
def test_workers_in_other_processes(tmp_path: Path) -> None:
    """Two of them share the jobs of a service without a worker; each job is done once. The environment sets them up."""
    write_demo(tmp_path / "conversations")
    port, *metrics = free_port(), free_port(), free_port()
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
        running(tmp_path, "one", "worker", "--metrics-port", str(metrics[0]), **environment) as one,
        running(tmp_path, "two", "worker", "--metrics-port", str(metrics[1]), **environment) as two,
        httpx.Client(headers={"X-API-Key": key}, timeout=90) as client,
    ):
        path = f"{url}/api/v1/workspace/{DEMO_WORKSPACE}/export-conversations"
        until(lambda: answers(client, f"{url}/healthz"))
        for each in metrics:
            until(lambda port=each: answers(client, f"http://127.0.0.1:{port}/metrics"))  # type: ignore[misc]  # as below
        bodies = [
            {"channel_id": SMS, "start_date": f"2026-06-{day:02}", "end_date": "2026-06-10"} for day in range(1, 5)
        ]
        jobs = [client.post(path, json=body).json()["export_job_id"] for body in bodies]
        documents = [ended(lambda job=job: client.get(f"{path}/{job}")) for job in jobs]  # type: ignore[misc]  # mypy has no type for a default of a lambda
        assert {client.get(document["presigned_url"]).status_code for document in documents} == {200}
        assert 'export_jobs{status="finished"} 4.0' in client.get(f"http://127.0.0.1:{metrics[0]}/metrics").text
        assert (one.stop(), two.stop(signal.SIGINT)) == (0, 0)
    lines = [line for process in (one, two) for line in process.lines()]
    assert sorted(line["job"] for line in lines if line["message"] == "export job started") == sorted(jobs)


#: A worker that is told to end as soon as its metrics are served.
ENDED_EARLY = """
import os, signal
from contextlib import contextmanager
from export_engine.cli import main
from export_engine.service.metrics import Metrics
served = Metrics.served
@contextmanager
def then_ended(*arguments):
    with served(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        yield
Metrics.served = then_ended
main()
"""


@pytest.mark.slow
def test_a_worker_that_is_ended_as_it_begins(tmp_path: Path) -> None:
    """An end in good order, from when it can be seen that it is there."""
    write_demo(tmp_path / "own")
    place: list[str | Path] = ["--data", tmp_path, "--conversations", tmp_path / "own"]
    place += ["--metrics-port", str(free_port())]
    with running(tmp_path, "worker", "worker", *place, program=ENDED_EARLY) as process:
        assert process.popen.wait(120) == 0


def answers(client: httpx.Client, url: str) -> bool:
    """Whether a service is there."""
    try:
        return client.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_a_mailing_worker_whose_links_are_the_buckets_own() -> None:
    """It needs to know of no service: what it is refused for is something else."""
    result = invoke("worker", "--smtp", "smtp://localhost?from=a@example.com", "--archives", "s3://bucket")
    assert result.stderr.startswith("error: --conversations: say where it is")
