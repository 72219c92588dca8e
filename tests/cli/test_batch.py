"""`export-engine batch` and `batch verify`, as a shell runs them."""

from __future__ import annotations

import json
import shutil
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from tests import s3
from tests.cli.command import ENVIRONMENT, run

RANGE = ["--start", "2026-04-01", "--end", "2026-06-30"]
ROWS = 600


def rows(**others: list[str]) -> pa.Table:
    """Three channels, ids with zeros in front, ninety days."""
    begin = datetime(2026, 4, 1, tzinfo=UTC)
    columns = {
        "channel_id": [f"{n % 3:03d}" for n in range(ROWS)],
        "message_id": [f"m{n}" for n in range(ROWS)],
        "conversation_id": [f"{n % 3}-{n % 24}" for n in range(ROWS)],
        "direction": ["inbound"] * ROWS,
        "speaker_type": ["customer"] * ROWS,
        "message_time": [(begin + timedelta(hours=3.5 * n)).isoformat() for n in range(ROWS)],
        "message_text": [f"text {n}" for n in range(ROWS)],
    }
    return pa.table(columns | others)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """The rows in two files, in folders."""
    for number, part in enumerate((rows().slice(0, 250), rows().slice(250))):
        folder = tmp_path / "lake" / f"day={number}"
        folder.mkdir(parents=True)
        pq.write_table(part, folder / "part.parquet")
    return tmp_path / "lake"


