"""Standard output that takes nothing: every command says that it is it, in one line, and fails."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, ENVIRONMENT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full"),
]


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["serve", "--port", "0"],
        ["database", "version", "--data", "."],
    ],
)
def test_a_full_disk(tmp_path: Path, command: list[str | os.PathLike[str]], buffered: bool) -> None:
    """Named, without a traceback; Python's own buffer, where it has one, changes nothing."""
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONUNBUFFERED"}
    if not buffered:
        environment["PYTHONUNBUFFERED"] = "1"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, *command], cwd=tmp_path, env=environment, stdout=full, stderr=-1, check=False, timeout=60
        )
    assert (done.returncode, done.stderr) == (1, b"error: standard output: No space left on device\n")
