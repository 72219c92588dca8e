"""Where jobs are kept: a table on SQLite or PostgreSQL that many threads, processes and machines work at together.

What it guarantees, and by what:

- One active export per workspace, channel and range: a partial unique index. Whoever looks first does so to be refused
  sooner, never to be accepted.
- One job per request that its client has named, however often it is sent: the jobs of a workspace are made one by one.
- A job is in one worker's hands at a time: a claim picks a row and marks it in one transaction, which on PostgreSQL
  locks the row and lets others skip it (`FOR UPDATE SKIP LOCKED`), and on SQLite is the only one that writes.
- A worker that is late changes nothing: each claim sets a token of its own, and each later move is one UPDATE that asks
  for that token. Whoever took the job over has another; a job that has ended has none.
- No workspace waits for all of another's jobs: they take turns, which the store counts. What one may have queued is
  bounded.
- No job is made or done in another way than was agreed on: what that was is asked for in the same transaction.
- No job is stuck: a lease that is not renewed runs out, and the job is claimed again, until its attempts are used up.

A lease that has run out still holds until another worker takes the job: then nothing is lost by a worker that was
merely slow. What would break it: clocks of workers that differ by as much as a lease is long (a job would be taken from
a worker that lives; its result is refused, so the job is still exported once), and a SQLite file on a network drive.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    RowMapping,
    Select,
    delete,
    func,
    or_,
    select,
    tuple_,
    update,
)

from export_engine.errors import OptionError
from export_engine.jobs.backends.database import storable, writing
from export_engine.jobs.backends.settings import keep_setting, kept_settings
from export_engine.jobs.backends.tables import (
    ACTIVE,
    KEPT,
    NOT_NOTIFIED,
    REPEATABLE,
    export_job,
    export_turn,
    insert_into,
)
from export_engine.jobs.errors import (
    ActiveExportError,
    IdempotencyError,
    LeaseLostError,
    OutdatedError,
    QueueFullError,
    TransitionError,
)
from export_engine.jobs.job import (
    CANCELLED_MESSAGE,
    LINK_LIFE,
    MAILER_LIFE,
    MAX_ATTEMPTS,
    MAX_QUEUED,
    NOTHING_KNOWN,
    Job,
    Status,
    advance,
    facts_of,
    facts_so_far,
    given_up_message,
)
from export_engine.jobs.ports import Idempotency, JobPlace, Lease, Notice
from export_engine.report import ExportReport, Progress

__all__ = ["EXPIRED_AT_ONCE", "PRUNED_AT_ONCE", "SqlJobStore"]

#: How many jobs are forgotten in one transaction.
PRUNED_AT_ONCE = 500

#: How many jobs one call of `expired` gives at most.
EXPIRED_AT_ONCE = 100

_COLUMNS = export_job.c
_JOB = [_COLUMNS[field.name] for field in fields(Job)]
_UNIQUE = [_COLUMNS.workspace_id, _COLUMNS.channel_id, _COLUMNS.start_date, _COLUMNS.end_date]
# PostgreSQL's advisory locks of this number let the jobs of a workspace be counted and added to in one go.
_QUEUE_LOCK = 0x71756575
#: The setting that says when a mailer was last at work.
_MAILER = "mailer"
#: The setting that is written to see whether anything can be.
_CHECKED = "checked"
_NO_LEASE = {"token": None, "lease_until": None}


class SqlJobStore:
    """A `JobStore` on the database that `open_database` opened.

    `max_attempts` (at least 1) is how often a job is begun before it is given up; workers that handed it back are not
    counted. `max_queued` (at least 1) is how many queued jobs a workspace may have. `agreed` is what `agreement.agree`
    returned: once others have changed it, `create`, `claim` and `check` raise OutdatedError. Safe to share between
    threads.

    Raises OptionError, and SQLAlchemy's OperationalError from any method if the database is not there; nothing has
    changed then.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        max_attempts: int = MAX_ATTEMPTS,
        max_queued: int = MAX_QUEUED,
        agreed: Mapping[str, str] | None = None,
    ) -> None:
        if max_attempts < 1:
            raise OptionError(f"a job is tried at least once, not {max_attempts} times", option="max_attempts")
        if max_queued < 1:
            raise OptionError(f"a workspace may have at least one queued job, not {max_queued}", option="max_queued")
        self._engine = engine
        self._max_attempts, self._max_queued = max_attempts, max_queued
        self._agreed = dict(agreed or {})

    def create(self, job: Job, *, idempotency: Idempotency | None = None) -> Job:
        """Keep a queued job; the job that is kept, which is an earlier one if the workspace has one of that name.

        Raises ActiveExportError if one of that workspace, channel and range has not ended, QueueFullError if the
        workspace has as many queued jobs as it may have, IdempotencyError if the earlier one was asked for by another
        request, and TransitionError for a job that is not queued.
        """
        if job.status is not Status.QUEUED:
            raise TransitionError(f"a job begins queued, it cannot begin {job.status}")
        key, digest = idempotency or (None, None)
        row = asdict(job) | {"idempotency_key": key, "request_digest": digest}
        keep = insert_into(export_job, self._engine.dialect).values(row)
        # Only this one conflict is the caller's; any other (an id used twice) is raised.
        keep = keep.on_conflict_do_nothing(index_elements=_UNIQUE, index_where=ACTIVE)
        queued = select(func.count()).where(
            ACTIVE, _COLUMNS.workspace_id == job.workspace_id, _COLUMNS.status == Status.QUEUED
        )
        if idempotency is None:
            # Looked for first, so that many who ask for one export do not wait in turn to write nothing.
            with self._engine.begin() as connection:
                if (active := connection.execute(_active(job)).scalar_one_or_none()) is not None:
                    raise ActiveExportError(active)
        with writing(self._engine) as connection:
            if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
                of = func.hashtext(job.workspace_id)
                connection.execute(select(func.pg_advisory_xact_lock(_QUEUE_LOCK, of)))
            if idempotency is not None and (earlier := _repeated(connection, job.workspace_id, idempotency)):
                return earlier
            while connection.execute(keep.returning(_COLUMNS.id)).one_or_none() is None:
                # On PostgreSQL the one that was in the way may have ended meanwhile.
                if (active := connection.execute(_active(job)).scalar_one_or_none()) is not None:
                    raise ActiveExportError(active)
            # What raises here takes the job back.
            if connection.execute(queued).scalar_one() > self._max_queued:
                raise QueueFullError(self._max_queued)
            self._check_agreement(connection)  # once the job is there: on PostgreSQL it waits for who changes that
        return job

    def repeated(self, workspace_id: str, idempotency: Idempotency) -> Job | None:
        """The workspace's job of that name, ended or not. Raises IdempotencyError if another request asked for it."""
        if not (storable(workspace_id) and storable(idempotency.key)):
            return None
        with self._engine.begin() as connection:
            return _repeated(connection, workspace_id, idempotency)

    def get(self, workspace_id: str, job_id: str) -> Job | None:
        """The job, if the workspace has it. Any text may be asked for."""
        if not (storable(workspace_id) and storable(job_id)):
            return None
        query = select(*_JOB).where(_COLUMNS.id == job_id, _COLUMNS.workspace_id == workspace_id)
        with self._engine.begin() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _job(row)

    def page(
        self,
        workspace_id: str,
        *,
        limit: int,
        before: JobPlace | None = None,
        channel_id: str | None = None,
        status: Status | None = None,
    ) -> list[Job]:
        """The youngest `limit` of the workspace's jobs, of those before `before`, the youngest first.

        That is by `JobPlace`, backwards. With `channel_id` or `status` those alone that have it. Any text may be
        asked for.
        """
        if not (storable(workspace_id) and storable(channel_id or "")):
            return []
        place = tuple_(_COLUMNS.created_time, _COLUMNS.id)
        query = select(*_JOB).where(_COLUMNS.workspace_id == workspace_id)
        if before is not None:
            query = query.where(place < tuple_(*before, types=[_COLUMNS.created_time.type, _COLUMNS.id.type]))
        if channel_id is not None:
            query = query.where(_COLUMNS.channel_id == channel_id)
        if status is not None:
            query = query.where(_COLUMNS.status == status)
        query = query.order_by(_COLUMNS.created_time.desc(), _COLUMNS.id.desc()).limit(limit)
        with self._engine.begin() as connection:
            return [_job(row) for row in connection.execute(query).mappings()]

    def cancel(self, workspace_id: str, job_id: str, now: datetime) -> Job | None:
        """End a job that has not ended, its lease with it, and close its notice; the job, or None if there is none.

        Of one that has ended the notice alone is closed.
        """
        if not (storable(workspace_id) and storable(job_id)):
            return None
        this = (_COLUMNS.id == job_id, _COLUMNS.workspace_id == workspace_id)
        failed = {"status": Status.FAILED, "finished_time": now, "error_message": CANCELLED_MESSAGE}
        with writing(self._engine) as connection:
            cancelled = failed | {"cancelled_time": now, "notified_time": now} | _NO_LEASE
            connection.execute(update(export_job).where(*this, ACTIVE).values(cancelled))
            connection.execute(update(export_job).where(*this, NOT_NOTIFIED).values(notified_time=now))
            row = connection.execute(select(*_JOB).where(*this)).mappings().one_or_none()
        return None if row is None else _job(row)

    def claim(self, now: datetime, lease: timedelta) -> Lease | None:
        """Take a job that is queued and due, or whose lease has run out.

        Workspaces take turns: of the one whose last turn is the longest ago, or that never had one, the oldest job (by
        `created_time`, then `id`) is taken.

        The lease is new: it has a token of its own and lasts until `now + lease`. A job whose lease has run out after
        its last allowed attempt becomes failed instead, and the next one is looked at.
        """
        while (taken := self._claim_or_give_up(now, lease)) is not None:
            if isinstance(taken, Lease):
                return taken
        return None

    def renew(self, lease: Lease, now: datetime, length: timedelta, *, progress: Progress | None = None) -> None:
        """Keep a job until `now + length`, and note how far its export has come. Raises LeaseLostError."""
        self._move(lease, {"lease_until": now + length} | facts_so_far(progress))

    def finish(
        self, lease: Lease, now: datetime, *, archive: str, file_name: str, report: ExportReport | None = None
    ) -> Job:
        """The archive is there; the report has its counts. Raises LeaseLostError, and then changes nothing."""
        status = advance(Status.STARTED, Status.FINISHED)
        ended = {"status": status, "finished_time": now, "archive": archive, "file_name": file_name}
        return self._move(lease, ended | facts_of(report) | _NO_LEASE)

    def fail(self, lease: Lease, now: datetime, error_message: str) -> Job:
        """The export has failed for good. Raises LeaseLostError, and then changes nothing.

        What a database cannot hold of the message (a NUL, half of a surrogate pair) becomes U+FFFD or `?`.
        """
        return self._move(lease, _failed(now, error_message))

    def retry(self, lease: Lease, now: datetime, at: datetime, error_message: str) -> Job:
        """Queue the job again, not to be taken before `at`. Raises LeaseLostError, and then changes nothing.

        After its last allowed attempt it fails instead, as by `fail`.
        """
        if lease.job.attempts >= self._max_attempts:
            return self.fail(lease, now, error_message)
        return self._move(lease, {"status": advance(Status.STARTED, Status.QUEUED), "retry_time": at} | _NO_LEASE)

    def hand_back(self, lease: Lease) -> None:
        """The worker has to stop: queue the job again, its attempt not counted. Raises LeaseLostError."""
        status = advance(Status.STARTED, Status.QUEUED)
        back = {"status": status, "attempts": _COLUMNS.attempts - 1, "started_time": None} | NOTHING_KNOWN
        self._move(lease, back | _NO_LEASE)

    def take_notice(self, now: datetime, held: timedelta) -> Notice | None:
        """The job that ended first of those whose e-mail is due; nobody else is given it before `now + held`."""
        due = or_(_COLUMNS.notice_time.is_(None), _COLUMNS.notice_time <= now)
        query = select(_COLUMNS.id).where(NOT_NOTIFIED, due).order_by(_COLUMNS.finished_time, _COLUMNS.id).limit(1)
        with writing(self._engine) as connection:
            job_id = connection.execute(query.with_for_update(skip_locked=True)).scalar_one_or_none()
            if job_id is None:
                return None
            taking = {"notice_tries": _COLUMNS.notice_tries + 1, "notice_time": now + held}
            taken = update(export_job).where(_COLUMNS.id == job_id).values(taking)
            tries = connection.execute(taken.returning(_COLUMNS.notice_tries)).scalar_one()
            job = connection.execute(select(*_JOB).where(_COLUMNS.id == job_id)).mappings().one()
        return Notice(_job(job), tries)

    def put_off_notice(self, job_id: str, at: datetime) -> None:
        """The e-mail could not be sent: it is due again at that time."""
        self._notice(job_id, {"notice_time": at})

    def close_notice(self, job_id: str, now: datetime, *, given_up: bool) -> None:
        """The e-mail was sent, or given up: it is never due again."""
        self._notice(job_id, {"notified_time": now, "notice_given_up": given_up})

    def note_mailer(self, now: datetime) -> None:
        """Note that a mailer is at work."""
        with writing(self._engine) as connection:
            keep_setting(connection, _MAILER, now.isoformat())

    def has_mailer(self, now: datetime) -> bool:
        """Whether a mailer was at work within the last `MAILER_LIFE`."""
        with self._engine.begin() as connection:
            seen = kept_settings(connection, [_MAILER]).get(_MAILER)
        return seen is not None and datetime.fromisoformat(seen) > now - MAILER_LIFE

    def expired(self, now: datetime) -> list[Job]:
        """Finished jobs whose link is dead and whose archive has not been forgotten, first those that ended first.

        At most `EXPIRED_AT_ONCE`: forget their archives and ask again for the rest.
        """
        query = (
            select(*_JOB)
            .where(KEPT, _COLUMNS.finished_time <= now - LINK_LIFE)
            .order_by(_COLUMNS.finished_time, _COLUMNS.id)
            .limit(EXPIRED_AT_ONCE)
        )
        with self._engine.begin() as connection:
            return [_job(row) for row in connection.execute(query).mappings()]

    def forget_archive(self, job_id: str) -> None:
        """Note that an expired job's archive has been deleted; a job without one stays as it is."""
        with writing(self._engine) as connection:
            connection.execute(update(export_job).where(_COLUMNS.id == job_id).values(archive=None))

    def wanted(self, archives: Sequence[str]) -> dict[str, bool]:
        """Which of some paths are a job's archive, or will be: those below `<job id>/<token>/` of a live lease.

        The others are False; what does not begin with a job's id is missing. At most some thousands may be asked for.
        """
        ids = {path: path.partition("/")[0] for path in archives if "/" in path and storable(path)}
        query = select(_COLUMNS.id, _COLUMNS.token, _COLUMNS.archive).where(_COLUMNS.id.in_(set(ids.values())))
        with self._engine.begin() as connection:
            jobs = {row.id: row for row in connection.execute(query)}
        return {
            path: path == jobs[id_].archive
            or (jobs[id_].token is not None and path.startswith(f"{id_}/{jobs[id_].token}/"))
            for path, id_ in ids.items()
            if id_ in jobs
        }

    def prune(self, before: datetime) -> int:
        """Forget the jobs that ended before then and have no archive, with their addresses; how many there were.

        They go some at a time, so that nobody waits long for the lock.
        """
        old = select(_COLUMNS.id).where(_COLUMNS.finished_time < before, _COLUMNS.archive.is_(None))
        some = delete(export_job).where(_COLUMNS.id.in_(old.limit(PRUNED_AT_ONCE))).returning(_COLUMNS.id)
        pruned, last = 0, PRUNED_AT_ONCE
        while last == PRUNED_AT_ONCE:
            with writing(self._engine) as connection:
                last = len(connection.execute(some).all())
            pruned += last
        return pruned

    def counts(self) -> dict[Status, int]:
        """How many jobs there are in each status, for metrics."""
        query = select(_COLUMNS.status, func.count().label("jobs")).group_by(_COLUMNS.status)
        with self._engine.begin() as connection:
            counted = {row.status: row.jobs for row in connection.execute(query)}
        return {status: counted.get(status, 0) for status in Status}

    def check(self) -> None:
        """Write: raises what `create` would raise of a database that is not there, is locked, or is full."""
        with writing(self._engine) as connection:
            self._check_agreement(connection)
            keep_setting(connection, _CHECKED, secrets.token_hex(16))

    def _claim_or_give_up(self, now: datetime, length: timedelta) -> Lease | Job | None:
        """The oldest job to be had, claimed; or the job that was it, given up; or None if there is none."""
        turn = func.coalesce(export_turn.c.turn, 0)
        query = (
            select(_COLUMNS.id, _COLUMNS.status, _COLUMNS.attempts, _COLUMNS.workspace_id)
            .outerjoin(export_turn, _COLUMNS.workspace_id == export_turn.c.workspace_id)
            .where(
                ACTIVE,
                or_(_COLUMNS.lease_until.is_(None), _COLUMNS.lease_until <= now),
                or_(_COLUMNS.retry_time.is_(None), _COLUMNS.retry_time <= now),
            )
            .order_by(turn, _COLUMNS.created_time, _COLUMNS.id)
            .limit(1)
        )
        with writing(self._engine) as connection:
            found = connection.execute(query.with_for_update(of=export_job, skip_locked=True)).one_or_none()
            if found is None:
                return None
            self._check_agreement(connection)
            if found.status is Status.STARTED and found.attempts >= self._max_attempts:
                move = _given_up(found.attempts, now)
            else:
                move = _claimed(found.status, found.attempts, now, length)
                self._take_turn(connection, found.workspace_id)
            taken = update(export_job).where(_COLUMNS.id == found.id).values(move).returning(*_JOB)
            job = _job(connection.execute(taken).mappings().one())
        return Lease(job, move["token"]) if job.status is Status.STARTED else job

    def _check_agreement(self, connection: Connection) -> None:
        """Raise OutdatedError if others have changed what was agreed on."""
        if self._agreed and self._agreed | kept_settings(connection, self._agreed) != self._agreed:
            raise OutdatedError

    def _take_turn(self, connection: Connection, workspace_id: str) -> None:
        latest = select(func.coalesce(func.max(export_turn.c.turn), 0) + 1).scalar_subquery()
        turn = insert_into(export_turn, connection.dialect).values(workspace_id=workspace_id, turn=latest)
        of, later = [export_turn.c.workspace_id], {"turn": turn.excluded.turn}
        connection.execute(turn.on_conflict_do_update(index_elements=of, set_=later))

    def _move(self, lease: Lease, values: Mapping[str, Any]) -> Job:
        """Change the job if the lease still holds, in one statement."""
        move = update(export_job).where(_COLUMNS.id == lease.job.id, _COLUMNS.token == lease.token).values(values)
        with writing(self._engine) as connection:
            row = connection.execute(move.returning(*_JOB)).mappings().one_or_none()
        if row is None:
            raise LeaseLostError(
                f"job {lease.job.id} has ended or was taken over by another worker: drop what was made of it"
            )
        return _job(row)

    def _notice(self, job_id: str, values: Mapping[str, Any]) -> None:
        with writing(self._engine) as connection:
            connection.execute(update(export_job).where(_COLUMNS.id == job_id, NOT_NOTIFIED).values(values))