def archives(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.zip"))}


@pytest.mark.slow
def test_a_lake_becomes_archives(lake: Path, tmp_path: Path) -> None:
    """One for each channel and month, with a receipt; the second run keeps them all."""
    out = tmp_path / "out"
    code, told, errors = run("batch", f"{lake}/**/*.parquet", "--output", out, *RANGE, "--label", "one")
    assert (code, errors) == (0, "")
    assert told.startswith(b"9 archives: 9 done, 0 kept, 0 failed\n")
    assert len(archives(out)) == len(list((out / "receipts").iterdir())) == 9
    with zipfile.ZipFile(next(out.glob("2026-05/001_*.zip"))) as opened:
        assert opened.testzip() is None
    code, told, errors = run("batch", f"{lake}/**/*.parquet", "--output", out, *RANGE, "--label", "one")
    assert (code, errors) == (0, "")
    assert told.startswith(b"9 archives: 0 done, 9 kept, 0 failed\n")


@pytest.mark.slow
def test_a_lake_by_its_folder_or_in_a_bucket(lake: Path, tmp_path: Path) -> None:
    """The same archives as by a pattern of its files."""
    given = ["--output", str(tmp_path / "out"), *RANGE, "--label", "one"]
    assert run("batch", f"{lake}/**/*.parquet", *given)[0] == 0
    expected = archives(tmp_path / "out")
    with s3.serving() as server:
        bucket = server.new_bucket()
        for path in lake.rglob("*.parquet"):
            obstore.put(bucket.store, f"lake/{path.relative_to(lake)}", path.read_bytes())
        for place in (str(lake), f"s3://{bucket.name}/lake/"):
            shutil.rmtree(tmp_path / "out")
            code, _, errors = run("batch", place, *given, environment=ENVIRONMENT | bucket.environment)
            assert (code, errors) == (0, "")
            assert archives(tmp_path / "out") == expected


@pytest.mark.slow
def test_rows_that_are_there_twice(lake: Path, tmp_path: Path) -> None:
    """--dedupe reads them once."""
    pq.write_table(rows().slice(0, 100), lake / "again.parquet")
    arguments = ["batch", f"{lake}/**/*.parquet", "--output", str(tmp_path / "out"), *RANGE]
    assert b"\n  700 messages" in run(*arguments)[1]
    assert b"\n  600 messages" in run(*arguments, "--dedupe")[1]


@pytest.mark.slow
def test_a_range_that_nobody_gave(lake: Path, tmp_path: Path) -> None:
    """Is that of the lake: the same archives as with its days."""
    assert run("batch", f"{lake}/**/*.parquet", "--output", tmp_path / "open")[0] == 0
    days = ["--start", "2026-04-01", "--end", "2026-06-27"]
    code, told, errors = run("batch", f"{lake}/**/*.parquet", "--output", tmp_path / "closed", *days)
    assert (code, errors) == (0, "")
    assert told.startswith(b"9 archives: 9 done, 0 kept, 0 failed\n  600 messages")
    assert archives(tmp_path / "open") == archives(tmp_path / "closed")
    code, told, _ = run("batch", f"{lake}/**/*.parquet", "--output", tmp_path / "o", "--period", "day", "--dry-run")
    assert code == 0
    assert told.startswith(b"264 archives, 600 messages: 264 to make")


@pytest.mark.slow
def test_archives_of_a_limited_size(lake: Path, tmp_path: Path) -> None:
    """--max-archive-size: none is larger, a second run keeps them, another limit does not; verify takes them all."""
    out = tmp_path / "out"
    arguments = ["batch", f"{lake}/**/*.parquet", "--output", str(out), *RANGE]
    code, told, errors = run(*arguments, "--max-archive-size", "2KB")
    assert (code, errors) == (0, "")
    assert told.startswith(b"9 archives: 9 done, 0 kept, 0 failed\n")
    made = archives(out)
    assert len(made) >= 18
    assert max(map(len, made.values())) <= 2000
    assert run(*arguments, "--max-archive-size", "2 kb")[1].startswith(b"9 archives: 0 done, 9 kept")
    assert run(*arguments, "--max-archive-size", "3KB")[1].startswith(b"9 archives: 9 done, 0 kept")
    code, told, _ = run("batch", "verify", out, "--deep")
    assert code == 0
    assert told.startswith(f"{len(archives(out))} archives, 1,200 messages".encode())
    (out / next(iter(made))).unlink()
    assert run("batch", "verify", out)[0] == 3
    code, _, errors = run(*arguments, "--max-archive-size", "2")
    assert (code, errors.split(":")[1]) == (2, " --max-archive-size")


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_the_same_archives_from_any_flat_files(ending: str, lake: Path, tmp_path: Path) -> None:
    """And from a query; ids keep their zeros."""
    run("batch", f"{lake}/**/*.parquet", "--output", tmp_path / "parquet", *RANGE)
    other = tmp_path / f"rows.{ending}"
    if ending == "csv":
        pacsv.write_csv(rows(), other)
    else:
        other.write_text("".join(json.dumps(row) + "\n" for row in rows().to_pylist()))
    assert run("batch", other, "--output", tmp_path / "other", *RANGE)[0] == 0
    query = ["--sql", "SELECT * FROM read_parquet($files)", "--param", f"files={lake}/*/part.parquet"]
    assert run("batch", *query, "--output", tmp_path / "query", *RANGE)[0] == 0
    expected = archives(tmp_path / "parquet")
    assert len(expected) == 9
    assert archives(tmp_path / "other") == archives(tmp_path / "query") == expected


@pytest.mark.slow
def test_columns_and_conditions(lake: Path, tmp_path: Path) -> None:
    """--map and --where are those of the single export, over files and over a query's rows."""
    out = tmp_path / "out"
    options = ["--map", "channel_name='Shop ' || channel_id", "--where", "channel_id <> '002'"]
    code, told, errors = run("batch", f"{lake}/*/*.parquet", "--output", out, *RANGE, *options)
    assert (code, errors) == (0, "")
    assert told.startswith(b"6 archives: 6 done")
    assert {path.split("/")[1].rsplit("_", 2)[0] for path in archives(out)} == {"Shop_000", "Shop_001"}
    query = ["--sql", f"FROM read_parquet('{lake}/*/*.parquet')", "--where", "channel_id = '002'"]
    code, told, errors = run("batch", *query, "--output", out, *RANGE)
    assert (code, told.splitlines()[0]) == (0, b"3 archives: 3 done, 0 kept, 0 failed")


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_file_of_channels(ending: str, lake: Path, tmp_path: Path) -> None:
    """Gives names and phone numbers; a channel that it lacks has its id."""
    table = pa.table({"channel_id": ["000", "001"], "channel_name": ["Zero", None], "channel_phone": ["+1", "+12"]})
    path = tmp_path / f"channels.{ending}"
    if ending == "csv":
        path.write_text("channel_id,channel_name,channel_phone\n000,Zero,+1\n001,,+12\n")
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    else:
        pq.write_table(table, path)
    out = tmp_path / "out"
    code, _, errors = run("batch", f"{lake}/*/*.parquet", "--output", out, *RANGE, "--channels", path)
    assert (code, errors) == (0, "")
    assert {path.split("/")[1].rsplit("_", 2)[0] for path in archives(out)} == {"Zero", "12", "002"}
    with zipfile.ZipFile(next(out.glob("2026-04/Zero_*.zip"))) as opened:
        assert all(name.endswith("--Zero (+1).csv") for name in opened.namelist())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("channel_id,channel_name\n1,a\n1,b\n", "has the channel_id '1' more than once"),
        ("id,name\n1,a\n", "has a name of this format's"),
        ("channel_id,other\n1,a\n", "channel_id is needed, and channel_name or channel_phone"),
    ],
)
def test_a_file_that_is_none_of_channels(text: str, said: str, lake: Path, tmp_path: Path) -> None:
    """It is refused before anything is made."""
    path = tmp_path / "channels.csv"
    path.write_text(text)
    code, _, errors = run("batch", f"{lake}/*/*.parquet", "--output", tmp_path / "out", *RANGE, "--channels", path)
    assert code == 2
    assert errors.startswith("error: --channels: ")
    assert said in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_some_fail(lake: Path, tmp_path: Path) -> None:
    """They are told with their reasons, the exit code is 4, and the results say what became of each."""
    words = ["inbound"] * ROWS
    words[3] = "sideways"
    pq.write_table(rows(direction=words), tmp_path / "bad.parquet")
    found = []
    for ending in ("jsonl", "parquet"):
        to = ["--output", str(tmp_path / ending), "--results", str(tmp_path / f"results.{ending}")]
        code, told, errors = run("batch", tmp_path / "bad.parquet", *to, *RANGE)
        assert code == 4
        assert told.startswith(b"9 archives: 8 done, 0 kept, 1 failed\n")
        assert errors.startswith("error: channel 000, 2026-04: ")
        assert "'sideways' is not one of inbound, outbound" in errors
        found.append(tmp_path / f"results.{ending}")
    lines = [json.loads(line) for line in found[0].read_text().splitlines()]
    assert lines == pq.read_table(found[1]).to_pylist()
    assert sorted(line["status"] for line in lines) == ["done"] * 8 + ["failed"]
    assert sum(line["rows"] for line in lines if line["status"] == "done") < ROWS
    assert lake.exists()


