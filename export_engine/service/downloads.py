"""Downloads of archives that the service keeps itself; a bucket serves its own.

A link carries its proof in its query, so there is no key. GET and HEAD, one byte range (RFC 9110), validators by ETag.
An archive never changes, so its ETag says all there is to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from email.utils import format_datetime
from typing import Protocol

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.datastructures import Headers

from export_engine.jobs.backends.archives import Stored
from export_engine.jobs.errors import NotFoundError
from export_engine.sinks.headers import download_headers

__all__ = ["ServedArchives", "downloads_router", "names_etag"]


class ServedArchives(Protocol):
    """Archives whose links lead to this service."""

    def check_link(self, path: str, name: str, expires: str, signature: str, now: datetime) -> None:
        """Raise LinkError unless the link's parameters are what was signed and `now` is before its end."""
        ...

    def head(self, path: str) -> Stored:
        """What there is to know of an archive. Raises FileNotFoundError."""
        ...

    def read(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """The archive's bytes from `start` up to `stop`, in chunks. Raises FileNotFoundError."""
        ...


def downloads_router(archives: ServedArchives, clock: Callable[[], datetime]) -> APIRouter:
    """The route that links lead to. It is no part of the API: nobody makes up its URLs."""
    router = APIRouter()

    @router.api_route("/downloads/{path:path}", methods=["GET", "HEAD"])
    def download(request: Request, path: str, name: str = "", expires: str = "", signature: str = "") -> Response:
        archives.check_link(path, name, expires, signature, clock())
        try:
            stored = archives.head(path)
            return _answer(request, stored, name, lambda start, stop: archives.read(path, start, stop))
        except FileNotFoundError:
            raise NotFoundError("The archive is not there any more. Trigger the export again.") from None

    return router


def _answer(request: Request, stored: Stored, name: str, read: Callable[[int, int], Iterator[bytes]]) -> Response:
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private",
        "ETag": stored.etag,
        "Last-Modified": format_datetime(stored.last_modified, usegmt=True),
    }
    if not names_etag(request.headers.get("if-match", "*"), stored.etag, strong=True):
        return JSONResponse({"detail": {"message": "The archive is not the one that was meant."}}, 412)
    if names_etag(request.headers.get("if-none-match", ""), stored.etag):
        return Response(status_code=304, headers=headers)
    wanted = _range(request.headers, stored)
    if wanted is None:
        status, wanted = 200, range(stored.size)
    elif wanted:
        status = 206
        headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{stored.size}"
    else:
        problem = {"detail": {"message": f"The archive has {stored.size} bytes and none in the range asked for."}}
        return JSONResponse(problem, 416, headers={"Content-Range": f"bytes */{stored.size}"})
    headers |= download_headers(name) | {
        "Content-Length": str(len(wanted)),
        "X-Content-Type-Options": "nosniff",
    }
    chunks = iter(()) if request.method == "HEAD" else read(wanted.start, wanted.stop)
    return StreamingResponse(map(bytes, chunks), status, headers=headers)


def _range(headers: Headers, stored: Stored) -> range | None:
    """The range that is asked for, empty if the archive has none of it; None asks for the whole archive.

    So does what is no single range of bytes, or is meant for another archive (If-Range): the header may be ignored.
    """
    asked = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", headers.get("range", "").replace(" ", ""))
    if asked is None or headers.get("if-range", stored.etag) != stored.etag:
        return None
    first, last = (int(digits) if digits else None for digits in asked.groups())
    if first is None:
        return None if last is None else range(max(stored.size - last, 0), stored.size)
    if last is None:
        return range(first, stored.size)
    return None if last < first else range(first, min(last + 1, stored.size))


def names_etag(header: str, etag: str, *, strong: bool = False) -> bool:
    """Whether an If-None-Match header has an ETag, which has no comma, or with `strong` an If-Match header."""
    tags = (tag.strip() for tag in header.split(","))
    return any((tag if strong else tag.removeprefix("W/")) in (etag, "*") for tag in tags)
