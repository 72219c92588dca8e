"""One group of conversations to finished members: the work of one task.

Everything that needs no order happens here, in whichever thread: choose the rows, render them all at once, cut the
CSV at the conversations' ends, deflate each, name it, lay the members out. What needs order (is this name taken?
where in the archive does it stand?) is left to the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import repeat

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from export_engine.model import Channel, DateRange
from export_engine.options import CsvDialect, ExportOptions
from export_engine.pipeline.archive import Members, Packed, pack
from export_engine.pipeline.deflate import DEFLATED, PIECE, Backend, backend, deflate_long, deflate_whole
from export_engine.pipeline.digests import digests
from export_engine.pipeline.grouping import Group
from export_engine.pipeline.naming import MemberNamer, collision_keys, member_namer
from export_engine.pipeline.render import Scratch, guard, header, render
from export_engine.pipeline.selection import Selected, Selection, select, selection
from export_engine.schema import COLUMN_NAMES
from export_engine.timetext import created_text, dos_times, time_text

__all__ = ["MemberBatch", "MemberSpec", "Rendered", "build", "member_spec", "render_rows"]

_ID = COLUMN_NAMES.index("conversation_id")
_TIME = COLUMN_NAMES.index("message_time")


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """How the members of one export are made: what every task has in common. It pickles.

    `name_of` makes a member's name of contact name, contact phone and creation time; `header` is what each CSV begins
    with; `budget` is the bytes a name may have. `hashed` asks for each CSV's SHA-256. A member of more deflated bytes
    than `spool_limit` is streamed, also where it happens to be in memory: how a member is written must not depend on
    how its rows arrived. `scratch` is the workers' memory.
    """

    selection: Selection
    dialect: CsvDialect
    header: bytes
    backend: Backend
    name_of: MemberNamer
    budget: int
    hashed: bool
    spool_limit: int
    scratch: Scratch = field(default_factory=Scratch)


def member_spec(options: ExportOptions, channel: Channel, date_range: DateRange) -> MemberSpec:
    """How the members of a channel's export are made, from checked options."""
    return MemberSpec(
        selection=selection(date_range, options.tzinfo, by_creation=options.range_by == "created_at"),
        dialect=options.dialect,
        header=header(options.dialect),
        backend=backend(options.compression),
        name_of=member_namer(channel, budget=options.name_budget),
        budget=options.name_budget,
        hashed=False,
        spool_limit=options.spool_limit,
    )


@dataclass(frozen=True, slots=True)
class Rendered:
    """A group's CSV, without headers; `cuts` are the bytes at which the rows asked for begin."""

    rows: Selected
    csv: memoryview
    cuts: list[int]


@dataclass(slots=True)
class MemberBatch:
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


def render_rows(spec: MemberSpec, group: Group, *, by_row: bool = False) -> Rendered:
    """Choose the rows of a group of one conversation and render them, into memory of their own.

    `cuts` are the bytes at which the conversation begins and ends, or with `by_row` each of its rows. Raises RowError.
    """
    rows = select(group, spec.selection)
    return _rendered(spec, rows, np.arange(len(rows.us) + 1) if by_row else rows.bounds, Scratch())


def _rendered(spec: MemberSpec, rows: Selected, bounds: NDArray[np.int64], scratch: Scratch) -> Rendered:
    columns = [rows.batch.column(index) for index in range(len(COLUMN_NAMES))]
    columns[_TIME] = time_text(rows.us, rows.offsets)
    if spec.dialect.formula_guard:
        columns = guard(columns, spec.dialect)
    return Rendered(rows, *render(columns, bounds, spec.dialect, scratch))


def build(spec: MemberSpec, group: Group) -> MemberBatch:
    """The members of a group of whole conversations."""
    rows = select(group, spec.selection)
    rendered = _rendered(spec, rows, rows.bounds, spec.scratch)
    csv, cuts = rendered.csv, rendered.cuts
    ends = np.array(cuts, np.int64)
    csv_bytes = ends[1:] - ends[:-1] + len(spec.header)
    # One text at a time, which then is still in the processor's cache, unless they are needed twice.
    parts = map(csv.__getitem__, map(slice, cuts, cuts[1:]))
    texts: Iterable[bytes] = map(b"".join, zip(repeat(spec.header), parts, strict=False))
    if spec.hashed:
        texts = kept = list(texts)
    data, crc32s, methods = _deflated(texts, csv_bytes, spec.backend)
    names = list(map(spec.name_of, rows.names, rows.phones, created_text(rows.created)))
    times, dates = dos_times(rows.created)
    deflated_bytes = np.array(list(map(len, data)), np.int64)
    members = Members(
        names=names,
        times=times,
        dates=dates,
        methods=methods,
        crc32s=crc32s,
        deflated_bytes=deflated_bytes,
        csv_bytes=csv_bytes,
        streamed=deflated_bytes > spec.spool_limit,
    )
    ids = rows.ids
    if len(ids) < len(group.bounds) - 1:
        ids = group.batch.column(_ID).take(pa.array(group.bounds[:-1])).to_pylist()
    return MemberBatch(
        rows=rows,
        members=members,
        data=data,
        packed=pack(members, data),
        name_digests=digests(collision_keys(names)),
        id_digests=digests(ids),
        all_ids=ids,
        hashes=[sha256(text).hexdigest() for text in kept] if spec.hashed else [None] * len(data),
    )


def _deflated(
    texts: Iterable[bytes], csv_bytes: NDArray[np.int64], using: Backend
) -> tuple[list[bytes], NDArray[np.int64], NDArray[np.int64]]:
    """Each text's deflated bytes, CRC-32 and ZIP method."""
    methods = np.where(csv_bytes <= PIECE, using.whole_method, DEFLATED)
    if not len(csv_bytes) or csv_bytes.max() <= PIECE:
        data, crc32s = deflate_whole(texts, using)
        return data, crc32s.astype(np.int64), methods
    data, checks = [], []
    for text in texts:
        if len(text) <= PIECE:
            (one,), (crc32,) = deflate_whole([text], using)
        else:
            one, crc32 = deflate_long(text, using), using.crc32(text)
        data.append(one)
        checks.append(int(crc32))
    return data, np.array(checks, np.int64), methods
