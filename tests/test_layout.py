"""The layout is the architecture: what may import what, and what the package exports, held as facts."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import export_engine

PACKAGE = Path(export_engine.__file__).parent

# Left to right, as the data flows. A module may import those of lower rank alone.
RANK = {
    "errors": 0,
    "digests": 0,
    "archive": 0,
    "report": 0,
    "zone": 0,
    "schema": 0,
    "model": 1,
    "deflate": 1,
    "naming": 2,
    "render": 2,
    "sources": 2,
    "sources.arrow": 3,
    "sources.objects": 3,
    "sources.files": 4,
    "sources.columnar": 3,
    "sources.nested": 4,
    "sources.choose": 5,
    "grouping": 3,
    "uniqueness": 3,
    "selection": 4,
    "members": 5,
    "writer": 6,
    "long": 7,
    "flow": 8,
    "sinks": 1,
    "sinks.manifest": 2,
    "sinks.file": 3,
    "engine": 9,
    "": 10,
    "verify": 11,
    "cli": 12,
    "__main__": 13,
}

# Third-party libraries, and the only modules that know them.
ONLY_IN = {
    "slugify": {"naming"},
    "regex": {"naming"},
    "zipstream": {"archive"},
    "isal": {"deflate"},
    "zlib_ng": {"deflate"},
    "deflate": {"deflate"},
    "click": {"cli"},
    "rich": {"cli"},
    "msgspec": {"sources.nested", "sources.files", "sources.arrow", "sinks.manifest", "verify"},
}


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        found[name] = ast.parse(path.read_text())
    return found


def imports(module: ast.Module) -> set[str]:
    """Every module imported, at any depth, but for type checkers alone."""
    found = set()
    typing_only = {
        id(node)
        for branch in ast.walk(module)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(module):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(str(node.module))
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("name", modules())
def test_a_module_imports_only_what_stands_before_it(name: str) -> None:
    """Data flows one way, and so do imports; nothing imports an edge."""
    own = {
        other.removeprefix("export_engine").removeprefix(".")
        for other in imports(modules()[name])
        if other.startswith("export_engine")
    }
    own = {other for other in own if other in RANK and not (other == "" and name)} - {name}
    assert {other for other in own if RANK[other] >= RANK[name] and other != ""} == set()


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_known_to_one_module(library: str) -> None:
    """What it does can be exchanged in one place."""
    users = {name for name, module in modules().items() if any(i.split(".")[0] == library for i in imports(module))}
    assert users <= ONLY_IN[library]


def test_exported_names_are_all_there_is() -> None:
    """`__all__` is sorted, complete, and what `from export_engine import *` gives."""
    names = {name for name, value in vars(export_engine).items() if not name.startswith("_")}
    submodules = {name for name in names if f"export_engine.{name}" in sys.modules}
    assert set(export_engine.__all__) == names - submodules - {"annotations"}


def test_importing_the_core_loads_no_edge() -> None:
    """Neither the command line's libraries nor a single deflate library or source."""
    program = "import sys, export_engine; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout.split()
    unwanted = {
        "click",
        "rich",
        "isal",
        "zlib_ng",
        "slugify",
        "regex",
        "msgspec",
        "duckdb",
        "pandas",
        "pyarrow.parquet",
    }
    assert unwanted.isdisjoint(loaded)
    assert {"export_engine.cli", "export_engine.verify", "export_engine.sources.arrow"}.isdisjoint(loaded)


def test_top_level_is_what_it_is_meant_to_be() -> None:
    """No folder or file grows beside the agreed ones."""
    allowed = {
        "export_engine",
        "benchmarks",
        "tests",
        "fixtures",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
    }
    listed = subprocess.run(
        ["git", "ls-files"], cwd=PACKAGE.parent, capture_output=True, check=False, text=True
    ).stdout.split("\n")
    top = {line.split("/")[0].strip('"') for line in listed if line}
    assert {name for name in top if not name.startswith(".")} <= allowed
