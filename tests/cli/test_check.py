"""`export-engine check` as a user runs it."""

from __future__ import annotations

import json
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from export_engine import CheckReport
from export_engine.cli.check import check
from export_engine.cli.export import export
from tests.cli.command import COMMAND, ENVIRONMENT, FLAT, JUNE, NESTED, run

BAD = """message_id,conversation_id,Contact Name,direction,speaker_type,message_time,sender_account
1,a,Jane,in,customer,2026-06-01 00:00,
2,b,Zoë,outbound,agent,06/01/2026,
2,b,Zoë,outbound,agent,2026-06-01 00:00,
3,a,Jane,outbound,bot,2026-06-01T00:00:00Z,bob
"""
SUMMARY = """an export would fail
  messages       4 messages in 2 conversations
  span           2026-06-01 00:00 to 2026-06-01 00:00 UTC
  times          2 have no offset from UTC, and are taken in UTC
  torn           1 conversation comes back after another began ('a'): sort with --sort
  repeated ids   1 message with an id that the conversation had before
                 row 3, conversation 'b', message '2'
  ignored        columns Contact Name
                 'Contact Name' may be contact_name: --map 'contact_name="Contact Name"'
message_time: 1 value: is not a time; write 2026-06-11T06:50:43.861185Z, 2026-06-11 06:50:43+08:00 or \
2026-06-11 06:50:43 UTC, or read another form by --map, such as message_time=strptime(COLUMN, '%d.%m.%Y %H:%M:%S')
  '06/01/2026' in row 2, conversation 'b', message '2'
direction: 1 value: is not one of inbound, outbound; map your own values to these
  'in' in row 1, conversation 'a', message '1'
sender_account: 1 value: is set on a message that no human agent sent; set it to null for bots and customers
  'bob' in row 4, conversation 'a', message '3'
"""


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.csv"
    path.write_text(BAD, "utf-8")
    return path


@pytest.mark.slow
def test_takes_the_command_line_of_an_export(tmp_path: Path) -> None:
    """`export` may be replaced by `check` in a command, and nothing is written."""
    rest = ["--output", "o/", "--overwrite", "--manifest", "m.jsonl", "--max-archive-size", "1GB"]
    code, output, errors = run("check", NESTED, *JUNE, *rest, cwd=tmp_path)
    assert (code, errors) == (0, "")
    assert output.decode().startswith("an export would succeed")
    assert not list(tmp_path.iterdir())
    every = {option for parameter in export.params for option in parameter.opts}
    assert every <= {option for parameter in check.params for option in parameter.opts}


@pytest.mark.slow
def test_quiet(bad: Path) -> None:
    """It is silent where an export would succeed, and tells of what would fail."""
    assert run("check", NESTED, "--quiet") == (0, b"", "")
    code, output, _ = run("check", bad, "--quiet")
    assert (code, output.decode()) == (1, SUMMARY)


@pytest.mark.slow
@pytest.mark.parametrize("path", [NESTED, FLAT])
def test_input_that_is_right(path: Path) -> None:
    """It says what an export would take, and exits with 0, as the export does."""
    code, output, errors = run("check", path, "--start", "2026-06-01", "--end", "2026-06-22")
    assert (code, errors) == (0, "")
    lines = output.decode().splitlines()
    assert lines[0] == "an export would succeed"
    assert any(line.startswith("  in the range   1") for line in lines)
    assert lines[-1] == "  grouped        the messages of each conversation stand together"


@pytest.mark.slow
def test_input_that_is_wrong(bad: Path) -> None:
    """It says everything that is wrong, and exits with 1, as the export does."""
    assert run("check", bad) == (1, SUMMARY.encode(), "")
    assert run("export", bad, *JUNE, "--output", bad.parent)[0] == 1


@pytest.mark.slow
def test_missing_columns_and_the_map_that_makes_them(tmp_path: Path) -> None:
    """The suggested options, once they are filled in, are the mapping."""
    path = tmp_path / "a.csv"
    path.write_text(
        "Message-ID,conversationId,Way,speaker type,MessageTime\n1,a,inbound,customer,2026-06-01T00:00Z\n", "utf-8"
    )
    code, output, errors = run("check", path)
    assert (code, errors) == (1, "")
    lines = output.decode().splitlines()
    assert "column message_id is missing; it may be 'Message-ID'" in lines
    assert "column direction is missing" in lines
    options = lines[-1].strip().replace("direction=COLUMN", "direction=Way")
    script = f"{' '.join(COMMAND)} check {path} {options}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, env=ENVIRONMENT, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"an export would succeed\n  messages       1 message in 1 conversation\n")


