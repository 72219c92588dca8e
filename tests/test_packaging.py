"""The package as it is handed out: what an install brings and what it does without, where the version stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution, packages_distributions, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import export_engine

ROOT = Path(__file__).parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
OWN = "export-engine"
PINS, SPARK_PINS = (
    {
        canonicalize_name(name): pin
        for name, pin in re.findall(r"^(\w\S*)==(\S+)$", (ROOT / ".ci" / file).read_text(), re.MULTILINE)
    }
    for file in ("constraints.txt", "constraints-spark.txt")
)
FLAT = ROOT / "fixtures" / "conversations.parquet"
JUNE = ["--channel-name", "SMS Support", "--start", "2026-06-01", "--end", "2026-06-30"]

installed = pytest.mark.skipif(
    "EXPORT_ENGINE_TESTS_INSTALLED" not in os.environ, reason="EXPORT_ENGINE_TESTS_INSTALLED=1: tests of a wheel"
)


@installed
def test_what_is_tested_is_what_is_installed() -> None:
    """Neither these tests nor a process they start sees a folder of the package beside them."""
    assert "site-packages" in Path(export_engine.__file__).parts
    done = subprocess.run(
        [sys.executable, "-c", "import export_engine; print(export_engine.__file__)"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == export_engine.__file__


@installed
def test_the_installed_version() -> None:
    """The distribution's is the package's: it stands in one place."""
    assert version(OWN) == export_engine.__version__


def test_the_version_stands_in_one_place() -> None:
    """Where it is built from is where it is read, and it is one that installers can compare."""
    assert "version" not in PYPROJECT["project"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"] == {"version": {"attr": "export_engine.__version__"}}
    assert str(Version(export_engine.__version__)) == export_engine.__version__


def requirements() -> Iterator[Requirement]:
    """What the project says it needs: itself, for each extra, and to be built."""
    project = PYPROJECT["project"]
    for group in (
        PYPROJECT["build-system"]["requires"],
        project["dependencies"],
        *project["optional-dependencies"].values(),
    ):
        yield from map(Requirement, group)


@pytest.mark.parametrize("needed", sorted({str(r) for r in requirements() if r.name != OWN}))
def test_what_ci_installs_is_pinned(needed: str) -> None:
    """A release of somebody else's breaks no build on its day. The list's own head says how to renew it."""
    requirement = Requirement(needed)
    pins = [found[name] for found in (PINS, SPARK_PINS) if (name := canonicalize_name(requirement.name)) in found]
    assert pins, f"{requirement.name} is not in .ci/constraints.txt: renew it"
    assert any(map(requirement.specifier.contains, pins)), f"{pins} is pinned and {needed} asked for"


def brought(names: list[str]) -> set[str]:
    """The distributions that come with some requirements, on this machine and without extras."""
    found: set[str] = set()
    left = [Requirement(name) for name in names]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        left += map(Requirement, distribution(name).requires or ())
    return found


BLOCKED = """
import sys
class Missing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing)
from export_engine.cli import main
main()
"""


def with_core_alone(*arguments: str | Path, cwd: Path) -> tuple[int, str, str]:
    """Run `export-engine` where only what the core depends on can be imported; exit code, stdout, stderr."""
    core = brought(PYPROJECT["project"]["dependencies"])
    blocked = {
        module
        for module, distributions in packages_distributions().items()
        if not core & {canonicalize_name(name) for name in distributions} and module != "export_engine"
    }
    assert {"sqlalchemy", "fastapi", "obstore", "pytest"} <= blocked
    done = subprocess.run(
        [sys.executable, "-c", f"blocked = {blocked!r}\n{BLOCKED}", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_the_core_is_lean() -> None:
    """What the main job installs: rows, names, bytes and the command line, and no framework, database or cloud."""
    core = {canonicalize_name(Requirement(name).name) for name in PYPROJECT["project"]["dependencies"]}
    data = {"pyarrow", "numpy", "msgspec", "zipstream-ng", "deflate", "isal", "zlib-ng"}
    assert core <= data | {"python-slugify", "regex", "tzdata", "click", "rich"}
    assert len(brought(PYPROJECT["project"]["dependencies"])) <= 20


def test_sql_without_duckdb_names_its_extra(tmp_path: Path) -> None:
    """From Python, where a query is a source."""
    program = "from export_engine.sources import read_sql"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['duckdb'] = None\n{program}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1].endswith("pip install 'export-engine[sql]'")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_the_core_alone_exports(kind: str, tmp_path: Path) -> None:
    """The main job, from each fixture, and reading back what it made."""
    source = ROOT / "fixtures" / f"conversations.{kind}"
    code, _, errors = with_core_alone("export", source, *JUNE, "--output", "out/", "--id", "core", cwd=tmp_path)
    assert (code, errors) == (0, "")
    archive = Path("out", "SMS_Support_2026-06_core.zip")
    assert with_core_alone("verify", archive, cwd=tmp_path)[0] == 0
    assert with_core_alone("inspect", archive, cwd=tmp_path)[0] == 0


@pytest.mark.slow
def test_the_core_alone_helps(tmp_path: Path) -> None:
    """Every command can be asked what it does."""
    code, output, _ = with_core_alone("--help", cwd=tmp_path)
    assert code == 0
    commands = re.findall(r"^  (\w+) ", output.partition("Commands:\n")[2].partition("\n\n")[0], re.MULTILINE)
    assert {"export", "verify", "inspect", "serve", "worker", "key", "database"} <= set(commands)
    for command in commands:
        assert with_core_alone(command, "--help", cwd=tmp_path)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("serve", "service"),
        ("worker --data .", "service"),
        ("key create --data . --workspace 3fa85f64-5717-4562-b3fc-2c963f66afa6", "service"),
        ("database upgrade --data .", "service"),
        (f"export {FLAT} --channel-name SMS --start 2026-06-01 --end 2026-06-30 --output s3://bucket/", "cloud"),
    ],
)
def test_what_needs_an_extra_names_it(command: str, extra: str, tmp_path: Path) -> None:
    """The error is the line to type."""
    code, output, errors = with_core_alone(*command.split(), cwd=tmp_path)
    assert code == 1
    assert output == ""
    assert f"pip install 'export-engine[{extra}]'" in errors
    assert list(tmp_path.iterdir()) == []
