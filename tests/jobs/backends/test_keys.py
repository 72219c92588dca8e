"""API keys: which hold, what is kept of them, and that whatever else is sent is only ever unauthorized."""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
import string
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, select

from export_engine.errors import OptionError
from export_engine.jobs.backends.database import open_database
from export_engine.jobs.backends.keys import SCOPE, KeyInfo, SqlKeys
from export_engine.jobs.backends.tables import api_key
from export_engine.jobs.errors import UnauthorizedError
from tests.jobs.samples import NOW

WORKSPACE = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


@pytest.fixture
def keys(database: Engine) -> SqlKeys:
    return SqlKeys(database)


def test_a_key_holds(database: Engine, keys: SqlKeys) -> None:
    """In its workspace and scope, for everyone who opens the database."""
    key = keys.create(WORKSPACE, now=NOW)
    keys.check(key, WORKSPACE, now=NOW)
    keys.check(key, WORKSPACE, scope=SCOPE, now=NOW)
    other = open_database(database.url.render_as_string(hide_password=False))
    SqlKeys(other).check(key, WORKSPACE, now=NOW)
    other.dispose()


def test_every_key_is_another(keys: SqlKeys) -> None:
    """Several may hold in one workspace, each by itself."""
    first, second = (keys.create(WORKSPACE, now=NOW) for _ in range(2))
    assert first.split("_")[1] != second.split("_")[1]
    keys.check(first, WORKSPACE, now=NOW)
    keys.check(second, WORKSPACE, now=NOW)


@pytest.mark.parametrize("workspace", ["", "b", WORKSPACE.upper(), WORKSPACE + "\0", "\ud800", "x" * 100_000])
def test_another_workspace(keys: SqlKeys, workspace: str) -> None:
    """A key of one workspace says nothing in another."""
    key = keys.create(WORKSPACE, now=NOW)
    with pytest.raises(UnauthorizedError):
        keys.check(key, workspace, now=NOW)


def test_another_scope(keys: SqlKeys) -> None:
    """A key made for something else does not export."""
    key = keys.create(WORKSPACE, scope="contacts", now=NOW)
    keys.check(key, WORKSPACE, scope="contacts", now=NOW)
    with pytest.raises(UnauthorizedError):
        keys.check(key, WORKSPACE, now=NOW)


def test_it_expires(keys: SqlKeys) -> None:
    """From that moment on it does not hold; one that never held is not made."""
    key = keys.create(WORKSPACE, now=NOW, expires=NOW + timedelta(days=1))
    keys.check(key, WORKSPACE, now=NOW + timedelta(days=1, microseconds=-1))
    for later in (timedelta(days=1), timedelta(days=400)):
        with pytest.raises(UnauthorizedError):
            keys.check(key, WORKSPACE, now=NOW + later)
    with pytest.raises(OptionError) as caught:
        keys.create(WORKSPACE, now=NOW, expires=NOW)
    assert caught.value.option == "expires"


@pytest.mark.parametrize("name", ["", "a\tb", "a\n", "\0", "\ud800", "\x1b[2J"])
def test_a_name_that_is_no_line_of_text(keys: SqlKeys, name: str) -> None:
    """It could not be listed."""
    with pytest.raises(OptionError) as caught:
        keys.create(WORKSPACE, now=NOW, name=name)
    assert caught.value.option == "name"


def test_the_list(keys: SqlKeys) -> None:
    """All that is known of each, also of those that hold no more; the oldest first."""
    later = NOW + timedelta(days=1)
    second = keys.create("other", now=later, scope="contacts")
    first = keys.create(WORKSPACE, now=NOW, name="billing ☂", expires=later)
    keys.revoke(second.split("_")[1])
    assert keys.all() == [
        KeyInfo(first.split("_")[1], WORKSPACE, SCOPE, "billing ☂", NOW, later, None, revoked=False),
        KeyInfo(second.split("_")[1], "other", "contacts", None, later, None, None, revoked=True),
    ]


