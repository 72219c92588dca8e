"""Rows to look at before they are exported, by several roads, and what an export makes of them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from pyarrow import feather

from export_engine import (
    Channel,
    CheckReport,
    DateRange,
    ExportError,
    ExportReport,
    check_source,
    export_conversations,
    open_source,
)
from export_engine.sources import from_rows, read_sql, sorted_rows

JUNE = DateRange(date(2026, 6, 1), date(2026, 6, 30))
NOON = datetime(2026, 6, 11, 12, tzinfo=UTC)
CHANNEL = Channel("SMS Support")
ROW = {
    "message_id": "m1",
    "conversation_id": "c1",
    "direction": "inbound",
    "speaker_type": "customer",
    "message_time": "2026-06-11T06:50:43Z",
}


def rows(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    """A message for each change of the usual one."""
    return [{**ROW, "message_id": f"m{number}", **change} for number, change in enumerate(changes, 1)]


def check(*changes: dict[str, Any], **options: Any) -> CheckReport:
    return check_source(from_rows(rows(*changes)), **options)


def exported(source: Any, days: DateRange = JUNE, **options: Any) -> ExportReport | None:
    """The report of an export, None of one that fails."""
    made = export_conversations(source, channel=CHANNEL, date_range=days, **options)
    try:
        for _ in made:
            pass
    except ExportError:
        return None
    return made.report


def export_succeeds(source: Any, **options: Any) -> bool:
    """Whether an export raises nothing."""
    return exported(source, **options) is not None


def roads(made: Sequence[dict[str, Any]], folder: Path) -> Iterator[Any]:
    """The rows by several roads, each made anew whenever it is asked for."""
    names = list(dict.fromkeys(name for row in made for name in row))
    text = "".join(json.dumps(row) + "\n" for row in made)
    yield lambda: from_rows(made)
    yield lambda: open_source(io.BytesIO(text.encode()), format="jsonl")
    yield lambda: sorted_rows(from_rows(made), dedupe=True)
    if made and "\ud800" not in {row.get("message_text") for row in made}:
        table = pa.table({name: pa.array([row.get(name) for row in made], pa.string()) for name in names})
        yield lambda: table
        pq.write_table(table, folder / "a.parquet")
        yield lambda: open_source(folder / "a.parquet")
        yield lambda: read_sql("SELECT * FROM read_parquet($file)", {"file": str(folder / "a.parquet")})
        feather.write_feather(table, folder / "a.arrow", "uncompressed")
        yield lambda: open_source(folder / "a.arrow")
        pacsv.write_csv(table, folder / "a.csv")
        yield lambda: open_source(folder / "a.csv")
