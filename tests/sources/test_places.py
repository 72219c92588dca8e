"""Inputs wherever they are: folders, patterns, object stores and the web."""

from __future__ import annotations

import gzip
import http.server
import io
import re
import sys
import threading
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export_engine import OptionError, SourceError
from export_engine.schema import ROW_SCHEMA
from export_engine.sources import SourceContext, open_source, read_mapped, read_sql
from tests.s3 import Bucket

HEADER = "message_id,conversation_id,direction,speaker_type,message_time"


def read(source: Any) -> pa.Table:
    return pa.Table.from_batches(source.batches(SourceContext(UTC)), ROW_SCHEMA)


def rows(name: str, count: int = 2) -> str:
    return "".join(f"{name}-{at},{name},inbound,customer,2026-06-02T08:00:00Z\n" for at in range(count))


def content(name: str, ending: str) -> bytes:
    """A file with a conversation of its name."""
    text = f"{HEADER}\n{rows(name)}"
    lines = [dict(zip(HEADER.split(","), line.split(","), strict=True)) for line in rows(name).splitlines()]
    if ending == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(lines), sink)
        return sink.getvalue()
    if ending.startswith("jsonl"):
        text = "".join(str(line).replace("'", '"') + "\n" for line in lines)
    return gzip.compress(text.encode()) if ending.endswith("gz") else text.encode()


def everything(place: str) -> str:
    return f"SELECT * FROM '{place}'"  # noqa: S608  # the tests' own


NAMES = ["a.csv", "b/c.jsonl.gz", "b/d.parquet", "e.csv.gz"]


