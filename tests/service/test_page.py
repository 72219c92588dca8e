"""The API's page, example by example and row by row, against the service as it runs."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pytest

from export_engine import Contact, Conversation
from export_engine.service.demo import DEMO_WORKSPACE
from export_engine.verify import verify_archive
from tests.jobs.smtp import mail_server
from tests.service.running import (
    BY_CHANNEL,
    BY_PHONE,
    JUNE,
    NOW,
    OTHER_WORKSPACE,
    SMS,
    WHATSAPP,
    Service,
    ended,
    serving,
    until,
)

# Word for word the page's commands; `run_curl` puts in host and key.
TRIGGER_BY_CHANNEL = r"""curl -X 'POST' \
'https://seax.seasalt.ai/seax-api/api/v1/workspace/3fa85f64-5717-4562-b3fc-2c963f66afa6/export-conversations' \
-H 'accept: application/json' \
-H 'Content-Type: application/json' \
-H 'X-API-Key: <your_api_key>' \
-d '{
"channel_id": "a1b2c3d4-1111-2222-3333-444455556666",
"start_date": "2026-02-01",
"end_date": "2026-02-28",
"notification_email": "agent@example.com"
}'"""
TRIGGER_BY_PHONE = r"""curl -X 'POST' \
'https://seax.seasalt.ai/seax-api/api/v1/workspace/3fa85f64-5717-4562-b3fc-2c963f66afa6/export-conversations' \
-H 'accept: application/json' \
-H 'Content-Type: application/json' \
-H 'X-API-Key: <your_api_key>' \
-d '{
"phone_number": "+12025550123",
"channel_type": "whatsapp",
"start_date": "2026-02-01",
"end_date": "2026-02-28",
"notification_email": "agent@example.com"
}'"""
POLL = r"""curl -X 'GET' \
'https://seax.seasalt.ai/seax-api/api/v1/workspace/3fa85f64-5717-4562-b3fc-2c963f66afa6/export-conversations/79f13adf-f7dc-4744-8ad9-a16b4913e52c' \
-H 'accept: application/json' \
-H 'X-API-Key: <your_api_key>'"""  # noqa: E501  # word for word
DOWNLOAD = (
    "curl -o conversations.zip "
    "'https://seax-bulksms.s3.amazonaws.com/conversation_exports/.../SMS_Support_2026-06_1c4639da.zip?...'"
)

STATUS_FIELDS = [
    "export_job_id",
    "workspace_id",
    "channel_id",
    "start_date",
    "end_date",
    "status",
    "presigned_url",
    "presigned_url_expires_at",
    "error_message",
    "created_time",
]


def run_curl(command: str, service: Service, folder: Path) -> Any:
    """Run one of the page's commands against a service; returns the JSON it prints."""
    command = command.replace("https://seax.seasalt.ai", service.url).replace("<your_api_key>", service.key)
    done = subprocess.run(["sh", "-c", f"{command} --silent --show-error"], cwd=folder, capture_output=True, check=True)
    return json.loads(done.stdout or b"null")


def check_archive(path: Path, channel: str, first_day: str, last_day: str) -> None:
    """It is whole, and holds what was asked for."""
    found = verify_archive(path)
    assert (found.ok, found.problems) == (True, ())
    assert found.rows > 0
    with ZipFile(path) as archive:
        assert all(name.endswith(".csv") and f"--{channel} (+12025550123)" in name for name in archive.namelist())
        days = [
            day for name in archive.namelist() for day in re.findall(r"\d{4}-\d\d-\d\dT", archive.read(name).decode())
        ]
    assert first_day <= min(days)[:10] <= max(days)[:10] <= last_day


@pytest.mark.slow
@pytest.mark.parametrize("command", [TRIGGER_BY_CHANNEL, TRIGGER_BY_PHONE], ids=["by channel", "by phone number"])
def test_the_commands_of_the_page(service: Service, tmp_path: Path, command: str) -> None:
    """Trigger, poll and download, word for word but host, key, job and link."""
    accepted = run_curl(command, service, tmp_path)
    assert accepted == {
        "export_job_id": accepted["export_job_id"],
        "status": "queued",
        "message": "Export job created. You will be emailed a download link when it is ready.",
    }
    job_id = accepted["export_job_id"]
    poll = POLL.replace("79f13adf-f7dc-4744-8ad9-a16b4913e52c", job_id)
    first = run_curl(poll, service, tmp_path)
    assert list(first) == STATUS_FIELDS
    document = ended(lambda: httpx.Response(200, json=run_curl(poll, service, tmp_path)))
    run_curl(re.sub(r"'.*'", f"'{document['presigned_url']}'", DOWNLOAD), service, tmp_path)
    check_archive(tmp_path / "conversations.zip", "WhatsApp Sales", "2026-02-01", "2026-02-28")


