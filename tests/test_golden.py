"""The fixtures' exports against CSVs that an independent script wrote, and whose names were written by hand."""

from __future__ import annotations

import zipfile
from datetime import date
from pathlib import Path

import pytest

from export_engine import Channel, DateRange, export_conversations, open_source

FIXTURES = Path(__file__).parent.parent / "fixtures"


def golden() -> list[tuple[str, int, int, str, bytes]]:
    """Each member's name, rows, CSV bytes, CRC-32 and content."""
    listed = []
    for line in (FIXTURES / "golden" / "listing.txt").read_text(encoding="utf-8").splitlines():
        number, name, rows, size, crc32 = line.split("\t")
        listed.append((name, int(rows), int(size), crc32, (FIXTURES / "golden" / f"{number}.csv").read_bytes()))
    return listed


@pytest.mark.parametrize("source", ["conversations.jsonl", "conversations.parquet"])
def test_every_golden_csv(source: str, tmp_path: Path) -> None:
    """Names, order, sizes, checksums and bytes are the golden ones; a table has no conversation without rows."""
    expected = [entry for entry in golden() if entry[1] or source.endswith(".jsonl")]
    export = export_conversations(
        open_source(FIXTURES / source),
        channel=Channel("SMS Support", "+12025550123"),
        date_range=DateRange(date(2026, 6, 1), date(2026, 6, 30)),
        export_id="golden",
    )
    path = export.write_to(tmp_path)
    assert path.name == "SMS_Support_2026-06_golden.zip"
    with zipfile.ZipFile(path) as opened:
        got = [(info.filename, info.file_size, f"{info.CRC:08x}", opened.read(info)) for info in opened.infolist()]
    assert got == [(name, size, crc32, content) for name, _, size, crc32, content in expected]
    assert export.report.rows == sum(rows for _, rows, *_ in expected)
