"""The routes of the API: exports and channels of a workspace. All rules are in `export_engine.jobs`.

A request is checked in one order, the same for every error: the key (401), the form (413, 415, 422), the day
(400), the channel and what runs already (404, 409).
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from export_engine.jobs import api
from export_engine.jobs.errors import InvalidRequestError, Problem, UnauthorizedError
from export_engine.jobs.failures import is_transient
from export_engine.jobs.identifiers import uuid_of
from export_engine.jobs.job import FIRST_POLL, Job, accepted_document, poll_after
from export_engine.service.components import Components
from export_engine.service.deadline import in_time
from export_engine.service.errors import MAX_BODY, BodyTooLargeError, MediaTypeError, UnavailableError
from export_engine.service.logs import KEY_ID
from export_engine.service.schemas import ChannelListQuery, ExportListQuery

__all__ = ["allowed_methods", "components_of", "router"]

#: Bytes of a body that is too large which are read all the same, and dropped: who is still sending when the connection
#: is closed may not see the answer.
_PATIENCE = 1 << 20

_log = logging.getLogger(__name__)


def components_of(request: Request) -> Components:
    """The components of the service that answers."""
    components: Components = request.app.state.components
    return components


_Components = Annotated[Components, Depends(components_of)]


async def _workspace(request: Request, workspace_id: str, components: _Components) -> str:
    """The workspace, once the key holds for it. No key holds for what is no UUID."""
    workspace = uuid_of(workspace_id)
    if workspace is None:
        raise UnauthorizedError
    given = _header(request, "X-API-Key")
    check = partial(components.keys.check, given, workspace, now=components.clock())
    KEY_ID.set(await in_time(request, "reading", check))
    return workspace


_Workspace = Annotated[str, Depends(_workspace)]


async def _json(request: Request, _: _Workspace) -> Any:
    """The body, as JSON has it; read only for a key that holds."""
    if (_header(request, "Content-Type") or "").partition(";")[0].strip().lower() != "application/json":
        raise MediaTypeError
    body = await _bounded(request)
    try:
        parsed = from_json(body, allow_inf_nan=False)
        json.loads(body, object_pairs_hook=lambda pairs: _refuse_repeated((name for name, _ in pairs), "body"))
    except ValueError as error:
        raise InvalidRequestError([Problem(None, f"the body is not JSON: {error}")]) from None
    return parsed


def _header(request: Request, name: str) -> str | None:
    """A header, or None if it was not sent; sent twice it is one that fits nothing, as proxies would join it."""
    values = request.headers.getlist(name)
    return ", ".join(values) if values else None


def _refuse_repeated(names: Iterable[str], place: Literal["body", "query"]) -> None:
    """Raise InvalidRequestError for names that are there twice: which value was meant nobody can know."""
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise InvalidRequestError([Problem(name, "is there more than once: give it once", place) for name in repeated])


async def _query_once(request: Request, _: _Workspace) -> None:
    """Hold a query to have each parameter once."""
    _refuse_repeated((name for name, _ in request.query_params.multi_items()), "query")


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
        raise BodyTooLargeError
    return body


router = APIRouter(prefix="/api/v1/workspace/{workspace_id}")
#: Routes that only tell: a server has to answer HEAD wherever it answers GET (RFC 9110, 9.1). It leaves the body out.
_telling = partial(router.api_route, methods=["GET", "HEAD"])


@router.post("/export-conversations")
async def trigger(
    request: Request,
    workspace: _Workspace,
    body: Annotated[Any, Depends(_json)],
    components: _Components,
) -> JSONResponse:
    """Queue an export."""
    key = _header(request, "Idempotency-Key")
    job, mailed = await in_time(request, "triggering", lambda: _triggered(workspace, body, key, components))
    headers = {"Location": f"{request.url.path}/{job.id}", "Retry-After": str(FIRST_POLL)}
    return JSONResponse(accepted_document(job, mailed=mailed), 202, headers)


def _triggered(workspace: str, body: Any, key: str | None, components: Components) -> tuple[Job, bool]:
    """The job, and whether e-mails are sent: by a worker of this process, or by another at the same database."""
    now = components.clock()
    job = api.trigger(
        body,
        workspace_id=workspace,
        store=components.store,
        directory=components.directory,
        now=now,
        timezone=components.options.tzinfo,
        key_id=KEY_ID.get(),
        idempotency_key=key,
    )
    return job, components.mailer is not None or components.store.has_mailer(now)


@_telling("/export-conversations", dependencies=[Depends(_query_once)])
async def list_exports(
    request: Request,
    workspace: _Workspace,
    query: Annotated[ExportListQuery, Query()],
    components: _Components,
) -> JSONResponse:
    """Tell of the workspace's exports, a page at a time."""
    page = await in_time(
        request,
        "reading",
        lambda: api.list_exports(
            workspace_id=workspace, store=components.store, now=components.clock(), **query.model_dump()
        ),
    )
    return JSONResponse(page)


