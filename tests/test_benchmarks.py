"""The benchmarks measure what they say: peers write the same, data are reproducible, a run becomes a page.

No time is held against anything.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree as ET

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from pytest_benchmark.fixture import BenchmarkFixture

import benchmarks.__main__
from benchmarks import client, data, raw
from benchmarks.archivers import by_isal
from benchmarks.charts import Axis, Bar, Chart, Series, bars, plot
from benchmarks.job import Null, Work, check, work
from benchmarks.machine import Watch, busy
from benchmarks.measure import Check, interleaved, without
from benchmarks.peers import PEERS, Peer
from benchmarks.report import write_report
from export_engine.pipeline.deflate import PIECE

#: A benchmark of a file, with whether it is marked to be run by hand.
BENCHMARK = r"^(@pytest\.mark\.scale\n)?(?:@.*\n)*def (test_\w+)"
ROOT = Path(__file__).parent.parent

#: What the peers need that the engine does not.
BESIDES = ("stream_zip", "polars", "pandas", "duckdb", "hayazip")


@pytest.fixture(scope="module")
def job() -> Work:
    return work(data.synthetic(5, 600, seed=3))


def rewritten(archive: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The archive with each member's bytes changed."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name)))
    return target.getvalue()


def ours(job: Work) -> bytes:
    return b"".join(data.export(job.rows.table, job.rows.days))


# --- peers ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_writes_the_same_archive(job: Work, peer: Peer) -> None:
    """Same members, names, columns and cells as the rows that the engine gets."""
    for library in BESIDES:
        if library.replace("_", "-") in peer.name.lower():
            pytest.importorskip(library)
    if "+ zip," in peer.name and not shutil.which("zip"):
        pytest.skip("needs the zip command")
    prepared, archive = peer.prepare(job), io.BytesIO()
    peer.write(prepared, archive)
    check(job, archive.getvalue(), tells_null=peer.tells_null, keeps_order=peer.keeps_order)
    peer.write(prepared, Null())


@pytest.mark.slow
def test_the_engine_passes_the_same_check(job: Work) -> None:
    """What peers are held to, the engine is."""
    check(job, ours(job))
    objects = data.export(data.conversations(job.rows.table), job.rows.days)
    assert b"".join(objects) == ours(job)


@pytest.mark.parametrize(
    "change",
    [
        lambda csv: csv.replace(b'"inbound"', b'"outbound"', 1),
        lambda csv: csv.rpartition(b'\r\n"')[0] + b"\r\n",
        lambda csv: csv.replace(b",,", b',"",', 1),
    ],
    ids=["a cell", "a row", "a null"],
)
def test_the_check_sees_what_differs(job: Work, change: Callable[[bytes], bytes]) -> None:
    """One other cell, one row less, one null that became an empty text; also of an archive that was right before."""
    check(job, ours(job))
    with pytest.raises(AssertionError):
        check(job, rewritten(ours(job), change))


def test_the_check_sees_a_missing_member(job: Work) -> None:
    """An archive of fewer conversations is refused."""
    fewer = job.rows.table.slice(0, job.members[-1].start)
    with pytest.raises(AssertionError):
        check(job, b"".join(data.export(fewer, job.rows.days)))


def test_a_peer_with_isal_leaves_zipfile_as_it_was(job: Work) -> None:
    """What comes after it deflates with zlib again."""
    before = zipfile._get_compressor  # type: ignore[attr-defined]  # that is what is looked at
    by_isal([(job.members[0], b"text")], Null(), level=1)
    assert zipfile._get_compressor is before  # type: ignore[attr-defined]  # the same


def test_a_peer_may_write_members_in_another_order_but_none_twice(job: Work) -> None:
    """Where order is not asked for, the members still are these, each once."""
    reordered = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(ours(job))) as old, zipfile.ZipFile(reordered, "w") as new:
        for name in reversed(old.namelist()):
            new.writestr(name, old.read(name))
    check(job, reordered.getvalue(), keeps_order=False)
    with pytest.raises(AssertionError):
        check(job, reordered.getvalue())
    with zipfile.ZipFile(reordered, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(job.members[0].name, archive.read(job.members[0].name))
    with pytest.raises(AssertionError):
        check(job, reordered.getvalue(), keeps_order=False)


@pytest.mark.parametrize(
    ("gone", "backend"),
    [((), "native"), (("export_engine._native",), "isal 2"), (("export_engine._native", "isal"), "zlib 1")],
)
def test_fallbacks_are_what_they_are_called(job: Work, gone: tuple[str, ...], backend: str) -> None:
    """The figures beside the kernel's come from what their names say; afterwards it is there again."""
    if backend == "native":
        pytest.importorskip("export_engine._native", reason="built where there is a compiler")
    before = data.drain(job.rows.table, job.rows.days).report.backend
    with without(*gone):
        assert data.drain(job.rows.table, job.rows.days).report.backend.startswith(backend)
    assert data.drain(job.rows.table, job.rows.days).report.backend == before


