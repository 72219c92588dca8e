"""Flat tables in files: what each format holds comes back as it went, or is refused by file and place."""

from __future__ import annotations

import csv
import gzip
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather

from export_engine.errors import RowError, SourceError
from export_engine.schema import COLUMN_NAMES
from export_engine.sources import Source, SourceContext
from export_engine.sources.csv_file import read_csv
from export_engine.sources.ipc import read_ipc
from export_engine.sources.parquet import read_parquet
from tests.sources.test_jsonl_flat import LINE, jsonl_of
from tests.sources.test_tables import MOMENT, batches, cells, ipc_file, ipc_stream, parquet, refusal, table

HEADER = ",".join(COLUMN_NAMES) + "\r\n"


def csv_of(folder: Path, *lines: str | bytes, name: str = "t.csv") -> Source:
    data = b"".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return read_csv(folder / name)


def csv_row(number: int, text: str) -> str:
    return f'"m{number}","c1",,,"inbound","customer",,"2026-06-11T06:50:43.861185Z",{text},,,\r\n'


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=6) | st.text('",\r\n\0', max_size=6)))
def test_csv_as_this_library_writes_it(tmp_path_factory: pytest.TempPathFactory, texts: list[str | None]) -> None:
    """Null and empty text, quotes, line ends and NUL come back as they went."""
    written = ["" if text is None else '"' + text.replace('"', '""') + '"' for text in texts]
    folder = tmp_path_factory.mktemp("csv")
    source = csv_of(folder, HEADER, *(csv_row(at, text) for at, text in enumerate(written)))
    assert cells(source, "message_text") == texts


def test_csv_of_other_programs(tmp_path: Path) -> None:
    """A byte order mark, LF, other columns, their order, compression and empty lines do no harm."""
    with (tmp_path / "t.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["x\ny", *reversed(LINE)])
        writer.writerow(["1", *reversed(LINE.values())])
    plain = (tmp_path / "t.csv").read_bytes() + b"\n"
    context = SourceContext(UTC)
    (batch,) = csv_of(tmp_path, plain, name="t.csv.gz").batches(context)
    assert batch.column("message_time").to_pylist() == [MOMENT]
    assert context.ignored_columns == ("x\ny",)


@pytest.mark.parametrize("size", [900_000, 5 << 20, 20 << 20])
def test_csv_rows_longer_than_a_block(size: int, tmp_path: Path) -> None:
    """Cells larger than a block are read whole, and no row twice."""
    texts = ["first", "x\r\n" * (size // 3), "y", "z" * size, "last"]
    source = csv_of(tmp_path, HEADER, *(csv_row(at, f'"{text}"') for at, text in enumerate(texts)))
    assert cells(source, "message_text") == texts


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEADER + csv_row(1, '"a"') + '"m2","c1"\r\n',
        HEADER + csv_row(1, '"cut short'),
        HEADER + csv_row(1, '"a"').replace(",,,\r\n", ',,,"cut'),
        HEADER + csv_row(1, '5" pipe'),
    ],
)
def test_csv_that_cannot_be_read(data: str | bytes, tmp_path: Path) -> None:
    """Rows of another length and quotes that do not pair up are refused with the file's name, not guessed at."""
    with pytest.raises(SourceError, match=r"t\.csv"):
        batches(csv_of(tmp_path, data))


def test_csv_names_the_row_that_is_not_utf8(tmp_path: Path) -> None:
    """Latin-1 in a cell is refused by its row; in an ignored column it does not matter."""
    error = refusal(csv_of(tmp_path, HEADER, csv_row(1, ""), csv_row(2, "?").encode().replace(b"?", b"\xff")))
    assert (error.row, error.message_id, error.column, error.value) == (2, "m2", "message_text", b"\xff")
    ignored = [b"caf\xe9," + HEADER.encode(), b"\xe9," + csv_row(1, "").encode()]
    assert cells(csv_of(tmp_path, *ignored), "message_id") == ["m1"]


@pytest.mark.parametrize("ending", ["parquet", "arrow", "arrows", "feather"])
def test_damaged_files(ending: str, tmp_path: Path) -> None:
    """A file cut short, damaged within or of another kind is a SourceError with its name; a missing one is its own."""
    path = tmp_path / f"t.{ending}"
    read = read_parquet if ending == "parquet" else read_ipc
    given = table(1000, message_text=[f"text {row}" for row in range(1000)])
    if ending == "feather":
        feather.write_feather(given, path, compression="lz4")
    else:
        {"parquet": parquet, "arrow": ipc_file, "arrows": ipc_stream}[ending](given, tmp_path)
    whole = path.read_bytes()
    assert len(cells(read(path), "message_id")) == 1000
    for data in (b"", b"junk" * 9, whole[: len(whole) // 2], whole[:60]):
        path.write_bytes(data)
        with pytest.raises(SourceError, match=f"t.{ending}"):
            batches(read(path))
    with pytest.raises(FileNotFoundError):
        batches(read(tmp_path / "none"))


@pytest.mark.parametrize("end", ["finished", "closed", "failed"])
def test_files_are_closed(end: str, tmp_path: Path) -> None:
    """At the end, when closed early and after an error, no file is left open."""
    opened = Path("/proc/self/fd")
    if not opened.exists():
        pytest.skip("open files cannot be counted here")
    last = {"message_time": "x"} if end == "failed" else {}
    given = table(9, message_time=["2026-06-11T06:50:43Z"] * 8 + [last.get("message_time", "2026-06-11T06:50:43Z")])
    sources = [make(given, tmp_path) for make in (parquet, ipc_file, ipc_stream)]
    sources += [jsonl_of(tmp_path, *[{}] * 8, last, name=name) for name in ("t.jsonl", "u.jsonl.gz")]
    rows = [csv_row(at, "") for at in range(8)]
    rows.append(csv_row(9, "").replace("2026", "x") if end == "failed" else csv_row(9, ""))
    sources += [csv_of(tmp_path, HEADER, *rows, name=name) for name in ("t.csv", "u.csv.gz")]
    before = {item.resolve() for item in opened.iterdir()}
    for source in sources:
        reading = source.batches(SourceContext(UTC))
        if end == "closed":
            next(reading)
            reading.close()
        elif end == "failed":
            with pytest.raises(RowError):
                list(reading)
        else:
            list(reading)
    left = {item.resolve() for item in opened.iterdir()} - before
    assert not [item for item in left if tmp_path in item.parents]
