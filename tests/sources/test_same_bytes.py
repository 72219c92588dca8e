"""The same data gives the same bytes, whatever kind of source it came from and however its values were spelt there."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd  # type: ignore[import-untyped]  # its stubs are a package of their own
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export_engine import Channel, Contact, Conversation, DateRange, Message, export_conversations, open_source
from export_engine.schema import COLUMN_NAMES, CREATED_AT
from export_engine.sources import filtered, from_rows, read_mapped, read_sql
from export_engine.sources.tables import from_arrow
from tests.reference import COLUMNS, cell

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMES = (*COLUMN_NAMES, CREATED_AT)
TIMES = ("message_time", CREATED_AT)
IDS = ("message_id", "conversation_id")

#: An emoji in two halves, halves alone, and characters that formats have words for.
PAIR, HIGH, LOW = "\ud83d\ude02", "\ud83d", "\ude02"


@dataclass(frozen=True)
class Data:
    """Rows with the values that are meant, and how a kind of value is spelt in all of them.

    Times are nanoseconds since 1970, media lists of URLs or None, ids numbers; text may hold surrogates.
    """

    rows: list[dict[str, Any]]
    ids: str
    times: str
    media: str


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    [
        "",
        PAIR,
        f"a{HIGH}b",
        f"{LOW}{HIGH}",
        f"{PAIR}{HIGH}",
        '"',
        ",",
        "\r\n",
        "\0",
        "null",
        "[",
        "é",
        "\ufeff",
        "\ufffd",
    ]
)
maybe = st.none() | texts
nanoseconds = st.integers(-(10**18), 4 * 10**18) | st.sampled_from(
    [-1, -999, -1000, -1001, 1782863999_999_999_999, 1782863999_999_999_900, 0]
)
urls = st.lists(st.text("abc:/?é&", max_size=5) | st.sampled_from(["https://a/1,2", ",", ""]), max_size=3)


@st.composite
def data(draw: st.DrawFn) -> Data:
    rows: list[dict[str, Any]] = []
    for conversation in range(draw(st.integers(1, 3))):
        shared: dict[str, Any] = {
            "conversation_id": conversation + draw(st.sampled_from([1, 2**40])),
            "contact_name": draw(maybe),
            "contact_phone": draw(st.none() | st.just("12025550123")),
            CREATED_AT: draw(st.none() | nanoseconds),
        }
        for _ in range(draw(st.integers(1, 3))):
            speaker = draw(st.sampled_from(["bot", "agent", "customer"]))
            rows.append(
                shared
                | {
                    "message_id": draw(st.integers(-5, 2**63 - 1)),
                    "direction": draw(st.sampled_from(["inbound", "outbound"])),
                    "speaker_type": speaker,
                    "speaker_name": draw(maybe),
                    "message_time": draw(nanoseconds),
                    "message_text": draw(maybe),
                    "media_url": draw(st.none() | urls),
                    "status": draw(maybe),
                    "sender_account": draw(maybe) if speaker == "agent" else None,
                }
            )
    return Data(
        rows,
        draw(st.sampled_from(["text", "integer", "decimal", "uuid"])),
        draw(st.sampled_from(["values", "iso", "database", "s", "ms", "us", "ns"])),
        draw(st.sampled_from(["list", "json", "commas"])),
    )


# --- how values are spelt ------------------------------------------------------------------------------------------


def id_of(number: int, spelling: str) -> Any:
    if spelling == "text":
        return f"i{number}"
    if spelling == "uuid":
        return UUID(int=number % 2**128)
    return Decimal(number) if spelling == "decimal" else number


def counted(ns: int, unit: str) -> Decimal:
    """Nanoseconds in a unit, exactly."""
    return Decimal(ns).scaleb({"s": -9, "ms": -6, "us": -3, "ns": 0}[unit])


def digits(number: Decimal) -> str:
    text = format(number, "f")
    return text.rstrip("0").removesuffix(".") if "." in text else text


def iso(ns: int, *, database: bool = False) -> str:
    """With all nine digits behind the point, or as many as there are."""
    moment = EPOCH + timedelta(seconds=ns // 10**9)
    fraction = f"{ns % 10**9:09d}"
    if database:
        return f"{moment:%Y-%m-%d %H:%M:%S},{fraction} UTC"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction if ns % 100 else fraction[:7]}Z"


def time_text(ns: int | None, spelling: str) -> str | None:
    if ns is None:
        return None
    if spelling in ("values", "iso", "database"):
        return iso(ns, database=spelling == "database")
    return digits(counted(ns, spelling))


def media_text(found: list[str] | None, spelling: str) -> str | None:
    if found is None or (not found and spelling == "commas"):
        return None
    return json.dumps(found) if spelling != "commas" else ",".join(url.replace(",", "%2C") for url in found)


def octets(text: str) -> bytes:
    """UTF-8, but surrogates as three bytes each, as CESU-8 and others have them."""
    return text.encode("utf-8", "surrogatepass")


# --- sources -------------------------------------------------------------------------------------------------------


def objects(given: Data, _: Path) -> Any:
    """Conversations with their messages, times as pandas' timestamps, text or numbers."""

    def time(ns: int | None) -> Any:
        if ns is None or given.times in ("iso", "database"):
            return time_text(ns, given.times)
        return pd.Timestamp(ns, tz="UTC") if given.times == "values" else counted(ns, given.times)

    def message(row: dict[str, Any]) -> Message:
        media = row["media_url"] if given.media == "list" else media_text(row["media_url"], given.media)
        named = {name: row[name] for name in ("speaker_name", "status", "sender_account")}
        return Message(
            id_of(row["message_id"], given.ids),
            time(row["message_time"]),
            row["direction"],
            row["speaker_type"],
            row["message_text"],
            media_urls=media,  # type: ignore[arg-type]  # the case
            **named,
        )

    def conversations() -> Iterator[Conversation]:
        for _, group in groupby(given.rows, lambda row: row["conversation_id"]):
            rows = list(group)
            first = rows[0]
            yield Conversation(
                id_of(first["conversation_id"], given.ids),
                Contact(first["contact_name"], first["contact_phone"]),
                [message(row) for row in rows],
                time(first[CREATED_AT]),
            )

    return conversations()


