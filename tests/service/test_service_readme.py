"""The service's page says what its commands, metrics, files and tables are."""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import date
from pathlib import Path
from typing import get_args

import click
import pytest

from export_engine import DateRange, ExportOptions, export_conversations, jobs, service
from export_engine.cli.serve import serve
from export_engine.cli.worker import worker
from export_engine.jobs.backends.sql_schema import SCHEMA
from tests.service.running import JUNE, Service

README = Path(service.__file__).with_name("README.md").read_text("utf-8")


@pytest.mark.parametrize("command", [serve, worker])
def test_every_option_is_there(command: click.Command) -> None:
    """With its variable."""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert f"`{parameter.opts[0]}`" in README
            assert f"`{parameter.envvar}`" in README or parameter.is_flag


def test_no_option_is_made_up() -> None:
    """What the table has, one of the commands has."""
    both = (serve, worker)
    options = {opt for command in both for parameter in command.params for opt in parameter.opts}
    assert set(re.findall(r"`(--[\w-]+)`", README)) <= options
    variables = {str(parameter.envvar) for command in both for parameter in command.params if parameter.envvar}
    assert set(re.findall(r"EXPORT_ENGINE_\w+", README)) <= variables | {"EXPORT_ENGINE_SECRET"}


def test_every_metric_is_there(service: Service) -> None:
    """And every event of a job."""
    served = set(re.findall(r"^# TYPE (\S+)", service.metrics.text().decode(), re.MULTILINE))
    named = {name for name in re.findall(r"`(\w+)[{`]", README) if name.startswith(("export_", "http_"))}
    assert {name for name in served if not name.endswith("_created") and not name.startswith("process_")} == named - {
        "export_engine"
    }
    assert [event for event in get_args(jobs.JobEvent) if f"`{event}`" not in README] == []


def test_the_commands_beyond_the_page(idle: Service) -> None:
    """Each is answered as its section says."""
    section = README.partition("## API beyond the page")[2].partition("\n## ")[0]
    [commands_] = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    api, *calls = re.split(r"\n(?=curl)", commands_.strip())
    job = idle.trigger(JUNE).json()["export_job_id"]
    api = re.sub(r"https://[\w.]+", idle.url, api)
    ran = [
        subprocess.run(
            ["sh", "-c", f"{api}\n{call} --silent --fail-with-body"],
            env={**os.environ, "KEY": idle.key, "JOB": job},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for call in calls
    ]
    channels, exports, details, deleted, accepted = (json.loads(out or b"null") for out in ran)
    assert [channel["name"] for channel in channels["channels"]] == ["SMS Support", "WhatsApp Sales"]
    assert exports == {"export_jobs": [], "next_cursor": None}
    assert (details["export_job_id"], details["status"]) == (job, "queued")
    assert deleted is None
    assert accepted["export_job_id"] != job
    assert idle.client.get(idle.path(job)).json()["status"] == "failed"


def test_the_files_are_read_as_they_are_shown(tmp_path: Path) -> None:
    """A channel and its conversation become an archive."""
    channels, conversations = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    (tmp_path / "channels.jsonl").write_text(channels, "utf-8")
    (tmp_path / "conversations").mkdir()
    directory, source = jobs.open_files(tmp_path)
    [channel] = directory.find("3fa85f64-5717-4562-b3fc-2c963f66afa6", phone_number="+12025550123")
    (tmp_path / "conversations" / f"{channel.id}.jsonl").write_text(conversations, "utf-8")
    june = DateRange(date(2026, 6, 1), date(2026, 6, 30))
    export = export_conversations(
        source.conversations(channel, june, ExportOptions()), channel=channel.channel, date_range=june
    )
    assert b"".join(export)
    assert (export.report.members, export.report.rows) == (1, 2)


def test_the_tables_are_those_of_the_schema() -> None:
    """Every column, in order."""
    for table in SCHEMA.sorted_tables:
        [row] = re.findall(rf"^\| `{table.name}` \| (.*) \|$", README, re.MULTILINE)
        assert re.findall(r"`(\w+)`", row) == [column.name for column in table.columns]
