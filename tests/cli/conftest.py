"""What the tests of several commands read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import JUNE, NAME, NESTED, run


@pytest.fixture(scope="package")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixtures' export, with a manifest beside it."""
    folder = tmp_path_factory.mktemp("archive")
    code, _, errors = run("export", NESTED, *JUNE, "--output", folder, "--manifest", folder / "manifest.jsonl")
    assert (code, errors) == (0, "")
    return folder / NAME
