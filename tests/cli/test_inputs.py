"""Inputs as a shell gives them, and processes that end as they should whatever is wrong in a CSV."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from export_engine.sources import SourceContext, read_csv
from export_engine.times import time_zone
from tests.cli.command import heeding

with contextlib.suppress(ImportError):  # POSIX
    import fcntl
    import termios

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "export_engine", "export"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "COLUMNS": "80"}
OPTIONS = ["--channel-name", "x", "--start", "2026-06-01", "--end", "2026-06-30", "--id", "x", "--output", "-"]

#: Side by side, as many as this machine is likely to have processors for.
PROCESSES = 2

HEAD = "message_id,conversation_id,direction,speaker_type,message_time,message_text\n"


def csv_of(rows: int) -> list[str]:
    return [f"m{at},c{at // 10},inbound,customer,2026-06-02T08:00:00Z,hello\n" for at in range(rows)]


SMALL = (HEAD + "".join(csv_of(50))).encode()


def run(*arguments: str, data: bytes | None = None, timeout: float = 240) -> tuple[int, bytes, str]:
    done = subprocess.run(
        [*COMMAND, *arguments, *OPTIONS],
        input=data,
        stdin=subprocess.DEVNULL if data is None else None,
        capture_output=True,
        env=ENVIRONMENT,
        check=False,
        timeout=timeout,
    )
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The archive of the small file."""
    path = tmp_path_factory.mktemp("small") / "a.csv"
    path.write_bytes(SMALL)
    code, archive, errors = run(str(path))
    assert (code, errors) == (0, "")
    return archive


def stream() -> bytes:
    sink = pa.BufferOutputStream()
    (batch,) = read_csv(io.BytesIO(SMALL)).batches(SourceContext(time_zone("UTC")))
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda: SMALL, stream, lambda: b"\x1f\x8b" + __import__("gzip").compress(SMALL)[2:]])
def test_standard_input(make: Callable[[], bytes], expected: bytes) -> None:
    """`-` is what is piped in, its format and compression told by the content."""
    assert run("-", data=make()) == (0, expected, "")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="needs /dev/stdin")
