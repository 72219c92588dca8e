"""The process in which a worker's exports are made: its program, and what goes to and fro.

The worker (see `runs`) writes to this process's standard input: how to begin, the parts, attempts, one at a time.
Through standard output come signs of life, log records, and an attempt's end. Both are streams of pickles. So
credentials stand in no argument and no environment, and whatever else prints goes to standard error.

It ends with its worker, whatever becomes of that: when its input ends, and on Linux by a signal of the kernel's, should
it hang by then. Signals to stop are the worker's to heed, though a terminal or a service manager sends them to all of
its processes: a running export has its grace. The worker begins this process with them blocked, as it could not ignore
them soon enough. It asks for its end by SIGUSR1, upon which an upload is still aborted in good order; what hangs is
killed.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from queue import SimpleQueue
from threading import Lock, Thread
from types import FrameType
from typing import Any, BinaryIO

from export_engine.engine import export_conversations
from export_engine.jobs.exporting import Attempt, Parts, make_archive
from export_engine.jobs.failures import ForeignError, failure_message, is_transient
from export_engine.model import Channel, Contact, Conversation, DateRange, Message
from export_engine.options import ExportOptions
from export_engine.report import Progress

__all__ = ["ENDED_BY", "IGNORED", "PROGRAM", "Alive", "Failed", "Setup", "Unusable", "main"]

#: What the interpreter is given to run. The search path comes first: the parts' modules are found as in the worker.
PROGRAM = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from export_engine.jobs.child import main; main(sys.stdin.buffer)"
)

#: The signal that asks for this process's end; None where there is no such.
ENDED_BY: signal.Signals | None = getattr(signal, "SIGUSR1", None)

#: The signals that are ignored.
IGNORED: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Setup:
    """How the process begins.

    `parent` is the worker's process, `folder` where temporary files go, `level` the lowest level that is logged,
    `pulse` how many seconds have to pass between two signs of life.
    """

    parent: int
    folder: str
    level: int
    pulse: float


@dataclass(frozen=True, slots=True)
class Alive:
    """An attempt has begun or goes on; with its progress, if there is news."""

    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt has failed: the error, the errors that caused it in turn, and the traceback."""

    error: Exception
    causes: tuple[Exception, ...]
    trace: str

    def raised(self) -> Exception:
        """The error as it was; its traceback has become a note."""
        for error, cause in pairwise([self.error, *self.causes]):
            error.__cause__ = cause
        self.error.add_note(f"In the process of the export:\n{self.trace}")
        return self.error


@dataclass(frozen=True, slots=True)
class Unusable:
    """The parts cannot be made of what was pickled."""

    why: str


