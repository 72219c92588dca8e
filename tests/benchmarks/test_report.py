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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_becomes_a_page(tmp_path: Path) -> None:
    """Every benchmark runs, and its saved run makes a page with all its charts."""
    for library in BESIDES:
        pytest.importorskip(library)
    if not shutil.which("zip"):
        pytest.skip("needs the zip command")
    saved, folder = tmp_path / "run.json", tmp_path / "page"
    command = [sys.executable, "-m", "benchmarks", "--busy", "--rows=400", "--rounds=1"]
    # On several processors pytest-benchmark would measure nothing: this run is one of its own.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    ran = subprocess.run(
        [*command, f"--json={saved}", f"--folder={folder}"],
        cwd=ROOT,
        env=own,
        capture_output=True,
        check=False,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout
    assert "against the targets" in ran.stdout
    page = (folder / "RESULTS.md").read_text()
    for title in (
        "Against the targets",
        "Peers",
        "kernel alone",
        "deflate alone",
        "time goes",
        "Scaling",
        "Compression",
        "Whole lakes",
        "The service",
        "Latency",
        "keep in mind",
    ):
        assert re.search(rf"^## .*{title}", page, re.MULTILINE), title
    shown = set(re.findall(r"(?:src|srcset)=\"(.*?)\"", page))
    assert shown == {path.name for path in folder.glob("*.svg")}
    names = {one["name"].partition("[")[0] for one in json.loads(saved.read_text())["benchmarks"]}
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
