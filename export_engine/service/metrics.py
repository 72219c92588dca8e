"""Metrics for Prometheus, in a registry of their own: two services in one process do not share any.

Jobs by status are counted in the database and so the same from every process; all else is what this process did.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Thread

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
    start_http_server,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from export_engine.jobs.job import Status
from export_engine.jobs.worker import JobEvent
from export_engine.report import ExportReport

__all__ = ["Metrics"]

#: Seconds that a scrape waits for jobs to be counted.
_COUNTING_TIME = 1.5

_log = logging.getLogger(__name__)

_SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600)


class Metrics:
    """The counters of one service. `count_jobs` is asked at each scrape."""

    def __init__(self, count_jobs: Callable[[], Mapping[Status, int]]) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("http_requests", "HTTP requests answered.", ["route", "status"], registry=registry)
        self.events = Counter(
            "export_job_events", "Events of export jobs in this process.", ["event"], registry=registry
        )
        self.rows = Counter("export_rows", "Messages exported by this process.", registry=registry)
        self.bytes = Counter("export_bytes", "Bytes of archives written by this process.", registry=registry)
        self.seconds = Histogram("export_seconds", "Time of an export.", registry=registry, buckets=_SECONDS)
        self.strays = Gauge(
            "export_strays",
            "Files and rows that belong to no channel and are not exported.",
            ["kind"],
            registry=registry,
        )
        registry.register(_Jobs(count_jobs))
        ProcessCollector(registry=registry)

    def count_job_event(self, event: JobEvent, report: ExportReport | None) -> None:
        """Count an event; `report` is there if it is `finished`."""
        self.events.labels(event).inc()
        if report is not None:
            self.rows.inc(report.rows)
            self.bytes.inc(report.bytes)
            self.seconds.observe(report.elapsed)

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self._registry)

    @contextmanager
    def served(self, host: str, port: int) -> Iterator[None]:
        """Serve them by themselves while the block runs, for a process that serves nothing else. Raises OSError."""
        server, thread = start_http_server(port, host, self._registry)
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Jobs(Collector):
    """How many jobs there are, by status; left out while the database does not tell."""

    def __init__(self, count: Callable[[], Mapping[Status, int]]) -> None:
        self._count = count
        self._counting: Thread | None = None
        self._counted: Mapping[Status, int] | None = None

    def collect(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("export_jobs", "Export jobs in the database, by status.", labels=["status"])
        for status, number in (self._asked() or {}).items():
            jobs.add_metric([str(status)], number)
        yield jobs

    def describe(self) -> list[Metric]:
        """Nothing: counting is for scrapes, not for when this is registered."""
        return []

    def _asked(self) -> Mapping[Status, int] | None:
        """What the database says, if it does so in time; while one thread waits for it no other begins to."""
        counting = self._counting
        if counting is None or not counting.is_alive():
            self._counted = None
            # A daemon: a database that is frozen must not keep the process from its end.
            self._counting = counting = Thread(target=self._ask, name="count-jobs", daemon=True)
            counting.start()
        counting.join(_COUNTING_TIME)
        return None if counting.is_alive() else self._counted

    def _ask(self) -> None:
        try:
            self._counted = self._count()
        except Exception:  # noqa: BLE001  # whatever a store raises, the other metrics stand
            _log.warning("export jobs cannot be counted", exc_info=True)
