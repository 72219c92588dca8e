"""The documents that the API answers with, as models: OpenAPI describes them by these.

They are made in `export_engine.jobs.job` and `export_engine.jobs.errors`, by hand and quickly; the tests hold both
together. The request's body is described where it is validated, in `export_engine.jobs.request`.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from export_engine.jobs.job import Status

__all__ = [
    "AmbiguousChannel",
    "Error",
    "ExportAccepted",
    "ExportStatus",
    "InternalError",
    "InvalidBody",
]

#: UTC without an offset, with microseconds: no `date-time` of JSON Schema, which has an offset.
_Time = Annotated[
    str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$", examples=["2026-06-11T06:50:43.861185"])
]


class ExportAccepted(BaseModel):
    """The job that was made."""

    export_job_id: UUID
    status: Literal["queued"]
    message: str


class ExportStatus(BaseModel):
    """The job as it is now."""

    export_job_id: UUID = Field(description="The export job ID.")
    workspace_id: UUID = Field(description="Workspace ID.")
    channel_id: UUID = Field(description="The channel/phone UUID that was exported.")
    start_date: date = Field(description="Start of the exported range (YYYY-MM-DD).")
    end_date: date = Field(description="End of the exported range (YYYY-MM-DD).")
    status: Status
    presigned_url: str | None = Field(
        description="Download URL for the ZIP, available when status is finished; null again once it has expired."
    )
    presigned_url_expires_at: _Time | None = Field(
        description="When the download URL expires (24 hours after completion)."
    )
    error_message: str | None = Field(description="Failure detail when status is failed.")
    created_time: _Time = Field(description="When the export job was created.")


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str


class Error(BaseModel):
    """A request that could not be met."""

    detail: ErrorDetail


class Candidate(BaseModel):
    """One of several channels that share a phone number; `channel_type` is its detailed type."""

    channel_id: str
    channel_type: str
    name: str | None


class AmbiguousDetail(ErrorDetail):
    """The channels to choose from."""

    candidates: list[Candidate]


class AmbiguousChannel(BaseModel):
    """A phone number that several channels share."""

    detail: AmbiguousDetail


class FieldProblem(BaseModel):
    """One thing wrong with the body: where (`["body", <field>]`, or `["body"]` for the whole) and what."""

    loc: list[str]
    msg: str
    type: str


class InvalidBody(BaseModel):
    """All that is wrong with a request's body."""

    detail: list[FieldProblem]


class InternalDetail(ErrorDetail):
    """What to quote when it is reported."""

    error_id: str


class InternalError(BaseModel):
    """An error of the service's own."""

    detail: InternalDetail
