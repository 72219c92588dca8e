"""A job's lease, kept while its export runs, and whether that export may go on.

A thread of its own renews the lease at a third of its length, so that two renewals may fail before it runs out, or
every `BEAT`, if that is sooner: a renewal also notes the export's progress, and finds out that the job was cancelled.
Whoever runs the export asks again and again whether it may go on (`check`), and ends it if not: when the lease is lost,
or when the worker has been asked to stop and the grace is over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Event, Thread
from types import TracebackType
from typing import Literal, Self

from export_engine.jobs.errors import LeaseLostError
from export_engine.jobs.ports import JobStore, Lease
from export_engine.report import Progress

__all__ = ["BEAT", "EndedEarlyError", "LeaseKeeper"]

#: How often a lease is renewed at least.
BEAT = timedelta(seconds=5)

_log = logging.getLogger(__name__)


class EndedEarlyError(Exception):
    """Raised into an export to end it; `LeaseKeeper.ended_because` says why."""


class LeaseKeeper:
    """Keeps a lease while the block runs.

    `stop` is set when the worker has to stop; the export may go on for `grace` from when it first notices.
    `ended_because` is None, or why the export was ended: `lease_lost` (its lease is another's, or the job has ended) or
    `stopped`.
    """

    def __init__(
        self,
        store: JobStore,
        lease: Lease,
        *,
        length: timedelta,
        clock: Callable[[], datetime],
        stop: Event,
        grace: timedelta,
    ) -> None:
        self.ended_because: Literal["lease_lost", "stopped"] | None = None
        self._store, self._lease, self._length, self._clock = store, lease, length, clock
        self._stop, self._grace = stop, grace
        self._noticed: datetime | None = None
        self._progress: Progress | None = None
        self._over = Event()
        self._thread = Thread(target=self._keep, name=f"lease-{lease.job.id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def check(self, progress: Progress | None = None) -> None:
        """Take note of the progress; raise EndedEarlyError if the export must not go on."""
        self._progress = progress or self._progress
        if self.ended_because is None and self._stop.is_set():
            now = self._clock()
            self._noticed = self._noticed or now
            if now - self._noticed >= self._grace:
                self.ended_because = "stopped"
        if self.ended_because is not None:
            raise EndedEarlyError(self.ended_because)

    def _keep(self) -> None:
        while not self._over.wait(min(self._length / 3, BEAT).total_seconds()):
            try:
                self._store.renew(self._lease, self._clock(), self._length, progress=self._progress)
            except LeaseLostError:
                self.ended_because = "lease_lost"
                return
            except Exception:  # noqa: BLE001  # whatever a store raises, the lease is worth another try
                # The next beat asks again; if the lease runs out meanwhile, whoever takes the job makes this one void.
                job = self._lease.job
                _log.warning("the lease of export job %s could not be renewed", job.id, exc_info=True, extra=job.labels)
