"""The export: a source of conversations in, the bytes of one ZIP out. Joins source, pipeline and sink.

The consumer's pull drives everything. Each chunk asked for reads as much of the source as it takes, and no more than
a bounded window ahead:

    source -> groups -> tasks on the workers (rows, CSV, deflate, layout) -> in order: names, archive -> chunk

An export that fails or is closed early stops its workers, closes its source and lets the exception through as it was
raised. What it had handed out by then has no central directory: no ZIP reader takes it for an archive.
"""

from __future__ import annotations

import contextvars
import os
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, Unpack, cast

from export_engine.errors import OptionError, StateError
from export_engine.model import Channel, Conversation, DateRange
from export_engine.options import ExportOptions, OptionKeywords, check_kind, chosen_options
from export_engine.pipeline.deflate import backend
from export_engine.pipeline.flow import Pipeline
from export_engine.pipeline.members import MemberSpec, member_spec
from export_engine.pipeline.naming import zip_name
from export_engine.pipeline.sets import ArchiveSet, Cut
from export_engine.pipeline.workers import Workers
from export_engine.pipeline.writer import Writer
from export_engine.report import ArchiveRecord, ExportReport, MemberRecord, Progress, archive_name
from export_engine.sinks.headers import download_headers
from export_engine.sources import Source, SourceContext
from export_engine.sources.open import source_of
from export_engine.times import instant

if TYPE_CHECKING:  # obstore has it for type checkers alone
    from obstore.store import ObjectStore

__all__ = ["Export", "backend_name", "export_conversations"]


def export_conversations(
    source: Source | Iterable[Conversation] | Any,
    *,
    channel: Channel,
    date_range: DateRange,
    options: ExportOptions | None = None,
    export_id: str | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    **keywords: Unpack[OptionKeywords],
) -> Export:
    """Prepare the export of one channel's conversations over a date range; nothing is read yet.

    `source` is an iterable of `Conversation`, a `pyarrow.Table`, `RecordBatch`, `RecordBatchReader`, an iterable of
    record batches, any object with `__arrow_c_stream__`, or what one of the readers in `export_engine.sources`
    returned. Rows must stand together by conversation.

    - `options`: see `ExportOptions`. Its fields may be given as keywords instead (`timezone="Asia/Taipei"`), or
      besides: then they replace those of `options`.
    - `export_id`: the ZIP name's last part, 1 to 64 of A-Z, a-z, 0-9 and `-`; random by default (8 hexadecimal digits).
    - `on_progress`: called with a `Progress` about once for every few thousand rows. What it raises ends the export.

    The bytes are the same for the same source, options and `export_id`, whatever the threads, batch sizes or kind of
    source.

    Raises OptionError for an option that is unknown or cannot work. Iterating raises SourceError (SchemaError,
    RowError, GroupingError) for bad input, ArchiveError for a row that no member can hold, and whatever the source or
    a callback raises.
    """
    chosen = chosen_options(options, keywords)
    check_kind("channel", channel, Channel)
    for name in ("name", "phone", "id"):
        if not isinstance(value := getattr(channel, name), str | None):
            raise OptionError(f"channel.{name} is {value!r}: it must be text, or None", option="channel")
    check_kind("date_range", date_range, DateRange)
    return Export(
        source_of(source),
        zip_name(channel, date_range.start, os.urandom(4).hex() if export_id is None else export_id),
        member_spec(chosen, channel, date_range),
        chosen,
        on_progress,
    )


def _processors() -> int:
    """Processors this process may use, as far as the platform tells; deflating gains little beyond eight threads."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(len(affinity(0)) if affinity else os.cpu_count() or 1, 8)


def _next(chunks: Iterator[bytes]) -> bytes | BaseException:
    """The next chunk, `b""` at the end, or what was raised: as a future's exception asyncio would exchange some."""
    try:
        return next(chunks, b"")
    except BaseException as error:  # noqa: BLE001  # it is raised by whoever asked
        return error


def backend_name(options: ExportOptions) -> str:
    """The library and level that would deflate here, as reports name it: it decides the bytes beside the options."""
    return backend(options.compression).name


