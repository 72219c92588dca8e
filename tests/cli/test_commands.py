"""The list of commands: what each does, without a wait, and what is said of a name that is none."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from export_engine.cli.commands import commands
from tests.cli.command import ENVIRONMENT, run


@pytest.mark.parametrize("group", [[], ["key"], ["database"]])
def test_lists_of_commands_are_whole(group: list[str]) -> None:
    """What a command does is said in a line that --help does not cut."""
    listed = CliRunner().invoke(commands, [*group, "--help"]).output
    assert "..." not in listed.partition("Commands:")[2]
    assert "Commands:" in listed


@pytest.mark.parametrize("name", list(commands.commands))
def test_a_line_of_the_list_is_the_command_s_own(name: str) -> None:
    """The first line of its help, and it is called so."""
    command = commands.get_command(click.Context(commands), name)
    assert command is not None
    assert command.name == name
    assert commands.commands[name].get_short_help_str() == command.get_short_help_str(limit=80)


@pytest.mark.parametrize("arguments", [["--help"], ["exprt"], []])
def test_the_list_waits_for_no_library(arguments: list[str]) -> None:
    """Neither help nor a wrong name loads pyarrow, or a command."""
    program = f"from export_engine.cli.commands import commands; commands.main({arguments!r}, standalone_mode=False)"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", program],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "click" in loaded
    assert {"pyarrow", "numpy", "rich.console", "export_engine.options", "export_engine.cli.export"}.isdisjoint(loaded)


def test_a_name_that_is_none() -> None:
    """The one that is meant is told."""
    code, output, errors = run("exprt")
    assert (code, output) == (2, b"")
    assert "No such command 'exprt'. Did you mean 'export'?" in errors