@pytest.mark.slow
def test_a_channel_with_two_names(lake: Path, tmp_path: Path) -> None:
    """Is called what it is called last; that is a warning, before and after, and stands among the results."""
    names = [f"Shop {n % 3}" for n in range(ROWS)]
    names[597] = "Store"
    pq.write_table(rows(channel_name=names), lake / "named.parquet")
    arguments = ["batch", str(lake / "named.parquet"), "--output", str(tmp_path / "out"), *RANGE]
    said = "warning: channel 000, 2026-06: channel_name is 'Store', that of its latest message; others have 'Shop 0'\n"
    for more in (["--dry-run"], ["--results", str(tmp_path / "results.jsonl")]):
        code, _, errors = run(*arguments, *more)
        assert (code, errors) == (0, said)
    assert len(list((tmp_path / "out" / "2026-06").glob("Store_*.zip"))) == 1
    results = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [result["period"] for result in results if result["warning"]] == ["2026-06"]
    assert run(*arguments, "--quiet")[1:] == (b"", "")


@pytest.mark.slow
def test_a_link_to_a_file_of_the_lake(lake: Path, tmp_path: Path) -> None:
    """Is that file once more: its messages would be there twice."""
    (lake / "latest.parquet").symlink_to(lake / "day=1" / "part.parquet")
    code, _, errors = run("batch", lake, "--output", tmp_path / "out")
    assert code == 2
    assert f"{lake}/latest.parquet is there twice, as {lake}/day=1/part.parquet, and so" in " ".join(errors.split())