# --- data ----------------------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_table() -> None:
    """Reproducible; another seed is another table."""
    assert data.table(7, 500, seed=5).equals(data.table(7, 500, seed=5))
    assert not data.table(7, 500, seed=5).equals(data.table(7, 500, seed=6))


@pytest.mark.parametrize(("per", "rows"), [(1, 10), (3, 1000), (20, 1000), (200, 1000), (1000, 10)])
def test_a_table_is_of_the_size_asked_for(per: int, rows: int) -> None:
    """Exactly so many rows, conversations of about so many, valid Arrow, all of it exported for June."""
    table = data.table(per, rows)
    table.validate(full=True)
    sizes = table["conversation_id"].combine_chunks().value_counts().field("counts").to_pylist()
    assert sum(sizes) == len(table) == rows
    assert all((per + 1) // 2 <= size <= per + per // 2 for size in sizes[:-1])
    report = data.drain(table).report
    assert (report.rows, report.conversations) == (rows, len(sizes))


def test_repeated_rows_are_new_conversations() -> None:
    """Neither an id nor a file name comes again as the pool goes round; or all of it is one conversation."""
    pool = data.table(4, 200)
    names: list[str] = []
    report = data.drain(data.repeated(pool, 1000), on_member=lambda record: names.append(record.name)).report
    assert (report.rows, report.conversations) == (1000, 5 * pc.count_distinct(pool["conversation_id"]).as_py())
    assert not [name for name in names if re.search(r" \(\d+\)\.csv$", name)]
    assert data.drain(data.repeated(pool, 1000, one_conversation=True)).report.conversations == 1


def test_chitchat_is_exported_whole() -> None:
    """Every message of the data set lies in the days given."""
    chat = data.chitchat()
    report = data.drain(chat.table, chat.days).report
    assert (report.rows, report.conversations) == (258_145, 7_168)


# --- measuring -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_contenders_take_turns() -> None:
    """A round to warm up, then A B A B; what a contender leaves behind is tidied up before the next begins."""
    events: list[str] = []

    def contender(name: str) -> Callable[[], None]:
        events.append(name)
        return lambda: events.append(f"{name} tidied")

    def pedantic(target: Callable[..., Any], args: tuple[Any, ...], setup: Callable[[], None], rounds: int) -> None:
        for _ in range(rounds):
            setup()
            target(*args)

    stats = SimpleNamespace(stats=SimpleNamespace(data=[0.5, 0.75, 1.0]))
    stub = SimpleNamespace(pedantic=pedantic, extra_info={}, stats=stats)
    runs = {"A": lambda: contender("A"), "B": lambda: contender("B")}
    medians = interleaved(cast("BenchmarkFixture", stub), runs, 3)
    assert events == ["A", "A tidied", "B", "B tidied"] * 4
    assert medians["B"] == 0.75
    assert len(stub.extra_info["seconds"]["A"]["all"]) == 3


def test_a_check_knows_its_direction() -> None:
    """At least and at most."""
    assert Check("", 2, ">=", 2).holds
    assert not Check("", 2, ">=", 3).holds
    assert Check("", 2, "<=", 2).holds
    assert not Check("", 2, "<=", 1).holds


def test_raw_deflate_covers_every_byte() -> None:
    """Small members whole, long ones in the engine's pieces, on one thread and on two."""
    members = [b"a" * 10, b"b" * (2 * PIECE + 1), b"c" * 1000]
    assert [len(text) for text, _, _ in raw.pieces(members[1])] == [PIECE, PIECE, 1]
    for threads in (1, 2):
        seen: list[int] = []

        def whole(text: bytes, seen: list[int] = seen) -> bytes:
            seen.append(len(text))
            return text

        raw.deflater(members, threads, whole, lambda text, _, __, whole=whole: whole(text))()  # type: ignore[misc]  # mypy knows no default in a lambda
        assert sum(seen) == sum(map(len, members))


# --- the machine ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "others", "is_busy"),
    [(0.3, 0.01, False), (1.6, 0.01, True), (0.3, 0.5, True), (None, None, False), (None, 0.5, True)],
)
def test_a_busy_machine_is_told(load: float | None, others: float | None, is_busy: bool) -> None:
    """By its load before the run, or by what others took during it; what is not known does not speak against it."""
    assert busy({"load": load, "seconds": 1.0, "others": others}) is is_busy


