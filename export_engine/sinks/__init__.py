"""Where archives go: each sink drives an export and leaves either the whole archive or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from export_engine.report import MemberRecord

__all__ = ["Streamable"]


class Streamable(Protocol):
    """What a sink needs of an export: its name, its bytes, and its members' records if they are wanted."""

    file_name: str

    def __iter__(self) -> Iterator[bytes]:
        """Yield the archive's bytes, once."""
        ...

    def listen(self, listener: Callable[[MemberRecord], object], *, sha256: bool = False) -> None:
        """Have `listener` called with each member's record; to be asked for before the first byte."""
        ...
