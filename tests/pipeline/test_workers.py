"""The few threads that do the work: results, exceptions and threads stay where they belong."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest

from export_engine.pipeline.workers import Workers
from tests.exports import ours, until

pytestmark = pytest.mark.timeout(300)


class Gate:
    """A task: it holds the thread that runs it until the gate is opened."""

    def __init__(self) -> None:
        self.inside: list[threading.Thread] = []
        self._open = threading.Event()

    def __call__(self) -> bool:
        """Wait; whether it was opened."""
        self.inside.append(threading.current_thread())
        return self._open.wait(240)

    def open(self) -> None:
        """Let through."""
        self._open.set()


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_results_belong_to_their_tasks(threads: int) -> None:
    """Results come in the order asked for, whichever task ends first."""
    workers, gate = Workers(threads), Gate()
    first = workers.submit(gate)
    rest = [workers.submit(pow, number, 2) for number in range(50)]
    if threads == 1:
        gate.open()
    else:
        until(lambda: gate.inside)  # in a thread of theirs: this one runs what nobody has begun
    assert [task() for task in reversed(rest)] == [number**2 for number in reversed(range(50))]
    gate.open()
    assert first() is True
    workers.close()


@pytest.mark.parametrize("threads", [1, 3])
def test_exceptions_arrive_as_raised(threads: int) -> None:
    """A task's exception is the very object that was raised, and harms no other task."""
    workers, problem = Workers(threads), KeyError("mine")

    def fail() -> None:
        raise problem

    failing, fine = workers.submit(fail), workers.submit(len, "four")
    with pytest.raises(KeyError) as caught:
        failing()
    assert caught.value is problem
    assert fine() == 4
    workers.close()


def test_no_thread_outlives_close() -> None:
    """Closing waits for what runs and forgets what has not begun."""
    workers, gate, ran = Workers(3), Gate(), list[int]()
    running = [workers.submit(gate) for _ in range(2)]
    waiting = [workers.submit(ran.append, number) for number in range(20)]
    until(lambda: len(gate.inside) == 2)
    assert len(ours()) == 2
    closing = threading.Thread(target=workers.close)
    closing.start()
    until(lambda: all(task.done() for task in waiting))  # asked for earlier, they would be run here
    for task in waiting:
        with pytest.raises(CancelledError):
            task()
    assert closing.is_alive()  # two tasks are still running
    gate.open()
    closing.join(120)
    assert not ours()
    assert [task() for task in running] == [True, True]
    assert not ran


def test_who_waits_works() -> None:
    """While a result is not there, the thread that asks for it runs what nobody has begun."""
    workers, gate, ran = Workers(2), Gate(), list[threading.Thread]()
    slow = workers.submit(gate)

    def note() -> None:
        ran.append(threading.current_thread())
        gate.open()

    others = [workers.submit(note) for _ in range(3)]
    until(lambda: gate.inside)
    assert slow()
    for other in others:
        other()
    assert ran[0] is threading.current_thread()
    workers.close()


def test_an_interrupt_reaches_whoever_waits() -> None:
    """It is not kept for the one that will ask for the result of the task it fell into."""
    workers, gate = Workers(2), Gate()
    slow = workers.submit(gate)

    def interrupted() -> None:
        raise KeyboardInterrupt

    for _ in range(3):
        workers.submit(interrupted)
    until(lambda: gate.inside)
    with pytest.raises(KeyboardInterrupt):
        slow()
    gate.open()
    workers.close()


def test_one_thread_is_none() -> None:
    """With one thread a task runs in the caller's, when its result is asked for."""
    workers, ran = Workers(1), list[threading.Thread]()
    task = workers.submit(lambda: ran.append(threading.current_thread()))
    assert not ran
    task()
    assert ran == [threading.current_thread()]
    assert not ours()
    workers.close()
