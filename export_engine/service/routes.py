"""The two routes of the API: trigger an export, poll its job. All rules are in `export_engine.jobs`.

A request is checked in one order, the same for every error: the key (401), the body's form (413, 415, 422), the day
(400), the channel and what runs already (404, 409).
"""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Security
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader
from pydantic_core import from_json

from export_engine.jobs import api
from export_engine.jobs.api import uuid_of
from export_engine.jobs.errors import InvalidRequestError, Problem, RequestError, UnauthorizedError
from export_engine.jobs.job import accepted_document
from export_engine.service.components import Components
from export_engine.service.schemas import POLL, REQUEST_BODY, RESPONSES, TRIGGER, JobId, WorkspaceId

__all__ = ["MAX_BODY", "components_of", "router"]

#: Bytes of a request's body; one that says all there is to say has under one thousand.
MAX_BODY = 64 << 10

#: Bytes of a body that is too large which are read all the same, and dropped: who is still sending when the connection
#: is closed may not see the answer.
_PATIENCE = 1 << 20

_log = logging.getLogger(__name__)

_KEY = APIKeyHeader(
    name="X-API-Key",
    scheme_name="X-API-Key",
    description="A key of the workspace with the scope Workspace Events Notification.",
    auto_error=False,
)


class BodyTooLargeError(RequestError):
    """More bytes than `MAX_BODY`."""

    status = 413


class MediaTypeError(RequestError):
    """A body that is not declared as JSON."""

    status = 415


def components_of(request: Request) -> Components:
    """The components of the service that answers."""
    components: Components = request.app.state.components
    return components


def _workspace(
    workspace_id: WorkspaceId,
    key: Annotated[str | None, Security(_KEY)],
    components: Annotated[Components, Depends(components_of)],
) -> str:
    """The workspace, once the key holds for it. No key holds for what is no UUID."""
    workspace = uuid_of(workspace_id)
    if workspace is None:
        raise UnauthorizedError
    components.keys.check(key, workspace)
    return workspace


_Workspace = Annotated[str, Depends(_workspace)]


async def _json(request: Request, _: _Workspace) -> Any:
    """The body, as JSON has it; read only for a key that holds."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise MediaTypeError("The body must be JSON: send the header Content-Type: application/json.")
    body = await _bounded(request)
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequestError([Problem(None, f"the body is not JSON: {error}")]) from None


async def _bounded(request: Request) -> bytearray:
    """The body, of which no more than `MAX_BODY` is kept. Raises BodyTooLargeError."""
    length = request.headers.get("content-length", "")
    announced = int(length) if length.isdecimal() else 0
    body, size = bytearray(), 0
    if announced <= _PATIENCE:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= MAX_BODY:
                body += chunk
            elif size > _PATIENCE:
                break
    if max(announced, size) > MAX_BODY:
        raise BodyTooLargeError(f"The body is too large: at most {MAX_BODY:,} bytes are taken.")
    return body


router = APIRouter(prefix="/api/v1/workspace/{workspace_id}/export-conversations", tags=["Export Conversations"])


@router.post(
    "",
    operation_id=TRIGGER,
    summary="Trigger a Conversation Export",
    status_code=202,
    response_model=None,
    responses=RESPONSES[TRIGGER],
    openapi_extra={"requestBody": REQUEST_BODY},
)
def trigger(
    workspace: _Workspace,
    body: Annotated[Any, Depends(_json)],
    components: Annotated[Components, Depends(components_of)],
) -> JSONResponse:
    """Enqueue an export job for one channel over an inclusive date range.

    The channel can be identified either by its `channel_id` (the phone/channel UUID) or by its `phone_number` in E.164
    format. Only one active export is allowed per channel and date range.
    """
    job = api.trigger(
        body,
        workspace_id=workspace,
        store=components.store,
        directory=components.directory,
        now=components.clock(),
        timezone=components.options.tzinfo,
    )
    _log.info("export job queued", extra={"job": job.id, "workspace": workspace})
    return JSONResponse(accepted_document(job), 202)


@router.get(
    "/{export_job_id}",
    operation_id=POLL,
    summary="Get Export Job Status",
    response_model=None,
    responses=RESPONSES[POLL],
)
def poll(
    workspace: _Workspace, export_job_id: JobId, components: Annotated[Components, Depends(components_of)]
) -> JSONResponse:
    """Poll an export job.

    While the job is running, `status` is `queued` or `started` and `presigned_url` is null. When the job is finished,
    `presigned_url` contains a download link valid for 24 hours. If the job status is `failed`, `presigned_url` stays
    null and `error_message` contains the failure detail.
    """
    document = api.poll(
        export_job_id,
        workspace_id=workspace,
        store=components.store,
        archives=components.archives,
        now=components.clock(),
    )
    return JSONResponse(document)
