"""Notices: apart from exports, at least once, on a schedule, given up for all to see. Real stores and mail servers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from export_engine.jobs.backends.mail import SmtpMailer
from export_engine.jobs.errors import LinkError
from export_engine.jobs.job import LINK_LIFE, Job, Status
from export_engine.jobs.notices import HELD, LONGEST_PAUSE
from export_engine.jobs.testing import RecordingMailer
from tests.jobs.harness import Flaky, Harness, one_message, open_harness, run_until
from tests.jobs.smtp import Mailbox, mail_server


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with open_harness(tmp_path) as opened:
        yield opened


def mailing(mailbox: Mailbox) -> SmtpMailer:
    return SmtpMailer("127.0.0.1", mailbox.port, sender="exports@example.com")


def body_of(mailbox: Mailbox) -> str:
    [message] = mailbox.messages
    body = message.get_body(["plain"])
    assert body is not None
    return str(body.get_content())


def test_a_mail_when_the_export_is_ready(harness: Harness) -> None:
    """Sent once, with a link that holds until it expires."""
    job = harness.trigger(notification_email="agent@example.com")
    quiet = harness.trigger(day=2, created_time=harness.clock() + timedelta(seconds=1))
    with mail_server() as mailbox:
        worker = harness.worker(mailer=mailing(mailbox))
        assert [worker.step() for _ in range(5)] == [True, True, True, False, False]
        text = body_of(mailbox)
    assert mailbox.envelopes[0].rcpt_tos == ["agent@example.com"]
    # Before the next export, which may take long.
    assert harness.events[:3] == [("started", job.id), ("finished", job.id), ("notified", job.id)]
    assert harness.events[3:] == [("started", quiet.id), ("finished", quiet.id)]
    link = urlsplit(next(line for line in text.splitlines() if line.startswith("http://127.0.0.1/downloads/")))
    query = {name: values[0] for name, values in parse_qs(link.query).items()}
    carried = (link.path.removeprefix("/downloads/"), query["name"], query["expires"], query["signature"])
    assert carried[0] == harness.current(job).archive
    harness.archives.check_link(*carried, harness.clock() + timedelta(hours=23, minutes=59))
    with pytest.raises(LinkError):
        harness.archives.check_link(*carried, harness.clock() + timedelta(hours=24))


def test_a_mail_when_the_export_failed(harness: Harness) -> None:
    """It says why, as the job does."""
    harness.source.make = lambda: [one_message("a"), one_message("b"), one_message("a")]
    job = harness.trigger(notification_email="agent@example.com")
    with mail_server() as mailbox:
        worker = harness.worker(mailer=mailing(mailbox))
        assert [worker.step() for _ in range(3)] == [True, True, False]
        text = body_of(mailbox)
    assert (harness.current(job).error_message or "?") in " ".join(text.split())
    assert "failed" in mailbox.messages[0]["Subject"]


def done(harness: Harness, **more: Any) -> Job:
    """A job with an address that has ended."""
    job = harness.trigger(notification_email="agent@example.com", **more)
    assert harness.worker().step() is True
    harness.events.clear()
    return harness.current(job)


@pytest.mark.slow
def test_a_mail_server_that_is_silent(harness: Harness) -> None:
    """It takes the connection and says nothing: exports go on all the same, and the worker ends when it is to."""
    told = done(harness)
    late: list[Job] = []
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mailer = Flaky(SmtpMailer("127.0.0.1", silent.getsockname()[1], sender="exports@example.com"))

        def stuck_and_done() -> bool:
            if mailer.called and not late:  # triggered only now, so that it cannot have been done before
                late.append(harness.trigger(day=2))
            return bool(late) and harness.current(late[0]).status is Status.FINISHED

        run_until(harness.worker(mailer=mailer, poll=timedelta(milliseconds=5)), stuck_and_done)
    # The server has gone: the thread that was left behind ends, before another test hears of it.
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()
    assert ("notified", told.id) not in harness.events


@pytest.mark.slow
def test_a_mail_server_that_is_down_for_hours(harness: Harness) -> None:
    """Tries are ever further apart, an hour at most; the mail arrives when the server is back, once."""
    job = done(harness)
    with mail_server() as mailbox:
        mailer = Flaky(mailing(mailbox), send=12)
        worker = harness.worker(mailer=mailer)
        times = []
        end = harness.clock() + timedelta(hours=10)
        while harness.clock() < end:
            if worker.step():
                times.append(harness.clock())
            harness.clock.now += timedelta(seconds=5)
    assert len(mailbox.messages) == 1
    assert [event for event, _ in harness.events] == ["notification_failed"] * 12 + ["notified"]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    for number, pause in enumerate(pauses):
        usual = min(timedelta(minutes=1) * 2**number, LONGEST_PAUSE)
        assert usual * 0.75 <= pause <= usual * 1.25 + timedelta(seconds=5)
    assert harness.current(job).status is Status.FINISHED


def test_a_mail_server_that_never_comes_back(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """The notice is given up when its link expires, with an event and an error in the log."""
    job = done(harness)
    with mail_server(Mailbox(refusal="450 later")) as mailbox:
        worker = harness.worker(mailer=mailing(mailbox))
        worker.step()
        while harness.events[-1] != ("notification_given_up", job.id):
            harness.clock.now += timedelta(minutes=20)
            worker.step()
    assert job.finished_time is not None
    assert (
        job.finished_time + timedelta(hours=22)
        < harness.clock()
        <= job.finished_time + LINK_LIFE + timedelta(minutes=20)
    )
    assert [event for event, _ in harness.events].count("notification_given_up") == 1
    assert f"the notice that export job {job.id} has finished is given up" in caplog.text
    harness.clock.now += timedelta(days=2)
    assert worker.step() is False


def test_a_notice_whose_link_has_expired(harness: Harness) -> None:
    """It is closed at once: the mail server is not even asked, and those behind it do not wait."""
    stale = done(harness)
    harness.clock.now += LINK_LIFE
    fresh = done(harness, day=2)
    with mail_server() as mailbox:
        mailer = Flaky(mailing(mailbox))
        worker = harness.worker(mailer=mailer)
        assert [worker.step() for _ in range(3)] == [True, True, False]
    assert mailer.called == ["send"]
    assert harness.events == [("notification_given_up", stale.id), ("notified", fresh.id)]


def test_a_worker_that_dies_over_a_notice(harness: Harness) -> None:
    """It is sent by another, later: at least once."""
    done(harness)
    with mail_server() as mailbox:

        class Killed(Flaky):
            def __getattr__(self, name: str) -> Any:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            harness.worker(mailer=Killed(object())).step()
        worker = harness.worker(mailer=mailing(mailbox))
        assert worker.step() is False
        harness.clock.now += HELD
        assert worker.step() is True
    assert len(mailbox.messages) == 1


def test_a_notice_that_cannot_be_written(harness: Harness) -> None:
    """An address that is none is given up at once."""
    job = harness.trigger(notification_email="a@b\nBcc: c@d")
    harness.worker().step()
    with mail_server() as mailbox:
        worker = harness.worker(mailer=mailing(mailbox))
        assert [worker.step() for _ in range(2)] == [True, False]
    assert harness.events[-1] == ("notification_given_up", job.id)
    assert mailbox.envelopes == []


@pytest.mark.slow
def test_it_is_noted_that_there_is_a_mailer(harness: Harness) -> None:
    """As soon as a worker with one runs, and again each minute; not by one without."""
    run_until(harness.worker(), lambda: True)
    assert not harness.store.has_mailer(harness.clock())
    worker = harness.worker(mailer=RecordingMailer(), poll=timedelta(0))
    run_until(worker, lambda: harness.store.has_mailer(harness.clock()))

    def an_hour_later() -> bool:
        harness.clock.now += timedelta(minutes=1)
        return harness.store.has_mailer(began + timedelta(hours=2))

    began = harness.clock()
    run_until(worker, an_hour_later)
