"""The worker of a process: made of the service's components, counted and logged, run in a thread or alone."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from export_engine.jobs.job import Job
from export_engine.jobs.worker import JobEvent, Worker
from export_engine.report import ExportReport
from export_engine.service.components import Components
from export_engine.service.metrics import Metrics

__all__ = ["Background", "make_worker"]

#: What it takes a worker at most, after its grace, to end the export and hand its job back.
_HANDING_BACK = timedelta(seconds=10)

_log = logging.getLogger(__name__)


def make_worker(components: Components, metrics: Metrics, *, grace: timedelta) -> Worker:
    """A worker on the service's components; see `Worker` for `grace`."""

    def observe(event: JobEvent, job: Job, report: ExportReport | None) -> None:
        metrics.count_job_event(event, report)
        facts: dict[str, object] = dict(job.labels)
        if report is not None:
            facts |= {"rows": report.rows, "conversations": report.conversations, "bytes": report.bytes}
        # An empty archive may be what is right, and may be for a file or rows that nobody finds.
        empty = report is not None and report.conversations == 0
        _log.log(
            logging.WARNING if empty else logging.INFO,
            "export job %s%s",
            event.replace("_", " "),
            ": it has no conversation" if empty else "",
            extra=facts,
        )

    return Worker(
        components.store,
        components.archives,
        components.directory,
        components.source,
        mailer=components.mailer,
        options=components.options,
        clock=components.clock,
        grace=grace,
        lease=components.lease,
        max_run=components.max_run,
        max_silence=components.max_silence,
        keep_jobs=components.keep_jobs,
        observe=observe,
    )


class Background:
    """A worker in a thread, to be started and stopped once. `grace` is the worker's own."""

    def __init__(self, worker: Worker, *, grace: timedelta) -> None:
        self._worker = worker
        self._patience = grace + _HANDING_BACK
        self._stop = threading.Event()
        # A daemon: what hangs in a source or a store must not keep the process from its end.
        self._thread = threading.Thread(target=self._run, name="export-worker", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether it runs; once it was started and before it is stopped, False means that it has failed."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more jobs and wait until the one at hand is finished or handed back, if its store can be reached."""
        self._stop.set()
        self._thread.join(self._patience.total_seconds())
        if self._thread.is_alive():
            _log.error("the worker does not end: its job is taken up again once its lease has run out")

    def _run(self) -> None:
        try:
            self._worker.run(self._stop)
        except BaseException:  # noqa: BLE001  # it outlives all but the end of its thread; health tells of that
            _log.critical("the worker has failed: no more jobs are done here", exc_info=True)
