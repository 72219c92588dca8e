"""A saved run as a page: `RESULTS.md` and its charts, beside this file or in the folder given.

    python -m benchmarks.report RUN.json [FOLDER]

`RUN.json` is what pytest-benchmark saved (`--benchmark-json` or `--benchmark-autosave`). Whatever the run did not
measure is left out of the page.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.charts import Axis, Bar, Chart, Series, bars, plot
from benchmarks.machine import busy

__all__ = ["main", "write_report"]

MIB = 1 << 20

#: Which ways of the engine are in a picture of peers.
_SHOWN = {
    "ours, fast, from Arrow",
    "ours, fast, from objects",
    "ours, balanced, from Arrow",
    "ours, small, from Arrow",
    "ours, fast without its kernel (isal 2), from Arrow",
    "ours, fast without both (zlib 1), from Arrow",
}
_WAYS = {
    "loop": "a query and an export for each channel and month",
    "copy": "DuckDB's partitioned CSVs, zipped (one CSV for each channel and month)",
    "batch": "`export-engine batch`",
}

_CAVEATS = """\
- Ratios are taken within one run, in which the contenders took turns; times of different runs or machines say little.
- The peers are given what the engine makes itself: file names, and times as text. Each gets its rows in the shape that
  it takes fastest, prepared outside the timing; the engine from objects gets plain `Conversation` objects. Peers "from
  the same table" or "objects" start from what the engine gets, and are given the file names only.
- The engine uses one thread a processor; so do hayazip, polars, DuckDB and the peers whose name says so. The others
  use one.
- A peer counts as the best if its archive is at most a tenth larger than that of `fast`.
- Before Python 3.12 `csv` cannot write null and `""` apart, nor can pandas and polars; DuckDB does not keep the rows of
  a file in order. They are counted as if they did the same.
- The texts are short chat messages. Longer texts move every ratio towards that of the deflate libraries alone, and
  incompressible ones away from it.
- Output goes to a sink that drops it. A disk or a network slower than some 100 MB/s hides most of the differences.
- Memory is the process's resident peak, on Linux; a part of it is the allocator's.
"""


def write_report(run: dict[str, Any], folder: Path) -> None:
    """Write `RESULTS.md` and its SVG files, in the place of a page that is there and of its own."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in run["benchmarks"]:
        found.setdefault(one["name"].partition("[")[0], []).append(one["extra_info"])
    charts: dict[str, Chart] = {}
    parts = ["# Results\n", *_machine(run), *_checks(found)]
    for info in found.get("test_peers", ()):
        parts += _peers(info, charts)
    parts += _kernel(found.get("test_kernel", []))
    parts += _efficiency(found.get("test_efficiency", []), charts)
    parts += _stages(found.get("test_stages", []))
    parts += _scaling(found)
    for info in found.get("test_memory", ()):
        parts += _memory(info["memory"], charts)
    for info in found.get("test_frontier", ()):
        parts += _frontier(info, charts)
    parts += _batch(found.get("test_against_other_ways", []))
    parts += _service(found.get("test_service", []))
    parts += _latency(found)
    parts += ["## What to keep in mind\n", _CAVEATS]
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "RESULTS.md"
    if page.exists():
        for old in set(re.findall(r"[\w-]+\.svg", page.read_text(encoding="utf-8"))):
            (folder / old).unlink(missing_ok=True)
    page.write_text("\n".join(parts), encoding="utf-8")
    for name, chart in charts.items():
        (folder / f"{name}.svg").write_text(chart.light, encoding="utf-8")
        (folder / f"{name}-dark.svg").write_text(chart.dark, encoding="utf-8")


def _picture(name: str, charts: dict[str, Chart], chart: Chart) -> str:
    """Keep a chart under its name; what shows it on the page, by the page's theme."""
    charts[name] = chart
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{name}-dark.svg">'
        f'<img alt="{escape(chart.title)}" src="{name}.svg"></picture>\n'
    )


def _table(*rows: tuple[str, ...]) -> str:
    head, *body = rows
    rule = ("---", *("---:" for _ in head[1:]))
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *body))


