"""Lakes for tests, and what is to come out of them: by a plain loop over channels and periods, without DuckDB."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from export_engine import Channel, export_conversations
from export_engine.batch import ArchiveResult, BatchPlan, Lake, export_lake, export_partition
from export_engine.batch.plan import Period
from export_engine.report import archive_name

__all__ = [
    "ORDER",
    "TIME",
    "OwnError",
    "alone",
    "archives",
    "everything",
    "expected",
    "exported",
    "generated",
    "made",
    "ordered",
    "renamed",
    "with_column",
    "write_lake",
]

TIME = pa.timestamp("us", "UTC")
#: How the core wants its rows.
ORDER = ("channel_id", "period", "conversation_id", "message_time", "message_id")


class OwnError(Exception):
    """The input's or the target's own."""


def generated(rows: int = 5000, channels: int = 4, seed: int = 1) -> pa.Table:
    """Rows of some channels over the second quarter of 2026 and some days around it, in no order."""
    rng = np.random.default_rng(seed)
    channel = rng.integers(0, channels, rows)
    us = rng.integers(1_774_500_000_000_000, 1_783_300_000_000_000, rows)
    conversation = rng.integers(0, max(rows // 20 // channels, 1), rows).astype(str)
    add = np.char.add
    return pa.table(
        {
            "channel_id": pa.array(np.char.zfill(channel.astype(str), 3)),
            "channel_name": pa.array(add("Channel ", channel.astype(str))),
            "message_id": pa.array(add("m", np.arange(rows).astype(str))),
            "conversation_id": pa.array(add(add(channel.astype(str), "-"), conversation)),
            "contact_name": pa.array(add("Contact ", conversation)),
            "direction": pa.array(np.full(rows, "inbound")),
            "speaker_type": pa.array(np.full(rows, "customer")),
            "message_time": pa.array(us, TIME),
            "message_text": pa.array(add("text ", rng.integers(0, 1 << 62, rows).astype(str))),
        }
    )


def with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """A table with other values in a column."""
    return table.set_column(table.column_names.index(name), name, values)


def renamed(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """A lake in which a channel got another name on 10 May, and has one in few rows of another; as it is to be read."""
    named, wanted = [], []
    for number, row in enumerate(table.select(["channel_id", "channel_name", "message_time"]).to_pylist()):
        name = row["channel_name"]
        if row["channel_id"] == "001":
            day = row["message_time"].astimezone(ZoneInfo("Asia/Taipei")).date()
            named.append(name if day < date(2026, 5, 10) else "Renamed")
            wanted.append(name if day < date(2026, 5, 1) else "Renamed")
        else:
            named.append(["", None, name][number % 3] if row["channel_id"] == "002" else name)
            wanted.append(name)
    lake, read = (with_column(table, "channel_name", pa.array(names)) for names in (named, wanted))
    return lake, read


def exported(table: pa.Table, plan: BatchPlan, **more: Any) -> list[ArchiveResult]:
    """What becomes of a lake of these rows; `more` as for `Lake.of_files`."""
    with tempfile.TemporaryDirectory() as folder:
        return list(export_lake(Lake.of_files([write_lake(table, Path(folder))], **more), plan))


def ordered(plan: BatchPlan, rows: int = 5000, channels: int = 4, seed: int = 1) -> pa.Table:
    """Rows of some channels in the plan's periods, as the core wants them."""
    table = generated(rows, channels, seed)
    period = plan.period_of(table["message_time"].cast(pa.int64()).to_numpy())
    table = table.append_column("period", pa.array(period)).filter(pa.array(period >= 0))
    return table.sort_by([(name, "ascending") for name in ORDER])


def made(table: pa.Table, plan: BatchPlan, size: int = 777, **options: Any) -> list[ArchiveResult]:
    """What the core makes of ordered rows, in batches of a size; `options` as for `export_partition`."""
    return list(export_partition(table.to_batches(size), plan, **options))


def write_lake(table: pa.Table, folder: Path, files: int = 3, seed: int = 0) -> str:
    """Shuffle rows over Parquet files; returns the pattern of their names."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(seed).permutation(table.num_rows)
    for number, part in enumerate(np.array_split(order, files)):
        pq.write_table(table.take(pa.array(part)), folder / f"part-{number:03d}.parquet")
    return str(folder / "part-*.parquet")


def everything(folder: Path | str) -> dict[str, bytes]:
    """All files, hidden ones too."""
    root = Path(folder)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def archives(folder: Path | str) -> dict[str, bytes]:
    """Its archives alone."""
    return {path: data for path, data in everything(folder).items() if path.endswith(".zip")}


def expected(table: pa.Table, plan: BatchPlan) -> dict[str, bytes]:
    """The archives of a lake: the rows of each channel and period, picked and sorted here, exported alone."""
    rows = table.to_pylist()
    created = _created(rows)
    periods = plan.periods()
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        born = created[row["channel_id"], row["conversation_id"]]
        when = born if plan.options.range_by == "created_at" else row["message_time"]
        day = when.astimezone(plan.options.tzinfo).date()
        for number, period in enumerate(periods):
            if period.date_range.start <= day <= period.date_range.end:
                groups.setdefault((row["channel_id"], number), []).append(row | {"created_at": born})
    schema = table.schema if "created_at" in table.schema.names else table.schema.append(pa.field("created_at", TIME))
    return {
        path: data
        for (channel_id, number), its in groups.items()
        for path, data in alone(
            pa.Table.from_pylist(sorted(its, key=_order), schema), plan, channel_id, periods[number]
        ).items()
    }


def alone(table: pa.Table, plan: BatchPlan, channel_id: str, period: Period) -> dict[str, bytes]:
    """One export's archives: their paths under the default layout, and their bytes."""
    names = {*table.schema.names}
    name, phone = (table[n][0].as_py() if n in names else None for n in ("channel_name", "channel_phone"))
    made = export_conversations(
        table,
        channel=Channel(name, phone, channel_id),
        date_range=period.date_range,
        options=plan.options,
        export_id=plan.key(channel_id, period).export_id,
    )
    found = list(map(b"".join, made.archives()))
    return {f"{period.name}/{archive_name(made.file_name, number)}": data for number, data in enumerate(found, 1)}


def _created(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str], datetime]:
    """When each conversation was created: as some row says, else its first message."""
    said: dict[tuple[str, str], datetime] = {}
    first: dict[tuple[str, str], datetime] = {}
    for row in rows:
        key = row["channel_id"], row["conversation_id"]
        first[key] = min(first.get(key, row["message_time"]), row["message_time"])
        if row.get("created_at") is not None:
            said[key] = min(said.get(key, row["created_at"]), row["created_at"])
    return first | said


def _order(row: dict[str, Any]) -> tuple[bytes, timedelta, bytes]:
    since = row["message_time"] - datetime(1970, 1, 1, tzinfo=UTC)
    return row["conversation_id"].encode(), since, row["message_id"].encode()