def test_no_run_begins_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It says so and ends with an error before anything is run or written."""
    monkeypatch.setattr("benchmarks.__main__.load", lambda: 7.5)
    monkeypatch.setattr("sys.argv", ["benchmarks"])
    monkeypatch.setattr("subprocess.run", None)
    assert benchmarks.__main__.main() == 1
    assert "7.50" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="reads /proc/stat")
def test_work_of_others_is_told_from_our_own() -> None:
    """What another process burns while we watch counts; what we burn, and our children, does not."""
    burn = "import time; end = time.process_time() + {}\nwhile time.process_time() < end: pass"
    watch = Watch.begin()
    subprocess.run([sys.executable, "-c", burn.format(0.5)], check=True)
    found = watch.found()
    seconds, others = found["seconds"], found["others"]
    assert seconds is not None
    assert others is not None
    # On a busy machine others may have taken the rest; never what our child took.
    assert others * seconds <= (os.cpu_count() or 1) * seconds - 0.4
    watch = Watch.begin()
    # A child that is not waited for is not yet ours: it stands for any other process.
    with subprocess.Popen([sys.executable, "-c", burn.format(0.5) + "\ninput()"], stdin=subprocess.PIPE) as other:
        # It may be done a clock tick short of what it was told to burn.
        while _ticks(other.pid) < 0.45:
            time.sleep(0.05)
        found = watch.found()
        other.communicate(b"\n")
    assert (found["others"] or 0) * (found["seconds"] or 0) >= 0.4


def _ticks(pid: int) -> float:
    """Processor seconds of a process that runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- the client of the service -------------------------------------------------------------------------------------


class Answers(BaseHTTPRequestHandler):
    """Answers what its server is told to, and notes what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """A poll."""
        self._answer(b"")

    def do_POST(self) -> None:
        """A trigger."""
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        server = cast("Any", self.server)
        server.asked.append((self.command, self.path, self.headers["X-API-Key"], body, self.client_address))
        self.send_response(server.status)
        self.send_header("Content-Length", "0")
        if server.closes:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def answering(status: int, *, closes: bool = False) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.status, server.closes, server.asked = status, closes, []
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(30)
        server.server_close()


def asked(monkeypatch: pytest.MonkeyPatch, server: Any, *channels: str) -> dict[str, float]:
    """What the client found in a fifth of a second."""
    order = client.Order(server.server_address[1], "a-key", "/path", 0.2, 3, channels)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(asdict(order))))
    said: list[str] = []
    client.main(said.append)
    found: dict[str, float] = json.loads(said[0])
    return found


@pytest.mark.slow
def test_the_client_polls_over_connections_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as it was told, each one request after another; its figures are of what it did."""
    with answering(200) as server:
        found = asked(monkeypatch, server)
        assert {request[:4] for request in server.asked} == {("GET", "/path", "a-key", b"")}
        assert len({request[4] for request in server.asked}) == 3
    assert len(server.asked) > 3
    assert 0 < found["p50"] <= found["p99"]
    assert found["a_second"] <= len(server.asked) / 0.2


