"""The other ways to write the same archive, each at its best.

All write the same members, under the same names, with the same columns, header and cells, which `job.check` holds. What
helps them is left outside the timing: names are given (the engine makes them itself), times are text already (the
engine is given instants), and each peer gets the rows in the shape that it takes fastest: tuples of `str` for `csv`,
one data frame or table for the others, cut by themselves where slicing beforehand would not be an honest part of
the job. The fastest of them come once more, as they would replace the engine: from the same table or the same objects
(`given`), names alone made beforehand. Files of DuckDB and hayazip are on a RAM disk where there is one. Bytes go to a
sink that drops them.

Where a peer cannot do exactly the same: `csv` before Python 3.12, pandas and polars write null as `""`
(`tells_null` is False); DuckDB ends lines with LF, quotes the header and does not keep the rows of a file in order;
hayazip does not keep the files in order (`keeps_order` is False for both); some builds of `zip` do not flag names as
UTF-8.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from benchmarks import data
from benchmarks.archivers import (
    Text,
    by_hayazip,
    by_isal,
    by_isal_on_threads,
    by_stream_zip,
    by_zipfile,
    isal_object,
    ram_folder,
    through_zipstream,
    zlib_object,
)
from benchmarks.job import Member, Sink, Work
from export_engine import Conversation
from export_engine.schema import COLUMN_NAMES

__all__ = ["PEERS", "Peer"]

HEADER = ",".join(COLUMN_NAMES) + "\r\n"
_QUOTING: Any = getattr(csv, "QUOTE_NOTNULL", csv.QUOTE_ALL)  # QUOTE_NOTNULL came with Python 3.12
_TELLS_NULL = sys.version_info >= (3, 12)

#: One row as `csv` takes it.
Cells = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to do it: `prepare`, outside the timing, makes of the work what `write` takes.

    `given` is what it starts from: rows in the shape that it likes best, or what the engine gets too: `"Arrow"` or
    `"objects"`. `tells_null` is whether null and `""` differ in its CSV, `keeps_order` whether rows and members stay in
    order. `leads` says that it is among the fastest of its kind, or that something is measured by it: it is run with
    every set, the others with two of them.
    """

    name: str
    prepare: Callable[[Work], Any]
    write: Callable[[Any, Sink], None]
    tells_null: bool = True
    keeps_order: bool = True
    given: str = "its best"
    leads: bool = False


# --- csv --------------------------------------------------------------------------------------------------------


def _tuples(job: Work) -> list[tuple[Member, list[Cells]]]:
    """Rows as tuples of text, by conversation."""
    rows: list[Cells] = list(zip(*(column.to_pylist() for column in job.text.columns), strict=True))
    return [(member, rows[member.start : member.stop]) for member in job.members]


def _csvs(members: Iterable[tuple[Member, list[Cells]]]) -> Iterator[tuple[Member, bytes]]:
    """Each CSV whole."""
    for member, rows in members:
        text = io.StringIO(newline="")
        text.write(HEADER)
        csv.writer(text, quoting=_QUOTING).writerows(rows)
        yield member, text.getvalue().encode()


def _csv_zipfile(members: list[tuple[Member, list[Cells]]], sink: Sink, level: int) -> None:
    by_zipfile(_csvs(members), sink, level)


def _csv_zipstream_whole(members: list[tuple[Member, list[Cells]]], sink: Sink) -> None:
    # For bytes zipstream-ng knows the size, as with `size=` for an iterable: no zip64.
    sink.writelines(through_zipstream(_csvs(members)))


class _Echo:
    """Has `csv` hand each line back."""

    @staticmethod
    def write(line: str) -> str:
        return line


def _lines(rows: list[Cells]) -> Iterator[bytes]:
    yield HEADER.encode()
    write = csv.writer(_Echo(), quoting=_QUOTING).writerow
    for row in rows:
        line: Any = write(row)  # what `_Echo.write` returned
        yield line.encode()