@pytest.mark.slow
def test_a_finished_job(service: Service, tmp_path: Path) -> None:
    """Field for field as the page has it; the archive is named and filled as it says."""
    document = service.ended(service.trigger(JUNE))
    assert list(document) == STATUS_FIELDS
    url = document["presigned_url"]
    assert document == {
        "export_job_id": document["export_job_id"],
        "workspace_id": DEMO_WORKSPACE,
        "channel_id": SMS,
        "start_date": "2026-06-01",
        "end_date": "2026-06-10",
        "status": "finished",
        "presigned_url": url,
        "presigned_url_expires_at": "2026-06-12T06:50:43.861185",
        "error_message": None,
        "created_time": "2026-06-11T06:50:43.861185",
    }
    answer = httpx.get(url, timeout=90)
    assert answer.status_code == 200
    (name,) = re.findall(r'^attachment; filename="(.*)"$', answer.headers["Content-Disposition"])
    assert re.fullmatch(r"SMS_Support_2026-06_[0-9a-f]{8}\.zip", name)
    (tmp_path / name).write_bytes(answer.content)
    check_archive(tmp_path / name, "SMS Support", "2026-06-01", "2026-06-10")
    with ZipFile(tmp_path / name) as archive:
        assert "Jane Doe--2026-04-08_032443--SMS Support (+12025550123).csv" in archive.namelist()


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "/seax-api"])
def test_with_and_without_the_prefix(service: Service, prefix: str) -> None:
    """The page's specification has no prefix, its examples have one."""
    path = f"{prefix}/api/v1/workspace/{DEMO_WORKSPACE}/export-conversations"
    accepted = service.client.post(path, json={**JUNE, "end_date": "2026-06-02"})
    document = ended(lambda: service.client.get(f"{path}/{accepted.json()['export_job_id']}"))
    assert document["status"] == "finished"
    assert accepted.json()["message"] == "Export job created. Poll the job for its status and download link."


# --- the tables of errors ------------------------------------------------------------------------------------------


def messages(answer: httpx.Response) -> str:
    """What a 422 says is wrong."""
    return "; ".join(problem["msg"] for problem in answer.json()["detail"])


def test_start_date_in_the_future(idle: Service) -> None:
    """400; the day is that of the service's clock and zone."""
    answer = idle.trigger({**JUNE, "start_date": "2026-06-12", "end_date": "2026-06-12"})
    assert (answer.status_code, answer.json()) == (400, {"detail": {"message": "start_date is in the future."}})
    assert idle.trigger({**JUNE, "start_date": "2026-06-11", "end_date": "2026-06-30"}).status_code == 202


@pytest.mark.parametrize("key", [None, "", "nonsense", "ek_0123456789abcdef_" + "A" * 43, "\xe9\xff"])
@pytest.mark.parametrize("job", [None, "79f13adf-f7dc-4744-8ad9-a16b4913e52c"], ids=["trigger", "poll"])
def test_a_missing_or_invalid_key(service: Service, key: str | None, job: str | None) -> None:
    """401, the same for every such key, and whatever else is wrong with the request."""
    headers = {} if key is None else {b"X-API-Key": key.encode("latin-1")}
    with httpx.Client(base_url=service.url, timeout=90) as client:
        path = service.path(job)
        answer = client.get(path, headers=headers) if job else client.post(path, headers=headers, content=b"{")
    assert (answer.status_code, answer.json()) == (401, {"detail": {"message": "Missing or invalid X-API-Key."}})
    assert "WWW-Authenticate" in answer.headers


def test_a_revoked_key(idle: Service) -> None:
    """401 from then on."""
    idle.keys.revoke(idle.key.split("_")[1])
    assert idle.trigger(JUNE).status_code == 401


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"channel_id": OTHER_WORKSPACE}, f"No channel found for channel_id {OTHER_WORKSPACE}."),
        ({"phone_number": "+12025550199"}, "No channel found for phone_number +12025550199."),
        (
            {"phone_number": "+12025550123", "channel_type": "line"},
            "No channel found for phone_number +12025550123 and channel_type line.",
        ),
    ],
    ids=["channel", "phone number", "type"],
)
def test_no_such_channel(service: Service, body: dict[str, str], message: str) -> None:
    """404 for the id, for the number and for its type."""
    answer = service.trigger({"start_date": "2026-02-01", "end_date": "2026-02-28", **body})
    assert (answer.status_code, answer.json()) == (404, {"detail": {"message": message}})


