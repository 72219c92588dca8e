"""What all processes at one database agree on: the options that shape exports, written down by the first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Engine

from export_engine import EXCEL, CsvDialect, ExportOptions
from export_engine.errors import ExportError, OptionError
from export_engine.jobs.backends.agreement import agree_on_options, set_options
from export_engine.jobs.backends.database import export_setting, writing
from export_engine.jobs.backends.store import SqlJobStore
from tests.jobs.samples import MINUTE, NOW, new_job

TAIPEI = ExportOptions(timezone="Asia/Taipei", dialect=EXCEL)


def test_the_first_is_written_down_and_the_others_are_held_against_it(database: Engine) -> None:
    """What does not shape the bytes may differ; what does is refused, named with both values."""
    agree_on_options(database, TAIPEI)
    agree_on_options(database, replace(TAIPEI, threads=1, sha256=True))
    with pytest.raises(OptionError) as caught:
        agree_on_options(database, replace(TAIPEI, timezone="UTC", dialect=replace(EXCEL, bom=False)))
    assert caught.value.option == "bom"
    assert "made with bom true (not false), timezone Asia/Taipei (not UTC): give all processes the same" in str(
        caught.value
    )
    agree_on_options(database, TAIPEI)


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
    agree_on_options(database, ExportOptions())
    assert ExportOptions(**other).digest() != ExportOptions().digest()
    with pytest.raises(OptionError) as caught:
        agree_on_options(database, ExportOptions(**other))
    assert caught.value.option == option


def test_the_same_zone_said_otherwise(database: Engine) -> None:
    """An offset is an offset, whatever object says so."""
    agree_on_options(database, ExportOptions(timezone="+08:00"))
    agree_on_options(database, ExportOptions(timezone=timezone(timedelta(hours=8))))


def test_many_that_begin_at_once(database: Engine) -> None:
    """One of them is the first; those who say otherwise are refused, all of them."""

    def begin(number: int) -> bool:
        try:
            agree_on_options(database, ExportOptions() if number % 2 else TAIPEI)
        except OptionError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        agreed = list(threads.map(begin, range(16)))
    assert agreed in ([bool(n % 2) for n in range(16)], [not n % 2 for n in range(16)])


def test_changed_while_nothing_is_to_be_done(database: Engine) -> None:
    """Refused while a job waits or runs; the changes are told, and hold for those that start from then on."""
    store = SqlJobStore(database)
    agree_on_options(database, ExportOptions())
    store.create(new_job())
    with pytest.raises(ExportError, match=r"^1 export jobs are queued or started"):
        set_options(database, TAIPEI)
    lease = store.claim(NOW, MINUTE)
    assert lease is not None
    with pytest.raises(ExportError, match=r"^1 export jobs are queued or started"):
        set_options(database, TAIPEI)
    agree_on_options(database, ExportOptions())
    store.fail(lease, NOW, "no")
    assert set_options(database, TAIPEI) == [
        "bom: true, was false",
        "digits_guard: true, was false",
        "formula_guard: true, was false",
        "timezone: Asia/Taipei, was UTC",
    ]
    assert set_options(database, TAIPEI) == []
    agree_on_options(database, TAIPEI)
    with pytest.raises(OptionError):
        agree_on_options(database, ExportOptions())


def test_an_option_that_another_release_does_not_know(database: Engine) -> None:
    """It has its default there: an upgrade alone is no difference."""
    with writing(database) as connection:
        value = '{"timezone": "UTC", "dialect": {"bom": false}}'
        connection.execute(export_setting.insert().values(name="options", value=value))
    agree_on_options(database, ExportOptions())
    with pytest.raises(OptionError, match=r"strict false \(not true\)"):
        agree_on_options(database, ExportOptions(strict=True))


def test_a_mailer_is_known_to_all_for_an_hour(store: SqlJobStore) -> None:
    """After it was last at work; no mailer that ever was is none."""
    assert not store.has_mailer(NOW)
    store.note_mailer(NOW)
    assert store.has_mailer(NOW + timedelta(minutes=59))
    assert not store.has_mailer(NOW + timedelta(hours=1))
    store.note_mailer(datetime.now(UTC))
    assert store.has_mailer(datetime.now(UTC))
