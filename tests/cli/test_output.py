"""Where `export-engine export` writes to: files that are safe to replace, stores by URL, and errors of one line."""

from __future__ import annotations

import io
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import obstore
import pytest

from tests import s3
from tests.cli.command import COMMAND, ENVIRONMENT, JUNE, NAME, NESTED, needs_posix, run


def one_line(errors: str) -> str:
    """What stderr has: one line of error."""
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    return errors


# --- files ---------------------------------------------------------------------------------------------------------


def _device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except OSError:
        pytest.skip("may not make devices here")


@pytest.mark.slow
@needs_posix
@pytest.mark.parametrize("option", ["--output", "--manifest"])
@pytest.mark.parametrize(("kind", "make"), [("pipe", os.mkfifo), ("device", _device)])
def test_a_device_is_never_replaced(tmp_path: Path, kind: str, make: object, option: str) -> None:
    """As root --overwrite once turned devices into files."""
    path = tmp_path / "odd.jsonl"
    assert callable(make)
    make(path)
    before = path.lstat()
    places = ["--output", str(tmp_path / "a.zip")] if option == "--manifest" else []
    code, output, errors = run("export", NESTED, *JUNE, *places, option, path, "--overwrite")
    assert (code, output) == (1, b"")
    assert one_line(errors) == f"error: {path} is a {kind}, and only a regular file is replaced: choose another path\n"
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert [found.name for found in tmp_path.iterdir()] == ["odd.jsonl"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["june.csv", "archives"])
def test_an_archive_that_is_not_called_so(tmp_path: Path, name: str) -> None:
    """It is made as asked, and told: a CSV or a folder may have been meant."""
    code, output, errors = run("export", NESTED, *JUNE, "--output", name, cwd=tmp_path)
    assert (code, output.decode().splitlines()[0]) == (0, name)
    assert errors.startswith(f"warning: {name} is a ZIP archive, whatever it is called: ")
    with ZipFile(tmp_path / name) as archive:
        assert archive.testzip() is None


@pytest.mark.slow
@needs_posix
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams(tmp_path: Path, closed: str) -> None:
    """As of a daemon: the archive is made all the same, and nothing that is told gets into it."""
    command = shlex.join([*COMMAND, "export", str(NESTED), *JUNE, "--start", "2026-06-29"])
    done = subprocess.run(["sh", "-c", f"{command} {closed}"], cwd=tmp_path, env=ENVIRONMENT, check=False)
    assert done.returncode == 0
    with ZipFile(tmp_path / NAME) as archive:
        assert archive.testzip() is None
    listed = shlex.join([*COMMAND, "inspect", NAME])
    assert (
        subprocess.run(["sh", "-c", f"{listed} {closed}"], cwd=tmp_path, env=ENVIRONMENT, check=False).returncode == 0
    )


@pytest.mark.slow
@needs_posix
def test_an_archive_to_a_closed_stream(tmp_path: Path) -> None:
    """It would go nowhere."""
    command = shlex.join([*COMMAND, "export", str(NESTED), *JUNE, "--output", "-"])
    done = subprocess.run(["sh", "-c", f"{command} >&-"], cwd=tmp_path, env=ENVIRONMENT, stderr=-1, check=False)
    assert done.returncode == 2
    assert b"error: standard output is closed: give --output a path\n" in done.stderr


