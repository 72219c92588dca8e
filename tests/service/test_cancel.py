"""DELETE: a job is cancelled, whatever it was at."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from export_engine.jobs.backends.archives import ObjectArchives
from export_engine.service.demo import DEMO_WORKSPACE
from tests.service.running import JUNE, OTHER_WORKSPACE, Service, serving, until
from tests.service.test_operations import Endless


def status(service: Service, job_id: str) -> dict[str, object]:
    """What polling says."""
    found: dict[str, object] = service.client.get(service.path(job_id)).json()
    return found


def test_a_queued_job(idle: Service) -> None:
    """204; the job has failed and says why; the same export can be asked for again. Twice is as good as once."""
    job_id = idle.trigger(JUNE).json()["export_job_id"]
    for _ in range(2):
        answer = idle.client.delete(idle.path(job_id.upper()))
        assert (answer.status_code, answer.content) == (204, b"")
        found = status(idle, job_id)
        assert (found["status"], found["error_message"]) == ("failed", "The export was cancelled.")
    assert idle.trigger(JUNE).status_code == 202


@pytest.mark.slow
def test_a_running_job(tmp_path: Path) -> None:
    """It has failed at once; its export is ended with the next beat of its lease, and nothing of it is kept."""
    source = Endless(tmp_path / "begun")
    with serving(tmp_path, source=source, lease=timedelta(seconds=0.9)) as service:
        job_id = service.trigger(JUNE).json()["export_job_id"]
        until(source.begun.exists)
        assert service.client.delete(service.path(job_id)).status_code == 204
        assert status(service, job_id)["status"] == "failed"
        until(lambda: 'event="lease_lost"} 1.0' in service.metrics.text().decode())
        assert list(service.archives.paths()) == []


@pytest.mark.slow
def test_a_finished_job(tmp_path: Path) -> None:
    """Its archive is gone, and its link dead."""
    with serving(tmp_path) as service:
        document = service.ended(service.trigger(JUNE))
        assert httpx.get(document["presigned_url"], timeout=90).status_code == 200
        assert service.client.delete(service.path(document["export_job_id"])).status_code == 204
        assert httpx.get(document["presigned_url"], timeout=90).status_code in (403, 404, 410)
        found = status(service, document["export_job_id"])
        assert (found["status"], found["presigned_url"]) == ("finished", None)
        assert list(service.archives.paths()) == []


@pytest.mark.slow
def test_an_archive_that_cannot_be_deleted_just_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 and when to try again, which then helps."""

    def fail(*_: object) -> None:
        raise ConnectionResetError("the bucket has gone")

    with serving(tmp_path) as service:
        document = service.ended(service.trigger(JUNE))
        with monkeypatch.context() as patch:
            patch.setattr(ObjectArchives, "delete", fail)
            answer = service.client.delete(service.path(document["export_job_id"]))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "its database or its archives" in answer.json()["detail"]["message"]
        assert service.client.delete(service.path(document["export_job_id"])).status_code == 204
        assert list(service.archives.paths()) == []


def test_a_job_that_is_not_there(idle: Service) -> None:
    """404; 401 for a workspace that the key does not hold for."""
    job_id = idle.trigger(JUNE).json()["export_job_id"]
    assert idle.client.delete(idle.path(DEMO_WORKSPACE)).status_code == 404
    assert idle.client.delete(idle.path("nonsense")).status_code == 404
    assert idle.client.delete(idle.path(job_id, workspace=OTHER_WORKSPACE)).status_code == 401
    assert idle.client.delete(idle.path(job_id), headers={"X-API-Key": "none"}).status_code == 401
    assert status(idle, job_id)["status"] == "queued"


def test_allowed_methods(idle: Service) -> None:
    """405 names both, with and without the prefix."""
    for path in (idle.path(DEMO_WORKSPACE), idle.path(DEMO_WORKSPACE).removeprefix("/seax-api")):
        answer = idle.client.put(path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE, GET, HEAD")
