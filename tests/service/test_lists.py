"""What the API tells beyond its page: all of a job, the workspace's jobs, its channels."""

from __future__ import annotations

import hashlib
import io
from datetime import timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pytest

from export_engine.jobs.errors import NotFoundError
from export_engine.service.demo import DEMO_WORKSPACE
from tests.service.running import BY_CHANNEL, JUNE, NOW, OTHER_WORKSPACE, SMS, WHATSAPP, Service, serving

DETAILS_FIELDS = [
    *("export_job_id", "workspace_id", "status", "channel_id", "channel_type", "channel_name"),
    *("start_date", "end_date", "created_time", "started_time", "finished_time"),
    *("error_message", "attempts", "sha256", "progress", "archive"),
]
NOTHING_KNOWN = {"rows": None, "conversations": None, "bytes": None}


def channels_path(workspace: str = DEMO_WORKSPACE) -> str:
    """Where a workspace's channels are listed."""
    return f"/seax-api/api/v1/workspace/{workspace}/channels"


def got(service: Service, path: str, **query: Any) -> Any:
    """The document that a GET answers with."""
    answer = service.client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_queued_job(idle: Service) -> None:
    """What it is to export, and nothing of what has not begun."""
    job_id = idle.trigger(JUNE).json()["export_job_id"]
    document = got(idle, f"{idle.path(job_id.upper())}/details")
    assert list(document) == DETAILS_FIELDS
    assert document == {
        "export_job_id": job_id,
        "workspace_id": DEMO_WORKSPACE,
        "status": "queued",
        "channel_id": SMS,
        "channel_type": "LOCAL",
        "channel_name": "SMS Support",
        "start_date": "2026-06-01",
        "end_date": "2026-06-10",
        "created_time": "2026-06-11T06:50:43.861185",
        "started_time": None,
        "finished_time": None,
        "error_message": None,
        "attempts": 0,
        "sha256": None,
        "progress": NOTHING_KNOWN,
        "archive": None,
    }
    assert got(idle, idle.path()) == {"export_jobs": [document], "next_cursor": None}


@pytest.mark.slow
def test_a_finished_job(service: Service) -> None:
    """The counts, size and SHA-256 are those of the archive that its link downloads; the list has all but the link."""
    job_id = service.ended(service.trigger({**JUNE, "end_date": "2026-06-09"}))["export_job_id"]
    document = got(service, f"{service.path(job_id)}/details")
    archive = document["archive"]
    content = httpx.get(archive["presigned_url"], timeout=90).content
    with ZipFile(io.BytesIO(content)) as members:
        rows = sum(members.read(name).count(b"\r\n") - 1 for name in members.namelist())
        counts = {"rows": rows, "conversations": len(members.namelist()), "bytes": len(content)}
    assert rows > 0
    assert document["progress"] == counts
    assert document["sha256"] == hashlib.sha256(content).hexdigest()
    assert archive == {
        "file_name": archive["file_name"],
        **counts,
        "sha256": hashlib.sha256(content).hexdigest(),
        "presigned_url_expires_at": "2026-06-12T06:50:43.861185",
        "presigned_url": archive["presigned_url"],
    }
    assert archive["file_name"].startswith("SMS_Support_2026-06_")
    assert (document["started_time"], document["finished_time"], document["attempts"]) == (
        *("2026-06-11T06:50:43.861185", "2026-06-11T06:50:43.861185"),
        1,
    )
    entries = got(service, service.path(), limit=200)["export_jobs"]
    [entry] = [entry for entry in entries if entry["export_job_id"] == job_id]
    del archive["presigned_url"]
    assert entry == document


@pytest.mark.slow
def test_a_link_that_is_dead(tmp_path: Path) -> None:
    """There is no archive to download any more; its counts and digest stay."""
    with serving(tmp_path) as service:
        job_id = service.ended(service.trigger(JUNE))["export_job_id"]
        before = got(service, f"{service.path(job_id)}/details")
        service.clock.forward(timedelta(hours=24))
        document = got(service, f"{service.path(job_id)}/details")
        assert document == before | {"archive": None}
        assert document["sha256"] is not None
        assert got(service, service.path())["export_jobs"] == [document]


@pytest.mark.slow
def test_a_finished_job_that_was_cancelled(tmp_path: Path) -> None:
    """The same."""
    with serving(tmp_path) as service:
        job_id = service.ended(service.trigger(JUNE))["export_job_id"]
        assert service.client.delete(service.path(job_id)).status_code == 204
        assert got(service, f"{service.path(job_id)}/details")["archive"] is None


def test_a_failed_job(idle: Service) -> None:
    """Why it failed, and when."""
    job_id = idle.trigger(JUNE).json()["export_job_id"]
    idle.client.delete(idle.path(job_id))
    document = got(idle, f"{idle.path(job_id)}/details")
    assert (document["status"], document["error_message"]) == ("failed", "The export was cancelled.")
    assert document["finished_time"] == "2026-06-11T06:50:43.861185"


