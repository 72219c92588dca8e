"""The API's OpenAPI document: its operations in the words and examples of the API's page, schemas from the models.

It is put together here, not gathered from the routes by FastAPI, which would leave out what is null in an example, and
promise a 422 of its own for requests that never get one.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from export_engine import __version__
from export_engine.jobs.api import CHANNELS_AT_MOST, EXPORTS_AT_MOST
from export_engine.jobs.errors import (
    ActiveExportError,
    AmbiguousChannelError,
    FutureStartError,
    IdempotencyError,
    InvalidRequestError,
    NotFoundError,
    Problem,
    QueueFullError,
    RequestError,
    UnauthorizedError,
)
from export_engine.jobs.idempotency import KEY_PATTERN
from export_engine.jobs.job import MAX_QUEUED
from export_engine.jobs.request import ExportRequest
from export_engine.service.errors import BodyTooLargeError, MediaTypeError, UnavailableError
from export_engine.service.schemas import (
    ActiveExport,
    AmbiguousChannel,
    ChannelList,
    ChannelListQuery,
    Error,
    ExportAccepted,
    ExportDetails,
    ExportList,
    ExportListQuery,
    ExportStatus,
    InternalError,
    InvalidRequest,
)

__all__ = ["openapi_document"]

_WORKSPACE = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
_JOB = "79f13adf-f7dc-4744-8ad9-a16b4913e52c"
_WHATSAPP = "a1b2c3d4-1111-2222-3333-444455556666"
_SMS = "b2c3d4e5-7777-8888-9999-000011112222"

_CHANNELS = "/api/v1/workspace/{workspace_id}/channels"
_EXPORTS = "/api/v1/workspace/{workspace_id}/export-conversations"
_REQUEST = "ExportConversationsRequest"  # the page's name
_RESPONSE_MODELS = (
    *(ExportAccepted, ExportStatus, ExportDetails, ExportList, ChannelList),
    *(Error, ActiveExport, AmbiguousChannel, InvalidRequest, InternalError),
)

_HEADERS = {
    "Location": {
        "description": "Where the job is polled; of a 409 that of the export in progress.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Retry-After": {
        "description": "Seconds until it makes sense to ask again; not there for a job that has ended.",
        "schema": {"type": "integer", "minimum": 1},
    },
}
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


_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_PROGRESS = {"rows": 18_204, "conversations": 911, "bytes": 2_094_113}
_DETAILS = {
    "export_job_id": _JOB,
    "workspace_id": _WORKSPACE,
    "status": "started",
    "channel_id": _SMS,
    "channel_type": "LOCAL",
    "channel_name": "SMS Support",
    "start_date": "2026-06-01",
    "end_date": "2026-06-10",
    "created_time": "2026-06-11T06:50:43.861185",
    "started_time": "2026-06-11T06:50:44.102933",
    "finished_time": None,
    "error_message": None,
    "attempts": 1,
    "sha256": None,
    "progress": _PROGRESS,
    "archive": None,
}
_ARCHIVE = {
    "file_name": "SMS_Support_2026-06_1c4639da.zip",
    **_PROGRESS,
    "sha256": _SHA256,
    "presigned_url_expires_at": "2026-06-12T06:50:47.847864",
}
_ENDED = {"status": "finished", "sha256": _SHA256, "finished_time": "2026-06-11T06:50:47.847864"}
_CURSOR = "WyIyMDI2LTA2LTExVDA2OjUwOjQzLjg2MTE4NSswMDowMCIsICI3OWYxM2FkZiJd"


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
            _EXPORTS: {
                "post": _trigger() | {"parameters": [workspace, _idempotency_key()]},
                "get": _list_exports() | {"parameters": [workspace, *_query_parameters(ExportListQuery)]},
            },
            f"{_EXPORTS}/{{export_job_id}}": {
                "get": _poll() | {"parameters": [workspace, job]},
                "delete": _cancel() | {"parameters": [workspace, job]},
            },
            f"{_EXPORTS}/{{export_job_id}}/details": {"get": _details() | {"parameters": [workspace, job]}},
            _CHANNELS: {"get": _list_channels() | {"parameters": [workspace, *_query_parameters(ChannelListQuery)]}},
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
            )
            | _headers("Location", "Retry-After"),
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
                ActiveExport,
                several_channels=AmbiguousChannelError(_CANDIDATES).body,
                in_progress=ActiveExportError(_JOB).body,
            )
            | _headers("Location"),
            "413": _refusal("The request body is too large.", BodyTooLargeError()),
            "415": _refusal("The request body is not declared as application/json.", MediaTypeError()),
            "422": _response(
                "Request body validation failed, or another request has been made under the Idempotency-Key.",
                InvalidRequest,
                refused=InvalidRequestError([Problem(None, "either channel_id or phone_number must be provided")]).body,
                another_request=IdempotencyError().body,
            ),
            "429": _refusal(
                "The workspace has as many queued exports as it may have: try again after Retry-After seconds.",
                QueueFullError(MAX_QUEUED),
            )
            | _headers("Retry-After"),
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
            "200": _response("The job", ExportStatus, running=_RUNNING, finished=_FINISHED) | _headers("Retry-After"),
            "401": _unauthorized(),
            "404": _no_job(),
            "500": _failure(),
            "503": _unavailable(),
        },
    }


def _details() -> dict[str, Any]:
    link = {"presigned_url": _FINISHED["presigned_url"]}
    return {
        "tags": ["Export Conversations"],
        "operationId": "get_export_job_details",
        "summary": "Get Export Job Details",
        "description": "All that there is to tell of an export job: what it exports, how far it is, and once it is "
        "finished its archive, as long as that can be downloaded.",
        "security": [{"X-API-Key": []}],
        "responses": {
            "200": _response(
                "The job", ExportDetails, running=_DETAILS, finished=_DETAILS | _ENDED | {"archive": _ARCHIVE | link}
            )
            | _headers("Retry-After"),
            "401": _unauthorized(),
            "404": _no_job(),
            "500": _failure(),
            "503": _unavailable(),
        },
    }


def _list_exports() -> dict[str, Any]:
    jobs = [_DETAILS, _DETAILS | _ENDED | {"export_job_id": _WHATSAPP, "archive": _ARCHIVE}]
    return {
        "tags": ["Export Conversations"],
        "operationId": "list_export_jobs",
        "summary": "List Export Jobs",
        "description": "The workspace's export jobs, the youngest first, in pages. Jobs that are there all along are "
        "listed once each, whatever is added meanwhile. Download URLs are in the details of each job alone.",
        "security": [{"X-API-Key": []}],
        "responses": {
            "200": _response("A page of jobs", ExportList, page={"export_jobs": jobs, "next_cursor": _CURSOR}),
            "401": _unauthorized(),
            "422": _invalid_query(EXPORTS_AT_MOST),
            "500": _failure(),
            "503": _unavailable(),
        },
    }


def _list_channels() -> dict[str, Any]:
    channels = [{**candidate, "phone_number": "+12025550123"} for candidate in reversed(_CANDIDATES)]
    return {
        "tags": ["Channels"],
        "operationId": "list_channels",
        "summary": "List Channels",
        "description": "The workspace's channels, by name and ID, in pages.",
        "security": [{"X-API-Key": []}],
        "responses": {
            "200": _response("A page of channels", ChannelList, page={"channels": channels, "next_cursor": None}),
            "401": _unauthorized(),
            "422": _invalid_query(CHANNELS_AT_MOST),
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
            "404": _no_job(),
            "500": _failure(),
            "503": _unavailable(),
        },
    }


def _path_parameter(name: str, description: str, example: str) -> dict[str, Any]:
    schema = {"type": "string", "format": "uuid", "examples": [example]}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _idempotency_key() -> dict[str, Any]:
    schema = {"type": "string", "pattern": KEY_PATTERN, "examples": ["8e03978e-40d5-43dd-bc93-6894a57f9324"]}
    description = (
        "A name of the client's own for this request. Sent again with the same body, it is answered with the same job, "
        "as long as that is kept; with another body it is refused (422)."
    )
    return {"name": "Idempotency-Key", "in": "header", "description": description, "schema": schema}


def _query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The parameters of a query, from the model that checks it."""
    parameters = []
    for name, schema in model.model_json_schema(ref_template=_reference("{model}")["$ref"])["properties"].items():
        described = {key: value for key, value in schema.items() if (key, value) != ("default", None)}
        description = described.pop("description")
        parameters.append({"name": name, "in": "query", "description": description, "schema": described})
    return parameters


