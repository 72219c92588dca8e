"""DuckDB as this package uses it: in memory, bounded, without extensions, with the export's time zone.

- **Bounded.** What exceeds the memory limit is spilled to a private folder, which is removed whatever happens: by this
  process at the end, on an error and on an interrupt; where the process is killed, by a small process that waits for
  its death (on Windows, where there is none, a killed process leaves the folder).
- **No extension.** None is downloaded or loaded by itself, and only a single SELECT is taken, so that none can be asked
  for. URLs are read through obstore alone, when a query names one.
- **No machine.** The session's time zone is the export's, never the machine's; nothing of the surrounding Python is
  visible to a query.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta, tzinfo
from pathlib import Path
from typing import Any

import pyarrow as pa

from export_engine.errors import OptionError, SourceError
from export_engine.options import byte_count
from export_engine.schema import MAX_BATCH_ROWS
from export_engine.sources.urls import SCHEMES
from export_engine.times import offset_text, zone_name

try:
    import duckdb
except ModuleNotFoundError:  # pragma: no cover - the tests have it
    raise ModuleNotFoundError(
        "DuckDB is missing, which SQL and sorting need: pip install 'export-engine[sql]'", name="duckdb"
    ) from None

__all__ = [
    "MEMORY_LIMIT",
    "THREAD_BYTES",
    "check_expression",
    "check_query",
    "connected",
    "query_errors",
    "reach",
    "selected",
    "streamed",
    "syntax_tree",
    "told",
]

#: What DuckDB may hold by default before it spills; the process takes about twice that.
MEMORY_LIMIT = "256MB"
#: What each thread is to have of it, in bytes. Eight on 256MB fail to read a Parquet file; two sort a million rows of
#: one, or of gzipped JSON.
THREAD_BYTES = 128_000_000


@contextmanager
def connected(
    zone: tzinfo,
    *,
    memory_limit: str = MEMORY_LIMIT,
    spill_folder: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    thread_bytes: int = THREAD_BYTES,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection, closed at the end, and its spill folder removed.

    `memory_limit` is a number with a unit (`"256MB"`, `"1GiB"`), `spill_folder` where the private folder is made (by
    default the system's place for temporary files), `threads` how many it works on (with one it is the caller's own):
    by default the processors, but no more than the limit has `thread_bytes` for, and one. Raises OptionError
    (`memory_limit`, `spill_folder`, `timezone`).
    """
    memory = byte_count(memory_limit, "memory_limit")  # DuckDB reads it the same way, and says less of what is wrong
    if threads is None:
        threads = max(1, min(_processors(), memory // thread_bytes))
    with _private_folder(spill_folder) as folder:
        connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": memory_limit,
                "temp_directory": folder,
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "python_enable_replacements": "false",
                "preserve_insertion_order": "true",
                "threads": threads,
            },
        )
        try:
            # It would go to standard output, where an archive may go.
            connection.execute("SET enable_progress_bar = false")
            _set_zone(connection, zone)
            yield connection
        finally:
            connection.interrupt()
            connection.close()


def _processors() -> int:
    """Processors this process may use, as far as the platform tells."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _set_zone(connection: duckdb.DuckDBPyConnection, zone: tzinfo) -> None:
    fixed = zone.utcoffset(None)
    # ICU, which DuckDB asks, has offsets under names such as GMT+08:00.
    name = "UTC" if fixed == timedelta(0) else f"GMT{offset_text(_us(fixed))}" if fixed else zone_name(zone)
    try:
        connection.execute("SET TimeZone = ?", [name])
    except duckdb.Error as error:
        raise OptionError(
            f"DuckDB does not know the time zone {name}: {_first_line(error)}", option="timezone"
        ) from None


def _us(offset: timedelta) -> int:
    return offset // timedelta(microseconds=1)


@contextmanager
def _private_folder(parent: str | os.PathLike[str] | None) -> Iterator[str]:
    """A folder of this process alone, removed whatever happens."""
    try:
        folder = tempfile.mkdtemp(prefix="export-engine-spill-", dir=parent)
    except OSError as error:
        raise OptionError(
            f"no folder can be made in {os.fspath(parent or tempfile.gettempdir())} ({error.strerror}): give another",
            option="spill_folder",
        ) from None
    reaper = _reaper(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if reaper is not None and reaper.stdin is not None:
            with suppress(OSError):
                reaper.stdin.close()
            reaper.wait()


def _reaper(folder: str) -> subprocess.Popen[bytes] | None:
    """A process that removes the folder when its standard input ends, which it does when this process dies."""
    if os.name != "posix" or not Path("/bin/sh").exists():
        return None
    return subprocess.Popen(  # noqa: S603  # fixed words and a folder of our own
        ["/bin/sh", "-c", 'cat >/dev/null; exec rm -rf -- "$1"', "sh", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a signal to the terminal's or the job's whole group does not reach it
    )


def reach(connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, Any]) -> None:
    """Let a connection read the URLs that a query or its parameters name, through obstore.

    Raises ModuleNotFoundError where that is missing.
    """
    named = f"{query} {list(parameters.values())}".lower()
    if any(f"{scheme}://" in named for scheme in SCHEMES) and not connection.filesystem_is_registered(SCHEMES[0]):
        from export_engine.sources.remote import FileSystem  # noqa: PLC0415  # there with the extra

        connection.register_filesystem(FileSystem())


@contextmanager
def selected(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, Any]
) -> Iterator[pa.RecordBatchReader]:
    """The rows of a single SELECT, read as they are asked for. Its `$name`s are bound to `parameters`, never put in.

    Raises OptionError (`sql`) for another statement or several, (`param`) for parameters that are missing or not used,
    SourceError for a query that fails.
    """
    check_query(connection, query, parameters)
    reach(connection, query, parameters)
    with query_errors():
        relation = connection.sql(query, params=dict(parameters) or None)
        reader = relation.to_arrow_reader(MAX_BATCH_ROWS)
    with reader:
        yield reader


@contextmanager
def streamed(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    query: str,
) -> Iterator[pa.RecordBatchReader]:
    """The rows of a query over batches that are the table `name`, which are read once, as its rows are asked for.

    An error of theirs arrives as it was raised.
    """
    reading = _Remembering(batches)
    connection.register(name, pa.RecordBatchReader.from_batches(schema, reading))
    with reading.errors(), selected(connection, query, {}) as reader:
        yield reader


class _Remembering:
    """A source's batches on their way through DuckDB, which would hand on its errors as others of its own."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._error: BaseException | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches
        except BaseException as error:
            self._error = error
            raise

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Let the source's own error through as it was raised."""
        try:
            yield
        except Exception:
            if self._error is not None:
                raise self._error from None
            raise


