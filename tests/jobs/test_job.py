"""The life cycle as a table, and the documents that the API's page shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import product

import pytest

from export_engine.jobs.errors import TransitionError
from export_engine.jobs.job import LINK_LIFE, TRANSITIONS, Job, Status, accepted_document, advance, status_document

JOB = Job(
    id="79f13adf-f7dc-4744-8ad9-a16b4913e52c",
    workspace_id="3fa85f64-5717-4562-b3fc-2c963f66afa6",
    channel_id="b2c3d4e5-7777-8888-9999-000011112222",
    start_date=date(2026, 6, 1),
    end_date=date(2026, 6, 10),
    created_time=datetime(2026, 6, 11, 6, 50, 43, 861185, UTC),
    notification_email="agent@example.com",
)
FINISHED = replace(
    JOB,
    status=Status.FINISHED,
    finished_time=datetime(2026, 6, 11, 6, 50, 47, 847864, UTC),
    archive="79f13adf-f7dc-4744-8ad9-a16b4913e52c/1/SMS_Support_2026-06_1c4639da.zip",
    file_name="SMS_Support_2026-06_1c4639da.zip",
)
LEGAL = {
    ("queued", "started"),
    ("queued", "failed"),
    ("started", "finished"),
    ("started", "failed"),
    ("started", "queued"),
}


@pytest.mark.parametrize(("status", "to"), list(product(Status, Status)))
def test_every_move(status: Status, to: Status) -> None:
    """A move of the table leads there; any other raises, naming both ends, and changes nothing."""
    before = {key: set(value) for key, value in TRANSITIONS.items()}
    if (status, to) in LEGAL:
        assert advance(status, to) is to
    else:
        with pytest.raises(TransitionError, match=f"that is {status} cannot become {to}"):
            advance(status, to)
    assert before == TRANSITIONS


def test_every_status_is_in_the_table() -> None:
    """What has ended stays as it is."""
    assert set(TRANSITIONS) == set(Status)
    assert {status for status, to in TRANSITIONS.items() if not to} == {Status.FINISHED, Status.FAILED}


def test_the_pages_answer_to_a_trigger() -> None:
    """Field for field; without an address, or where no mail is sent, none is promised."""
    assert accepted_document(JOB, mailed=True) == {
        "export_job_id": "79f13adf-f7dc-4744-8ad9-a16b4913e52c",
        "status": "queued",
        "message": "Export job created. You will be emailed a download link when it is ready.",
    }
    assert "email" not in accepted_document(replace(JOB, notification_email=None), mailed=True)["message"]
    silent = accepted_document(JOB, mailed=False)
    assert silent == accepted_document(JOB, mailed=True) | {
        "message": "Export job created. No e-mail is sent by this service: poll the job for its status and download "
        "link."
    }


def test_no_address_is_shown() -> None:
    """Jobs go into logs and tracebacks."""
    assert JOB.notification_email is not None
    assert JOB.notification_email not in repr(JOB)


def test_the_pages_running_job() -> None:
    """Field for field, in the page's order."""
    document = status_document(replace(JOB, status=Status.STARTED), None)
    shown = {
        "export_job_id": "79f13adf-f7dc-4744-8ad9-a16b4913e52c",
        "workspace_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "channel_id": "b2c3d4e5-7777-8888-9999-000011112222",
        "start_date": "2026-06-01",
        "end_date": "2026-06-10",
        "status": "started",
        "presigned_url": None,
        "presigned_url_expires_at": None,
        "error_message": None,
        "created_time": "2026-06-11T06:50:43.861185",
    }
    assert document == shown
    assert list(document) == list(shown)


def test_the_pages_finished_job() -> None:
    """The link, and its end 24 hours after completion."""
    link = (
        "https://seax-bulksms.s3.amazonaws.com/conversation_exports/.../SMS_Support_2026-06_1c4639da.zip"
        "?AWSAccessKeyId=...&Signature=...&Expires=..."
    )
    assert status_document(FINISHED, link) == {
        "export_job_id": "79f13adf-f7dc-4744-8ad9-a16b4913e52c",
        "workspace_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "channel_id": "b2c3d4e5-7777-8888-9999-000011112222",
        "start_date": "2026-06-01",
        "end_date": "2026-06-10",
        "status": "finished",
        "presigned_url": link,
        "presigned_url_expires_at": "2026-06-12T06:50:47.847864",
        "error_message": None,
        "created_time": "2026-06-11T06:50:43.861185",
    }


def test_a_failed_job() -> None:
    """It has a message and no link, and no expiry."""
    failed = replace(JOB, status=Status.FAILED, finished_time=JOB.created_time, error_message="rows are not grouped")
    document = status_document(failed, None)
    assert (document["status"], document["error_message"]) == ("failed", "rows are not grouped")
    assert (document["presigned_url"], document["presigned_url_expires_at"]) == (None, None)


def test_a_job_that_was_handed_back() -> None:
    """What an earlier attempt left is not told while the job is not failed."""
    again = replace(JOB, error_message="an earlier attempt's")
    assert status_document(again, None)["error_message"] is None


def test_a_link_lives_for_24_hours() -> None:
    """From completion, and for finished jobs alone."""
    assert timedelta(hours=24) == LINK_LIFE
    assert FINISHED.expires_at == datetime(2026, 6, 12, 6, 50, 47, 847864, UTC)
    for status in (Status.QUEUED, Status.STARTED, Status.FAILED):
        assert replace(FINISHED, status=status).expires_at is None


def test_times_in_another_zone() -> None:
    """Told in UTC, and with microseconds even where there are none."""
    local = datetime(2026, 6, 11, 14, 50, 43, tzinfo=timezone(timedelta(hours=8)))
    assert status_document(replace(JOB, created_time=local), None)["created_time"] == "2026-06-11T06:50:43.000000"
