"""The names of a group's members, all at once: plain ones by the kernel, the others one by one.

`pipeline.naming` has the rules. The kernel knows which labels they leave as they are, and how such are folded to find
names that collide, and asks for a name wherever it does not; where it was not built, all names are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export_engine.pipeline.cells import given
from export_engine.pipeline.digests import KEY, digests
from export_engine.pipeline.naming import UNKNOWN_CONTACT, MemberNamer, collision_keys
from export_engine.pipeline.selection import Selected
from export_engine.timetext import created_text

__all__ = ["MemberNames", "member_names", "names_of"]


@dataclass(frozen=True, slots=True)
class MemberNames:
    """Members' names as UTF-8, each with a line end behind it, which none has in it.

    The names end at the `stops`; `digests` are the same where names collide (see `naming.collision_keys`).
    """

    text: bytes
    stops: NDArray[np.int64]
    digests: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.stops)

    def list(self) -> list[str]:
        """The names as text."""
        return self.text.decode().split("\n")[:-1]


def member_names(name_of: MemberNamer, rows: Selected) -> MemberNames:
    """The names of the members of the conversations that are exported."""
    try:
        from export_engine._native import member_names as name_all  # noqa: PLC0415  # optional: built with a compiler
    except ImportError:
        return names_of(list(map(name_of, rows.names, rows.phones, created_text(rows.created))))
    _, names, phones = rows.facts

    def odd(member: int) -> tuple[bytes, bytes]:
        row = int(rows.begins[member])
        (created,) = created_text(rows.created[member : member + 1])
        name = name_of(names[row].as_py(), phones[row].as_py(), created)
        return name.encode(), collision_keys([name])[0].encode()

    text, stops, seen = name_all(
        given(names),
        given(phones),
        len(names),
        rows.begins.data,
        np.ascontiguousarray(rows.created).data,
        name_of.ending.encode(),
        name_of.folded_ending.encode(),
        UNKNOWN_CONTACT.encode(),
        max(name_of.room, 0),
        KEY,
        odd,
    )
    return MemberNames(text, np.frombuffer(stops, np.int64), np.frombuffer(seen, np.uint64))


def names_of(names: list[str]) -> MemberNames:
    """The same of names that are known."""
    text = "\n".join([*names, ""]).encode()
    stops = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
    return MemberNames(text, stops, digests(collision_keys(names)))
