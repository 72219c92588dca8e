"""What keeps the service running: health, metrics, logs, errors of its own, an end in good order."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from export_engine import Contact, Conversation, ExportOptions, Message
from export_engine.jobs.backends.agreement import set_options
from export_engine.jobs.backends.store import SqlJobStore
from export_engine.jobs.job import Status
from export_engine.jobs.worker import Worker
from export_engine.service.demo import DEMO_WORKSPACE
from export_engine.service.logs import REQUEST_ID, JsonFormatter
from tests.jobs.samples import new_job
from tests.service.running import BY_CHANNEL, JUNE, NOW, SMS, Service, serving, until


class Failing:
    """A job store or channel directory whose every question fails."""

    def __getattr__(self, name: str) -> Any:
        """Any method."""

        def fail(*_: object, **__: object) -> Any:
            raise ConnectionError(f"postgresql://user:hunter2@10.0.0.7 refused {name}")

        return fail


@pytest.mark.slow
def test_an_unexpected_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """500 with an id and nothing of the error; the log has both."""
    with serving(tmp_path, worker=False, directory=Failing()) as service:
        answer = service.trigger(JUNE)
    detail = answer.json()["detail"]
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (500, detail["error_id"])
    assert detail["message"] == "Something went wrong here. Quote the error_id to report it."
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "hunter2" in str(record.exc_info[1])


@pytest.mark.slow
def test_an_error_in_the_middle_of_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks, so that what has come is not taken for whole."""

    def torn(*_: object) -> Iterator[bytes]:
        yield b"PK"
        raise OSError("the disk is gone")

    with serving(tmp_path) as service:
        url = service.ended(service.trigger(JUNE))["presigned_url"]
        monkeypatch.setattr(service.archives, "read", torn)
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(url, timeout=90)


@pytest.mark.slow
def test_too_many_queued(tmp_path: Path) -> None:
    """429 with a time to try again."""
    with serving(tmp_path, worker=False) as service:
        service.components.store._max_queued = 1  # type: ignore[attr-defined]  # an SqlJobStore's
        assert service.trigger(JUNE).status_code == 202
        answer = service.trigger(BY_CHANNEL)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    assert "has 1 exports that wait to be started" in answer.json()["detail"]["message"]


@pytest.mark.slow
@pytest.mark.parametrize("mailer", [None, "in this process", "elsewhere"])
def test_no_e_mail_is_promised_in_vain(tmp_path: Path, mailer: str | None) -> None:
    """Only where somebody sends it: a worker here, or one at the same database within the last hour."""
    smtp = "smtp://127.0.0.1:9?from=exports@example.com" if mailer == "in this process" else None
    with serving(tmp_path, worker=False, smtp=smtp) as service:
        if mailer == "elsewhere":
            service.components.store.note_mailer(NOW - timedelta(minutes=59))
        answer = service.trigger(BY_CHANNEL).json()
        service.clock.forward(timedelta(minutes=1))
        later = service.trigger({**JUNE, "notification_email": "agent@example.com"}).json()
    promised = "Export job created. You will be emailed a download link when it is ready."
    plain = "Export job created. No e-mail is sent by this service: poll the job for its status and download link."
    assert list(answer) == ["export_job_id", "status", "message"]
    assert answer["message"] == (promised if mailer else plain)
    assert later["message"] == (promised if mailer == "in this process" else plain)


def test_health(service: Service) -> None:
    """200 while the database answers and the worker lives."""
    assert (answer := service.client.get("/healthz")).status_code == 200
    assert answer.json() == {"status": "ok"}


@pytest.mark.slow
def test_health_without_a_database(tmp_path: Path) -> None:
    """503, without saying where the database would be."""
    with serving(tmp_path, worker=False, store=Failing()) as service:
        answer = service.client.get("/healthz")
    assert (answer.status_code, answer.json()) == (503, {"status": "the database cannot be reached"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{}\n{\n", "channels.jsonl, line 1, id: is missing"),
        (None, "neither channels.jsonl nor channels.parquet"),
        ("folder", "Is a directory"),
    ],
)
def test_channels_that_cannot_be_read_any_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | None, says: str
) -> None:
    """503 for what asks for them, and the log says file and line; jobs are polled, and all is well once they are."""
    file = tmp_path / "demo" / "channels.jsonl"
    with serving(tmp_path, worker=False) as service:
        job_id = service.trigger(JUNE).json()["export_job_id"]
        kept = file.read_bytes()
        file.unlink()
        if content == "folder":
            file.mkdir()
        elif content is not None:
            file.write_text(content)
        channels = service.path().replace("export-conversations", "channels")
        for answer in (service.trigger(BY_CHANNEL), service.client.get(channels)):
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert "its list of channels" in answer.json()["detail"]["message"]
        assert [says in record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
            True
        ] * 2
        assert service.client.get("/healthz").json() == {"status": "the channels cannot be read"}
        assert service.client.get(service.path(job_id)).json()["status"] == "queued"
        if content == "folder":
            file.rmdir()
        file.write_bytes(kept)
        assert service.trigger(BY_CHANNEL).status_code == 202


