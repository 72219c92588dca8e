"""Channels and conversations out of a folder of files."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
import zipfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from export_engine import (
    DateRange,
    Export,
    ExportOptions,
    GroupingError,
    OptionError,
    SourceError,
    export_conversations,
)
from export_engine.jobs.backends.files import FileConversations, open_files
from export_engine.jobs.ports import WorkspaceChannel

WORKSPACE = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
NUMBER = "+12025550123"
SMS = WorkspaceChannel("b2c3d4e5-7777-8888-9999-000011112222", WORKSPACE, "LOCAL", "SMS Support", NUMBER)
WHATSAPP = WorkspaceChannel("a1b2c3d4-1111-2222-3333-444455556666", WORKSPACE, "WHATSAPP", "WhatsApp Sales", NUMBER)
LINE = WorkspaceChannel("c3d4e5f6-1111-2222-3333-444455556666", WORKSPACE, "LINE")
JUNE = DateRange(date(2026, 6, 1), date(2026, 6, 30))


def line(channel: WorkspaceChannel, **more: Any) -> dict[str, Any]:
    """A channel as a line of the file, without what it does not have."""
    names = ("id", "workspace_id", "type", "name", "phone_number")
    given = {name: getattr(channel, name) for name in names if getattr(channel, name) is not None}
    return {**given, **more}


def write_lines(folder: Path, *lines: dict[str, Any]) -> None:
    """Write `channels.jsonl`."""
    (folder / "channels.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines), "utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three channels and no conversations."""
    write_lines(tmp_path, line(SMS), line(WHATSAPP), line(LINE))
    return tmp_path


# --- channels ------------------------------------------------------------------------------------------------------


def test_a_channel_by_its_id(folder: Path) -> None:
    """The one with that id; what a line leaves out is None."""
    directory, _ = open_files(folder)
    assert directory.find(WORKSPACE, channel_id=SMS.id) == [SMS]
    assert directory.find(WORKSPACE, channel_id=LINE.id) == [LINE]


def test_channels_by_their_number(folder: Path) -> None:
    """All that share it; none without a number."""
    directory, _ = open_files(folder)
    assert directory.find(WORKSPACE, phone_number=NUMBER) == [SMS, WHATSAPP]


def test_a_channel_is_not_found_from_another_workspace(folder: Path) -> None:
    """Neither by id nor by number."""
    directory, _ = open_files(folder)
    assert directory.find("another", channel_id=SMS.id) == []
    assert directory.find("another", phone_number=NUMBER) == []


def test_channels_in_parquet(tmp_path: Path) -> None:
    """The same columns, nulls for what is not there."""
    rows = [{"name": None, "phone_number": None, **line(channel)} for channel in (SMS, LINE)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "channels.parquet")
    directory, _ = open_files(tmp_path)
    assert directory.channels() == [SMS, LINE]


def test_ids_are_brought_to_one_form(tmp_path: Path) -> None:
    """A UUID in upper case is the one that requests have in lower case."""
    write_lines(tmp_path, line(SMS, id=SMS.id.upper()))
    directory, _ = open_files(tmp_path)
    assert directory.find(WORKSPACE, channel_id=SMS.id) == [SMS]


def test_blank_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    """As editors leave them."""
    (tmp_path / "channels.jsonl").write_text(f"\ufeff\r\n{json.dumps(line(SMS))}\r\n\n", "utf-8")
    directory, _ = open_files(tmp_path)
    assert directory.channels() == [SMS]


def test_a_changed_file_is_read_again(folder: Path) -> None:
    """Without a restart, and only then: the list stays the same object meanwhile."""
    directory, _ = open_files(folder)
    before = directory.channels()
    assert directory.channels() is before
    write_lines(folder, line(SMS, name="Help"))
    os.utime(folder / "channels.jsonl", (1, 1))
    [changed] = directory.find(WORKSPACE, channel_id=SMS.id)
    assert changed.name == "Help"
    write_lines(folder, line(SMS, name="Kelp"))  # as long, and at another time
    [changed] = directory.find(WORKSPACE, channel_id=SMS.id)
    assert changed.name == "Kelp"


def test_a_file_that_changes_for_the_worse(folder: Path) -> None:
    """Is told each time it is asked, until it is mended."""
    directory, _ = open_files(folder)
    (folder / "channels.jsonl").write_text("{")
    for _ in range(2):
        with pytest.raises(SourceError, match="line 1 is not JSON"):
            directory.find(WORKSPACE, channel_id=SMS.id)
    write_lines(folder, line(SMS))
    assert directory.find(WORKSPACE, channel_id=SMS.id) == [SMS]