def _machine(run: dict[str, Any]) -> Iterator[str]:
    machine = run["machine_info"]
    processor = machine.get("cpu", {})
    libraries = ", ".join(f"{name} {version}" for name, version in run["libraries"].items())
    yield (
        f"{processor.get('brand_raw', machine['machine'])}, {processor.get('count', '?')} processors, "
        f"{machine['system']}; "
        f"{machine['python_implementation']} {machine['python_version']}; {libraries}. "
        f"Presets: {'; '.join(f'`{preset}` is {name}' for preset, name in run['backends'].items())}. "
        f"Run of {run['datetime'][:10]}, {run['rows']:,} rows, {run['rounds']} rounds; times are medians.\n"
    )
    found = run["machine_load"]
    load, others = ("not known" if found[name] is None else f"{found[name]:.2f}" for name in ("load", "others"))
    yield (
        f"Load average before the run: {load}. Processors taken by others while it ran, on average: {others}. "
        f"It took {found['seconds'] / 60:.0f} minutes.\n"
    )
    if busy(found):
        yield "**The machine was busy. Sizes and memory hold; no time here, and no ratio of times, is to be quoted.**\n"
    yield "Made by `python -m benchmarks`; [README.md](README.md) says how to run it.\n"


def _checks(found: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    checks = [check for infos in found.values() for info in infos for check in info.get("checks", ())]
    yield "## Against the targets\n"
    yield _table(
        ("", "measured", "target", ""),
        *(
            (
                check["what"],
                f"{check['value']:.3g}",
                f"{'≥' if check['relation'] == '>=' else '≤'} {check['target']:g} {check['unit']}".rstrip(),
                "met" if check["holds"] else "**missed**",
            )
            for check in checks
        ),
    )


def _peers(info: dict[str, Any], charts: dict[str, Chart]) -> Iterator[str]:
    rows, seconds, sizes = info["rows"], {n: t["median"] for n, t in info["seconds"].items()}, info["sizes"]
    order = sorted(seconds, key=seconds.__getitem__)
    ours, best = seconds["ours, fast, from Arrow"], info["best"]
    yield f"## Peers: {info['set']}\n"
    yield f"{rows:,} messages in {info['conversations']:,} conversations; every archive was read back and compared.\n"
    # Of each peer that is counted its fastest way; a set that not all of them run over has no picture.
    ways = {name.partition(",")[0]: name for name in reversed(order) if name in info["counted"]}
    shown = [name for name in order if name in ways.values() or name in _SHOWN]
    if "DuckDB + zip" in ways:
        chart = bars(
            f"Messages a second: {info['set'].replace('messages', 'messages a conversation')}",
            f"{rows:,} messages, {info['conversations']:,} conversations; fastest way of each",
            [
                Bar(name, rows / seconds[name], f"{rows / seconds[name] / 1e3:,.0f} k/s", name.startswith("ours"))
                for name in shown
            ],
        )
        yield _picture(f"peers-{info['set'].replace(' ', '-')}", charts, chart)
    ahead = [seconds[best] / seconds[f"ours, fast, from {kind}"] for kind in ("Arrow", "objects")]
    same = ", ".join(
        f"from {kind} {seconds[peer] / seconds[f'ours, fast, from {kind}']:.1f} times ({peer.partition(', from')[0]})"
        for kind, peer in info["same"].items()
    )
    yield (
        f"The best of all is {best}: `fast` is {ahead[0]:.1f} times as fast from Arrow, {ahead[1]:.1f} times from "
        f"objects. Against the best that starts from the same: {same}. The rest start from rows made ready for them.\n"
    )
    yield _table(
        ("", "seconds", "times slower than `fast`", "archive, MB"),
        *((name, f"{seconds[name]:.3f}", f"{seconds[name] / ours:.1f}", f"{sizes[name] / 1e6:.2f}") for name in order),
    )


def _kernel(infos: list[dict[str, Any]]) -> Iterator[str]:
    if not infos:
        return
    yield "## The kernel alone\n"
    yield "Finished CSVs, one thread, CRC-32 included: the kernel's time and size by those of ISA-L's level 2.\n"
    yield _table(
        ("", "CSV, MB", "isal 2, s", "kernel, s", "time", "size"),
        *(
            (
                info["set"],
                f"{info['csv_bytes'] / 1e6:.0f}",
                *(f"{info['seconds'][name]['median']:.3f}" for name in ("isal 2", "kernel")),
                f"{info['time']:.2f}",
                f"{info['size']:.3f}",
            )
            for info in infos
        ),
    )


def _efficiency(infos: list[dict[str, Any]], charts: dict[str, Chart]) -> Iterator[str]:
    if not infos:
        return
    lines: dict[str, list[tuple[float, float]]] = {}
    for info in infos:
        if info["source"] == "Arrow":
            for name, title in (("export", ""), ("export without the kernel", ", no kernel")):
                threads = f"{info['threads']} thread{'s'[: info['threads'] - 1]}{title}"
                lines.setdefault(threads, []).append((info["per"], info["ratios"][name]))
    yield "## The whole export by deflate alone\n"
    if lines:
        chart = plot(
            "The whole export by ISA-L's deflate alone",
            "Times of its time on as many threads, from Arrow, preset fast; lower is better",
            Axis("messages a conversation", log=True, ticks=sorted({at for line in lines.values() for at, _ in line})),
            Axis("", zero=True),
            [Series(name, sorted(line)) for name, line in sorted(lines.items())],
        )
        yield _picture("efficiency", charts, chart)
    yield _table(
        ("from", "messages a conversation", "threads", "isal 2 alone, s", "export, s", "export by isal 2", "no kernel"),
        *(
            (
                info["source"],
                f"{info['per']}",
                f"{info['threads']}",
                *(f"{info['seconds'][name]['median']:.3f}" for name in ("isal 2 alone", "export")),
                *(f"{info['ratios'][name]:.2f}" for name in ("export", "export without the kernel")),
            )
            for info in infos
        ),
    )
    for info in infos:
        if floor := info["seconds"].get("pyarrow.json alone"):
            part = floor["median"] / info["seconds"]["export"]["median"]
            yield (
                f"From JSON Lines on {info['threads']} thread{'s'[: info['threads'] - 1]} pyarrow's parser alone takes "
                f"{floor['median']:.3f} s, {part:.2f} of the export.\n"
            )


def _stages(infos: list[dict[str, Any]]) -> Iterator[str]:
    if not infos:
        return
    yield "## Where the time goes\n"
    yield "One thread, from Arrow, preset `fast`; milliseconds that each stage adds to those before it.\n"

    def row(what: str, times: Iterable[float]) -> tuple[str, ...]:
        return (what, *(f"{time * 1e3:.0f}" for time in times))

    yield _table(
        ("", *(f"{info['per']} messages a conversation" for info in infos)),
        *(row(stage, (info["stages"][stage] for info in infos)) for stage in infos[0]["stages"]),
        row("**the whole export**", (info["whole"] for info in infos)),
        row("deflate by isal 2 alone", (info["raw"] for info in infos)),
    )


def _scaling(found: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    if "test_threads" in found:
        yield "## Scaling\n"
        yield "Serial is the part of one thread's time that, by Amdahl's law, a second thread did not help with;"
        yield "by eight is what eight threads could gain at most.\n"
        yield _table(
            (
                "messages a conversation",
                "rows",
                "the kernel's speed-up by a second thread",
                "the export's",
                "serial",
                "most by eight",
            ),
            *(
                (
                    str(i["per"]),
                    f"{i['rows']:,}",
                    *(f"{i[name]:.2f}" for name in ("deflate_speedup", "export_speedup", "serial", "eight")),
                )
                for i in found["test_threads"]
            ),
        )
    for test, title in (("test_cost_per_row", "whole export, s"), ("test_first_byte", "first byte, s")):
        for info in found.get(test, ()):
            yield _table(
                ("rows", title),
                *((f"{size:,}", f"{info['seconds'][f'{size} rows']['median']:.3f}") for size in info["sizes"]),
            )


def _memory(memory: dict[str, list[dict[str, int]]], charts: dict[str, Chart]) -> Iterator[str]:
    yield "## Memory\n"
    for over, field in (("messages", "rows"), ("conversations", "members")):
        chart = plot(
            f"Peak memory against {over}",
            "MiB above the process before the export, two threads",
            Axis(over, log=field == "rows", zero=True),
            Axis("MiB", zero=True),
            [
                Series(kind, [(point[field], point["peak"] / MIB) for point in points])
                for kind, points in memory.items()
                if len({point[field] for point in points}) > 1
            ],
        )
        yield _picture(f"memory-{field}", charts, chart)
    yield _table(
        ("", "messages", "conversations", "peak above the imports, MiB"),
        *(
            (kind, f"{point['rows']:,}", f"{point['members']:,}", f"{point['peak'] / MIB:.0f}")
            for kind, points in memory.items()
            for point in points
        ),
    )


def _frontier(info: dict[str, Any], charts: dict[str, Chart]) -> Iterator[str]:
    members, presets = info["members"], list(info["libraries"])
    points = {name: tuple(point) for name, point in info["points"].items()}
    # A few levels lie so far off that the rest would be drawn as a heap.
    slowest, largest = (min(points[preset][axis] for preset in presets) for axis in (0, 1))
    far = [name for name, (speed, ratio) in points.items() if speed < slowest / 3 or ratio < 0.95 * largest]
    lines: dict[str, list[str]] = {}
    for name in points:
        if name not in (*presets, *far):
            lines.setdefault(name.rpartition(" ")[0], []).append(name)
    yield f"## Compression, {members} members\n"
    chart = plot(
        f"Ratio against speed, {members} members",
        "One thread; numbers are levels, rings the presets; up and right is better",
        Axis("MB/s of CSV", log=True),
        Axis("ratio"),
        [
            Series("presets", [points[preset] for preset in presets], presets, large=True),
            *(
                Series(library, [points[name] for name in names], [name.rpartition(" ")[2] for name in names])
                for library, names in lines.items()
            ),
        ],
    )
    yield _picture(f"frontier-{members}", charts, chart)
    if far:
        listed = "; ".join(f"{name}: {points[name][0]:.0f} MB/s, {points[name][1]:.2f}" for name in far)
        yield f"Outside the picture: {listed}.\n"
    yield _table(
        ("", "library", "MB/s", "ratio", "dominated by"),
        *(
            (
                preset,
                info["libraries"][preset],
                f"{points[preset][0]:.0f}",
                f"{points[preset][1]:.3f}",
                ", ".join(info["dominated"][preset]) or "none",
            )
            for preset in presets
        ),
    )


def _latency(found: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    infos = [*found.get("test_import", ()), *found.get("test_tiny", ())]
    if infos:
        yield "## Latency\n"
    for title, test in (("import", "test_import"), ("five conversations", "test_tiny")):
        for info in found.get(test, ()):
            yield _table(
                (title, "milliseconds"),
                *((name, f"{taken['median'] * 1e3:.2f}") for name, taken in info["seconds"].items()),
            )


def _batch(infos: list[dict[str, Any]]) -> Iterator[str]:
    for info in infos:
        yield "## Whole lakes\n"
        yield f"{info['rows']:,} messages of {info['channels']:,} channels in three months, an archive for each.\n"
        yield _table(
            ("", "processor time, s", "seconds", "peak memory, MiB"),
            *(
                (_WAYS.get(way, way), *(f"{run[name]:.2f}" for name in ("cpu", "wall")), f"{run['peak']:.0f}")
                for way, run in info["runs"].items()
            ),
        )


def _service(infos: list[dict[str, Any]]) -> Iterator[str]:
    if not infos:
        return
    yield "## The service\n"
    yield (
        f"`export-engine serve` and a client with {infos[0]['connections']} connections on one machine: idle, and "
        f"while its worker makes one export of {infos[0]['rows']:,} messages after the other.\n"
    )

    def row(database: str, what: str, state: str, found: dict[str, float], idle: dict[str, float]) -> tuple[str, ...]:
        times = (f"{found[name] * 1e3:.1f}" for name in ("p50", "p99"))
        ratios = (f"{found[name] / idle[name]:.2f}" for name in ("a_second", "p99"))
        return (f"{what}, {database}, {state}", f"{found['a_second']:.0f}", *times, *ratios)

    yield _table(
        ("", "a second", "p50, ms", "p99, ms", "a second by idle", "p99 by idle"),
        *(
            row(info["database"], what, state, figures[what], info["service"]["idle"][what])
            for info in infos
            for what in ("polls", "triggers")
            for state, figures in info["service"].items()
        ),
    )


def main(arguments: list[str]) -> int:
    """Command line; the exit status."""
    if not 1 <= len(arguments) <= 2:
        print(__doc__)
        return 2
    run, *folder = arguments
    saved = json.loads(Path(run).read_text(encoding="utf-8"))
    write_report(saved, Path(folder[0]) if folder else Path(__file__).parent)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
