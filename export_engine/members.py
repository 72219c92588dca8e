"""One group of conversations to finished members: the work of one task.

Everything that needs no order happens here, in whichever thread: choose the rows, render them all at once, cut the
CSV at the conversations' ends, deflate each, name it, lay the members out. What needs order (is this name taken?
where in the archive does it stand?) is left to the caller.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from export_engine.archive import Members, Packed, dos_times, pack
from export_engine.deflate import PIECE, Backend, deflate_member
from export_engine.digests import digests
from export_engine.grouping import Group
from export_engine.naming import collision_key
from export_engine.render import CsvFormat, created_text, guard, render, time_text
from export_engine.schema import COLUMN_NAMES
from export_engine.selection import Selected, Selection, select

__all__ = ["Built", "Recipe", "Rendered", "build", "render_group"]

_ID = COLUMN_NAMES.index("conversation_id")
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

    `name_digests` and `id_digests` tell whether a name or a conversation has been there before; `all_ids` has the
    conversations that are not exported, too.
    """

    rows: Selected
    members: Members
    data: list[bytes]
    packed: Packed
    name_digests: NDArray[np.uint64]
    id_digests: NDArray[np.uint64]
    all_ids: list[str]
    hashes: Sequence[str | None]


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
    rows, csv, header = rendered.rows, memoryview(rendered.csv), recipe.header
    texts = [b"".join((header, csv[a:b])) for a, b in itertools.pairwise(rendered.cuts)]
    del csv, rendered
    data, methods = _deflated(texts, recipe.backend)
    names = list(map(recipe.name_of, rows.names, rows.phones, created_text(rows.created)))
    times, dates = dos_times(rows.created)
    deflated_bytes = np.array(list(map(len, data)), np.int64)
    members = Members(
        names=names,
        times=times,
        dates=dates,
        methods=np.array(methods, np.int64),
        crc32s=np.array(list(map(recipe.backend.crc32, texts)), np.int64),
        deflated_bytes=deflated_bytes,
        csv_bytes=np.array(list(map(len, texts)), np.int64),
        streamed=deflated_bytes > recipe.spool_limit,
    )
    ids = rows.ids
    if len(ids) < len(group.bounds) - 1:
        ids = group.batch.column(_ID).take(pa.array(group.bounds[:-1])).to_pylist()
    return Built(
        rows=rows,
        members=members,
        data=data,
        packed=pack(members, data),
        name_digests=digests(map(collision_key, names)),
        id_digests=digests(ids),
        all_ids=ids,
        hashes=[sha256(text).hexdigest() for text in texts] if recipe.hashed else [None] * len(texts),
    )


def _deflated(texts: list[bytes], using: Backend) -> tuple[list[bytes], list[int]]:
    """Each text's deflated bytes and ZIP method."""
    if max(map(len, texts), default=0) <= PIECE:
        # No bytecode between the calls: each gives the interpreter's lock back, and would have to queue for it again.
        return list(map(using.whole, texts)), [using.whole_method] * len(texts)
    pairs = [deflate_member(text, using) for text in texts]
    return [data for data, _ in pairs], [method for _, method in pairs]
