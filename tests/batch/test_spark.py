"""The same lake through a real Spark: the same bytes as DuckDB's, whatever happens to its tasks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from export_engine import SchemaError, SourceError
from export_engine.batch import ArchiveResult, BatchPlan, Lake, export_lake, export_partition
from export_engine.batch.target import open_target
from tests.batch.lakes import TIME, archives, everything, expected, generated, renamed, write_lake
from tests.ports import free_port

if find_spec("pyspark") is None:
    pytest.skip("NOT TESTED: pyspark is missing; pip install 'export-engine[spark]'", allow_module_level=True)
if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
    pytest.skip("NOT TESTED: Java is missing; apt-get install openjdk-17-jre-headless", allow_module_level=True)
if not version("pandas").startswith("2."):
    pytest.skip("NOT TESTED: Spark wants pandas 2, in an environment of its own", allow_module_level=True)

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812  # what everybody calls them

from export_engine.batch import export_dataframe

pytestmark = [
    pytest.mark.spark,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyspark", "ignore::ResourceWarning"),
]


def session(master: str, **config: str) -> SparkSession:
    """A small Spark, whose clocks are those of neither the export nor, most likely, the machine."""
    builder = SparkSession.builder.master(master)
    given = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.session.timeZone": "America/Los_Angeles",
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
    }
    for name, value in (given | config).items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    """Two threads, and four attempts of each task."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYSPARK_PYTHON", sys.executable)
        environment.setenv("PYSPARK_DRIVER_PYTHON", sys.executable)
        environment.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        running = session("local[2,4]")
        running.sparkContext.setLogLevel("OFF")
        yield running
        running.stop()


def frame(spark: SparkSession, table: pa.Table, folder: Path) -> DataFrame:
    """The rows, shuffled over files."""
    write_lake(table, folder)
    return spark.read.option("recursiveFileLookup", "true").parquet(str(folder))


def exported(spark: SparkSession, table: pa.Table, plan: BatchPlan, **more: Any) -> list[ArchiveResult]:
    return export_dataframe(frame(spark, table, Path(plan.target).with_name("lake")), plan, **{"partitions": 2} | more)


@pytest.mark.parametrize("by", ["message_time", "created_at"])
@pytest.mark.parametrize("said", ["never", "sometimes", "always"])
def test_bytes_are_those_of_duckdb(spark: SparkSession, by: Any, said: str, plan: BatchPlan, tmp_path: Path) -> None:
    """Archives and receipts, however a conversation's beginning is known; the session's zone is another."""
    table = generated(6000, 5)
    if said != "never":
        begin = datetime(2026, 4, 20, tzinfo=UTC)
        born = [begin + timedelta(days=int(name.split("-")[1]) % 80) for name in table["conversation_id"].to_pylist()]
        some = [time if said == "always" or n % 3 else None for n, time in enumerate(born)]
        table = table.append_column("created_at", pa.array(some, TIME))
    plan = replace(plan, options=replace(plan.options, range_by=by))
    results = exported(spark, table, plan)
    assert {result.error for result in results} == {None}
    other = replace(plan, target=str(tmp_path / "duckdb"))
    lake = Lake.of_files([write_lake(table, tmp_path / "again", seed=5)])
    assert sorted(export_lake(lake, other), key=lambda r: (r.channel_id, r.period)) == results
    assert everything(plan.target) == everything(other.target)
    assert archives(plan.target) == expected(table, plan)


def test_a_channel_that_was_renamed(spark: SparkSession, plan: BatchPlan, tmp_path: Path) -> None:
    """Is called what its latest message of a period says, and it is told, as DuckDB's lake does."""
    table, wanted = renamed(generated(3000, 3))
    results = exported(spark, table, plan)
    assert archives(plan.target) == expected(wanted, plan)
    other = replace(plan, target=str(tmp_path / "duckdb"))
    lake = Lake.of_files([write_lake(table, tmp_path / "again", seed=5)])
    assert sorted(export_lake(lake, other), key=lambda r: (r.channel_id, r.period)) == results
    assert [result.period for result in results if result.warning] == ["2026-05"]


