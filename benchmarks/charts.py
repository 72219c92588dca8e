"""Charts as SVG, each for a light page and for a dark one, drawn by Matplotlib.

Two files and not one: what an SVG within a page may ask for is the system's colours, and a page (GitHub's, for one) has
a theme of its own, by which `<picture>` chooses. They are narrow, with large type, and put labels above bars and a
legend above the axes, so that they can be read at the width of a phone. Text stays text, which is small and can be
found, selected and read out; it is laid out for DejaVu Sans, wider than what it will be shown in.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle
from operator import itemgetter
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox
from numpy import sign

__all__ = ["Axis", "Bar", "Chart", "Series", "bars", "plot"]

#: In points, of which three are four pixels of a page.
_WIDTH = 372
_SIZE = 10.5
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    # Names within the file come out the same each time.
    "svg.hashsalt": "export-engine",
    "font.size": _SIZE,
    "font.sans-serif": ["DejaVu Sans"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "savefig.transparent": True,
}
_FONTS = "system-ui, 'Segoe UI', Roboto, Helvetica, Arial"


@dataclass(frozen=True, slots=True)
class _Theme:
    """Colours for one background; `series` tell lines apart, also for those who see no red or no green."""

    text: str
    faint: str
    ours: str
    other: str
    series: tuple[str, ...]


_LIGHT = _Theme("#1f2328", "#d1d9e0", "#0969da", "#8c959f", ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e"))
_DARK = _Theme("#e6edf3", "#3d444d", "#4493f8", "#8b949e", ("#4493f8", "#f0883e", "#3fb950", "#bc8cff", "#ff7b72"))


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: what it shows, for those who do not see it, and its two SVG files."""

    title: str
    light: str
    dark: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; `text` stands at its end."""

    label: str
    value: float
    text: str
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one kind, joined by a line; or rings, if they are `large`.

    `labels` stand at points; an empty one at none.
    """

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = ()
    large: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: what it shows, and its scale. With `zero` it begins there; `ticks` stand in place of round numbers."""

    title: str
    log: bool = False
    zero: bool = False
    ticks: Sequence[float] = ()


def bars(title: str, subtitle: str, given: Sequence[Bar]) -> Chart:
    """Horizontal bars from 0, the first one on top, each below its label."""

    def draw(axes: Axes, theme: _Theme) -> None:
        places = range(len(given))
        colors = [theme.ours if bar.ours else theme.other for bar in given]
        axes.barh(places, [bar.value for bar in given], height=0.38, color=colors)
        labels = [
            axes.text(0, place - 0.3, bar.label, va="bottom", weight="bold" if bar.ours else "normal")
            for place, bar in zip(places, given, strict=True)
        ]
        # One that is longer than the picture is wide makes all of them smaller.
        widest = max(label.get_window_extent().width for label in labels)
        for label in labels:
            label.set_fontsize(min(_SIZE, _SIZE * 0.97 * _WIDTH / widest))
        for place, bar in zip(places, given, strict=True):
            axes.annotate(bar.text, (bar.value, place), (5, 0), textcoords="offset points", va="center")
        axes.set_ylim(len(given) - 0.6, -0.85)
        axes.set_xlim(0, 1.25 * max(bar.value for bar in given) or 1)
        axes.set_axis_off()

    described = f"{subtitle}. " + "; ".join(f"{bar.label}: {bar.text}" for bar in given)
    return _chart(title, subtitle, described, 32 * len(given), draw)


def plot(title: str, subtitle: str, x: Axis, y: Axis, series: Sequence[Series]) -> Chart:
    """Lines, and rings, over two axes, with a legend above them."""

    def draw(axes: Axes, theme: _Theme) -> None:
        for one, color in zip(series, cycle(theme.series), strict=False):
            xs, ys = zip(*one.points, strict=True)
            if one.large:
                axes.plot(xs, ys, "o", ms=10, mfc="none", mew=2.2, color=color, label=one.name, zorder=4)
            else:
                axes.plot(xs, ys, "o-", ms=4, lw=1.6, color=color, label=one.name)
        _scale(axes, x, y)
        axes.grid(axis="y", color=theme.faint, lw=0.7)
        if len(series) > 1:
            axes.legend(
                loc="lower left",
                bbox_to_anchor=(-0.02, 1),
                ncols=3,
                frameon=False,
                borderpad=0,
                columnspacing=1.2,
                handlelength=1.2,
                handletextpad=0.5,
            )
        _label(axes, list(zip(series, cycle(theme.series), strict=False)))

    described = f"{subtitle}. {x.title} against {y.title or 'the same'}: " + "; ".join(
        f"{one.name}: " + ", ".join(f"{_number(at)} {_number(value)}" for at, value in one.points) for one in series
    )
    return _chart(title, subtitle, described, 290, draw)


def _label(axes: Axes, series: Sequence[tuple[Series, str]]) -> None:
    """Labels at points, as far as there is room: those of rings first, then those of lines' ends, then others."""
    wanted = [
        (0 if one.large else 1 if number in (0, len(one.points) - 1) else 2, one, color, label, point)
        for one, color in series
        for number, (label, point) in enumerate(zip(one.labels, one.points, strict=False))
    ]
    # Where points come to lie is known once the axes have their place; nothing is drawn on points either.
    axes.get_figure(root=True).draw_without_rendering()  # type: ignore[union-attr]  # it has one
    taken = [Bbox.from_bounds(x - 3, y - 3, 6, 6) for one, _ in series for x, y in axes.transData.transform(one.points)]
    for _, one, color, label, point in sorted(wanted, key=itemgetter(0)):
        size, weight = (_SIZE, "bold") if one.large else (9.0, "normal")
        wide, high = 0.68 * size * len(label), size
        x, y = axes.transData.transform(point)
        away = 9 if one.large else 5
        sides = ((0, away), (0, -away), (away, 0), (-away, 0))
        for right, up in sides:
            box = Bbox.from_bounds(
                x + right - wide * (0.5 - 0.5 * sign(right)), y + up - high * (0.5 - 0.5 * sign(up)), wide, high
            )
            if not any(box.overlaps(other) for other in taken):
                taken.append(box)
                axes.annotate(
                    label,
                    point,
                    (right, up),
                    textcoords="offset points",
                    ha=("center", "left", "right")[int(sign(right))],
                    va=("center", "bottom", "top")[int(sign(up))],
                    color=color,
                    size=size,
                    weight=weight,
                )
                break


