"""How much of a source has been read, where it knows how much there is."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export_engine import Channel, DateRange, Progress, export_conversations, open_source
from export_engine.sources import SourceContext, read_sql, sorted_rows

ROWS = [
    {
        "message_id": f"m{at}",
        "conversation_id": f"c{at // 20:05d}",
        "direction": "inbound",
        "speaker_type": "customer",
        "message_time": "2026-06-02T08:00:00Z",
        "message_text": f"text {at * 7919}" * 5,
    }
    for at in range(60_000)
]


def csv_text() -> bytes:
    lines = [",".join(ROWS[0]), *(",".join(row.values()) for row in ROWS)]
    return "\n".join([*lines, ""]).encode()


def parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path)


def ipc(path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    with pa.ipc.new_file(path, table.schema) as sink:
        sink.write_table(table, 10_000)


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.csv": lambda path: path.write_bytes(csv_text()),
    "a.csv.gz": lambda path: path.write_bytes(gzip.compress(csv_text(), 1)),
    "a.jsonl": lambda path: path.write_text("".join(json.dumps(row) + "\n" for row in ROWS)),
    "a.parquet": parquet,
    "a.arrow": ipc,
}


def shares(source: Any) -> list[float | None]:
    context = SourceContext(UTC)
    return [context.share and context.share() for _ in source.batches(context)]


def check(found: list[float | None]) -> None:
    """They rise, by steps, to the end."""
    known = [share for share in found if share is not None]
    assert len(known) == len(found) > 3
    assert known == sorted(known)
    assert known[0] < 0.7
    assert known[-1] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_knows_how_much_it_is(name: str, tmp_path: Path) -> None:
    """By its bytes, compressed ones too, or its rows; two files by both."""
    WRITERS[name](tmp_path / name)
    check(shares(open_source(tmp_path / name)))
    WRITERS["a.csv"](tmp_path / "z.csv")
    both = shares(open_source(tmp_path / name, tmp_path / "z.csv"))
    check(both)
    assert any(share is not None and 0.02 < share < 0.98 for share in both)


def test_what_is_sorted_is_known_then(tmp_path: Path) -> None:
    """It has been read by the time the first row is there: what counts is what is handed out."""
    WRITERS["a.csv"](tmp_path / "a.csv")
    check(shares(sorted_rows(open_source(tmp_path / "a.csv"))))


def test_others_do_not_know(tmp_path: Path) -> None:
    """A pipe, and a query, which is not counted beforehand."""
    parquet(tmp_path / "a.parquet")
    file = {"file": str(tmp_path / "a.parquet")}
    for source in (open_source(io.BytesIO(csv_text()), format="csv"), read_sql("FROM read_parquet($file)", file)):
        assert set(shares(source)) == {None}


def test_progress_has_it(tmp_path: Path) -> None:
    """What an export tells ends with all of the source."""
    parquet(tmp_path / "a.parquet")
    told: list[Progress] = []
    export = export_conversations(
        open_source(tmp_path / "a.parquet"),
        channel=Channel("x"),
        date_range=DateRange(date(2026, 6, 1)),
        on_progress=told.append,
    )
    assert b"".join(export)
    known = [now.share or 0 for now in told]
    assert known == sorted(known)
    assert (known[0] > 0, known[-1]) == (True, 1)
