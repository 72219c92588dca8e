"""Small exports to write, and odd things that may stand where they are to go."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from export_engine import (
    Channel,
    Contact,
    Conversation,
    Export,
    Message,
)
from export_engine.report import MemberRecord
from tests import exports
from tests.exports import START

NAME = "SMS_Support_2026-06_1c4639da.zip"
LINE = (
    '{"id": "c", "contact": {"name": "Jane"}, "messages": [{"id": "m", "time": "2026-06-01T00:00:00Z", "direction": '
    '"inbound", "speaker_type": "customer", "text": "Hi"}]}\n'
)

needs_posix = pytest.mark.skipif(os.name == "nt", reason="links and devices of POSIX")


def talks(count: int = 3, then: Callable[[], object] = lambda: None, word: str = "Hi") -> Iterator[Conversation]:
    for number in range(count):
        yield Conversation(f"c{number}", Contact("Jane"), [Message(f"m{number}", START, "inbound", "customer", word)])
    then()


def export(source: object = None, **options: Any) -> Export:
    return exports.export(talks() if source is None else source, channel=Channel("SMS Support"), **options)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def is_archive(path: Path) -> bool:
    with zipfile.ZipFile(path) as opened:
        return opened.testzip() is None and bool(opened.namelist())


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    # A name in a socket address has a hundred bytes: bind to it from within its folder.
    program = "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, path.name], cwd=path.parent, check=True)


def device(path: Path) -> None:
    """A device of the test's own, which is what /dev/null is."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        path.write_bytes(b"")
    except OSError:
        path.unlink(missing_ok=True)
        pytest.skip("may not make devices here")


ODD: dict[str, Callable[[Path], None]] = {
    "pipe": pipe,
    "socket": unix_socket,
    "device": device,
    "directory": Path.mkdir,
}


class Chunks:
    """Something to stream, with records of one's own and an end of one's own."""

    file_name = "chunks.zip"

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self._then = then
        self._listeners: list[Callable[[MemberRecord], object]] = []

    def __iter__(self) -> Iterator[bytes]:
        for listener in self._listeners:
            listener(MemberRecord("a.csv", "a", 1, 0, 0, 0, 0, None, None))
        yield b"chunk"
        self._then()

    def listen(self, listener: Callable[[MemberRecord], object], *, sha256: bool = False) -> None:
        """As an export has it."""
        assert sha256
        self._listeners.append(listener)