class Export:
    """One export, made by `export_conversations` and used once.

    Take its bytes by iterating it, with `for` or `async for` (chunks of any size, none empty), or have it written by
    `write_to` or `upload_to`. With `max_archive_size` these may write several archives; one that is iterated is one
    ZIP, and refuses that option. `file_name`, `headers` and `inputs` are known from the start, `report` after the end.
    What is begun must be driven to its end or closed; closing stops the workers and closes the source, and leaving a
    `with` or `async with` block closes.
    """

    def __init__(
        self,
        source: Source,
        file_name: str,
        spec: MemberSpec,
        options: ExportOptions,
        on_progress: Callable[[Progress], object] | None,
    ) -> None:
        self.file_name = file_name
        self._source = source
        self._spec = spec
        self._options = options
        self._on_progress = on_progress
        self._hashed = False
        self._listeners: list[Callable[[MemberRecord], object]] = []
        self._state = "not begun"
        # Weak, so that an iterator that nobody holds any more ends its work as any generator does.
        self._running: weakref.ref[Generator[bytes | Cut, None, None]] | None = None
        # The thread that does the work of an asynchronous iteration, while there is one.
        self._thread: ThreadPoolExecutor | None = None
        self._stopped: Future[None] | None = None
        self._report: ExportReport | None = None

    def __repr__(self) -> str:
        return f"<Export {self.file_name!r}, {self._state}>"

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers for a response that carries the archive: Content-Type, and its name in Content-Disposition."""
        return download_headers(self.file_name)

    @property
    def inputs(self) -> tuple[str | os.PathLike[str] | int, ...]:
        """The files that the source reads, as far as it says so: no file sink writes over one of them.

        An integer is a descriptor that is open already.
        """
        inputs: tuple[str | os.PathLike[str] | int, ...] = getattr(self._source, "paths", ())
        return inputs

    @property
    def report(self) -> ExportReport:
        """What was exported. Raises StateError before the last chunk has been taken, or after a failure."""
        if self._report is None:
            raise StateError(f"the report exists once the export has been iterated to its end; it is {self._state}")
        return self._report

    @property
    def max_archive_size(self) -> int | None:
        """The most bytes of an archive, for sinks; None if there is one archive, of any size."""
        return self._options.archive_limit

    def listen(self, listener: Callable[[MemberRecord], object], *, sha256: bool = False) -> None:
        """Have `listener` called with each member's record, in the archive's order, once the member is written.

        With `sha256` the records carry each CSV's SHA-256, which costs time; with `max_archive_size` the report has
        that of each archive too. What `listener` raises ends the export. Raises StateError once the export has begun.
        """
        if self._state != "not begun":
            raise StateError(f"this export is {self._state}: ask for its members before the first chunk")
        self._spec = replace(self._spec, hashed=self._spec.hashed or sha256)
        self._hashed = self._hashed or (sha256 and self.max_archive_size is not None)
        self._listeners.append(listener)

    def __iter__(self) -> Iterator[bytes]:
        """The archive's bytes, once. Raises StateError the second time, OptionError with `max_archive_size`."""
        return cast("Iterator[bytes]", self._begin_one())  # without a limit there is no cut

    def archives(
        self, file_name: str | None = None, *, spool: Callable[[], IO[bytes]] = TemporaryFile
    ) -> Generator[Iterator[bytes], None, None]:
        """The archives one after another, each as its bytes, for sinks that write several; once, as iterating.

        Each is to be taken to its end before the next is asked for. `file_name` is what the first one is called in the
        report (default: as the export); the others get a number, see `archive_name`. `spool` opens a file for one
        member too long to hold, at most `max_archive_size` bytes: it is gone when it is closed.
        """
        chunks = self._begin(file_name, spool)
        more = True

        def one() -> Iterator[bytes]:
            nonlocal more
            for chunk in chunks:
                if isinstance(chunk, Cut):
                    return
                yield chunk
            more = False

        try:
            while more:
                yield one()
        finally:
            chunks.close()

    def _begin_one(self) -> Generator[bytes | Cut, None, None]:
        """Begin an export that is one archive."""
        if self.max_archive_size is not None:
            raise OptionError(
                "an export that is iterated is one ZIP: leave max_archive_size out, or use write_to or upload_to, "
                "which write several",
                option="max_archive_size",
            )
        return self._begin()

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """The archive's bytes, once, for an asyncio event loop that goes on meanwhile.

        All work is done in one thread, the source's too, with the context variables of whoever began: a chunk at a
        time, when it is asked for. An iteration that is cancelled, closed or forgotten (a client that went away) ends
        the work when the step under way has ended; nothing waits for that.
        """
        import asyncio  # noqa: PLC0415  # a tenth of what importing this takes, and who gets here has it

        chunks = self._begin_one()
        loop = asyncio.get_running_loop()
        # One context for all steps, as a generator would have in a thread of its own.
        step = partial(contextvars.copy_context().run, _next, cast("Iterator[bytes]", chunks))
        thread = self._thread = ThreadPoolExecutor(1, thread_name_prefix="export-engine-async")
        try:
            while chunk := await loop.run_in_executor(thread, step):
                if isinstance(chunk, BaseException):
                    raise chunk
                yield chunk
                if self._thread is not thread:
                    raise StateError("this export was closed while it was iterated: what was handed out is no archive")
        finally:
            chunk = b""  # an error would hold this frame, and this frame the error
            self._stop(chunks)

    def close(self) -> None:
        """Stop the work if it has begun, and close the source; a finished export stays as it is.

        To be called from the thread that iterates. An asynchronous iteration is told to stop, and not waited for: that
        is what `aclose` does.
        """
        running = self._running() if self._running else None
        if running is not None:
            if self._thread is not None:
                self._stop(running)
            elif self._stopped is None:  # else it is its thread's to close
                running.close()
        if self._state == "not begun":
            self._state = "closed"

    async def aclose(self) -> None:
        """The same for an asynchronous iteration, and wait until its thread has closed the source."""
        import asyncio  # noqa: PLC0415  # as above

        self.close()
        if self._stopped is not None:
            await asyncio.shield(asyncio.wrap_future(self._stopped))  # cancelled or not, the source is to be closed

    def _stop(self, chunks: Generator[bytes | Cut, None, None]) -> None:
        """Have an asynchronous iteration's thread close the source, behind the step under way, and end."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopped = thread.submit(chunks.close)
            thread.shutdown(wait=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def write_to(
        self,
        target: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        manifest: str | os.PathLike[str] | None = None,
    ) -> Path:
        """Write the archive to a file and return its path; it appears there whole or not at all.

        With `max_archive_size` there may be more, beside the first and numbered (`x.zip`, `x-2.zip`): all or none of
        them; `report.archives` names them.

        `target` is a directory, which gets the archive under its `file_name`, or a file's path. `manifest` is where to
        write the members' records, as JSON Lines or (`.parquet`) Parquet; it makes them carry SHA-256. What must not
        be lost is not written over: see `export_engine.sinks.write_archive`, also for the errors.
        """
        from export_engine.sinks.file import write_archive  # noqa: PLC0415  # a sink is loaded when it is used

        return write_archive(self, target, overwrite=overwrite, manifest=manifest)

    def upload_to(
        self,
        target: str,
        *,
        store: ObjectStore | None = None,
        overwrite: bool = False,
        manifest: str | os.PathLike[str] | None = None,
    ) -> str:
        """Upload the archive to an object store and return its URL; the object appears whole or not at all.

        With `max_archive_size` there may be more, as in `write_to`; the first appears last.

        `target` is a URL such as `s3://bucket/prefix/`, which gets the archive under its `file_name`, or of the object
        itself; or, with a `store` of obstore's, a path within it. `manifest` is as in `write_to`, or a URL. Credentials
        come from the cloud's own environment variables. See `export_engine.sinks.upload_archive`, also for the errors.

        Needs obstore, else raises ModuleNotFoundError: `pip install 'export-engine[cloud]'`.
        """
        from export_engine.sinks.object import upload_archive  # noqa: PLC0415  # the same

        return upload_archive(self, target, store=store, overwrite=overwrite, manifest=manifest)

    def _begin(
        self, file_name: str | None = None, spool: Callable[[], IO[bytes]] | None = None
    ) -> Generator[bytes | Cut, None, None]:
        if self._state != "not begun":
            raise StateError(
                f"this export is {self._state}, and can be used once: call export_conversations again for another"
            )
        self._state = "running"
        chunks = self._chunks(file_name or self.file_name, ArchiveSet(self.max_archive_size, spool))
        self._running = weakref.ref(chunks)
        return chunks

    def _chunks(self, file_name: str, archives: ArchiveSet) -> Generator[bytes | Cut, None, None]:
        began = perf_counter()
        spec, options = self._spec, self._options
        hashed = options.sha256 or self._hashed
        digests = [sha256()]
        threads = options.threads or _processors()
        workers = Workers(threads)
        context = SourceContext(
            options.tzinfo,
            strict=options.strict,
            epoch=options.epoch,
            submit=workers.submit if threads > 1 else None,
        )
        writer = Writer(
            spec,
            archives=archives,
            on_member=self._tell if self._listeners else None,
            on_progress=self._telling(context),
        )
        batches = self._source.batches(context)
        try:
            for chunk in Pipeline(spec, workers, writer, threads).chunks(batches):
                if isinstance(chunk, Cut):
                    digests.append(sha256())
                elif hashed:
                    digests[-1].update(chunk)
                yield chunk
        except GeneratorExit:
            self._state = "closed"
            raise
        except BaseException:
            self._state = "failed"
            raise
        finally:
            workers.close()
            archives.close()
            batches.close()
        totals = writer.totals
        records = tuple(
            ArchiveRecord(
                archive_name(file_name, number), ended.bytes, digest.hexdigest() if hashed else None, ended.members
            )
            for number, (ended, digest) in enumerate(zip(archives.ended, digests, strict=True), 1)
        )
        self._report = ExportReport(
            file_name=file_name,
            bytes=archives.position,
            sha256=records[0].sha256 if len(records) == 1 else None,
            members=archives.members,
            conversations=totals.conversations,
            rows=totals.rows,
            csv_bytes=totals.csv_bytes,
            first_time=None if totals.first is None else instant(totals.first),
            last_time=None if totals.last is None else instant(totals.last),
            replaced_surrogates=context.replaced_surrogates,
            long_cells=totals.long_cells,
            doubled_ids=totals.doubled_ids,
            ignored_columns=context.ignored_columns,
            split=tuple(totals.split),
            backend=spec.backend.name,
            elapsed=perf_counter() - began,
            archives=records,
        )
        self._state = "finished"

    def _telling(self, context: SourceContext) -> Callable[[Progress], object] | None:
        """What is told of progress, with what the source knows of it."""
        on_progress = self._on_progress
        if on_progress is None:
            return None
        return lambda now: on_progress(replace(now, share=context.share() if context.share else None))

    def _tell(self, record: MemberRecord) -> None:
        for listener in self._listeners:
            listener(record)
