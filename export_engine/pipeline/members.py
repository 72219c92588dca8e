"""One group of conversations to finished members: the work of one task.

Everything that needs no order happens here, in whichever thread: choose the rows, render them all at once, cut the
CSV at the conversations' ends, deflate each, name it, lay the members out. What needs order (is this name taken?
where in the archive does it stand?) is left to the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from export_engine.errors import RowError
from export_engine.model import Channel, DateRange
from export_engine.options import CsvDialect, ExportOptions
from export_engine.pipeline.archive import Members, Packed, deflate_and_pack, pack, unpack
from export_engine.pipeline.cells import doubled, long_cells
from export_engine.pipeline.deflate import DEFLATED, PIECE, STORED, Backend, Deflated, backend, deflate_long
from export_engine.pipeline.digests import column_digests
from export_engine.pipeline.formulas import guard
from export_engine.pipeline.grouping import Group
from export_engine.pipeline.member_names import MemberNames, member_names
from export_engine.pipeline.naming import MemberNamer, member_namer
from export_engine.pipeline.render import Scratch, Times, header, render
from export_engine.pipeline.selection import (
    Earlier,
    Selected,
    Selection,
    check,
    check_creation,
    earlier,
    select,
    selection,
)
from export_engine.schema import COLUMN_NAMES, LONGEST_CELL

__all__ = ["MEMBER_LIMIT", "MemberBatch", "MemberSpec", "Rendered", "build", "member_spec", "render_rows", "row_cuts"]

#: A member's CSV stays below this, so that no size in its headers overflows 32 bits, even where deflate makes it
#: larger.
MEMBER_LIMIT = 0xFFFFFFFF - (16 << 20)

_MESSAGE_ID = COLUMN_NAMES.index("message_id")
_ID = COLUMN_NAMES.index("conversation_id")
_TIME = COLUMN_NAMES.index("message_time")


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """How the members of one export are made: what every task has in common. It pickles.

    `name_of` makes a member's name of contact name, contact phone and creation time; `header` is what each CSV begins
    with; `budget` is the bytes a name may have. `hashed` asks for each CSV's SHA-256. A member of more deflated bytes
    than `spool_limit` is streamed, also where it happens to be in memory: how a member is written must not depend on
    how its rows arrived. `scratch` is the workers' memory.

    A CSV of more than `piece` bytes is deflated a piece at a time, one of more than `member_limit` bytes goes on in
    another member.
    """

    selection: Selection
    dialect: CsvDialect
    header: bytes
    backend: Backend
    name_of: MemberNamer
    budget: int
    hashed: bool
    spool_limit: int
    piece: int = PIECE
    member_limit: int = MEMBER_LIMIT
    scratch: Scratch = field(default_factory=Scratch)

    @property
    def one_call(self) -> int:
        """The most bytes of a CSV that are deflated by one call, or not at all.

        A streamed member is always deflate's, for readers fail on stored data with sizes that only follow them.
        """
        return min(self.piece, self.spool_limit) if self.backend.whole_method == STORED else self.piece


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
    """The exported rows of a group of one conversation: their CSV without header, in memory of its own.

    `earlier` are the messages that tell when the conversation was created, `places` the bytes of `csv` at which each
    stands: the first of its row, or where it is not exported the last of the row before it (-1: none in this group).
    `problem` is what is wrong with the rows, an error only if the conversation is exported.
    """

    rows: Selected
    csv: memoryview
    earlier: Earlier
    places: NDArray[np.int64]
    problem: RowError | None
    long_cells: int
    doubled_ids: int


@dataclass(slots=True)
class MemberBatch:
    """A group's members, as parallel arrays and lists, and how they lie in the archive if their names are free.

    `name_digests` and `id_digests` tell whether a name or a conversation has been there before. `ids` are those of all
    conversations, also of those that are not exported; `exported` tells which have members. `rows` are counts, `first`
    and `last` UTC microseconds, meaningless for a member without rows. The group's rows are not held: a batch that
    waits for its turn is little more than its data.
    """

    members: Members
    packed: Packed
    name_digests: NDArray[np.uint64]
    ids: pa.StringArray
    id_digests: NDArray[np.uint64]
    exported: NDArray[np.int64]
    rows: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    hashes: Sequence[str | None]
    long_cells: int
    doubled_ids: int


def render_rows(spec: MemberSpec, group: Group) -> Rendered:
    """Choose the rows of a group of one conversation and render them. Raises RowError for rows of two creations."""
    check_creation(group)
    rows = select(group, spec.selection)
    try:
        check(group, rows)
    except RowError as error:
        problem: RowError | None = error
    else:
        problem = None
    found = earlier(group, rows)
    csv, begins, longest = _rendered(spec, rows, found.after, Scratch())
    return Rendered(rows, csv, found, begins - ~found.wanted, problem, _long_cells(rows, longest), _doubled_ids(rows))


def row_cuts(spec: MemberSpec, group: Group) -> NDArray[np.int64]:
    """The bytes at which the rows of a group of one conversation begin in its CSV, and its size."""
    rows = select(group, spec.selection)
    return _rendered(spec, rows, np.arange(len(rows.us) + 1), Scratch())[1]


def _rendered(
    spec: MemberSpec, rows: Selected, bounds: NDArray[np.int64], scratch: Scratch
) -> tuple[memoryview, NDArray[np.int64], int]:
    """The rows' CSV without header, the bytes at which the rows numbered by `bounds` begin, and the longest cell's."""
    columns = [rows.batch.column(index) for index in range(len(COLUMN_NAMES))]
    if spec.dialect.formula_guard:
        columns[_TIME] = pa.nulls(len(rows.us), pa.string())  # no time is like a formula
        columns = guard(columns, spec.dialect)
    columns[_TIME] = Times(rows.us, rows.offsets)
    return render(columns, bounds, spec.dialect, scratch)


def _long_cells(rows: Selected, longest: int) -> int:
    """How many cells are longer than a spreadsheet holds, where the longest has so many bytes at most."""
    return long_cells(rows.batch)[0] if longest > LONGEST_CELL else 0


def _doubled_ids(rows: Selected) -> int:
    """How many messages have the id of the one before them in their CSV."""
    return doubled(rows.batch.column(_MESSAGE_ID), rows.bounds)


def build(spec: MemberSpec, group: Group) -> MemberBatch:
    """The members of a group of whole conversations. Raises RowError for a row that breaks a rule."""
    check_creation(group)
    rows = select(group, spec.selection)
    check(group, rows)
    doubled_ids = _doubled_ids(rows)  # before they are rendered: their text is in the cache for both
    csv, cuts, longest = _rendered(spec, rows, rows.bounds, spec.scratch)
    csv_bytes = cuts[1:] - cuts[:-1] + len(spec.header)
    names = member_names(spec.name_of, rows)
    members, packed = _packed(spec, csv, cuts, csv_bytes, names, rows.created)
    starts, ids = group.bounds[:-1], group.batch.column(_ID)
    return MemberBatch(
        members=members,
        packed=packed,
        name_digests=names.digests,
        ids=ids.take(pa.array(starts)),
        id_digests=column_digests(ids, starts),
        exported=np.searchsorted(starts, rows.begins),
        rows=np.diff(rows.bounds),
        first=rows.first,
        last=rows.last,
        hashes=_hashes(spec.header, csv, cuts.tolist()) if spec.hashed else [None] * len(names),
        long_cells=_long_cells(rows, longest),
        doubled_ids=doubled_ids,
    )


def _packed(
    spec: MemberSpec,
    csv: memoryview,
    cuts: NDArray[np.int64],
    csv_bytes: NDArray[np.int64],
    names: MemberNames,
    created: NDArray[np.int64],
) -> tuple[Members, Packed]:
    """The members between the cuts, deflated and laid out."""
    if spec.backend.kernel and csv_bytes.max(initial=0) <= spec.piece:
        packed, deflated_bytes, crc32s = deflate_and_pack(csv, cuts, spec.header, (names.text, names.stops), created)
        methods, data = np.full(len(names), DEFLATED), None
    else:
        deflated, methods = _deflated(csv, cuts, csv_bytes, spec)
        crc32s, data = deflated.crc32s, deflated.data
        deflated_bytes = np.diff(deflated.ends, prepend=0)
    members = Members(
        names=names.list(),
        created=created,
        methods=methods,
        crc32s=crc32s.astype(np.int64),
        deflated_bytes=deflated_bytes,
        csv_bytes=csv_bytes,
        streamed=deflated_bytes > spec.spool_limit,
    )
    if data is None:
        if not members.streamed.any():
            return members, packed
        data = unpack(packed, members)
    return members, pack(members, data)


def _deflated(
    csv: memoryview, cuts: NDArray[np.int64], csv_bytes: NDArray[np.int64], spec: MemberSpec
) -> tuple[Deflated, NDArray[np.int64]]:
    """The members between the cuts, and each one's ZIP method."""
    using, header = spec.backend, spec.header
    methods = np.where(csv_bytes <= spec.one_call, using.whole_method, DEFLATED)
    long = np.flatnonzero(csv_bytes > spec.one_call).tolist()
    if not long:
        return using.members(csv, cuts, header), methods
    parts: list[Deflated] = []
    at = 0
    for place in long:
        parts.append(using.members(csv, cuts[at : place + 1], header))
        text = b"".join((header, csv[cuts[place] : cuts[place + 1]]))
        data = deflate_long(text, using, spec.piece)
        parts.append(Deflated(data, np.array([len(data)]), np.array([using.crc32(text)], np.uint32)))
        at = place + 1
    parts.append(using.members(csv, cuts[at:], header))
    bases = np.cumsum([0, *(len(part.data) for part in parts)])
    return (
        Deflated(
            b"".join(part.data for part in parts),
            np.concatenate([part.ends + base for part, base in zip(parts, bases, strict=False)]),
            np.concatenate([part.crc32s for part in parts]),
        ),
        methods,
    )


def _hashes(header: bytes, csv: memoryview, cuts: list[int]) -> list[str]:
    """Each member's SHA-256."""
    begun, hashes = sha256(header), []
    for start, stop in pairwise(cuts):
        hashing = begun.copy()
        hashing.update(csv[start:stop])
        hashes.append(hashing.hexdigest())
    return hashes
