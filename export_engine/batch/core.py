"""From a lake's ordered rows to archives and their receipts: the one logic, whatever engine put the rows in order.

What it guarantees, and by what:

- **A receipt is the commit.** An archive is there whole or not at all; only then its receipt is written, a small JSON
  file beside the archives. A key whose receipt is there is not made again. So a retry, a second copy of the same task
  or a second run of the batch ends with the same objects.
- **No row is lost between two keys.** The rows of a run must all be exported: that is checked before the archive's last
  byte is sent, so a row that its engine put into another period than the export does fails the key.
- **One failing key fails alone.** It is one result with its reason; the others go on.
- **Input that was not ordered is found.** A key that comes back withdraws its archive and its receipt, and fails.

A run of rows is never held whole: what exceeds `SMALL_ROWS` is streamed. Runs that do not are held, a few at a time,
and exported side by side: an object store's latency is most of what they cost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import IO
from urllib.parse import quote

import pyarrow as pa

from export_engine.batch.claims import Claims
from export_engine.batch.plan import BatchPlan, Key, Period
from export_engine.batch.receipts import (
    ArchiveResult,
    Counted,
    Receipt,
    failed,
    is_whole,
    kept,
    read_receipt,
    reason,
    receipt_path,
    result,
    time_text,
    warned,
)
from export_engine.batch.rows import RunRows
from export_engine.batch.runs import Run, runs
from export_engine.batch.target import Target, open_target
from export_engine.engine import Export, backend_name, export_conversations
from export_engine.errors import ExportError, OptionError
from export_engine.model import Channel
from export_engine.report import ExportReport, MemberRecord
from export_engine.sources import SourceContext

__all__ = ["SMALL_BYTES", "SMALL_ROWS", "export_partition"]

#: Runs of up to this many rows, and this many bytes, are held and exported side by side.
SMALL_ROWS = 20_000
SMALL_BYTES = 8 << 20

#: Bytes of a file's or a folder's name.
_LONGEST_NAME = 255


def export_partition(
    batches: Iterable[pa.RecordBatch], plan: BatchPlan, *, parallel: int = 8, taken: Iterable[str] = ()
) -> Generator[ArchiveResult, None, None]:
    """Export rows that stand in order, a result for each channel and period, in that order.

    `batches` have `runs.LAKE_SCHEMA`'s columns, ordered by channel_id, period, conversation_id, message_time and
    message_id (text, bytewise). Nothing is done before the first result is asked for; what is asked for no more is left
    undone. `parallel` is how many small archives are made side by side. `taken` are paths of archives that other keys
    than those of these rows have.

    Raises OptionError for a plan whose backend is not here, ArchiveError for a target that cannot be written to, and
    whatever `batches` raises.
    """
    here = backend_name(plan.options)
    if plan.backend not in (None, here):
        raise OptionError(
            f"the plan is for {plan.backend}, and this process deflates with {here}: install the same release and "
            "libraries everywhere",
            option="backend",
        )
    work = _Work(plan, open_target(plan.target), plan.periods(), here)
    work.target.check()
    for path in taken:
        work.paths.claim(path, "")
    begun = Claims()
    waiting: deque[tuple[Key, Future[ArchiveResult]]] = deque()
    with work.target.claimed(), ThreadPoolExecutor(parallel, thread_name_prefix="export-engine-batch") as pool:
        try:
            for run in runs(batches):
                key = plan.key(run.channel_id, work.periods[run.period])
                if begun.claim(key.hash, "") is None:
                    task = _begun(pool, work, run)
                else:
                    under_way = [before for its, before in waiting if its == key]
                    task = pool.submit(work.withdraw, key, under_way)
                waiting.append((key, task))
                while len(waiting) > parallel + 2 or (waiting and waiting[0][1].done()):
                    yield waiting.popleft()[1].result()
            while waiting:
                yield waiting.popleft()[1].result()
        finally:
            for _, task in waiting:
                task.cancel()


def _begun(pool: ThreadPoolExecutor, work: _Work, run: Run) -> Future[ArchiveResult]:
    """Have a run exported: by the pool if it is small, else here and now, on as many threads as the options say."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in run.batches:
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows > SMALL_ROWS or size > SMALL_BYTES:
            break
    else:
        return pool.submit(work.export, run, held, 1)
    done: Future[ArchiveResult] = Future()
    done.set_result(work.export(run, chain(held, run.batches), work.plan.options.threads))
    return done


