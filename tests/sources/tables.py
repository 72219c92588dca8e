"""Small flat tables for tests, in memory and in files, and what sources make of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export_engine.errors import RowError
from export_engine.schema import COLUMNS, MAX_BATCH_BYTES, MAX_BATCH_ROWS, ROW_SCHEMA
from export_engine.sources import Source, SourceContext
from export_engine.sources.ipc import read_ipc
from export_engine.sources.parquet import read_parquet

TAIPEI = ZoneInfo("Asia/Taipei")
MOMENT = datetime(2026, 6, 11, 6, 50, 43, 861185, tzinfo=UTC)
REQUIRED = [column.name for column in COLUMNS if column.required]
RAW = [bytes(range(at, at + 16)) for at in range(3)]
UUIDS = pa.ExtensionArray.from_storage(pa.uuid(), pa.array(RAW, pa.binary(16)))


def table(rows: int = 2, **columns: Any) -> pa.Table:
    """The required columns, and those given."""
    given: dict[str, Any] = {
        "message_id": [f"m{row}" for row in range(1, rows + 1)],
        "conversation_id": ["c1"] * rows,
        "direction": ["inbound"] * rows,
        "speaker_type": ["customer"] * rows,
        "message_time": pa.array([MOMENT] * rows, pa.timestamp("us", "UTC")),
    }
    typed = {name: pa.array(cells, pa.string()) if isinstance(cells, list) else cells for name, cells in given.items()}
    return pa.table({**typed, **columns})


def batches(source: Source, **options: Any) -> list[pa.RecordBatch]:
    """What a source yields, held against what every source promises."""
    found = list(source.batches(SourceContext(**{"timezone": UTC, **options})))
    for batch in found:
        batch.validate(full=True)
        assert batch.schema.equals(ROW_SCHEMA)
        assert 0 < batch.num_rows <= MAX_BATCH_ROWS
        assert batch.num_rows == 1 or batch.nbytes < 1.5 * MAX_BATCH_BYTES
    return found


def cells(source: Source, name: str, **options: Any) -> list[Any]:
    return [cell for batch in batches(source, **options) for cell in batch.column(name).to_pylist()]


def refusal(source: Source, **options: Any) -> RowError:
    with pytest.raises(RowError) as caught:
        batches(source, **options)
    return caught.value


def parquet(given: pa.Table, folder: Path) -> Source:
    pq.write_table(given, folder / "t.parquet", row_group_size=2)
    return read_parquet(folder / "t.parquet")


def ipc_file(given: pa.Table, folder: Path) -> Source:
    with pa.ipc.new_file(folder / "t.arrow", given.schema) as sink:
        sink.write_table(given)
    return read_ipc(folder / "t.arrow")


def ipc_stream(given: pa.Table, folder: Path) -> Source:
    with pa.ipc.new_stream(folder / "t.arrows", given.schema) as sink:
        sink.write_table(given)
    return read_ipc(folder / "t.arrows")