def test_many_threads_ask_while_the_file_changes(folder: Path) -> None:
    """Each gets the channel, of before or after."""
    directory, _ = open_files(folder)
    wrong: list[object] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            found = directory.find(WORKSPACE, channel_id=SMS.id)
            if [channel.id for channel in found] != [SMS.id]:
                wrong.append(found)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(50):
        # Each of another length: a file system may give two that follow each other soon the same time and number.
        (folder / "_new").write_text(json.dumps(line(SMS, name="N" * (number + 1))))
        (folder / "_new").rename(folder / "channels.jsonl")
    stop.set()
    for thread in threads:
        thread.join(120)
    assert wrong == []
    assert directory.channels()[0].name == "N" * 50


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"id": None}, "id: is missing; every channel needs one"),
        ({"id": "../../etc"}, "id: '../../etc' is no UUID; write it like b2c3d4e5-7777-8888-9999-000011112222"),
        ({"id": 7}, "id: 7 is not text; write it in quotes"),
        ({"id": LINE.id}, f"id: {LINE.id} is another channel's already; give each channel its own"),
        ({"workspace_id": ""}, "workspace_id: is empty; fill it in"),
        ({"type": None}, "type: is missing; every channel needs one"),
        ({"name": ""}, "name: is empty; fill it in, or leave it out"),
        ({"name": ["SMS"]}, "name: ['SMS'] is not text; write it in quotes"),
        ({"name": "SMS \ud800"}, r"name: 'SMS \ud800' has half of a character (a surrogate); write it whole"),
        ({"phone_number": "(202) 555-0123"}, "phone_number: '(202) 555-0123' is not E.164; write it like +12025550123"),
        ({"phone": NUMBER}, "phone: there is no such field; the fields are id, workspace_id, type, name, phone_number"),
    ],
)
def test_a_channel_that_breaks_a_rule(tmp_path: Path, wrong: dict[str, Any], told: str) -> None:
    """The error names the file, the line, the field and how to mend it."""
    write_lines(tmp_path, line(LINE), line(SMS, **wrong))
    with pytest.raises(SourceError) as caught:
        open_files(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'channels.jsonl'}, line 2, {told}")


def test_a_row_of_parquet_that_breaks_a_rule(tmp_path: Path) -> None:
    """The error names the file, the row and the field."""
    pq.write_table(pa.Table.from_pylist([line(SMS), line(WHATSAPP, type=None)]), tmp_path / "channels.parquet")
    with pytest.raises(SourceError) as caught:
        open_files(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'channels.parquet'}, row 2, type: is missing; every channel needs one"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "line 1 is not JSON in UTF-8"),
        (b"\n[]\n", "line 2 is no JSON object; write one a line, with id, workspace_id"),
        (b'{"id": "\xff"}', "line 1 is not JSON in UTF-8"),
        (b"[" * 100_000, "line 1 is not JSON in UTF-8"),
    ],
)
def test_a_line_that_is_no_object(tmp_path: Path, content: bytes, told: str) -> None:
    """The error names the file and the line."""
    (tmp_path / "channels.jsonl").write_bytes(content)
    with pytest.raises(SourceError) as caught:
        open_files(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'channels.jsonl'}, {told}")


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    """The error names the file."""
    (tmp_path / "channels.parquet").write_bytes(b"PAR1")
    with pytest.raises(SourceError, match=r"channels\.parquet cannot be read as a Parquet file"):
        open_files(tmp_path)


def test_no_file_of_channels(tmp_path: Path) -> None:
    """The error says what to write."""
    with pytest.raises(SourceError, match=r"neither channels\.jsonl nor channels\.parquet: write one, with id"):
        open_files(tmp_path)


def test_two_files_of_channels(folder: Path) -> None:
    """Neither is taken for the right one."""
    (folder / "channels.parquet").touch()
    with pytest.raises(SourceError, match="keep one of them"):
        open_files(folder)


# --- conversations -------------------------------------------------------------------------------------------------


def message(number: int, conversation: str = "c") -> dict[str, Any]:
    """A message as a row of a table."""
    return {
        "message_id": f"m{number}",
        "conversation_id": conversation,
        "direction": "inbound",
        "speaker_type": "customer",
        "message_time": (datetime(2026, 6, 11, tzinfo=UTC) + timedelta(minutes=number)).isoformat(),
    }