@pytest.mark.parametrize("kind", ["day", "range"])
def test_naive_timestamps(spark: SparkSession, kind: Any, plan: BatchPlan) -> None:
    """Are in the plan's zone, not in the session's."""
    table = generated(3000, 2)
    us = table["message_time"].cast(pa.int64()).to_numpy() + 8 * 3_600_000_000
    naive = table.set_column(table.column_names.index("message_time"), "message_time", pa.array(us, pa.timestamp("us")))
    plan = replace(plan, period=kind)
    assert {result.status for result in exported(spark, naive, plan)} == {"done"}
    assert archives(plan.target) == expected(table, plan)


def test_all_keys_in_one_partition(spark: SparkSession, plan: BatchPlan) -> None:
    """Many archives in one task."""
    table = generated(4000, 40)
    results = exported(spark, table, plan, partitions=1)
    assert [(r.channel_id, r.period) for r in results] == sorted((r.channel_id, r.period) for r in results)
    assert archives(plan.target) == expected(table, plan)


def test_a_failing_key(spark: SparkSession, plan: BatchPlan) -> None:
    """Is a result with its reason, and the job goes on; the second run keeps the others."""
    table = generated(2000, 3)
    words = np.full(2000, "inbound")
    words[
        table["message_time"].to_pylist().index(min(t for t in table["message_time"].to_pylist() if t.month == 5))
    ] = "x"
    bad = table.set_column(table.column_names.index("direction"), "direction", pa.array(words))
    results = exported(spark, bad, plan)
    assert sorted(result.status for result in results) == ["done"] * 8 + ["failed"]
    assert any("'x' is not one of inbound, outbound" in str(result.error) for result in results)
    assert len(everything(plan.target)) == 2 * 8
    assert sorted(result.status for result in exported(spark, table, plan)) == ["done"] + ["kept"] * 8
    assert archives(plan.target) == expected(table, plan)


def killed_once(marker: Path, results: Iterator[ArchiveResult]) -> Iterator[ArchiveResult]:
    """The results of a task, whose process is killed after a few, the first time."""
    for number, result in enumerate(results):
        if number == 5:
            try:
                marker.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        yield result


