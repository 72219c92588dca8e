"""What is exported for no channel is found and named: files, channels, numbers, rows."""

from __future__ import annotations

from pathlib import Path

from export_engine.jobs.backends.files import open_files
from export_engine.jobs.backends.sql import SqlConversations, open_sql
from export_engine.jobs.backends.strays import EXAMPLES, Strays, strays_of_files, strays_of_tables
from tests.jobs.backends.test_spellings import WORKSPACE, in_files, made, tables
from tests.jobs.rows import NUMBER, SMS, WHATSAPP, conversation, fill, message


def test_files_that_are_no_channels(tmp_path: Path) -> None:
    """Under a wrong name, or of a channel that is not listed; what is hidden is none of them."""
    directory, _ = in_files(tmp_path)
    assert strays_of_files(directory) == [Strays("file", 0), Strays("channel", 0)]
    place = tmp_path / "conversations"
    place.mkdir()
    for name in (f"{SMS.id.upper()}.jsonl", ".hidden", "_new.jsonl", f"{WHATSAPP.id}.csv", "SMS Support.jsonl"):
        (place / name).touch()
    (place / f"{SMS.id}x").mkdir()
    found = ("SMS Support.jsonl", f"{WHATSAPP.id}.csv", f"{SMS.id}x")
    assert strays_of_files(directory) == [Strays("file", 3, found), Strays("channel", 0)]
    for number in range(9):
        (place / f"{number}.csv").touch()
    [files, _] = strays_of_files(directory)
    assert (files.count, len(files.examples)) == (12, EXAMPLES)


def test_a_channel_of_no_workspace_that_a_request_can_name(tmp_path: Path) -> None:
    """A workspace is a UUID there."""
    in_files(tmp_path, workspace_id="acme")
    directory, _ = open_files(tmp_path)
    assert strays_of_files(directory)[1] == Strays("channel", 1, (SMS.id,))


def test_tables_in_order(source: SqlConversations) -> None:
    """Nothing is found of what belongs together."""
    fill(source.engine, [conversation("c")], [message("m", "c")])
    kinds = ("channel", "phone_number", "conversation", "message")
    assert list(strays_of_tables(source.engine)) == [Strays(kind, 0) for kind in kinds]  # type: ignore[arg-type]  # mypy widens the tuple's texts


def test_rows_of_others_tables(database_url: str) -> None:
    """Each kind, counted and named; an id in another way of writing is none."""
    rows = tables(SMS.id, SMS.id.upper())
    rows["channel"] += [
        {"id": "17", "workspace_id": WORKSPACE, "type": "LOCAL", "name": None, "phone_number": "555"},
        {"id": WHATSAPP.id, "workspace_id": "acme", "type": "LOCAL", "name": None, "phone_number": NUMBER},
    ]
    for id_, channel in (("d", WHATSAPP.id), ("e", "17"), ("f", "18"), ("g", "18")):
        rows["conversation"].append({"id": id_, "channel_id": channel, "created_at": "NOW"})
    rows["message"] += [rows["message"][0] | {"id": f"n{n}", "conversation_id": "gone"} for n in range(7)]
    made(database_url, rows)
    directory, source = open_sql(database_url)
    channels, numbers, conversations, messages = strays_of_tables(source.engine)
    assert (channels.kind, channels.count, {*channels.examples}) == ("channel", 2, {"17", WHATSAPP.id})
    assert numbers == Strays("phone_number", 1, ("555",))
    assert conversations == Strays("conversation", 4, ("of channel 17", "of channel 18", f"of channel {WHATSAPP.id}"))
    assert (messages.kind, messages.count, len(messages.examples)) == ("message", 7, EXAMPLES)
    assert len(list(strays_of_tables(source.engine, channels_alone=True))) == 2
    source.engine.dispose()
    directory.engine.dispose()