def _scale(axes: Axes, x: Axis, y: Axis) -> None:
    for scale, axis, given in ((axes.set_xscale, axes.xaxis, x), (axes.set_yscale, axes.yaxis, y)):
        if given.log:
            scale("log")
        if given.ticks:
            axis.set_major_locator(FixedLocator(list(given.ticks)))
        elif given.log:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=9))
        else:
            axis.set_major_locator(MaxNLocator(5, steps=(1, 2, 2.5, 5, 10)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    axes.set_xlabel(x.title)
    axes.set_ylabel(y.title)
    axes.margins(0.06, 0.1)
    if x.zero and not x.log:
        axes.set_xlim(left=0)
    if y.zero and not y.log:
        axes.set_ylim(bottom=0)


def _number(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 1e4 else f"{value:.4g}"


def _chart(title: str, subtitle: str, described: str, height: float, draw: Callable[[Axes, _Theme], None]) -> Chart:
    """Draw it in both themes; `height` is that of what `draw` fills."""
    return Chart(title, *(_svg(title, subtitle, described, height, draw, theme) for theme in (_LIGHT, _DARK)))


def _svg(
    title: str, subtitle: str, described: str, height: float, draw: Callable[[Axes, _Theme], None], theme: _Theme
) -> str:
    colors: dict[Any, Any] = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), theme.text)
    colors |= {"axes.edgecolor": theme.faint}
    head = 44
    with mpl.rc_context(_STYLE | colors):
        figure = Figure((_WIDTH / 72, (height + head) / 72), dpi=72, layout="constrained")
        figure.get_layout_engine().set(rect=(0, 0, 1, height / (height + head)))  # type: ignore[union-attr, call-arg]  # it is the constrained one
        figure.text(0.012, 1 - 6 / (height + head), title, va="top", size=12.5, weight="bold")
        figure.text(0.012, 1 - 25 / (height + head), subtitle, va="top", size=9)
        draw(figure.add_subplot(), theme)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    described = f"<desc>{escape(described)}</desc>"
    return (
        text.getvalue()
        .replace("</title>", f"</title>{described}", 1)
        .replace("'DejaVu Sans'", _FONTS)
        .replace("<svg ", '<svg role="img" ', 1)
    )
