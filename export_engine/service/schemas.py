"""The documents that the API answers with, as models: OpenAPI describes them by these.

They are made in `export_engine.jobs.job` and `export_engine.jobs.errors`, by hand and quickly; the tests hold both
together. The request's body is described where it is validated, in `export_engine.jobs.request`.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from export_engine.jobs.api import CHANNELS_AT_MOST, EXPORTS_AT_MOST
from export_engine.jobs.job import Status
from export_engine.jobs.paging import CURSOR_PATTERN

__all__ = [
    "ActiveExport",
    "AmbiguousChannel",
    "ChannelList",
    "ChannelListQuery",
    "Error",
    "ExportAccepted",
    "ExportDetails",
    "ExportList",
    "ExportListQuery",
    "ExportStatus",
    "InternalError",
    "InvalidRequest",
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


class Progress(BaseModel):
    """How far the export has come; once it has ended, how far it came. Null while that is not known."""

    rows: int | None = Field(description="Messages.")
    conversations: int | None
    bytes: int | None = Field(description="Bytes of the archive.")


class Archive(Progress):
    """The archive of a finished export."""

    file_name: str = Field(description="What a download of it is called.")
    sha256: str | None = Field(description="SHA-256 of its bytes, in hexadecimal.")
    presigned_url_expires_at: _Time = Field(description="When its download URL expires.")


class LinkedArchive(Archive):
    """The archive of a finished export, and where it is downloaded."""

    presigned_url: str = Field(description="Download URL for the ZIP.")


class ExportEntry(BaseModel):
    """All that there is to tell of a job, but for its download URL."""

    export_job_id: UUID = Field(description="The export job ID.")
    workspace_id: UUID = Field(description="Workspace ID.")
    status: Status
    channel_id: UUID = Field(description="The channel/phone UUID.")
    channel_type: str | None = Field(description="The channel's detailed type when the export was asked for.")
    channel_name: str | None = Field(description="The channel's name when the export was asked for.")
    start_date: date = Field(description="Start of the exported range (YYYY-MM-DD).")
    end_date: date = Field(description="End of the exported range (YYYY-MM-DD).")
    created_time: _Time = Field(description="When the export job was created.")
    started_time: _Time | None = Field(description="When its last attempt began.")
    finished_time: _Time | None = Field(description="When it ended, well or not.")
    error_message: str | None = Field(description="Failure detail when status is failed.")
    attempts: int = Field(description="How often the export was begun.")
    sha256: str | None = Field(description="SHA-256 of the archive, in hexadecimal, once it is finished.")
    progress: Progress
    archive: Archive | None = Field(description="The archive while it can be downloaded.")


class ExportDetails(ExportEntry):
    """All that there is to tell of a job."""

    archive: LinkedArchive | None = Field(description="The archive while it can be downloaded.")


class ExportList(BaseModel):
    """A page of the workspace's jobs, the youngest first."""

    export_jobs: list[ExportEntry]
    next_cursor: str | None = Field(description="What to ask for as `cursor` for the next page; null on the last one.")


class Channel(BaseModel):
    """A channel; `channel_type` is its detailed type."""

    channel_id: str
    channel_type: str
    name: str | None
    phone_number: str | None


class ChannelList(BaseModel):
    """A page of the workspace's channels, by name and id."""

    channels: list[Channel]
    next_cursor: str | None = Field(description="What to ask for as `cursor` for the next page; null on the last one.")


# Its pattern is for the document alone: it is checked with all else that a cursor has to be.
_Cursor = Annotated[
    str | SkipJsonSchema[None],
    Field(description="The `next_cursor` of the page before.", json_schema_extra={"pattern": CURSOR_PATTERN}),
]


class ExportListQuery(BaseModel):
    """Which page of the jobs."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=EXPORTS_AT_MOST, description="How many jobs at most.")
    cursor: _Cursor = None
    channel_id: str | SkipJsonSchema[None] = Field(
        None, description="Those of this channel alone.", json_schema_extra={"format": "uuid"}
    )
    status: Status | SkipJsonSchema[None] = Field(None, description="Those with this status alone.")


class ChannelListQuery(BaseModel):
    """Which page of the channels."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(200, ge=1, le=CHANNELS_AT_MOST, description="How many channels at most.")
    cursor: _Cursor = None


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str


class Error(BaseModel):
    """A request that could not be met."""

    detail: ErrorDetail


class ActiveDetail(ErrorDetail):
    """The job that is at it."""

    export_job_id: UUID


class ActiveExport(BaseModel):
    """An export of the same channel and range that has not ended."""

    detail: ActiveDetail


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
    """One thing wrong with the request: what, and where.

    That is `["body", <field>]`, or `["body"]` for the whole; `["query", <parameter>]`, or `["header", <name>]`.
    """

    loc: list[str]
    msg: str
    type: str


class InvalidRequest(BaseModel):
    """All that is wrong with a request."""

    detail: list[FieldProblem]


class InternalDetail(ErrorDetail):
    """What to quote when it is reported."""

    error_id: str


class InternalError(BaseModel):
    """An error of the service's own."""

    detail: InternalDetail
