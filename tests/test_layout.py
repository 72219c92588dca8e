"""The layout is the architecture: what may import what, and what the package exports, held as facts."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import export_engine

PACKAGE = Path(export_engine.__file__).parent
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Layer:
    """Modules and packages that stand together, and the layers they know besides their own."""

    modules: str
    knows: str
    says: str


# Left to right, as the data flows. What a module is not allowed to know it cannot depend on.
LAYERS = {
    "vocabulary": Layer(
        "door errors model report schema times timetext options",
        "",
        "The words everything else is said in: errors, values, columns, times, options.",
    ),
    "sources": Layer("sources", "vocabulary", "Rows in: each source makes record batches of the schema."),
    "pipeline": Layer("pipeline", "vocabulary", "Record batches in, an archive's bytes out. It knows no source."),
    "sinks": Layer("sinks", "vocabulary", "An archive's bytes to a file or an object, whole or not at all."),
    "engine": Layer(
        "engine check",
        "vocabulary sources pipeline sinks",
        "One export, or its rehearsal: joins source, pipeline and sink.",
    ),
    "readers": Layer(
        "readback verify inspect",
        "vocabulary",
        "An archive read back by a road of its own: nothing of what wrote it is asked.",
    ),
    "batch": Layer(
        "batch",
        "vocabulary sources sinks engine",
        "Many channels and periods: a plan, one neutral core, and the engines that put a lake's rows in order.",
    ),
    "jobs": Layer(
        "jobs",
        "vocabulary sources sinks engine",
        "The export job: its rules, its ports and the worker; in `backends` the real parts behind the ports.",
    ),
    "service": Layer("service", "vocabulary sinks engine jobs", "The job's API over HTTP."),
    "cli": Layer(
        "cli __main__",
        "vocabulary sources sinks engine readers batch service",
        "The edge that people type at: it may know all that it offers.",
    ),
}

#: The package itself is a door: it may be imported for its names by edges, and imports whatever it offers.
DOORS = {"", "sources", "sinks", "batch", "jobs"}

#: Third-party libraries, and the only places that know them.
ONLY_IN = {
    "slugify": "pipeline.naming",
    "regex": "pipeline.naming cli.text",
    "zipstream": "pipeline.archive",
    "isal": "pipeline.deflate",
    "zlib_ng": "pipeline.deflate readback.packed",
    "deflate": "pipeline.deflate",
    "click": "cli service.server",
    "rich": "cli",
    "msgspec": "sources sinks.manifest",
    "sqlalchemy": "jobs.backends service.components sources.database",
    "psycopg": "sources.database",
    "alembic": "jobs.backends.migrations",
    "duckdb": "sources.duck sources.mapping",
    "obstore": "sources.remote sinks.object sinks.store jobs.backends.archives",
    "fsspec": "sources.remote",
    "pyspark": "batch.spark",
    "phonenumbers": "jobs.phones",
    "email_validator": "jobs.request",
    "prometheus_client": "service.metrics",
    "pydantic": "jobs.request service.schemas service.openapi",
    "fastapi": "service",
    "uvicorn": "service.connections",
}


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        found[name] = ast.parse(path.read_text())
    return found


MODULES = modules()


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


def own_imports(name: str) -> set[str]:
    """The package's own modules that a module imports; the package itself is ''."""
    named = {
        i.removeprefix("export_engine").lstrip(".") for i in imports(MODULES[name]) if i.startswith("export_engine")
    }
    return {other for other in named if other in MODULES} - {name}


def inside(name: str, places: str) -> bool:
    """Whether a module is one of some places, or within one."""
    return any(name == place or name.startswith(f"{place}.") for place in places.split())


def layer_of(name: str) -> str:
    (found,) = [layer for layer, known in LAYERS.items() if inside(name, known.modules)]
    return found


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_a_module_knows_only_what_its_layer_may(name: str) -> None:
    """Data flows one way, and so do imports: sources and pipeline do not know each other, nothing knows an edge."""
    layer = layer_of(name)
    allowed = {layer, *LAYERS[layer].knows.split()}
    strangers = {other for other in own_imports(name) if other and layer_of(other) not in allowed}
    assert strangers == set(), f"{layer}: {LAYERS[layer].says}"


def test_layers_know_only_what_stands_before_them() -> None:
    """The table itself runs one way."""
    order = list(LAYERS)
    for number, layer in enumerate(order):
        assert set(LAYERS[layer].knows.split()) <= set(order[:number])
    assert "sources" not in LAYERS["pipeline"].knows


def test_no_import_runs_in_a_circle() -> None:
    """Every module can be understood after those it imports."""
    left = {name: own_imports(name) - DOORS for name in MODULES}
    while left:
        ready = {name for name, needs in left.items() if not needs & set(left)}
        assert ready, f"a circle among {sorted(left)}"
        left = {name: needs for name, needs in left.items() if name not in ready}


@pytest.mark.slow
@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_known_to_one_place(library: str) -> None:
    """What it does can be exchanged in one place."""
    users = {name for name, module in MODULES.items() if any(i.split(".")[0] == library for i in imports(module))}
    assert {user for user in users if not inside(user, ONLY_IN[library])} == set()


@pytest.mark.parametrize(
    "door", [name for name in sorted(DOORS) if hasattr(import_module(f"export_engine.{name}".rstrip(".")), "__all__")]
)
def test_exported_names_are_all_there_is(door: str) -> None:
    """Every name of `__all__` is there, and nothing else is made up when it is asked for."""
    package = import_module(f"export_engine.{door}".rstrip("."))
    for name in package.__all__:
        if name == "export_dataframe" and find_spec("pyspark") is None:  # Spark has an environment of its own
            continue
        assert getattr(package, name) is not None
    assert list(package.__all__) == sorted(
        package.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name)
    )
    assert not hasattr(package, "surprise")


def loaded_by(program: str) -> set[str]:
    """The modules that are loaded after a program in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {program}; print(' '.join(sys.modules))"],
        capture_output=True,
        check=True,
        text=True,
    )
    return set(done.stdout.split())


@pytest.mark.slow
def test_importing_the_core_loads_no_edge() -> None:
    """Neither the command line's libraries nor a single deflate library or source, nor anything of the export job."""
    loaded = loaded_by("from export_engine import export_conversations")
    libraries = {"click", "rich", "isal", "zlib_ng", "slugify", "regex", "msgspec", "duckdb", "fastapi", "obstore"}
    assert (libraries | {"sqlalchemy", "pandas", "pyarrow.parquet"}).isdisjoint(loaded)
    edges = {"export_engine.cli", "export_engine.verify", "export_engine.sources.tables", "export_engine.jobs"}
    assert edges.isdisjoint(loaded)


def test_importing_the_vocabulary_loads_no_pyarrow() -> None:
    """Who validates requests or queues jobs, and exports nothing, does not wait for it."""
    loaded = loaded_by("import export_engine, export_engine.jobs.request")
    assert {"pyarrow", "numpy", "export_engine.engine"}.isdisjoint(loaded)


def test_the_door_of_the_export_job_loads_nothing_heavy() -> None:
    """Nor do its ports and stores in memory: an embedder's tests need no database and no cloud."""
    loaded = loaded_by("import export_engine.jobs, export_engine.jobs.testing, export_engine.jobs.ports")
    assert {"pyarrow", "numpy", "sqlalchemy", "obstore", "pydantic", "phonenumbers"}.isdisjoint(loaded)


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
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, check=False, text=True).stdout
    top = {line.split("/")[0].strip('"') for line in listed.split("\n") if line}
    assert {name for name in top if not name.startswith(".")} <= allowed
