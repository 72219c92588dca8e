"""The page to use the service from: files of the package, served as they are.

It is a client of the API and knows nothing else. Its policy lets nothing run, load or be framed that is not one of
these files; a key reaches the API in a header, never a URL. What it links to is relative, so it works below a prefix.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import tzinfo
from hashlib import sha256
from html import escape
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.responses import Response

from export_engine.service.downloads import names_etag
from export_engine.times import zone_name

__all__ = ["page_router"]

_INDEX = "index.html"
#: Media types by the files' endings; other files are not served.
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Asked for each time, answered with 304: a page never meets the scripts of another release.
    "Cache-Control": "no-cache",
}


def page_router(timezone: tzinfo) -> APIRouter:
    """The page at `/` and what it is made of below `/static`; it says that days are in `timezone`."""
    router = APIRouter()
    for file in files("export_engine.service").joinpath("static").iterdir():
        media_type = _TYPES.get(file.name.rpartition(".")[2])
        if media_type is None:
            continue
        content = file.read_bytes()
        path = f"/static/{file.name}"
        if file.name == _INDEX:
            path = "/"
            content = _with_timezone(content, timezone)
        router.add_route(path, _answering(content, media_type), methods=["GET", "HEAD"])
    return router


def _with_timezone(page: bytes, timezone: tzinfo) -> bytes:
    """The page with the service's time zone in the place of its own."""
    mark = b'data-timezone="UTC"'
    assert page.count(mark) == 1  # noqa: S101  # a file of the package
    return page.replace(mark, f'data-timezone="{escape(zone_name(timezone))}"'.encode())


def _answering(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    etag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = _HEADERS | {"Content-Type": media_type, "ETag": etag}

    async def answer(request: Request) -> Response:
        if names_etag(request.headers.get("if-none-match", ""), etag):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers)

    return answer
