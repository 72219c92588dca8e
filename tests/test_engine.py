"""An export as something to hold: named, closed, listened to, and used once."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from export_engine import (
    MemberRecord,
    OptionError,
    StateError,
    open_source,
)
from export_engine.sources.open import source_of
from export_engine.sources.sorting import sorted_rows
from export_engine.sources.sql import read_sql
from tests.exports import OwnError, Talks, export, ours


def test_an_export_shows_its_name_and_state() -> None:
    """In a log or a debugger."""
    made = export([])
    assert repr(made) == "<Export 'SMS_Support_2026-06_1c4639da.zip', not begun>"
    chunks = iter(made)
    next(chunks)
    assert repr(made).endswith("running>")
    made.close()
    assert repr(made).endswith("closed>")
    finished, failing = export([]), export(Talks(1, then=OwnError()))
    b"".join(finished)
    assert repr(finished).endswith("finished>")
    with pytest.raises(OwnError):
        b"".join(failing)
    assert repr(failing).endswith("failed>")


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_leaving_the_block_closes(taken: int) -> None:
    """The source is closed and no thread is left, also while somebody still holds the iterator."""
    talks = Talks()
    with export(talks, threads=2) as made:
        chunks = iter(made)
        for _ in range(taken):
            next(chunks)
    assert not ours()
    assert talks.closed.is_set() is bool(taken)
    assert list(chunks) == []
    with pytest.raises(StateError):
        iter(made)


def test_closing_what_has_ended_changes_nothing() -> None:
    """The report stays; closing twice is no error."""
    with export(Talks(3)) as made:
        b"".join(made)
        made.close()
    assert made.report.members == 3


def test_an_export_that_was_closed_unused_is_used_up() -> None:
    """It says so, as it would after a first use."""
    made = export([])
    made.close()
    with pytest.raises(StateError, match="is closed"):
        made.listen(print)
    with pytest.raises(StateError, match="is closed"):
        _ = made.report


def test_an_iterator_that_is_forgotten_ends_the_work() -> None:
    """The export itself does not keep it alive."""
    talks = Talks()
    made = export(talks, threads=2)
    next(iter(made))
    assert talks.closed.is_set()
    assert not ours()


def test_listeners_are_told_of_each_member_in_order() -> None:
    """Each listener hears of all; hashes are there if one asked for them."""
    one: list[MemberRecord] = []
    two: list[MemberRecord] = []
    made = export(Talks(5))
    made.listen(one.append)
    made.listen(two.append, sha256=True)
    with zipfile.ZipFile(BytesIO(b"".join(made))) as opened:
        assert [record.name for record in one] == opened.namelist()
    assert one == two
    assert all(len(record.sha256 or "") == 64 for record in one)
    plain = export(Talks(1))
    plain.listen(one.append)
    b"".join(plain)
    assert one[-1].sha256 is None


def test_inputs_are_the_files_that_are_read(tmp_path: Path) -> None:
    """So that a sink can keep off them; what is no file has none."""
    path = tmp_path / "a.jsonl"
    path.write_text("")
    assert export(open_source(path, str(path))).inputs == (path, str(path))
    assert export(sorted_rows(open_source(path))).inputs == (path,)
    query = "SELECT * FROM read_json($files)"
    for files in (str(path), [str(path)], f"{tmp_path}/*.jsonl"):
        assert export(read_sql(query, {"files": files})).inputs == (str(path),)
    assert export(sorted_rows(source_of([]))).inputs == ()
    assert export([]).inputs == ()


def test_the_options_are_checked_by_name() -> None:
    """A wrong keyword is an error that names what was meant."""
    with pytest.raises(OptionError, match="did you mean compression"):
        export([], compresion="fast")
