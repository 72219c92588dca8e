"""The worker: takes a job, exports it, keeps the archive, sends the notice, and sweeps up behind all of them.

What it guarantees, and by what:

- A job ends, whatever its export does. An export that raises fails the job; one whose worker is killed, or cannot reach
  the store of jobs any more, is taken up again when its lease has run out, as often as the store allows.
- One job, one link. Each attempt writes under a token of its own, and `finish` holds for the token that has the lease
  alone: a worker that was taken for dead finds itself refused and deletes what it wrote.
- Nothing is left. Archives are deleted when their link is dead; what a worker has left that was killed, in the midst of
  writing or before it could finish the job, as soon as its lease is another's or nobody's.
- The loop goes on. A store of jobs that fails is logged and asked again.
- Mail and sweeping wait for no export, and no export for them: `run` has a thread for each (see also `notices`).

An export that failed of what may pass (a connection lost, a server's own error: see `failures.is_transient`) is tried
again, later each time, until the store's attempts are used up. Any other would fail the same way again: it has failed,
and who asked for it is notified at once.

Any number of workers, in threads, processes and machines, may share the stores.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from threading import Event, Thread
from typing import Literal, TypeVar

from export_engine.errors import ExportError, OptionError
from export_engine.jobs.errors import LeaseLostError, OutdatedError, RunLostError
from export_engine.jobs.exporting import Attempt, Made, Parts
from export_engine.jobs.failures import ENDS, failure_message, is_transient
from export_engine.jobs.job import KEEP_JOBS, LEASE, MAX_RUN, MAX_SILENCE, Job, Status
from export_engine.jobs.lease import LeaseKeeper
from export_engine.jobs.notices import Notices
from export_engine.jobs.ports import ArchiveStore, ChannelDirectory, ConversationSource, JobStore, Lease, Mailer
from export_engine.jobs.runs import Runs
from export_engine.model import DateRange
from export_engine.options import ExportOptions
from export_engine.report import ExportReport

__all__ = ["LONGEST_RETRY", "JobEvent", "Observer", "Worker"]

#: What happens to a job in a worker: its export is `started`, and then `finished`, `failed`, `retried` (what it failed
#: of may pass: it is tried again), `handed_back` (the worker had to stop) or `lease_lost` (another worker has it); its
#: notice was sent (`notified`), could not be (`notification_failed`: it is tried again), or never will be
#: (`notification_given_up`).
JobEvent = Literal[
    "started",
    "finished",
    "failed",
    "retried",
    "handed_back",
    "lease_lost",
    "notified",
    "notification_failed",
    "notification_given_up",
]

#: Called with each event, in the worker's thread or that of its notices: for metrics. The report is there if the job
#: finished.
Observer = Callable[[JobEvent, Job, ExportReport | None], object]

#: How long an export is left alone at most before it is tried again.
LONGEST_RETRY = timedelta(minutes=15)

_STORE_TRIES = 5
#: How many archives the store is asked about at a time.
_ASKED_AT_ONCE = 500
#: How long the end of a run waits for the notice at hand, and the sweep: another tells and sweeps again.
_LAST_NOTICE = timedelta(seconds=5)

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


def _now() -> datetime:
    return datetime.now(UTC)


class Worker:
    """Does export jobs, one at a time. Run several for more.

    - `mailer`: notifies people when their job has ended; without one notices wait for another worker.
    - `options`: how exports are made; its time zone is that of the jobs' date ranges.
    - `clock`: the time, aware and in UTC.
    - `lease`: how long a job stays with a worker that shows no sign of life; it is renewed at a third of that.
    - `poll`: how long to wait when there is nothing to do.
    - `grace`: how long an export may go on after the worker was asked to stop.
    - `max_run`: how long an export may take; then it is ended, and its job has failed.
    - `max_silence`: for how long an export may read no row and write no byte; then it is ended, and tried again as one
      whose connection was lost. Neither limit ends what hangs in this process, see `export_engine.jobs.runs`.
    - `retry_pause`: how long to wait before the second try of the store; it doubles with each.
    - `retry_export`: how long an export that failed of what may pass is left alone; four times as long after each more,
      `LONGEST_RETRY` at most.
    - `sweep_every`, `orphan_age`: how often `run` sweeps, and how old an archive must be to be deleted that belongs to
      no job there is.
    - `keep_jobs`: how long a job is known after its end; then it is forgotten, with the address of its e-mail.
    - `observe`: called with each `JobEvent`, see `Observer`; what it raises is logged.

    Raises OptionError for options with `max_archive_size`: a job's link leads to one archive.
    """

    def __init__(
        self,
        store: JobStore,
        archives: ArchiveStore,
        directory: ChannelDirectory,
        source: ConversationSource,
        *,
        mailer: Mailer | None = None,
        options: ExportOptions | None = None,
        clock: Callable[[], datetime] = _now,
        lease: timedelta = LEASE,
        poll: timedelta = timedelta(seconds=1),
        grace: timedelta = timedelta(seconds=30),
        max_run: timedelta = MAX_RUN,
        max_silence: timedelta = MAX_SILENCE,
        retry_pause: timedelta = timedelta(seconds=1),
        retry_export: timedelta = timedelta(seconds=10),
        sweep_every: timedelta = timedelta(minutes=5),
        orphan_age: timedelta = timedelta(days=1),
        keep_jobs: timedelta = KEEP_JOBS,
        observe: Observer | None = None,
    ) -> None:
        if lease <= timedelta(0):
            raise OptionError(f"a lease of {lease} has run out at once: give a longer one", option="lease")
        if options is not None and options.max_archive_size is not None:
            raise OptionError(
                "a job's export is one ZIP, and its link leads there: leave max_archive_size out",
                option="max_archive_size",
            )
        parts = Parts(directory, source, archives, options or ExportOptions())
        self._runs = Runs(parts, max_run=max_run, max_silence=max_silence)
        self._store, self._archives, self._clock, self._observe = store, archives, clock, observe
        self._notices = None if mailer is None else Notices(store, archives, mailer, clock=clock, told=self._emit)
        self._lease, self._poll, self._grace, self._retry_pause = lease, poll, grace, retry_pause
        self._sweep_every, self._orphan_age, self._retry_export = sweep_every, orphan_age, retry_export
        self._keep_jobs = keep_jobs

    def run(self, stop: Event) -> None:
        """Do jobs until `stop` is set, send notices meanwhile, and sweep now and then.

        Whatever goes wrong is logged and outlived; but once others have changed what all workers agreed on, `stop` is
        set here, as nothing can be done any more.

        Returns after the job at hand has ended or been handed back: at most about `grace` later, if neither its source
        nor its archive store hangs.
        """
        # Daemons: a mail server or an archive store that is silent must not keep the process from its end.
        beside = [Thread(target=self._sweep_now_and_then, args=(stop,), name="export-sweep", daemon=True)]
        if self._notices is not None:
            beside.append(Thread(target=self._notices.run, args=(stop, self._poll), name="export-mail", daemon=True))
        for thread in beside:
            thread.start()
        while not stop.is_set():
            try:
                if not self._logged(lambda: self._export_next(stop)):
                    stop.wait(self._poll.total_seconds())
            except OutdatedError:
                _log.critical("the options of exports or the secret of links have been changed: start the worker anew")
                stop.set()
        self.close()
        last = time.monotonic() + _LAST_NOTICE.total_seconds()
        for thread in beside:
            thread.join(max(0, last - time.monotonic()))

    def step(self, stop: Event | None = None) -> bool:
        """Send one notice, or else export one job; False if there was neither.

        An export takes heed of `stop` as `run` does. Raises what the store of jobs raises when it cannot be reached.
        """
        return (self._notices is not None and self._notices.step()) or self._export_next(stop or Event())

    def close(self) -> None:
        """End the process that is kept for the next export; `run` does so at its end."""
        self._runs.close()

    def sweep(self) -> None:
        """Delete the archives whose links are dead, and what attempts have left whose lease is dead.

        What belongs to no job that there is goes once it is `orphan_age` old.

        Forgets the jobs that ended long ago.

        An archive that cannot be deleted is logged and tried again next time. Raises what the stores raise when they
        cannot be asked.
        """
        now = self._clock()
        swept = True
        while swept and (jobs := self._store.expired(now)):
            done = [self._sweep_expired(job) for job in jobs]  # every one is tried, also behind one that fails
            swept = all(done)
        if pruned := self._store.prune(now - self._keep_jobs):
            _log.info("%d export jobs that ended long ago are forgotten", pruned)
        oldest = now - self._orphan_age
        paths = self._archives.paths()
        while some := dict(islice(paths, _ASKED_AT_ONCE)):
            # Asked after they were listed: what is not wanted any more by then never will be.
            wanted = self._store.wanted(list(some))
            for path, written in some.items():
                if not wanted.get(path, written >= oldest):
                    self._delete(path)
        self._archives.tidy(oldest)

    # --- exports ---------------------------------------------------------------------------------------------------

    def _export_next(self, stop: Event) -> bool:
        lease = self._store.claim(self._clock(), self._lease)
        if lease is None:
            return False
        self._emit("started", lease.job)
        keeper = LeaseKeeper(self._store, lease, length=self._lease, clock=self._clock, stop=stop, grace=self._grace)
        with keeper:
            try:
                made = self._runs.make(_attempt(lease), keeper)
            except Exception as error:  # noqa: BLE001  # whatever it is, the job must end
                self._end_badly(lease, keeper, error, stop)
            else:
                self._end_well(lease, made, stop)
        return True

    def _end_well(self, lease: Lease, made: Made, stop: Event) -> None:
        try:
            job = self._retried(
                lease,
                lambda: self._store.finish(
                    lease, self._clock(), archive=made.path, file_name=made.file_name, report=made.report
                ),
                stop,
            )
        except LeaseLostError:
            # Unless it was this very worker that finished, and only the answer got lost.
            if not self._store.wanted([made.path]).get(made.path):
                self._delete(made.path)
            self._emit("lease_lost", lease.job)
        else:
            self._emit("finished", job, made.report)

    def _end_badly(self, lease: Lease, keeper: LeaseKeeper, error: Exception, stop: Event) -> None:
        try:
            if keeper.ended_because == "lease_lost":
                self._emit("lease_lost", lease.job)
            elif keeper.ended_because == "stopped" or (isinstance(error, RunLostError) and stop.is_set()):
                self._retried(lease, lambda: self._store.hand_back(lease), stop)
                self._emit("handed_back", lease.job)
            else:
                _log.error("export job %s failed", lease.job.id, exc_info=error, extra=lease.job.labels)
                job = self._retried(lease, lambda: self._failed(lease, error), stop)
                self._emit("failed" if job.status is Status.FAILED else "retried", job)
        except LeaseLostError:
            self._emit("lease_lost", lease.job)

    def _failed(self, lease: Lease, error: Exception) -> Job:
        now, message = self._clock(), failure_message(error, lease.job.id)
        if not is_transient(error):
            return self._store.fail(lease, now, message)
        pause = min(self._retry_export * 4 ** (lease.job.attempts - 1), LONGEST_RETRY)
        return self._store.retry(lease, now, now + pause, message)

    # --- sweeping --------------------------------------------------------------------------------------------------

    def _sweep_now_and_then(self, stop: Event) -> None:
        sweep_at = self._clock()
        while not stop.is_set():
            if self._clock() >= sweep_at:
                sweep_at = self._clock() + self._sweep_every
                self._logged(self.sweep)
            stop.wait(self._poll.total_seconds())

    def _sweep_expired(self, job: Job) -> bool:
        if job.archive is not None and not self._delete(job.archive):
            return False
        self._store.forget_archive(job.id)
        return True

    def _delete(self, path: str) -> bool:
        try:
            self._archives.delete(path)
        except Exception:  # noqa: BLE001  # whatever a store raises, the others are to be swept
            _log.exception("archive %s could not be deleted: the next sweep tries again", path)
            return False
        return True

    # --- what goes wrong -------------------------------------------------------------------------------------------

    def _retried(self, lease: Lease, act: Callable[[], _T], stop: Event) -> _T:
        """Move a job; a store that fails is asked `_STORE_TRIES` times. An ExportError is an answer, not a failure."""
        for number in range(_STORE_TRIES - 1):
            try:
                return act()
            except ExportError:
                raise
            except Exception:  # noqa: BLE001  # the last try lets it through
                _log.warning("a worker tries again what failed", exc_info=True, extra=lease.job.labels)
                stop.wait(self._retry_pause.total_seconds() * 2**number)
        return act()

    def _logged(self, act: Callable[[], _T]) -> _T | None:
        """Do something that must not end the loop; None if it raised. OutdatedError ends it."""
        try:
            return act()
        except (OutdatedError, *ENDS):
            raise
        except BaseException:  # noqa: BLE001  # the loop is to outlive whatever the stores raise
            _log.exception("a worker goes on after an error")
            return None

    def _emit(self, event: JobEvent, job: Job, report: ExportReport | None = None) -> None:
        if self._observe is not None:
            observe = self._observe
            self._logged(lambda: observe(event, job, report))


def _attempt(lease: Lease) -> Attempt:
    job = lease.job
    date_range = DateRange(job.start_date, job.end_date)
    return Attempt(job.id, lease.token, job.workspace_id, job.channel_id, date_range, job.key_id)