def main(stream: BinaryIO) -> None:
    """Make the archives of the attempts that come, one after the other, until no more can."""
    # What else is printed here must not get in between.
    worker = _Worker(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    setup: Setup = pickle.load(stream)  # noqa: S301  # the worker's own
    _heed_signals(setup.parent)
    tempfile.tempdir = setup.folder
    logging.basicConfig(handlers=[_Relay(worker)], level=setup.level, force=True)
    inbox: SimpleQueue[bytes | None] = SimpleQueue()
    Thread(target=_read, args=(stream, inbox, worker, setup.folder), name="export-inbox", daemon=True).start()
    code = 1
    try:
        _work(inbox, worker, setup.pulse)
        code = 0
    except SystemExit:
        pass  # asked for
    except BaseException:
        logging.getLogger(__name__).exception("the process of an export has failed")
        raise
    finally:
        os._exit(code)  # threads of whatever hangs are not waited for


def _work(inbox: SimpleQueue[bytes | None], worker: _Worker, pulse: float) -> None:
    try:
        parts: Parts = pickle.loads(inbox.get() or b"")  # noqa: S301  # the worker's own
    except Exception as error:  # noqa: BLE001  # whatever a part raises
        worker.send(Unusable(f"{type(error).__name__}: {error}"))
        return
    _load(parts.options)
    while (packed := inbox.get()) is not None:
        attempt: Attempt = pickle.loads(packed)  # noqa: S301  # the worker's own
        worker.busy, worker.labels = True, attempt.labels
        worker.send(Alive())
        worker.send(_end_of(parts, attempt, _Pulse(worker, pulse)))
        worker.busy = False


def _load(options: ExportOptions) -> None:
    """Load what an export loads when it first needs it, by making one: that is no silence of any attempt's."""
    time_of = datetime(2026, 6, 1, tzinfo=UTC)
    one = Conversation("c", Contact(), [Message("m", time_of, "inbound", "customer")])
    with suppress(Exception):  # what is wrong is told by the attempts
        for _ in export_conversations(
            [one], channel=Channel("channel"), date_range=DateRange(time_of.date()), options=options, export_id="e"
        ):
            pass


def _end_of(parts: Parts, attempt: Attempt, pulse: _Pulse) -> object:
    """What an attempt comes to."""
    try:
        return make_archive(parts, attempt, pulse.beat)
    except Exception as error:  # noqa: BLE001  # whatever it is, the worker is to know
        chain = [error]
        while isinstance(cause := chain[-1].__cause__, Exception) and cause not in chain:
            chain.append(cause)
        crossing = [_portable(link, attempt.job_id) for link in chain]
        return Failed(crossing[0], tuple(crossing[1:]), "".join(traceback.format_exception(error)))


def _portable(error: Exception, job_id: str) -> Exception:
    """The error, or what stands for one that does not pickle."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):  # noqa: S301  # just made
            return error
    except Exception:  # noqa: BLE001, S110  # whatever an error's own methods raise, it cannot cross
        pass
    return ForeignError(
        f"{type(error).__name__}: {error}", transient=is_transient(error), message=failure_message(error, job_id)
    )


class _Worker:
    """The worker, as it is reached from here."""

    def __init__(self, stream: BinaryIO) -> None:
        self.busy = False
        #: Of the job whose export is made, or was the last.
        self.labels: dict[str, str | None] = {}
        self._stream = stream
        self._sending = Lock()

    def send(self, message: object) -> None:
        """Tell the worker; raises what pickling raises."""
        packed = pickle.dumps(message)
        with self._sending:
            self._stream.write(packed)
            self._stream.flush()


class _Pulse:
    """Signs of life, few enough to cost nothing."""

    def __init__(self, worker: _Worker, seconds: float) -> None:
        self._worker = worker
        self._seconds = seconds
        self._progress: Progress | None = None
        self._due = 0.0

    def beat(self, progress: Progress | None) -> None:
        """Note what was heard of the export, and tell when it is time."""
        self._progress = progress or self._progress
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._seconds
            self._worker.send(Alive(self._progress))


class _Relay(logging.Handler):
    """Sends log records to the worker, to be handled there."""

    def __init__(self, worker: _Worker) -> None:
        super().__init__()
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        """Send it, as text where it may not pickle."""
        try:
            record.msg, record.args = record.getMessage(), None
            record.__dict__ = self._worker.labels | vars(record)
            if record.exc_info:
                record.exc_text = logging.Formatter().formatException(record.exc_info)
                record.exc_info = None
            try:
                self._worker.send(record)
            except (pickle.PicklingError, TypeError, AttributeError):
                plain = {name: repr(value) for name, value in vars(record).items() if not _is_plain(value)}
                record.__dict__.update(plain)
                self._worker.send(record)
        except Exception:  # noqa: BLE001  # as all handlers do
            self.handleError(record)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _read(stream: BinaryIO, inbox: SimpleQueue[bytes | None], worker: _Worker, folder: str) -> None:
    """Take in what the worker sends; end with it."""
    try:
        while True:
            inbox.put(pickle.load(stream))  # noqa: S301  # the worker's own
    except Exception:  # noqa: BLE001  # the worker has gone, in whatever state it left the stream
        if worker.busy:
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(1)
        inbox.put(None)


def _heed_signals(parent: int) -> None:
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)
    if ENDED_BY is not None:
        signal.signal(ENDED_BY, _end)
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415  # for this alone

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has died meanwhile
            os._exit(1)


def _end(_number: int, _frame: FrameType | None) -> Any:
    raise SystemExit(1)
