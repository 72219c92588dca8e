"""The ways to make one archive for each channel and month out of one lake, each run in a process of its own.

`python -m benchmarks.batch WAY FOLDER MEMORY_LIMIT` runs one of `WAYS` over FOLDER/lake into FOLDER/out; `measured`
does so and says what the kernel counted: processor seconds are steadier than the clock's where others work too.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from isal import isal_zlib

from export_engine import Channel, DateRange, export_conversations
from export_engine.batch import BatchPlan, Lake, export_lake

__all__ = ["WAYS", "Run", "lake", "measured"]

START, END = date(2026, 4, 1), date(2026, 6, 30)
MONTHS = 3
#: 1 April and 1 July 2026, UTC.
_BEGIN_US, _END_US = 1_775_001_600_000_000, 1_782_864_000_000_000
_FILE_ROWS = 1_000_000


class Run(NamedTuple):
    """What a run took: processor seconds (its threads' all), seconds by the clock, and the most memory, in MiB."""

    cpu: float
    wall: float
    peak: float


def lake(folder: Path, rows: int, channels: int) -> None:
    """An unsorted lake: one channel has a fifth of the rows, conversations have about twenty, and go on for months."""
    (folder / "lake").mkdir(parents=True)
    rng = np.random.default_rng(1)
    words = np.array(["hello", "order", "thanks", "delivery", "tomorrow", "please", "where", "invoice", "noon", "yes"])
    add = np.char.add
    for number, begin in enumerate(range(0, rows, _FILE_ROWS)):
        n = min(_FILE_ROWS, rows - begin)
        channel = np.where(rng.random(n) < 0.2, 0, rng.integers(0, channels, n)).astype(str)
        conversation = rng.integers(0, max(rows // 20 // channels, 1), n).astype(str)
        text = words[rng.integers(0, 10, n)]
        for _ in range(7):
            text = add(add(text, " "), words[rng.integers(0, 10, n)])
        table = pa.table(
            {
                "channel_id": add("channel-", channel),
                "channel_name": add("Channel ", channel),
                "message_id": add("message-", np.arange(begin, begin + n).astype(str)),
                "conversation_id": add(add(channel, "-"), conversation),
                "contact_name": add("Contact ", conversation),
                "direction": np.where(rng.random(n) < 0.5, "inbound", "outbound"),
                "speaker_type": np.full(n, "customer"),
                "message_time": pa.array(rng.integers(_BEGIN_US, _END_US, n), pa.timestamp("us", "UTC")),
                "message_text": text,
            }
        )
        pq.write_table(table, folder / "lake" / f"part-{number:04d}.parquet")


def batch(folder: Path, limit: str) -> None:
    """One sort, out of core, as `export-engine batch` does it."""
    made = Lake.of_files([str(folder / "lake" / "*.parquet")], memory_limit=limit, spill_folder=folder)
    plan = BatchPlan(target=str(folder / "out"), date_range=DateRange(START, END))
    for result in export_lake(made, plan):
        assert result.status == "done", result.error


def loop(folder: Path, limit: str) -> None:
    """A query for each channel and month, sorted there, and an export of its rows."""
    files = str(folder / "lake" / "*.parquet")
    connection = duckdb.connect(config={"memory_limit": limit, "temp_directory": str(folder / "spill")})
    connection.execute("SET TimeZone = 'UTC'")
    channels = connection.execute("SELECT DISTINCT channel_id FROM read_parquet(?) ORDER BY 1", [files]).fetchall()
    connection.execute(
        "CREATE TABLE created AS SELECT conversation_id, min(message_time) AS created_at FROM read_parquet(?) "
        "GROUP BY 1",
        [files],
    )
    plan = BatchPlan(target=str(folder / "out"), date_range=DateRange(START, END))
    for (channel_id,) in channels:
        for period in plan.periods():
            rows: Any = connection.execute(
                "SELECT * FROM read_parquet($files) JOIN created USING (conversation_id) WHERE channel_id = $channel "
                "AND message_time >= $start::DATE AND message_time < $end::DATE + 1 "
                "ORDER BY conversation_id, message_time, message_id",
                {
                    "files": files,
                    "channel": channel_id,
                    "start": period.date_range.start,
                    "end": period.date_range.end,
                },
            ).to_arrow_table()
            place = folder / "out" / period.name
            place.mkdir(parents=True, exist_ok=True)
            export_conversations(
                rows,
                channel=Channel(rows["channel_name"][0].as_py(), None, channel_id),
                date_range=period.date_range,
                export_id=plan.key(channel_id, period).export_id,
            ).write_to(place)


def copy(folder: Path, limit: str) -> None:
    """DuckDB's own partitioned CSVs, zipped: less than is wanted, one CSV for each channel and month, in no order.

    At its best: no order is kept, no part is closed and opened again, and the fastest deflate there is packs them.
    """
    connection = duckdb.connect(config={"memory_limit": limit, "temp_directory": str(folder / "spill")})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("SET partitioned_write_max_open_files = 10000")
    parts = folder / "parts"
    connection.execute(
        "COPY (SELECT *, strftime(message_time, '%Y-%m') AS month FROM read_parquet("  # noqa: S608  # paths of its own
        f"'{folder}/lake/*.parquet')) TO '{parts}' (FORMAT csv, PARTITION_BY (channel_id, month))"
    )
    (folder / "out").mkdir()
    zipfile.zlib = isal_zlib  # type: ignore[attr-defined]  # this process does nothing else
    for number, found in enumerate(sorted(parts.glob("*/*"))):
        with zipfile.ZipFile(folder / "out" / f"{number}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for path in sorted(found.iterdir()):
                archive.write(path, path.name)


WAYS: dict[str, Callable[[Path, str], None]] = {"batch": batch, "loop": loop, "copy": copy}


def measured(way: str, folder: Path, limit: str) -> Run:
    """Run one way in a process of its own, after what the last one made is gone. Raises CalledProcessError."""
    for left in ("out", "parts", "spill"):
        shutil.rmtree(folder / left, ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.batch", way, str(folder), limit]
    began = perf_counter()
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    cpu, peak = map(float, done.stdout.split())
    return Run(cpu, perf_counter() - began, peak)


def _used() -> tuple[float, float]:
    """Processor seconds of this process so far, and its most memory in MiB.

    Not `ru_maxrss`, which has what the process had that this one was started by.
    """
    (high,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return process_time(), int(high.split()[1]) / 1024


if __name__ == "__main__":
    WAYS[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
    print(*_used())
