"""Whether a machine was quiet while it was measured: what a busy one says of times is worth little."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

__all__ = ["MOST_LOAD", "MOST_OTHERS", "Watch", "busy", "load"]

#: No run begins above this load average of the last minute, unless it is told to.
MOST_LOAD = 1.5
#: Processors that others may take during a run, on average, before its page says that the machine was busy.
MOST_OTHERS = 0.2


def load() -> float | None:
    """The load average of the last minute; None where the system has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


@dataclass(frozen=True, slots=True)
class Watch:
    """What the whole machine, and this process with its children, had taken of the processors at some moment."""

    load: float | None
    at: float
    all: float | None
    own: float

    @classmethod
    def begin(cls) -> Watch:
        """Look now."""
        return cls(load(), monotonic(), _taken(), sum(os.times()[:4]))

    def found(self) -> dict[str, float | None]:
        """Load before, seconds since, and how many processors others took on average; None where that is not known."""
        now = Watch.begin()
        seconds = now.at - self.at
        others = None
        if self.all is not None and now.all is not None and seconds > 0:
            others = max(0.0, (now.all - self.all) - (now.own - self.own)) / seconds
        return {"load": self.load, "seconds": seconds, "others": others}


def _taken() -> float | None:
    """Processor seconds that all processes took since the machine began, and those that its host took from it."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    # proc(5): user, nice, system, idle, iowait, irq, softirq, steal; time of guests is in user.
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def busy(found: dict[str, float | None]) -> bool:
    """Whether what `Watch.found` gave speaks against a run; what is not known does not."""
    return (found["load"] or 0) > MOST_LOAD or (found["others"] or 0) > MOST_OTHERS
