"""Parquet and Arrow IPC: times of any kind, and files that are damaged."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from export_engine.errors import SourceError
from export_engine.sources import SourceContext
from export_engine.sources.ipc import read_ipc
from export_engine.sources.parquet import read_parquet
from tests.sources.tables import batches, cells, ipc_file, ipc_stream, parquet, refusal, table


@pytest.mark.parametrize("version", [True, False])
def test_timestamps_of_every_year(version: bool, tmp_path: Path) -> None:
    """INT96, which Spark wrote, is the same time as INT64: nothing wraps around at 1677 or 2262."""
    times = [datetime(year, 3, 1, 12, 0, 0, 123456) for year in (2, 1500, 1677, 1969, 2026, 2263, 9998)]  # noqa: DTZ001  # as Spark writes
    given = table(len(times), message_time=pa.array(times, pa.timestamp("us")))
    pq.write_table(given, tmp_path / "t.parquet", use_deprecated_int96_timestamps=version)
    assert (
        pq.ParquetFile(tmp_path / "t.parquet").schema.to_arrow_schema().field("message_time").type.unit == "ns"
    ) is version
    read = pa.Table.from_batches(read_parquet(tmp_path / "t.parquet").batches(SourceContext(UTC)))
    assert read["message_time"].to_pylist() == [time.replace(tzinfo=UTC) for time in times]


@pytest.mark.parametrize("days", [3, 200_000_000, 213_503_983, 427_027_964, 2**31])
def test_int96_beyond_what_can_be_had(days: int, tmp_path: Path) -> None:
    """A day so far off that its microseconds wrap around into our years is refused by its row."""
    given = table(3, message_time=pa.array([datetime(2026, 6, day, 8) for day in (1, 2, 3)], pa.timestamp("us")))  # noqa: DTZ001  # as Spark writes
    path = tmp_path / "t.parquet"
    pq.write_table(given, path, use_deprecated_int96_timestamps=True, compression="none", use_dictionary=False)
    day = 2_461_194  # 2 June 2026 as a Julian day
    data = path.read_bytes()
    at = data.index(day.to_bytes(4, "little"))
    path.write_bytes(data[:at] + (day + days).to_bytes(4, "little") + data[at + 4 :])
    if days == 3:
        assert cells(read_parquet(path), "message_time")[1] == datetime(2026, 6, 5, 8, tzinfo=UTC)
    else:
        error = refusal(read_parquet(path))
        assert (error.row, error.column) == (2, "message_time")
        assert "out of bounds" in str(error)


@pytest.mark.parametrize("ending", ["parquet", "arrow", "arrows", "feather"])
def test_damaged_files(ending: str, tmp_path: Path) -> None:
    """A file cut short, damaged within or of another kind is a SourceError with its name; a missing one is its own."""
    path = tmp_path / f"t.{ending}"
    read = read_parquet if ending == "parquet" else read_ipc
    given = table(1000, message_text=[f"text {row}" for row in range(1000)])
    if ending == "feather":
        feather.write_feather(given, path, compression="lz4")
    else:
        {"parquet": parquet, "arrow": ipc_file, "arrows": ipc_stream}[ending](given, tmp_path)
    whole = path.read_bytes()
    assert len(cells(read(path), "message_id")) == 1000
    for data in (b"", b"junk" * 9, whole[: len(whole) // 2], whole[:60]):
        path.write_bytes(data)
        with pytest.raises(SourceError, match=f"t.{ending}"):
            batches(read(path))
    with pytest.raises(FileNotFoundError):
        batches(read(tmp_path / "none"))


def long_rows(folder: Path) -> Path:
    """A small file of which pyarrow says that its rows are long: the sizes of its columns are asked for."""
    more = pa.array([{"blob": "x" * 3_000_000}] * 4)
    given = table(4, message_text=["text"] * 4, other=more)
    path = folder / "long.parquet"
    pq.write_table(given, path, row_group_size=2, compression="zstd", use_dictionary=False, store_schema=False)
    return path


FLIPPED = """
import io, random, sys
from datetime import UTC
from export_engine.errors import ExportError
from export_engine.sources import SourceContext, read_parquet
whole = open(sys.argv[1], "rb").read()
footer = int.from_bytes(whole[-8:-4], "little")
chance = random.Random(1)
for _ in range(800):
    at, bit = len(whole) - 8 - chance.randrange(footer), chance.randrange(8)
    data = whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1:]
    try:
        rows = sum(batch.num_rows for batch in read_parquet(io.BytesIO(data)).batches(SourceContext(UTC)))
    except ExportError as error:
        continue
    assert rows == 4, (at, bit, rows)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_damaged_footer_is_an_error_or_loses_no_row(tmp_path: Path) -> None:
    """No bit of it ends the process, as pyarrow 26 would, nor makes it lose rows."""
    done = subprocess.run(
        [sys.executable, "-c", FLIPPED, str(long_rows(tmp_path))], capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_long_rows_of_other_columns_do_not_count(tmp_path: Path) -> None:
    """What is not read does not make batches small."""
    (first, second) = read_parquet(long_rows(tmp_path)).batches(SourceContext(UTC))
    assert (first.num_rows, second.num_rows) == (2, 2)


def test_a_zone_s_name_is_not_asked_for(tmp_path: Path) -> None:
    """A time that has one is an instant, whatever it says; in a damaged file it may be no text."""
    for way in (ipc_file, ipc_stream):
        way(table(), tmp_path)
        path = tmp_path / ("t.arrow" if way is ipc_file else "t.arrows")
        path.write_bytes(path.read_bytes().replace(b"UTC", b"\xffTC"))
        assert cells(read_ipc(path), "message_time") == table()["message_time"].to_pylist()
