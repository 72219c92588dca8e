"""A few threads that do an export's tasks, the consumer's own among them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

__all__ = ["Result", "Workers"]

_T = TypeVar("_T")

#: Fewer tasks than these are done before a thread would have begun: no thread is started for them.
_FEW = 3


@dataclass(frozen=True, slots=True)
class Result(Generic[_T]):
    """What a task gives, to be called for; `done` tells whether that would not wait."""

    wait: Callable[[], _T]
    done: Callable[[], bool] = lambda: False

    def __call__(self) -> _T:
        """Wait for the task's result, or raise its exception."""
        return self.wait()


class Workers:
    """A few threads that run tasks, the caller's own among them; results are taken in the order the caller wants.

    `threads - 1` threads are started. Whoever asks for a result that is not there yet meanwhile runs tasks that nobody
    has begun, oldest first: so `threads` are at work, no more, and none stands idle where there is work. With one
    thread a task runs when its result is asked for.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="export-engine") if threads > 1 else None
        self._waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._submitted = 0

    def submit(self, task: Callable[..., _T], *arguments: object) -> Result[_T]:
        """Start a task."""
        if self._pool is None:
            return Result(partial(task, *arguments))
        future: Future[_T] = Future()
        self._waiting.append((partial(task, *arguments), future))
        self._submitted += 1
        if self._submitted >= _FEW:
            for _ in range(_FEW if self._submitted == _FEW else 1):
                self._pool.submit(self._run_next)
        return Result(partial(self._result, future), future.done)

    def _result(self, future: Future[_T]) -> _T:
        while not future.done() and self._run_next():
            pass
        return future.result()

    def _run_next(self) -> bool:
        """Run the oldest task that nobody has begun; False if there is none."""
        try:
            task, future = self._waiting.popleft()
        except IndexError:
            return False
        try:
            future.set_result(task())
        except BaseException as error:
            future.set_exception(error)  # whoever asks for the result gets it
            if not isinstance(error, Exception):
                raise  # an interrupt is for this thread, whatever it is doing
        return True

    def close(self) -> None:
        """Forget what has not begun and wait for what has: no thread outlives this call."""
        with suppress(IndexError):  # a worker may take the last one
            while True:
                self._waiting.popleft()[1].cancel()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
