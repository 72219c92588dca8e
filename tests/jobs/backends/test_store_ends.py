"""Every job store once jobs have ended: who is notified, which archives are dead, and whose an archive is."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from export_engine.jobs.backends.store import EXPIRED_AT_ONCE, SqlJobStore
from export_engine.jobs.job import LINK_LIFE, MAX_ATTEMPTS, Status
from export_engine.jobs.ports import Notice
from tests.jobs.samples import MINUTE, NOW, AnyJobStore, claimed, finished, new_job, rows


def test_notices(store: AnyJobStore) -> None:
    """Each job that has ended and has an address, well or not, is handed out in the order they ended, until closed."""
    address = "agent@example.com"
    failing = claimed(store, channel="1", notification_email=address)
    finished(store, channel="2")
    running = claimed(store, channel="3", notification_email=address)
    store.create(new_job("4", notification_email=address))
    bad = store.fail(failing, NOW + MINUTE, "no")
    assert store.take_notice(NOW + MINUTE, MINUTE) == Notice(bad, 1)
    assert store.take_notice(NOW + MINUTE, MINUTE) is None
    good = store.finish(running, NOW + MINUTE, archive="a", file_name="a.zip")
    assert store.take_notice(NOW + MINUTE, MINUTE) == Notice(good, 1)
    store.close_notice(bad.id, NOW + MINUTE, given_up=False)
    store.close_notice(good.id, NOW + MINUTE, given_up=True)
    assert store.take_notice(NOW + LINK_LIFE, MINUTE) is None
    assert [rows(store)[job.id]["notice_given_up"] for job in (bad, good)] == [False, True]


def test_a_notice_that_is_not_closed(store: AnyJobStore) -> None:
    """Whoever took it has died: it is handed out again, not earlier than was said, and its tries are counted."""
    job = store.fail(claimed(store, notification_email="agent@example.com"), NOW, "no")
    assert store.take_notice(NOW, MINUTE) == Notice(job, 1)
    assert store.take_notice(NOW + MINUTE - timedelta(microseconds=1), MINUTE) is None
    assert store.take_notice(NOW + MINUTE, MINUTE) == Notice(job, 2)


def test_a_notice_that_is_put_off(store: AnyJobStore) -> None:
    """It is due at its time; one that was closed meanwhile is not."""
    job = store.fail(claimed(store, notification_email="agent@example.com"), NOW, "no")
    store.take_notice(NOW, MINUTE)
    store.put_off_notice(job.id, NOW + 5 * MINUTE)
    assert store.take_notice(NOW + 4 * MINUTE, MINUTE) is None
    assert store.take_notice(NOW + 5 * MINUTE, MINUTE) == Notice(job, 2)
    store.close_notice(job.id, NOW, given_up=False)
    store.put_off_notice(job.id, NOW)
    assert store.take_notice(NOW + LINK_LIFE, MINUTE) is None


def test_a_job_that_is_given_up_has_a_notice(store: AnyJobStore) -> None:
    """Also when no worker lived to say so."""
    lease = claimed(store, notification_email="agent@example.com")
    for turn in range(1, MAX_ATTEMPTS + 1):
        store.claim(NOW + turn * MINUTE, MINUTE)
    notice = store.take_notice(NOW, MINUTE)
    assert notice is not None
    assert (notice.job.id, notice.job.status) == (lease.job.id, Status.FAILED)


def test_expired(store: AnyJobStore) -> None:
    """Not before the link's life is over, and at its end; once its archive is forgotten, no more."""
    job = finished(store)
    store.fail(claimed(store, channel="2"), NOW, "no")
    assert job.expires_at is not None
    assert store.expired(job.expires_at - timedelta(microseconds=1)) == []
    assert store.expired(job.expires_at) == [job]
    store.forget_archive(job.id)
    assert store.expired(job.expires_at) == []
    kept = store.get(job.workspace_id, job.id)
    assert kept is not None
    assert (kept.status, kept.archive, kept.file_name) == (Status.FINISHED, None, "a.zip")


@pytest.mark.slow
def test_many_expired(database: Engine) -> None:
    """A database gives them in portions, first those that ended first."""
    store = SqlJobStore(database)
    for turn in range(EXPIRED_AT_ONCE + 1):
        lease = claimed(store, channel=str(turn))
        store.finish(lease, NOW - timedelta(seconds=turn), archive=lease.token, file_name="a.zip")
    portion = store.expired(NOW + LINK_LIFE)
    assert len(portion) == EXPIRED_AT_ONCE
    assert portion[0].finished_time == NOW - timedelta(seconds=EXPIRED_AT_ONCE)
    for job in portion:
        store.forget_archive(job.id)
    assert [job.finished_time for job in store.expired(NOW + LINK_LIFE)] == [NOW]


def test_forgetting_what_is_not_there(store: AnyJobStore) -> None:
    """Neither a job without an archive nor one that never was is an error."""
    lease = claimed(store)
    before = rows(store)
    store.forget_archive(lease.job.id)
    store.forget_archive("nobody")
    assert rows(store) == before


def test_whose_an_archive_is(store: AnyJobStore) -> None:
    """A live lease's while it is written, a job's while it is kept, nobody's after; of strangers nothing is said."""
    lease = claimed(store)
    path = f"{lease.job.id}/{lease.token}/a.zip"
    earlier, stranger = f"{lease.job.id}/earlier/a.zip", "nobody/knows/a.zip"
    assert store.wanted([path, earlier, stranger]) == {path: True, earlier: False}
    job = store.finish(lease, NOW, archive=path, file_name="a.zip")
    assert store.wanted([path, f"{path}#1", stranger]) == {path: True, f"{path}#1": False}
    store.forget_archive(job.id)
    assert store.wanted([path]) == {path: False}


def test_the_archive_of_a_worker_that_was_replaced(store: AnyJobStore) -> None:
    """It is nobody's as soon as another has the job."""
    first = claimed(store)
    second = store.claim(NOW + MINUTE, MINUTE)
    assert second is not None
    paths = [f"{first.job.id}/{lease.token}/a.zip" for lease in (first, second)]
    assert store.wanted(paths) == dict(zip(paths, [False, True], strict=True))
    store.hand_back(second)
    assert store.wanted(paths) == dict.fromkeys(paths, False)


@pytest.mark.parametrize("path", ["", "/", "//", "a", "a/b", "a/b/", "\0/\0/\0", "\ud800/\ud800/x", "../../etc/passwd"])
def test_an_archive_of_any_name(store: AnyJobStore, path: str) -> None:
    """It is nobody's, and no error."""
    claimed(store)
    assert store.wanted([path]) == {}


def test_an_archive_beside_a_lease(store: AnyJobStore) -> None:
    """A path belongs to a lease only below both its names, each of them whole."""
    lease = claimed(store)
    job, token = lease.job.id, lease.token
    assert store.wanted([f"{job}/{token}/"]) == {f"{job}/{token}/": True}
    beside = [
        f"{job}/{token}",
        f"{job}/{token}0/a.zip",
        f"{job}/{token[:-1]}/a.zip",
        f"{job}//a.zip",
        f"{job}0/{token}/a",
    ]
    assert store.wanted(beside) == dict.fromkeys(beside[:-1], False)