@_telling("/export-conversations/{export_job_id}")
async def poll(request: Request, workspace: _Workspace, export_job_id: str, components: _Components) -> JSONResponse:
    """Tell what has become of an export."""
    return await _told(api.poll, request, workspace, export_job_id, components)


@_telling("/export-conversations/{export_job_id}/details")
async def details(request: Request, workspace: _Workspace, export_job_id: str, components: _Components) -> JSONResponse:
    """Tell all of an export: how far it is, and what has come of it."""
    return await _told(api.details, request, workspace, export_job_id, components)


async def _told(
    tell: Callable[..., dict[str, Any]], request: Request, workspace: str, export_job_id: str, components: Components
) -> JSONResponse:
    """A document about one job, with when to ask again."""
    document = await in_time(
        request,
        "reading",
        lambda: tell(
            export_job_id,
            workspace_id=workspace,
            store=components.store,
            archives=components.archives,
            now=components.clock(),
        ),
    )
    after = poll_after(document, now=components.clock())
    return JSONResponse(document, headers={} if after is None else {"Retry-After": str(after)})


@router.delete("/export-conversations/{export_job_id}")
async def cancel(request: Request, workspace: _Workspace, export_job_id: str, components: _Components) -> Response:
    """End an export, and what has come of it."""
    await in_time(request, "cancelling", lambda: _cancel(export_job_id, workspace, components))
    _log.info("export job cancelled", extra={"job": export_job_id, "workspace": workspace})
    return Response(status_code=204)


def _cancel(export_job_id: str, workspace: str, components: Components) -> None:
    """Raises UnavailableError if the archive could not be deleted for what passes: cancelling again may do so."""
    try:
        api.cancel(
            export_job_id,
            workspace_id=workspace,
            store=components.store,
            archives=components.archives,
            now=components.clock(),
        )
    except Exception as error:
        if not is_transient(error):
            raise
        _log.warning("export job %s could not be cancelled", export_job_id, exc_info=True)
        raise UnavailableError from None


@_telling("/channels", dependencies=[Depends(_query_once)])
async def list_channels(
    request: Request,
    workspace: _Workspace,
    query: Annotated[ChannelListQuery, Query()],
    components: _Components,
) -> JSONResponse:
    """Tell of the workspace's channels, a page at a time."""
    page = await in_time(
        request,
        "channels",
        lambda: api.list_channels(workspace_id=workspace, directory=components.directory, **query.model_dump()),
    )
    return JSONResponse(page)


def allowed_methods(path: str) -> str:
    """The methods of all routes of a path, for `Allow`; Starlette says those of the first alone. Empty for others."""
    routes = [route for route in router.routes if isinstance(route, APIRoute) and route.path_regex.fullmatch(path)]
    return ", ".join(sorted({method for route in routes for method in route.methods or ()}))