def json_value(name: str, value: Any, given: Data) -> Any:
    if name in IDS:
        value = id_of(value, given.ids)
        return value if isinstance(value, int | str) else str(value)
    if name in TIMES:
        text = time_text(value, given.times)
        return text if text is None or given.times in ("values", "iso", "database") else number(text)
    if name == "media_url" and given.media != "list":
        return media_text(value, given.media)
    return value


def number(text: str) -> str:
    """Stands for a JSON number with these digits, which the standard library would make a float of."""
    return f"@@{text}@@"


def json_line(value: Any, *, escaped: bool) -> bytes:
    return octets(re.sub('"@@([^"@]+)@@"', r"\1", json.dumps(value, ensure_ascii=escaped))) + b"\n"


def flat(given: Data, folder: Path) -> Any:
    lines = [{name: json_value(name, row[name], given) for name in NAMES} for row in given.rows]
    path = folder / "flat.jsonl"
    path.write_bytes(b"".join(json_line(line, escaped=at % 2 == 0) for at, line in enumerate(lines)))
    return open_source(path)


def nested(given: Data, folder: Path) -> Any:
    keys = {
        "id": "message_id",
        "time": "message_time",
        "text": "message_text",
        "media_urls": "media_url",
        **{key: key for key in ("direction", "speaker_type", "speaker_name", "status", "sender_account")},
    }
    lines = []
    for _, group in groupby(given.rows, lambda row: row["conversation_id"]):
        rows = [{name: json_value(name, row[name], given) for name in NAMES} for row in group]
        first = rows[0]
        lines.append(
            {
                "id": first["conversation_id"],
                "contact": {"name": first["contact_name"], "phone": first["contact_phone"]},
                CREATED_AT: first[CREATED_AT],
                "messages": [{key: row[name] for key, name in keys.items()} for row in rows],
            }
        )
    path = folder / "nested.jsonl"
    path.write_bytes(b"".join(json_line(line, escaped=at % 2 == 1) for at, line in enumerate(lines)))
    return open_source(path)


