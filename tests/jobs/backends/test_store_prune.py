"""Ended jobs are forgotten after a time, and with them whom their e-mails went to."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from export_engine.jobs.backends import store as sql_store
from tests.jobs.harness import open_harness
from tests.jobs.samples import MINUTE, NOW, AnyJobStore, claimed, finished, new_job, rows


def test_what_ended_before_then_is_forgotten(store: AnyJobStore) -> None:
    """Finished and failed jobs alike, with all that is known of them; what waits, runs or has an archive stays."""
    waits, runs = new_job(day=1), claimed(store, day=2, notification_email="a@example.com")
    failed = claimed(store, day=3, notification_email="b@example.com")
    store.fail(failed, NOW, "no")
    kept, gone = finished(store, day=4), finished(store, day=5, notification_email="c@example.com")
    store.forget_archive(gone.id)
    store.create(waits)
    assert store.prune(NOW) == 0
    assert len(rows(store)) == 5
    assert store.prune(NOW + MINUTE) == 2
    assert rows(store).keys() == {waits.id, runs.job.id, kept.id}
    assert store.get(failed.job.workspace_id, failed.job.id) is None
    assert store.prune(NOW + MINUTE) == 0


def test_there_are_many(store: AnyJobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go in several transactions; every one goes."""
    monkeypatch.setattr(sql_store, "PRUNED_AT_ONCE", 3)
    for day in range(1, 8):
        store.fail(claimed(store, day=day), NOW, "no")
    assert store.prune(NOW + MINUTE) == 7
    assert rows(store) == {}


def test_a_sweep_forgets_them(tmp_path: Path) -> None:
    """After `keep_jobs`, 30 days if nothing is said; their archives went with their links."""
    with open_harness(tmp_path) as harness:
        worker = harness.worker(keep_jobs=timedelta(days=3))
        job = harness.trigger()
        worker.step()
        began = harness.clock.now
        harness.clock.now = began + timedelta(days=3)
        worker.sweep()
        assert harness.current(job).archive is None
        harness.clock.now = began + timedelta(days=3, seconds=1)
        harness.worker().sweep()
        assert harness.current(job).id == job.id
        worker.sweep()
        assert harness.store.get(job.workspace_id, job.id) is None
