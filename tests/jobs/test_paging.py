"""Lists in pages: whatever the limit, the pages together are the whole list; a cursor is taken as it is or refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export_engine.jobs import api
from export_engine.jobs.backends.files import FileDirectory
from export_engine.jobs.backends.sql import SqlDirectory
from export_engine.jobs.backends.sql_schema import CHANNEL
from export_engine.jobs.errors import InvalidRequestError
from export_engine.jobs.job import Status
from export_engine.jobs.ports import ChannelDirectory, WorkspaceChannel
from export_engine.jobs.testing import MemoryDirectory
from tests.jobs.samples import MINUTE, NOW, AnyJobStore, new_job

WORKSPACE = new_job().workspace_id
JOB_ID = "22222222-3333-4444-8555-666666666666"
OTHER = "11111111-2222-4333-8444-555555555555"

#: The stores are made once for all examples; each example has a workspace of its own.
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)


def pages(ask: Callable[[str | None], dict[str, Any]], items: str, limit: int) -> list[dict[str, Any]]:
    """All items of a list, a page after the other."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = ask(cursor)
        assert len(page[items]) <= limit
        found += page[items]
        cursor = page["next_cursor"]
        if cursor is None:
            return found
        assert len(page[items]) == limit


# --- jobs ----------------------------------------------------------------------------------------------------------


@SHARED
@given(
    seconds=st.lists(st.integers(0, 5), max_size=20),
    limit=st.integers(1, 7),
)
def test_pages_of_jobs_are_the_whole_list(store: AnyJobStore, seconds: list[int], limit: int) -> None:
    """The youngest first, those of one moment by their ids: each once; and of other workspaces none."""
    workspace = str(uuid4())
    made = [
        new_job(str(number), workspace_id=workspace, created_time=NOW + timedelta(seconds=second))
        for number, second in enumerate(seconds)
    ]
    for job in made:
        store.create(job)
    found = pages(
        lambda cursor: api.list_exports(workspace_id=workspace, store=store, now=NOW, limit=limit, cursor=cursor),
        "export_jobs",
        limit,
    )
    wanted = sorted(made, key=lambda job: (job.created_time, job.id), reverse=True)
    assert [entry["export_job_id"] for entry in found] == [job.id for job in wanted]


def test_jobs_that_come_and_go_between_pages(store: AnyJobStore) -> None:
    """What is there all the time is listed once; what is younger than the first page is in none after it."""
    made = [new_job(str(number), created_time=NOW + number * MINUTE) for number in range(6)]
    for job in made:
        store.create(job)

    def ask(cursor: str | None) -> dict[str, Any]:
        page = api.list_exports(workspace_id=WORKSPACE, store=store, now=NOW, limit=2, cursor=cursor)
        number = len(asked)
        asked.append(cursor)
        store.create(new_job(f"new-{number}", created_time=NOW + timedelta(hours=number + 1)))
        store.cancel(WORKSPACE, made[-1].id, NOW)
        return page

    asked: list[str | None] = []
    found = pages(ask, "export_jobs", 2)
    assert [entry["export_job_id"] for entry in found] == [job.id for job in reversed(made)]


def test_jobs_of_a_channel_or_a_status(store: AnyJobStore) -> None:
    """Those alone, also page by page; the channel's id in either case."""
    channels = ["a1b2c3d4-1111-2222-3333-444455556666", "b2c3d4e5-7777-8888-9999-000011112222"]
    made = [new_job(channels[day % 2], day=day) for day in range(1, 9)]
    for job in made:
        store.create(job)
    for job in made[:3]:
        store.cancel(WORKSPACE, job.id, NOW)

    def found(**only: Any) -> set[str]:
        entries = pages(
            lambda cursor: api.list_exports(
                workspace_id=WORKSPACE, store=store, now=NOW, limit=1, cursor=cursor, **only
            ),
            "export_jobs",
            1,
        )
        ids = [entry["export_job_id"] for entry in entries]
        assert len(ids) == len(set(ids))
        return set(ids)

    assert found(channel_id=channels[0].upper()) == {job.id for job in made[1::2]}
    assert found(status=Status.FAILED) == {job.id for job in made[:3]}
    assert found(status=Status.FAILED, channel_id=channels[0]) == {made[1].id}
    assert found(channel_id=OTHER) == set()