def plain(name: str, value: Any, given: Data) -> str | None:
    """The text of a CSV's cell."""
    if name in IDS:
        return str(id_of(value, given.ids))
    if name in TIMES:
        return time_text(value, given.times)
    return media_text(value, given.media) if name == "media_url" else value


def csv_file(given: Data, folder: Path) -> Any:
    lines = [",".join(NAMES)]
    lines += [",".join(cell(plain(name, row[name], given), guard=False) for name in NAMES) for row in given.rows]
    path = folder / "rows.csv"
    path.write_bytes(octets("\r\n".join(lines) + "\r\n"))
    return open_source(path)


def arrow_column(name: str, values: list[Any], given: Data) -> pa.Array:
    if name in IDS and given.ids == "uuid":
        return pa.ExtensionArray.from_storage(
            pa.uuid(), pa.array([id_of(v, "uuid").bytes for v in values], pa.binary(16))
        )
    if name in IDS:
        return pa.array([id_of(v, given.ids) for v in values], pa.decimal128(38, 0) if given.ids == "decimal" else None)
    if name in TIMES and given.times == "values":
        return pa.array(values, pa.int64()).view(pa.timestamp("ns", "UTC"))
    if name in TIMES and given.times not in ("iso", "database"):
        return pa.array([None if v is None else counted(v, given.times) for v in values], pa.decimal128(38, 9))
    if name == "media_url" and given.media == "list":
        return pa.array(values, pa.list_(pa.string()))
    found = [None if text is None else octets(text) for text in (plain(name, v, given) for v in values)]
    return pa.array(found, pa.binary()).view(pa.string())  # nobody checks what another writer wrote


def table(given: Data) -> pa.Table:
    return pa.table({name: arrow_column(name, [row[name] for row in given.rows], given) for name in NAMES})


def arrow(given: Data, _: Path) -> Any:
    return from_arrow(table(given))


def coded(given: Data, _: Path) -> Any:
    """Dictionaries, large and binary text."""
    made = table(given)
    for at, name in enumerate(NAMES):
        column = made[name].combine_chunks()
        if pa.types.is_string(column.type):
            binary = column.view(pa.binary())
            column = binary.dictionary_encode() if at % 2 else binary.cast(pa.large_binary())
        made = made.set_column(at, name, column)
    return from_arrow(made)


def parquet(given: Data, folder: Path) -> Any:
    pq.write_table(table(given), folder / "t.parquet", row_group_size=2)
    return open_source(folder / "t.parquet")


def ipc(given: Data, folder: Path) -> Any:
    with pa.ipc.new_file(folder / "t.arrow", table(given).schema) as sink:
        sink.write_table(table(given))
    return open_source(folder / "t.arrow")


def dictionaries(given: Data, _: Path) -> Any:
    """Rows as dictionaries, with the values of objects."""

    def time(ns: int | None) -> Any:
        if ns is None or given.times in ("iso", "database"):
            return time_text(ns, given.times)
        return pd.Timestamp(ns, tz="UTC") if given.times == "values" else counted(ns, given.times)

    return from_rows(
        {
            **row,
            **{name: id_of(row[name], given.ids) for name in IDS},
            **{name: time(row[name]) for name in TIMES},
            "media_url": row["media_url"] if given.media == "list" else media_text(row["media_url"], given.media),
        }
        for row in given.rows
    )


def queried(given: Data, folder: Path) -> Any:
    parquet(given, folder)
    return read_sql("SELECT * FROM read_parquet($file)", {"file": str(folder / "t.parquet")})


def mapped_csv(given: Data, folder: Path) -> Any:
    csv_file(given, folder)
    return read_mapped(folder / "rows.csv", columns={}, where="true", format="csv")


def mapped_json(given: Data, folder: Path) -> Any:
    flat(given, folder)
    return read_mapped(folder / "flat.jsonl", columns={}, where="true", format="jsonl")


