"""What errors of the database say, and what they leave out: whom e-mails go to."""

from __future__ import annotations

import json
import logging

import pytest
from sqlalchemy import Engine, insert
from sqlalchemy.exc import IntegrityError

from export_engine.jobs.backends.database import writing
from export_engine.jobs.backends.store import SqlJobStore
from export_engine.jobs.backends.tables import export_job
from export_engine.service.logs import JsonFormatter
from tests.jobs.samples import claimed, new_job

ADDRESS = "agent@example.com"


def test_no_error_of_a_database_has_an_address(database: Engine) -> None:
    """Neither its own text nor its line in the log, where PostgreSQL would add the row that it refused."""
    row = {"id": "1", "status": "finished", "notification_email": ADDRESS, "error_message": "DETAIL:\n\nx"}
    job = new_job()
    common = {name: getattr(job, name) for name in ("workspace_id", "channel_id", "start_date", "end_date")}
    row |= common | {"created_time": job.created_time, "attempts": 0}
    with pytest.raises(IntegrityError) as caught, writing(database) as connection:
        connection.execute(insert(export_job).values(row))
    error = caught.value
    assert "hide_parameters" in str(error)
    record = logging.LogRecord("a", logging.ERROR, __file__, 1, "failed", (), (type(error), error, error.__traceback__))
    line = json.loads(JsonFormatter().format(record))["exception"]
    assert ADDRESS not in line
    assert "export_job_end" in line
    assert "[SQL: INSERT INTO export_job" in line


def test_an_id_used_twice(database: Engine) -> None:
    """The error that a store lets through has no address either."""
    store = SqlJobStore(database)
    lease = claimed(store, notification_email=ADDRESS)
    with pytest.raises(IntegrityError) as caught:
        store.create(new_job(day=9, id=lease.job.id, notification_email=ADDRESS))
    assert ADDRESS not in str(caught.value)
