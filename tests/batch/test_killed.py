"""A batch that is killed again and again ends as one that was not: the same files, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from export_engine import DateRange, ExportOptions
from export_engine.batch import BatchPlan
from export_engine.batch.target import open_target
from tests import s3
from tests.batch.lakes import archives, everything, expected, generated, write_lake
from tests.cli.command import ENVIRONMENT, run
from tests.exports import until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="SIGKILL")]

RANGE = ["--start", "2026-04-01", "--end", "2026-06-30", "--timezone", "Asia/Taipei", "--parallel", "3"]
OPTIONS = ExportOptions(timezone="Asia/Taipei")
#: A folder takes an archive in milliseconds, and moto's server one in tenths of a second: it is given fewer.
TABLE, FEWER = generated(60_000, 30), generated(9_000, 8)


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the commands' temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


#: The command, killed as the kernel does it: when a thread is about to write the last of so many receipts, whatever
#: the other threads are doing.
KILLED = """
import os, signal, sys
from itertools import count
from export_engine.batch.target import open_target
from export_engine.cli import main

target, last = type(open_target(sys.argv[1])), int(sys.argv[2])
put, receipts = target.put, count(1)

def killed(*arguments):
    if next(receipts) >= last:
        os.kill(os.getpid(), signal.SIGKILL)
    put(*arguments)

target.put = killed
sys.argv = ["export-engine", *sys.argv[3:]]
main()
"""


def run_and_kill(arguments: list[str], environment: Mapping[str, str], place: str, receipts: int) -> None:
    """Run the command, which dies before it has written so many more receipts."""
    command = [sys.executable, "-c", KILLED, place, str(receipts), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("limit", [None, "10KB"])
def test_a_folder(limit: str | None, temporary: Path, tmp_path: Path) -> None:
    """Three times killed, then left alone; with one archive for each key or several."""
    lake, out = write_lake(TABLE, tmp_path / "lake"), tmp_path / "out"
    arguments = ["batch", lake, "--output", str(out), *RANGE]
    arguments += [] if limit is None else ["--max-archive-size", limit]
    options = replace(OPTIONS, max_archive_size=limit)
    environment = {**ENVIRONMENT, "TMPDIR": str(temporary)}
    for receipts in (5, 25, 30):
        run_and_kill(arguments, environment, str(out), receipts)
    killed = archives(out)
    assert killed
    code, told, errors = run(*arguments, environment=environment)
    assert (code, errors) == (0, "")
    assert b" 0 failed" in told
    plan = BatchPlan(target=str(out), date_range=DateRange(date(2026, 4, 1), date(2026, 6, 30)), options=options)
    wanted = expected(TABLE, plan)
    assert len(list((out / "receipts").iterdir())) == 90
    assert (len(wanted) > 2 * 90) is (limit is not None)
    assert killed.items() <= wanted.items()
    assert archives(out) == wanted
    assert len(everything(out)) == len(wanted) + 90
    assert run("batch", "verify", out, "--deep")[0] == 0
    until(lambda: not list(temporary.iterdir()))  # by those that tidy up after the dead


@pytest.mark.parametrize("limit", [None, "6KB"])
def test_a_bucket(limit: str | None, bucket: s3.Bucket, temporary: Path, tmp_path: Path) -> None:
    """The same over S3's protocol, and no upload is left open."""
    place = f"s3://{bucket.name}/exports"
    arguments = ["batch", write_lake(FEWER, tmp_path / "lake"), "--output", place, *RANGE]
    arguments += [] if limit is None else ["--max-archive-size", limit]
    options = replace(OPTIONS, max_archive_size=limit)
    environment = {**ENVIRONMENT, **bucket.environment, "TMPDIR": str(temporary)}
    for receipts in (2, 7, 7):
        run_and_kill(arguments, environment, place, receipts)
    code, told, errors = run(*arguments, environment=environment)
    assert (code, errors) == (0, "")
    assert b" 0 failed" in told
    plan = BatchPlan(target=place, date_range=DateRange(date(2026, 4, 1), date(2026, 6, 30)), options=options)
    wanted = expected(FEWER, plan)
    assert (len(wanted) > 2 * 24) is (limit is not None)
    target = open_target(place)
    found = {path: b"".join(target.chunks(path)) for path in target.paths()}
    assert {path: data for path, data in found.items() if path.endswith(".zip")} == wanted
    assert len(found) == len(bucket.keys()) == len(wanted) + 24
    assert bucket.uploads() == []
    assert run("batch", "verify", place, environment=environment)[0] == 0
