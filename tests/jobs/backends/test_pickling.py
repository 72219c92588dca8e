"""Channels and conversations are carried to other processes: what is pickled opens its files or database anew."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from export_engine import ExportOptions
from export_engine.jobs.backends.files import FileConversations, open_files
from export_engine.jobs.backends.sql import SqlConversations, SqlDirectory
from export_engine.service.demo import DEMO_WORKSPACE, write_demo
from tests.jobs.rows import JUNE, SMS, export, many


def archive_in_a_process(given: SqlConversations | FileConversations) -> bytes:
    """What a source that came by pickle exports."""
    return b"".join(export(given.conversations(SMS, JUNE, ExportOptions())))


@pytest.mark.slow
def test_a_source_is_carried_to_another_process(source: SqlConversations, directory: SqlDirectory) -> None:
    """It pickles; what is made of it connects anew and gives the same bytes."""
    many(source, 30)
    here = archive_in_a_process(source)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(archive_in_a_process, source).result(240) == here
    copied = pickle.loads(pickle.dumps(directory))  # noqa: S301  # our own
    assert copied.engine is not directory.engine
    assert copied.find(DEMO_WORKSPACE, channel_id=SMS.id) == [SMS]
    copied.engine.dispose()


@pytest.mark.slow
def test_files_are_carried_to_another_process(tmp_path: Path) -> None:
    """The same for a folder's."""
    write_demo(tmp_path)
    directory, source = open_files(tmp_path)
    here = archive_in_a_process(source)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(archive_in_a_process, source).result(240) == here
    copied = pickle.loads(pickle.dumps(directory))  # noqa: S301  # our own
    assert copied.find(DEMO_WORKSPACE, channel_id=SMS.id) == [SMS]


def test_no_password_is_shown() -> None:
    """A source's `repr` goes into logs; its pickle has to carry the password."""
    engine = sa.create_engine("postgresql+psycopg://user:hunter2@127.0.0.1:1/chats")
    for part in (SqlConversations(engine), SqlDirectory(engine)):
        assert "hunter2" not in repr(part)
        copied = pickle.loads(pickle.dumps(part))  # noqa: S301  # our own
        assert "hunter2" not in repr(copied)
        assert copied.engine.url == engine.url
