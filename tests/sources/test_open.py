"""Files by their endings: whatever the kind, the same rows."""

from __future__ import annotations

import errno
import gzip
import json
import os
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from export_engine import Channel, DateRange, OptionError, RowError, SourceError, export_conversations, open_source
from export_engine.schema import ROW_SCHEMA
from export_engine.sources import Source, SourceContext
from export_engine.sources.tables import from_arrow

MOMENT = datetime(2026, 6, 11, 6, 50, 43, 861185, tzinfo=UTC)
FULL = pa.table(
    {
        "message_id": ["m0", "m1", "m2"],
        "conversation_id": ["c", "c", "c"],
        "direction": ["inbound"] * 3,
        "speaker_type": ["customer"] * 3,
        "message_time": pa.array([MOMENT] * 3, pa.timestamp("us", "UTC")),
        "contact_name": ['Jane "J" Doe', None, ""],
        "message_text": ["line\r\nline", None, ""],
        "media_url": ["https://a/1,https://b/2", None, ""],
        "created_at": pa.array([MOMENT, None, None], pa.timestamp("us", "UTC")),
    }
)


def read(source: Source) -> pa.Table:
    return pa.Table.from_batches(source.batches(SourceContext(UTC)), ROW_SCHEMA)


def as_text(made: pa.Table) -> pa.Table:
    for name in ("message_time", "created_at"):
        texts = [None if m is None else m.isoformat() for m in made[name].to_pylist()]
        made = made.set_column(made.schema.get_field_index(name), name, pa.array(texts, pa.string()))
    return made


def write_lines(made: pa.Table, path: Path, opener: Any = open) -> None:
    with opener(path, "wb") as file:
        for row in as_text(made).to_pylist():
            file.write(json.dumps(row).encode() + b"\n\n")


def write_csv(made: pa.Table, path: Path) -> None:
    pacsv.write_csv(as_text(made), path, pacsv.WriteOptions(quoting_style="all_valid"))


def write_stream(made: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, made.schema) as writer:
        writer.write_table(made)


def write_ipc(made: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, made.schema) as writer:
        writer.write_table(made)


WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "a.parquet": pq.write_table,
    "a.arrow": write_ipc,
    "a.feather": write_ipc,
    "a.arrows": write_stream,
    "a.csv": write_csv,
    "a.jsonl": write_lines,
    "a.ndjson.gz": lambda made, path: write_lines(made, path, gzip.open),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file(name: str, tmp_path: Path) -> None:
    """The same rows from each, null and empty text told apart; closed early, it closes its file."""
    WRITERS[name](FULL, tmp_path / name)
    source = open_source(tmp_path / name)
    assert read(source).equals(read(from_arrow(FULL)))
    batches = source.batches(SourceContext(UTC))
    next(batches)
    batches.close()


def test_an_exported_csv_is_read_back(tmp_path: Path) -> None:
    """What the engine writes, it reads."""
    given = FULL.drop_columns("created_at")
    export = export_conversations(given, channel=Channel("x"), date_range=DateRange(MOMENT.date(), MOMENT.date()))
    with zipfile.ZipFile(export.write_to(tmp_path)) as opened:
        (name,) = opened.namelist()
        (tmp_path / "back.csv").write_bytes(opened.read(name))
    back = read(open_source(tmp_path / "back.csv"))
    assert back.equals(read(from_arrow(given)))


def test_the_ending_tells_the_format(tmp_path: Path) -> None:
    """Where it tells none, the content or the option does; a missing file is the system's error."""
    path = tmp_path / "chats.data"
    write_lines(FULL, path)
    assert read(open_source(path)).num_rows == 3
    assert read(open_source(path, format="jsonl")).num_rows == 3
    with pytest.raises(OptionError):
        open_source(path, format="xml")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(OptionError):
        open_source()
    with pytest.raises(FileNotFoundError):
        open_source(tmp_path / "none.csv")


def test_the_file_of_a_wrong_row_is_named(tmp_path: Path) -> None:
    """Where several are read; the row's number is that in its own file."""
    head = "message_id,conversation_id,direction,speaker_type,message_time\n"
    (tmp_path / "good.csv").write_text(head + "m,c,inbound,customer,2026-06-02T08:00:00Z\n")
    (tmp_path / "bad.csv").write_text(head + "m,d,inbound,customer,yesterday\n")
    source = open_source(tmp_path / "good.csv", tmp_path / "bad.csv")
    with pytest.raises(RowError, match="row 1") as caught:
        list(source.batches(SourceContext(UTC)))
    assert "bad.csv" in caught.value.__notes__[0]


def test_a_file_that_cannot_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that is not ours a file is not missing: the system's own reason is told."""

    def refused(path: object, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "stat", refused)
    with pytest.raises(PermissionError) as caught:
        open_source("theirs/june.csv")
    assert caught.value.filename == "theirs/june.csv"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            b"<?xml version='1.0' encoding='UTF-8'?>\n<smses/>",
            r"is XML or HTML: export it as JSON or CSV where .*from_rows",
        ),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", r"is XML or HTML: export it as JSON"),
        (b"<HTML lang='en'>", r"is XML or HTML: export it as JSON"),
        (
            b'{\r\n  "messages": []\r\n}',
            r"a JSON object over several lines: .* jq -c \. .*; rows that stand within .*--sql",
        ),
        (
            b'{"value": [{"id": 1}], "count": 1}\n',
            r"missing.*; rows that stand in a list, as in 'value', are taken out by",
        ),
        (
            b'{"guild": {"id": 1}, "messages": [{"id": 1}]}\n',
            r"unknown field `guild`.*; what has others is read by a query",
        ),
    ],
)
def test_what_other_platforms_write(content: bytes, says: str, tmp_path: Path) -> None:
    """Documents with rows somewhere within are no rows; the error says which road leads to them."""
    for name in ("a.json", "a"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match=says):
            read(open_source(tmp_path / name))