@pytest.mark.slow
def test_missing_columns_where_none_is_called_so(tmp_path: Path) -> None:
    """The columns that there are, and every option to be filled in; of a query what it has to select."""
    path = tmp_path / "log.csv"
    path.write_text("Sid,Way,When\n1,in,2026-06-01T00:00Z\n", "utf-8")
    said = run("check", path)[1].decode().splitlines()
    assert said[-2] == "the columns are Sid, Way, When: say what makes those that are missing"
    every = ("message_id", "conversation_id", "direction", "speaker_type", "message_time")
    assert said[-1].split() == [word for name in every for word in ("--map", f"{name}=COLUMN")]
    said = run("check", path, "--map", "message_id=Sid")[1].decode().splitlines()
    assert said[-2] == "say what makes those that are missing"
    assert said[-1].split()[::2] == ["--map"] * 4
    query = "SELECT Sid AS message_id FROM read_csv($files)"
    said = run("check", "--sql", query, "--param", f"files={path}")[1].decode().splitlines()
    assert said[-1] == "  SELECT … AS conversation_id, … AS direction, … AS speaker_type, … AS message_time"


@pytest.mark.slow
def test_json(bad: Path) -> None:
    """One object with the fields of `CheckReport`."""
    code, output, errors = run("check", bad, "--json")
    assert (code, errors) == (1, "")
    found = json.loads(output)
    assert list(found) == list(CheckReport.__dataclass_fields__)
    assert found["ok"] is False
    assert found["first_time"] == "2026-06-01T00:00:00+00:00"
    assert found["torn_examples"] == ["a"]
    assert found["problems"][1] == {
        "column": "direction",
        "rule": "is not one of inbound, outbound",
        "advice": "map your own values to these",
        "count": 1,
        "more": False,
        "examples": [{"value": "in", "row": 1, "conversation_id": "a", "message_id": "1"}],
    }


@pytest.mark.slow
def test_the_options_of_the_export(bad: Path) -> None:
    """Conditions, mappings and sorting are the export's, and so is the answer."""
    options = ["--where", "direction = 'outbound' AND speaker_type = 'agent' AND message_time LIKE '2026%'", "--sort"]
    code, output, errors = run("check", bad, *options)
    assert (code, errors) == (0, "")
    assert b"1 message in 1 conversation" in output
    query = "SELECT * REPLACE ('inbound' AS direction, NULL AS sender_account) FROM read_csv($bad, all_varchar=true)"
    query += " WHERE message_time LIKE '2026%'"
    code, output, _ = run("check", "--sql", query, "--param", f"bad={bad}")
    assert code == 1
    assert b"add ORDER BY conversation_id, message_time to the query" in output
    assert run("check", "--sql", query + " ORDER BY conversation_id", "--param", f"bad={bad}")[0] == 0


@pytest.mark.slow
def test_standard_input(bad: Path) -> None:
    """It is read once."""
    with bad.open("rb") as stdin:
        assert run("check", "-", "--format", "csv", stdin=stdin.fileno())[:2] == (1, SUMMARY.encode())


@pytest.mark.slow
def test_wrong_usage(tmp_path: Path) -> None:
    """It has an exit code of its own."""
    assert run("check")[0] == 2
    assert run("check", tmp_path / "none.csv")[0] == 2
    assert run("check", NESTED, "--start", "2026-06-02", "--end", "2026-06-01")[0] == 2
    assert run("check", NESTED, "--channel")[0] == 2


@pytest.mark.parametrize("width", [30, 80])
def test_terminals(bad: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """In a terminal, lines are folded to its width, in a narrow one with facts below their names."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(import_module("export_engine.cli.check"), "_is_terminal", lambda: True)
    done = CliRunner().invoke(check, [str(bad)], standalone_mode=False)
    assert done.return_value == 1
    lines = done.output.splitlines()
    assert max(map(cell_len, lines)) <= width
    assert "".join(done.output.split()) == "".join(SUMMARY.split())
    assert ("  torn" in lines) is (width == 30)


def test_no_row_at_all(tmp_path: Path) -> None:
    """An export would succeed, and be empty: what may have left all of them out is said."""
    path = tmp_path / "log.csv"
    path.write_text("conversation_id,message_id,message_time,direction,speaker_type\n", "utf-8")
    for options, where in (
        ([str(path)], "look at --where, "),
        (["--sql", "FROM read_csv($f, all_varchar = true)", "--param", f"f={path}"], "look at the query's conditions"),
    ):
        done = CliRunner().invoke(check, options, standalone_mode=False)
        assert done.return_value == 0
        assert f"no row was read at all: {where}" in done.output
