"""A way back from a lost answer: the job's place in headers, and requests that are sent again."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.jobs.postgres import fresh_database, running_cluster
from tests.service.running import BY_CHANNEL, JUNE, OTHER_WORKSPACE, Service, serving


def sent(service: Service, body: dict[str, Any], *keys: str) -> httpx.Response:
    """The answer to a request under a key, or several."""
    headers = [("Idempotency-Key", key) for key in keys]
    return service.client.post(service.path(), json=body, headers=headers)


def test_where_the_job_is(idle: Service) -> None:
    """202 and 409 say where it is polled, 409 also which it is; below the prefix or not, as it was asked."""
    for path, body in ((idle.path(), JUNE), (idle.path().removeprefix("/seax-api"), BY_CHANNEL)):
        accepted = idle.client.post(path, json=body)
        job_id = accepted.json()["export_job_id"]
        assert (accepted.status_code, accepted.headers["Location"]) == (202, f"{path}/{job_id}")
        assert idle.client.get(accepted.headers["Location"]).json()["export_job_id"] == job_id
        refused = idle.client.post(path, json=body)
        assert refused.status_code == 409
        assert refused.headers["Location"] == accepted.headers["Location"]
        assert refused.json()["detail"]["export_job_id"] == job_id


def test_when_to_ask_again(idle: Service) -> None:
    """Soon, then after a tenth of the job's age, in half a minute at most; never of a job that has ended."""
    accepted = idle.trigger(JUNE)
    assert accepted.headers["Retry-After"] == "1"
    path = accepted.headers["Location"]
    for age, after in ((0, "1"), (15, "1"), (20, "2"), (290, "29"), (10_000, "30")):
        idle.clock.time = idle.clock.time.replace(second=43) + timedelta(seconds=age)
        for each in (path, f"{path}/details"):
            assert idle.client.get(each).headers["Retry-After"] == after
        idle.clock.time -= timedelta(seconds=age)
    idle.client.delete(path)
    for each in (path, f"{path}/details"):
        assert "Retry-After" not in idle.client.get(each).headers


@pytest.mark.slow
def test_nothing_is_kept_on_the_way(service: Service) -> None:
    """Answers hold links, and change: no cache may keep one, nor an error."""
    document = service.ended(service.trigger({**JUNE, "end_date": "2026-06-07"}))
    job = service.path(document["export_job_id"])
    answers = [service.client.get(path) for path in (job, f"{job}/details", service.path(), f"{job}x", "/nowhere")]
    answers += [service.client.post(service.path(), json={}), httpx.get(f"{service.url}{job}", timeout=90)]
    answers.append(httpx.get(f"{document['presigned_url']}x", timeout=90))
    assert [answer.status_code for answer in answers] == [200, 200, 200, 404, 404, 422, 401, 403]
    assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}


@pytest.mark.slow
def test_sent_again(tmp_path: Path) -> None:
    """The same answer, word for word, while the job runs and when it has ended."""
    with serving(tmp_path) as service:
        first = sent(service, BY_CHANNEL, "k-1")
        again = sent(service, {**BY_CHANNEL, "channel_id": BY_CHANNEL["channel_id"].upper()}, '"k-1"')
        service.ended(first)
        later = sent(service, BY_CHANNEL, "k-1")
        for answer in (again, later):
            assert (answer.status_code, answer.content) == (202, first.content)
            assert answer.headers["Location"] == first.headers["Location"]
        assert len(service.client.get(service.path()).json()["export_jobs"]) == 1
        fresh = sent(service, BY_CHANNEL, "k-2")
        assert fresh.status_code == 202
        assert fresh.json()["export_job_id"] != first.json()["export_job_id"]


def test_another_request_under_the_key(idle: Service) -> None:
    """422, which says what to do; nothing is made."""
    sent(idle, JUNE, "k-1")
    answer = sent(idle, BY_CHANNEL, "k-1")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["header", "Idempotency-Key"]
    assert "take a new key for each export" in answer.json()["detail"][0]["msg"]
    assert len(idle.client.get(idle.path()).json()["export_jobs"]) == 1


@pytest.mark.parametrize("keys", [("",), ("a", "a"), ("a", "b"), ("k" * 256,), ("a b",)])
def test_a_header_that_is_no_key(idle: Service, keys: tuple[str, ...]) -> None:
    """422, and nothing is made; a body that is wrong besides is told of first."""
    answer = sent(idle, JUNE, *keys)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["header", "Idempotency-Key"])
    assert sent(idle, {}, *keys).json()["detail"][0]["loc"] == ["body", "start_date"]
    assert idle.client.get(idle.path()).json()["export_jobs"] == []


def test_a_key_of_another_workspace(idle: Service) -> None:
    """Its request is answered for itself alone."""
    sent(idle, JUNE, "k-1")
    headers = {"X-API-Key": idle.keys.create(OTHER_WORKSPACE, now=idle.clock()), "Idempotency-Key": "k-1"}
    path = idle.path(workspace=OTHER_WORKSPACE)
    assert idle.client.post(path, json=JUNE, headers=headers).status_code == 404


@pytest.mark.slow
def test_sent_again_after_a_503(tmp_path: Path) -> None:
    """It may have been done or not: under its key it is a 202 either way, and there is one job."""
    with serving(tmp_path, worker=False) as service:
        with closing(sqlite3.connect(tmp_path / "jobs.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert sent(service, JUNE, "k-1").status_code == 503
        answers = [sent(service, JUNE, "k-1") for _ in range(3)]
        assert {answer.status_code for answer in answers} == {202}
        [job] = service.client.get(service.path()).json()["export_jobs"]
        assert {answer.json()["export_job_id"] for answer in answers} == {job["export_job_id"]}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A PostgreSQL."""
    with running_cluster() as url:
        yield url


def crowd(service: Service, many: int, key: str | None) -> list[httpx.Response]:
    """The answers to one request that many clients send at once, under a key or none."""
    threads = 50
    gate = threading.Barrier(threads)

    def send(number: int) -> list[httpx.Response]:
        headers = {"X-API-Key": service.key} | ({} if key is None else {"Idempotency-Key": key})
        with httpx.Client(base_url=service.url, headers=headers, timeout=240) as client:
            gate.wait(240)
            return [client.post(service.path(), json=JUNE) for _ in range(number, many, threads)]

    with ThreadPoolExecutor(threads) as pool:
        return [answer for answers in pool.map(send, range(threads)) for answer in answers]


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("many", [100, pytest.param(1000, marks=pytest.mark.scale)])
def test_many_at_once(request: pytest.FixtureRequest, tmp_path: Path, database: str, many: int) -> None:
    """Without a key exactly one is accepted, and every other told which; under one key all have the same answer."""
    url = None if database == "sqlite" else fresh_database(request.getfixturevalue("cluster"))
    with serving(tmp_path, worker=False, database=url) as service:
        answers = crowd(service, many, None)
        assert sorted(answer.status_code for answer in answers) == [202] + [409] * (many - 1)
        [job_id] = {answer.json()["export_job_id"] for answer in answers if answer.status_code == 202}
        told = {answer.json()["detail"]["export_job_id"] for answer in answers if answer.status_code == 409}
        assert told == {job_id}
        service.client.delete(service.path(job_id))
        answers = crowd(service, many, "k-1")
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.content for answer in answers}) == 1
        assert len(service.client.get(service.path()).json()["export_jobs"]) == 2