def test_its_last_use_is_known_to_the_minute(database: Engine, keys: SqlKeys) -> None:
    """A check says which key it was; of its uses in a minute one is written, whatever the process."""
    key = keys.create(WORKSPACE, now=NOW)
    statements: list[str] = []
    event.listen(database, "before_cursor_execute", lambda *given: statements.append(given[2]))
    keys.check(key, WORKSPACE, now=NOW)
    assert keys.all()[0].used_time == NOW
    for seconds in range(1, 60):
        assert keys.check(key, WORKSPACE, now=NOW + timedelta(seconds=seconds)) == key.split("_")[1]
    assert sum("UPDATE api_key" in statement for statement in statements) == 1
    SqlKeys(database).check(key, WORKSPACE, now=NOW + timedelta(minutes=1))
    with pytest.raises(UnauthorizedError):
        keys.check(key, "other", now=NOW + timedelta(minutes=10))
    assert [info.used_time for info in keys.all()] == [NOW + timedelta(minutes=1)]


def test_a_key_is_let_in_while_nothing_can_be_written(tmp_path: Path) -> None:
    """A request does not wait for its use to be noted."""
    engine = open_database(f"sqlite:///{tmp_path}/jobs.db", patience=timedelta(minutes=5))
    keys = SqlKeys(engine)
    key = keys.create(WORKSPACE, now=NOW)
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(5):
            keys.check(key, WORKSPACE, now=NOW)
        assert keys.all()[0].used_time is None
        other.execute("ROLLBACK")
    keys.check(key, WORKSPACE, now=NOW)
    assert keys.all()[0].used_time == NOW
    engine.dispose()


def test_revoked(keys: SqlKeys) -> None:
    """It never holds again; the others still do."""
    key, other = (keys.create(WORKSPACE, now=NOW) for _ in range(2))
    key_id = key.split("_")[1]
    assert keys.revoke(key_id)
    assert keys.revoke(key_id)
    with pytest.raises(UnauthorizedError):
        keys.check(key, WORKSPACE, now=NOW)
    keys.check(other, WORKSPACE, now=NOW)


@pytest.mark.parametrize("key_id", ["", "0" * 16, "\0", "\ud800", "x" * 100_000])
def test_revoking_what_is_not_there(keys: SqlKeys, key_id: str) -> None:
    """It is said."""
    keys.create(WORKSPACE, now=NOW)
    assert not keys.revoke(key_id)


@pytest.mark.parametrize("workspace", ["", "\0", "\ud800"])
def test_a_key_for_no_workspace(keys: SqlKeys, workspace: str) -> None:
    """There is nothing it could hold in."""
    with pytest.raises(OptionError) as caught:
        keys.create(workspace, now=NOW)
    assert caught.value.option == "workspace_id"


def test_what_is_kept_of_a_key(database: Engine, keys: SqlKeys) -> None:
    """The SHA-256 of its secret, which has at least 256 bits; the secret itself is nowhere."""
    key = keys.create(WORKSPACE, now=NOW)
    _, key_id, secret = key.split("_", 2)
    assert len(secret) * 6 >= 256
    with database.begin() as connection:
        (row,) = connection.execute(select(api_key)).mappings()
    assert dict(row) == {
        "id": key_id,
        "digest": hashlib.sha256(secret.encode()).digest(),
        "workspace_id": WORKSPACE,
        "scope": SCOPE,
        "created_time": NOW,
        "revoked": False,
        "name": None,
        "expires_time": None,
        "used_time": None,
    }


FORM_LIKE = st.builds(
    "ek_{}_{}".format,
    st.text(string.hexdigits, min_size=14, max_size=18),
    st.text(string.ascii_letters + string.digits + "-_", min_size=40, max_size=46),
)
ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(key=st.none() | ANY_TEXT | FORM_LIKE | ANY_TEXT.map("ek_0123456789abcdef_{}".format), workspace=ANY_TEXT)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_else_is_unauthorized(keys: SqlKeys, key: str | None, workspace: str) -> None:
    """No text whatever is an error of another kind, or a key."""
    with pytest.raises(UnauthorizedError):
        keys.check(key, workspace, now=NOW)


