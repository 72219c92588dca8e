"""A lake of conversations, one a line of JSON: the archives are those of the same messages as rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from export_engine import SchemaError, SourceError
from export_engine.batch import BatchPlan, Lake, export_lake
from tests.batch.lakes import archives, expected, generated
from tests.cli.command import run


def conversations(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows by their conversations; media as lists."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        conversation = found.setdefault(
            (row["channel_id"], row["conversation_id"]),
            {
                "id": row["conversation_id"],
                "channel_id": row["channel_id"],
                "channel_name": row["channel_name"],
                "contact": {"name": row["contact_name"], "phone": None},
                "messages": [],
            },
        )
        conversation["messages"].append(
            {
                "id": row["message_id"],
                "time": row["message_time"].isoformat(),
                "direction": row["direction"],
                "speaker_type": row["speaker_type"],
                "text": row["message_text"],
                "media_urls": ["https://example.com/a,b", "https://example.com/c"],
            }
        )
    return list(found.values())


def written(lines: list[Any], folder: Path, files: int = 2) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"part-{number}.jsonl" for number in range(files)]
    for number, path in enumerate(paths):
        path.write_text("".join(json.dumps(line) + "\n" for line in lines[number::files]))
    return paths


@pytest.mark.slow
def test_the_same_archives_as_rows(plan: BatchPlan, tmp_path: Path) -> None:
    """Media too, whose commas are escaped by the rule of every source; from the command line as well."""
    rows = generated(1000, 3)
    paths = written(conversations(rows.to_pylist()), tmp_path / "lake")
    results = list(export_lake(Lake.of_conversations(paths), plan))
    assert {result.status for result in results} == {"done"}
    media = ["https://example.com/a%2Cb,https://example.com/c"] * rows.num_rows
    wanted = expected(rows.append_column("media_url", [media]), plan)
    assert archives(plan.target) == wanted
    days = ["--start", "2026-04-01", "--end", "2026-06-30", "--timezone", "Asia/Taipei", "--label", plan.label]
    code, _, errors = run("batch", f"{tmp_path}/lake/*.jsonl", "--output", tmp_path / "command", *days)
    assert (code, errors) == (0, "")
    assert archives(tmp_path / "command") == wanted
    where = ["--where", "channel_id = '001'"]
    code, told, errors = run("batch", f"{tmp_path}/lake/*.jsonl", "--output", tmp_path / "one", *days, *where)
    assert (code, told.split(b":")[0], errors) == (0, b"3 archives", "")


def spoil(**keys: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda conversation: conversation | keys


def message(**keys: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda conversation: conversation | {"messages": [conversation["messages"][0] | keys]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (spoil(created="2026-01-01"), "a conversation has the unknown key 'created'"),
        (spoil(contact={"nam": "Jane"}), "a contact has the unknown key 'nam'"),
        (message(txt="lost"), "a message has the unknown key 'txt'"),
        (
            spoil(contact="Jane"),
            "1 conversations have a contact that is no object, the first conversation '0-0' (\"Jane\")",
        ),
        (spoil(contact=None), "1 conversations have a contact that is no object"),
        (spoil(messages=[]), "1 conversations have no messages, and rows cannot tell of them"),
        (spoil(messages=None), "1 conversations have no messages"),
        (spoil(messages="none"), "1 conversations have messages that are no list"),
        (
            spoil(id=1.0),
            "1 conversations have a value of 'id' that is neither text nor a whole number",
        ),
        (
            spoil(channel_id={"x": 1}),
            "1 conversations have a value of 'channel_id' that is neither text nor a whole number",
        ),
        (
            spoil(channel_name=7),
            "1 conversations have a value of 'channel_name' that is no text, the first conversation '0-0' (7)",
        ),
        (spoil(contact={"name": ["Jane"]}), "1 conversations have a value of the contact's 'name' that is no text"),
        (
            spoil(contact={"phone": 1.202e10}),
            "have a value of the contact's 'phone' that is neither text nor a whole number",
        ),
        (message(id=1.5), "1 messages have a value of 'id' that is neither text nor a whole number"),
        (message(text=True), "that is no text, the first conversation '0-0', message 'm' (true): mend"),
        (message(text="x" * 9, status=["x" * 200]), f"(['{'x' * 158}…)".replace("'", '"')),
        (message(media_urls={"a": 1}), "1 messages have a value of 'media_urls' that is neither text nor a list"),
        (spoil(channel_id=None), "1 rows have no channel_id"),
        (spoil(id=""), "1 rows have no conversation_id"),
        (message(id=None), "1 rows have no message_id"),
        (message(time="yesterday"), "1 rows have no message_time, or none that can be read"),
        (spoil(messages=["text"]), "1 rows have no message_id"),
    ],
)
def test_what_is_wrong_is_told(
    change: Callable[[dict[str, Any]], Any], said: str, plan: BatchPlan, tmp_path: Path
) -> None:
    """Nothing is lost without a word: keys that nobody knows, conversations that make no row, and what is missing."""
    line = {
        "id": "0-0",
        "channel_id": "0",
        "contact": {"name": "Jane"},
        "messages": [{"id": "m", "time": "2026-05-01T00:00:00Z", "direction": "inbound", "speaker_type": "customer"}],
    }
    good = line | {"id": "0-1"}
    paths = written([good, change(line)], tmp_path / "lake", 1)
    with pytest.raises((SchemaError, SourceError)) as caught:
        list(export_lake(Lake.of_conversations(paths), plan))
    assert said in str(caught.value)


def test_a_key_that_is_there_twice(tmp_path: Path) -> None:
    """One of the two would be lost."""
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"id": "c", "channel_id": "0", "contact": {"name": "a", "name": "b"}, "messages": [{"id": "m"}]}\n'
    )
    with pytest.raises(SourceError, match="a contact has a key twice"):
        Lake.of_conversations([path])
    path.write_text('{"id": "c", "id": "d", "channel_id": "0", "contact": {}, "messages": [{"id": "m"}]}\n')
    with pytest.raises(SourceError):
        Lake.of_conversations([path])


@pytest.mark.slow
def test_what_cannot_be_had_is_named(tmp_path: Path) -> None:
    """Mapping is for flat files, and a lake is of one kind."""
    lines = conversations(generated(10, 1).to_pylist())
    written(lines, tmp_path / "lake", 1)
    (tmp_path / "lake" / "flat.jsonl").write_text('{"message_id": "m"}\n')
    code, _, errors = run("batch", f"{tmp_path}/lake/part*.jsonl", "--output", tmp_path / "out", "--map", "status='x'")
    assert (code, "--map cannot stand with conversations: their keys are the model's" in errors) == (2, True)
    code, _, errors = run("batch", f"{tmp_path}/lake/*.jsonl", "--output", tmp_path / "out")
    assert code == 2
    assert "these are JSON Lines with conversations, jsonl: give one kind" in " ".join(errors.split())


@pytest.mark.slow
def test_whole_numbers_are_ids_and_phones(plan: BatchPlan, tmp_path: Path) -> None:
    """Of any length, to the digit; text may be null."""
    line = {"channel_id": 7, "channel_phone": 12025550100, "contact": {"name": None, "phone": 12025550123}}
    first = {"id": 12345678901234567890123, "time": "2026-05-01T00:00:00Z", "text": None, "media_urls": []}
    first |= {"direction": "inbound", "speaker_type": "customer"}
    paths = written([line | {"id": 10**30 + 1, "messages": [first]}], tmp_path / "lake", 1)
    (result,) = export_lake(Lake.of_conversations(paths), plan)
    assert str(result.path).startswith("2026-05/12025550100_2026-05_")
    with ZipFile(Path(plan.target) / str(result.path)) as archive:
        (name,) = archive.namelist()
        row = archive.read(name).decode().splitlines()[1]
    assert row.startswith(f'"12345678901234567890123","{10**30 + 1}",,"12025550123","inbound"')
