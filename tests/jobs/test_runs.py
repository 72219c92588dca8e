"""Exports in a process of their own: what hangs is ended, what fails is told, and nothing is left. Real processes."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from obstore.store import S3Store

from export_engine.errors import OptionError
from export_engine.jobs.backends.archives import ObjectArchives, open_archives
from export_engine.jobs.backends.database import open_database
from export_engine.jobs.backends.files import FileConversations
from export_engine.jobs.backends.sql import SqlConversations
from export_engine.jobs.backends.store import SqlJobStore
from export_engine.jobs.errors import LimitError, spoken
from export_engine.jobs.job import Job, Status
from export_engine.jobs.testing import MemoryDirectory
from export_engine.jobs.worker import JobEvent, Worker
from export_engine.report import ExportReport
from export_engine.service.logs import JsonFormatter
from tests import s3
from tests.jobs.harness import CHANNEL, run_until
from tests.jobs.samples import new_job
from tests.jobs.sources import WAYS, Told

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what is left of processes is looked up in /proc"),
]

SHORT = timedelta(seconds=2)
#: Seconds within which a worker is at the next job: much more than it takes, much less than a hang.
SOON = 60.0


@dataclass
class Site:
    """A folder with jobs, archives and a source that does as it is told."""

    folder: Path
    store: SqlJobStore
    archives: ObjectArchives
    source: Told
    events: list[tuple[JobEvent, str]] = field(default_factory=list)

    def worker(self, **options: Any) -> Worker:
        """A worker over these, or over others where they are given."""
        parts: dict[str, Any] = {
            "store": self.store,
            "archives": self.archives,
            "directory": MemoryDirectory([CHANNEL]),
            "source": self.source,
            "observe": self.note,
            "poll": timedelta(milliseconds=5),
            "retry_export": timedelta(0),
        }
        return Worker(**parts | options)

    def note(self, event: JobEvent, job: Job, _report: ExportReport | None) -> None:
        """What its workers report."""
        self.events.append((event, job.id))

    def trigger(self, way: str | None = None, **fields: Any) -> Job:
        """A job that waits: told what to do, or to be exported well."""
        end = date(2026, 6, 30) if way is None else date(2026, 7, 1 + WAYS.index(way))
        job = new_job(**{"end_date": end, "created_time": datetime.now(UTC)} | fields)
        self.store.create(job)
        return job

    def current(self, job: Job) -> Job:
        """A job as it is now."""
        found = self.store.get(job.workspace_id, job.id)
        assert found is not None
        return found


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    engine = open_database(f"sqlite:///{tmp_path}/jobs.db")
    archives = open_archives(str(tmp_path / "archives"))
    yield Site(tmp_path, SqlJobStore(engine, max_attempts=1), archives, Told(tmp_path))
    engine.dispose()


@contextmanager
def nothing_left(site: Site) -> Iterator[None]:
    """No process, thread, descriptor or temporary file is more at the end of the block."""
    before = _threads(), _descriptors()
    yield
    assert _threads() <= before[0]
    assert _descriptors() <= before[1]
    assert _children() == []
    assert list((site.folder / "tmp").iterdir()) == []


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if "export" in thread.name or "lease" in thread.name}


def _descriptors() -> int:
    """How many there are, but for those of the database of jobs, whose pool keeps connections."""
    names = [os.path.realpath(name) for name in Path("/proc/self/fd").iterdir()]
    return sum("/jobs.db" not in name for name in names)


def _children() -> list[str]:
    """The programs of exports below this process, those that have ended and were not waited for with them."""
    listed = subprocess.run(
        ["ps", "-o", "state=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False
    )
    return [line for line in listed.stdout.splitlines() if "jobs.child" in line or line.startswith("Z")]


def gone(process: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until(true: Callable[[], object]) -> None:
    """Wait until something is so."""
    for _ in range(6000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it has not come to pass")


# --- what hangs ----------------------------------------------------------------------------------------------------


def failed_in_time(site: Site, worker: Worker, hangs: Job, well: Job) -> str:
    """Two jobs of which one hangs: it has failed, the other is done, nothing is left. What the first one says."""
    began = time.monotonic()
    with nothing_left(site):
        assert [worker.step(), worker.step()] == [True, True]
        worker.close()
    assert time.monotonic() - began < SOON
    done = site.current(hangs)
    assert (done.status, done.archive) == (Status.FAILED, None)
    assert site.current(well).status is Status.FINISHED
    assert [event for event, _ in site.events] == ["started", "failed", "started", "finished"]
    assert len(list(site.archives.paths())) == 1
    return done.error_message or ""


@pytest.mark.parametrize("way", ["hang", "hang_deaf"])
def test_a_source_that_hangs(site: Site, way: str) -> None:
    """Silent for too long it is ended, and killed where it heeds no signal; the message says that it may pass."""
    worker = site.worker(max_silence=SHORT)
    message = failed_in_time(site, worker, site.trigger(way), site.trigger())
    assert "nothing could be read or written for 2 seconds" in message
    assert "a fault that passes: trigger the export again later" in message


def test_a_pipe_for_a_channels_file(site: Site) -> None:
    """It is opened, and nobody ever writes to it."""
    other = "a1b2c3d4-1111-2222-3333-444455556666"
    places = site.folder / "conversations"
    places.mkdir()
    os.mkfifo(places / f"{CHANNEL.id}.jsonl")
    (places / f"{other}.jsonl").write_text(
        json.dumps({"id": "c", "contact": {}, "created_at": "2026-06-02T00:00:00Z", "messages": []}) + "\n"
    )
    hangs, well = site.trigger(), site.trigger(channel=other)
    directory = MemoryDirectory([CHANNEL, _renamed(other)])
    worker = site.worker(source=FileConversations(site.folder), directory=directory, max_silence=SHORT)
    assert "nothing could be read or written" in failed_in_time(site, worker, hangs, well)


def _renamed(id_: str) -> Any:
    return type(CHANNEL)(id_, CHANNEL.workspace_id, CHANNEL.type)


@contextmanager
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_database_that_takes_a_connection_and_says_nothing(site: Site) -> None:
    """As a server does that is frozen."""
    with silent() as port:
        engine = sa.create_engine(f"postgresql+psycopg://user@127.0.0.1:{port}/chats")
        hangs = site.trigger()
        with nothing_left(site):
            worker = site.worker(source=SqlConversations(engine), max_silence=SHORT)
            assert worker.step() is True
            worker.close()
    assert site.current(hangs).status is Status.FAILED
    assert "nothing could be read or written" in (site.current(hangs).error_message or "")


def test_a_bucket_that_takes_a_connection_and_says_nothing(site: Site) -> None:
    """It fails in the limit, whatever the store's own is; the next job, when the bucket answers, is done."""
    with s3.serving() as server:
        bucket = server.new_bucket()
        archives = ObjectArchives(S3Store(bucket.name, **bucket.config))
        worker = site.worker(archives=archives, max_silence=SHORT)
        hangs, well = site.trigger(), site.trigger(day=2)
        with nothing_left(site):
            with server.holding("PUT"):
                assert worker.step() is True
            assert worker.step() is True
            worker.close()
            archives = None  # type: ignore[assignment]  # its connections go with it
    assert site.current(hangs).status is Status.FAILED
    assert site.current(well).status is Status.FINISHED


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("jobs", [5, pytest.param(50, marks=pytest.mark.scale)])
def test_a_bucket_half_of_whose_requests_fail(site: Site, jobs: int) -> None:
    """Every job is done, be it at a later attempt; the bucket has the archives and nothing else."""
    chance = random.Random(20260611)  # noqa: S311  # a seed for tests
    store = SqlJobStore(site.store._engine, max_attempts=20)
    with s3.serving() as server:
        bucket = server.new_bucket()
        config = bucket.config | {"retry_config": {"max_retries": 0}}
        worker = site.worker(store=store, archives=ObjectArchives(S3Store(bucket.name, **config)))
        waiting = [site.trigger(end_date=date(2026, 8, 1) + timedelta(days=number)) for number in range(jobs)]
        server.failing = lambda: chance.random() < 0.5
        while worker.step():
            pass
        server.failing = lambda: False
        worker.close()
        done = [site.current(job) for job in waiting]
        assert {job.status for job in done} == {Status.FINISHED}
        assert sorted(bucket.keys()) == sorted(job.archive or "" for job in done)
    retried = [event for event, _ in site.events].count("retried")
    assert retried > 0
    print(f"{jobs} jobs, {retried} attempts failed")  # noqa: T201  # for who runs it by hand


