"""What asks the process to end, a closed terminal too, ends it as cleanly as Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

__all__ = ["SIGNALS", "Signals"]

#: Seconds for which a second signal is taken as the first one's.
_PATIENCE = 10


class Signals:
    """The signals that interrupt, as KeyboardInterrupt.

    Until `raising` is set, and while they are `held`, they are only noted. Another one soon after the first does not
    interrupt the cleaning up; one that comes later is heeded. A library may swallow an interrupt: `check` raises it
    again. A signal that is ignored, as under nohup, stays so.
    """

    def __init__(self) -> None:
        self.raising = False
        self.came = False
        self._last = -float(_PATIENCE)

    def heed(self) -> None:
        """Take the signals over."""
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK"):
            number = getattr(signal, name, None)  # not every platform has each
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._interrupt)

    @contextmanager
    def held(self) -> Iterator[None]:
        """For the loading of libraries, which an interrupt in their midst can break: it is raised after that."""
        raising, self.raising = self.raising, False
        try:
            yield
        finally:
            self.raising = raising
        self.check()

    def check(self, _: object = None) -> None:
        """Raise KeyboardInterrupt if a signal has come, be it that the first raise was lost."""
        if self.came:
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.came = True
        now = monotonic()
        if self.raising and now - self._last >= _PATIENCE:
            self._last = now
            raise KeyboardInterrupt


#: Those of this process.
SIGNALS = Signals()