@pytest.mark.slow
def test_the_client_triggers_no_range_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection for each channel; each request is for another range, so that none is refused for the one before."""
    with answering(202) as server:
        asked(monkeypatch, server, "a", "b")
        bodies = [request[3] for request in server.asked]
    assert len(set(bodies)) == len(bodies) > 2
    assert {json.loads(body)["channel_id"] for body in bodies} == {"a", "b"}
    assert all(json.loads(body)["start_date"] <= json.loads(body)["end_date"] for body in bodies)


@pytest.mark.slow
@pytest.mark.parametrize(("status", "closes", "said"), [(503, False, "503"), (200, True, "kept alive")])
def test_the_client_measures_nothing_else(
    monkeypatch: pytest.MonkeyPatch, status: int, closes: bool, said: str
) -> None:
    """Another answer than is wanted, or a connection that the server closed, is an error and no figure."""
    with answering(status, closes=closes) as server, pytest.raises(AssertionError, match=said):
        asked(monkeypatch, server)


# --- page ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_becomes_a_page(tmp_path: Path) -> None:
    """Every benchmark runs, and its saved run makes a page with all its charts."""
    for library in BESIDES:
        pytest.importorskip(library)
    if not shutil.which("zip"):
        pytest.skip("needs the zip command")
    saved, folder = tmp_path / "run.json", tmp_path / "page"
    command = [sys.executable, "-m", "benchmarks", "--busy", "--rows=400", "--rounds=1"]
    # On several processors pytest-benchmark would measure nothing: this run is one of its own.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    ran = subprocess.run(
        [*command, f"--json={saved}", f"--folder={folder}"],
        cwd=ROOT,
        env=own,
        capture_output=True,
        check=False,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout
    assert "against the targets" in ran.stdout
    page = (folder / "RESULTS.md").read_text()
    for title in (
        "Against the targets",
        "Peers",
        "kernel alone",
        "deflate alone",
        "time goes",
        "Scaling",
        "Compression",
        "Whole lakes",
        "The service",
        "Latency",
        "keep in mind",
    ):
        assert re.search(rf"^## .*{title}", page, re.MULTILINE), title
    shown = set(re.findall(r"(?:src|srcset)=\"(.*?)\"", page))
    assert shown == {path.name for path in folder.glob("*.svg")}
    names = {one["name"].partition("[")[0] for one in json.loads(saved.read_text())["benchmarks"]}
    defined = {
        name
        for path in (ROOT / "benchmarks").glob("test_*.py")
        # Those that are run by hand are not in a run.
        for scale, name in re.findall(
            r"^(@pytest\.mark\.scale\n)?(?:@.*\n)*def (test_\w+)", path.read_text(), re.MULTILINE
        )
        if not scale
    }
    assert defined - names <= ({"test_memory"} if sys.platform != "linux" else set())


RUN: dict[str, Any] = {
    "benchmarks": [],
    "machine_info": {"machine": "a", "system": "b", "python_implementation": "c", "python_version": "d"},
    "libraries": {"isal": "1"},
    "backends": {"fast": "native 1"},
    "datetime": "2026-11-27T01:02:03",
    "rows": 400,
    "rounds": 1,
}


@pytest.mark.parametrize(("load", "says_so"), [(0.2, False), (3.0, True)])
def test_a_page_says_whether_the_machine_was_busy(tmp_path: Path, load: float, says_so: bool) -> None:
    """With date and backend; so that no time of a busy machine is taken for one."""
    write_report(RUN | {"machine_load": {"load": load, "seconds": 61.0, "others": 0.0}}, tmp_path)
    page = (tmp_path / "RESULTS.md").read_text()
    assert ("The machine was busy" in page) is says_so
    for fact in ("2026-11-27", "`fast` is native 1", f"before the run: {load:.2f}", "isal 1"):
        assert fact in page


def test_a_new_page_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    """Pictures that it no longer shows go; what else is in the folder stays."""
    for name in ("old.svg", "old-dark.svg", "another.svg"):
        (tmp_path / name).write_text("")
    (tmp_path / "RESULTS.md").write_text('<source srcset="old-dark.svg"><img src="old.svg">')
    write_report(RUN | {"machine_load": {"load": None, "seconds": 1.0, "others": None}}, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"RESULTS.md", "another.svg"}


SVG = "{http://www.w3.org/2000/svg}"


def drawn(chart: Chart) -> list[ET.Element]:
    """Both files of a chart."""
    return [ET.fromstring(text) for text in (chart.light, chart.dark)]  # noqa: S314  # written a moment ago


def texts(root: ET.Element) -> list[str]:
    return [text.text or "" for text in root.iter(f"{SVG}text")]


@pytest.mark.parametrize(
    "chart",
    [
        bars("a < b", "c & d", [Bar('"quoted"', 1, "1"), Bar("zero", 0, "0", ours=True)]),
        bars("none", "", [Bar("zero", 0, "0")]),
        *(
            plot("t", "s", axis, Axis("y"), [Series("one", [(3, 5)], ["label"])])
            for axis in (Axis("x"), Axis("x", log=True), Axis("x", zero=True), Axis("x", ticks=(3,)))
        ),
    ],
)
def test_charts_are_well_formed(chart: Chart) -> None:
    """A single point, equal values and zeros have a place; text is text; who does not see it is told what it shows."""
    for root in drawn(chart):
        assert root.get("role") == "img"
        assert root.findtext(f"{SVG}title") == chart.title in texts(root)
        assert root.findtext(f"{SVG}desc")
        assert not root.get("style")
    assert chart.light != chart.dark


@pytest.mark.slow
def test_charts_are_the_same_each_time() -> None:
    """The same figures give the same files: a new run changes no more than what it measured."""
    made = [plot("t", "s", Axis("x"), Axis("y"), [Series("one", [(1, 2), (2, 3)])]) for _ in range(2)]
    assert made[0] == made[1]


@pytest.mark.slow
def test_no_label_leaves_the_picture() -> None:
    """However long a bar's label, and wherever a ring's point, it begins and ends within."""
    long = "pyarrow.csv + zipfile, isal 1 on threads, from the very same objects as the engine"
    for chart in (
        bars("t", "s", [Bar(long, 3, "1,000 k/s", ours=True), Bar("short", 1, "1 k/s")]),
        plot("t", "s", Axis("x"), Axis("y"), [Series("p", [(0, 0), (9, 9)], ["balanced", "balanced"], large=True)]),
    ):
        for root in drawn(chart):
            width = float((root.get("viewBox") or "").split()[2])
            level = [text for text in root.iter(f"{SVG}text") if "rotate(-90" not in text.get("transform", "")]
            assert len(level) >= 5
            for text in level:
                style = text.get("style", "")
                [size] = re.findall(r"font-size: ([\d.]+)px", style)
                at = float(text.get("x") or re.findall(r"translate\(([\d.-]+)", text.get("transform", ""))[0])
                font = FontProperties(family="DejaVu Sans", weight=700 if "font-weight: 700" in style else 400)
                wide = TextPath((0, 0), text.text or "", float(size), prop=font).get_extents().width
                anchor = re.search(r"text-anchor: (\w+)", style)
                left = at - {"middle": wide / 2, "end": wide}.get(anchor[1] if anchor else "start", 0)
                assert 0 <= left <= left + wide <= width, (text.text, left, left + wide, width)


def test_levels_do_not_lie_on_each_other() -> None:
    """Of labels whose points are one, one is drawn, and then beside it."""
    crowd = Series("crowd", [(5, 5), (5, 5.001), (1, 1), (9, 9)], ["17", "18", "a", "b"])
    for root in drawn(plot("t", "s", Axis("x"), Axis("y"), [crowd])):
        places = [
            tuple(float(part) for part in re.findall(r"[\d.]+", text.get("transform", "")))
            for text in root.iter(f"{SVG}text")
            if text.text in ("17", "18")
        ]
        assert len(set(places)) == len(places)


def test_pool_is_shared() -> None:
    """Repeating copies no text: a source of any size costs the memory of its pool."""
    pool = data.table(4, 200)
    first = next(iter(data.repeated(pool, 400)))
    assert first["message_text"].buffers()[2].address == pa.table(pool)["message_text"].chunk(0).buffers()[2].address
