"""Files and rows that belong to no channel: told in the log and in a metric, at the start and each hour.

An export of the channel that was meant would be empty, and nobody would know why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from threading import Event, Thread

from export_engine.jobs.backends.strays import Strays
from export_engine.service.metrics import Metrics

__all__ = ["EVERY", "StrayWatch"]

#: Seconds after which they are looked for again.
EVERY = 3600.0
#: Seconds that the end of a service waits for a search.
_PATIENCE = 2.0

_ADVICE = {
    "file": "name each after its channel's id",
    "channel": "give each a UUID, and a workspace that is one",
    "phone_number": "write them in E.164 format, such as +12025550123",
    "conversation": "add their channels, or correct their channel_id",
    "message": "add their conversations, or correct their conversation_id",
}

_log = logging.getLogger(__name__)


class StrayWatch:
    """Looks for strays in a thread of its own, since that may read whole tables. It is started and stopped once."""

    def __init__(self, find: Callable[[], Iterable[Strays]], metrics: Metrics) -> None:
        self._find, self._metrics = find, metrics
        self._told: dict[str, Strays] = {}
        self._stop = Event()
        # A daemon: a database that is frozen must not keep the process from its end.
        self._thread = Thread(target=self._run, name="strays", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                for strays in self._find():
                    self._tell(strays)
            except Exception:  # noqa: BLE001  # whatever a directory or a database raises, the service goes on
                _log.warning("what belongs to no channel cannot be looked for", exc_info=True)
            self._stop.wait(EVERY)

    def _tell(self, strays: Strays) -> None:
        self._metrics.strays.labels(strays.kind).set(strays.count)
        if strays.count and self._told.get(strays.kind) != strays:
            _log.warning(
                "%d of kind %s belong to no channel and are not exported: %s: %s",
                strays.count,
                strays.kind,
                ", ".join(strays.examples) + (", …" if len(strays.examples) < strays.count else ""),
                _ADVICE[strays.kind],
                extra={"strays": strays.kind, "count": strays.count},
            )
        self._told[strays.kind] = strays
