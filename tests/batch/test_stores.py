"""A batch into a bucket: what it needs to be allowed, what it says where it is not, and what a failure leaves."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from export_engine import ArchiveError
from export_engine.batch import BatchPlan, Lake, check_target, count_lake, export_lake
from export_engine.sinks import object as sink
from tests import s3
from tests.batch.lakes import archives as local_archives
from tests.batch.lakes import expected, generated, made, ordered, write_lake
from tests.cli.command import ENVIRONMENT, run

pytestmark = pytest.mark.slow

TABLE = generated(600, 2)


@pytest.fixture
def plan(plan: BatchPlan, bucket: s3.Bucket) -> BatchPlan:
    """Three months in Taipei, in a bucket."""
    return replace(plan, target=f"s3://{bucket.name}")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.of_files([write_lake(TABLE, tmp_path / "lake")])


def archives(bucket: s3.Bucket) -> dict[str, bytes]:
    """What is there of archives."""
    return {path: bytes(bucket.store.get(path).bytes()) for path in filter(re.compile(r"\.zip$").search, bucket.keys())}


def test_a_bucket_that_is_not_there(lake: Lake, plan: BatchPlan, server: s3.Server) -> None:
    """Is told once, before the lake is counted, with what to do."""
    nowhere = replace(plan, target="s3://nowhere/exports")
    asked = s3.Bucket(server, "nowhere")
    ways: list[Callable[[], object]] = [lambda: count_lake(lake, nowhere), lambda: next(export_lake(lake, nowhere))]
    for number, begin in enumerate(ways, 1):
        with pytest.raises(ArchiveError, match=r"^there is no bucket s3://nowhere: make it, or mend its name$"):
            begin()
        assert len(asked.requests) == number


def test_a_bucket_that_may_only_be_read(lake: Lake, plan: BatchPlan, server: s3.Server, bucket: s3.Bucket) -> None:
    """Is told once, too; as are credentials that are wrong."""
    with (
        server.refusing("^(POST|PUT) "),
        pytest.raises(ArchiveError, match=r"^s3://bucket-\d+ refuses receipts/probe \(AccessDenied\): see to the cred"),
    ):
        next(export_lake(lake, plan))
    assert bucket.keys() == bucket.uploads() == []


def test_a_server_that_is_ill(
    lake: Lake, plan: BatchPlan, server: s3.Server, bucket: s3.Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is told once: what the store says, in a line."""
    monkeypatch.setattr(server, "failing", lambda: True)
    monkeypatch.setattr(sink, "open_store", lambda _: bucket.store)  # it gives up soon
    with pytest.raises(ArchiveError) as told:
        next(export_lake(lake, plan))
    assert str(told.value).startswith(f"{plan.target} cannot be written to: ")
    assert str(told.value).endswith("; mend that, or try again")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("refused", ["^GET /[^/]+\\?", "^(GET|HEAD) "], ids=["listed", "read"])
def test_a_bucket_that_may_not_be(
    refused: str, lake: Lake, plan: BatchPlan, server: s3.Server, bucket: s3.Bucket
) -> None:
    """Listed or read is written to all the same, though it says of what is not there that it refuses it."""
    hidden = f"{refused}|^(GET|HEAD) /[^/]+/receipts/"
    with server.refusing(hidden):
        assert {result.status for result in export_lake(lake, plan)} == {"done"}
    assert archives(bucket) == expected(TABLE, plan)
    with server.refusing(refused):
        again = {result.status for result in export_lake(lake, plan)}
    assert again == ({"done"} if "HEAD" in refused else {"kept"})
    assert check_target(plan.target).problems == ()


def test_a_bucket_that_may_not_be_listed_cannot_be_verified(plan: BatchPlan, server: s3.Server) -> None:
    """It is said what is refused."""
    with server.refusing("^GET "), pytest.raises(ArchiveError, match=r"refuses to be listed \(AccessDenied\): see to"):
        check_target(plan.target)


