"""Charts as SVG text: bars, and lines or points on two axes. No library, no script, nothing to load.

The background is transparent and every colour is a mid-tone, so that one file is readable on white and on near black.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Axis", "Bar", "Series", "bars", "plot"]

OURS = "#2f81f7"
OTHER = "#8b949e"
PALETTE = (OURS, "#db7b2b", "#2f9e58", "#a06cf0", "#e0525c")
_TEXT = "#7a828c"
_FAINT = "#7a828c55"

_WIDTH = 760
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 62, 48
_HEIGHT = 460
#: From a large point up to its label.
_ABOVE = -14


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; `text` stands at its end."""

    label: str
    value: float
    text: str
    color: str = OTHER


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one kind, joined by a line unless they are `large`; `labels` stand at them where there is room."""

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = ()
    large: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: what it shows, and its scale.

    With `zero` it begins there, unless it is `log`; `ticks` stand in place of round numbers.
    """

    title: str
    log: bool = False
    zero: bool = False
    ticks: Sequence[float] = ()

    def place(self, value: float, low: float, high: float) -> float:
        """Where a value stands, from 0 to 1."""
        if self.log:
            value, low, high = (math.log10(number) for number in (value, low, high))
        return (value - low) / (high - low or 1)


def bars(title: str, subtitle: str, given: Sequence[Bar]) -> str:
    """Horizontal bars, one below the other, from 0."""
    step, left = 26, 270
    most = max(bar.value for bar in given)
    body = []
    for number, bar in enumerate(given):
        y = _TOP + number * step
        width = max(bar.value / most * (_WIDTH - left - 110), 1)
        body.append(_label(left - 10, y + 13, bar.label, "end"))
        body.append(f'<rect x="{left}" y="{y + 1}" width="{width:.1f}" height="{step - 8}" rx="2" fill="{bar.color}"/>')
        body.append(_label(left + width + 8, y + 13, bar.text))
    return _svg(title, subtitle, _TOP + step * len(given) + 10, body)


def plot(title: str, subtitle: str, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """Lines or points over two axes, with a legend at the top."""
    xs, ys = ([point[axis] for one in series for point in one.points] for axis in (0, 1))
    x_ticks, y_ticks = _ticks(x, xs), _ticks(y, ys)
    x_low, x_high = min(*xs, *x_ticks), max(*xs, *x_ticks)
    y_low, y_high = min(*ys, *y_ticks), max(*ys, *y_ticks)

    def across(value: float) -> float:
        return _LEFT + x.place(value, x_low, x_high) * (_WIDTH - _LEFT - _RIGHT)

    def up(value: float) -> float:
        return _HEIGHT - _BOTTOM - y.place(value, y_low, y_high) * (_HEIGHT - _BOTTOM - _TOP - 26)

    body = []
    for tick in y_ticks:
        body.append(_line(_LEFT, up(tick), _WIDTH - _RIGHT, up(tick)))
        body.append(_label(_LEFT - 8, up(tick) + 4, _number(tick), "end"))
    for tick in x_ticks:
        body.append(_line(across(tick), _HEIGHT - _BOTTOM, across(tick), _HEIGHT - _BOTTOM + 5))
        body.append(_label(across(tick), _HEIGHT - _BOTTOM + 19, _number(tick), "middle"))
    body.append(_label((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, x.title, "middle"))
    legend = _WIDTH - _RIGHT
    # Where labels stand: first of all those of the large points, which always have theirs.
    taken = [
        (across(at) + aside, up(value) + _ABOVE)
        for one in series
        if one.large
        for at, value in one.points
        for aside in (-18, 0, 18)
    ]
    for number, one in reversed(list(enumerate(series))):
        color = PALETTE[number % len(PALETTE)]
        legend -= 7 * len(one.name) + 26
        body.append(f'<circle cx="{legend}" cy="{_TOP + 2}" r="5" fill="{color}"/>')
        body.append(_label(legend + 9, _TOP + 6, one.name))
        body += _drawn(one, [(across(at), up(value)) for at, value in one.points], color, taken)
    return _svg(title, subtitle, _HEIGHT, body)


def _drawn(
    one: Series, places: Sequence[tuple[float, float]], color: str, taken: list[tuple[float, float]]
) -> Iterator[str]:
    if not one.large:
        joined = " ".join(f"{at:.1f},{level:.1f}" for at, level in places)
        yield f'<polyline points="{joined}" fill="none" stroke="{color}" stroke-width="2"/>'
    for number, (at, level) in enumerate(places):
        if one.large:
            yield f'<circle cx="{at:.1f}" cy="{level:.1f}" r="8" fill="none" stroke="{color}" stroke-width="2.5"/>'
        else:
            yield f'<circle cx="{at:.1f}" cy="{level:.1f}" r="3.5" fill="{color}"/>'
        if not one.labels:
            continue
        if one.large:
            yield _label(at, level + _ABOVE, one.labels[number], "middle", color, bold=True)
            continue
        around = ((at + right, level + down) for right, down in ((0, 16), (0, -8), (-11, 4), (11, 4)))
        free = (spot for spot in around if all(abs(spot[0] - x) > 9 or abs(spot[1] - y) > 11 for x, y in taken))
        if spot := next(free, None):
            taken.append(spot)
            yield _label(*spot, one.labels[number], "middle", color)


def _ticks(axis: Axis, values: Sequence[float]) -> list[float]:
    """Round numbers around the values."""
    if axis.ticks:
        return list(axis.ticks)
    low, high = (0.0 if axis.zero and not axis.log else min(values)), max(values)
    if axis.log:
        steps = [mantissa * 10.0**power for power in range(-3, 10) for mantissa in (1, 2, 5)]
        inside = [step for step in steps if low <= step <= high]
        first = max((step for step in steps if step <= low), default=low)
        last = min((step for step in steps if step >= high), default=high)
        return sorted({first, *inside, last})
    rough = (high - low or 1) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * mantissa for mantissa in (1, 2, 5, 10) if power * mantissa >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * number for number in range(first, last + 1)]


def _number(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 1e4 else f"{round(value, 6):g}"


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{_FAINT}"/>'


def _label(x: float, y: float, text: str, anchor: str = "start", color: str = _TEXT, *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}"{weight}>{escape(text)}</text>'


def _svg(title: str, subtitle: str, height: float, body: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" '
        f'height="{height:.0f}" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" '
        f'font-size="13" role="img" aria-label="{escape(title, quote=True)}">'
    )
    titles = [
        f'<text x="12" y="22" font-size="16" font-weight="600" fill="{_TEXT}">{escape(title)}</text>',
        _label(12, 42, subtitle),
    ]
    return "\n".join([head, *titles, *body, "</svg>\n"])