def test_an_export_that_takes_too_long(site: Site) -> None:
    """It has failed for good, though there are attempts left: the message advises what can help."""
    store = SqlJobStore(site.store._engine, max_attempts=5)
    job = site.trigger("endless")
    with nothing_left(site):
        worker = site.worker(store=store, max_run=timedelta(seconds=2))
        worker.step()
        worker.close()
    done = site.current(job)
    assert (done.status, done.attempts) == (Status.FAILED, 1)
    assert "took longer than 2 seconds" in (done.error_message or "")
    assert "ask for a shorter range" in (done.error_message or "")
    assert list(site.archives.paths()) == []


def test_silence_is_tried_again(site: Site) -> None:
    """As often as there are attempts."""
    store = SqlJobStore(site.store._engine, max_attempts=2)
    job = site.trigger("hang")
    worker = site.worker(store=store, max_silence=SHORT)
    assert [worker.step(), worker.step(), worker.step()] == [True, True, False]
    worker.close()
    assert [event for event, _ in site.events] == ["started", "retried", "started", "failed"]
    assert site.current(job).attempts == 2


def test_an_export_that_is_slow(site: Site) -> None:
    """A row now and then is no silence, however long they take together."""
    job = site.trigger("slow")
    worker = site.worker(max_silence=timedelta(seconds=2))
    worker.step()
    worker.close()
    assert site.current(job).status is Status.FINISHED


