"""A request that its client has named: sent again it is answered as before, and makes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_engine.jobs.api import trigger
from export_engine.jobs.errors import IdempotencyError, InvalidRequestError, NotFoundError
from export_engine.jobs.idempotency import idempotency_of
from export_engine.jobs.job import Job
from export_engine.jobs.ports import Idempotency, WorkspaceChannel
from export_engine.jobs.request import ExportRequest
from export_engine.jobs.testing import MemoryDirectory
from tests.jobs.samples import MINUTE, NOW, AnyJobStore, new_job

WORKSPACE = new_job().workspace_id
OTHER = "11111111-2222-4333-8444-555555555555"
SMS = WorkspaceChannel("b2c3d4e5-7777-8888-9999-000011112222", WORKSPACE, "LOCAL", "SMS", "+12025550123")
WHATSAPP = WorkspaceChannel("a1b2c3d4-1111-2222-3333-444455556666", WORKSPACE, "WHATSAPP", None, "+12025550123")
BODY = {"phone_number": "+12025550123", "start_date": "2026-02-01", "end_date": "2026-02-28"}
TODAY = datetime(2026, 6, 11, tzinfo=UTC).date()

printable = st.characters(min_codepoint=0x20, max_codepoint=0x7E)


def key_of(header: str) -> str:
    """The key that a header names."""
    return idempotency_of(header, ExportRequest.from_mapping(BODY, today=TODAY)).key


# --- the header ----------------------------------------------------------------------------------------------------


@given(key=st.text(printable, min_size=1, max_size=255))
def test_a_key_in_quotes(key: str) -> None:
    """Any printable ASCII, its quotes and backslashes escaped, as a string of RFC 8941."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    assert key_of(f'"{escaped}"') == key


@given(key=st.text(printable.filter(lambda c: c not in ' ",;'), min_size=1, max_size=255))
def test_a_bare_key(key: str) -> None:
    """The same key as in quotes."""
    assert key_of(key) == key
    if "\\" not in key:
        assert key_of(f'"{key}"') == key


@pytest.mark.parametrize(
    "header",
    [
        *("", " ", '""', '"', '"a', 'a"', "a b", "a, b", '"a", "b"', '"a";b=1', '"a\\"', '"\\a"', "a\n", '"a"\n'),
        *("é", '"é"', "\0", "\x7f", "\u0660", "k" * 256, f'"{"k" * 256}"', "k" * 100_000),
    ],
)
def test_a_header_that_names_no_key(header: str) -> None:
    """Is refused, and how to write one is said."""
    with pytest.raises(InvalidRequestError, match="Idempotency-Key: must be 1 to 255 characters") as caught:
        key_of(header)
    assert caught.value.body["detail"][0]["loc"] == ["header", "Idempotency-Key"]


# --- the request ---------------------------------------------------------------------------------------------------


def digest(**change: Any) -> str:
    """That of a request."""
    body = {"channel_id": SMS.id, "start_date": "2026-02-01", "end_date": "2026-02-28", **change}
    return idempotency_of("k", ExportRequest.from_mapping(body, today=TODAY)).digest


def test_the_same_request_written_otherwise() -> None:
    """The order of its fields, an id's case and a field left out or null say nothing else."""
    assert digest(channel_id=SMS.id.upper()) == digest()
    assert digest(notification_email=None, channel_type=None) == digest()
    assert digest(end_date="2026-02-28", start_date="2026-02-01") == digest()


def test_another_request() -> None:
    """Whatever is asked for otherwise."""
    changes: list[dict[str, Any]] = [
        {},
        {"start_date": "2026-02-02"},
        {"end_date": "2026-03-01"},
        {"channel_id": WHATSAPP.id},
        {"channel_id": None, "phone_number": "+12025550123"},
        {"channel_id": None, "phone_number": "+12025550123", "channel_type": "sms"},
        {"notification_email": "agent@example.com"},
        {"notification_email": "other@example.com"},
    ]
    assert len({digest(**change) for change in changes}) == len(changes)


# --- the job -------------------------------------------------------------------------------------------------------


