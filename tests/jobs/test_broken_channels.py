"""A list of channels that cannot be read when a job is taken: somebody is at it, and the export is tried again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import sqlalchemy as sa

from export_engine.jobs.backends.files import FileDirectory
from export_engine.jobs.backends.sql import SqlDirectory
from export_engine.jobs.backends.sql_schema import CHANNEL as TABLE
from export_engine.jobs.job import MAX_ATTEMPTS, Status
from export_engine.jobs.worker import LONGEST_RETRY
from tests.jobs.harness import CHANNEL, Harness, open_harness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with open_harness(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("broken", ['{"id": "b2c3', '{"id": "x"}', None])
def test_a_file_of_channels_that_is_broken_for_a_while(harness: Harness, tmp_path: Path, broken: str | None) -> None:
    """Half a line, a line that breaks a rule, no file: the job waits, and is done once the file is whole again."""
    file = tmp_path / "channels.jsonl"
    if broken is not None:
        file.write_text(broken)
    harness.directory = FileDirectory(tmp_path)  # type: ignore[assignment]  # another directory
    job = harness.trigger()
    worker = harness.worker()
    assert worker.step() is True
    assert harness.current(job).status is Status.QUEUED
    file.write_text(json.dumps(asdict(CHANNEL)))
    harness.clock.now += LONGEST_RETRY
    assert worker.step() is True
    assert harness.current(job).status is Status.FINISHED


def test_a_file_of_channels_that_stays_broken(harness: Harness, tmp_path: Path) -> None:
    """The last attempt fails the job; its message says what it was, that it may pass, and nothing of where."""
    (tmp_path / "channels.jsonl").write_text("{")
    harness.directory = FileDirectory(tmp_path)  # type: ignore[assignment]  # another directory
    job = harness.trigger()
    worker = harness.worker()
    for _ in range(MAX_ATTEMPTS):
        assert worker.step() is True
        harness.clock.now += LONGEST_RETRY
    done = harness.current(job)
    assert (done.status, done.attempts) == (Status.FAILED, MAX_ATTEMPTS)
    assert (done.error_message or "").startswith("The list of channels could not be read, and trying again did not")
    assert "a fault that passes" in (done.error_message or "")
    assert "channels.jsonl" not in (done.error_message or "")


def test_a_table_of_channels_that_is_changed_for_a_while(harness: Harness, directory: SqlDirectory) -> None:
    """As a file is."""
    harness.directory = directory  # type: ignore[assignment]  # another directory
    job = harness.trigger()
    worker = harness.worker()
    with directory.engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE {TABLE.name} RENAME COLUMN name TO title"))
    assert worker.step() is True
    assert harness.current(job).status is Status.QUEUED
    with directory.engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE {TABLE.name} RENAME COLUMN title TO name"))
    harness.clock.now += LONGEST_RETRY
    assert worker.step() is True
    assert harness.current(job).status is Status.FINISHED


def test_a_channel_that_is_gone(harness: Harness, tmp_path: Path) -> None:
    """Of a list that can be read: the job has failed at once."""
    (tmp_path / "channels.jsonl").write_text("")
    harness.directory = FileDirectory(tmp_path)  # type: ignore[assignment]  # another directory
    job = harness.trigger()
    harness.worker().step()
    done = harness.current(job)
    assert (done.status, done.error_message) == (Status.FAILED, "The channel is not there any more.")
