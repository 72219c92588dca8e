"""Peers write the same archive as the engine, and the check that says so sees what differs."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable

import pytest

from benchmarks import data
from benchmarks.archivers import by_isal
from benchmarks.job import Null, Work, check, work
from benchmarks.peers import PEERS, Peer

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
