"""The API's OpenAPI document: its operations in the words and examples of the API's page, schemas from the models.

It is put together here, not gathered from the routes by FastAPI, which would leave out what is null in an example, and
promise a 422 of its own for requests that never get one.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from export_engine import __version__
from export_engine.jobs.errors import (
    ActiveExportError,
    AmbiguousChannelError,
    FutureStartError,
    InvalidRequestError,
    NotFoundError,
    Problem,
    QueueFullError,
    RequestError,
    UnauthorizedError,
)
from export_engine.jobs.job import MAX_QUEUED
from export_engine.jobs.request import ExportRequest
from export_engine.service.errors import BodyTooLargeError, MediaTypeError, UnavailableError
from export_engine.service.schemas import (
    AmbiguousChannel,
    Error,
    ExportAccepted,
    ExportStatus,
    InternalError,
    InvalidBody,
)

__all__ = ["openapi_document"]

_WORKSPACE = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
_JOB = "79f13adf-f7dc-4744-8ad9-a16b4913e52c"
_WHATSAPP = "a1b2c3d4-1111-2222-3333-444455556666"
_SMS = "b2c3d4e5-7777-8888-9999-000011112222"

_EXPORTS = "/api/v1/workspace/{workspace_id}/export-conversations"
_REQUEST = "ExportConversationsRequest"  # the page's name
_RESPONSE_MODELS = (ExportAccepted, ExportStatus, Error, AmbiguousChannel, InvalidBody, InternalError)

_DAYS = {"start_date": "2026-02-01", "end_date": "2026-02-28", "notification_email": "agent@example.com"}
_CANDIDATES = [
    {"channel_id": _WHATSAPP, "channel_type": "WHATSAPP_BUSINESS_PLATFORM", "name": "WhatsApp Sales"},
    {"channel_id": _SMS, "channel_type": "LOCAL", "name": "SMS Support"},
]
_RUNNING = {
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


def openapi_document() -> dict[str, Any]:
    """The document, as `/openapi.json` serves it."""
    _, answers = models_json_schema(
        [(model, "serialization") for model in _RESPONSE_MODELS], ref_template=_reference("{model}")["$ref"]
    )
    workspace = _path_parameter("workspace_id", "Workspace ID", _WORKSPACE)
    job = _path_parameter("export_job_id", "The job ID returned by the trigger endpoint", _JOB)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Export Conversations",
            "description": "Export the conversations of a single channel over a date range: trigger, poll, download.",
            "version": __version__,
        },
        "paths": {
            _EXPORTS: {"post": _trigger() | {"parameters": [workspace]}},
            f"{_EXPORTS}/{{export_job_id}}": {
                "get": _poll() | {"parameters": [workspace, job]},
                "delete": _cancel() | {"parameters": [workspace, job]},
            },
        },
        "components": {
            "schemas": {_REQUEST: ExportRequest.model_json_schema(), **answers["$defs"]},
            "securitySchemes": {
                "X-API-Key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-API-Key",
                    "description": "A key of the workspace with the scope Workspace Events Notification.",
                }
            },
        },
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _trigger() -> dict[str, Any]:
    return {
        "tags": ["Export Conversations"],
        "operationId": "trigger_conversation_export",
        "summary": "Trigger a Conversation Export",
        "description": "Enqueue an export job for one channel over an inclusive date range.\n\nThe channel can be "
        "identified either by its `channel_id` (the phone/channel UUID) or by its `phone_number` in E.164 format. Only "
        "one active export is allowed per channel and date range.",
        "security": [{"X-API-Key": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _reference(_REQUEST),
                    "examples": {
                        "channel_id": {"summary": "By channel ID", "value": {"channel_id": _WHATSAPP} | _DAYS},
                        "phone_number": {
                            "summary": "By phone number and type",
                            "value": {"phone_number": "+12025550123", "channel_type": "whatsapp"} | _DAYS,
                        },
                    },
                }
            },
        },
        "responses": {
            "202": _response(
                "Accepted",
                ExportAccepted,
                accepted={
                    "export_job_id": _JOB,
                    "status": "queued",
                    "message": "Export job created. You will be emailed a download link when it is ready.",
                },
            ),
            "400": _refusal("start_date is in the future.", FutureStartError("start_date is in the future.")),
            "401": _unauthorized(),
            "404": _refusal(
                "No channel found for the given channel_id, or no channel for the phone number.",
                NotFoundError(f"No channel found for channel_id {_WHATSAPP}."),
            ),
            "409": _response(
                "The phone number matches multiple channels, or an export for this channel/date range is already in "
                "progress.",
                AmbiguousChannel,
                Error,
                several_channels=AmbiguousChannelError(
                    [
                        {
                            "channel_id": _WHATSAPP,
                            "channel_type": "WHATSAPP_BUSINESS_PLATFORM",
                            "name": "WhatsApp Sales",
                        },
                        {"channel_id": _SMS, "channel_type": "LOCAL", "name": "SMS Support"},
                    ]
                ).body,
                in_progress=ActiveExportError().body,
            ),
            "413": _refusal("The request body is too large.", BodyTooLargeError()),
            "415": _refusal("The request body is not declared as application/json.", MediaTypeError()),
            "422": _response(
                "Request body validation failed.",
                InvalidBody,
                refused=InvalidRequestError([Problem(None, "either channel_id or phone_number must be provided")]).body,
            ),
            "429": _refusal(
                "The workspace has as many queued exports as it may have: try again after Retry-After seconds.",
                QueueFullError(MAX_QUEUED),
            ),
            "500": _failure(),
            "503": _unavailable(),
        },
    }


def _poll() -> dict[str, Any]:
    return {
        "tags": ["Export Conversations"],
        "operationId": "get_export_job_status",
        "summary": "Get Export Job Status",
        "description": "Poll an export job.\n\nWhile the job is running, `status` is `queued` or `started` and "
        "`presigned_url` is null. When the job is finished, `presigned_url` contains a download link valid for 24 "
        "hours. If the job status is `failed`, `presigned_url` stays null and `error_message` contains the failure "
        "detail.",
        "security": [{"X-API-Key": []}],
        "responses": {
            "200": _response("The job", ExportStatus, running=_RUNNING, finished=_FINISHED),
            "401": _unauthorized(),
            "404": _refusal(
                "No such export job in this workspace.", NotFoundError("No such export job in this workspace.")
            ),
            "500": _failure(),
            "503": _unavailable(),
        },
    }


def _cancel() -> dict[str, Any]:
    return {
        "tags": ["Export Conversations"],
        "operationId": "cancel_export_job",
        "summary": "Cancel an Export Job",
        "description": "A job that is `queued` or `started` becomes `failed`, and its export ends; of one that is "
        "`finished` the archive is deleted, and its download URL dead. No e-mail about it is sent any more.",
        "security": [{"X-API-Key": []}],
        "responses": {
            "204": {"description": "Cancelled, now or before."},
            "401": _unauthorized(),
            "404": _refusal(
                "No such export job in this workspace.", NotFoundError("No such export job in this workspace.")
            ),
            "500": _failure(),
            "503": _unavailable(),
        },
    }


def _path_parameter(name: str, description: str, example: str) -> dict[str, Any]:
    schema = {"type": "string", "format": "uuid", "examples": [example]}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _response(description: str, *models: type[BaseModel], **examples: Any) -> dict[str, Any]:
    references = [_reference(model.__name__) for model in models]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    shown = {name.replace("_", " "): {"value": value} for name, value in examples.items()}
    return {"description": description, "content": {"application/json": {"schema": schema, "examples": shown}}}


def _refusal(description: str, error: RequestError) -> dict[str, Any]:
    return _response(description, Error, refused=error.body)


def _unauthorized() -> dict[str, Any]:
    return _refusal("Missing or invalid X-API-Key.", UnauthorizedError())


def _unavailable() -> dict[str, Any]:
    return _refusal("The database does not answer: try again after Retry-After seconds.", UnavailableError())


def _failure() -> dict[str, Any]:
    example = {
        "detail": {"message": "Something went wrong here. Quote the error_id to report it.", "error_id": "5d1a…"}
    }
    return _response("An error of the service's own.", InternalError, failed=example)
