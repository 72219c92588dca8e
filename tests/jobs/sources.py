"""Sources that go wrong in a process of their own: each pickles, and leaves what it has to tell in a folder."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from export_engine import Conversation, DateRange, ExportOptions, RowError, SourceError
from export_engine.jobs.ports import WorkspaceChannel
from tests import reference
from tests.jobs.harness import JUNE, endless, one_message

__all__ = ["Told"]


class UnportableError(Exception):
    """An error that pickles, and cannot be made of its pickle."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


@dataclass(frozen=True)
class Told:
    """A `ConversationSource` that does what the range's last day of July says; any other is exported well.

    Each call leaves a file named after its process.
    """

    folder: Path

    def conversations(self, _channel: WorkspaceChannel, date_range: DateRange, _options: ExportOptions) -> Any:
        """The conversations."""
        (self.folder / f"process-{os.getpid()}").touch()
        if date_range.end.month == 7:
            return getattr(self, WAYS[date_range.end.day - 1])()
        return reference.some(20, JUNE)

    def processes(self) -> list[int]:
        """The processes that it was called in, by number."""
        return sorted(int(path.name.partition("-")[2]) for path in self.folder.glob("process-*"))

    def hang(self) -> Iterator[Conversation]:
        """Some conversations, and then silence, in the midst of a temporary file."""
        yield from reference.some(20, JUNE)
        Path(tempfile.mkdtemp(), "spilled").write_bytes(b"x" * 1000)
        (self.folder / "hangs").touch()
        threading.Event().wait()

    def hang_deaf(self) -> Iterator[Conversation]:
        """The same, and it heeds no signal."""
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        yield from self.hang()

    def endless(self) -> Iterator[Conversation]:
        """Conversations without end."""
        return endless((self.folder / "goes on").touch)

    def slow(self) -> Iterator[Conversation]:
        """A conversation now and then, for three seconds."""
        for number in range(30):
            time.sleep(0.1)
            yield one_message(f"c{number}")

    def die(self) -> NoReturn:
        """The end of the process, as the system ends one that takes too much memory."""
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def wrong_row(self) -> NoReturn:
        """What the data are wrong in."""
        raise RowError("is null", column="direction", conversation_id="c-7", message_id="m-7")

    def lost_connection(self) -> NoReturn:
        """What a reader says of a server that has gone."""
        raise SourceError("the rows cannot be read on") from ConnectionResetError(
            "postgresql://user:hunter2@db has gone"
        )

    def unportable(self) -> NoReturn:
        """An error that does not come over as it is."""
        raise UnportableError("this", "that")

    def logs(self) -> Iterator[Conversation]:
        """Log records of every kind, and something printed."""
        print("printed by a source")  # noqa: T201  # it is what is tested
        logger = logging.getLogger("tests.jobs.of_a_source")
        logger.debug("not to be seen")
        logger.warning("%s of %s", "two", Path("parts"), extra={"job": "79f13adf", "held": threading.Lock()})
        logger.error("raised", exc_info=ValueError("within"))
        yield one_message("a")

    def leaves(self) -> NoReturn:
        """The end that a program makes of itself."""
        sys.exit(3)


WAYS = (
    "hang",
    "hang_deaf",
    "endless",
    "slow",
    "die",
    "wrong_row",
    "lost_connection",
    "unportable",
    "logs",
    "leaves",
)
