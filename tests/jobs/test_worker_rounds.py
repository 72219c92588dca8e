"""What a worker does besides exporting: it tells people, and sweeps. Real stores and mail server, the test's clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from export_engine import ExportOptions, export_conversations
from export_engine.jobs.backends.archives import LinkError
from export_engine.jobs.backends.mail import SmtpMailer
from export_engine.jobs.job import Status
from tests.jobs.fakes import CHANNEL, DAYS, LEASE, Flaky, House, open_house, run_until, talk
from tests.jobs.smtp import Mailbox, mail_server


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with open_house(tmp_path) as opened:
        yield opened


# --- notices -------------------------------------------------------------------------------------------------------


def mailing(mailbox: Mailbox) -> SmtpMailer:
    return SmtpMailer("127.0.0.1", mailbox.port, sender="exports@example.com")


def body_of(mailbox: Mailbox) -> str:
    [message] = mailbox.messages
    body = message.get_body(["plain"])
    assert body is not None
    return str(body.get_content())


def test_a_mail_when_the_export_is_ready(house: House) -> None:
    """Sent once, with a link that holds until it expires."""
    job = house.trigger(notification_email="agent@example.com")
    quiet = house.trigger(day=2, created_time=house.clock() + timedelta(seconds=1))
    with mail_server() as mailbox:
        worker = house.worker(mailer=mailing(mailbox))
        assert [worker.step() for _ in range(5)] == [True, True, True, False, False]
        text = body_of(mailbox)
    assert mailbox.envelopes[0].rcpt_tos == ["agent@example.com"]
    # Before the next export, which may take long.
    assert house.happened[:3] == [("began", job.id), ("finished", job.id), ("told", job.id)]
    assert house.happened[3:] == [("began", quiet.id), ("finished", quiet.id)]
    link = urlsplit(next(line for line in text.splitlines() if line.startswith("http://127.0.0.1/downloads/")))
    query = {name: values[0] for name, values in parse_qs(link.query).items()}
    carried = (link.path.removeprefix("/downloads/"), query["name"], query["expires"], query["signature"])
    assert carried[0] == house.look(job).archive
    house.archives.check_link(*carried, house.clock() + timedelta(hours=23, minutes=59))
    with pytest.raises(LinkError):
        house.archives.check_link(*carried, house.clock() + timedelta(hours=24))


def test_a_mail_when_the_export_failed(house: House) -> None:
    """It says why, as the job does."""
    house.source.make = lambda: [talk("a"), talk("b"), talk("a")]
    job = house.trigger(notification_email="agent@example.com")
    with mail_server() as mailbox:
        worker = house.worker(mailer=mailing(mailbox))
        assert [worker.step() for _ in range(3)] == [True, True, False]
        text = body_of(mailbox)
    assert (house.look(job).error_message or "?") in " ".join(text.split())
    assert "failed" in mailbox.messages[0]["Subject"]


def test_a_mail_server_that_refuses(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """Three tries, then it is given up; the job stays finished."""
    job = house.trigger(notification_email="agent@example.com")
    with mail_server(Mailbox(refusal="550 no such person")) as mailbox:
        mailer = Flaky(mailing(mailbox))
        worker = house.worker(mailer=mailer)
        assert [worker.step() for _ in range(3)] == [True, True, False]
    assert mailer.called == ["send"] * 3
    assert house.look(job).status is Status.FINISHED
    assert house.happened[-1] == ("untold", job.id)
    assert job.id in caplog.text


def test_a_mail_server_that_comes_back(house: House) -> None:
    """The third try counts."""
    house.trigger(notification_email="agent@example.com")
    with mail_server() as mailbox:
        worker = house.worker(mailer=Flaky(mailing(mailbox), send=2))
        assert [worker.step() for _ in range(3)] == [True, True, False]
    assert len(mailbox.messages) == 1
    assert house.happened[-1][0] == "told"


# --- sweeping ------------------------------------------------------------------------------------------------------


def test_an_expired_archive_is_deleted(house: House) -> None:
    """24 hours after completion, not before; the job is remembered without it."""
    job = house.trigger()
    worker = house.worker()
    worker.step()
    house.clock.now += timedelta(hours=24) - timedelta(seconds=1)
    worker.sweep()
    assert len(house.kept()) == 1
    house.clock.now += timedelta(seconds=1)
    worker.sweep()
    assert house.kept() == []
    done = house.look(job)
    assert (done.status, done.archive) == (Status.FINISHED, None)


def test_more_expired_archives_than_are_given_at_once(house: House) -> None:
    """All are deleted in one sweep."""
    for number in range(230):
        house.trigger(end_date=date(2026, 7, 1) + timedelta(days=number))
    house.source.make = list
    worker = house.worker(options=ExportOptions(threads=1))
    while worker.step():
        pass
    assert len(house.kept()) == 230
    house.clock.now += timedelta(hours=24)
    worker.sweep()
    assert house.kept() == []


def test_an_archive_that_cannot_be_deleted(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """The others are; it is next time."""
    jobs = [house.trigger(), house.trigger(day=2)]
    worker = house.worker(archives=Flaky(house.archives, delete=1))
    worker.step()
    worker.step()
    house.clock.now += timedelta(hours=24)
    worker.sweep()
    [left] = house.kept()
    assert left in [house.look(job).archive for job in jobs]
    assert left in caplog.text
    worker.sweep()
    assert house.kept() == []


def test_an_archive_that_no_job_has(house: House) -> None:
    """It goes when it is a day old; those of jobs and of running attempts stay."""
    house.trigger()
    worker = house.worker()
    worker.step()
    [kept] = house.kept()
    house.trigger(day=2)
    lease = house.store.claim(house.clock(), LEASE)
    assert lease is not None
    running = f"{lease.job.id}/{lease.token}/running.zip"
    for path in (running, f"{lease.job.id}/earlier/lost.zip", "nobody/knows/this.zip"):
        house.archives.write(path, export_conversations([], channel=CHANNEL.channel, date_range=DAYS))
    house.clock.now += timedelta(hours=1)
    worker.sweep()
    assert len(house.kept()) == 4
    house.worker(orphan_age=timedelta(0)).sweep()
    assert sorted(house.kept()) == sorted([kept, running])
    house.clock.now += timedelta(hours=26)
    worker.sweep()
    assert house.kept() == [running]


def test_an_attempt_that_finishes_while_it_is_looked_at(house: House) -> None:
    """Its archive stays: whether it is active is asked before whether it is kept."""
    house.trigger()
    lease = house.take_over()
    path = f"{lease.job.id}/{lease.token}/a.zip"
    house.archives.write(path, export_conversations([], channel=CHANNEL.channel, date_range=DAYS))
    house.clock.now += timedelta(hours=1)

    class Finishing(Flaky):
        """A store at which the attempt ends just after the first question about it."""

        done = False

        def __getattr__(self, name: str) -> Any:
            asked = super().__getattr__(name)

            def answer(*args: Any, **kwargs: Any) -> Any:
                given = asked(*args, **kwargs)
                if name in ("active", "keeps") and not self.done:
                    self.done = True
                    house.store.finish(lease, house.clock(), archive=path, file_name="a.zip")
                return given

            return answer

    house.worker(store=Finishing(house.store), orphan_age=timedelta(0)).sweep()
    assert house.kept() == [path]


def test_the_loop_sweeps_now_and_then(house: House) -> None:
    """At the start, and whenever the clock has gone on by `sweep_every`."""
    store = Flaky(house.store)
    worker = house.worker(store=store, poll=timedelta(milliseconds=1), sweep_every=timedelta(minutes=5))
    run_until(worker, lambda: store.called.count("claim") > 20)
    assert store.called.count("expired") == 1

    def later() -> bool:
        house.clock.now += timedelta(minutes=5)
        return store.called.count("expired") > 3

    run_until(worker, later)
