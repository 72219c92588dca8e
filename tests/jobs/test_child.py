"""The process that exports are made in: how it ends, what it tells of errors, its log. Real processes."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from export_engine.jobs.backends.store import SqlJobStore
from export_engine.jobs.job import Status
from export_engine.jobs.worker import JobEvent
from export_engine.service.logs import JsonFormatter
from tests.jobs.sites import REAL_PROCESSES, Site, gone, nothing_left, until

pytestmark = REAL_PROCESSES


@pytest.mark.parametrize("way", ["die", "leaves"])
def test_a_process_that_ends_by_itself(site: Site, way: str) -> None:
    """The job is tried again, and at last says that it was interrupted."""
    store = SqlJobStore(site.store._engine, max_attempts=2)
    job = site.trigger(way)
    with nothing_left(site):
        worker = site.worker(store=store)
        assert [worker.step(), worker.step()] == [True, True]
        worker.close()
    assert [event for event, _ in site.events] == ["started", "retried", "started", "failed"]
    assert "The export was interrupted" in (site.current(job).error_message or "")


def test_a_kept_process_that_has_gone(site: Site) -> None:
    """Another is begun; no attempt is lost over it."""
    worker = site.worker()
    jobs = [site.trigger(), site.trigger(day=2)]
    worker.step()
    [first] = site.source.processes()
    os.kill(first, signal.SIGKILL)
    worker.step()
    worker.close()
    assert [site.current(job).attempts for job in jobs] == [1, 1]
    assert [event for event, _ in site.events] == ["started", "finished"] * 2
    assert len(site.source.processes()) == 2


@pytest.mark.parametrize(
    ("way", "event", "words"),
    [
        ("wrong_row", "failed", "conversation 'c-7', message 'm-7', direction"),
        ("lost_connection", "failed", "could not be reached, and trying again did not help"),
        ("unportable", "failed", "a reason of ours, which triggering it again will not mend"),
    ],
)
def test_an_error_of_the_process(
    site: Site, caplog: pytest.LogCaptureFixture, way: str, event: JobEvent, words: str
) -> None:
    """It arrives whole, with what caused it; the log has where it was raised."""
    job = site.trigger(way)
    worker = site.worker()
    worker.step()
    worker.close()
    assert site.events[-1] == (event, job.id)
    assert words in (site.current(job).error_message or "")
    assert "hunter2" not in (site.current(job).error_message or "")
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    line = json.loads(JsonFormatter().format(record))
    assert job.id in line["message"]
    assert f"in {way}" in line["exception"]
    assert ("hunter2" in line["exception"]) == (way == "lost_connection")


def test_a_process_is_kept_until_an_export_fails(site: Site) -> None:
    """Two that go well are made in one process; after one that failed another is begun."""
    worker = site.worker()
    for number, way in enumerate([None, None, "wrong_row", None, None], 1):
        site.trigger(way, day=number)
        worker.step()
    worker.close()
    assert len(site.source.processes()) == 2


def test_log_records_of_the_process(
    site: Site, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """They are this process's, with what `extra` gave; what is printed goes to standard error."""
    caplog.set_level(logging.INFO)
    job = site.trigger("logs", key_id="0123456789abcdef")
    worker = site.worker()
    worker.step()
    worker.close()
    assert site.current(job).status is Status.FINISHED
    told, raised = [record for record in caplog.records if record.name == "tests.jobs.of_a_source"]
    line = json.loads(JsonFormatter().format(told))
    assert (line["message"], line["level"], line["job"]) == ("two of parts", "warning", "79f13adf")
    assert "lock" in line["held"]
    line = json.loads(JsonFormatter().format(raised))
    assert (line["exception"], line["job"]) == ("ValueError: within", job.id)
    assert line["workspace"] == job.workspace_id
    assert [json.loads(JsonFormatter().format(record))["key"] for record in (told, raised)] == [job.key_id] * 2
    assert "printed by a source" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_processes_while_one_begins(
    site: Site, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a terminal's Ctrl-C: however early it comes, it is the worker's to heed, and the export goes on."""

    class Signalled(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.send_signal(number)

    monkeypatch.setattr(subprocess, "Popen", Signalled)
    job, worker = site.trigger(), site.worker()
    worker.step()
    worker.close()
    assert site.current(job).status is Status.FINISHED
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {number}


KILLED = """
import sys
from pathlib import Path
from tests.jobs.sites import of_a_folder
of_a_folder(Path(sys.argv[1])).step()
"""


@pytest.mark.parametrize(("way", "mark"), [("hang_deaf", "hangs"), ("endless", "goes on")])
def test_a_worker_that_is_killed(site: Site, way: str, mark: str) -> None:
    """The process of its export ends with it, hanging or not."""
    site.trigger(way)
    worker = subprocess.Popen([sys.executable, "-c", KILLED, str(site.folder)], cwd=Path(__file__).parent.parent.parent)
    until((site.folder / mark).exists)
    worker.kill()
    worker.wait(60)
    [child] = site.source.processes()
    until(lambda: gone(child))
