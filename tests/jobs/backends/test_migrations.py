"""The steps lead to the tables, from nothing and from every schema there was; what cannot be opened says what to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, func, inspect, select, text
from sqlalchemy.exc import DBAPIError

from export_engine.errors import ExportError
from export_engine.jobs.backends import database as jobs_database
from export_engine.jobs.backends import migrations
from export_engine.jobs.backends.database import (
    database_revision,
    open_database,
    upgrade_database,
    writing,
)
from export_engine.jobs.backends.keys import SqlKeys
from export_engine.jobs.backends.migrations import FIRST, VERSION_TABLE
from export_engine.jobs.backends.store import SqlJobStore
from export_engine.jobs.backends.tables import metadata
from export_engine.jobs.errors import RevisionError
from export_engine.jobs.job import Job, Status
from tests.jobs.postgres import fresh_database
from tests.jobs.samples import MINUTE, NOW

#: What made the tables before there were revisions, as both databases were told it. It never changes.
FIRST_SCHEMA = """
CREATE TABLE api_key (
    id VARCHAR NOT NULL,
    digest {bytes} NOT NULL,
    workspace_id VARCHAR NOT NULL,
    scope VARCHAR NOT NULL,
    created_time {time} NOT NULL,
    revoked BOOLEAN NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE export_job (
    id VARCHAR NOT NULL,
    workspace_id VARCHAR NOT NULL,
    channel_id VARCHAR NOT NULL,
    start_date DATE NOT NULL,
    end_date DATE NOT NULL,
    created_time {time} NOT NULL,
    notification_email VARCHAR,
    status VARCHAR(8) NOT NULL,
    attempts INTEGER NOT NULL,
    finished_time {time},
    archive VARCHAR,
    file_name VARCHAR,
    error_message VARCHAR,
    token VARCHAR,
    lease_until {time},
    notified_time {time},
    PRIMARY KEY (id),
    CONSTRAINT export_job_token CHECK ((status = 'started') = (token IS NOT NULL)),
    CONSTRAINT export_job_lease CHECK ((token IS NULL) = (lease_until IS NULL)),
    CONSTRAINT export_job_end CHECK ((status IN ('finished', 'failed')) = (finished_time IS NOT NULL)),
    CONSTRAINT export_job_status CHECK (status IN ('queued', 'started', 'finished', 'failed'))
);
CREATE UNIQUE INDEX export_job_active ON export_job (workspace_id, channel_id, start_date, end_date)
    WHERE finished_time IS NULL;
CREATE INDEX export_job_archive ON export_job (archive) WHERE archive IS NOT NULL;
CREATE INDEX export_job_claim ON export_job (created_time, id) WHERE finished_time IS NULL;
CREATE INDEX export_job_expiry ON export_job (finished_time, id) WHERE archive IS NOT NULL;
CREATE INDEX export_job_status ON export_job (status);
CREATE INDEX export_job_untold ON export_job (finished_time, id)
    WHERE finished_time IS NOT NULL AND notification_email IS NOT NULL AND notified_time IS NULL;
INSERT INTO api_key VALUES ('0123456789abcdef', {secret}, 'workspace', 'workspace_events_notification', '{now}', '0');
INSERT INTO export_job
    VALUES ('1', 'w', 'c', '2026-02-01', '2026-02-28', '{now}', 'agent@example.com', 'queued', 0,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO export_job
    VALUES ('2', 'w', 'c', '2026-02-01', '2026-02-28', '{now}', NULL, 'finished', 2,
        '{now}', '2/token/a.zip', 'a.zip', NULL, NULL, NULL, '{now}');
"""
FIRST_TYPES = {
    "sqlite": {"bytes": "BLOB", "time": "VARCHAR(32)"},
    "postgresql": {"bytes": "BYTEA", "time": "TIMESTAMP WITH TIME ZONE"},
}

#: A step of a release to come: a column with a default, an index, a table.
NEXT_STEP = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9001", {latest!r}


def upgrade() -> None:
    op.add_column("export_job", sa.Column("tries", sa.Integer, nullable=False, server_default="7"))
    op.create_index("export_job_tries", "export_job", ["tries"])
    op.create_table("retry", sa.Column("id", sa.String, primary_key=True))
"""


@pytest.fixture
def plain(database_url: str) -> Iterator[Engine]:
    """The empty database, without anything that this package does to one."""
    engine = create_engine(database_url.replace("postgresql:", "postgresql+psycopg:"))
    yield engine
    engine.dispose()


@pytest.fixture
def first(plain: Engine, database_url: str) -> str:
    """The URL of a database from before there were revisions, with a key, a queued job and a finished one."""
    secret = f"X'{'00' * 32}'" if plain.dialect.name == "sqlite" else f"'\\x{'00' * 32}'"
    values = FIRST_TYPES[plain.dialect.name] | {"now": NOW.isoformat(timespec="microseconds"), "secret": secret}
    with plain.begin() as connection:
        for statement in FIRST_SCHEMA.format(**values).split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    return database_url


@pytest.fixture
def next_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Go from this release to one that has another step."""
    folder = tmp_path / "100% next"
    folder.mkdir()
    (folder / "9001_next.py").write_text(NEXT_STEP.format(latest=migrations.latest()))

    def released() -> None:
        monkeypatch.setattr(migrations, "_FOLDERS", [*migrations._FOLDERS, folder])

    return released


def differences(connection: Connection) -> list[Any]:
    """How the tables differ from what the package says they are, as alembic sees it."""
    options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def described(connection: Connection) -> dict[str, Any]:
    """All that SQLAlchemy reads back of the tables; of columns and constraints not the order."""
    inspector = inspect(connection)
    return {
        table: {
            "columns": {c["name"]: {k: str(v) for k, v in c.items()} for c in inspector.get_columns(table)},
            "primary key": inspector.get_pk_constraint(table),
            "unique": inspector.get_unique_constraints(table),
            "checks": sorted((c["name"], c["sqltext"]) for c in inspector.get_check_constraints(table)),
            "indexes": {
                i["name"]: (i["column_names"], i["unique"], {k: str(v) for k, v in i["dialect_options"].items()})
                for i in inspector.get_indexes(table)
            },
        }
        for table in inspector.get_table_names()
        if table != VERSION_TABLE
    }


def jobs(engine: Engine) -> list[Any]:
    with engine.begin() as connection:
        return list(connection.execute(text("SELECT * FROM export_job ORDER BY id")))


def test_the_steps_lead_to_the_tables(database: Engine) -> None:
    """An empty database that went through all steps is as the package says: alembic finds nothing to do."""
    with database.begin() as connection:
        assert differences(connection) == []


def test_alembic_would_see_a_difference(database: Engine) -> None:
    """The comparison above can fail."""
    with writing(database) as connection:
        connection.execute(text("DROP INDEX export_job_claim"))
        connection.execute(text("ALTER TABLE export_job ADD COLUMN extra INTEGER"))
        assert {difference[0] for difference in differences(connection)} == {"remove_column", "add_index"}


@pytest.mark.parametrize("start", ["nothing", "the first"])
def test_the_steps_lead_to_what_the_tables_would_make(
    start: str, database_url: str, request: pytest.FixtureRequest
) -> None:
    """Also checks, and the conditions of indexes, which alembic does not compare."""
    if start == "the first":
        request.getfixturevalue("first")
    upgrade_database(database_url)
    plain: Engine = request.getfixturevalue("plain")
    with plain.begin() as connection:
        stepped = described(connection)
        for table in stepped:
            connection.execute(text(f"DROP TABLE {table}"))
        metadata.create_all(connection)
        assert stepped == described(connection)
    assert len(stepped["export_job"]["checks"]) >= 4


def test_a_database_without_a_revision_is_the_first(first: str) -> None:
    """What was made before there were revisions says none; it is known all the same."""
    assert database_revision(first) == FIRST
    assert upgrade_database(first)[0] == FIRST
    assert database_revision(first) == migrations.latest()


def test_jobs_and_keys_outlive_the_upgrade(first: str) -> None:
    """Of the first schema's rows every value is as it was, and the store goes on with them."""
    upgrade_database(first)
    engine = open_database(first)
    store = SqlJobStore(engine)
    queued = store.get("w", "1")
    assert isinstance(queued, Job)
    assert (queued.status, queued.created_time, queued.notification_email) == (
        Status.QUEUED,
        NOW,
        "agent@example.com",
    )
    finished = store.get("w", "2")
    assert isinstance(finished, Job)
    assert (finished.status, finished.finished_time, finished.archive) == (Status.FINISHED, NOW, "2/token/a.zip")
    assert SqlKeys(engine).revoke("0123456789abcdef")
    lease = store.claim(NOW, MINUTE)
    assert lease is not None
    assert lease.job.id == "1"
    engine.dispose()


@pytest.mark.slow
def test_upgraded_twice(database_url: str) -> None:
    """The second time there is nothing to do."""
    assert upgrade_database(database_url) == (None, migrations.latest())
    assert upgrade_database(database_url) == (migrations.latest(), migrations.latest())


def test_a_step_to_come(first: str, plain: Engine, next_release: Callable[[], None]) -> None:
    """A step that is added runs on what is there; rows get its defaults."""
    assert upgrade_database(first) == (FIRST, migrations.latest())
    before = jobs(plain)
    this = migrations.latest()
    next_release()
    assert upgrade_database(first) == (this, "9001")
    assert jobs(plain) == [(*row, 7) for row in before]
    assert "retry" in inspect(plain).get_table_names()


def test_an_older_database(first: str, plain: Engine, next_release: Callable[[], None]) -> None:
    """A SQLite file is upgraded as it is opened. PostgreSQL, which several releases may share, is refused."""
    next_release()
    if plain.dialect.name == "sqlite":
        open_database(first).dispose()
        assert database_revision(first) == "9001"
        return
    message = rf"older release \(revision {FIRST}, this one needs 9001\): run export-engine database upgrade"
    with pytest.raises(RevisionError, match=message) as caught:
        open_database(first)
    assert caught.value.revision == FIRST
    assert VERSION_TABLE not in inspect(plain).get_table_names()
    upgrade_database(first)
    open_database(first).dispose()


def test_a_newer_database(database: Engine, next_release: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused, also by `upgrade`, and left as it is: this release would not know what the tables mean."""
    url = database.url.render_as_string(hide_password=False)
    next_release()
    upgrade_database(url)
    monkeypatch.undo()
    message = rf"newer release \(revision 9001, this one knows those up to {migrations.latest()}\): upgrade export-eng"
    for opens in (open_database, upgrade_database):
        with pytest.raises(RevisionError, match=message) as caught:
            opens(url)
        assert caught.value.revision == "9001"
    assert database_revision(url) == "9001"


def test_no_password_in_the_refusal(postgresql: str, next_release: Callable[[], None]) -> None:
    """The message names the database as one may log it."""
    url = fresh_database(postgresql).replace("postgres@", "postgres:sesame@")
    upgrade_database(url)
    next_release()
    with pytest.raises(RevisionError, match=r"^postgresql\+psycopg://postgres:\*\*\*@127") as caught:
        open_database(url)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("table", ["api_key", "export_job"])
def test_another_program_s_table(database_url: str, plain: Engine, table: str) -> None:
    """A table that has one of the names alone is not taken for ours, nor changed."""
    with plain.begin() as connection:
        connection.execute(text(f"CREATE TABLE {table} (mine INTEGER)"))
    for opens in (open_database, upgrade_database, database_revision):
        with pytest.raises(ExportError, match=rf"a table {table} that export-engine did not make"):
            opens(database_url)
    assert inspect(plain).get_table_names() == [table]


def test_other_tables_beside_ours(database_url: str, plain: Engine) -> None:
    """A service may keep its own tables in the same database, and alembic's own version table."""
    with plain.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('abc')"))
    open_database(database_url).dispose()
    with plain.begin() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "abc"


def test_a_step_that_fails_leaves_the_database_as_it_was(
    first: str, plain: Engine, next_release: Callable[[], None]
) -> None:
    """All steps run in one transaction, on SQLite as well: the next try begins where this one did."""
    with plain.begin() as connection:
        connection.execute(text("CREATE TABLE retry (id INTEGER)"))  # the step's last act fails
    next_release()
    with pytest.raises(DBAPIError, match="retry"):
        upgrade_database(first)
    assert database_revision(first) == FIRST
    assert "tries" not in {column["name"] for column in inspect(plain).get_columns("export_job")}
    with plain.begin() as connection:
        connection.execute(text("DROP TABLE retry"))
    assert upgrade_database(first) == (FIRST, "9001")


def test_asking_for_the_revision_changes_nothing(tmp_path: Path) -> None:
    """Not even a file is made."""
    assert database_revision(f"sqlite:///{tmp_path}/jobs.db") is None
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_has_no_revision(plain: Engine, database_url: str) -> None:
    """Others' tables do not count."""
    with plain.begin() as connection:
        connection.execute(text("CREATE TABLE other (x INTEGER)"))
    assert database_revision(database_url) is None


@pytest.mark.slow
@pytest.mark.parametrize("start", ["nothing", "the first"])
def test_processes_that_start_at_once(start: str, database_url: str, request: pytest.FixtureRequest) -> None:
    """One makes or upgrades the tables, the others wait for it; each can work at once."""
    if start == "the first":
        request.getfixturevalue("first")
    program = (
        "import sys; from export_engine.jobs.backends.database import open_database, upgrade_database;"
        "from export_engine.jobs.backends.store import SqlJobStore; print('ready', flush=True); sys.stdin.read();"
        "sys.argv[2] == 'the first' and upgrade_database(sys.argv[1]);"
        "engine = open_database(sys.argv[1]); print(sum(SqlJobStore(engine).counts().values())); engine.dispose()"
    )
    command = [sys.executable, "-c", program, database_url, start]
    pipe = subprocess.PIPE
    crowd = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(5)]
    for process in crowd:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in crowd:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    ended = [process.communicate(timeout=240) for process in crowd]
    assert ended == [("2\n" if start == "the first" else "0\n", "")] * 5
    assert database_revision(database_url) == migrations.latest()


@pytest.mark.slow
def test_an_upgrade_in_progress_is_waited_for(plain: Engine, database_url: str) -> None:
    """Whoever comes while another makes the tables neither fails nor makes them again."""
    maker = jobs_database._engine(database_url)
    with ThreadPoolExecutor(1) as opener:
        with writing(maker) as connection:
            if plain.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(jobs_database._UPGRADE_LOCK)))
            migrations.upgrade(connection)
            opened = opener.submit(open_database, database_url)
            assert not wait([opened], timeout=0.5).done
        opened.result(240).dispose()
    maker.dispose()


def test_steps_are_numbered_in_one_line() -> None:
    """Each is named by its revision and follows the one before: no two releases' steps can stand side by side."""
    steps = list(migrations._scripts().walk_revisions())[::-1]
    assert [step.revision for step in steps] == [f"{number:04}" for number in range(1, len(steps) + 1)]
    assert [step.down_revision for step in steps] == [None, *(step.revision for step in steps[:-1])]
    for step in steps:
        assert Path(step.path).name.startswith(f"{step.revision}_")