def test_pages(idle: Service) -> None:
    """The youngest first; the next page begins where the last one ended; the rest is as asked for."""
    asked = []
    for day in range(1, 6):
        idle.clock.forward(timedelta(seconds=1))
        body = {**(JUNE if day % 2 else BY_CHANNEL), "start_date": f"2026-02-0{day}"}
        asked.append(idle.trigger(body).json()["export_job_id"])
    found: list[str] = []
    cursor: dict[str, str | None] = {}
    for count in (2, 2, 1):
        page = got(idle, idle.path(), limit=2, **cursor)
        assert len(page["export_jobs"]) == count
        found += [entry["export_job_id"] for entry in page["export_jobs"]]
        cursor = {"cursor": page["next_cursor"]}
    assert (found, cursor) == (asked[::-1], {"cursor": None})
    of_channel = got(idle, idle.path(), channel_id=WHATSAPP.upper())["export_jobs"]
    assert [entry["export_job_id"] for entry in of_channel] == [asked[3], asked[1]]
    assert got(idle, idle.path(), status="started")["export_jobs"] == []


def test_channels(service: Service) -> None:
    """By name, with what a request tells them apart by."""
    channels = [
        {"channel_id": SMS, "channel_type": "LOCAL", "name": "SMS Support", "phone_number": "+12025550123"},
        {
            "channel_id": WHATSAPP,
            "channel_type": "WHATSAPP_BUSINESS_PLATFORM",
            "name": "WhatsApp Sales",
            "phone_number": "+12025550123",
        },
    ]
    assert got(service, channels_path()) == {"channels": channels, "next_cursor": None}
    first = got(service, channels_path(), limit=1)
    assert first["channels"] == channels[:1]
    second = got(service, channels_path(), limit=1, cursor=first["next_cursor"])
    assert second == {"channels": channels[1:], "next_cursor": None}


@pytest.mark.parametrize("path", [f"{channels_path()}", channels_path().replace("channels", "export-conversations")])
@pytest.mark.parametrize(
    ("query", "name"),
    [
        *(("limit=0", "limit"), ("limit=1001", "limit"), ("limit=ten", "limit"), ("limit=", "limit")),
        *(("cursor=", "cursor"), ("cursor=nonsense", "cursor"), ("cursor=%00", "cursor"), ("page=2", "page")),
        *(("limit=1&limit=2", "limit"), ("limit=1&limit=1", "limit"), ("cursor=&cursor=x&limit=0", "cursor")),
    ],
)
def test_a_query_that_breaks_a_rule(service: Service, path: str, query: str, name: str) -> None:
    """422, saying which parameter, also one that there is not: it would be passed over in silence."""
    answer = service.client.get(f"{path}?{query}")
    assert answer.status_code == 422
    [problem] = answer.json()["detail"]
    assert problem == {"loc": ["query", name], "msg": problem["msg"], "type": "value_error"}


@pytest.mark.parametrize(("query", "name"), [("status=done", "status"), ("channel_id=1", "channel_id")])
def test_a_filter_that_breaks_a_rule(service: Service, query: str, name: str) -> None:
    """422, rather than an empty list."""
    answer = service.client.get(f"{service.path()}?{query}")
    assert (answer.status_code, [problem["loc"] for problem in answer.json()["detail"]]) == (422, [["query", name]])


def test_a_workspace_sees_its_own_alone(idle: Service) -> None:
    """A key of another workspace is a 401, whatever else is wrong; there, nothing of this one is listed or found."""
    job_id = idle.trigger(JUNE).json()["export_job_id"]
    headers = {"X-API-Key": idle.keys.create(OTHER_WORKSPACE, now=NOW)}
    here = [idle.path(), f"{idle.path()}?limit=0", f"{idle.path(job_id)}/details", channels_path()]
    for path in here:
        assert idle.client.get(path, headers=headers).status_code == 401
        assert idle.client.get(path, headers={"X-API-Key": "none"}).status_code == 401
    there = idle.path(workspace=OTHER_WORKSPACE)
    assert idle.client.get(f"{there}/{job_id}/details", headers=headers).status_code == 404
    assert idle.client.get(there, headers=headers).json() == {"export_jobs": [], "next_cursor": None}
    none = idle.client.get(channels_path(OTHER_WORKSPACE), headers=headers).json()
    assert none == {"channels": [], "next_cursor": None}


@pytest.mark.parametrize("job_id", ["79f13adf-f7dc-4744-8ad9-a16b4913e52c", "1", "%00", "a%2Fb", "%ED%A0%80"])
def test_no_such_job(service: Service, job_id: str) -> None:
    """404, as for polling."""
    answer = service.client.get(f"{service.path(job_id)}/details")
    assert answer.status_code == NotFoundError.status


def test_methods(idle: Service) -> None:
    """What a path does not have is 405, and says what it has, as for polling."""
    job = idle.path(DEMO_WORKSPACE)
    told = "GET, HEAD"
    allowed = {idle.path(): f"{told}, POST", job: f"DELETE, {told}", f"{job}/details": told, channels_path(): told}
    for path, methods in allowed.items():
        for each in (path, path.removeprefix("/seax-api")):
            for method in ("PUT", "OPTIONS"):
                answer = idle.client.request(method, each)
                assert (answer.status_code, answer.headers["Allow"]) == (405, methods)