def _active(job: Job) -> Select[Any]:
    """The job that has not ended of the same workspace, channel and range."""
    row = asdict(job)
    return select(_COLUMNS.id).where(ACTIVE, *(column == row[column.name] for column in _UNIQUE))


def _repeated(connection: Connection, workspace_id: str, idempotency: Idempotency) -> Job | None:
    of_name = (_COLUMNS.workspace_id == workspace_id, REPEATABLE, _COLUMNS.idempotency_key == idempotency.key)
    found = connection.execute(select(_COLUMNS.request_digest, *_JOB).where(*of_name)).mappings().one_or_none()
    if found is None:
        return None
    if found["request_digest"] != idempotency.digest:
        raise IdempotencyError
    return Job(**{column.name: found[column.name] for column in _JOB})


def _job(row: RowMapping) -> Job:
    return Job(**row)


def _claimed(status: Status, attempts: int, now: datetime, length: timedelta) -> dict[str, Any]:
    """What a claim changes. A job whose worker has gone is queued and started again in one step."""
    queued = status if status is Status.QUEUED else advance(status, Status.QUEUED)
    return {
        "status": advance(queued, Status.STARTED),
        "attempts": attempts + 1,
        "token": secrets.token_hex(16),
        "lease_until": now + length,
        "started_time": now,
        "retry_time": None,
        **NOTHING_KNOWN,
    }


def _given_up(attempts: int, now: datetime) -> dict[str, Any]:
    """What changes for a job that was interrupted once too often."""
    return _failed(now, given_up_message(attempts))


def _failed(now: datetime, error_message: str) -> dict[str, Any]:
    """What changes for a job that has failed."""
    message = error_message.replace("\0", "\ufffd").encode(errors="replace").decode()
    ended = {"status": advance(Status.STARTED, Status.FAILED), "finished_time": now, "error_message": message}
    return ended | _NO_LEASE
