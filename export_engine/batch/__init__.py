"""Many channels and periods at once: one archive for each, out of a lake of rows in any order.

A `BatchPlan` says what is made and where it goes. `export_lake` has DuckDB put a `Lake` in order, on one machine, and
`export_dataframe` has Spark do it, on a cluster; both hand the rows to `export_partition`, the one logic. Each archive
has a `Receipt`: what has one is not made again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from export_engine.door import door

if TYPE_CHECKING:
    from export_engine.batch.check import TargetCheck, check_target
    from export_engine.batch.core import export_partition
    from export_engine.batch.counted import LakeCounts
    from export_engine.batch.lake import Lake
    from export_engine.batch.local import count_lake, export_lake
    from export_engine.batch.plan import BatchPlan
    from export_engine.batch.receipts import ArchiveResult, Counted, Receipt, write_results
    from export_engine.batch.runs import LAKE_SCHEMA
    from export_engine.batch.spark import export_dataframe

__all__ = [
    "LAKE_SCHEMA",
    "ArchiveResult",
    "BatchPlan",
    "Counted",
    "Lake",
    "LakeCounts",
    "Receipt",
    "TargetCheck",
    "check_target",
    "count_lake",
    "export_dataframe",
    "export_lake",
    "export_partition",
    "write_results",
]

#: Where the names stand: each is loaded, with the library that it needs, when it is first asked for.
_LOADED_WHEN_USED = {
    "LAKE_SCHEMA": "runs",
    "ArchiveResult": "receipts",
    "BatchPlan": "plan",
    "Counted": "receipts",
    "Lake": "lake",
    "LakeCounts": "counted",
    "Receipt": "receipts",
    "TargetCheck": "check",
    "check_target": "check",
    "count_lake": "local",
    "export_dataframe": "spark",
    "export_lake": "local",
    "export_partition": "core",
    "write_results": "receipts",
}

__getattr__, __dir__ = door(globals(), _LOADED_WHEN_USED)