def test_standard_input_as_a_path(expected: bytes) -> None:
    """It is opened once."""
    assert run("/dev/stdin", data=SMALL) == (0, expected, "")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_process_substitution(tmp_path: Path, expected: bytes) -> None:
    """As is what a shell makes of `<(command)`, also beside a file."""
    (tmp_path / "a.csv").write_bytes(SMALL)
    words = " ".join(f"'{word}'" for word in (*COMMAND, *OPTIONS))
    done = subprocess.run(
        ["bash", "-c", f"{words} <(cat a.csv)"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, check=True
    )
    assert done.stdout == expected


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo(tmp_path: Path, expected: bytes) -> None:
    """And a FIFO, which does not hang."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(SMALL,))
    writer.start()
    assert run(str(path)) == (0, expected, "")
    writer.join()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "data", "code", "says"),
    [
        (["-"], b"PAR1 and more", 1, "save it to a file first"),
        (["-"], b"nothing known\n", 2, "--format"),
        (["-"], b"", 2, "empty"),
        (["-", "-"], b"", 2, "twice"),
        (["-", "--format", "jsonl"], b"[\n {}\n]", 1, "jq -c"),
        (["-", "--format", "csv"], b"PAR1", 1, "--format parquet"),
        (["-"], SMALL.replace(b",", b"\t"), 1, r"--delimiter '\t'"),
        (["-"], SMALL.decode().encode("utf-16"), 1, "--encoding utf-16"),
        (["-", "--format", "jsonl"], '{"id": 1}'.encode("utf-16"), 1, "iconv"),
        (["-", "--encoding", "klingon"], SMALL, 2, "--encoding: "),
        (["-", "--csv-escape", "ab"], SMALL, 2, "--csv-escape: "),
        (["-", "--format", "jsonl", "--delimiter", ";"], SMALL, 2, "--delimiter: "),
        ([str(ROOT / ".ci")], b"", 2, "there is no file to read"),
        (["ftp://example.com/a.csv"], b"", 2, "URLs that are read begin with"),
        (["a*.csv"], b"", 2, "there is no file to read"),
        (["-"], b"PK\x03\x04", 1, "an Excel workbook"),
        (["-"], b"SQLite format 3\0", 1, "give it by its URL, with a query: --database sqlite:///FILE --sql"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], data: bytes, code: int, says: str) -> None:
    """With the option or the step that helps, in one line and without an archive."""
    found, output, errors = run(*arguments, data=data)
    assert (found, output) == (code, b"")
    assert says in errors
    assert errors.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "data"),
    [
        (["--delimiter", r"\t"], SMALL.replace(b",", b"\t")),
        (["--encoding", "utf-16"], SMALL.decode().encode("utf-16")),
        (["--csv-escape", "\\"], SMALL),
        (["--delimiter", "|", "--encoding", "cp1252"], SMALL.replace(b",", b"|")),
    ],
)
def test_options_of_csv(options: list[str], data: bytes, expected: bytes) -> None:
    """What the error names reads the file."""
    assert run("-", *options, data=data) == (0, expected, "")


def broken(rows: int, chance: random.Random) -> tuple[bytes, int]:
    """A large CSV with one fault, and in which row."""
    lines = csv_of(rows)
    at = chance.randrange(rows)
    faults = ("hello,extra", '5" pipe', '"hi"there', '"open', "caf\udce9")
    cells = lines[at].rstrip("\n").split(",")
    cells[-1] = chance.choice(faults)
    lines[at] = ",".join(cells if chance.random() < 0.8 else cells[1:-1]) + "\n"
    return (HEAD + "".join(lines)).encode("utf-8", "surrogateescape"), at + 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_broken_csv_ends_the_process_with_its_row(tmp_path: Path) -> None:
    """Always exit 1 and the row: no signal, no hang, whatever is wrong and where.

    What would end it by a signal does so in every second run or so, of a file of some size.
    """
    chance = random.Random(10)  # noqa: S311  # no secret
    files = [broken(rows, chance) for rows in (10, 20_000, 20_000, 20_000, 250_000) for _ in "ab"]

    def ended(number: int) -> tuple[int, str]:
        data, _ = files[number]
        path = tmp_path / f"{number}.csv"
        path.write_bytes(data)
        code, _, errors = run(str(path)) if number % 2 else run("-", data=data)
        return code, errors

    with ThreadPoolExecutor(PROCESSES) as pool:
        for (_, row), (code, errors) in zip(files, pool.map(ended, range(len(files))), strict=True):
            assert code == 1, errors
            assert f"row {row}" in errors


LIBRARY = """
import sys
from export_engine import Channel, DateRange, ExportError, export_conversations, open_source
from datetime import date
export = export_conversations(
    open_source(sys.stdin.buffer if sys.argv[1] == "-" else sys.argv[1], format="csv"),
    channel=Channel("x"), date_range=DateRange(date(2026, 6, 1), date(2026, 6, 30)))
try:
    for number, chunk in enumerate(export):
        if sys.argv[2] == "break" and number == 3:
            break
except ExportError as error:
    print("caught", error)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["catch", "break"])
def test_a_script_that_goes_on_ends_well(how: str, tmp_path: Path) -> None:
    """One that catches the error, or leaves the export midway, and then ends: exit 0."""
    path = tmp_path / "a.csv"
    lines = csv_of(250_000)
    if how == "catch":
        lines[500] = lines[500].replace("\n", ",extra\n")
    path.write_text(HEAD + "".join(lines))

    def ended(number: int) -> subprocess.CompletedProcess[bytes]:
        with path.open("rb") as file:
            return subprocess.run(
                [sys.executable, "-c", LIBRARY, "-" if number % 2 else str(path), how],
                stdin=file,
                capture_output=True,
                env=ENVIRONMENT,
                check=False,
                timeout=240,
            )

    with ThreadPoolExecutor(PROCESSES) as pool:
        for done in pool.map(ended, range(10)):
            assert (done.returncode, done.stderr) == (0, b"")
            assert (b"row 501" in done.stdout) is (how == "catch")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_interrupted_while_it_waits_for_a_pipe() -> None:
    """Ctrl-C ends a reading that waits: exit 130."""
    with subprocess.Popen(
        [*heeding(), "export", "-", *OPTIONS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(SMALL)
        process.stdin.flush()
        unread = array("i", [1])
        while unread[0]:  # then it waits for more
            time.sleep(0.01)
            fcntl.ioctl(process.stdin, termios.FIONREAD, unread)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130


@pytest.mark.slow
def test_help_is_readable() -> None:
    """What INPUT may be is said, and no line is longer than a terminal of 80 columns."""
    done = subprocess.run([*COMMAND, "--help"], env=ENVIRONMENT, capture_output=True, check=True, text=True)
    assert "INPUT is a file, a folder, a pattern" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
