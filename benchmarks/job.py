"""The job that every contender does: which rows go into which CSV, where the bytes go, and whether it was done."""

from __future__ import annotations

import io
import zipfile
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from benchmarks import data
from export_engine.schema import COLUMN_NAMES, CREATED_AT

__all__ = ["Member", "Null", "Sink", "Work", "check", "work"]


class Member(NamedTuple):
    """What a peer is told of one CSV: its name, its time in the archive, and its rows' numbers."""

    name: str
    created: datetime
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Work:
    """The job: `text` has the twelve columns as text, to be cut into `members`. `rows` is what the engine gets.

    `passed` are the members' CSVs as `check` found them right.
    """

    rows: data.DataSet
    text: pa.RecordBatch
    members: list[Member]
    passed: list[bytes] = field(default_factory=list)


def work(rows: data.DataSet) -> Work:
    """Prepare the job of exporting all rows of a data set, each conversation with the name that the engine gives it."""
    names: list[str] = []
    data.drain(rows.table, rows.days, on_member=lambda record: names.append(record.name), compression="store")
    ids = rows.table["conversation_id"].combine_chunks()
    stops = pc.run_end_encode(ids).run_ends.to_pylist()
    starts = [0, *stops[:-1]]
    created = [time.replace(tzinfo=None) for time in rows.table[CREATED_AT].take(pa.array(starts)).to_pylist()]
    text = rows.table.drop_columns([CREATED_AT])
    at = COLUMN_NAMES.index("message_time")
    text = text.set_column(at, "message_time", pc.strftime(text["message_time"], "%Y-%m-%dT%H:%M:%SZ"))
    (batch,) = text.combine_chunks().to_batches()
    return Work(rows, batch, [Member(*each) for each in zip(names, created, starts, stops, strict=True)])


class Null(io.RawIOBase):
    """A sink that drops what is written, as a socket would take it: it cannot seek."""

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, chunk: Any) -> int:
        """Drop it."""
        return len(chunk)

    def writelines(self, chunks: Iterable[Any]) -> None:
        """Drop them all."""
        deque(chunks, maxlen=0)


#: Where an archive goes.
Sink = Null | io.BytesIO


def check(job: Work, archive: bytes, *, tells_null: bool = True, keeps_order: bool = True) -> None:
    """Hold an archive against the work: every member under its name, and every cell. Raises AssertionError.

    Many write the same bytes: those that have been read and compared once are not parsed again.
    """
    options = pacsv.ConvertOptions(
        column_types=dict.fromkeys(COLUMN_NAMES, pa.string()),
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    # `zip` may leave the flag for UTF-8 out: its names are taken for what their bytes are.
    with zipfile.ZipFile(io.BytesIO(archive), metadata_encoding="utf-8") as opened:
        names, wanted_names = opened.namelist(), [member.name for member in job.members]
        assert names == wanted_names if keeps_order else sorted(names) == sorted(wanted_names)
        csvs = [opened.read(member.name) for member in job.members]
    if csvs == job.passed:
        return
    parse = pacsv.ParseOptions(newlines_in_values=True)
    tables = [pacsv.read_csv(io.BytesIO(csv), parse_options=parse, convert_options=options) for csv in csvs]
    assert [len(one) for one in tables] == [member.stop - member.start for member in job.members]
    written, given = pa.concat_tables(tables), pa.Table.from_batches([job.text])
    if not keeps_order:
        written, given = written.sort_by("message_id"), given.sort_by("message_id")
    for name in COLUMN_NAMES:
        wanted, found = given[name], written[name]
        if not tells_null:
            wanted, found = pc.fill_null(wanted, ""), pc.fill_null(found, "")
        assert found.equals(wanted), f"column {name} differs"
    if tells_null and keeps_order:
        job.passed[:] = csvs