@pytest.mark.slow
@needs_posix
@pytest.mark.parametrize("target", ["in.jsonl", "link.jsonl", "/dev/stdin"])
@pytest.mark.parametrize("source", ["in.jsonl", "-", "/dev/stdin"])
@pytest.mark.parametrize("option", ["--output", "--manifest"])
def test_an_input_is_never_written_over(tmp_path: Path, source: str, target: str, option: str) -> None:
    """Also standard input that is a file."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(NESTED.read_bytes())
    (tmp_path / "link.jsonl").symlink_to(path)
    places = ["--output", "a.zip"] if option == "--manifest" else []
    with path.open() as file:
        code, output, errors = run(
            "export",
            source,
            *("--format", "jsonl"),
            *JUNE,
            *places,
            option,
            target,
            "--overwrite",
            cwd=tmp_path,
            stdin=file.fileno(),
        )
    nameless = option == "--manifest" and target == "/dev/stdin"  # refused before that
    assert (code, output) == (2 if nameless else 1, b"")
    assert ("ends in .jsonl or .parquet" if nameless else "is read by this export") in errors
    assert path.read_bytes() == NESTED.read_bytes()
    assert sorted(found.name for found in tmp_path.iterdir()) == ["in.jsonl", "link.jsonl"]


@pytest.mark.slow
@needs_posix
def test_a_link_stays(tmp_path: Path) -> None:
    """What it leads to is replaced, and --help says so."""
    (tmp_path / "real.zip").write_bytes(b"before")
    (tmp_path / "link.zip").symlink_to("real.zip")
    assert run("export", NESTED, *JUNE, "--output", tmp_path / "link.zip", "--overwrite", "--quiet") == (0, b"", "")
    assert (tmp_path / "link.zip").is_symlink()
    assert ZipFile(tmp_path / "real.zip").testzip() is None
    assert "of a symbolic link what it leads to" in " ".join(run("export", "--help")[1].decode().split())


@pytest.mark.slow
def test_archive_and_manifest_that_are_the_same(tmp_path: Path) -> None:
    """Refused; neither is made."""
    path = tmp_path / "a.jsonl"
    code, _, errors = run("export", NESTED, *JUNE, "--output", path, "--manifest", path, "--overwrite")
    assert code == 1
    assert "is to be the archive and the manifest" in one_line(errors)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("output", "says"),
    [("none/a.zip", "none: there is no such folder: make it first"), ("file/", "file/: Not a directory")],
)
def test_a_folder_that_is_none(tmp_path: Path, output: str, says: str) -> None:
    """It is named."""
    (tmp_path / "file").touch()
    code, _, errors = run("export", NESTED, *JUNE, "--output", output, cwd=tmp_path)
    assert code == 1
    assert says in one_line(errors)


# --- stores --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_upload(bucket: s3.Bucket, archive: Path) -> None:
    """The summary begins with the object's URL; the bytes are those of the file; --quiet says nothing."""
    environment = ENVIRONMENT | bucket.environment
    url = f"s3://{bucket.name}/exports/"
    code, output, errors = run(
        "export", NESTED, *JUNE, "--output", url, "--manifest", f"{url}m.jsonl", environment=environment
    )
    assert (code, errors) == (0, "")
    assert output.decode().splitlines()[0] == f"{url}{NAME}"
    assert bucket.keys() == [f"exports/{NAME}", "exports/m.jsonl"]
    assert bytes(obstore.get(bucket.store, f"exports/{NAME}").bytes()) == archive.read_bytes()
    listed = bytes(obstore.get(bucket.store, "exports/m.jsonl").bytes())
    assert listed == (archive.parent / "manifest.jsonl").read_bytes()
    code, output, errors = run("export", NESTED, *JUNE, "--output", url, environment=environment)
    assert (code, output) == (1, b"")
    assert one_line(errors).startswith(f"error: {url}{NAME} exists already")
    again = ["--output", url, "--overwrite", "--quiet"]
    assert run("export", NESTED, *JUNE, *again, environment=environment) == (0, b"", "")


@pytest.mark.slow
def test_an_upload_with_its_manifest_here(bucket: s3.Bucket, tmp_path: Path) -> None:
    """The archive goes to the store, the list stays."""
    places = ["--output", f"s3://{bucket.name}/a.zip", "--manifest", str(tmp_path / "m.jsonl"), "--quiet"]
    assert run("export", NESTED, *JUNE, *places, environment=ENVIRONMENT | bucket.environment) == (0, b"", "")
    assert len((tmp_path / "m.jsonl").read_bytes().splitlines()) == 30
    assert bucket.keys() == ["a.zip"]


@pytest.mark.slow
def test_a_file_url(tmp_path: Path) -> None:
    """It is the file."""
    code, output, errors = run("export", NESTED, *JUNE, "--output", f"{tmp_path.as_uri()}/new/")
    assert (code, errors) == (0, "")
    assert output.decode().splitlines()[0] == str(tmp_path / "new" / NAME)
    assert ZipFile(tmp_path / "new" / NAME).testzip() is None