@pytest.mark.slow
def test_options_that_are_changed_meanwhile(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """503 for what would make a job, and health says why; jobs are polled. A worker ends with the first job it sees."""
    with serving(tmp_path) as service:
        document = service.ended(service.trigger(JUNE))
        store = service.components.store
        engine = store._engine  # type: ignore[attr-defined]  # an SqlJobStore's
        set_options(engine, ExportOptions(timezone="Asia/Taipei"))
        answer = service.trigger(BY_CHANNEL)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "being changed" in answer.json()["detail"]["message"]
        health = service.client.get("/healthz")
        assert health.status_code == 503
        assert "start this process anew" in health.json()["status"]
        assert service.client.get(service.path(document["export_job_id"])).json() == document
        SqlJobStore(engine).create(new_job(created_time=NOW))
        until(lambda: service.client.get("/healthz").json()["status"] == "the worker has stopped")
        assert sum("start the worker anew" in record.getMessage() for record in caplog.records) == 1
        assert store.counts()[Status.QUEUED] == 1


@pytest.mark.slow
def test_health_without_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 once it has failed: jobs would be taken, and nobody would do them."""

    def fail(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(Worker, "run", fail)
    with serving(tmp_path) as service:
        until(lambda: service.client.get("/healthz").status_code == 503)
        assert service.client.get("/healthz").json() == {"status": "the worker has stopped"}


def metrics(service: Service) -> dict[str, float]:
    """The metrics by name and labels."""
    lines = [line for line in service.metrics.text().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.mark.slow
def test_metrics(tmp_path: Path) -> None:
    """Jobs by status, what was exported, requests by route and status; strangers' paths are one route."""
    with serving(tmp_path) as service:
        service.ended(service.trigger(JUNE))
        service.trigger({**JUNE, "start_date": "2026-06-12", "end_date": "2026-06-12"})
        service.client.get("/nowhere")
        service.client.get("/elsewhere")
        # Both are counted once they have been told of.
        told = ['http_requests_total{route="none",status="404"}', 'export_job_events_total{event="finished"}']
        until(lambda: [metrics(service).get(name) for name in told] == [2, 1])
        found = metrics(service)
    assert found['export_jobs{status="finished"}'] == 1
    assert found['export_jobs{status="queued"}'] == 0
    assert found['export_job_events_total{event="finished"}'] == 1
    assert found["export_rows_total"] > 100
    assert found["export_bytes_total"] > 1000
    assert found["export_seconds_count"] == 1
    for status in ("202", "400"):
        (route,) = [name for name in found if name.startswith("http_requests_total") and f'status="{status}"' in name]
        assert "/workspace/{workspace_id}/export-conversations" in route
        assert found[route] == 1
    assert found['http_requests_total{route="none",status="404"}'] == 2


@pytest.mark.slow
def test_what_belongs_to_no_channel_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the log as the service starts, and by a metric; the export that found nothing for it says so."""
    caplog.set_level(logging.INFO)
    place = tmp_path / "demo" / "conversations"
    place.mkdir(parents=True)
    (place / "SMS Support.jsonl").touch()
    with serving(tmp_path) as service:
        (place / f"{SMS}.jsonl").unlink()
        until(lambda: metrics(service).get('export_strays{kind="file"}') == 1)
        assert metrics(service)['export_strays{kind="channel"}'] == 0
        assert service.ended(service.trigger(JUNE))["status"] == "finished"
        until(lambda: [record for record in caplog.records if "has no conversation" in record.getMessage()])
    told = [record.getMessage() for record in caplog.records if "belong to no channel" in record.getMessage()]
    assert told == [
        "1 of kind file belong to no channel and are not exported: SMS Support.jsonl: name each after its channel's id"
    ]
    [empty] = [record for record in caplog.records if "has no conversation" in record.getMessage()]
    assert (empty.levelname, vars(empty)["rows"], vars(empty)["conversations"]) == ("WARNING", 0, 0)


def test_two_services_share_no_metrics(service: Service, idle: Service) -> None:
    """Each has a registry of its own."""
    service.client.get("/nowhere")
    assert 'http_requests_total{route="none",status="404"}' not in metrics(idle)


def test_a_line_of_the_log() -> None:
    """One object, with the request's id and what `extra` gave; whatever is in the message is one line."""
    record = logging.LogRecord("a.b", logging.WARNING, __file__, 1, "two\nlines %s", ("\ud800",), None)
    record.__dict__ |= {"job": "79f13adf", "created": NOW.timestamp()}
    token = REQUEST_ID.set("4711")
    try:
        line = JsonFormatter().format(record)
    finally:
        REQUEST_ID.reset(token)
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-06-11T06:50:43.861+00:00",
        "level": "warning",
        "logger": "a.b",
        "message": "two\nlines \ud800",
        "request": "4711",
        "job": "79f13adf",
    }


