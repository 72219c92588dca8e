"""A mailer that does not come to an end: other notices are sent, and its own is tried again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from export_engine.jobs import notices
from export_engine.jobs.backends.mail import SmtpMailer
from export_engine.jobs.notices import LONGEST_PAUSE
from export_engine.jobs.testing import RecordingMailer
from tests.jobs.harness import Harness, open_harness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with open_harness(tmp_path) as opened:
        yield opened


@contextmanager
def endless_server() -> Iterator[int]:
    """One that greets line by line and never comes to the last; yields its port."""
    over = threading.Event()

    def greet(listener: socket.socket) -> None:
        with suppress(OSError):  # nobody listens any more
            connection, _ = listener.accept()
            with connection:
                while not over.wait(0.02):
                    connection.sendall(b"220-one moment, please\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=greet, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        over.set()
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.timeout(60)
def test_a_server_that_talks_and_talks(
    harness: Harness, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer takes too long, and yet there is no end: it is put off, and sent by whoever can."""
    job = harness.trigger(notification_email="agent@example.com")
    with endless_server() as port, monkeypatch.context() as hurry:
        hurry.setattr(notices, "LONGEST_SEND", timedelta(seconds=0.2))
        worker = harness.worker(mailer=SmtpMailer("127.0.0.1", port, sender="exports@example.com"))
        assert [worker.step() for _ in range(3)] == [True, True, False]
    assert harness.events[-1] == ("notification_failed", job.id)
    assert "was not sent within 0.2 seconds" in caplog.text
    assert "agent@example.com" not in caplog.text
    harness.clock.now += LONGEST_PAUSE
    assert harness.worker(mailer=RecordingMailer()).step() is True
    assert harness.events[-1] == ("notified", job.id)


@pytest.mark.timeout(60)
def test_others_are_sent(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those behind one whose mailer hangs."""
    going = threading.Event()
    sent = RecordingMailer()
    first = harness.trigger(notification_email="first@example.com")
    second = harness.trigger(
        day=2, created_time=harness.clock() + timedelta(seconds=1), notification_email="second@example.com"
    )

    class Hanging(RecordingMailer):
        def send(self, job: object, *, link: str | None) -> None:
            if job.id == first.id:  # type: ignore[attr-defined]  # a Job
                going.wait(50)
            else:
                sent.send(job, link=link)  # type: ignore[arg-type]  # a Job

    worker = harness.worker(mailer=Hanging())
    worker.step()
    with monkeypatch.context() as hurry:
        hurry.setattr(notices, "LONGEST_SEND", timedelta(seconds=0.1))
        worker.step()
    assert harness.events[-1] == ("notification_failed", first.id)
    while worker.step():
        pass
    going.set()
    assert harness.events[-1] == ("notified", second.id)
