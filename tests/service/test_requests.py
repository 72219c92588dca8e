"""What a request has to be: its body's size and kind, its path and method, what is there twice, its key."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from export_engine import ExportOptions
from export_engine.service.demo import DEMO_WORKSPACE
from export_engine.service.errors import MAX_BODY
from tests.service.running import JUNE, NOW, Clock, Service, serving


def send(service: Service, head: str, body: bytes = b"", *, key: str | None = None) -> bytes:
    """Send a request as it is given, by default with a key that holds; the answer, until the connection is closed."""
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])), timeout=60) as connection:
        lines = [f"POST {service.path()} HTTP/1.1", "Host: localhost", f"X-API-Key: {key or service.key}"]
        lines += ["Content-Type: application/json", *head.splitlines(), "", ""]
        answer = bytearray()
        # What the server does not wait for is refused, while it is sent or after the answer.
        with suppress(ConnectionError):
            connection.sendall("\r\n".join(lines).encode() + body)
        with suppress(ConnectionError):
            while piece := connection.recv(65536):
                answer += piece
    return bytes(answer)


def test_two_gigabytes_announced(service: Service) -> None:
    """413 from the header alone, and the connection is closed: not a byte of the body is waited for."""
    answer = send(service, f"Content-Length: {2 << 30}")
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"at most 65,536 bytes" in answer


def test_a_body_without_end(service: Service) -> None:
    """413 as soon as the pieces of an unannounced body are too many: the rest is not waited for."""
    piece = b"%x\r\n%s\r\n" % (65536, b" " * 65536)
    assert send(service, "Transfer-Encoding: chunked", piece * 17).startswith(b"HTTP/1.1 413")


def test_a_body_as_large_as_may_be(service: Service) -> None:
    """One byte more is too many."""
    body = json.dumps({**JUNE, "channel_id": "x"}).encode().ljust(MAX_BODY)
    for content, status in ((body, 422), (body + b" ", 413), (body * 15, 413)):
        headers = {"Content-Type": "application/json; charset=utf-8"}
        assert service.client.post(service.path(), content=content, headers=headers).status_code == status


def test_no_body_is_read_without_a_key(service: Service) -> None:
    """401, though all of the body is still to come."""
    head = "Content-Length: 1000\nExpect: 100-continue\nConnection: close"
    assert send(service, head, key="nonsense").startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
def test_a_body_that_is_not_declared_as_json(service: Service, kind: str | None) -> None:
    """415, with advice."""
    headers = {} if kind is None else {"Content-Type": kind}
    answer = service.client.post(service.path(), content=json.dumps(JUNE).encode(), headers=headers)
    assert answer.status_code == 415
    assert "Content-Type: application/json" in answer.json()["detail"]["message"]


@pytest.mark.slow
def test_today_is_that_of_the_options_time_zone(tmp_path: Path) -> None:
    """When it is tomorrow there already, that day can be exported; elsewhere it is still to come."""
    tomorrow = {**JUNE, "start_date": "2026-06-12", "end_date": "2026-06-12"}
    evening = Clock(datetime(2026, 6, 11, 20, tzinfo=UTC))
    for timezone, status in (("Asia/Taipei", 202), ("UTC", 400), ("-04:00", 400)):
        options = ExportOptions(timezone=timezone)
        with serving(tmp_path, worker=False, clock=evening, options=options) as service:
            assert service.trigger(tomorrow).status_code == status


def test_unknown_paths_and_methods(service: Service) -> None:
    """404 and 405 in the form of all errors."""
    assert service.client.post(f"{service.path()}/", json=JUNE).status_code == 404
    assert (answer := service.client.get("/nowhere")).status_code == 404
    assert answer.json() == {"detail": {"message": "Not Found"}}
    assert (answer := service.client.delete(service.path())).status_code == 405
    assert (answer.json(), answer.headers["Allow"]) == (
        {"detail": {"message": "Method Not Allowed"}},
        "GET, HEAD, POST",
    )


def test_head(idle: Service) -> None:
    """Wherever there is GET: the same status and headers, and no body; so are errors told."""
    job_id = idle.trigger(JUNE).json()["export_job_id"]
    channels = idle.path().replace("export-conversations", "channels")
    paths = [idle.path(), idle.path(job_id), f"{idle.path(job_id)}/details", channels, f"{channels}?limit=0"]
    for path in [*paths, "/healthz", "/openapi.json", "/", "/static/page.js", "/nowhere"]:
        get, head = idle.client.get(path), idle.client.head(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        ignored = {"x-request-id", "date"}
        assert {item for item in head.headers.items() if item[0] not in ignored} == {
            item for item in get.headers.items() if item[0] not in ignored
        }
    assert idle.client.head(idle.path(), headers={"X-API-Key": "none"}).status_code == 401


@pytest.mark.parametrize("name", ["X-API-Key", "Content-Type", "Idempotency-Key"])
def test_a_header_that_is_there_twice(idle: Service, name: str) -> None:
    """It is none that fits, whichever comes first: nobody can know which one was meant."""
    values = {"X-API-Key": idle.key, "Content-Type": "application/json", "Idempotency-Key": "a"}
    others = {"X-API-Key": "none", "Content-Type": "text/plain", "Idempotency-Key": "b"}
    statuses = []
    for first, second in ((values, others), (others, values), (values, values)):
        headers = [*(item for item in values.items() if item[0] != name), (name, first[name]), (name, second[name])]
        request = httpx.Request("POST", f"{idle.url}{idle.path()}", headers=headers, content=json.dumps(JUNE))
        statuses.append(idle.client.send(request).status_code)
    assert statuses == [{"X-API-Key": 401, "Content-Type": 415, "Idempotency-Key": 422}[name]] * 3


@pytest.mark.parametrize("inside", [False, True])
def test_a_field_that_is_there_twice(idle: Service, inside: bool) -> None:
    """422, where JSON's readers take the last: another range than was read by who wrote it would be exported."""
    text = json.dumps(JUNE)[:-1] + ', "end_date": "2026-06-02"}'
    content = f'{{"other": {text}}}' if inside else text
    answer = idle.client.post(idle.path(), content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"] == [
        {"loc": ["body", "end_date"], "msg": "is there more than once: give it once", "type": "value_error"}
    ]


@pytest.mark.slow
def test_a_key_that_has_expired(tmp_path: Path) -> None:
    """401 from then on, as for any that does not hold."""
    with serving(tmp_path, worker=False) as service:
        key = service.keys.create(DEMO_WORKSPACE, now=NOW, expires=NOW + timedelta(hours=1))
        answers = []
        for _ in range(2):
            answers.append(service.client.post(service.path(), json=JUNE, headers={"X-API-Key": key}))
            service.clock.forward(timedelta(hours=1))
    assert [answer.status_code for answer in answers] == [202, 401]
    assert answers[1].json() == {"detail": {"message": "Missing or invalid X-API-Key."}}