@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_character_off(keys: SqlKeys, data: st.DataObject) -> None:
    """A key with a character changed, dropped or added does not hold."""
    key = keys.create(WORKSPACE, now=NOW)
    at = data.draw(st.integers(0, len(key)))
    put = data.draw(st.sampled_from(["", *string.printable, "\0", "é", "\ud800"]))
    drop = data.draw(st.integers(0, 1))
    wrong = key[:at] + put + key[at + drop :]
    if wrong != key:
        with pytest.raises(UnauthorizedError):
            keys.check(wrong, WORKSPACE, now=NOW)


@pytest.mark.parametrize("key", ["", " ", "x" * 10_000_000, "ek_" + "0" * 10_000_000, "ek__", "ek_\n", "Bearer ek_"])
def test_garbage(keys: SqlKeys, key: str) -> None:
    """Of any length."""
    with pytest.raises(UnauthorizedError):
        keys.check(key, WORKSPACE, now=NOW)


def test_white_space_around_a_key(keys: SqlKeys) -> None:
    """Also a new line at its end is not part of a key."""
    key = keys.create(WORKSPACE, now=NOW)
    for wrong in (f"{key}\n", f" {key}", f"{key}\0"):
        with pytest.raises(UnauthorizedError):
            keys.check(wrong, WORKSPACE, now=NOW)


@pytest.fixture
def work(database: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What a check does: its statements and the lengths of what it compares."""
    done: list[Any] = []
    compare = hmac.compare_digest

    def compared(one: bytes, other: bytes) -> bool:
        done.append((len(one), len(other)))
        return compare(one, other)

    def executed(_: object, __: object, statement: str, *___: object) -> None:
        done.append(statement)

    monkeypatch.setattr(hmac, "compare_digest", compared)
    event.listen(database, "before_cursor_execute", executed)
    yield done
    event.remove(database, "before_cursor_execute", executed)


def test_the_same_work_whether_a_key_is_there_or_not(keys: SqlKeys, work: list[Any]) -> None:
    """Neither its id nor how much of its secret was right can be told from what a check does."""
    key = keys.create(WORKSPACE, now=NOW)
    _, key_id, secret = key.split("_", 2)
    keys.check(key, WORKSPACE, now=NOW)  # which is noted once a minute
    known, unknown, almost = (
        f"ek_{key_id}_{'A' * 43}",
        f"ek_{'0' * 16}_{secret}",
        f"{key[:-1]}{'-' if key[-1] != '-' else '_'}",
    )
    seen = []
    for wrong in (known, unknown, almost):
        work.clear()
        with pytest.raises(UnauthorizedError):
            keys.check(wrong, WORKSPACE, now=NOW)
        seen.append(list(work))
    work.clear()
    keys.check(key, WORKSPACE, now=NOW)
    assert seen == [work] * 3
    assert (32, 32) in work


def test_the_error_says_nothing(keys: SqlKeys) -> None:
    """Missing, unknown, revoked or of another workspace: it reads the same."""
    key = keys.create(WORKSPACE, now=NOW)
    keys.revoke(key.split("_")[1])
    said = []
    for wrong in (None, f"ek_{'0' * 16}_{'A' * 43}", key, keys.create("other", now=NOW)):
        with pytest.raises(UnauthorizedError) as caught:
            keys.check(wrong, WORKSPACE, now=NOW)
        said.append((str(caught.value), caught.value.status, caught.value.body))
    assert (
        said == [("Missing or invalid X-API-Key.", 401, {"detail": {"message": "Missing or invalid X-API-Key."}})] * 4
    )
