"""Memory is flat in rows and small per conversation, measured from outside the code: the process's own peak.

Each export runs in a process of its own, with two threads. The baseline is that process after the imports and one
tiny export.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MIB = 1 << 20

PROGRAM = """
import datetime as dt, json, re, sys
import numpy as np, pyarrow as pa
from export_engine import Channel, DateRange, export_conversations
from export_engine.schema import ROW_SCHEMA

START = 1_780_000_000_000_000
ROWS = 6000

def batch(first, per):
    # `per` rows a conversation, the first of them number `first`
    count = ROWS // per
    which = pa.array(np.repeat(np.arange(count), per))
    of = lambda make: pa.array([make(first + i) for i in range(count)], pa.string()).take(which)
    noise = np.random.default_rng(first).bytes(ROWS * 40).hex()
    text = pa.array([noise[i * 80 : i * 80 + 80] for i in range(ROWS)])
    given = {
        "message_id": pa.array([f"{first}-{i}" for i in range(ROWS)]),
        "conversation_id": of(lambda i: f"conversation-{i}"), "contact_name": of(lambda i: f"Contact number {i}"),
        "direction": pa.array(["inbound"] * ROWS), "speaker_type": pa.array(["customer"] * ROWS),
        "message_time": pa.array(np.arange(ROWS) + START, pa.timestamp("us", "UTC")), "message_text": text,
    }
    return pa.RecordBatch.from_arrays(
        [given.get(f.name, pa.nulls(ROWS, f.type)) for f in ROW_SCHEMA], schema=ROW_SCHEMA)

def rss(field):
    return int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

class Rows:
    def __init__(self, make, count):
        self.make, self.count, self.handed = make, count, 0
    def batches(self, context):
        for self.handed in range(1, self.count + 1):
            yield self.make(self.handed - 1)

def run(source):
    export = export_conversations(source, channel=Channel("SMS Support"), threads=2,
        date_range=DateRange(dt.date(2026, 5, 1), dt.date(2026, 12, 31)))
    first = size = 0
    at = {}
    for chunk in export:
        first = first or source.handed
        at[source.handed * 10 // source.count] = rss("VmRSS")
    return export.report, first, at

run(Rows(lambda n: batch(0, ROWS), 1)), run(Rows(lambda n: batch(n * ROWS // 3, 3), 1))
baseline = rss("VmRSS")
if sys.argv[1] == "rows":
    one = [batch(0, ROWS).set_column(8, "message_text", batch(n, 1)["message_text"]) for n in range(20)]
    source = Rows(lambda n: one[n % 20], 3_000_000 // ROWS)
else:
    source = Rows(lambda n: batch(n * (ROWS // 3), 3), 200_000 * 3 // ROWS)
report, first, at = run(source)
print(json.dumps({"peak": rss("VmHWM") - baseline, "first": first / source.count, "rows": report.rows,
    "members": report.members, "at": at}))
"""


def measured(what: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, what],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parent.parent,
        timeout=250,
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


@pytest.mark.slow
def test_a_conversation_of_three_million_messages() -> None:
    """At most 150 MiB above the imports, the first bytes out before a tenth is read."""
    result = measured("rows")
    assert (result["rows"], result["members"]) == (3_000_000, 1)
    assert result["peak"] < 150 * MIB
    assert result["first"] < 0.1


@pytest.mark.slow
def test_two_hundred_thousand_conversations() -> None:
    """At most 150 MiB above the imports, and 300 bytes for each further conversation; few batches are read ahead."""
    result = measured("conversations")
    assert (result["rows"], result["members"]) == (600_000, 200_000)
    assert result["peak"] < 150 * MIB
    assert result["first"] < 0.15
    at: dict[str, int] = result["at"]  # type: ignore[assignment]  # the one entry that is a dictionary
    assert (at["9"] - at["4"]) / 100_000 < 300
