"""What the tests of batches share."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from export_engine import DateRange, ExportOptions
from export_engine.batch import BatchPlan


@pytest.fixture
def plan(tmp_path: Path) -> BatchPlan:
    """Three months in Taipei."""
    return BatchPlan(
        target=str(tmp_path / "out"),
        date_range=DateRange(date(2026, 4, 1), date(2026, 6, 30)),
        options=ExportOptions(timezone="Asia/Taipei"),
        label="2026-07-01",
    )