def test_a_shared_phone_number(idle: Service) -> None:
    """409, word for word the page's example; a type or an id tells the channels apart."""
    body = {name: value for name, value in BY_PHONE.items() if name != "channel_type"}
    answer = idle.trigger(body)
    assert (answer.status_code, answer.json()) == (
        409,
        {
            "detail": {
                "message": "Multiple channels match this phone number. Specify channel_type or channel_id.",
                "candidates": [
                    {
                        "channel_id": "a1b2c3d4-1111-2222-3333-444455556666",
                        "channel_type": "WHATSAPP_BUSINESS_PLATFORM",
                        "name": "WhatsApp Sales",
                    },
                    {
                        "channel_id": "b2c3d4e5-7777-8888-9999-000011112222",
                        "channel_type": "LOCAL",
                        "name": "SMS Support",
                    },
                ],
            }
        },
    )
    for kind, channel in (("whatsapp", WHATSAPP), ("sms", SMS)):
        accepted = idle.trigger({**body, "channel_type": kind}).json()
        assert idle.client.get(idle.path(accepted["export_job_id"])).json()["channel_id"] == channel


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channel_id": None}, "either channel_id or phone_number must be provided"),
        ({"phone_number": "+12025550123"}, "either channel_id or phone_number must be provided, not both"),
        ({"start_date": "2026/02/01"}, "not a date"),
        ({"end_date": "2026-02-30"}, "no day of the calendar"),
        ({"start_date": None}, "must be provided"),
        ({"end_date": "2026-01-31"}, "must be on or after start_date"),
        ({"channel_id": None, "phone_number": "12025550123"}, "not in E.164 format"),
        ({"channel_type": "fax"}, "must be one of sms, whatsapp, messenger, instagram, line"),
        ({"channel_id": "a1b2"}, "not a UUID"),
        ({"notification_email": "agent"}, "not an e-mail address"),
        ({"start": "2026-02-01"}, "is unknown"),
    ],
)
def test_a_body_that_breaks_a_rule(service: Service, change: dict[str, object], message: str) -> None:
    """422, saying which rule; a start in the future besides does not hide it."""
    for more in ({}, {"end_date": "2126-02-28"}):
        body = {**BY_CHANNEL, **more, **change}
        answer = service.trigger({name: value for name, value in body.items() if value is not None})
        assert answer.status_code == 422
        assert message in messages(answer)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b'{"start_date": NaN}',
        b'{"channel_id": "\\ud800"}',
        b"\xff",
        b"[" * 60_000,
    ],
)
def test_a_body_that_is_no_json_object(service: Service, content: bytes) -> None:
    """422, in the same form."""
    answer = service.client.post(service.path(), content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert [problem["loc"] for problem in answer.json()["detail"]] == [["body"]]


class Gate:
    """A source that gives nothing before it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def conversations(self, *_: object) -> Iterator[Conversation]:
        """One conversation without messages, once the gate is open."""
        self.reached.set()
        assert self.open.wait(240)
        yield Conversation("1", Contact("Jane Doe"), [], NOW - timedelta(days=5))


@pytest.mark.slow
def test_one_export_at_a_time(tmp_path: Path) -> None:
    """409 while the same channel and range is queued or started; other ranges, channels and times are free."""
    gate = Gate()
    with serving(tmp_path, source=gate) as service:
        first = service.trigger(JUNE)
        try:
            assert gate.reached.wait(240)
            document = service.client.get(service.path(first.json()["export_job_id"])).json()
            assert (document["status"], document["presigned_url"]) == ("started", None)
            second = service.trigger(JUNE)
            assert (second.status_code, second.json()) == (
                409,
                {
                    "detail": {
                        "message": "An export for this channel and date range is already in progress.",
                        "export_job_id": document["export_job_id"],
                    }
                },
            )
            by_number = {"phone_number": "+12025550123", "channel_type": "sms"}
            assert service.trigger({**JUNE, "channel_id": None, **by_number}).status_code == 409
            assert service.trigger({**JUNE, "end_date": "2026-06-09"}).status_code == 202
            assert service.trigger({**JUNE, "channel_id": WHATSAPP}).status_code == 202
        finally:
            gate.open.set()
        assert service.ended(first)["status"] == "finished"
        assert service.trigger(JUNE).status_code == 202


class Broken:
    """A source that fails while it is read."""

    def conversations(self, *_: object) -> Iterator[Conversation]:
        """Nothing but an error with a secret in it."""
        yield Conversation("1", Contact("Jane Doe"), [], NOW - timedelta(days=5))
        raise RuntimeError("postgresql://user:hunter2@database")


@pytest.mark.slow
def test_a_failed_job(tmp_path: Path) -> None:
    """`error_message` says so, without internals, and there is no link."""
    with serving(tmp_path, source=Broken()) as service:
        document = service.ended(service.trigger(JUNE))
        assert document["status"] == "failed"
        assert document["error_message"]
        assert "hunter2" not in document["error_message"]
        assert (document["presigned_url"], document["presigned_url_expires_at"]) == (None, None)
        assert list(service.archives.paths()) == []


# --- who may see what ----------------------------------------------------------------------------------------------


def test_a_workspace_sees_its_own_alone(idle: Service) -> None:
    """A key of another workspace is a 401; there, this one's jobs and channels are a 404."""
    job_id = idle.trigger(JUNE).json()["export_job_id"]
    headers = {"X-API-Key": idle.keys.create(OTHER_WORKSPACE, now=NOW)}
    there = idle.path(workspace=OTHER_WORKSPACE)
    assert idle.client.get(idle.path(job_id), headers=headers).status_code == 401
    assert idle.client.post(idle.path(), headers=headers, json=JUNE).status_code == 401
    assert idle.client.get(f"{there}/{job_id}").status_code == 401
    assert idle.client.get(f"{there}/{job_id}", headers=headers).status_code == 404
    assert idle.client.post(there, headers=headers, json=JUNE).status_code == 404
    assert idle.client.post(there, headers=headers, json=BY_PHONE).status_code == 404


@pytest.mark.parametrize("job_id", ["79f13adf-f7dc-4744-8ad9-a16b4913e52c", "1", "%00", "a%2Fb", "%ED%A0%80", "'--"])
def test_no_such_job(service: Service, job_id: str) -> None:
    """404, also for what is no id at all."""
    assert service.client.get(service.path(job_id)).status_code == 404


@pytest.mark.parametrize("workspace", ["1", "%00", "3fa85f6457174562b3fc2c963f66afa6"])
def test_no_such_workspace(service: Service, workspace: str) -> None:
    """401: no key holds there."""
    assert service.client.post(service.path(workspace=workspace), json=JUNE).status_code == 401


def test_ids_in_capitals(idle: Service) -> None:
    """The same ids: UUIDs have no case."""
    job_id = idle.client.post(idle.path(workspace=DEMO_WORKSPACE.upper()), json=JUNE).json()["export_job_id"]
    document = idle.client.get(idle.path(job_id.upper())).json()
    assert (document["export_job_id"], document["workspace_id"]) == (job_id, DEMO_WORKSPACE)


# --- the link ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_link_dies_after_24_hours(tmp_path: Path) -> None:
    """A second before, it downloads; from then on it is refused, and the job has none, but still its expiry."""
    with serving(tmp_path) as service:
        document = service.ended(service.trigger(JUNE))
        job, url = document["export_job_id"], document["presigned_url"]
        service.clock.forward(timedelta(hours=24, seconds=-1))
        assert httpx.get(url, timeout=90).status_code == 200
        assert httpx.get(service.client.get(service.path(job)).json()["presigned_url"], timeout=90).status_code == 200
        service.clock.forward(timedelta(milliseconds=500))
        assert service.client.get(service.path(job)).json() == {**document, "presigned_url": None}
        service.clock.forward(timedelta(milliseconds=500))
        assert httpx.get(url, timeout=90).status_code == 403
        later = service.client.get(service.path(job)).json()
        assert later == {**document, "presigned_url": None}


@pytest.mark.slow
def test_the_mail_has_a_link_that_downloads(tmp_path: Path) -> None:
    """It goes to the address of the request, and needs no key."""
    with mail_server() as mailbox:
        smtp = f"smtp://127.0.0.1:{mailbox.port}?from=exports@example.com"
        with serving(tmp_path, smtp=smtp) as service:
            service.ended(service.trigger(BY_CHANNEL))
            until(lambda: mailbox.messages)
            (message,) = mailbox.messages
            assert message["To"] == "agent@example.com"
            body = message.get_body(("plain",))
            assert body is not None
            (link,) = re.findall(r"http://\S+", body.get_content())
            (tmp_path / "mailed.zip").write_bytes(httpx.get(link, timeout=90).content)
    check_archive(tmp_path / "mailed.zip", "WhatsApp Sales", "2026-02-01", "2026-02-28")