@pytest.mark.slow
def test_what_is_not_as_it_may_be_meant_is_told(lake: Path, tmp_path: Path) -> None:
    """Columns that nobody knows, and messages that are there twice; a folder is a lake."""
    table = pa.concat_tables([rows(), rows().slice(0, 2)])
    pq.write_table(table.append_column("media_urls", [["x"] * table.num_rows]), tmp_path / "other.parquet")
    arguments = ["batch", str(tmp_path / "other.parquet"), "--output", str(tmp_path / "out"), *RANGE]
    code, told, errors = run(*arguments)
    assert code == 0
    assert b"\n  columns that are ignored: media_urls\n" in told
    said = "messages with the id of the message before them: 1; if rows are there twice, --dedupe keeps one of each"
    assert [line.split(" (")[0] for line in errors.splitlines()] == [
        f"warning: channel {channel}, 2026-04: {said}" for channel in ("000", "001")
    ]
    used = [*arguments, "--map", "media_url=media_urls", "--dedupe", "--label", "2"]
    assert b"ignored" not in run(*used)[1]
    code, told, errors = run("batch", lake, "--output", tmp_path / "folder", *RANGE)
    assert (code, errors, told.splitlines()[-1]) == (0, "", b"  columns that are ignored: day")


@pytest.mark.slow
def test_a_dry_run_counts(lake: Path, tmp_path: Path) -> None:
    """And makes nothing."""
    out = tmp_path / "out"
    short = ["--start", "2026-04-01", "--end", "2026-05-31"]
    code, told, errors = run("batch", f"{lake}/*/*.parquet", "--output", out, *short, "--dry-run")
    assert (code, errors) == (0, "")
    assert told.decode().splitlines() == [
        "6 archives, 419 messages: 6 to make, 0 there already, 0 to fail",
        "  2026-04  3 archives, 206 messages, at most 69 in one",
        "  2026-05  3 archives, 213 messages, at most 71 in one",
        "  181 messages lie outside the range",
        "  columns that are ignored: day",
    ]
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing-*.parquet"], "INPUT: nothing-*.parquet: there is no file to read"),
        (["nothing.parquet"], "INPUT: nothing.parquet does not exist"),
        (["-"], "a lake is read more than once"),
        (["LAKE", "INPUT"], "is there twice, and so would be its messages: give it once"),
        ([], "say what to read"),
        (["LAKE", "--layout", "{month}"], "--layout: layout '{month}' cannot be filled in"),
        (["LAKE", "--results", "r.txt"], "write a name that ends in .jsonl or .parquet"),
        (["LAKE", "--results", "no/such/r.jsonl"], "there is no folder no/such"),
        (["LAKE", "--results", "/proc/r.jsonl"], "/proc"),
        (["LAKE", "--results", "INPUT"], "is read by this export"),
        (["LAKE", "--memory-limit", "much"], "--memory-limit: memory_limit 'much' is no size"),
        (["LAKE", "--where", "colour = 1"], "--where: 'colour = 1' cannot be used"),
        (["LAKE", "--map", "colour=1"], "--map: there is no column colour"),
        (["LAKE", "--sql", "SELECT 1"], "--sql names its files itself"),
        (["--sql", "SELECT $x AS y"], "--param: the query has $x, which has no value"),
        (["LAKE", "--sort"], "No such option"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str, lake: Path, tmp_path: Path) -> None:
    """Is told before anything is read, with the option's name."""
    files = {path: path.read_bytes() for path in lake.rglob("*.parquet")}
    places = {"LAKE": f"{lake}/*/*.parquet", "INPUT": str(min(files))}
    code, _, errors = run(
        "batch", *(places.get(word, word) for word in arguments), "--output", tmp_path / "out", *RANGE
    )
    assert code == 2
    assert {path: path.read_bytes() for path in files} == files
    assert said in " ".join(errors.split())