@dataclass(frozen=True, slots=True)
class _Work:
    plan: BatchPlan
    target: Target
    periods: tuple[Period, ...]
    backend: str
    #: Whose each path is: what one key has written, no other may replace.
    paths: Claims = field(default_factory=Claims)

    def export(self, run: Run, batches: Iterable[pa.RecordBatch], threads: int | None) -> ArchiveResult:
        """One archive and its receipt, or why there is none."""
        period = self.periods[run.period]
        key = self.plan.key(run.channel_id, period)
        try:
            if (receipt := read_receipt(self.target, key, self.plan.backend)) is not None:
                if is_whole(self.target, receipt):
                    return self._kept(receipt, RunRows(run, batches))
                self.target.delete(receipt_path(key))  # before what it tells of is replaced, be it only in part
            return self._made(run, key, period, RunRows(run, batches, dedupe=self.plan.dedupe), threads)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this key's alone
            return failed(key, reason(error))

    def _made(self, run: Run, key: Key, period: Period, rows: RunRows, threads: int | None) -> ArchiveResult:
        export = export_conversations(
            rows,
            channel=Channel(run.channel_name, run.channel_phone, run.channel_id),
            date_range=period.date_range,
            options=replace(self.plan.options, threads=threads, sha256=True),
            export_id=key.export_id,
        )
        folder = self.plan.layout.format(
            period=key.period, channel=export.file_name.rsplit("_", 2)[0], channel_id=_path_part(key.channel_id)
        )
        path = "/".join(part for part in (folder.strip("/"), export.file_name) if part)
        if any(len(part.encode()) > _LONGEST_NAME for part in path.split("/")):
            raise ExportError(
                f"the layout gives a folder's name of more than {_LONGEST_NAME} bytes, and file systems take no more: "
                "choose one without {channel_id}"
            )
        if self.paths.claim(path, key.hash) is False:  # ids have 32 bits
            raise ExportError(
                f"{path} is the name of another channel's archive too: have folders of their own, with a layout that "
                "has {channel_id}"
            )
        self.target.write(path, _Checked(export, rows))
        report = export.report
        receipt = Receipt(
            channel_id=key.channel_id,
            period=key.period,
            label=key.label,
            digest=key.digest,
            backend=report.backend,
            path=path,
            archives=report.archives,
            rows_read=rows.count,
            rows=report.rows,
            conversations=report.conversations,
            bytes=report.bytes,
            sha256=report.sha256,
            first_time=time_text(report.first_time),
            last_time=time_text(report.last_time),
        )
        self._commit(receipt_path(key), receipt)
        doubled = (
            f"messages with the id of the message before them: {report.doubled_ids:,}; if rows are there twice, "
            "--dedupe keeps one of each (in Python dedupe=True)"
        )
        return warned(result(receipt, "done"), doubled if report.doubled_ids else None)

    def _commit(self, at: str, receipt: Receipt) -> None:
        """Write a receipt; where that fails the archive goes too."""
        data: bytes | None = None
        try:
            data = receipt.encoded()
            self.target.put(at, data)
        except BaseException as error:
            try:
                # The store may have taken it all the same, or a second copy of this task was quicker.
                there = data is not None and self.target.read(at) == data
                if not there:
                    self._delete(receipt.paths)
            except Exception as why:  # noqa: BLE001  # whatever it is, it must not hide what came first
                error.add_note(f"{receipt.path} is left without a receipt, as it could not be removed: {reason(why)}")
                raise error from None
            if not (there and isinstance(error, Exception)):
                raise

    def _kept(self, receipt: Receipt, rows: RunRows) -> ArchiveResult:
        """A key that was done before: its rows are counted, and must be as many and of the same time."""
        options = self.plan.options
        for _ in rows.batches(SourceContext(options.tzinfo, strict=options.strict, epoch=options.epoch)):
            pass
        self.paths.claim(receipt.path, receipt.key.hash)
        now = Counted(receipt.channel_id, receipt.period, rows.count, rows.first, rows.last)
        return kept(receipt, now)

    def _delete(self, paths: Sequence[str]) -> None:
        """The first last: where it is, all were."""
        for path in reversed(paths):
            self.target.delete(path)

    def withdraw(self, key: Key, under_way: Sequence[Future[ArchiveResult]]) -> ArchiveResult:
        """Take archives back whose channel and period came again: they have not all of its rows.

        `under_way` are exports of it that may not have ended.
        """
        for before in under_way:
            before.result()
        try:
            data = self.target.read(receipt_path(key))
            if data is not None:
                receipt = Receipt.decoded(data)
                self.target.delete(receipt_path(key))
                self._delete(receipt.paths)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this key's alone
            return failed(key, f"its rows do not stand together, and it could not be withdrawn: {reason(error)}")
        return failed(
            key,
            "its rows do not stand together: order them by channel_id, period, conversation_id, message_time, "
            "message_id; what had been made of it is withdrawn",
        )


class _Checked:
    """An export whose end is reached only if all rows that were read are in it."""

    def __init__(self, export: Export, rows: RunRows) -> None:
        self.file_name = export.file_name
        self.max_archive_size = export.max_archive_size
        self._export = export
        self._rows = rows

    @property
    def report(self) -> ExportReport:
        """As the export's own."""
        return self._export.report

    def __iter__(self) -> Iterator[bytes]:
        held = b""
        for chunk in self._export:
            if held:
                yield held
            held = chunk
        self._check()
        yield held

    def archives(self, file_name: str, *, spool: Callable[[], IO[bytes]]) -> Generator[Iterator[bytes], None, None]:
        """As the export's own; the first archive appears after the end, and so not at all if there is an error."""
        yield from self._export.archives(file_name, spool=spool)
        self._check()

    def listen(self, listener: Callable[[MemberRecord], object], *, sha256: bool = False) -> None:
        """As the export itself."""
        self._export.listen(listener, sha256=sha256)

    def _check(self) -> None:
        if self._export.report.rows != self._rows.given:
            raise ExportError(
                f"{self._rows.given} messages were read and {self._export.report.rows} lie in the period: the rows "
                "were put into periods by another time zone, or by another column, than the plan's"
            )


def _path_part(channel_id: str) -> str:
    """A channel's id as a part of a path, of which no other id has the same."""
    quoted = quote(channel_id, safe="")
    return quoted.replace(".", "%2E") if set(quoted) == {"."} else quoted
