"""What `serve` prints: where it listens, and the commands that come next, to be pasted."""

from __future__ import annotations

import shlex
from datetime import date, timedelta
from pathlib import Path

from export_engine.service.demo import DEMO_WORKSPACE

__all__ = ["demo_hint", "own_hint"]


def own_hint(address: str, *, data: Path | None, today: date, worker: bool) -> str:
    """How to export from one's own channels.

    `data` is the folder with the database of keys, None if that is elsewhere and the operator knows where. The range is
    the month before `today`; without a `worker` of its own the service says where exports are made.
    """
    last = today.replace(day=1) - timedelta(days=1)
    place = f"{address.rstrip('/')}/api/v1/workspace/<workspace_id>"
    where = "" if data is None else f" --data {shlex.quote(str(data))}"
    same = " (with the same --database)" if data is None else ""
    made = "" if worker else " Exports are made by\nexport-engine worker, started apart."
    return f"""Serving at {address}, until Ctrl-C. There is a page, to be opened in a browser.{made}
Make a key for a workspace{same}:

export-engine key create --workspace <workspace_id>{where}

List its channels with it, and trigger the export of one (put in the ids and the key):

curl -X 'GET' \\
  '{place}/channels' \\
  -H 'accept: application/json' \\
  -H 'X-API-Key: <your_api_key>'

curl -X 'POST' \\
  '{place}/export-conversations' \\
  -H 'accept: application/json' \\
  -H 'Content-Type: application/json' \\
  -H 'X-API-Key: <your_api_key>' \\
  -d '{{
  "channel_id": "<channel_id>",
  "start_date": "{last.replace(day=1)}",
  "end_date": "{last}"
}}'
"""


def demo_hint(address: str, key: str) -> str:
    """Where the page is, and the API page's own lines, for this service and this key."""
    place = f"{address.rstrip('/')}/seax-api/api/v1/workspace/{DEMO_WORKSPACE}/export-conversations"
    return f"""Serving demo data at {address}, until Ctrl-C. There is a page:

{address.rstrip("/")}/#workspace={DEMO_WORKSPACE}

Sign in there with the key

{key}

Or trigger an export from here (no e-mail is sent without --smtp):

curl -X 'POST' \\
  '{place}' \\
  -H 'accept: application/json' \\
  -H 'Content-Type: application/json' \\
  -H 'X-API-Key: {key}' \\
  -d '{{
  "channel_id": "a1b2c3d4-1111-2222-3333-444455556666",
  "start_date": "2026-02-01",
  "end_date": "2026-02-28",
  "notification_email": "agent@example.com"
}}'

Poll its job (put in the export_job_id of the answer), then download the presigned_url:

curl -X 'GET' \\
  '{place}/<export_job_id>' \\
  -H 'accept: application/json' \\
  -H 'X-API-Key: {key}'

curl -o conversations.zip '<presigned_url>'
"""