def test_a_bucket_that_refuses_what_is_there(lake: Lake, plan: BatchPlan, server: s3.Server) -> None:
    """One that may be listed does not say so of what is not there: it is an error, of each archive."""
    with server.refusing("^GET /[^/]+/receipts/"):
        results = list(export_lake(lake, plan))
    assert {result.status for result in results} == {"failed"}
    assert all("refuses receipts/" in str(result.error) for result in results)


def test_an_upload_that_cannot_be_aborted(lake: Lake, plan: BatchPlan, server: s3.Server, bucket: s3.Bucket) -> None:
    """Is no reason not to write: the bucket's lifecycle rules end it."""
    with server.refusing("^DELETE "):
        assert {result.status for result in export_lake(lake, plan)} == {"done"}
    assert {*bucket.uploads()} == {"receipts/probe"}
    assert archives(bucket) == expected(TABLE, plan)


def test_a_store_that_refuses_receipts(lake: Lake, plan: BatchPlan, server: s3.Server, bucket: s3.Bucket) -> None:
    """Has no archive of theirs either; what it refuses is said, in a line."""
    with server.refusing(r"^PUT /[^/]+/receipts/[0-9a-f]"):
        results = list(export_lake(lake, plan))
    assert {result.status for result in results} == {"failed"}
    assert all("receipts/" in str(result.error) and "\n" not in str(result.error) for result in results)
    assert bucket.keys() == []


def test_a_set_that_is_replaced_in_part(plan: BatchPlan, server: s3.Server, bucket: s3.Bucket) -> None:
    """Has no receipt any more, so that nobody takes it for whole: it is told, and the next run makes it."""
    plan = replace(plan, options=replace(plan.options, max_archive_size=6000))
    table = ordered(plan, rows=2500, channels=1)
    first = made(table, plan)[0]
    before = archives(bucket)
    third = str(first.path).replace(".zip", "-3.zip")
    bucket.store.delete(third)
    (lost,) = check_target(plan.target).problems
    assert lost.startswith(f"{third}: it is missing; its receipt is receipts/")
    with server.refusing(f"^PUT /[^/]+/{first.path}"):
        results = made(table, plan)
    assert sorted(r.status for r in results) == ["failed", "kept", "kept"]
    left = archives(bucket)
    problems = check_target(plan.target).problems
    kept = [path for result in results for path in before if result.path and path.startswith(result.path[:-4])]
    assert sorted(problems) == sorted(f"{path}: no receipt tells of it" for path in left.keys() - {*kept})
    assert sorted(r.status for r in made(table, plan)) == ["done", "kept", "kept"]
    assert archives(bucket) == before
    assert check_target(plan.target).problems == ()


def test_from_the_command_line(bucket: s3.Bucket, tmp_path: Path) -> None:
    """One line, and the exit code of what cannot be done."""
    files = write_lake(TABLE, tmp_path / "lake")
    environment = {**ENVIRONMENT, **bucket.environment}
    code, told, errors = run("batch", files, "--output", "s3://nowhere/x", environment=environment)
    assert (code, told) == (1, b"")
    assert errors == "error: there is no bucket s3://nowhere: make it, or mend its name\n"


def test_a_lake_in_a_bucket(bucket: s3.Bucket, plan: BatchPlan, tmp_path: Path) -> None:
    """Is read from there, by a prefix or a pattern."""
    write_lake(TABLE, tmp_path / "lake")
    for path in (tmp_path / "lake").iterdir():
        bucket.store.put(f"lake/{path.name}", path)
    environment = {**ENVIRONMENT, **bucket.environment}
    days = ["--start", "2026-04-01", "--end", "2026-06-30", "--timezone", "Asia/Taipei", "--label", plan.label]
    for number, given in enumerate(("lake/", "lake/*.parquet")):
        out = tmp_path / str(number)
        code, _, errors = run("batch", f"{plan.target}/{given}", "--output", out, *days, environment=environment)
        assert (code, errors) == (0, "")
        assert local_archives(out) == expected(TABLE, plan)
