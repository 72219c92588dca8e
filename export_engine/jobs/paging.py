"""Lists in pages: where one ended stands in a cursor, which the next request brings back.

A cursor is the sort key of the last item that was given, so that pages neither miss nor repeat what was there all the
time, whatever is added or removed meanwhile. It is opaque to clients: base64url of a JSON array of texts. What it says
is not trusted: it names a place in a list of which each reader sees their own workspace's alone.
"""

from __future__ import annotations

import heapq
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from datetime import UTC, datetime

from export_engine.jobs.errors import InvalidRequestError, Problem
from export_engine.jobs.identifiers import uuid_of
from export_engine.jobs.job import Job
from export_engine.jobs.ports import ChannelPlace, JobPlace, WorkspaceChannel

__all__ = [
    "CURSOR_PATTERN",
    "channel_cursor",
    "channel_place",
    "check_limit",
    "job_cursor",
    "job_place",
    "place_of",
    "sorted_page",
]

#: What a cursor is written with; also for JSON Schema.
CURSOR_PATTERN = "^[A-Za-z0-9_-]+$"


def check_limit(limit: int, most: int) -> None:
    """Raise InvalidRequestError unless a page may have so many items."""
    if not 1 <= limit <= most:
        raise InvalidRequestError([Problem("limit", f"must be from 1 to {most}, not {limit}", "query")])


def job_cursor(job: Job) -> str:
    """The cursor behind a job."""
    return _cursor(job.created_time.astimezone(UTC).isoformat(), job.id)


def job_place(cursor: str | None) -> JobPlace | None:
    """Where a cursor stands in a list of jobs. Raises InvalidRequestError."""
    if cursor is None:
        return None
    text, job_id = _parts(cursor)
    try:
        created = datetime.fromisoformat(text)
    except ValueError:
        raise _unknown() from None
    if created.tzinfo is None or created.utcoffset() or uuid_of(job_id) != job_id:
        raise _unknown()
    return JobPlace(created, job_id)


def channel_cursor(channel: WorkspaceChannel) -> str:
    """The cursor behind a channel."""
    return _cursor(*place_of(channel))


def channel_place(cursor: str | None) -> ChannelPlace | None:
    """Where a cursor stands in a list of channels. Raises InvalidRequestError."""
    return None if cursor is None else ChannelPlace(*_parts(cursor))


def place_of(channel: WorkspaceChannel) -> ChannelPlace:
    """Where a channel stands in a list."""
    return ChannelPlace(channel.name or "", channel.id)


def sorted_page(
    channels: Iterable[WorkspaceChannel], workspace_id: str, limit: int, after: ChannelPlace | None
) -> list[WorkspaceChannel]:
    """A page as `ChannelDirectory.page` gives it, of all channels of all workspaces."""
    behind = (c for c in channels if c.workspace_id == workspace_id and (after is None or place_of(c) > after))
    return heapq.nsmallest(limit, behind, key=place_of)


def _cursor(*parts: str) -> str:
    return urlsafe_b64encode(json.dumps(parts).encode()).rstrip(b"=").decode()


def _parts(cursor: str) -> tuple[str, str]:
    """The two texts of a cursor."""
    try:
        # Made again and held against it: base64 is decoded leniently, and JSON has several ways to write a text.
        first, second = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not (isinstance(first, str) and isinstance(second, str)) or _cursor(first, second) != cursor:
            raise _unknown()
        f"{first}{second}".encode()  # half of a surrogate pair: a ValueError
    except (ValueError, TypeError, RecursionError):
        raise _unknown() from None
    return first, second


def _unknown() -> InvalidRequestError:
    message = "is not one that this list has given: take next_cursor as it is, or leave it out to begin anew"
    return InvalidRequestError([Problem("cursor", message, "query")])
