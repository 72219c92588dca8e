"""The service: the components it is given, as an ASGI application.

    POST /api/v1/workspace/{workspace_id}/export-conversations                    trigger an export
    GET  /api/v1/workspace/{workspace_id}/export-conversations/{export_job_id}    poll its job
    DELETE  the same                                                              cancel it
    GET  /api/v1/workspace/{workspace_id}/export-conversations/{export_job_id}/details    all of it
    GET  /api/v1/workspace/{workspace_id}/export-conversations                    list jobs
    GET  /api/v1/workspace/{workspace_id}/channels                                list channels
    GET  /downloads/...                                                           an archive that is kept here
    GET  /                                                                        a page to use all this from
    GET  /healthz, /openapi.json

All below /api are also there under the prefix `/seax-api`, as the API's page has them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from functools import partial
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from export_engine.errors import SourceError
from export_engine.jobs.errors import ActiveExportError, InvalidRequestError, OutdatedError, Problem, RequestError
from export_engine.service.background import Background, make_worker
from export_engine.service.components import UNREACHABLE, Components
from export_engine.service.connections import report_running_out_once
from export_engine.service.deadline import Lane, Lanes, in_time
from export_engine.service.downloads import downloads_router
from export_engine.service.errors import UnavailableError
from export_engine.service.metrics import Metrics
from export_engine.service.middleware import Requests
from export_engine.service.openapi import openapi_document
from export_engine.service.page import page_router
from export_engine.service.routes import allowed_methods, router
from export_engine.service.strays import StrayWatch

__all__ = ["GRACE", "create_app"]

#: How long a running export may go on once the service is told to stop.
GRACE = timedelta(seconds=20)
#: Seconds after which a client may try again, by the status of the answer.
RETRY_AFTER = {429: "60", 503: "5"}

#: Where the routes are a second time, as the API's page has them.
_PREFIX = "/seax-api"

_log = logging.getLogger(__name__)

_NOBODY = str(UUID(int=0))
_NO_WORKER = "the worker has stopped"
_NO_DATABASE = "the database cannot be reached"
_NO_CHANNELS = "the channels cannot be read"
_OUTDATED = "the options of exports or the secret of links have been changed: start this process anew"


def create_app(components: Components, *, worker: bool = False, grace: timedelta = GRACE) -> FastAPI:
    """The application for any ASGI server.

    With `worker` a worker runs in a thread of this process, from the application's start to its end; then its export
    may go on for `grace` (20 seconds by default) before the job is handed back. Every application has metrics of its
    own, `app.state.metrics`; they are nobody's business who reaches the API, so serve them elsewhere.
    """
    metrics = Metrics(components.store.counts)
    background = Background(make_worker(components, metrics, grace=grace), grace=grace) if worker else None
    watch = None if components.strays is None else StrayWatch(components.strays, metrics)
    app = FastAPI(
        lifespan=_lifespan(background, watch),
        openapi_url=None,  # the document stands in `export_engine.service.openapi`
        redirect_slashes=False,  # a path with a slash too many is unknown, as any other
    )
    app.state.components, app.state.metrics = components, metrics
    app.state.lanes = Lanes()
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(OutdatedError, _outdated)
    app.add_exception_handler(RequestValidationError, _invalid)
    for error in UNREACHABLE:
        app.add_exception_handler(error, _unreachable)
    app.add_exception_handler(SourceError, _unreadable)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_middleware(Requests, metrics=metrics)
    app.include_router(router)
    app.include_router(router, prefix=_PREFIX)
    app.include_router(page_router(components.options.tzinfo))
    if components.downloads is not None:
        app.include_router(downloads_router(components.downloads, components.clock))

    @app.api_route("/healthz", methods=["GET", "HEAD"])
    async def healthz(request: Request) -> JSONResponse:
        """Whether this process can do its work: a job could be kept, the worker lives."""
        problem = None if background is None or background.alive else _NO_WORKER
        checks: tuple[tuple[Lane, Callable[[Components], str | None], str], ...] = (
            ("reading", _database_problem, _NO_DATABASE),
            ("channels", _channels_problem, _NO_CHANNELS),
        )
        for lane, check, no_answer in checks:
            try:
                problem = problem or await in_time(request, lane, partial(check, components))
            except UnavailableError:
                problem = no_answer
        return JSONResponse({"status": problem or "ok"}, 503 if problem else 200)

    document = openapi_document()

    @app.api_route("/openapi.json", methods=["GET", "HEAD"])
    def openapi() -> JSONResponse:
        return JSONResponse(document)

    return app


def _database_problem(components: Components) -> str | None:
    try:
        components.store.check()
    except OutdatedError:
        return _OUTDATED
    except Exception:  # noqa: BLE001  # whatever store it is and whatever it raises: it cannot be used
        _log.exception(_NO_DATABASE)
        return _NO_DATABASE
    return None


def _channels_problem(components: Components) -> str | None:
    try:
        components.directory.find(_NOBODY, channel_id=_NOBODY)
    except Exception:  # noqa: BLE001  # as above
        _log.exception(_NO_CHANNELS)
        return _NO_CHANNELS
    return None


def _lifespan(*threads: Background | StrayWatch | None) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """From the application's start to its end these run, as far as they are there."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        report_running_out_once(asyncio.get_running_loop())
        running = [thread for thread in threads if thread is not None]
        for thread in running:
            thread.start()
        try:
            yield
        finally:
            for thread in running:
                await asyncio.to_thread(thread.stop)

    return lifespan


