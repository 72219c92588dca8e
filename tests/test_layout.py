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
    "sources.text": 2,
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
    "sinks.store": 3,
    "engine": 9,
    "": 10,
    "verify": 11,
    # The export job: rules, parts, worker.
    "jobs": 20,
    "jobs.errors": 21,
    "jobs.job": 22,
    "jobs.parts": 23,
    "jobs.request": 23,
    "jobs.channels": 24,
    "jobs.failures": 24,
    "jobs.mail": 24,
    "jobs.watch": 24,
    "jobs.worker": 25,
    "jobs.archives": 24,
    "jobs.database": 24,
    "jobs.store": 25,
    "jobs.keys": 25,
    "jobs.api": 25,
    "jobs.files": 25,
    "jobs.sql_schema": 24,
    "jobs.sql": 25,
    # The service around it.
    "service": 30,
    "service.logs": 31,
    "service.demo": 31,
    "service.parts": 31,
    "service.metrics": 31,
    "service.schemas": 31,
    "service.middleware": 32,
    "service.downloads": 32,
    "service.background": 32,
    "service.routes": 32,
    "service.settings": 33,
    "service.app": 33,
    "service.server": 34,
    "service.commands": 35,
    "cli": 40,
    "__main__": 41,
}

# Third-party libraries, and the only modules that know them.
ONLY_IN = {
    "slugify": {"naming"},
    "regex": {"naming"},
    "zipstream": {"archive"},
    "isal": {"deflate"},
    "zlib_ng": {"deflate"},
    "deflate": {"deflate"},
    "click": {"cli", "service.commands", "service.server"},
    "rich": {"cli"},
    "msgspec": {"sources.nested", "sources.files", "sources.arrow", "sinks.manifest", "verify"},
    "sqlalchemy": {"jobs.database", "jobs.store", "jobs.keys", "jobs.sql", "jobs.sql_schema", "service.settings"},
    "obstore": {"sinks.store", "jobs.archives"},
    "phonenumbers": {"jobs.request"},
    "email_validator": {"jobs.request"},
    "prometheus_client": {"service.metrics"},
    "pydantic": {"service.schemas"},
    "uvicorn": {"service.server"},
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
    names = {name for name in dir(export_engine) if not name.startswith("_")}
    submodules = {name for name in names if f"export_engine.{name}" in sys.modules}
    assert set(export_engine.__all__) == names - submodules - {"annotations", "import_module", "TYPE_CHECKING", "Any"}
    for name in export_engine.__all__:
        assert getattr(export_engine, name) is not None
    assert not hasattr(export_engine, "surprise")


def test_importing_the_core_loads_no_edge() -> None:
    """Neither the command line's libraries nor a single deflate library or source, nor anything of the export job."""
    program = "import sys; from export_engine import export_conversations; print(' '.join(sys.modules))"
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
        "fastapi",
        "obstore",
        "sqlalchemy",
        "pandas",
        "pyarrow.parquet",
    }
    assert unwanted.isdisjoint(loaded)
    assert {
        "export_engine.cli",
        "export_engine.verify",
        "export_engine.sources.arrow",
        "export_engine.jobs",
    }.isdisjoint(loaded)


def test_importing_the_vocabulary_loads_no_pyarrow() -> None:
    """Who validates requests or queues jobs, and exports nothing, does not wait for it."""
    program = "import sys, export_engine, export_engine.jobs.request; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout.split()
    assert {"pyarrow", "numpy", "export_engine.engine"}.isdisjoint(loaded)


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