def _csv_zipstream_rows(members: list[tuple[Member, list[Cells]]], sink: Sink) -> None:
    sink.writelines(through_zipstream((member, _lines(rows)) for member, rows in members))


def _csv_stream_zip(members: list[tuple[Member, list[Cells]]], sink: Sink, deflate: Callable[[], Any]) -> None:
    by_stream_zip(_csvs(members), sink, deflate)


def _csv_of_objects(prepared: tuple[Work, list[Conversation]], sink: Sink, level: int) -> None:
    """The loop that everyone writes first."""
    job, talks = prepared

    def tuples() -> Iterator[tuple[Member, list[Cells]]]:
        for member, talk in zip(job.members, talks, strict=True):
            name, phone = talk.contact.name, talk.contact.phone
            yield (
                member,
                [
                    (
                        m.id,
                        talk.id,
                        name,
                        phone,
                        m.direction,
                        m.speaker_type,
                        m.speaker_name,
                        m.time.isoformat(timespec="microseconds")[:-6] + "Z",
                        m.text,
                        ",".join(m.media_urls) if m.media_urls else None,
                        m.status,
                        m.sender_account,
                    )
                    for m in talk.messages
                ],
            )

    by_zipfile(_csvs(tuples()), sink, level)


# --- pyarrow and data frames ---------------------------------------------------------------------------------------


#: How CSVs that are made one by one get into an archive.
Into = Callable[[list[Member], Callable[[Member], Text], Sink], None]


def _into(archiver: Callable[..., None], **options: int) -> Into:
    """An archiver that takes the CSVs as they are made."""
    return lambda members, csv, sink: archiver(((member, csv(member)) for member in members), sink, **options)


def _arrow(job: Work, sink: Sink, into: Into) -> None:
    _arrow_csvs(job.text, job.members, sink, into)


def _arrow_csvs(text: pa.RecordBatch, members: list[Member], sink: Sink, into: Into) -> None:
    options = pacsv.WriteOptions(include_header=False, eol="\r\n", quoting_style="all_valid")
    header = HEADER.encode()

    def csv(member: Member) -> Text:
        made = pa.BufferOutputStream()
        made.write(header)
        pacsv.write_csv(text.slice(member.start, member.stop - member.start), made, options)
        return made.getvalue()

    into(members, csv, sink)


def _arrow_of_table(job: Work, sink: Sink, into: Into) -> None:
    """From instants, and without being told where conversations end."""
    (rows,) = job.rows.table.combine_chunks().to_batches()
    stops = pc.run_end_encode(rows["conversation_id"]).run_ends.to_pylist()
    members = [
        Member(member.name, member.created, start, stop)
        for member, start, stop in zip(job.members, [0, *stops[:-1]], stops, strict=True)
    ]
    # Without its zone a time becomes text in a tenth of the time that `strftime` takes.
    text = rows["message_time"].cast(pa.timestamp("us")).cast(pa.string())
    times = pc.binary_join_element_wise(pc.binary_replace_slice(text, 10, 11, "T"), "Z", "")
    columns = [times if name == "message_time" else rows[name] for name in COLUMN_NAMES]
    _arrow_csvs(pa.RecordBatch.from_arrays(columns, list(COLUMN_NAMES)), members, sink, into)


def _same(job: Work) -> Work:
    return job


def _objects(job: Work) -> tuple[Work, list[Conversation]]:
    return job, data.conversations(job.rows.table)