def told(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches; a query's error while it runs becomes a SourceError."""
    with query_errors():
        yield from batches


def check_query(connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, Any]) -> None:
    """Raise OptionError for what is not a single SELECT (`sql`), or for other `parameters` than it has (`param`)."""
    with query_errors():
        statements = connection.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        found = " and ".join(str(s.type).removeprefix("StatementType.") for s in statements) or "nothing"
        raise OptionError(f"one SELECT is wanted, and this is {found}: write it as one, WITH … before it", option="sql")
    wanted = statements[0].named_parameters
    if missing := sorted(wanted - parameters.keys()):
        raise OptionError(
            f"the query has ${missing[0]}, which has no value: give one, as {missing[0]}=…", option="param"
        )
    if unused := sorted(parameters.keys() - wanted):
        raise OptionError(
            f"{unused[0]} is not in the query; it has {', '.join(f'${name}' for name in sorted(wanted)) or 'none'}",
            option="param",
        )


def syntax_tree(query: str, connection: duckdb.DuckDBPyConnection | None = None) -> object:
    """A query as DuckDB parses it, as JSON; of what it cannot parse, the error. Nothing is run or opened."""
    if connection is None:
        with duckdb.connect() as own:
            return syntax_tree(query, own)
    ((tree,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    return json.loads(tree)


def check_expression(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, Any], option: str, said: str
) -> None:
    """Have DuckDB bind a query of one column around an option's text. Raises OptionError for one that it cannot be."""
    try:
        one = len(connection.extract_statements(query)) == 1
        if not one or len(connection.execute(f"DESCRIBE {query}", dict(parameters)).fetchall()) != 1:
            raise OptionError(f"{said!r} is more than one expression", option=option)
    except duckdb.Error as error:
        problem = " ".join(str(error).split("LINE ")[0].split())
        if "Referenced column" in problem:
            problem += " (text stands in single quotes)"
        raise OptionError(f"{said!r} cannot be used: {problem}", option=option) from None


@contextmanager
def query_errors() -> Iterator[None]:
    """What DuckDB raises of a query, as a SourceError that says it in one line."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        if "offload" in str(error):  # it had somewhere to go, and no room there
            raise SourceError(
                f"the spill folder is full: {_first_line(error)}; give one with more room with --spill-folder (in "
                "Python spill_folder), or more memory with --memory-limit (memory_limit)"
            ) from error
        raise SourceError(
            f"the query needs more memory: {_first_line(error)}; give it twice as much with --memory-limit (in Python "
            f"memory_limit), by default {MEMORY_LIMIT}"
        ) from error
    except duckdb.Error as error:
        raise SourceError(f"the query failed: {_advice(error)}") from error
    except RuntimeError as error:
        if "interrupted" not in str(error):
            raise
        raise KeyboardInterrupt from error  # DuckDB looks for signals itself, and says so in its own way
    except OSError as error:  # how a stream of Arrow's hands on what DuckDB raised
        if error.errno is not None:
            raise
        raise SourceError(f"the query failed: {_advice(error)}") from error


def _advice(error: Exception) -> str:
    text = str(error)
    if "Traceback" in text:  # what this package's own files raised in DuckDB
        return text.strip().rpartition("\n")[2].partition(": ")[2]
    if "requires the extension httpfs" in text:
        return f"{_first_line(error)}; no extension is loaded here"
    if "extension" in text and ("INSTALL" in text or "not found" in text):
        return f"{_first_line(error)}; no extension is loaded here: read that file with another tool first"
    if "surrogate in string" in text:
        return (
            f"{_first_line(error)} DuckDB reads no half of a character (\\ud800 without its other): write \\ufffd "
            "in its place"
        )
    # To guess more, or to leave rows out, is no advice.
    text = " ".join(text.split())
    for guess in (" Try setting 'auto_detect'", " The search space used was", " Possible fixes:"):
        text = text.partition(guess)[0]
    return text.removesuffix(" ^")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
