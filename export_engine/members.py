"""One group of conversations to finished members: the work of one task.

Everything that needs no order happens here, in whichever thread: choose the rows, render them all at once, cut the
CSV at the conversations' ends, deflate each, name it, lay the members out. What needs order (is this name taken?
where in the archive does it stand?) is left to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from export_engine.archive import Member, Packed, dos_times, pack
from export_engine.deflate import Backend, deflate_member
from export_engine.digests import digests
from export_engine.grouping import Group
from export_engine.naming import collision_key
from export_engine.render import CsvFormat, created_text, guard, render, time_text
from export_engine.schema import COLUMN_NAMES
from export_engine.selection import Selected, Selection, select

__all__ = ["Built", "Recipe", "Rendered", "build", "render_group"]

_TIME = COLUMN_NAMES.index("message_time")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What every task of one export has in common.

    `name_of` makes a member's name of contact name, contact phone and creation time; `header` is what each CSV begins
    with; `budget` is the bytes a name may have. `hashed` asks for each CSV's SHA-256. A member of more deflated bytes
    than `spool_limit` is streamed, also where it happens to be in memory: how a member is written must not depend on
    how its rows arrived.
    """

    selection: Selection
    form: CsvFormat
    header: bytes
    backend: Backend
    name_of: Callable[[str | None, str | None, str], str]
    budget: int
    hashed: bool
    spool_limit: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """A group's CSV, without headers; `cuts` are the bytes at which the rows numbered by its bounds begin."""

    rows: Selected
    csv: pa.Buffer
    cuts: list[int]


@dataclass(slots=True)
class Built:
    """A group's members, as parallel lists, and how they lie in the archive if their names are free.

    `name_digests` and `id_digests` tell whether a name or a conversation has been there before. `read` is the number
    of rows that the group held before anything was left out.
    """

    rows: Selected
    members: list[Member]
    data: list[bytes]
    packed: Packed
    name_digests: NDArray[np.uint64]
    id_digests: NDArray[np.uint64]
    all_ids: list[str]
    hashes: Sequence[str | None]
    read: int


def render_group(recipe: Recipe, group: Group, *, every_row: bool = False) -> Rendered:
    """Choose a group's rows and render them; `every_row` gives a cut for each row instead of each conversation."""
    chosen = select(group, recipe.selection)
    columns = [chosen.batch.column(index) for index in range(len(COLUMN_NAMES))]
    columns[_TIME] = time_text(chosen.us, chosen.offsets)
    if recipe.form.formula_guard:
        columns = guard(columns, recipe.form)
    bounds = np.arange(len(chosen.us) + 1) if every_row else chosen.bounds
    csv, cuts = render(columns, bounds, recipe.form)
    return Rendered(chosen, csv, cuts)


def build(recipe: Recipe, group: Group) -> Built:
    """The members of a group of whole conversations."""
    rendered = render_group(recipe, group)
    rows, csv, cuts = rendered.rows, memoryview(rendered.csv), rendered.cuts
    header, crc32, using = recipe.header, recipe.backend.crc32, recipe.backend
    names = list(map(recipe.name_of, rows.names, rows.phones, created_text(rows.created)))
    times, dates = dos_times(rows.created)
    members: list[Member] = []
    data: list[bytes] = []
    hashes: list[str | None] = []
    for name, time, date, start, stop in zip(names, times, dates, cuts[:-1], cuts[1:], strict=True):
        text = b"".join((header, csv[start:stop]))
        deflated, method = deflate_member(text, using)
        size = len(deflated)
        members.append(Member(name, time, date, method, crc32(text, 0), size, len(text), size > recipe.spool_limit))
        data.append(deflated)
        hashes.append(sha256(text).hexdigest() if recipe.hashed else None)
    all_ids = group.batch.column("conversation_id").take(pa.array(group.bounds[:-1])).to_pylist()
    return Built(
        rows,
        members,
        data,
        pack(members, data),
        digests(map(collision_key, names)),
        digests(all_ids),
        all_ids,
        hashes,
        group.batch.num_rows,
    )
