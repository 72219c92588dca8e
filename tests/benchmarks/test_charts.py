"""Charts are well formed, the same each time, and readable."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from benchmarks.charts import Axis, Bar, Chart, Series, bars, plot

SVG = "{http://www.w3.org/2000/svg}"


def drawn(chart: Chart) -> list[ET.Element]:
    """Both files of a chart."""
    return [ET.fromstring(text) for text in (chart.light, chart.dark)]  # noqa: S314  # written a moment ago


def texts(root: ET.Element) -> list[str]:
    return [text.text or "" for text in root.iter(f"{SVG}text")]


@pytest.mark.parametrize(
    "chart",
    [
        bars("a < b", "c & d", [Bar('"quoted"', 1, "1"), Bar("zero", 0, "0", ours=True)]),
        bars("none", "", [Bar("zero", 0, "0")]),
        *(
            plot("t", "s", axis, Axis("y"), [Series("one", [(3, 5)], ["label"])])
            for axis in (Axis("x"), Axis("x", log=True), Axis("x", zero=True), Axis("x", ticks=(3,)))
        ),
    ],
)
def test_charts_are_well_formed(chart: Chart) -> None:
    """A single point, equal values and zeros have a place; text is text; who does not see it is told what it shows."""
    for root in drawn(chart):
        assert root.get("role") == "img"
        assert root.findtext(f"{SVG}title") == chart.title in texts(root)
        assert root.findtext(f"{SVG}desc")
        assert not root.get("style")
    assert chart.light != chart.dark


@pytest.mark.slow
def test_charts_are_the_same_each_time() -> None:
    """The same figures give the same files: a new run changes no more than what it measured."""
    made = [plot("t", "s", Axis("x"), Axis("y"), [Series("one", [(1, 2), (2, 3)])]) for _ in range(2)]
    assert made[0] == made[1]


@pytest.mark.slow
def test_no_label_leaves_the_picture() -> None:
    """However long a bar's label, and wherever a ring's point, it begins and ends within."""
    long = "pyarrow.csv + zipfile, isal 1 on threads, from the very same objects as the engine"
    for chart in (
        bars("t", "s", [Bar(long, 3, "1,000 k/s", ours=True), Bar("short", 1, "1 k/s")]),
        plot("t", "s", Axis("x"), Axis("y"), [Series("p", [(0, 0), (9, 9)], ["balanced", "balanced"], large=True)]),
    ):
        for root in drawn(chart):
            width = float((root.get("viewBox") or "").split()[2])
            level = [text for text in root.iter(f"{SVG}text") if "rotate(-90" not in text.get("transform", "")]
            assert len(level) >= 5
            for text in level:
                style = text.get("style", "")
                [size] = re.findall(r"font-size: ([\d.]+)px", style)
                at = float(text.get("x") or re.findall(r"translate\(([\d.-]+)", text.get("transform", ""))[0])
                font = FontProperties(family="DejaVu Sans", weight=700 if "font-weight: 700" in style else 400)
                wide = TextPath((0, 0), text.text or "", float(size), prop=font).get_extents().width
                anchor = re.search(r"text-anchor: (\w+)", style)
                left = at - {"middle": wide / 2, "end": wide}.get(anchor[1] if anchor else "start", 0)
                assert 0 <= left <= left + wide <= width, (text.text, left, left + wide, width)


def test_levels_do_not_lie_on_each_other() -> None:
    """Of labels whose points are one, one is drawn, and then beside it."""
    crowd = Series("crowd", [(5, 5), (5, 5.001), (1, 1), (9, 9)], ["17", "18", "a", "b"])
    for root in drawn(plot("t", "s", Axis("x"), Axis("y"), [crowd])):
        places = [
            tuple(float(part) for part in re.findall(r"[\d.]+", text.get("transform", "")))
            for text in root.iter(f"{SVG}text")
            if text.text in ("17", "18")
        ]
        assert len(set(places)) == len(places)
