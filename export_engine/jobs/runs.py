"""Where a worker's exports are made: in a process of its own, which is killed if it hangs; else in the worker's thread.

A hang (a pipe that nobody writes to, a server that takes a connection and says nothing, a drive that has gone) cannot
be ended from within its process. So each export is made in a child (see `child`) that does nothing else, holds no lease
and knows no store of jobs. It is ended when

- it has run for `max_run`, or has read no row and written no byte for `max_silence`,
- its worker may not go on with it: the lease is lost, the job cancelled, the grace over,
- its worker dies.

Starting one takes about half a second, so it is kept for the next export, until one fails. Its temporary files stand in
a folder of its own, which goes with it.

Directory, source and archive store have to pickle for that, and to mean the same in the child, which gets copies of
them: what a copy notes nobody sees. Those of `export_engine.jobs` pickle, but for archives in memory. Where one does
not, exports are made in the worker's thread. Then `max_run` is held against them whenever they read or write, and
nothing ends one that hangs.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Protocol

from export_engine.errors import OptionError
from export_engine.jobs.child import ENDED_BY, IGNORED, PROGRAM, Alive, Failed, Setup, Unusable
from export_engine.jobs.errors import LimitError, RunLostError
from export_engine.jobs.exporting import Attempt, Made, Parts, make_archive
from export_engine.jobs.scratch import private_folder
from export_engine.report import Progress

__all__ = ["Keeper", "Runs"]

#: Seconds after which it is looked again whether an export may go on.
_LOOK = 0.1
#: Seconds between two signs of life at most; a fifth of the longest silence, if that is shorter.
_PULSE = 0.5
#: Seconds that a child may take to begin, be `max_silence` shorter.
_START = 60.0
#: Seconds that a child has to abort its upload before it is killed, and seconds to be gone then.
_PATIENCE = 2.0

_log = logging.getLogger(__name__)


class Keeper(Protocol):
    """What knows whether an export may go on."""

    def check(self, progress: Progress | None = None) -> None:
        """Take note of the progress; raise if the export must not go on."""
        ...


class Runs:
    """Makes archives, each within its limits. Safe to share between threads."""

    def __init__(self, parts: Parts, *, max_run: timedelta, max_silence: timedelta) -> None:
        """Raises OptionError for a limit that is not longer than nothing."""
        for option, limit in (("max_run", max_run), ("max_silence", max_silence)):
            if limit <= timedelta(0):
                raise OptionError(f"{option} is {limit}: it must be longer than nothing", option=option)
        self._parts, self._max_run, self._max_silence = parts, max_run, max_silence
        self._spare: list[_Child] = []
        self._in_thread = False
        weakref.finalize(self, _end_all, self._spare)

    def make(self, attempt: Attempt, keeper: Keeper) -> Made:
        """Make an attempt's archive.

        Raises LimitError, RunLostError if the process of the export has ended by itself, what `keeper.check` raises,
        and what the export raises, as it was raised.
        """
        while not self._in_thread:
            child = self._spare_one()
            kept = child is not None
            if child is None and (child := self._new()) is None:
                break
            made = self._made_by(child, attempt, keeper, kept=kept)
            if isinstance(made, Made):
                return made
            if made is not None:
                self._stay_in_thread(made.why)
        return self._made_here(attempt, keeper)

    def close(self) -> None:
        """End what is kept for the next export."""
        _end_all(self._spare)

    def _made_here(self, attempt: Attempt, keeper: Keeper) -> Made:
        end = time.monotonic() + self._max_run.total_seconds()

        def heard(progress: Progress | None) -> None:
            keeper.check(progress)
            if time.monotonic() >= end:
                raise LimitError("max_run", self._max_run)

        return make_archive(self._parts, attempt, heard)

    def _made_by(self, child: _Child, attempt: Attempt, keeper: Keeper, *, kept: bool) -> Made | Unusable | None:
        """What a child makes; None if it was kept and gone before it began."""
        try:
            child.begin(attempt)
            ended = self._end_of(child, keeper, kept=kept)
        except BaseException:
            child.end()
            raise
        if isinstance(ended, Made):
            self._spare.append(child)
            return ended
        child.end()
        if isinstance(ended, Failed):
            raise ended.raised()
        return ended

    def _end_of(self, child: _Child, keeper: Keeper, *, kept: bool) -> Made | Failed | Unusable | None:
        """Wait for the end of an attempt, within its limits."""
        heard = began = time.monotonic()
        begun, silence = False, self._max_silence.total_seconds()
        while True:
            message = child.heard(_LOOK)
            now = time.monotonic()
            match message:
                case Alive():
                    begun, heard = True, now
                    keeper.check(message.progress)
                case Made() | Failed() | Unusable():
                    return message
                case _Lost():
                    keeper.check()
                    if kept and not begun:
                        return None
                    raise RunLostError(child.code)
            keeper.check()
            if now - began >= self._max_run.total_seconds():
                raise LimitError("max_run", self._max_run)
            if now - heard >= (silence if begun else max(silence, _START)):
                raise LimitError("max_silence", self._max_silence)

    def _spare_one(self) -> _Child | None:
        try:
            return self._spare.pop()
        except IndexError:
            return None

    def _new(self) -> _Child | None:
        """A new child; None if the parts do not pickle."""
        try:
            packed = pickle.dumps(self._parts)
        except Exception as error:  # noqa: BLE001  # whatever a part raises, it does not pickle
            self._stay_in_thread(f"{type(error).__name__}: {error}")
            return None
        return _Child(packed, pulse=min(_PULSE, self._max_silence.total_seconds() / 5))

    def _stay_in_thread(self, why: str) -> None:
        self._in_thread = True
        _log.warning("exports are made in the worker's thread, where one that hangs cannot be ended: %s", why)


class _Lost:
    """A child has ended, or what comes from it cannot be read."""


class _Child:
    """A process that makes archives; it is used by one thread at a time."""

    def __init__(self, parts: bytes, *, pulse: float) -> None:
        folder, self._remove_folder = private_folder()
        self._owner = os.getpid()
        self._messages: SimpleQueue[Any] = SimpleQueue()
        try:
            with _blocked_signals():
                self._process = subprocess.Popen(  # noqa: S603  # this very interpreter, and our own text
                    [sys.executable, "-P", "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
        except BaseException:
            self._remove_folder()
            raise
        level = logging.getLogger().getEffectiveLevel()
        self._first = [sys.path, Setup(self._owner, folder, level, pulse), parts]
        self._begun = False
        self._talk = Thread(target=self._listen, name="export-child", daemon=True)

    @property
    def code(self) -> int | None:
        """Its exit code, once it has ended."""
        try:
            return self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            return None

    def begin(self, attempt: Attempt) -> None:
        """Have it make an attempt's archive; whether it does so is heard."""
        packed = pickle.dumps(attempt)
        if self._begun:
            self._send(packed)
        else:  # a thread sends what comes first: a child that hangs as it starts must not hold this one
            self._begun = True
            self._first.append(packed)
            self._talk.start()

    def heard(self, seconds: float) -> object:
        """What comes from it within that time, or None."""
        try:
            return self._messages.get(timeout=seconds)
        except Empty:
            return None

    def end(self) -> None:
        """End it, in good order if it can, and remove what it leaves."""
        if os.getpid() != self._owner:  # a copy made by a fork: it is the other process's
            return
        process = self._process
        if process.poll() is None:
            if ENDED_BY is None:
                process.terminate()
            else:
                process.send_signal(ENDED_BY)
        if self.code is None:
            process.kill()
            if self.code is None:
                _log.error("process %d of an export cannot be killed", process.pid)
        if self._begun:
            self._talk.join(_PATIENCE)
        for stream in (process.stdin, process.stdout):
            try:
                if stream is not None and not (self._begun and self._talk.is_alive()):
                    stream.close()
            except OSError:  # what was not sent is not missed
                pass
        self._remove_folder()

    def _send(self, *frames: object) -> None:
        assert self._process.stdin is not None  # noqa: S101  # a pipe
        try:
            for frame in frames:
                pickle.dump(frame, self._process.stdin)
            self._process.stdin.flush()
        except OSError:  # it has ended: that is heard
            pass

    def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  # a pipe
        self._send(*self._first)
        self._first.clear()
        try:
            while True:
                message = pickle.load(self._process.stdout)  # noqa: S301  # our own child's
                if isinstance(message, logging.LogRecord):
                    _log_here(message)
                else:
                    self._messages.put(message)
        except Exception as error:  # noqa: BLE001  # it has ended, or what it says makes no sense
            if not isinstance(error, EOFError):
                _log.warning("the process of an export cannot be understood", exc_info=True)
            self._messages.put(_Lost())


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """What is begun meanwhile has the signals blocked that it is going to ignore; in this process others take them."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _log_here(record: logging.LogRecord) -> None:
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def _end_all(children: list[_Child]) -> None:
    while children:
        children.pop().end()