@pytest.mark.slow
def test_every_line_says_which_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its id, never its secret: of requests, once it is known to hold, and of whatever happens to the job."""
    caplog.set_level(logging.INFO)
    lines: list[dict[str, Any]] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(json.loads(JsonFormatter().format(record)))  # type: ignore[method-assign]  # a handler of few words
    logging.getLogger("export_engine").addHandler(handler)
    try:
        with serving(tmp_path) as service:
            service.ended(service.trigger(JUNE))
            service.client.get(service.path(), headers={"X-API-Key": service.key[:-1] + "!"})
            service.client.get("/healthz")
            until(lambda: [line for line in lines if line.get("path") == "/healthz"])
    finally:
        logging.getLogger("export_engine").removeHandler(handler)
    key_id = service.key.split("_")[1]
    of_jobs = [line for line in lines if "job" in line]
    assert [line["message"] for line in of_jobs] == [f"export job {what}" for what in ("queued", "started", "finished")]
    assert {line["key"] for line in of_jobs} == {key_id}
    keys = {(line["path"].rpartition("/")[2], line["status"]): line.get("key") for line in lines if "path" in line}
    assert keys["export-conversations", 202] == key_id
    assert keys["healthz", 200] is None
    assert service.key.split("_", 2)[2] not in json.dumps(lines)


def test_an_error_in_the_log() -> None:
    """Its traceback is part of the line."""
    record = logging.LogRecord("a", logging.ERROR, __file__, 1, "failed", (), (ValueError, ValueError("why"), None))
    assert json.loads(JsonFormatter().format(record))["exception"] == "ValueError: why"


@dataclass(frozen=True)
class Endless:
    """A source that does not come to its end; it makes the file once it is well under way."""

    begun: Path

    def conversations(self, *_: object) -> Iterator[Conversation]:
        """One conversation after the other, slowly."""
        time_of = datetime(2026, 6, 5, tzinfo=UTC)
        for number in count():
            if number == 20:
                self.begun.touch()
            messages = [Message(f"{number}-{n}", time_of, "inbound", "customer", "Hello") for n in range(1000)]
            yield Conversation(str(number), Contact("Jane Doe"), messages, time_of)
            time.sleep(0.005)


@pytest.mark.slow
def test_an_end_while_an_export_runs(tmp_path: Path) -> None:
    """The job is handed back, for the next worker to begin anew; nothing of the archive is left."""
    source = Endless(tmp_path / "begun")
    with serving(tmp_path, source=source, grace=timedelta(0)) as service:
        job_id = service.trigger(JUNE).json()["export_job_id"]
        until(source.begun.exists)
    job = service.components.store.get(DEMO_WORKSPACE, job_id)
    assert job is not None
    assert (job.status, job.attempts) == (Status.QUEUED, 0)
    assert list(service.archives.paths()) == []


@dataclass(frozen=True)
class Slow:
    """A source that ends soon after it was begun, which makes the file."""

    begun: Path

    def conversations(self, *_: object) -> Iterator[Conversation]:
        """One conversation, in the end."""
        self.begun.touch()
        time.sleep(1)
        yield Conversation("1", Contact("Jane Doe"), [], NOW - timedelta(days=5))


@pytest.mark.slow
def test_an_export_that_ends_within_the_grace(tmp_path: Path) -> None:
    """It is finished before the service has ended."""
    source = Slow(tmp_path / "begun")
    with serving(tmp_path, source=source) as service:
        job_id = service.trigger(BY_CHANNEL).json()["export_job_id"]
        until(source.begun.exists)
    job = service.components.store.get(DEMO_WORKSPACE, job_id)
    assert job is not None
    assert job.status is Status.FINISHED
