"""What the service refuses before a request reaches the rules of `export_engine.jobs`.

RequestError                     of `export_engine.jobs.errors`: `status` and `body`
├── BodyTooLargeError     413    more bytes than a request's body may have
├── MediaTypeError        415    a body that is not declared as JSON
└── UnavailableError      503    the database or the archives' store does not answer, or the channels cannot be read
"""

from __future__ import annotations

from export_engine.jobs.errors import RequestError

__all__ = ["MAX_BODY", "BodyTooLargeError", "MediaTypeError", "UnavailableError"]

#: Bytes of a request's body; one that says all there is to say has under one thousand.
MAX_BODY = 64 << 10


class BodyTooLargeError(RequestError):
    """A body of more than `MAX_BODY` bytes."""

    status = 413

    def __init__(self) -> None:
        super().__init__(f"The body is too large: at most {MAX_BODY:,} bytes are taken.")


class MediaTypeError(RequestError):
    """A body that is not declared as JSON."""

    status = 415

    def __init__(self) -> None:
        super().__init__("The body must be JSON: send the header Content-Type: application/json.")


class UnavailableError(RequestError):
    """The database or the archives' store does not answer, or not in time; what was asked for may have been done.

    `what` is named instead where it is something else.
    """

    status = 503

    def __init__(self, what: str = "its database or its archives") -> None:
        super().__init__(f"The service cannot reach {what} just now. Try again in a few seconds.")
