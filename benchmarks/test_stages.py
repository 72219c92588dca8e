"""Stages: where the time of an export goes besides deflate.

The pipeline is run up to each stage in turn, on one thread; what a stage takes is what it adds. The last of them does
all but deflating; the whole export then adds deflate, with what holding its results costs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC
from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import data, raw
from benchmarks.measure import interleaved, record
from export_engine.options import DEFAULT_NAME_BUDGET, CsvDialect
from export_engine.pipeline.deflate import Backend, Deflated
from export_engine.pipeline.grouping import groups
from export_engine.pipeline.members import MemberSpec, build
from export_engine.pipeline.naming import member_namer
from export_engine.pipeline.render import Scratch, Times, header, render
from export_engine.pipeline.selection import select, selection
from export_engine.schema import COLUMN_NAMES
from export_engine.sources import SourceContext
from export_engine.sources.tables import from_arrow

_TIME = COLUMN_NAMES.index("message_time")


def _nothing(_csv: memoryview, cuts: NDArray[np.int64], _header: bytes) -> Deflated:
    none = np.zeros(len(cuts) - 1, np.int64)
    return Deflated(b"", none, none.astype(np.uint32))


_UNDEFLATED = Backend(name="none", members=_nothing, piece=lambda *_: b"", crc32=lambda *_: 0)
_RECIPE = MemberSpec(
    selection=selection(data.JUNE, UTC, by_creation=False),
    dialect=CsvDialect(),
    header=header(CsvDialect()),
    backend=_UNDEFLATED,
    name_of=member_namer(data.CHANNEL),
    budget=DEFAULT_NAME_BUDGET,
    hashed=False,
    spool_limit=8 << 20,
)


def _read(table: pa.Table) -> Iterator[pa.RecordBatch]:
    return from_arrow(table).batches(SourceContext(UTC))


def _rendered(table: pa.Table, scratch: Scratch) -> None:
    for group in groups(_read(table)):
        rows = select(group, _RECIPE.selection)
        columns = [rows.batch.column(index) for index in range(len(COLUMN_NAMES))]
        columns[_TIME] = Times(rows.us, rows.offsets)
        render(columns, rows.bounds, _RECIPE.dialect, scratch)


def _drop(items: Iterator[object]) -> None:
    deque(items, maxlen=0)


@pytest.mark.parametrize("per", [3, 20, 200])
def test_stages(benchmark: BenchmarkFixture, rows: int, rounds: int, per: int) -> None:
    """What each stage adds; nothing is held against a target."""
    table = data.table(per, rows)
    csvs = raw.csvs(table)
    # What each stage does, and the pipeline up to it.
    stages: dict[str, Callable[[], None]] = {
        "read the table: UTF-8, nulls, times": lambda: _drop(_read(table)),
        "find where conversations end": lambda: _drop(groups(_read(table))),
        "choose rows, check values": lambda: _drop(select(group, _RECIPE.selection) for group in groups(_read(table))),
        "render, with times and places to cut": partial(_rendered, table, Scratch()),
        "cut, name, lay out headers": lambda: _drop(build(_RECIPE, group) for group in groups(_read(table))),
        "deflate with CRC-32, keep names apart, join": partial(_drain, table),
    }
    seconds = interleaved(benchmark, {"raw deflate": raw.deflater(csvs.values(), 1), **stages}, rounds)
    ends = [0.0, *(seconds[name] for name in stages)]
    added = dict(zip(stages, (stop - start for start, stop in pairwise(ends)), strict=True))
    record(benchmark, per=per, stages=added, raw=seconds["raw deflate"], whole=ends[-1])


def _drain(table: pa.Table) -> None:
    data.drain(table, threads=1)