def _arrow_of_objects(prepared: tuple[Work, list[Conversation]], sink: Sink, into: Into) -> None:
    """A list for each column, the fastest way from objects to a table."""
    job, talks = prepared
    messages = [message for talk in talks for message in talk.messages]
    of = pa.array(np.repeat(np.arange(len(talks)), [len(talk.messages) for talk in talks]))  # type: ignore[arg-type]  # they are lists here
    instant = job.rows.table.schema.field("message_time").type
    columns = {
        "message_id": pa.array([m.id for m in messages], pa.string()),
        "conversation_id": pa.array([talk.id for talk in talks], pa.string()).take(of),
        "contact_name": pa.array([talk.contact.name for talk in talks], pa.string()).take(of),
        "contact_phone": pa.array([talk.contact.phone for talk in talks], pa.string()).take(of),
        "direction": pa.array([m.direction for m in messages], pa.string()),
        "speaker_type": pa.array([m.speaker_type for m in messages], pa.string()),
        "speaker_name": pa.array([m.speaker_name for m in messages], pa.string()),
        "message_time": pa.array([m.time for m in messages], instant),
        "message_text": pa.array([m.text for m in messages], pa.string()),
        "media_url": pa.array([",".join(m.media_urls) if m.media_urls else None for m in messages], pa.string()),
        "status": pa.array([m.status for m in messages], pa.string()),
        "sender_account": pa.array([m.sender_account for m in messages], pa.string()),
    }
    rows = replace(job.rows, table=pa.table(columns))
    _arrow_of_table(replace(job, rows=rows), sink, into)


def _frame(job: Work) -> tuple[Work, Any]:
    """A pandas frame of `object` columns, which `to_csv` takes faster than Arrow's strings."""
    return job, job.text.to_pandas(strings_to_categorical=False).astype(object)


