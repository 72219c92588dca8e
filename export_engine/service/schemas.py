"""The API's documents as OpenAPI tells of them: types, limits and the examples of the API's page.

They describe; nothing is validated or converted by them. The rules are in `export_engine.jobs.request`, the documents
are made in `export_engine.jobs.job` and `export_engine.jobs.errors`, and the tests hold all of them together.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from export_engine.jobs.errors import (
    ActiveExportError,
    AmbiguousChannelError,
    FutureStartError,
    InvalidRequestError,
    NotFoundError,
    Problem,
    RequestError,
    UnauthorizedError,
)
from export_engine.jobs.job import Status
from export_engine.jobs.request import ChannelType

__all__ = [
    "POLL",
    "REQUEST_BODY",
    "RESPONSES",
    "TRIGGER",
    "ExportConversationsRequest",
    "JobId",
    "WorkspaceId",
]

_WORKSPACE = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
_JOB = "79f13adf-f7dc-4744-8ad9-a16b4913e52c"
_WHATSAPP = "a1b2c3d4-1111-2222-3333-444455556666"
_SMS = "b2c3d4e5-7777-8888-9999-000011112222"
_UUID = {"format": "uuid"}

#: The operations' ids.
TRIGGER, POLL = "trigger_conversation_export", "get_export_job_status"

# Text, not UUID: an id that is none is answered with the API's own 401 or 404.
WorkspaceId = Annotated[str, Path(description="Workspace ID", examples=[_WORKSPACE], json_schema_extra=_UUID)]
JobId = Annotated[
    str, Path(description="The job ID returned by the trigger endpoint", examples=[_JOB], json_schema_extra=_UUID)
]

#: UTC without an offset, with microseconds: no `date-time` of JSON Schema, which has an offset.
_Time = Annotated[
    str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$", examples=["2026-06-11T06:50:43.861185"])
]


def _exactly_one_channel(schema: dict[str, JsonValue]) -> None:
    """Say that one of the two is text and the other is left out or null."""
    schema["oneOf"] = [
        {"required": [given], "properties": {given: {"type": "string"}, other: {"type": "null"}}}
        for given, other in (("channel_id", "phone_number"), ("phone_number", "channel_id"))
    ]


class ExportConversationsRequest(BaseModel):
    """Exactly one of `channel_id` and `phone_number` is given; a null is taken for a field left out."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_exactly_one_channel)

    start_date: date = Field(description="Start of the range (inclusive), YYYY-MM-DD. Cannot be in the future.")
    end_date: date = Field(description="End of the range (inclusive), YYYY-MM-DD. Must be on or after start_date.")
    channel_id: UUID | None = Field(
        None, description="Channel/phone UUID. Provide either channel_id or phone_number.", examples=[_WHATSAPP]
    )
    phone_number: Annotated[str, Field(pattern=r"^\+[1-9][0-9]{1,14}$")] | None = Field(
        None,
        description="Channel phone number in E.164 format. Used to look up the channel in the workspace.",
        examples=["+12025550123"],
    )
    channel_type: ChannelType | None = Field(
        None,
        description="Disambiguates a phone number shared by multiple channels "
        "(e.g. a WhatsApp and an SMS channel on the same number).",
    )
    notification_email: Annotated[str, Field(max_length=320, json_schema_extra={"format": "email"})] | None = Field(
        None,
        description="Email address to send the download link to when the export is ready.",
        examples=["agent@example.com"],
    )


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
    """What to tell the channels apart by."""

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


_RUNNING: dict[str, Any] = {
    "export_job_id": _JOB,
    "workspace_id": _WORKSPACE,
    "channel_id": _SMS,
    "start_date": "2026-06-01",
    "end_date": "2026-06-10",
    "status": "started",
    "presigned_url": None,
    "presigned_url_expires_at": None,
    "error_message": None,
    "created_time": "2026-06-11T06:50:43.861185",
}
_FINISHED = _RUNNING | {
    "status": "finished",
    "presigned_url": "https://seax-bulksms.s3.amazonaws.com/conversation_exports/.../SMS_Support_2026-06_1c4639da.zip"
    "?AWSAccessKeyId=...&Signature=...&Expires=...",
    "presigned_url_expires_at": "2026-06-12T06:50:47.847864",
}
_DAYS = {"start_date": "2026-02-01", "end_date": "2026-02-28", "notification_email": "agent@example.com"}

#: The body of a trigger, for a route that reads it by itself.
REQUEST_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/ExportConversationsRequest"},
            "examples": {
                "channel_id": {"summary": "By channel ID", "value": {"channel_id": _WHATSAPP} | _DAYS},
                "phone_number": {
                    "summary": "By phone number and type",
                    "value": {"phone_number": "+12025550123", "channel_type": "whatsapp"} | _DAYS,
                },
            },
        }
    },
}


def _response(model: Any, description: str, **examples: Any) -> dict[str, Any]:
    shown = {name.replace("_", " "): {"value": value} for name, value in examples.items()}
    return {"model": model, "description": description, "content": {"application/json": {"examples": shown}}}


def _refusal(description: str, error: RequestError, model: Any = Error) -> dict[str, Any]:
    return _response(model, description, refused=error.body)


_COMMON: dict[int | str, dict[str, Any]] = {
    401: _refusal("Missing or invalid X-API-Key.", UnauthorizedError()),
    500: _response(
        InternalError,
        "An error of the service's own.",
        failed={"detail": {"message": "Something went wrong here.", "error_id": "5d1a…"}},
    ),
}

_TRIGGERED: dict[int | str, dict[str, Any]] = _COMMON | {
    202: _response(
        ExportAccepted,
        "Accepted",
        accepted={
            "export_job_id": _JOB,
            "status": "queued",
            "message": "Export job created. You will be emailed a download link when it is ready.",
        },
    ),
    400: _refusal("start_date is in the future.", FutureStartError("start_date is in the future.")),
    404: _refusal(
        "No channel found for the given channel_id, or no channel for the phone number.",
        NotFoundError(f"No channel found for channel_id {_WHATSAPP}."),
    ),
    409: _response(
        AmbiguousChannel | Error,
        "The phone number matches multiple channels, or an export for this channel/date range is already in progress.",
        several_channels=AmbiguousChannelError(
            [
                {"channel_id": _WHATSAPP, "channel_type": "WHATSAPP_BUSINESS_PLATFORM", "name": "WhatsApp Sales"},
                {"channel_id": _SMS, "channel_type": "LOCAL", "name": "SMS Support"},
            ]
        ).body,
        in_progress=ActiveExportError().body,
    ),
    413: _response(
        Error,
        "The request body is too large.",
        refused={"detail": {"message": "The body is too large: at most 65,536 bytes are taken."}},
    ),
    415: _response(
        Error,
        "The request body is not declared as application/json.",
        refused={"detail": {"message": "The body must be JSON: send the header Content-Type: application/json."}},
    ),
    422: _refusal(
        "Request body validation failed.",
        InvalidRequestError([Problem(None, "either channel_id or phone_number must be provided")]),
        InvalidBody,
    ),
}

_POLLED: dict[int | str, dict[str, Any]] = _COMMON | {
    200: _response(ExportStatus, "The job", running=_RUNNING, finished=_FINISHED),
    404: _refusal("No such export job in this workspace.", NotFoundError("No such export job.")),
}

#: What each operation can answer, by its id.
RESPONSES = {TRIGGER: _TRIGGERED, POLL: _POLLED}