@pytest.mark.parametrize("option", ["max_run", "max_silence", "lease"])
def test_no_time_at_all(site: Site, option: str) -> None:
    """A limit is longer than nothing."""
    with pytest.raises(OptionError) as caught:
        site.worker(**{option: timedelta(0)})
    assert caught.value.option == option


# --- what ends by itself -------------------------------------------------------------------------------------------


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


# --- what fails ----------------------------------------------------------------------------------------------------


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


# --- stopping ------------------------------------------------------------------------------------------------------


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


def test_a_stop_while_an_export_hangs(site: Site) -> None:
    """After the grace the job is handed back; the worker ends."""
    job = site.trigger("hang_deaf")
    with nothing_left(site):
        run_until(site.worker(grace=timedelta(0)), (site.folder / "hangs").exists)
    assert [event for event, _ in site.events] == ["started", "handed_back"]
    assert (site.current(job).status, site.current(job).attempts) == (Status.QUEUED, 0)


def test_a_job_that_is_cancelled(site: Site) -> None:
    """Its export is ended with the next beat, though it is silent."""
    job = site.trigger("hang")
    worker = site.worker(lease=timedelta(seconds=0.9))
    with nothing_left(site):
        thread = threading.Thread(target=worker.step)
        thread.start()
        until((site.folder / "hangs").exists)
        site.store.cancel(job.workspace_id, job.id, datetime.now(UTC))
        thread.join(60)
        assert not thread.is_alive()
        worker.close()
    assert [event for event, _ in site.events] == ["started", "lease_lost"]


def test_progress_is_kept_while_the_export_runs(site: Site) -> None:
    """The store has the rows, conversations and bytes so far."""
    job = site.trigger("endless")
    worker = site.worker(lease=timedelta(seconds=0.3))
    columns = "SELECT rows, conversations, bytes FROM export_job"

    def some() -> bool:
        with site.store._engine.begin() as connection:
            row = connection.exec_driver_sql(columns).one()
        return all(number is not None and number > 0 for number in row)

    thread = threading.Thread(target=worker.step)
    thread.start()
    try:
        until(some)
    finally:
        site.store.cancel(job.workspace_id, job.id, datetime.now(UTC))
        thread.join(60)
        worker.close()
    assert not thread.is_alive()


KILLED = """
import sys
from pathlib import Path
from tests.jobs.test_runs import of_a_folder
of_a_folder(Path(sys.argv[1])).step()
"""


def of_a_folder(folder: Path) -> Worker:
    """A worker as a process of its own has one."""
    engine = open_database(f"sqlite:///{folder}/jobs.db")
    site = Site(folder, SqlJobStore(engine), open_archives(str(folder / "archives")), Told(folder))
    return site.worker()


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


# --- in the worker's thread ----------------------------------------------------------------------------------------


def test_parts_that_do_not_pickle(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Their exports are made in this process, which the log says once."""
    worker = site.worker(archives=open_archives("memory://"))
    for day in (1, 2):
        site.trigger(day=day)
        worker.step()
    assert site.source.processes() == [os.getpid()]
    assert [event for event, _ in site.events] == ["started", "finished"] * 2
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "where one that hangs cannot be ended: TypeError" in record.getMessage()


def test_parts_of_a_module_that_the_process_has_not(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The same: they pickle, and nothing can be made of that."""

    class Local(MemoryDirectory):
        """Found by its name here alone."""

    Local.__qualname__ = "Local"
    Local.__module__ = "__main__"
    sys.modules["__main__"].Local = Local  # type: ignore[attr-defined]  # for a while
    try:
        job = site.trigger()
        with nothing_left(site):
            worker = site.worker(directory=Local([CHANNEL]))
            worker.step()
            worker.close()
    finally:
        del sys.modules["__main__"].Local
    assert site.current(job).status is Status.FINISHED
    assert site.source.processes() == [os.getpid()]
    assert "AttributeError" in caplog.text


def test_too_long_in_the_worker_s_thread(site: Site) -> None:
    """It is ended when it reads or writes the next time."""
    job = site.trigger("endless")
    site.worker(archives=open_archives("memory://"), max_run=timedelta(seconds=0.2)).step()
    assert "took longer than 0.2 seconds" in (site.current(job).error_message or "")


# --- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (timedelta(hours=6), "6 hours"),
        (timedelta(hours=1), "1 hour"),
        (timedelta(minutes=90), "90 minutes"),
        (timedelta(minutes=10), "10 minutes"),
        (timedelta(seconds=90), "90 seconds"),
        (timedelta(seconds=0.5), "0.5 seconds"),
        (timedelta(0), "0 seconds"),
    ],
)
def test_a_time_as_people_say_it(time: timedelta, words: str) -> None:
    """In the largest unit that is whole."""
    assert spoken(time) == words
    assert words in str(LimitError("max_silence", time))
