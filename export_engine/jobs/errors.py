"""What a request can be answered with instead of a job, each with the status and body of the API's tables.

ExportError
├── RequestError                       `status` and `body`: what an HTTP service answers
│   ├── FutureStartError        400    the range begins in the future
│   ├── UnauthorizedError       401    no key, or none that holds here
│   ├── LinkError               403    a download link that is forged, damaged or too old
│   ├── NotFoundError           404    no such channel or job in this workspace
│   ├── AmbiguousChannelError   409    a phone number that several channels share; has `candidates`
│   ├── ActiveExportError       409    the same channel and range is being exported; has `export_job_id`
│   ├── InvalidRequestError     422    a request that breaks a rule; has `problems`
│   │   └── IdempotencyError    422    an idempotency key that another request has
│   ├── QueueFullError          429    the workspace has as many queued jobs as it may have
│   └── OutdatedError           503    what all processes agreed on has been changed since this one began
├── TransitionError (RuntimeError)     a move that a job's life cycle does not have
├── LeaseLostError                     a job that another worker has taken over meanwhile
├── DirectoryError                     a list of channels that cannot be read
├── LimitError                         an export that took too long, or was silent for too long
├── RunLostError                       an export whose process has ended
└── RevisionError                      a database that another release made; has `revision`

A service around this has its own (`export_engine.service.errors`). What the stores of a database or a cloud raise when
they cannot be reached is theirs, and said with each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from export_engine.errors import ExportError

__all__ = [
    "ActiveExportError",
    "AmbiguousChannelError",
    "DirectoryError",
    "FutureStartError",
    "IdempotencyError",
    "InvalidRequestError",
    "LeaseLostError",
    "LimitError",
    "LinkError",
    "NotFoundError",
    "OutdatedError",
    "Problem",
    "QueueFullError",
    "RequestError",
    "RevisionError",
    "RunLostError",
    "TransitionError",
    "UnauthorizedError",
    "spoken",
]


class RequestError(ExportError):
    """A request that cannot be met; `status` is the HTTP status and `body` the JSON document to answer with."""

    status = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.body: dict[str, Any] = {"detail": {"message": message}}


class FutureStartError(RequestError):
    """The range begins in the future."""

    status = 400


class UnauthorizedError(RequestError):
    """The key is missing or does not hold here; it is not said which."""

    status = 401

    def __init__(self) -> None:
        super().__init__("Missing or invalid X-API-Key.")


class LinkError(RequestError):
    """A download link that is forged, damaged or too old; it is not said which."""

    status = 403

    def __init__(self) -> None:
        super().__init__("The link is invalid or has expired.")


class NotFoundError(RequestError):
    """There is no such channel or job in this workspace."""

    status = 404


class AmbiguousChannelError(RequestError):
    """Several channels share the phone number; `candidates` have `channel_id`, `channel_type` and `name`."""

    status = 409

    def __init__(self, candidates: Sequence[Mapping[str, str | None]]) -> None:
        super().__init__("Multiple channels match this phone number. Specify channel_type or channel_id.")
        self.candidates = [dict(candidate) for candidate in candidates]
        self.body["detail"]["candidates"] = self.candidates


class ActiveExportError(RequestError):
    """The same channel and range is queued or being exported, by the job `export_job_id`."""

    status = 409

    def __init__(self, export_job_id: str) -> None:
        super().__init__("An export for this channel and date range is already in progress.")
        self.export_job_id = export_job_id
        self.body["detail"]["export_job_id"] = export_job_id


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a request: the field (None: the body as a whole), what is wrong with it, and where it is."""

    field: str | None
    message: str
    place: Literal["body", "query", "header"] = "body"


class InvalidRequestError(RequestError):
    """The request breaks one rule or more; `problems` names them all. The answer is shaped as FastAPI's own 422."""

    status = 422

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{p.field}: {p.message}" if p.field else p.message for p in problems))
        self.problems = list(problems)
        self.body = {
            "detail": [
                {"loc": [p.place, *([p.field] if p.field else [])], "msg": p.message, "type": "value_error"}
                for p in problems
            ]
        }


class IdempotencyError(InvalidRequestError):
    """Another request has been made under the same idempotency key."""

    def __init__(self) -> None:
        message = "was sent with another request before: take a new key for each export, and the same to ask again"
        super().__init__([Problem("Idempotency-Key", message, "header")])


class QueueFullError(RequestError):
    """The workspace has as many queued jobs as it may have."""

    status = 429

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The workspace has {limit} exports that wait to be started, as many as it may have. Try again later."
        )


class OutdatedError(RequestError):
    """What all processes at a database agreed on has been changed since this one began: it has to begin anew."""

    status = 503

    def __init__(self) -> None:
        super().__init__("The service is being changed and takes no exports just now. Try again later.")


class TransitionError(ExportError, RuntimeError):
    """A move that a job's life cycle does not have; nothing was changed."""


class LeaseLostError(ExportError):
    """The job was taken over by another worker, or ended, while this one was at it: what was made of it is void."""


class DirectoryError(ExportError):
    """The list of channels cannot be read; it could when the job was made, so somebody is at it just now."""


class LimitError(ExportError):
    """An export that was ended: `limit` says which one it passed, `after` how long that is.

    `max_run`: it took too long. `max_silence`: no row was read and no byte written for too long.
    """

    def __init__(self, limit: Literal["max_run", "max_silence"], after: timedelta) -> None:
        what = "took longer than" if limit == "max_run" else "has neither read a row nor written a byte for"
        super().__init__(f"the export {what} {spoken(after)} ({limit}) and was ended")
        self.limit = limit
        self.after = after


class RunLostError(ExportError):
    """An export whose process has ended before it: it was killed, or has crashed; `code` is the process's."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"the process of the export has ended by itself (exit code {code})")
        self.code = code


class RevisionError(ExportError):
    """The database's tables are another release's, and were left as they are; `revision` is theirs."""

    def __init__(self, message: str, *, revision: str) -> None:
        super().__init__(message)
        self.revision = revision


def spoken(time: timedelta) -> str:
    """A length of time as people say it: 10 minutes, 0.5 seconds."""
    seconds = time.total_seconds()
    unit, length = next(
        ((unit, length) for unit, length in (("hour", 3600), ("minute", 60)) if seconds and seconds % length == 0),
        ("second", 1),
    )
    number = seconds / length
    return f"{number:g} {unit}{'' if number == 1 else 's'}"
