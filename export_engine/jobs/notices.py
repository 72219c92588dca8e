"""The e-mails: that an export has ended, sent apart from exports, so that neither waits for the other.

Each is sent at least once, or given up for all to see. A notice is taken for `HELD`; whoever dies over it leaves it to
another, so it may be sent twice, with the same Message-ID. So may one whose mailer takes longer than `LONGEST_SEND`,
whatever it waits for: it is left to a thread of its own, and counts as one that could not be sent. Such a one is tried
again, later each time and at most `LONGEST_PAUSE` later, for as long as its link lives: the schedule is kept in the
store, and a mail server that is down for hours delays mail and loses none. Then, or at once if there can be no such
message, it is given up, with an event and a record in the log; so is one whose link has expired before anybody got to
it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Literal

from export_engine.jobs.errors import spoken
from export_engine.jobs.failures import ENDS
from export_engine.jobs.job import LINK_LIFE, Job
from export_engine.jobs.ports import ArchiveStore, JobStore, Mailer, Notice

__all__ = ["FIRST_PAUSE", "HELD", "LONGEST_PAUSE", "LONGEST_SEND", "NOTED_EVERY", "NoticeEvent", "Notices"]

#: How long a mailer may take to send one: a server may say a word every few seconds, and never come to an end.
LONGEST_SEND = timedelta(minutes=5)
#: How long nobody else takes a notice that was taken.
HELD = 2 * LONGEST_SEND
#: How long a notice is left alone after its first try; twice as long after each more, up to `LONGEST_PAUSE`.
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)

#: How often it is noted that a mailer is at work.
NOTED_EVERY = timedelta(minutes=1)

NoticeEvent = Literal["notified", "notification_failed", "notification_given_up"]

_log = logging.getLogger(__name__)


class Notices:
    """Sends notices, one at a time.

    `told` is called with `notified`, `notification_failed` (it is tried again) or `notification_given_up`, and the job.
    """

    def __init__(
        self,
        store: JobStore,
        archives: ArchiveStore,
        mailer: Mailer,
        *,
        clock: Callable[[], datetime],
        told: Callable[[NoticeEvent, Job], object],
    ) -> None:
        self._store, self._archives, self._mailer, self._clock, self._told = store, archives, mailer, clock, told

    def run(self, stop: Event, poll: timedelta) -> None:
        """Send notices until `stop` is set, and note now and then that somebody does; what goes wrong is logged."""
        note_at = self._clock()
        while not stop.is_set():
            try:
                if self._clock() >= note_at:
                    note_at = self._clock() + NOTED_EVERY
                    self._store.note_mailer(self._clock())
                if self.step():
                    continue
            except ENDS:
                raise
            except BaseException:  # noqa: BLE001  # the loop is to outlive whatever the stores raise
                _log.exception("notices go on after an error")
            stop.wait(poll.total_seconds())

    def step(self) -> bool:
        """Send one notice, or put it off; False if there was none. Raises what the store of jobs raises."""
        now = self._clock()
        notice = self._store.take_notice(now, HELD)
        if notice is None:
            return False
        job = notice.job
        dies = (job.finished_time or now) + LINK_LIFE
        if dies - now < timedelta(seconds=1):  # links count whole seconds
            self._give_up(job, "its link has expired")
            return True
        try:
            self._send(job, self._link(job, now))
        except ValueError as error:
            self._give_up(job, "there can be no such message", error)
        except Exception as error:  # noqa: BLE001  # whatever a mailer raises, the notice is worth another try
            self._put_off(notice, dies, error)
        else:
            self._store.close_notice(job.id, self._clock(), given_up=False)
            self._told("notified", job)
        return True

    def _send(self, job: Job, link: str | None) -> None:
        """Have it sent; raises what the mailer raises, and TimeoutError if it has not ended in time."""
        ends: SimpleQueue[BaseException | None] = SimpleQueue()

        def send() -> None:
            try:
                self._mailer.send(job, link=link)
            except BaseException as error:  # noqa: BLE001  # raised where it is waited for
                ends.put(error)
            else:
                ends.put(None)

        Thread(target=send, name="export-mail-send", daemon=True).start()
        try:
            error = ends.get(timeout=LONGEST_SEND.total_seconds())
        except Empty:
            raise TimeoutError(f"it was not sent within {spoken(LONGEST_SEND)}") from None
        if error is not None:
            raise error

    def _put_off(self, notice: Notice, dies: datetime, error: Exception) -> None:
        pause = min(FIRST_PAUSE * 2 ** min(notice.tries - 1, 10), LONGEST_PAUSE)
        # Spread, so that what piled up does not come back all at once.
        at = self._clock() + pause * random.uniform(0.75, 1.25)  # noqa: S311  # nobody gains by guessing it
        if at >= dies:
            self._give_up(notice.job, f"{notice.tries} tries have failed until its link expires", error)
            return
        _log.warning(
            "the notice of export job %s could not be sent: it is tried again at %s: %s",
            notice.job.id,
            at.isoformat(timespec="seconds"),
            _without_address(error, notice.job),
            extra=notice.job.labels,
        )
        self._store.put_off_notice(notice.job.id, at)
        self._told("notification_failed", notice.job)

    def _give_up(self, job: Job, why: str, error: Exception | None = None) -> None:
        if error is not None:
            why += f": {_without_address(error, job)}"
        _log.error("the notice that export job %s has %s is given up: %s", job.id, job.status, why, extra=job.labels)
        self._store.close_notice(job.id, self._clock(), given_up=True)
        self._told("notification_given_up", job)

    def _link(self, job: Job, now: datetime) -> str | None:
        if job.archive is None or job.file_name is None or job.expires_at is None:
            return None
        return self._archives.link(job.archive, file_name=job.file_name, now=now, expires_at=job.expires_at)


def _without_address(error: Exception, job: Job) -> str:
    """What an error says; mail servers refuse a recipient by name, and addresses are none of a log's business."""
    text = f"{type(error).__name__}: {error}"
    return text.replace(job.notification_email, "<address>") if job.notification_email else text
