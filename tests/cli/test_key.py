"""`key` as an operator runs it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from export_engine.jobs.backends.keys import SqlKeys
from export_engine.jobs.errors import UnauthorizedError
from export_engine.service.components import open_job_database
from tests.cli.processes import invoke, needs_signals
from tests.service.running import NOW, OTHER_WORKSPACE

pytestmark = needs_signals


def test_keys(tmp_path: Path) -> None:
    """Made, used, revoked; what is printed is the key alone."""
    made = invoke("key", "create", "--workspace", OTHER_WORKSPACE.upper(), "--data", tmp_path)
    assert (made.exit_code, made.stderr) == (0, "")
    assert re.fullmatch(r"ek_[0-9a-f]{16}_[\w-]{43}\n", made.stdout)
    with open_job_database(database=None, data=tmp_path) as engine:
        keys = SqlKeys(engine)
        keys.check(made.stdout.strip(), OTHER_WORKSPACE, now=NOW)
        revoked = invoke("key", "revoke", made.stdout.split("_")[1], "--data", tmp_path)
        assert (revoked.exit_code, revoked.output) == (0, "revoked\n")
        with pytest.raises(UnauthorizedError):
            keys.check(made.stdout.strip(), OTHER_WORKSPACE, now=NOW)
    named = ("--name", "billing", "--expires", "2999-01-01")
    assert invoke("key", "create", "--workspace", OTHER_WORKSPACE, *named, "--data", tmp_path).exit_code == 0
    listed = [line.split("\t") for line in invoke("key", "list", "--data", tmp_path).stdout.splitlines()]
    assert [line[1:3] + line[4:] for line in listed] == [
        [OTHER_WORKSPACE, "revoked", "-", "2026-06-11 06:50", "-"],
        [OTHER_WORKSPACE, "holds", "2999-01-01 00:00", "-", "billing"],
    ]
    assert listed[0][0] == made.stdout.split("_")[1]
    late = invoke("key", "create", "--workspace", OTHER_WORKSPACE, "--expires", "2026-01-01", "--data", tmp_path)
    assert late.exit_code == 2
    assert late.stderr.startswith("error: --expires: the key would have expired at 2026-01-01 00:00:00+00:00")
    missing = invoke("key", "revoke", "0123456789abcdef", "--data", tmp_path)
    assert missing.exit_code == 1
    assert missing.stderr == "Error: there is no key of that id: give the part between ek_ and the next _\n"