def lines(*rows: dict[str, Any]) -> bytes:
    """Flat JSON Lines."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def exported(source: FileConversations, channel: WorkspaceChannel = SMS) -> list[str]:
    """The ids of the messages in the archive."""
    given = source.conversations(channel, JUNE, ExportOptions())
    archive = b"".join(export_conversations(given, channel=channel.channel, date_range=JUNE))
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        rows = [row for name in opened.namelist() for row in opened.read(name).decode().split("\r\n")[1:-1]]
    return [row.split(",")[0].strip('"') for row in rows]


@pytest.mark.parametrize("ending", ["parquet", "arrow", "jsonl", "jsonl.gz", "csv", "csv.gz"])
def test_a_file_of_each_kind(folder: Path, ending: str) -> None:
    """The ending tells how it is read."""
    rows = [message(1), message(2)]
    (folder / "conversations").mkdir()
    path = folder / "conversations" / f"{SMS.id}.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif ending == "arrow":
        feather.write_feather(pa.Table.from_pylist(rows), str(path))
    else:
        content = lines(*rows)
        if ending.startswith("csv"):
            content = "\n".join(",".join(row) for row in (rows[0], *(row.values() for row in rows))).encode()
        path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    _, source = open_files(folder)
    assert exported(source) == ["m1", "m2"]


def test_a_channel_without_a_file(folder: Path) -> None:
    """Has no conversations: an export of nothing, not an error."""
    _, source = open_files(folder)
    assert exported(source) == []
    (folder / "conversations" / SMS.id).mkdir(parents=True)
    assert exported(source) == []
    assert exported(source, LINE) == []


def test_a_folder_is_read_in_the_order_of_names(folder: Path) -> None:
    """Whatever the kinds of files; hidden ones and those that begin with an underscore are left alone."""
    place = folder / "conversations" / SMS.id
    place.mkdir(parents=True)
    (place / "2026-06-b.jsonl").write_bytes(lines(message(3, "d")))
    pq.write_table(pa.Table.from_pylist([message(1), message(2)]), place / "2026-06-a.parquet")
    (place / "2026-07.jsonl").write_bytes(lines(message(4, "e")))
    (place / ".2026-08.jsonl.swp").write_bytes(b"half")
    (place / "_SUCCESS").touch()
    _, source = open_files(folder)
    assert exported(source) == ["m1", "m2", "m3", "m4"]
    (place / "2026-08.jsonl").write_bytes(lines(message(5)))
    with pytest.raises(GroupingError, match="'c' comes back"):
        exported(source)


def test_a_source_is_made_anew_each_time(folder: Path) -> None:
    """So that a second attempt reads everything again."""
    (folder / "conversations").mkdir()
    (folder / "conversations" / f"{SMS.id}.jsonl").write_bytes(lines(message(1)))
    _, source = open_files(folder)
    assert exported(source) == exported(source) == ["m1"]


def test_a_file_named_in_upper_case(folder: Path) -> None:
    """Is the channel's, too: it is not passed over without a word."""
    (folder / "conversations").mkdir()
    (folder / "conversations" / f"{SMS.id.upper()}.jsonl").write_bytes(lines(message(1)))
    _, source = open_files(folder)
    assert exported(source) == ["m1"]


@pytest.mark.parametrize("other", [f"{SMS.id}.csv", f"{SMS.id}/", f"{SMS.id}.jsonl.tmp"])
def test_several_for_one_channel(folder: Path, other: str) -> None:
    """None of them is taken for the right one."""
    place = folder / "conversations"
    place.mkdir()
    (place / f"{SMS.id}.jsonl").write_bytes(lines(message(1)))
    (place / other).mkdir() if other.endswith("/") else (place / other).touch()
    _, source = open_files(folder)
    with pytest.raises(SourceError, match=r"keep one, or put the files into the folder b2c3d4e5"):
        source.conversations(SMS, JUNE, ExportOptions())


def test_an_ending_that_says_nothing(folder: Path) -> None:
    """The content tells how it is read; where it tells nothing either, the error names the file."""
    place = folder / "conversations" / f"{SMS.id}.txt"
    place.parent.mkdir()
    place.write_bytes(lines(message(1)))
    _, source = open_files(folder)

    def export() -> Export:
        given = source.conversations(SMS, JUNE, ExportOptions())
        return export_conversations(given, channel=SMS.channel, date_range=JUNE)

    assert b"".join(made := export())
    assert made.report.rows == 1
    place.write_bytes(b"nothing that is known\n")
    with pytest.raises(OptionError, match=rf"{SMS.id}\.txt"):
        b"".join(export())


@pytest.mark.parametrize("identifier", ["../channels", "..", "", "*", f"{SMS.id}/..", f"{SMS.id}\0", f"{SMS.id}.jsonl"])
def test_a_channel_whose_id_is_no_uuid(folder: Path, identifier: str) -> None:
    """Never becomes part of a path."""
    _, source = open_files(folder)
    with pytest.raises(OptionError, match="is no UUID: give a UUID"):
        source.conversations(WorkspaceChannel(identifier, WORKSPACE, "LOCAL"), JUNE, ExportOptions())
