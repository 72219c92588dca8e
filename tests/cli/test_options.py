"""The options that shape an archive: what each command line and environment says becomes one `ExportOptions`."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import export_engine
from export_engine import EXCEL, CsvDialect, ExportOptions
from export_engine.cli.commands import commands
from export_engine.cli.options import export_options

ROOT = Path(__file__).parents[2]


def said(environment: bool, *arguments: str, **variables: str) -> ExportOptions:
    """What a command is called with."""
    found: list[ExportOptions] = []

    @click.command()
    @export_options(environment=environment)
    def command(options: ExportOptions) -> None:
        found.append(options)

    result = CliRunner().invoke(command, arguments, env=variables)
    assert result.exit_code == 0, result.output
    [options] = found
    return options


CASES = [
    ({}, ExportOptions()),
    ({"timezone": "Asia/Taipei"}, ExportOptions(timezone="Asia/Taipei")),
    ({"timezone": "+08:00"}, ExportOptions(timezone="+08:00")),
    ({"epoch": "ms"}, ExportOptions(epoch="ms")),
    ({"compression": "small"}, ExportOptions(compression="small")),
    ({"range-by": "created_at"}, ExportOptions(range_by="created_at")),
    ({"threads": "2"}, ExportOptions(threads=2)),
    ({"name-budget": "100"}, ExportOptions(name_budget=100)),
    ({"strict": None}, ExportOptions(strict=True)),
    ({"excel": None}, ExportOptions(dialect=EXCEL)),
    ({"bom": None}, ExportOptions(dialect=CsvDialect(bom=True))),
    ({"lf": None}, ExportOptions(dialect=CsvDialect(line_end="\n"))),
    (
        {"formula-guard": None, "bare-e164": None},
        ExportOptions(dialect=CsvDialect(formula_guard=True, bare_e164=True)),
    ),
    (
        {"formula-guard": None, "digits-guard": None},
        ExportOptions(dialect=CsvDialect(formula_guard=True, digits_guard=True)),
    ),
    (
        {"excel": None, "lf": None, "bare-e164": None},
        ExportOptions(dialect=replace(EXCEL, bare_e164=True, line_end="\n")),
    ),
]


@pytest.mark.parametrize(
    ("given", "expected"), CASES, ids=lambda case: " ".join(case) if isinstance(case, dict) else ""
)
def test_arguments(given: dict[str, str | None], expected: ExportOptions) -> None:
    """With and without the environment being read."""
    arguments = [word for name, value in given.items() for word in (f"--{name}", value) if word is not None]
    assert said(False, *arguments) == expected
    assert said(True, *arguments) == expected


@pytest.mark.parametrize(
    ("given", "expected"), CASES, ids=lambda case: " ".join(case) if isinstance(case, dict) else ""
)
def test_environment(given: dict[str, str | None], expected: ExportOptions) -> None:
    """A flag is set by 1 or true; where the environment is not to be read it says nothing."""
    for flag in ("1", "true"):
        variables = {f"EXPORT_ENGINE_{name.replace('-', '_').upper()}": value or flag for name, value in given.items()}
        assert said(True, **variables) == expected
        assert said(False, **variables) == ExportOptions()


@pytest.mark.parametrize("value", ["0", "false", "no"])
def test_a_flag_that_is_off(value: str) -> None:
    """In the environment, too."""
    assert said(True, EXPORT_ENGINE_EXCEL=value, EXPORT_ENGINE_STRICT=value) == ExportOptions()


def test_an_argument_goes_before_the_environment() -> None:
    """What is said for one run counts."""
    assert said(True, "--compression", "store", EXPORT_ENGINE_COMPRESSION="small").compression == "store"


def test_an_export_reads_no_environment(tmp_path: Path) -> None:
    """The same bytes whatever it says, also where that could not work."""
    archives = []
    for number, compression in enumerate([None, "small", "nonsense"]):
        variables = (
            {} if compression is None else {"EXPORT_ENGINE_COMPRESSION": compression, "EXPORT_ENGINE_EXCEL": "1"}
        )
        arguments = [ROOT / "fixtures" / "conversations.jsonl", "--channel-name", "SMS", "--id", "x"]
        arguments += ["--start", "2026-06-01", "--end", "2026-06-30", "--output", tmp_path / f"{number}.zip"]
        result = CliRunner().invoke(commands, ["export", *map(str, arguments)], env=variables)
        assert result.exit_code == 0, result.output
        archives.append((tmp_path / f"{number}.zip").read_bytes())
    assert len(set(archives)) == 1


@pytest.mark.slow
def test_who_reads_the_environment() -> None:
    """The commands of the service alone, through the option that says so and in the one place that has the secret."""
    package = Path(export_engine.__file__).parent
    readers = set()
    for path in package.rglob("*.py"):
        words = {getattr(node, "attr", getattr(node, "arg", None)) for node in ast.walk(ast.parse(path.read_text()))}
        if words & {"environ", "environb", "getenv", "envvar", "auto_envvar_prefix"}:
            readers.add(path.relative_to(package).as_posix())
    assert readers == {"cli/options.py", "cli/service.py"}
