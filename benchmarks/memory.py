"""The peak memory of one export, measured in this process, which does nothing else. Linux only.

    python -m benchmarks.memory POOL.arrow ROWS [--one]

The baseline is the process after its imports, with the rows that the source will repeat already loaded; the peak is
the operating system's own figure, begun anew before the export. What the export loads, allocates and starts is all its
own.
"""

from __future__ import annotations

import gc
import json
import re
import sys
from pathlib import Path

import pyarrow as pa

from benchmarks import data

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """Print a line of JSON: rows, members, peak in bytes above the baseline, and the baseline."""
    pool, rows, *one = arguments
    with pa.OSFile(pool) as file:
        table = pa.ipc.open_file(file).read_all().combine_chunks()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is in use (proc(5))
    baseline = _status("VmRSS")
    report = data.drain(data.repeated(table, int(rows), one_conversation=bool(one)), threads=2).report
    peak = _status("VmHWM") - baseline
    print(json.dumps({"rows": report.rows, "members": report.members, "peak": peak, "baseline": baseline}))


def _status(field: str) -> int:
    """A figure of this process, in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


if __name__ == "__main__":
    main(sys.argv[1:])
