"""What happens to every request: it gets an id, is timed, counted and logged, and no error escapes.

An exception that no handler knows is logged with the request's id, and the answer holds that id and nothing else of it.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from time import perf_counter
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from export_engine.service.logs import KEY_ID, REQUEST_ID
from export_engine.service.metrics import Metrics

__all__ = ["Requests"]

_log = logging.getLogger(__name__)

#: What a request is logged and counted as whose client went away before an answer began.
_CLIENT_GONE = 499


class Requests:
    """ASGI middleware; must be the outermost one."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid4().hex
        token, key_token = REQUEST_ID.set(request_id), KEY_ID.set(None)
        began = perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers.setdefault("Cache-Control", "no-store")  # what may be kept says so itself
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            status = status or _CLIENT_GONE
        except Exception:  # noqa: BLE001  # the last one there is to catch it
            _log.exception("request failed")
            # An answer that has begun stays incomplete: the server breaks the connection, so it is not taken for whole.
            if not status:
                await _failure(request_id)(scope, receive, answer)
        finally:
            # Unknown paths are one route, so that strangers cannot grow the metrics.
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, status).inc()
            _log.info(
                "request",
                extra={
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "seconds": round(perf_counter() - began, 6),
                },
            )
            KEY_ID.reset(key_token)
            REQUEST_ID.reset(token)


def _failure(request_id: str) -> JSONResponse:
    detail = {"message": "Something went wrong here. Quote the error_id to report it.", "error_id": request_id}
    return JSONResponse({"detail": detail}, HTTPStatus.INTERNAL_SERVER_ERROR)