def mapped_parquet(given: Data, folder: Path) -> Any:
    parquet(given, folder)
    return read_mapped(folder / "t.parquet", columns={}, where="true", format="parquet")


def kept(given: Data, folder: Path) -> Any:
    """All rows, by a condition on what they are."""
    return filtered(csv_file(given, folder), "message_time IS NOT NULL")


SOURCES: list[Callable[[Data, Path], Any]] = [
    *(objects, nested, flat, csv_file, arrow, coded, parquet, ipc),
    *(dictionaries, mapped_csv, kept),
]
#: What DuckDB reads itself: it refuses text that is no Unicode, and JSON's numbers have 17 digits.
BY_DUCKDB: list[Callable[[Data, Path], Any]] = [queried, mapped_parquet, mapped_json]


# --- what is right ---------------------------------------------------------------------------------------------------


def mended(text: str | None) -> str | None:
    return text and text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def line(row: dict[str, Any], given: Data) -> str:
    """A line of the CSV, by the standard library."""
    found = row | {name: mended(row[name]) for name in NAMES if isinstance(row[name], str)}
    speaker = found["speaker_name"]
    if speaker is None and row["speaker_type"] == "customer":
        speaker = found["contact_name"]
    moment = EPOCH + timedelta(microseconds=row["message_time"] // 1000)
    values = found | {
        "message_id": str(id_of(row["message_id"], given.ids)),
        "conversation_id": str(id_of(row["conversation_id"], given.ids)),
        "speaker_name": speaker,
        "message_time": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "media_url": ",".join(url.replace(",", "%2C") for url in row["media_url"]) if row["media_url"] else None,
    }
    return ",".join(cell(values[name], guard=False) for name in COLUMNS.split(","))


def archive(source: Any, given: Data) -> bytes:
    options: Any = {"epoch": given.times} if given.times in ("s", "ms", "us", "ns") else {}
    days = DateRange(date(1900, 1, 1), date(2150, 1, 1))
    channel = Channel("Desk", "+12025550123")
    return b"".join(export_conversations(source, channel=channel, date_range=days, export_id="x", **options))


HARD = [
    {
        "message_id": 1,
        "conversation_id": 2**40,
        "contact_name": PAIR,
        "contact_phone": "12025550123",
        "direction": "inbound",
        "speaker_type": "customer",
        "speaker_name": name,
        "message_time": 1782863999_999_999_999 - at,
        "message_text": text,
        "media_url": media,
        "status": LOW,
        "sender_account": None,
        CREATED_AT: None,
    }
    for at, (name, text, media) in enumerate([(None, "", ["a,", "b"]), ("", None, []), ("é", f"{PAIR}{HIGH}", [""])])
]


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(data())
@example(Data(HARD, "integer", "iso", "json"))
@example(Data(HARD, "uuid", "values", "list"))
@example(Data(HARD, "text", "ms", "commas"))
def test_the_same_data_gives_the_same_bytes(tmp_path_factory: pytest.TempPathFactory, given_data: Data) -> None:
    """And its rows are what they ought to be: cut times, joined surrogates, digits of ids, the contact's name."""
    folder = tmp_path_factory.mktemp("same")
    made = {source.__name__: archive(source(given_data, folder), given_data) for source in SOURCES}
    sound = not any(re.search("[\ud800-\udfff]", str(value)) for row in given_data.rows for value in row.values())
    for source in BY_DUCKDB if sound else ():
        if source is mapped_json and given_data.times in ("s", "ms", "us", "ns"):
            continue
        made[source.__name__] = archive(source(given_data, folder), given_data)
    for name, octets_ in made.items():
        assert octets_ == made["objects"], name
    with zipfile.ZipFile(io.BytesIO(made["objects"])) as found:
        members = [found.read(name).decode() for name in found.namelist()]
    groups = [list(group) for _, group in groupby(given_data.rows, lambda row: row["conversation_id"])]
    assert members == ["".join(f"{text}\r\n" for text in [COLUMNS, *(line(r, given_data) for r in g)]) for g in groups]