def conversations(source: Any) -> list[str]:
    return list(dict.fromkeys(read(source)["conversation_id"].to_pylist()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of several kinds, some that are none of ours, and hidden ones."""
    place = tmp_path / "data"
    for name in [*NAMES, "notes.txt", ".hidden.csv", ".git/x.csv", "b/.a.csv"]:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(name, name.partition(".")[2]) if name in NAMES else b"not to be read")
    return place


def test_a_folder_is_its_files(folder: Path) -> None:
    """Those of a known ending, in folders too, by name; hidden ones not."""
    assert conversations(open_source(folder)) == NAMES
    assert conversations(open_source(str(folder / "b"), folder / "a.csv")) == ["b/c.jsonl.gz", "b/d.parquet", "a.csv"]


def test_a_pattern_is_the_files_that_fit(folder: Path) -> None:
    """Where a shell has not filled it in; a file of that very name is that file."""
    assert conversations(open_source(f"{folder}/*.csv*")) == ["a.csv", "e.csv.gz"]
    assert conversations(open_source(f"{folder}/**/*.parquet")) == ["b/d.parquet"]
    (folder / "[ab].csv").write_bytes(content("itself", "csv"))
    assert conversations(open_source(f"{folder}/[ab].csv")) == ["itself"]


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    """An empty folder and a pattern that fits nothing are no empty export."""
    for given in (tmp_path, f"{tmp_path}/*.csv"):
        with pytest.raises(OptionError, match="there is no file to read"):
            open_source(given)


# --- object stores ---------------------------------------------------------------------------------------------------


@pytest.fixture
def url(bucket: Bucket) -> str:
    return f"s3://{bucket.name}"


@pytest.fixture
def stored(bucket: Bucket, url: str) -> str:
    """The same files in a bucket."""
    for name in [*NAMES, "notes.txt", ".hidden.csv"]:
        obstore.put(bucket.store, f"data/{name}", content(name, name.partition(".")[2]) if name in NAMES else b"no")
    return f"{url}/data"


@pytest.mark.slow
def test_objects_are_read_as_files_are(stored: str) -> None:
    """One by one, all below a prefix, and those that fit a pattern."""
    assert [conversations(open_source(f"{stored}/{name}")) for name in NAMES] == [[name] for name in NAMES]
    assert conversations(open_source(f"{stored}/")) == NAMES
    assert conversations(open_source(f"{stored}/*.csv*")) == ["a.csv", "e.csv.gz"]
    assert conversations(open_source(f"{stored}/**/*.parquet")) == ["b/d.parquet"]
    assert open_source(f"{stored}/").paths == ()  # type: ignore[attr-defined]  # a source of files


@pytest.mark.slow
def test_an_object_is_streamed(bucket: Bucket, url: str) -> None:
    """A long CSV by one request, a long Parquet file by parts of what is needed."""
    text = HEADER + "\n" + rows("long", 100_000)
    obstore.put(bucket.store, "long.csv", text.encode())
    put = len(bucket.requests)
    assert read(open_source(f"{url}/long.csv")).num_rows == 100_000
    assert [line.split("?")[0] for line in bucket.requests[put:]] == [f"GET /{bucket.name}/long.csv"]
    table = read(open_source(f"{url}/long.csv")).append_column(
        "noise", pa.array(np.random.default_rng(0).random(100_000))
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none")
    obstore.put(bucket.store, "long.parquet", sink.getvalue())
    assert read(open_source(f"{url}/long.parquet")).num_rows == 100_000


@pytest.mark.slow
def test_queries_read_objects(stored: str) -> None:
    """By DuckDB, without any extension: patterns too, from the text and from parameters."""
    assert conversations(read_sql(everything(f"{stored}/b/*.parquet"))) == ["b/d.parquet"]
    files = {"files": [f"{stored}/a.csv", f"{stored}/e.csv.gz"]}
    found = read_sql("SELECT * FROM read_csv($files, all_varchar = true) ORDER BY conversation_id", files)
    assert conversations(found) == ["a.csv", "e.csv.gz"]
    found = read_sql(everything(f"{stored}/b/*.jsonl.gz"))
    assert conversations(found) == ["b/c.jsonl.gz"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("a.csv", "csv"), ("b/c.jsonl.gz", "jsonl"), ("b/d.parquet", "parquet")])
def test_objects_are_mapped(stored: str, name: str, kind: Any) -> None:
    """As files are."""
    columns = {"contact_name": "upper(conversation_id)"}
    found = read(read_mapped(f"{stored}/{name}", columns=columns, where="message_id LIKE '%1'", format=kind))
    assert found["contact_name"].to_pylist() == [name.upper()]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cut.json", "cut.json.gz"])
def test_a_cut_array_in_a_store_is_refused(bucket: Bucket, url: str, name: str) -> None:
    """As one on disk: it is whole to DuckDB."""
    text = b'[{"message_id": "m", "conversation_id": "c", "direction": "inbound", "speaker_type": "bot"},'
    obstore.put(bucket.store, f"arrays/{name}", gzip.compress(text) if name.endswith("gz") else text)
    for files in (f"{url}/arrays/{name}", f"{url}/arrays/{name[:3]}*{name[3:]}"):
        with pytest.raises(SourceError, match=f"{name} is a JSON array without its end"):
            read(read_sql("SELECT *, '2026-06-02' AS message_time FROM read_json($files)", {"files": files}))


def test_what_is_not_there_or_not_allowed(bucket: Bucket, stored: str, url: str) -> None:
    """The error says which and what to do."""
    for source in (open_source(f"{stored}/none.csv"), read_sql(everything(f"{stored}/none.csv"))):
        with pytest.raises(SourceError, match=r"s3://.*/data/none\.csv is not there"):
            read(source)
    with pytest.raises(OptionError, match="there is no file to read"):
        open_source(f"{url}/nothing/")
    with bucket.server.refusing("GET .*a.csv"):
        for source in (open_source(f"{stored}/a.csv"), read_sql(everything(f"{stored}/a.csv"))):
            with pytest.raises(SourceError, match=r"may not be read: .*AWS_… in the environment"):
                read(source)


# --- the web -------------------------------------------------------------------------------------------------------


class _Handler(http.server.BaseHTTPRequestHandler):
    """Files by name, in parts where asked for; a signature is needed for those below /signed/, and HEAD is refused."""

    files: ClassVar[dict[str, bytes]] = {}
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # the base class names it
        path, _, query = self.path.partition("?")
        body = self.files.get(path.rpartition("/")[2])
        if body is None or (path.startswith("/signed/") and query != "sig=a%2Fb%3D"):
            self.send_response(404 if body is None else 403)
            body = b""
        elif found := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            first, last = int(found[1]), min(int(found[2]), len(body) - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
            body = body[first : last + 1]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """A server with the files."""
    _Handler.files = {name.replace("/", "-"): content(name, name.partition(".")[2]) for name in NAMES}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("query", ["", "?sig=a%2Fb%3D"])
def test_files_of_the_web_are_read(web: str, query: str) -> None:
    """Streamed or by parts; a signature goes out letter by letter."""
    for name in NAMES:
        url = f"{web}/{'signed' if query else 'open'}/{name.replace('/', '-')}{query}"
        assert conversations(open_source(url)) == [name]
        if name.endswith("parquet"):
            assert conversations(read_sql("SELECT * FROM read_parquet($file)", {"file": url})) == [name]


def test_a_signature_is_in_no_error(web: str) -> None:
    """Nor a password."""
    secret = web.replace("http://", "http://user:secret@")
    for url in (f"{web}/signed/a.csv?sig=secret", f"{secret}/none.csv?sig=secret"):
        for source in (open_source(url), read_sql("SELECT * FROM read_csv($url)", {"url": url})):
            with pytest.raises(SourceError) as caught:
                read(source)
            assert "secret" not in str(caught.value)
            assert "127.0.0.1" in str(caught.value)


def test_the_web_has_no_folders(web: str) -> None:
    """Each file is named."""
    with pytest.raises(OptionError, match="the web lists no files"):
        open_source(f"{web}/")


def test_without_the_library_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is read."""
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "export_engine.sources.remote", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'export-engine\[cloud\]'"):
        open_source("s3://bucket/a.csv")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'export-engine\[cloud\]'"):
        read(read_sql("SELECT * FROM 's3://bucket/a.csv'"))
