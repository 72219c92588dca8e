"""Options and the summary of a benchmark run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest
from pytest_benchmark.logger import PytestBenchmarkWarning

from benchmarks.machine import Watch
from export_engine.options import Compression
from export_engine.pipeline.deflate import backend

#: Whose versions go into a saved run.
_LIBRARIES = (
    "export-engine",
    "pyarrow",
    "numpy",
    "isal",
    "zlib-ng",
    "deflate",
    "zipstream-ng",
    "msgspec",
    "stream-zip",
    "pandas",
    "polars",
    "duckdb",
    "hayazip",
)
_PRESETS: tuple[Compression, ...] = ("fast", "balanced", "small")
_WATCH = pytest.StashKey[Watch]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rows` sizes everything, `--rounds` says how often each contender runs."""
    parser.addoption("--rows", type=int, default=400_000, help="rows of a data set; larger and smaller ones follow")
    parser.addoption("--rounds", type=int, default=5, help="rounds of each measurement")


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> int:
    """Rows of a data set."""
    return int(request.config.getoption("--rows"))


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How often each contender runs."""
    return int(request.config.getoption("--rounds"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No benchmark is cut short: the slowest peer takes minutes."""
    for item in items:
        item.add_marker(pytest.mark.timeout(0))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Comparing with another machine's run, or an older Python's, is a warning and not an error."""
    # pytest-benchmark warns while pytest is being configured, when filters from the configuration come too late.
    config.stash[_WATCH] = Watch.begin()
    warnings.filterwarnings("default", category=PytestBenchmarkWarning)


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Save the versions, the size of the run, and whether the machine was quiet."""
    output_json["backends"] = {preset: backend(preset).name for preset in _PRESETS}
    output_json["machine_load"] = config.stash[_WATCH].found()
    output_json["libraries"] = dict(_versions())
    output_json["rows"] = config.getoption("--rows")
    output_json["rounds"] = config.getoption("--rounds")


def _versions() -> Iterator[tuple[str, str]]:
    for library in _LIBRARIES:
        try:
            yield library, version(library)
        except PackageNotFoundError:
            yield library, "not installed"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Every figure against its target."""
    session = getattr(config, "_benchmarksession", None)
    checks = [check for one in getattr(session, "benchmarks", ()) for check in one.extra_info.get("checks", ())]
    if not checks:
        return
    terminalreporter.section("against the targets")
    width = max(len(check["what"]) for check in checks)
    for check in checks:
        verdict = "" if check["holds"] else "  MISSED"
        value, target = f"{check['value']:.3g}", f"{check['relation']} {check['target']:g} {check['unit']}"
        terminalreporter.write_line(f"{check['what']:<{width}}  {value:>8}  {target}{verdict}")
