"""What a batch makes of a lake: which archives there are, what each is called, and where it goes.

A plan is data: it pickles, and every process and machine that holds it comes to the same names and ids. Time is cut
into periods by the clocks of one zone. As changes of a clock can repeat a piece of a day, a period need not be one span
of time; `breaks` gives the exact spans.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import sha256
from string import Formatter
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from export_engine.errors import OptionError
from export_engine.model import DateRange
from export_engine.options import ExportOptions
from export_engine.times import DAY, MAX_US, MIN_US, utc_offsets

__all__ = ["BatchPlan", "Key", "Period", "PeriodKind"]

#: What one archive covers: a calendar month, a day, or the whole range.
PeriodKind = Literal["month", "day", "range"]

#: What stands between the pieces of a layout, as `Formatter.parse` tells it: a field's name, nothing more, or no field.
_FIELDS = ([None, None, None], *([name, "", None] for name in ("period", "channel", "channel_id")))

_EPOCH = date(1970, 1, 1)
#: A range of months or days is no longer: all of them are listed. Who has times of other centuries has wrong ones.
_MOST_DAYS = 200 * 366


@dataclass(frozen=True, slots=True)
class Period:
    """One period: its name (`2026-06`, `2026-06-01`, or `2026-06-01_2026-08-31` for a range) and its days."""

    name: str
    date_range: DateRange


@dataclass(frozen=True, slots=True)
class Key:
    """What makes an archive of a batch the one it is. `digest` is that of the export's options, and of `dedupe`."""

    channel_id: str
    period: str
    label: str
    digest: str

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that stand for it; the archive's id is the first 8 of them."""
        text = json.dumps([self.channel_id, self.period, self.label, self.digest], ensure_ascii=True)
        return sha256(text.encode()).hexdigest()[:16]

    @property
    def export_id(self) -> str:
        """The id in the archive's name."""
        return self.hash[:8]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """What to make of a lake, and where it goes.

    - `target`: a folder, or an object store's URL (`s3://bucket/exports`).
    - `date_range`: the days that are exported, both ends included, in the time zone of `options`. `export_lake` takes
      an open one, from `date.min` or to `date.max`, for that of the lake's messages; a month or a day cannot have it
      elsewhere.
    - `period`: `"month"` (default), `"day"`, or `"range"` for one archive a channel. A month that the range cuts is
      exported as far as the range goes.
    - `options`: how each archive is made; `threads` is how many deflate a large one.
    - `label`: names the lake's snapshot, such as its date. Another label gives other archives; under the same one what
      is there is kept.
    - `backend`: the library and level that must deflate, as reports name it; a process that has another refuses. None
      takes whatever is there.
    - `dedupe`: rows that are alike in every column are one row; a message id that a conversation has twice in a period,
      with different contents, fails the archive.
    - `layout`: the folder of an archive inside the target, with `{period}`, `{channel}` (the channel's part of the
      archive's name) and `{channel_id}`.

    Raises OptionError, whose `option` is the field's name, for what cannot work.
    """

    target: str
    date_range: DateRange
    period: PeriodKind = "month"
    options: ExportOptions = field(default_factory=ExportOptions)
    label: str = ""
    backend: str | None = None
    dedupe: bool = False
    layout: str = "{period}"

    def __post_init__(self) -> None:
        if self.period not in get_args(PeriodKind):
            raise OptionError(
                f"period {self.period!r} is unknown: choose from {', '.join(get_args(PeriodKind))}", option="period"
            )
        for name in ("label", "layout"):
            try:
                getattr(self, name).encode()
            except UnicodeEncodeError:
                raise OptionError(f"{name} {getattr(self, name)!r} is no Unicode", option=name) from None
        self._check_layout()
        self.options.digest()  # a time zone without a name could not be told from another

    def _check_layout(self) -> None:
        try:
            fields = [field for _, *field in Formatter().parse(self.layout)]
        except ValueError as error:
            fields, reason = [[str(error)]], f" ({error})"
        else:
            reason = ""
        if any(field not in _FIELDS for field in fields):
            raise OptionError(
                f"layout {self.layout!r} cannot be filled in{reason}: use {{period}}, {{channel}} and {{channel_id}}",
                option="layout",
            )
        if not {"", ".", ".."}.isdisjoint(self.layout.strip("/").split("/")) and self.layout.strip("/"):
            raise OptionError(
                f"layout {self.layout!r} is no folder inside the target: each part between slashes needs a name, other "
                "than . and ..",
                option="layout",
            )

    def periods(self) -> tuple[Period, ...]:
        """All periods, in order; together they are the range's days, each once.

        Raises OptionError for months or days of more than 200 years.
        """
        start, end = self.date_range.start, self.date_range.end
        if self.period == "range":
            return (Period(f"{start}_{end}", self.date_range),)
        if (end - start).days > _MOST_DAYS:
            raise OptionError(
                f"the range from {start} to {end} has too many {self.period}s to list: give it a start and an end "
                f"within {_MOST_DAYS // 366} years",
                option="end",
            )
        found = []
        while start <= end:
            last = start if self.period == "day" else min(_month_end(start), end)
            found.append(Period(f"{start:%Y-%m}" if self.period == "month" else str(start), DateRange(start, last)))
            if last == date.max:
                break
            start = last + timedelta(days=1)
        return tuple(found)

    def key(self, channel_id: str, period: Period) -> Key:
        """The key of a channel's archive of a period."""
        digest = f"{self.options.digest()}-dedupe" if self.dedupe else self.options.digest()
        return Key(channel_id, period.name, self.label, digest)

    def period_of(self, us: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the period that each time (UTC microseconds) falls in; -1 outside all of them."""
        starts = [(period.date_range.start - _EPOCH).days for period in self.periods()]
        bounds = np.array([*starts, (self.date_range.end - _EPOCH).days + 1]) * DAY
        which = np.searchsorted(bounds, us + utc_offsets(us, self.options.tzinfo), side="right") - 1
        which[which == len(starts)] = -1
        return which

    def breaks(self) -> tuple[tuple[int, int], ...]:
        """From which UTC microsecond on which period it is (-1: none), in order: what `period_of` gives, as spans.

        For engines that cannot call `period_of`: each row belongs to the last break at or before its time; before the
        first there is no period.
        """
        days = [period.date_range.start for period in self.periods()]
        days.append(self.date_range.end + timedelta(days=1) if self.date_range.end < date.max else date.max)
        moments = np.unique(np.clip(np.concatenate([_around(day) for day in days]), MIN_US, MAX_US))
        which = self.period_of(moments)
        at = np.flatnonzero(which[1:] != which[:-1])
        # Where in (low, high] each changes, by halving; the two are near enough for one change.
        low, high, before, after = moments[at], moments[at + 1], which[at], which[at + 1]
        while (high - low > 1).any():
            middle = (low + high) // 2
            still = self.period_of(middle) == before
            low, high = np.where(still, middle, low), np.where(still, high, middle)
        begin = [] if which[0] < 0 else [(MIN_US, int(which[0]))]
        return (*begin, *zip(high.tolist(), after.tolist(), strict=True))


#: Half of this is finer than any clock change's distance from another.
_STEP = DAY // 96


def _around(day: date) -> NDArray[np.int64]:
    """UTC microseconds around a local midnight, from before to after it in every zone, a quarter of an hour apart."""
    midnight = (day - _EPOCH).days * DAY
    return np.arange(midnight - DAY - DAY // 2, midnight + DAY + DAY // 2, _STEP)


def _month_end(day: date) -> date:
    following = (
        date(day.year + (day.month == 12), day.month % 12 + 1, 1) if (day.year, day.month) != (9999, 12) else None
    )
    return date.max if following is None else following - timedelta(days=1)