@pytest.mark.slow
def test_a_failed_upload_leaves_nothing(bucket: s3.Bucket, tmp_path: Path) -> None:
    """Bad input: the row's own error, and neither archive nor manifest."""
    (tmp_path / "bad.jsonl").write_bytes(NESTED.read_bytes() + b"{\n")
    url = f"s3://{bucket.name}/x/"
    places = ["--output", url, "--manifest", f"{url}m.parquet"]
    code, output, errors = run(
        "export", tmp_path / "bad.jsonl", *JUNE, *places, environment=ENVIRONMENT | bucket.environment
    )
    assert (code, output) == (1, b"")
    assert "is not JSON" in one_line(errors)
    assert bucket.keys() == []
    assert bucket.uploads() == []


@pytest.mark.slow
@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_what_a_store_says(bucket: s3.Bucket, quiet: list[str]) -> None:
    """No such bucket, no credentials, refused: one line that names the bucket and what to do."""
    environment = ENVIRONMENT | bucket.environment
    code, output, errors = run("export", NESTED, *JUNE, *quiet, "--output", "s3://none-such/", environment=environment)
    assert (code, output) == (1, b"")
    assert one_line(errors) == "error: there is no bucket s3://none-such: make it, or mend its name\n"
    with bucket.server.refusing("PUT"):
        url = f"s3://{bucket.name}/x/"
        code, output, errors = run("export", NESTED, *JUNE, *quiet, "--output", url, environment=environment)
    assert (code, output) == (1, b"")
    assert re.match(
        rf"error: s3://{bucket.name} refuses x/\S+\.zip \(AccessDenied\): see to the cred", one_line(errors)
    )
    without = {name: value for name, value in environment.items() if not name.startswith("AWS_")}
    code, output, errors = run("export", NESTED, *JUNE, *quiet, "--output", "s3://bucket/", environment=without)
    assert (code, output) == (1, b"")
    assert "there are no credentials for s3://bucket: set AWS_ACCESS_KEY_ID" in one_line(errors)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("https://example.com/a.zip", "--output: https://example.com/a.zip is no place in a store"),
        ("s3://bucket/a//b", "--output: 's3://bucket/a//b' is no object's name"),
        ("s3:/bucket/", "--output: s3:/bucket/ is a URL"),
        ("az://container/", "--output: az://container cannot be opened as a store: "),
    ],
)
def test_a_url_that_cannot_work(tmp_path: Path, output: str, says: str) -> None:
    """A wrong option, with exit code 2; no folder is made of it."""
    without = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("AZURE_")}
    code, made, errors = run("export", NESTED, *JUNE, "--output", output, cwd=tmp_path, environment=without)
    assert (code, made) == (2, b"")
    assert one_line(errors).startswith(f"error: {says}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_manifest_in_a_store_needs_the_archive_there(tmp_path: Path) -> None:
    """It is refused by the option's name."""
    code, _, errors = run("export", NESTED, *JUNE, "--manifest", "s3://bucket/m.jsonl", cwd=tmp_path)
    assert code == 2
    assert one_line(errors).startswith("error: --manifest: s3://bucket/m.jsonl is a URL, not a file's path")


@pytest.mark.slow
def test_without_obstore(tmp_path: Path) -> None:
    """The extra that brings it is named."""
    program = (
        "import sys; sys.modules['obstore'] = None; sys.argv = ['export-engine', *sys.argv[1:]]\n"
        "from export_engine.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "export", NESTED, *JUNE, "--output", "s3://bucket/"],
        env=ENVIRONMENT,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'export-engine[cloud]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(io.StringIO(done.stderr))[1:]


@pytest.mark.parametrize("name", ["m.txt", "m", "m.jsonl.gz", "s3://bucket/m.json"])
def test_a_manifest_s_name_says_what_it_is(tmp_path: Path, name: str) -> None:
    """As that of a batch's results does: no other is taken for JSON Lines."""
    code, output, errors = run("export", NESTED, *JUNE, "--output", tmp_path / "a.zip", "--manifest", name)
    assert (code, output) == (2, b"")
    assert f"error: --manifest {name}: write a name that ends in .jsonl or .parquet" in errors
    assert list(tmp_path.iterdir()) == []