def asked(
    store: AnyJobStore, key: str | None = "k", *, channels: tuple[WorkspaceChannel, ...] = (SMS,), **more: Any
) -> Job:
    """The job that the request is answered with."""
    directory = MemoryDirectory(list(channels))
    body = BODY | more.pop("body", {})
    given: dict[str, Any] = {"workspace_id": WORKSPACE, "now": NOW, "idempotency_key": key} | more
    return trigger(body, store=store, directory=directory, **given)


def test_sent_again(store: AnyJobStore) -> None:
    """The same job, whatever it has come to, later, and with another key of the workspace."""
    first = asked(store)
    assert asked(store, now=NOW + timedelta(days=9), key_id="another") == first
    lease = store.claim(NOW, MINUTE)
    assert lease is not None
    assert asked(store) == lease.job
    done = store.finish(lease, NOW, archive="a", file_name="a.zip")
    assert asked(store, '"k"') == done
    assert sum(store.counts().values()) == 1


def test_sent_again_when_the_channel_has_changed(store: AnyJobStore) -> None:
    """The job was made for the channel of then: it may be gone, or its number another's too."""
    first = asked(store)
    assert asked(store, channels=()) == first
    assert asked(store, channels=(SMS, WHATSAPP)) == first
    with pytest.raises(NotFoundError):
        asked(store, "new", channels=())


def test_sent_again_when_the_queue_is_full(store: AnyJobStore) -> None:
    """Nothing is queued, so it is not refused."""
    store._max_queued = 1
    first = asked(store)
    assert asked(store) == first


def test_another_request_under_the_key(store: AnyJobStore) -> None:
    """Is refused, whatever else is so; what was made stays."""
    first = asked(store)
    for channels in ((SMS,), ()):
        with pytest.raises(IdempotencyError, match="sent with another request before") as caught:
            asked(store, channels=channels, body={"end_date": "2026-02-27"})
        assert caught.value.status == 422
        assert caught.value.body["detail"][0]["loc"] == ["header", "Idempotency-Key"]
    assert asked(store) == first
    assert sum(store.counts().values()) == 1


def test_another_key(store: AnyJobStore) -> None:
    """Makes another job, once the first has ended; so does no key; case counts."""
    first = asked(store)
    store.cancel(WORKSPACE, first.id, NOW)
    second = asked(store, "K")
    store.cancel(WORKSPACE, second.id, NOW)
    third = asked(store, None)
    store.cancel(WORKSPACE, third.id, NOW)
    fourth = asked(store, None)
    assert len({first.id, second.id, third.id, fourth.id}) == 4
    assert asked(store).id == first.id


def test_a_key_is_its_workspace_s_own(store: AnyJobStore) -> None:
    """Another's is another."""
    first = asked(store)
    other = WorkspaceChannel(SMS.id, OTHER, "LOCAL", None, SMS.phone_number)
    assert asked(store, channels=(other,), workspace_id=OTHER, body={"end_date": "2026-02-27"}).id != first.id


def test_refused_requests_keep_no_key(store: AnyJobStore) -> None:
    """What made no job may be sent again under its key, also mended."""
    with pytest.raises(NotFoundError):
        asked(store, channels=())
    with pytest.raises(InvalidRequestError):
        asked(store, body={"end_date": "2026-01-01"})
    assert asked(store, body={"end_date": "2026-02-27"}).end_date.day == 27


def test_a_key_is_kept_as_long_as_its_job(store: AnyJobStore) -> None:
    """Then it is free."""
    first = asked(store)
    store.cancel(WORKSPACE, first.id, NOW)
    store.prune(NOW + MINUTE)
    assert asked(store, body={"end_date": "2026-02-27"}).id != first.id


def test_the_store_looks_itself(store: AnyJobStore) -> None:
    """Of two that found nothing and then came to make the job, one makes it."""
    first = store.create(new_job(), idempotency=Idempotency("k", "1"))
    assert store.create(new_job(day=2), idempotency=Idempotency("k", "1")) == first
    with pytest.raises(IdempotencyError):
        store.create(new_job(day=3), idempotency=Idempotency("k", "2"))
    assert store.repeated(WORKSPACE, Idempotency("k", "1")) == first
    assert store.repeated(OTHER, Idempotency("k", "1")) is None
    assert store.repeated("\0", Idempotency("\ud800", "1")) is None
