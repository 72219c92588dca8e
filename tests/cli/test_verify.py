"""`export-engine verify` as a user runs it."""

from __future__ import annotations

import csv
import errno
import io
import re
from pathlib import Path
from zipfile import ZipFile

import pytest
from click.testing import CliRunner

from export_engine.cli.verify import verify
from tests.cli.command import NESTED, run

FORMULA = re.compile("[=+@\t\r\n\0＝＋－＠-]|'(?![=+@\t\r\n\0＝＋－＠'-])")


def formulas(archive: Path) -> int:
    """Cells that begin as a formula does, but for phone numbers."""
    count = 0
    with ZipFile(archive) as opened:
        for name in opened.namelist():
            for row in csv.DictReader(io.StringIO(opened.read(name).decode(), newline="")):
                phone = re.fullmatch(r"\+[1-9][0-9]{1,14}", row["contact_phone"]) is not None
                count += sum(FORMULA.match(cell) is not None for cell in row.values()) - phone
    return count


@pytest.mark.slow
def test_verify(archive: Path) -> None:
    """An archive that is right gives its counts and exit code 0."""
    expected = f"30 CSVs, 30 conversations, 160 messages, {archive.stat().st_size / 1000:.1f} kB: no problems\n"
    expected += (
        f"CSVs: UTF-8, CRLF, no byte order mark; a spreadsheet may take {formulas(archive)} cells for formulas\n"
    )
    assert run("verify", archive, "--manifest", archive.parent / "manifest.jsonl") == (0, expected.encode(), "")


@pytest.mark.slow
def test_a_file_that_is_no_manifest(archive: Path) -> None:
    """It is told once, not once for each CSV."""
    code, output, _ = run("verify", archive, "--manifest", NESTED)
    assert code == 3
    first, second = output.decode().splitlines()[2:]
    assert first == (
        "  manifest: record 1 cannot be read: it has no 'first_time'; give the file that was written with the archive"
    )
    assert second.startswith("  manifest: what it has of 30 CSVs is not known, the first of them 'Jane Doe--")


def test_an_archive_in_a_folder_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not said to be missing."""

    def refused(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refused)
    result = CliRunner().invoke(verify, ["theirs/june.zip"])
    assert result.exit_code == 2
    assert "'theirs/june.zip' cannot be looked at: Permission denied" in result.output


@pytest.mark.slow
def test_an_archive_that_is_given_twice(tmp_path: Path, archive: Path) -> None:
    """It is told as that, also by another name of the file, and read once."""
    (tmp_path / "link.zip").symlink_to(archive)
    code, output, errors = run("verify", archive, archive, tmp_path / "link.zip")
    assert (code, errors) == (3, "")
    first, _, *problems = output.decode().splitlines()
    assert first.startswith("30 CSVs, 30 conversations, 160 messages, ")
    assert problems == [
        f"  {archive} is given twice: give each archive once",
        f"  {tmp_path / 'link.zip'} is given twice, first as {archive}: give each archive once",
    ]


@pytest.mark.slow
def test_verify_finds_problems(tmp_path: Path, archive: Path) -> None:
    """Problems are printed, a line each, and the exit code is 3."""
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0x55
    (tmp_path / "a.zip").write_bytes(data)
    code, output, errors = run("verify", tmp_path / "a.zip")
    assert (code, errors) == (3, "")
    assert b"problems found\n" in output
    assert output.splitlines()[-1].startswith(b"  '")
    (tmp_path / "b.zip").write_bytes(data[: len(data) // 2])
    code, output, errors = run("verify", tmp_path / "b.zip")
    assert (code, errors) == (3, "")
    assert b"no whole ZIP archive" in output
    assert run("inspect", tmp_path / "b.zip")[0] == 1