async def _refused(request: Request, error: Exception) -> JSONResponse:
    """A request that cannot be met, with the status and body that the error carries."""
    assert isinstance(error, RequestError)  # noqa: S101  # registered for it alone; Starlette's type is wider
    headers = {}
    if isinstance(error, ActiveExportError):
        headers["Location"] = f"{request.url.path}/{error.export_job_id}"
    if error.status == 401:
        headers["WWW-Authenticate"] = "ApiKey"  # RFC 9110 wants one; there is no registered scheme for a key
    elif error.status == 413:
        headers["Connection"] = "close"  # the rest of the body is not waited for
    elif error.status in RETRY_AFTER:
        headers["Retry-After"] = RETRY_AFTER[error.status]
    return JSONResponse(error.body, error.status, headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Parameters of a query that break a rule, told as all that is wrong with a request; no value is echoed."""
    assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for it alone; Starlette's type is wider
    # What may be left out is told by pydantic to be no None, too: nobody can send one.
    found = [problem for problem in error.errors() if problem["type"] != "none_required"]
    problems = [Problem(str(problem["loc"][1]), str(problem["msg"]), "query") for problem in found]
    return await _refused(request, InvalidRequestError(problems))


async def _outdated(request: Request, error: Exception) -> JSONResponse:
    """Nothing is exported here any more: see `OutdatedError`."""
    _log.error(_OUTDATED)
    return await _refused(request, error)


async def _unreachable(request: Request, error: Exception) -> JSONResponse:
    """A database that cannot be reached, is locked for too long or has no connection left."""
    _log.warning("the database cannot be used", exc_info=error)
    return await _refused(request, UnavailableError())


async def _unreadable(request: Request, error: Exception) -> JSONResponse:
    """A file of channels that has changed for the worse; the error names the line."""
    _log.error("%s: %s", _NO_CHANNELS, error)
    return await _refused(request, UnavailableError("its list of channels"))


async def _no_route(request: Request, error: Exception) -> JSONResponse:
    """An unknown path or method (404, 405), in the same form as all errors."""
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for it alone; Starlette's type is wider
    headers = dict(error.headers or {})
    if error.status_code == 405 and (methods := allowed_methods(request.url.path.removeprefix(_PREFIX))):
        headers["Allow"] = methods
    return JSONResponse({"detail": {"message": error.detail}}, error.status_code, headers)