def _response(description: str, *models: type[BaseModel], **examples: Any) -> dict[str, Any]:
    references = [_reference(model.__name__) for model in models]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    shown = {name.replace("_", " "): {"value": value} for name, value in examples.items()}
    return {"description": description, "content": {"application/json": {"schema": schema, "examples": shown}}}


def _headers(*names: str) -> dict[str, Any]:
    return {"headers": {name: _HEADERS[name] for name in names}}


def _refusal(description: str, error: RequestError) -> dict[str, Any]:
    return _response(description, Error, refused=error.body)


def _no_job() -> dict[str, Any]:
    message = "No such export job in this workspace."
    return _refusal(message, NotFoundError(message))


def _invalid_query(most: int) -> dict[str, Any]:
    problem = Problem("limit", f"must be from 1 to {most}, not 0", "query")
    return _response("A parameter breaks a rule.", InvalidRequest, refused=InvalidRequestError([problem]).body)


def _unauthorized() -> dict[str, Any]:
    return _refusal("Missing or invalid X-API-Key.", UnauthorizedError())


def _unavailable() -> dict[str, Any]:
    message = (
        "The database, the archives or the list of channels cannot be reached, or the service is being changed: try "
        "again after Retry-After seconds."
    )
    return _refusal(message, UnavailableError()) | _headers("Retry-After")


def _failure() -> dict[str, Any]:
    example = {
        "detail": {"message": "Something went wrong here. Quote the error_id to report it.", "error_id": "5d1a…"}
    }
    return _response("An error of the service's own.", InternalError, failed=example)