@pytest.mark.parametrize("workspace", ["", "a\0", "\ud800"])
def test_no_jobs_where_there_is_no_workspace(store: AnyJobStore, workspace: str) -> None:
    """Whatever is asked for."""
    assert store.page(workspace, limit=9) == []
    assert store.page(WORKSPACE, limit=9, channel_id=workspace) == []


# --- channels ------------------------------------------------------------------------------------------------------

#: Texts that a database can hold; among them some that a locale's order, or UTF-16's, puts elsewhere than code points.
NAMES = st.none() | st.sampled_from(["", "a", "B", "b", "ä", "\uffff", "\U0001f600", "a b", "a-b", "Ab", "_"])


def in_files(folder: Path, channels: list[WorkspaceChannel]) -> FileDirectory:
    """They, in a file."""
    lines = [
        {"id": c.id, "workspace_id": c.workspace_id, "type": c.type} | ({"name": c.name} if c.name else {})
        for c in channels
    ]
    (folder / "channels.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return FileDirectory(folder)


def in_tables(directory: SqlDirectory, channels: list[WorkspaceChannel]) -> SqlDirectory:
    """They, in a table."""
    with directory.engine.begin() as connection:
        connection.execute(CHANNEL.delete())
        made = [{"id": c.id, "workspace_id": c.workspace_id, "type": c.type, "name": c.name} for c in channels]
        connection.execute(CHANNEL.insert(), made)
    return directory


@SHARED
@given(
    names=st.lists(st.tuples(NAMES, st.uuids().map(str)), max_size=12, unique_by=lambda one: one[1]),
    limit=st.integers(1, 5),
    other=st.uuids().map(str),
)
def test_pages_of_channels_are_the_whole_list(
    directory: SqlDirectory, tmp_path: Path, names: list[tuple[str | None, str]], limit: int, other: str
) -> None:
    """By name and id, in files, tables and memory alike; of other workspaces none."""
    channels = [WorkspaceChannel(id_, WORKSPACE, "LOCAL", name or None) for name, id_ in names if id_ != other]
    wanted = sorted(channels, key=lambda c: (c.name or "", c.id))
    everywhere = [*channels, WorkspaceChannel(other, OTHER, "LOCAL", "a")]
    directories: list[ChannelDirectory] = [
        MemoryDirectory(everywhere),
        in_files(tmp_path, everywhere),
        in_tables(directory, everywhere),
    ]
    for each in directories:
        found = pages(
            lambda cursor, each=each: api.list_channels(  # type: ignore[misc]  # mypy does not infer a default's type
                workspace_id=WORKSPACE, directory=each, limit=limit, cursor=cursor
            ),
            "channels",
            limit,
        )
        assert [(one["channel_id"], one["name"]) for one in found] == [(c.id, c.name) for c in wanted]


def test_names_that_no_database_has(tmp_path: Path, directory: SqlDirectory) -> None:
    """A file may have a NUL in one: its cursor is one as any other; a database has nothing behind it."""
    channels = [WorkspaceChannel(new_job(day=n).id, WORKSPACE, "LOCAL", name) for n, name in ((1, "a\0"), (2, "a\0b"))]
    for each in (MemoryDirectory(channels), in_files(tmp_path, channels)):
        ask = partial(api.list_channels, workspace_id=WORKSPACE, directory=each, limit=1)
        found = pages(lambda cursor, ask=ask: ask(cursor=cursor), "channels", 1)  # type: ignore[misc]  # as above
        assert [one["name"] for one in found] == ["a\0", "a\0b"]
    cursor = ask(cursor=None)["next_cursor"]
    none = api.list_channels(workspace_id=WORKSPACE, directory=directory, cursor=cursor)
    assert none == {"channels": [], "next_cursor": None}


@pytest.mark.slow
def test_many_channels(directory: SqlDirectory, tmp_path: Path) -> None:
    """20,000 of one workspace, all of one name, in the largest pages that may be."""
    ids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(20_000)]
    channels = [WorkspaceChannel(id_, WORKSPACE, "LOCAL", "x") for id_ in ids]
    most = api.CHANNELS_AT_MOST
    for each in (MemoryDirectory(channels), in_files(tmp_path, channels), in_tables(directory, channels)):
        ask = partial(api.list_channels, workspace_id=WORKSPACE, directory=each, limit=most)
        found = pages(lambda cursor, ask=ask: ask(cursor=cursor), "channels", most)  # type: ignore[misc]  # as above
        assert [one["channel_id"] for one in found] == ids