@pytest.mark.slow
def test_a_lake_is_checked_as_one_channel(tmp_path: Path) -> None:
    """As the batch's page says: what is wrong is told, and conversations of one id in two channels are two."""
    row = {"conversation_id": "k", "direction": "inbound", "speaker_type": "customer", "message_text": "x"}
    row["message_time"] = "2026-05-02T00:00:00Z"
    rows = [{**row, "message_id": "1", "channel_id": channel, "contact_name": channel} for channel in ("a", "b", "a")]
    rows[1]["created_at"] = "2026-05-01T00:00:00Z"
    rows[2] |= {"message_id": "2", "direction": "sideways"}
    lines = [json.dumps(one) + "\n" for one in rows]
    where = f"{tmp_path}/*.jsonl"
    words = ("check", where, "--sort", "--map", "conversation_id=channel_id || '/' || conversation_id")
    (tmp_path / "1.jsonl").write_text("".join(lines[:2]))
    code, told, _ = run(*words)
    assert (code, "2 messages in 2 conversations" in told.decode()) == (0, True)
    (tmp_path / "2.jsonl").write_text(lines[2])
    code, told, _ = run(*words)
    assert code == 1
    assert "direction: 1 value: is not one of inbound, outbound" in told.decode()
    assert "conversation 'a/k', message '2'" in told.decode()


@pytest.mark.slow
def test_options_from_the_environment(lake: Path, tmp_path: Path) -> None:
    """As for the other commands that run unattended."""
    environment = {**ENVIRONMENT, "EXPORT_ENGINE_TIMEZONE": "Asia/Taipei", "EXPORT_ENGINE_PERIOD": "range"}
    code, told, _ = run("batch", f"{lake}/*/*.parquet", "--output", tmp_path, *RANGE, environment=environment)
    assert code == 0
    assert told.startswith(b"3 archives")
    with zipfile.ZipFile(next(tmp_path.glob("2026-04-01_2026-06-30/000_*.zip"))) as opened:
        assert b"+08:00" in opened.read(opened.namelist()[0])


@pytest.mark.slow
def test_verify_finds_each_kind_of_damage(lake: Path, tmp_path: Path) -> None:
    """What is missing, too much, other, and another key's."""
    out = tmp_path / "out"
    run("batch", f"{lake}/*/*.parquet", "--output", out, *RANGE)
    code, told, _ = run("batch", "verify", out, "--deep")
    assert (code, told.split(b": ")[1]) == (0, b"no problems\n")
    found = sorted(out.glob("2026-*/*.zip"))
    found[0].unlink()
    (out / "stray.zip").write_bytes(b"")
    found[1].write_bytes(found[1].read_bytes()[:-1])
    data = bytearray(found[2].read_bytes())
    data[100] ^= 1
    found[2].write_bytes(data)
    receipts = sorted((out / "receipts").iterdir())
    receipts[0].write_text("{}")
    of_three = next(path for path in receipts[1:] if found[3].name in path.read_text())
    of_three.rename(out / "receipts" / "0123456789abcdef.json")
    code, told, errors = run("batch", "verify", out)
    assert (code, errors) == (3, "")
    text = told.decode()
    assert "problems found" in text
    for said in ("this is no receipt", "another key", "stray.zip: no receipt tells of it"):
        assert said in text
    problems = text.splitlines()[1:]
    assert len(problems) >= 5


@pytest.mark.slow
def test_verify_deep_looks_into_archives(lake: Path, tmp_path: Path) -> None:
    """An archive that its receipt was made to fit is still found out."""
    out = tmp_path / "out"
    run("batch", f"{lake}/*/*.parquet", "--output", out, *RANGE)
    receipt = next((out / "receipts").iterdir())
    facts = json.loads(receipt.read_text())
    receipt.write_text(json.dumps(facts | {"rows": facts["rows"] + 1}))
    assert run("batch", "verify", out)[0] == 0
    code, told, _ = run("batch", "verify", out, "--deep")
    assert code == 3
    assert f"its receipt says {facts['rows'] + 1}" in told.decode()


@pytest.mark.slow
def test_verify_of_no_target(tmp_path: Path) -> None:
    """A folder without a receipt, or none at all, is an error."""
    for place in (tmp_path, tmp_path / "missing"):
        code, _, errors = run("batch", "verify", place)
        assert code == 1
        assert "there are no receipts here" in errors
