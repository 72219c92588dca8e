"""A run becomes a page."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import write_report

ROOT = Path(__file__).parent.parent.parent
#: What the peers need that the engine does not.
BESIDES = ("stream_zip", "polars", "pandas", "duckdb", "hayazip")


#: Those that start processes of their own, a whole service among them: most of a small run's time.
WITH_PROCESSES = ("test_batch.py", "test_service.py", "test_scaling.py::test_memory", "test_latency.py::test_import")


def ran(folder: Path, *left_out: str) -> tuple[str, set[str]]:
    """The page of a small run into a folder, with all its charts, and the benchmarks that are in it."""
    for library in BESIDES:
        pytest.importorskip(library)
    if not shutil.which("zip"):
        pytest.skip("needs the zip command")
    saved, page = folder / "run.json", folder / "page"
    # On several processors pytest-benchmark would measure nothing: this run is one of its own.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    own["PYTEST_ADDOPTS"] = " ".join(f"--deselect=benchmarks/{name}" for name in left_out)
    command = [sys.executable, "-m", "benchmarks", "--busy", "--rows=400", "--rounds=1"]
    done = subprocess.run(
        [*command, f"--json={saved}", f"--folder={page}"],
        cwd=ROOT,
        env=own,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "against the targets" in done.stdout
    text = (page / "RESULTS.md").read_text()
    shown = set(re.findall(r"(?:src|srcset)=\"(.*?)\"", text))
    assert shown == {path.name for path in page.glob("*.svg")}
    return text, {one["name"].partition("[")[0] for one in json.loads(saved.read_text())["benchmarks"]}


def titles(page: str) -> list[str]:
    return re.findall(r"^## (.*)", page, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_becomes_a_page(tmp_path: Path) -> None:
    """What was measured has its section and its charts; what was not is left out."""
    page, _ = ran(tmp_path, *WITH_PROCESSES)
    for title in (
        "Against the targets",
        "Peers",
        "kernel alone",
        "deflate alone",
        "time goes",
        "Scaling",
        "Compression",
        "Latency",
        "keep in mind",
    ):
        assert any(title in one for one in titles(page)), title
    assert not {"Memory", "Whole lakes", "The service"} & set(titles(page))


@pytest.mark.scale
def test_every_benchmark_runs(tmp_path: Path) -> None:
    """Those too that start processes, and their figures have sections."""
    page, names = ran(tmp_path)
    assert {"Memory", "Whole lakes", "The service", "Latency"} <= set(titles(page))
    defined = {
        name
        for path in (ROOT / "benchmarks").glob("test_*.py")
        # Those that are run by hand are not in a run.
        for scale, name in re.findall(
            r"^(@pytest\.mark\.scale\n)?(?:@.*\n)*def (test_\w+)", path.read_text(), re.MULTILINE
        )
        if not scale
    }
    assert defined - names <= ({"test_memory"} if sys.platform != "linux" else set())


RUN: dict[str, Any] = {
    "benchmarks": [],
    "machine_info": {"machine": "a", "system": "b", "python_implementation": "c", "python_version": "d"},
    "libraries": {"isal": "1"},
    "backends": {"fast": "native 1"},
    "datetime": "2026-11-27T01:02:03",
    "rows": 400,
    "rounds": 1,
}


#: What the benchmarks that start processes record, besides checks.
OF_PROCESSES: dict[str, dict[str, Any]] = {
    "test_memory": {
        "memory": {
            "one conversation": [{"rows": rows, "members": 1, "peak": rows << 20} for rows in (10, 11)],
            "many": [{"rows": 30, "members": members, "peak": 12 << 20} for members in (5, 6)],
        }
    },
    "test_against_other_ways": {
        "rows": 4321,
        "channels": 2,
        "runs": {"loop": {"cpu": 7.25, "wall": 8.5, "peak": 99}, "batch": {"cpu": 1.25, "wall": 1.5, "peak": 98}},
    },
    "test_service[SQLite]": {
        "database": "SQLite",
        "connections": 3,
        "rows": 5432,
        "service": {
            state: {what: {"a_second": rate, "p50": 0.002, "p99": 0.004} for what in ("polls", "triggers")}
            for state, rate in (("idle", 400), ("exporting", 300))
        },
    },
    "test_import": {"seconds": {"import this": {"median": 0.0625}}},
}


@pytest.mark.slow
def test_figures_of_processes_become_sections(tmp_path: Path) -> None:
    """Memory with its charts, whole lakes, the service and imports; ratios are those of the figures."""
    benchmarks = [{"name": name, "extra_info": info | {"checks": []}} for name, info in OF_PROCESSES.items()]
    quiet = {"load": None, "seconds": 1.0, "others": None}
    write_report(RUN | {"machine_load": quiet, "benchmarks": benchmarks}, tmp_path)
    page = (tmp_path / "RESULTS.md").read_text()
    assert titles(page)[1:] == ["Memory", "Whole lakes", "The service", "Latency", "What to keep in mind"]
    charts = {f"memory-{over}{theme}.svg" for over in ("rows", "members") for theme in ("", "-dark")}
    assert {path.name for path in tmp_path.glob("*.svg")} == charts
    for row in (
        "| one conversation | 11 | 1 | 11 |",
        "| `export-engine batch` | 1.25 | 1.50 | 98 |",
        "| polls, SQLite, exporting | 300 | 2.0 | 4.0 | 0.75 | 1.00 |",
        "| import this | 62.50 |",
    ):
        assert row in page


@pytest.mark.parametrize(("load", "says_so"), [(0.2, False), (3.0, True)])
def test_a_page_says_whether_the_machine_was_busy(tmp_path: Path, load: float, says_so: bool) -> None:
    """With date and backend; so that no time of a busy machine is taken for one."""
    write_report(RUN | {"machine_load": {"load": load, "seconds": 61.0, "others": 0.0}}, tmp_path)
    page = (tmp_path / "RESULTS.md").read_text()
    assert ("The machine was busy" in page) is says_so
    for fact in ("2026-11-27", "`fast` is native 1", f"before the run: {load:.2f}", "isal 1"):
        assert fact in page


def test_a_new_page_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    """Pictures that it no longer shows go; what else is in the folder stays."""
    for name in ("old.svg", "old-dark.svg", "another.svg"):
        (tmp_path / name).write_text("")
    (tmp_path / "RESULTS.md").write_text('<source srcset="old-dark.svg"><img src="old.svg">')
    write_report(RUN | {"machine_load": {"load": None, "seconds": 1.0, "others": None}}, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"RESULTS.md", "another.svg"}