# --- cursors and limits --------------------------------------------------------------------------------------------


def coded(value: object) -> str:
    """A value as a cursor has it."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def a_cursor(store: AnyJobStore) -> str:
    """One that a list has given."""
    for day in (1, 2):
        store.create(new_job(day=day))
    cursor = api.list_exports(workspace_id=WORKSPACE, store=store, now=NOW, limit=1)["next_cursor"]
    assert isinstance(cursor, str)
    return cursor


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "x", "\ud800", "é", "=", "AAAA" * 9, "WyI=", coded(None), coded({}), coded(["a"]), coded([1, 2])),
        *(coded(["a", "b", "c"]), coded(["\ud800", "b"])),
        coded(["2026-06-11T06:50:43", JOB_ID]),
        coded(["2026-06-11T06:50:43+01:00", JOB_ID]),
        coded(["9999-12-31T23:59:59-12:00", JOB_ID]),
        coded(["2026-06-11T06:50:43+00:00", "nonsense"]),
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    ],
)
def test_a_cursor_that_no_list_gave(store: AnyJobStore, cursor: str) -> None:
    """Is refused, and what to do instead is said."""
    with pytest.raises(InvalidRequestError, match="is not one that this list has given") as caught:
        api.list_exports(workspace_id=WORKSPACE, store=store, now=NOW, cursor=cursor)
    assert caught.value.body["detail"][0]["loc"] == ["query", "cursor"]


@given(text=st.text(max_size=40), at=st.integers(0, 200))
def test_a_cursor_that_was_changed(text: str, at: int) -> None:
    """Either stands somewhere in the list, or is refused: nothing else happens."""
    channels = MemoryDirectory([WorkspaceChannel(new_job().id, WORKSPACE, "LOCAL", str(n)) for n in range(3)])
    cursor = api.list_channels(workspace_id=WORKSPACE, directory=channels, limit=1)["next_cursor"]
    with suppress(InvalidRequestError):
        api.list_channels(workspace_id=WORKSPACE, directory=channels, cursor=cursor[:at] + text + cursor[at + 1 :])


def test_a_cursor_holds_whatever_has_changed(store: AnyJobStore) -> None:
    """The job that it stands behind may be gone: the list goes on behind its place."""
    cursor = a_cursor(store)
    elsewhere = api.list_exports(workspace_id=OTHER, store=store, now=NOW, cursor=cursor)
    assert elsewhere == {"export_jobs": [], "next_cursor": None}


@pytest.mark.parametrize("limit", [-1, 0, 1001])
def test_a_limit_that_may_not_be(store: AnyJobStore, limit: int) -> None:
    """Is refused, for both lists."""
    with pytest.raises(InvalidRequestError, match="limit: must be from 1 to 200"):
        api.list_exports(workspace_id=WORKSPACE, store=store, now=NOW, limit=limit)
    with pytest.raises(InvalidRequestError, match="limit: must be from 1 to 1000"):
        api.list_channels(workspace_id=WORKSPACE, directory=MemoryDirectory(), limit=limit)


def test_a_channel_id_that_is_none(store: AnyJobStore) -> None:
    """Is refused rather than found nowhere."""
    with pytest.raises(InvalidRequestError, match="channel_id: is not a UUID"):
        api.list_exports(workspace_id=WORKSPACE, store=store, now=NOW, channel_id="nonsense")


def test_a_page_ends_with_the_list(store: AnyJobStore) -> None:
    """As many as there may be are no reason for another page."""
    store.create(new_job())
    assert api.list_exports(workspace_id=WORKSPACE, store=store, now=NOW, limit=1)["next_cursor"] is None