def test_a_killed_worker(spark: SparkSession, plan: BatchPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its task is run again and keeps what was done: the same files in the end, and nothing else."""
    from export_engine.batch import spark as module  # noqa: PLC0415  # it needs pyspark

    table = generated(4000, 12)
    marker = tmp_path / "killed"
    schema = module._RESULT_SCHEMA

    def exported_and_killed(plan: BatchPlan, parallel: int, batches: Any) -> Iterator[pa.RecordBatch]:
        for result in killed_once(marker, export_partition(batches, plan, parallel=parallel)):
            yield pa.RecordBatch.from_pylist([asdict(result)], schema)

    monkeypatch.setattr(module, "_exported", exported_and_killed)
    results = exported(spark, table, plan)
    assert marker.exists()
    assert {result.status for result in results} == {"done", "kept"}
    with open_target(plan.target).claimed():  # what was half there is swept by whoever begins while no other is at work
        assert archives(plan.target) == expected(table, plan)
        assert len(everything(plan.target)) == 2 * len(results) == 2 * 36


def test_ids_are_text(spark: SparkSession, plan: BatchPlan) -> None:
    """Whole numbers are as they are written; zeros in front stay where they are text."""
    table = generated(600, 2)
    numbers = table.set_column(0, "channel_id", table["channel_id"].cast(pa.int64()))
    assert [result.channel_id for result in exported(spark, numbers, plan)][::3] == ["0", "1"]
    again = replace(plan, target=f"{plan.target}-2")
    assert [result.channel_id for result in exported(spark, table, again)][::3] == ["000", "001"]


@pytest.mark.parametrize(
    ("name", "column", "said"),
    [
        ("channel_id", None, "column 'channel_id' is missing"),
        ("direction", None, "column 'direction' is missing"),
        ("channel_id", "cast(channel_id AS double)", "'channel_id' is double: it must be text or a whole number"),
        ("channel_phone", "cast(1.5 AS double)", "'channel_phone' is double: it must be text or a whole number"),
        ("message_time", "cast(message_time AS string)", "'message_time' is string: it must be a timestamp"),
        ("created_at", "cast(message_time AS timestamp_ntz)", "both must have a zone, or neither"),
    ],
)
def test_columns_that_cannot_be_used(
    spark: SparkSession, name: str, column: str | None, said: str, plan: BatchPlan, tmp_path: Path
) -> None:
    """Are refused before anything is done."""
    lake = frame(spark, generated(10), tmp_path / "lake")
    lake = lake.drop(name) if column is None else lake.withColumn(name, F.expr(column))
    with pytest.raises(SchemaError, match=said):
        export_dataframe(lake, plan, partitions=2)


@pytest.mark.parametrize("name", ["channel_id", "conversation_id", "message_id", "message_time"])
def test_rows_that_would_vanish_are_counted(spark: SparkSession, name: str, plan: BatchPlan) -> None:
    """And refused."""
    table = generated(100, 2)
    values = table[name].to_pylist()
    values[3] = values[77] = None
    at = table.column_names.index(name)
    with pytest.raises(SourceError, match=f"2 rows have no {name}"):
        exported(spark, table.set_column(at, name, pa.array(values, table.schema.field(name).type)), plan)
    assert everything(plan.target) == {}


#: A job whose first task is slow in its first attempt, so that a copy of it is run beside it.
_SPECULATED = """
import sys, time
from dataclasses import asdict
from datetime import date
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import SparkSession
from export_engine import DateRange, ExportOptions
from export_engine.batch import BatchPlan, export_dataframe, export_partition, spark as module

master, lake, out, copies = sys.argv[1:]
schema = module._RESULT_SCHEMA

def exported(plan, parallel, batches):
    task = TaskContext.get()
    if task.attemptNumber():
        open(copies, "a").write(f"{task.partitionId()}\\n")
    for result in export_partition(batches, plan, parallel=parallel):
        if task.partitionId() == 0 and not task.attemptNumber():
            time.sleep(2)
        yield pa.RecordBatch.from_pylist([asdict(result)], schema)

module._exported = exported
builder = SparkSession.builder.master(master)
for name, value in {
    "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1", "spark.ui.enabled": "false",
    "spark.sql.adaptive.enabled": "false", "spark.executor.memory": "512m", "spark.executor.cores": "2",
    "spark.speculation": "true", "spark.speculation.interval": "100ms", "spark.speculation.quantile": "0.5",
    "spark.speculation.multiplier": "1.1", "spark.speculation.minTaskRuntime": "100ms",
}.items():
    builder = builder.config(name, value)
session = builder.getOrCreate()
plan = BatchPlan(
    target=out,
    date_range=DateRange(date(2026, 4, 1), date(2026, 6, 30)),
    options=ExportOptions(timezone="Asia/Taipei"),
    label="2026-07-01",
)
results = export_dataframe(session.read.parquet(lake), plan, partitions=4)
print(len({(r.channel_id, r.period) for r in results}), *sorted({r.status for r in results}))
session.stop()
"""


@contextmanager
def cluster() -> Iterator[str]:
    """A master and two workers on addresses of their own; gives the master's URL."""
    home = Path(str(find_spec("pyspark").origin)).parent  # type: ignore[union-attr]  # it is there
    port = free_port()
    environment = {
        **os.environ,
        "SPARK_HOME": str(home),
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "SPARK_DAEMON_MEMORY": "256m",
    }
    deploy = [str(home / "bin" / "spark-class"), "org.apache.spark.deploy"]
    url = f"spark://127.0.0.1:{port}"
    commands = [["master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"]]
    commands += [
        ["worker.Worker", "--host", f"127.0.0.{n}", "--cores", "2", "--memory", "600m", "--webui-port", "0", url]
        for n in (1, 2)
    ]
    with ExitStack() as stack:
        work = stack.enter_context(TemporaryDirectory())
        for name, *arguments in commands:
            process = subprocess.Popen(
                [deploy[0], f"{deploy[1]}.{name}", *arguments],
                env=environment | {"SPARK_WORKER_DIR": work},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        yield url


@pytest.mark.scale
def test_a_cluster_that_speculates(plan: BatchPlan, tmp_path: Path) -> None:
    """Two workers, and a copy of a slow task: both write the same archives, and each is there once."""
    table = generated(4000, 12)
    write_lake(table, tmp_path / "lake")
    copies = tmp_path / "copies"
    with cluster() as url:
        done = subprocess.run(
            [sys.executable, "-c", _SPECULATED, url, str(tmp_path / "lake"), plan.target, str(copies)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYSPARK_PYTHON": sys.executable},
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[0] == "36"
    assert "failed" not in done.stdout
    assert copies.exists(), "no task was run twice"
    assert archives(plan.target) == expected(table, plan)
    assert len(everything(plan.target)) == 2 * 36