def _pandas_zipfile(prepared: tuple[Work, Any], sink: Sink, level: int) -> None:
    job, frame = prepared

    def csvs() -> Iterator[tuple[Member, bytes]]:
        for member, (_, rows) in zip(job.members, frame.groupby("conversation_id", sort=False), strict=True):
            text = rows.to_csv(index=False, header=False, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
            yield member, (HEADER + text).encode()

    by_zipfile(csvs(), sink, level)


def _polars(job: Work) -> tuple[Work, Any]:
    import polars as pl  # noqa: PLC0415  # a peer is loaded when it is used

    return job, pl.from_arrow(job.text)


def _polars_zipfile(prepared: tuple[Work, Any], sink: Sink, level: int) -> None:
    job, frame = prepared
    header = HEADER.encode()

    def csvs() -> Iterator[tuple[Member, bytes]]:
        parts = frame.partition_by("conversation_id", maintain_order=True)
        for member, rows in zip(job.members, parts, strict=True):
            text = io.BytesIO()
            text.write(header)
            rows.write_csv(text, include_header=False, quote_style="always", line_terminator="\r\n")
            yield member, text.getvalue()

    by_zipfile(csvs(), sink, level)


# --- DuckDB and zip ------------------------------------------------------------------------------------------------


def _duckdb(job: Work) -> tuple[Work, Any]:
    """A table of DuckDB's own, with the conversation's number to partition by: names would have to be escaped."""
    import duckdb  # noqa: PLC0415  # a peer is loaded when it is used

    number = pa.array([n for n, member in enumerate(job.members) for _ in range(member.start, member.stop)])
    given = pa.Table.from_batches([job.text]).append_column("number", number)
    connection = duckdb.connect()
    connection.register("given", given)
    connection.execute("CREATE TABLE messages AS SELECT * FROM given")
    connection.unregister("given")
    return job, connection


def _duckdb_zip(prepared: tuple[Work, Any], sink: Sink, level: int) -> None:
    job, connection = prepared
    with ram_folder() as folder:
        connection.execute(
            f"COPY messages TO '{folder}/parts' (FORMAT csv, PARTITION_BY (number), HEADER, FORCE_QUOTE *)"
        )
        members = Path(folder, "members")
        members.mkdir()
        for number, member in enumerate(job.members):
            os.rename(f"{folder}/parts/number={number}/data_0.csv", f"{folder}/members/{member.name}")  # noqa: PTH104  # twice as fast
        names = Path(folder, "names")
        names.write_text("".join(f"{member.name}\n" for member in job.members))
        command = ["zip", "-q", f"-{level}", "-X", "-", "-@"]
        with (
            names.open() as listed,
            subprocess.Popen(command, cwd=members, stdin=listed, stdout=subprocess.PIPE) as run,
        ):
            assert run.stdout is not None
            shutil.copyfileobj(run.stdout, sink, 1 << 20)
        assert run.returncode == 0


_ZLIB_1, _ZLIB_6 = (_into(by_zipfile, level=level) for level in (1, 6))
_ISAL_0, _ISAL_1, _ISAL_2 = (_into(by_isal, level=level) for level in range(3))
_ISAL_ON_THREADS: Into = partial(by_isal_on_threads, level=1)
_HAYAZIP = _into(by_hayazip)


def _replacing(how: str, into: Into, *, keeps_order: bool = True) -> Iterator[Peer]:
    """A peer of pyarrow.csv in the engine's place: from the same table, and from the same objects."""
    for given, prepare, write in (("Arrow", _same, _arrow_of_table), ("objects", _objects, _arrow_of_objects)):
        name = f"pyarrow.csv + {how}, from the same {'table' if given == 'Arrow' else given}"
        yield Peer(name, prepare, partial(write, into=into), keeps_order=keeps_order, given=given, leads=True)


#: Every peer. Those that come with a level of zlib have 1 (its fastest) and 6 (the usual); of ISA-L's, 1 is as small as
#: 2 and hardly slower than 0, which makes archives a quarter larger.
PEERS = (
    Peer("csv + zipfile, level 1", _tuples, partial(_csv_zipfile, level=1), _TELLS_NULL),
    Peer("csv + zipfile, level 6", _tuples, partial(_csv_zipfile, level=6), _TELLS_NULL),
    Peer("csv + zipstream-ng, whole members", _tuples, _csv_zipstream_whole, _TELLS_NULL, leads=True),
    Peer("csv + zipstream-ng, row by row", _tuples, _csv_zipstream_rows, _TELLS_NULL),
    Peer("csv + stream-zip, level 1", _tuples, partial(_csv_stream_zip, deflate=partial(zlib_object, 1)), _TELLS_NULL),
    Peer("csv + stream-zip, isal 2", _tuples, partial(_csv_stream_zip, deflate=partial(isal_object, 2)), _TELLS_NULL),
    Peer("pyarrow.csv + zipfile, level 1", _same, partial(_arrow, into=_ZLIB_1)),
    Peer("pyarrow.csv + zipfile, level 6", _same, partial(_arrow, into=_ZLIB_6), leads=True),
    Peer("pyarrow.csv + zipfile with isal, level 0", _same, partial(_arrow, into=_ISAL_0)),
    Peer("pyarrow.csv + zipfile with isal, level 1", _same, partial(_arrow, into=_ISAL_1), leads=True),
    Peer("pyarrow.csv + zipfile with isal, level 2", _same, partial(_arrow, into=_ISAL_2)),
    Peer(
        "pyarrow.csv + zipfile with isal on threads, level 1", _same, partial(_arrow, into=_ISAL_ON_THREADS), leads=True
    ),
    Peer("pyarrow.csv + hayazip", _same, partial(_arrow, into=_HAYAZIP), keeps_order=False),
    Peer("polars + zipfile, level 1", _polars, partial(_polars_zipfile, level=1), tells_null=False),
    Peer("pandas + zipfile, level 1", _frame, partial(_pandas_zipfile, level=1), tells_null=False),
    Peer("DuckDB + zip, level 1", _duckdb, partial(_duckdb_zip, level=1), keeps_order=False),
    *_replacing("zipfile, level 1", _ZLIB_1),
    *_replacing("zipfile with isal, level 1", _ISAL_1),
    *_replacing("zipfile with isal on threads, level 1", _ISAL_ON_THREADS),
    *_replacing("hayazip", _HAYAZIP, keeps_order=False),
    Peer(
        "csv + zipfile, level 1, from the same objects",
        _objects,
        partial(_csv_of_objects, level=1),
        _TELLS_NULL,
        given="objects",
    ),
)
