"""What all processes at one database agree on: options of exports, the secret of links; the first writes them down."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Engine, select

from export_engine import EXCEL, CsvDialect, ExportOptions
from export_engine.errors import ExportError, OptionError
from export_engine.jobs.backends.agreement import agree, set_options, set_secret
from export_engine.jobs.backends.database import writing
from export_engine.jobs.backends.store import SqlJobStore
from export_engine.jobs.backends.tables import export_setting
from export_engine.jobs.errors import OutdatedError
from tests.jobs.samples import MINUTE, NOW, new_job

TAIPEI = ExportOptions(timezone="Asia/Taipei", dialect=EXCEL)


def test_the_first_is_written_down_and_the_others_are_held_against_it(database: Engine) -> None:
    """What does not shape the bytes may differ; what does is refused, named with both values."""
    agree(database, TAIPEI)
    agree(database, replace(TAIPEI, threads=1, sha256=True))
    with pytest.raises(OptionError) as caught:
        agree(database, replace(TAIPEI, timezone="UTC", dialect=replace(EXCEL, bom=False)))
    assert caught.value.option == "bom"
    assert "made with bom true (not false), timezone Asia/Taipei (not UTC): give all processes the same" in str(
        caught.value
    )
    agree(database, TAIPEI)


@pytest.mark.parametrize(
    ("option", "other"),
    [
        ("timezone", {"timezone": "+08:00"}),
        ("epoch", {"epoch": "s"}),
        ("range_by", {"range_by": "created_at"}),
        ("compression", {"compression": "small"}),
        ("line_end", {"dialect": CsvDialect(line_end="\n")}),
        ("name_budget", {"name_budget": 100}),
        ("spool_limit", {"spool_limit": 1}),
        ("strict", {"strict": True}),
    ],
)
def test_every_option_that_shapes_the_bytes(database: Engine, option: str, other: dict[str, Any]) -> None:
    """Each one alone is a difference, and is its name; the digests differ as well."""
    agree(database, ExportOptions())
    assert ExportOptions(**other).digest() != ExportOptions().digest()
    with pytest.raises(OptionError) as caught:
        agree(database, ExportOptions(**other))
    assert caught.value.option == option


def test_the_same_zone_said_otherwise(database: Engine) -> None:
    """An offset is an offset, whatever object says so."""
    agree(database, ExportOptions(timezone="+08:00"))
    agree(database, ExportOptions(timezone=timezone(timedelta(hours=8))))


def test_many_that_begin_at_once(database: Engine) -> None:
    """One of them is the first; those who say otherwise are refused, all of them."""

    def begin(number: int) -> bool:
        try:
            agree(database, ExportOptions() if number % 2 else TAIPEI)
        except OptionError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        agreed = list(threads.map(begin, range(16)))
    assert agreed in ([bool(n % 2) for n in range(16)], [not n % 2 for n in range(16)])


def test_changed_while_nothing_is_to_be_done(database: Engine) -> None:
    """Refused while a job waits or runs; the changes are told, and hold for those that start from then on."""
    store = SqlJobStore(database)
    agree(database, ExportOptions())
    store.create(new_job())
    with pytest.raises(ExportError, match=r"^1 export jobs are queued or started"):
        set_options(database, TAIPEI)
    lease = store.claim(NOW, MINUTE)
    assert lease is not None
    with pytest.raises(ExportError, match=r"^1 export jobs are queued or started"):
        set_options(database, TAIPEI)
    agree(database, ExportOptions())
    store.fail(lease, NOW, "no")
    assert set_options(database, TAIPEI) == [
        "bom: true, was false",
        "digits_guard: true, was false",
        "formula_guard: true, was false",
        "timezone: Asia/Taipei, was UTC",
    ]
    assert set_options(database, TAIPEI) == []
    agree(database, TAIPEI)
    with pytest.raises(OptionError):
        agree(database, ExportOptions())


def test_nothing_is_made_or_taken_once_it_is_changed(database: Engine) -> None:
    """By a process that has begun before; one that begins with what holds now does both, and what is there is told."""
    before = SqlJobStore(database, agreed=agree(database, ExportOptions()))
    before.check()
    set_options(database, TAIPEI)
    with pytest.raises(OutdatedError):
        before.check()
    with pytest.raises(OutdatedError):
        before.create(new_job())
    assert sum(before.counts().values()) == 0
    assert before.claim(NOW, MINUTE) is None
    after = SqlJobStore(database, agreed=agree(database, TAIPEI))
    job = after.create(new_job())
    with pytest.raises(OutdatedError):
        before.claim(NOW, MINUTE)
    assert before.get(job.workspace_id, job.id) == job
    assert after.claim(NOW, MINUTE) is not None


SECRET, OTHER = b"s" * 32, b"t" * 32


def test_a_secret_of_links(database: Engine) -> None:
    """The first one holds for all that have one; what is written down is not the secret, nor a plain digest of it."""
    agree(database, ExportOptions())
    agree(database, ExportOptions(), secret=SECRET)
    agree(database, ExportOptions(), secret=SECRET)
    agree(database, ExportOptions())
    with pytest.raises(OptionError, match="signed with another secret") as caught:
        agree(database, ExportOptions(), secret=OTHER)
    assert caught.value.option == "secret"
    with database.connect() as connection:
        kept = connection.execute(select(export_setting.c.value)).scalars().all()
    for text in (SECRET.decode(), SECRET.hex(), hashlib.sha256(SECRET).hexdigest()):
        assert not [value for value in kept if text in value]


def test_a_secret_is_changed_while_jobs_wait(database: Engine) -> None:
    """It does not shape them; processes with the old one are told, with the next job."""
    store = SqlJobStore(database, agreed=agree(database, ExportOptions(), secret=SECRET))
    store.create(new_job())
    assert [set_secret(database, OTHER), set_secret(database, OTHER)] == [True, False]
    with pytest.raises(OutdatedError):
        store.claim(NOW, MINUTE)
    with pytest.raises(OptionError):
        agree(database, ExportOptions(), secret=SECRET)
    assert agree(database, ExportOptions(), secret=OTHER).keys() == {"options", "secret"}


def test_who_is_refused_writes_nothing_down(database: Engine) -> None:
    """Neither of options that differ nor of a secret that does."""
    agree(database, ExportOptions())
    with pytest.raises(OptionError):
        agree(database, TAIPEI, secret=OTHER)
    agree(database, ExportOptions(), secret=SECRET)


def test_an_option_that_another_release_does_not_know(database: Engine) -> None:
    """It has its default there: an upgrade alone is no difference."""
    with writing(database) as connection:
        value = '{"timezone": "UTC", "dialect": {"bom": false}}'
        connection.execute(export_setting.insert().values(name="options", value=value))
    agree(database, ExportOptions())
    with pytest.raises(OptionError, match=r"strict false \(not true\)"):
        agree(database, ExportOptions(strict=True))


def test_a_mailer_is_known_to_all_for_an_hour(store: SqlJobStore) -> None:
    """After it was last at work; no mailer that ever was is none."""
    assert not store.has_mailer(NOW)
    store.note_mailer(NOW)
    assert store.has_mailer(NOW + timedelta(minutes=59))
    assert not store.has_mailer(NOW + timedelta(hours=1))
    store.note_mailer(datetime.now(UTC))
    assert store.has_mailer(datetime.now(UTC))
