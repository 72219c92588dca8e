"""`export-engine export` as a user runs it, and what all commands have in common."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import ZipFile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export_engine import __version__
from export_engine.cli.export import export as export_command
from export_engine.engine import backend_name
from export_engine.options import ExportOptions
from export_engine.pipeline.deflate import PRESETS
from tests.cli.command import (
    CHANNEL,
    COMMAND,
    ENVIRONMENT,
    FLAT,
    JUNE,
    NAME,
    NESTED,
    ROOT,
    everything,
    needs_posix,
    run,
)

# --- export --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_export_goes_to_the_current_directory(tmp_path: Path, archive: Path) -> None:
    """Without --output the archive lands here, under its own name, and the summary on stdout begins with its path."""
    code, output, errors = run("export", NESTED, *JUNE, cwd=tmp_path)
    assert (code, errors) == (0, "")
    assert (tmp_path / NAME).read_bytes() == archive.read_bytes()
    lines = output.decode().splitlines()
    assert lines[0] == NAME
    facts = dict(line.split(maxsplit=1) for line in lines[1:])
    assert facts["conversations"] == "30"
    assert facts["messages"] == "160"
    assert facts["span"] == "2026-06-01 00:00 to 2026-06-30 23:59 UTC"
    assert facts.keys() == {"conversations", "messages", "span", "size", "time", "sha256"}


@pytest.mark.slow
def test_archives_of_a_limited_size(tmp_path: Path) -> None:
    """The summary names each with its size and SHA-256; verify takes the set by its manifest, or all of them."""
    manifest = tmp_path / "m.jsonl"
    limited = [*JUNE, "--output", str(tmp_path), "--manifest", str(manifest), "--max-archive-size", "4KB"]
    code, output, errors = run("export", NESTED, *limited)
    assert (code, errors) == (0, "")
    made = sorted(tmp_path.glob("*.zip"))
    assert len(made) > 1
    assert all(path.stat().st_size <= 4000 for path in made)
    assert all(f"\n  {path.name}  " in output.decode() for path in made)
    first = tmp_path / NAME
    code, output, _ = run("verify", first, "--manifest", manifest)
    assert (code, output.split(b",")[0]) == (0, b"30 CSVs")
    assert run("verify", *made)[0] == 0
    made[1].unlink()
    assert run("verify", first, "--manifest", manifest)[0] == 3
    _, output, _ = run("export", NESTED, *JUNE, "--output", f"{tmp_path}/many/", "--max-archive-size", "1KB")
    many = len([*(tmp_path / "many").iterdir()])
    told = [line for line in output.decode().splitlines() if ".zip  " in line or "…" in line]
    assert many > 10
    assert told[2] == f"  … {many - 3} more: --manifest lists them all"
    assert [line.split()[0] for line in told[:2] + told[3:]] == [
        NAME,
        *(NAME.replace(".zip", f"-{n}.zip") for n in (2, many)),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", "-", "--max-archive-size", "2GB"], "--max-archive-size needs files, and stdout is one stream"),
        (
            ["--max-archive-size", "2"],
            "--max-archive-size: max_archive_size '2' is no size: write a number with a unit",
        ),
        (["--max-archive-size", "0.001KB"], "--max-archive-size: max_archive_size is 1: it must be 22 or more bytes"),
    ],
)
def test_limits_that_cannot_be(arguments: list[str], said: str, tmp_path: Path) -> None:
    """One stream cannot be several files, and a size has a unit."""
    code, output, errors = run("export", NESTED, *JUNE, *arguments, cwd=tmp_path)
    assert (code, output) == (2, b"")
    assert said in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@needs_posix
def test_a_limit_and_a_pipe(tmp_path: Path) -> None:
    """A pipe is one stream too."""
    os.mkfifo(tmp_path / "p")
    code, _, errors = run("export", NESTED, *JUNE, "--output", tmp_path / "p", "--max-archive-size", "2GB")
    assert code == 1
    assert "is a pipe, and only a regular file is replaced" in errors


@pytest.mark.slow
def test_nested_and_flat_give_the_same_bytes(tmp_path: Path) -> None:
    """JSON Lines and Parquet of the same messages are the same archive.

    The range ends before the one conversation without messages, which a table cannot have.
    """
    days = [*CHANNEL, "--start", "2026-06-01", "--end", "2026-06-22", "--id", "x", "--quiet"]
    for path in (NESTED, FLAT):
        assert run("export", path, *days, "--output", tmp_path / f"{path.suffix}.zip") == (0, b"", "")
    assert (tmp_path / ".jsonl.zip").read_bytes() == (tmp_path / ".parquet.zip").read_bytes()


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs unzip")
def test_unzip_is_content(archive: Path) -> None:
    """Info-ZIP finds nothing wrong."""
    subprocess.run(["unzip", "-tqq", archive], check=True)


@pytest.mark.slow
def test_export_to_stdout(archive: Path) -> None:
    """With --output - stdout has the archive and nothing else, and stderr is silent."""
    assert run("export", NESTED, *JUNE, "--output", "-") == (0, archive.read_bytes(), "")


@pytest.mark.slow
def test_several_inputs(tmp_path: Path, archive: Path) -> None:
    """Files are read one after the other."""
    lines = NESTED.read_bytes().splitlines(keepends=True)
    for part, chosen in (("a", lines[:7]), ("b", lines[7:])):
        (tmp_path / f"{part}.ndjson").write_bytes(b"".join(chosen))
    result = run("export", tmp_path / "a.ndjson", tmp_path / "b.ndjson", *JUNE, "--output", "-")
    assert result == (0, archive.read_bytes(), "")


@pytest.mark.slow
def test_quiet(tmp_path: Path) -> None:
    """--quiet prints nothing."""
    assert run("export", NESTED, *JUNE, "--output", tmp_path, "--quiet") == (0, b"", "")


@pytest.mark.slow
def test_excel_and_long_cells(tmp_path: Path) -> None:
    """With --excel, texts that no spreadsheet can hold are told; without it they are no matter."""
    text = "message_id,conversation_id,direction,speaker_type,message_time,message_text\n"
    (tmp_path / "a.csv").write_text(f"{text}1,c,inbound,customer,2026-06-11T00:00Z,{'x' * 32_768}\n", "utf-8")
    arguments: list[str | Path] = ["export", tmp_path / "a.csv", *JUNE, "--output"]
    code, _, errors = run(*arguments, tmp_path / "excel.zip", "--excel")
    assert (code, errors.count("\n")) == (0, 1)
    assert errors.endswith("characters that a spreadsheet shows: 1; the CSVs have them whole\n")
    code, _, errors = run(*arguments, tmp_path / "plain.zip")
    assert (code, errors) == (0, "")


@pytest.mark.slow
def test_rows_that_are_there_twice(tmp_path: Path) -> None:
    """One that follows its double is told, and what the warning says keeps one of them."""
    text = "message_id,conversation_id,direction,speaker_type,message_time\n"
    rows = "".join(f"{number},c,inbound,customer,2026-06-11T00:00Z\n" * 2 for number in range(3))
    (tmp_path / "a.csv").write_text(text + rows, "utf-8")
    code, told, errors = run("export", tmp_path / "a.csv", *JUNE, "--output", tmp_path / "a.zip")
    assert (code, b"messages       6\n" in told) == (0, True)
    assert errors.startswith("warning: messages with the id of the message before them: 3; if rows are there twice,")
    code, told, errors = run("export", tmp_path / "a.csv", *JUNE, "--dedupe", "--output", tmp_path / "b.zip")
    assert (code, b"messages       3\n" in told, errors) == (0, True, "")


@pytest.mark.slow
def test_excel(tmp_path: Path) -> None:
    """--excel means byte order mark and formula guard; --lf and --timezone arrive as well."""
    options = ["--excel", "--lf", "--timezone", "Asia/Taipei", "--compression", "store", "--threads", "1"]
    assert run("export", NESTED, *JUNE, *options, "--output", tmp_path / "a.zip", "--quiet") == (0, b"", "")
    with ZipFile(tmp_path / "a.zip") as made:
        csvs = [made.read(info) for info in made.infolist()]
        assert {info.compress_type for info in made.infolist()} == {0}
    assert all(csv.startswith(b"\xef\xbb\xbfmessage_id,") for csv in csvs)
    assert any(b'"\'=SUM(A1:A9)"' in csv for csv in csvs)
    assert b"+08:00" in csvs[0]
    assert b"sender_account\n" in csvs[0]


@pytest.mark.slow
def test_an_existing_archive_is_kept(tmp_path: Path) -> None:
    """A file that is there is an error in one line, and only --overwrite replaces it."""
    target = tmp_path / NAME
    target.write_bytes(b"precious")
    code, output, errors = run("export", NESTED, *JUNE, "--output", target)
    assert (code, output) == (1, b"")
    assert errors.startswith("error: ")
    assert "exists already" in errors
    assert errors.count("\n") == 1
    assert target.read_bytes() == b"precious"
    assert run("export", NESTED, *JUNE, "--output", target, "--overwrite")[0] == 0
    assert target.read_bytes() != b"precious"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"id": "a", "messages": [{"id": "m", "time": "2026-06-01T00:00:00Z", "direction": "up"}]}', "direction"),
        ('{"id": "a",', "line 1"),
        ("{", "a JSON object over several lines"),
    ],
)
def test_bad_input(tmp_path: Path, text: str, says: str) -> None:
    """Input that breaks a rule ends in exit code 1, one line on stderr, and no file."""
    (tmp_path / "bad.jsonl").write_text(f"{text}\n")
    code, output, errors = run("export", tmp_path / "bad.jsonl", *JUNE, "--output", f"{tmp_path}/out/")
    assert (code, output) == (1, b"")
    assert errors.startswith("error: ")
    assert says in errors
    assert errors.count("\n") == 1
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([NESTED, *JUNE[4:]], "--channel-name, --channel-phone or --channel-id"),
        ([*JUNE], "INPUT"),
        ([NESTED, *JUNE, "--end", "2026-05-31"], "--end: end 2026-05-31 is before start 2026-06-01"),
        ([NESTED, *JUNE, "--end", "June"], "--end"),
        ([NESTED, *JUNE, "--timezone", "Mars/Olympus"], "--timezone: time zone 'Mars/Olympus' is unknown"),
        ([NESTED, *JUNE, "--id", "../x"], "--export-id: "),
        ([NESTED, *JUNE, "--name-budget", "10"], "--name-budget"),
        ([NESTED, *JUNE, "--threads", "0"], "--threads"),
        ([NESTED, *JUNE, "--bare-e164"], "--bare-e164: "),
        ([NESTED, *JUNE, "--manifest", "m.jsonl", "--output", "-"], "--manifest"),
        ([NESTED, *JUNE, "--output", ""], "--output is empty: say where, or leave it out for the folder you are in"),
        ([ROOT / "pyproject.toml", *JUNE], "--format"),
        ([ROOT / "none.jsonl", *JUNE], "does not exist"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str | Path], says: str) -> None:
    """An option that cannot work is named, with exit code 2, and nothing is written."""
    code, output, errors = run("export", *arguments, cwd=tmp_path)
    assert (code, output) == (2, b"")
    assert says in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_usage_is_told_with_an_error_like_any_other(tmp_path: Path) -> None:
    """How the command is called, where there is more, and last a line as of every error."""
    code, _, errors = run("export", NESTED, cwd=tmp_path)
    assert code == 2
    assert errors.splitlines() == [
        "Usage: export-engine export [OPTIONS] [INPUT...]",
        "Try 'export-engine export --help' for help.",
        "",
        "error: Missing option '--start'.",
    ]


@pytest.mark.slow
def test_no_conversations(tmp_path: Path) -> None:
    """An empty archive is made, and stderr warns of it."""
    arguments: list[str | Path] = [
        "export",
        NESTED,
        *JUNE,
        "--start",
        "1999-01-01",
        "--end",
        "1999-12-31",
        "--output",
        tmp_path,
    ]
    code, output, errors = run(*arguments)
    assert code == 0
    assert errors.startswith("warning: no conversation falls in this range")
    assert b"conversations  0" in output
    assert len((tmp_path / "SMS_Support_1999-01_1c4639da.zip").read_bytes()) == 22
    assert run(*arguments, "--overwrite", "--quiet") == (0, b"", "")


@pytest.mark.slow
def test_what_was_not_exported_is_said(tmp_path: Path) -> None:
    """The summary names columns that were ignored, once, and counts surrogates that were replaced."""
    table = pq.read_table(FLAT)
    pq.write_table(table.append_column("mood\x1b", pa.array(["good"] * len(table))), tmp_path / "a.parquet")
    code, output, errors = run("export", tmp_path / "a.parquet", *JUNE, "--output", tmp_path)
    assert (code, errors) == (0, "")
    assert output.decode().count("columns mood\\x1b") == 1
    lines = NESTED.read_bytes().splitlines()
    (tmp_path / "b.jsonl").write_bytes(lines[0].replace(b"Yes please", b"Yes \\ud83d please"))
    code, output, errors = run("export", tmp_path / "b.jsonl", *JUNE, "--output", tmp_path / "b.zip")
    assert (code, errors) == (0, "")
    assert "1 lone surrogates by U+FFFD" in output.decode()
    code, _, errors = run("export", tmp_path / "b.jsonl", *JUNE, "--output", tmp_path / "c.zip", "--strict")
    assert code == 1
    assert "message_text" in errors


def test_presets_are_the_libraries() -> None:
    """The command offers every preset there is."""
    (option,) = (parameter for parameter in export_command.params if parameter.name == "compression")
    assert list(option.type.choices) == list(PRESETS)  # type: ignore[attr-defined]  # it is a Choice


# --- ends that are not the end -------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_posix
@pytest.mark.parametrize("command", ["export", "inspect"])
def test_a_reader_that_went_away(archive: Path, command: str) -> None:
    """Writing to a closed pipe ends quietly, as with `| head`."""
    arguments = [str(NESTED), *JUNE, "--output", "-"] if command == "export" else [str(archive)]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        code, _, errors = run(command, *arguments, stdout=writer)
    finally:
        os.close(writer)
    assert (code, errors) == (1, "")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk() -> None:
    """A disk that takes no more is one line, with code 1."""
    with Path("/dev/full").open("wb") as full:
        result = run("export", NESTED, *JUNE, "--output", "-", stdout=full.fileno())
    assert result == (1, b"", "error: standard output: No space left on device\n")


@pytest.mark.slow
@needs_posix
def test_no_archive_to_a_terminal() -> None:
    """An archive is refused where it would garble a terminal."""
    terminal, end = os.openpty()  # type: ignore[attr-defined,unused-ignore]  # POSIX
    try:
        code, _, errors = run("export", NESTED, *JUNE, "--output", "-", stdout=end)
    finally:
        os.close(end)
        os.close(terminal)
    assert code == 2
    assert "redirect stdout" in errors


@pytest.mark.slow
@needs_posix
def test_progress_is_for_terminals(archive: Path) -> None:
    """Progress and summary show on stderr if it is a terminal, while the archive goes to stdout."""
    terminal, end = os.openpty()  # type: ignore[attr-defined,unused-ignore]  # POSIX
    with subprocess.Popen(
        [*COMMAND, "export", NESTED, *JUNE, "--output", "-"],
        env=ENVIRONMENT | {"TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=end,
    ) as process:
        os.close(end)
        # Read meanwhile: the slower the machine the more is shown.
        with ThreadPoolExecutor(1) as reader:
            reading = reader.submit(everything, terminal)
            output, _ = process.communicate()
            shown = reading.result().decode()
    os.close(terminal)
    assert output == archive.read_bytes()
    assert "30 conversations, 160 messages" in shown
    assert "\x1b[?25h" in shown  # the cursor is back
    assert NAME in shown


# --- the rest ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_help_tells_the_exit_codes() -> None:
    """Help of all commands has the exit codes; --version is the package's, with what deflates where nothing is said."""
    for command in ([], ["export"], ["verify"], ["inspect"]):
        code, output, errors = run(*command, "--help")
        assert (code, errors) == (0, "")
        assert b"130  interrupted" in output
    said = f"export-engine, version {__version__}, fast is {backend_name(ExportOptions())}\n"
    assert run("--version") == (0, said.encode(), "")


@pytest.mark.slow
def test_errors_cannot_steer_a_terminal(tmp_path: Path) -> None:
    """A name in an error is spelled out, in one line."""
    path = tmp_path / "a\x1b[2J\n.unknown"
    try:
        path.touch()
    except OSError:
        pytest.skip("no such file names here")
    code, _, errors = run("export", path, *JUNE)
    assert code == 2
    assert "\\x1b[2J" in errors
    assert "\x1b" not in errors
    assert errors.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("day", "says"),
    [
        ("2026-06-31", "there is no 2026-06-31: June 2026 has 30 days"),
        ("2026-02-29", "there is no 2026-02-29: February 2026 has 28 days"),
        ("11.06.2026", "'11.06.2026' is no day: write it as YYYY-MM-DD, such as 2026-06-30"),
        ("2026-13-01", "'2026-13-01' is no day: write it as YYYY-MM-DD, such as 2026-06-30"),
    ],
)
def test_a_day_that_there_is_not(tmp_path: Path, day: str, says: str) -> None:
    """The message says what is wrong with it."""
    code, _, errors = run("export", tmp_path / "none.csv", "--channel-name", "D", "--start", day, "--output", tmp_path)
    assert code == 2
    assert says in errors
