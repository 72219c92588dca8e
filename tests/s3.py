"""An S3 server for tests: moto's, spoken to over HTTP on 127.0.0.1, that can be told to refuse requests."""

from __future__ import annotations

import io
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Any
from xml.etree import ElementTree as ET

import httpx
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from obstore.store import S3Store
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

__all__ = ["VARIABLES", "Bucket", "Server", "serving"]

#: The environment that leads obstore to a bucket here.
VARIABLES = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ALLOW_HTTP")

_NAMESPACE = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/"}

_NUMBERS = count(1)  # moto keeps the buckets of all servers of a process together


class Server:
    """The server. `requests` has a line for each request that came, such as `PUT /bucket/key?partNumber=1&uploadId=x`.

    A request whose line `refused` matches is answered with 403, one for which `failing` says so with 500; see `holding`
    for `held`. `stored` is called with the line and the size of a part's request once it is in.

    Requests are answered one after the other, each when all of it is here: moto's state is not made for several threads
    (it answered 500 to the end of an upload that met a part of it), nor for a client that goes in the middle.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.refused: re.Pattern[str] | None = None
        self.failing: Callable[[], bool] = lambda: False
        self.held: re.Pattern[str] | None = None
        self._go_on = threading.Event()
        self.stored: Callable[[str, int], object] = lambda _line, _size: None
        self._one_by_one = threading.Lock()
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        line = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        self.requests.append(line)
        size = int(environ.get("CONTENT_LENGTH") or 0)
        if self.held and self.held.search(line):
            self._go_on.wait(300)
        body = environ["wsgi.input"].read(size)
        if len(body) < size:
            return Response("<Error><Code>IncompleteBody</Code></Error>", 400)(environ, start_response)
        if self.refused and self.refused.search(line):
            return Response("<Error><Code>AccessDenied</Code></Error>", 403)(environ, start_response)
        if self.failing():
            return Response("<Error><Code>InternalError</Code></Error>", 500)(environ, start_response)
        with self._one_by_one:
            answer: Iterable[bytes] = self._moto(environ | {"wsgi.input": io.BytesIO(body)}, start_response)
        if "partNumber=" in line:
            self.stored(line, size)
        return answer

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more, and close the port."""
        self._server.shutdown()
        self._thread.join(30)
        self._server.server_close()

    @contextmanager
    def refusing(self, pattern: str) -> Iterator[None]:
        """Refuse the requests whose line the pattern is found in."""
        self.refused = re.compile(pattern)
        try:
            yield
        finally:
            self.refused = None

    @contextmanager
    def holding(self, pattern: str) -> Iterator[None]:
        """Leave the requests whose line the pattern is found in without an answer while the block runs."""
        self._go_on.clear()
        self.held = re.compile(pattern)
        try:
            yield
        finally:
            self.held = None
            self._go_on.set()

    def new_bucket(self) -> Bucket:
        """A bucket of its own for a test."""
        bucket = Bucket(self, f"bucket-{next(_NUMBERS)}")
        httpx.put(f"{self.url}/{bucket.name}", timeout=90).raise_for_status()
        self.requests.clear()
        return bucket


class Bucket:
    """A bucket and what is in it, asked of the server itself."""

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        self.name = name
        #: What obstore needs to reach it. It retries soon.
        self.config: dict[str, Any] = {
            "endpoint": server.url,
            "region": "us-east-1",
            "access_key_id": "test-key",
            "secret_access_key": "test-secret",
            "client_options": {"allow_http": True},
            "retry_config": {"max_retries": 5, "backoff": {"init_backoff": timedelta(milliseconds=20)}},
        }

    @property
    def environment(self) -> dict[str, str]:
        """The same for a process that knows only the bucket's URL."""
        return dict(zip(VARIABLES, (self.server.url, "us-east-1", "test-key", "test-secret", "true"), strict=True))

    @property
    def store(self) -> S3Store:
        """The bucket as obstore has it."""
        return S3Store(self.name, **self.config)

    @property
    def requests(self) -> list[str]:
        """The requests that came for it: not those of other tests, which may arrive long after they were given up."""
        return [line for line in self.server.requests if re.match(rf"\w+ /{self.name}[/?]", line)]

    def keys(self) -> list[str]:
        """The objects' names."""
        return self._names("list-type=2", "s3:Contents/s3:Key")

    def uploads(self) -> list[str]:
        """The names of the objects whose uploads have neither ended nor been aborted."""
        return self._names("uploads", "s3:Upload/s3:Key")

    def _names(self, query: str, path: str) -> list[str]:
        answer = httpx.get(f"{self.server.url}/{self.name}?{query}", timeout=90).raise_for_status()
        tree = ET.fromstring(answer.text)  # noqa: S314  # our own server's answer
        return [found.text or "" for found in tree.iterfind(path, _NAMESPACE)]


@contextmanager
def serving() -> Iterator[Server]:
    """A running server."""
    logger = logging.getLogger("werkzeug")
    level = logger.level
    # Its log of requests, and of parts that come in for an upload that has just been aborted.
    logger.setLevel(logging.CRITICAL + 1)
    server = Server()
    server.start()
    try:
        yield server
    finally:
        server.stop()
        logger.setLevel(level)
