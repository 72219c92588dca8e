"""API keys: which hold, what is kept of them, and that whatever else is sent is only ever unauthorized."""

from __future__ import annotations

import hashlib
import hmac
import string
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, select

from export_engine.errors import OptionError
from export_engine.jobs.backends.database import api_key, open_database
from export_engine.jobs.backends.keys import SCOPE, SqlKeys
from export_engine.jobs.errors import UnauthorizedError
from tests.jobs.samples import NOW

WORKSPACE = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


@pytest.fixture
def keys(database: Engine) -> SqlKeys:
    return SqlKeys(database)


def test_a_key_holds(database: Engine, keys: SqlKeys) -> None:
    """In its workspace and scope, for everyone who opens the database."""
    key = keys.create(WORKSPACE, now=NOW)
    keys.check(key, WORKSPACE)
    keys.check(key, WORKSPACE, scope=SCOPE)
    other = open_database(database.url.render_as_string(hide_password=False))
    SqlKeys(other).check(key, WORKSPACE)
    other.dispose()


def test_every_key_is_another(keys: SqlKeys) -> None:
    """Several may hold in one workspace, each by itself."""
    first, second = (keys.create(WORKSPACE, now=NOW) for _ in range(2))
    assert first.split("_")[1] != second.split("_")[1]
    keys.check(first, WORKSPACE)
    keys.check(second, WORKSPACE)


@pytest.mark.parametrize("workspace", ["", "b", WORKSPACE.upper(), WORKSPACE + "\0", "\ud800", "x" * 100_000])
def test_another_workspace(keys: SqlKeys, workspace: str) -> None:
    """A key of one workspace says nothing in another."""
    key = keys.create(WORKSPACE, now=NOW)
    with pytest.raises(UnauthorizedError):
        keys.check(key, workspace)


def test_another_scope(keys: SqlKeys) -> None:
    """A key made for something else does not export."""
    key = keys.create(WORKSPACE, scope="contacts", now=NOW)
    keys.check(key, WORKSPACE, scope="contacts")
    with pytest.raises(UnauthorizedError):
        keys.check(key, WORKSPACE)


def test_revoked(keys: SqlKeys) -> None:
    """It never holds again; the others still do."""
    key, other = (keys.create(WORKSPACE, now=NOW) for _ in range(2))
    key_id = key.split("_")[1]
    assert keys.revoke(key_id)
    assert keys.revoke(key_id)
    with pytest.raises(UnauthorizedError):
        keys.check(key, WORKSPACE)
    keys.check(other, WORKSPACE)


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
        keys.check(key, workspace)


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
            keys.check(wrong, WORKSPACE)


@pytest.mark.parametrize("key", ["", " ", "x" * 10_000_000, "ek_" + "0" * 10_000_000, "ek__", "ek_\n", "Bearer ek_"])
def test_garbage(keys: SqlKeys, key: str) -> None:
    """Of any length."""
    with pytest.raises(UnauthorizedError):
        keys.check(key, WORKSPACE)


def test_white_space_around_a_key(keys: SqlKeys) -> None:
    """Also a new line at its end is not part of a key."""
    key = keys.create(WORKSPACE, now=NOW)
    for wrong in (f"{key}\n", f" {key}", f"{key}\0"):
        with pytest.raises(UnauthorizedError):
            keys.check(wrong, WORKSPACE)


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
    known, unknown, almost = (
        f"ek_{key_id}_{'A' * 43}",
        f"ek_{'0' * 16}_{secret}",
        f"{key[:-1]}{'-' if key[-1] != '-' else '_'}",
    )
    seen = []
    for wrong in (known, unknown, almost):
        work.clear()
        with pytest.raises(UnauthorizedError):
            keys.check(wrong, WORKSPACE)
        seen.append(list(work))
    work.clear()
    keys.check(key, WORKSPACE)
    assert seen == [work] * 3
    assert (32, 32) in work


def test_the_error_says_nothing(keys: SqlKeys) -> None:
    """Missing, unknown, revoked or of another workspace: it reads the same."""
    key = keys.create(WORKSPACE, now=NOW)
    keys.revoke(key.split("_")[1])
    said = []
    for wrong in (None, f"ek_{'0' * 16}_{'A' * 43}", key, keys.create("other", now=NOW)):
        with pytest.raises(UnauthorizedError) as caught:
            keys.check(wrong, WORKSPACE)
        said.append((str(caught.value), caught.value.status, caught.value.body))
    assert (
        said == [("Missing or invalid X-API-Key.", 401, {"detail": {"message": "Missing or invalid X-API-Key."}})] * 4
    )
