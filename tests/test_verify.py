"""Archives that are right pass; whatever is changed in one is found, and named."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import pytest

from export_engine import EXCEL, CsvDialect
from export_engine.errors import ArchiveError
from export_engine.inspect import conversation_text, members
from export_engine.options import Compression
from export_engine.verify import MAX_PROBLEMS, verify_archive
from tests.archives import HEADER, Made, edit, make, problems, rename, rewrite, talk


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path)


# --- what passes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize(
    "form",
    [
        CsvDialect(),
        EXCEL,
        CsvDialect(line_end="\n"),
        CsvDialect(bom=True, line_end="\n", formula_guard=True, bare_e164=True),
    ],
    ids=["default", "excel", "lf", "all"],
)
def test_every_format_passes(tmp_path: Path, form: CsvDialect, ending: str) -> None:
    """An archive as it was written has no problems, with its manifest too, and the counts are the report's."""
    made = make(tmp_path, form=form, ending=ending)
    found = verify_archive(made.path, made.manifest)
    assert found.problems == ()
    report = made.report
    assert (found.members, found.conversations, found.rows, found.bytes) == (4, 4, 8, report.bytes)
    assert (report.members, report.conversations, report.rows) == (4, 4, 8)


@pytest.mark.parametrize("compression", ["fast", "balanced", "small", "store"])
def test_streamed_members_pass(tmp_path: Path, compression: Compression) -> None:
    """Data descriptors are read as well."""
    made = make(tmp_path, compression=compression, spool_limit=0)
    with ZipFile(made.path) as archive:
        assert all(info.flag_bits & 8 for info in archive.infolist())
    assert verify_archive(made.path, made.manifest).problems == ()


def test_parts_pass(tmp_path: Path) -> None:
    """A conversation in several members is one conversation, where the names say which part each is."""
    made = make(tmp_path, [talk(1, ["x" * 300] * 20), talk(2, ["the other"])], member_limit=2000)
    found = verify_archive(made.path, made.manifest)
    assert found.problems == ()
    assert found.conversations == 2
    assert found.members == made.report.members > 3
    rename(made.path, 2, "Zoë 1--2026-06-03_091500--SMS Support (part 9).csv")
    assert "column 'conversation_id': 'talk-1' is also that of" in problems(made.path)


def test_an_empty_archive_passes(tmp_path: Path) -> None:
    """An export without conversations is a valid archive."""
    made = make(tmp_path, [])
    assert verify_archive(made.path, made.manifest) == replace(verify_archive(made.path), problems=())


def test_guarded_cells_pass(tmp_path: Path) -> None:
    """The guard's quotes in a conversation's id are no difference to the manifest; its cells show it was on."""
    texts = ["=1", "＝1", "\0=1", "a;＝1", 'a\r\n"-1', "ﾀ", "\tx", "'x", "'＝"]
    talks = [replace(talk(1, texts), id="=1;=2"), replace(talk(2, ["b"]), id="'3"), replace(talk(3, ["c"]), id="＝4")]
    made = make(tmp_path, talks, form=EXCEL)
    found = verify_archive(made.path, made.manifest)
    assert found.problems == ()
    assert found.formulas == 0


def test_rewritten_by_the_standard_library(made: Made) -> None:
    """The control for the tests below: writing it anew without a change is no problem, but for the deflated sizes."""
    rewrite(made.path, len)
    assert verify_archive(made.path).problems == ()


def test_huge_cells(tmp_path: Path) -> None:
    """A cell longer than the csv module's limit is read, and the limit is as it was afterwards."""
    before = csv.field_size_limit()
    made = make(tmp_path, [talk(1, ["x" * 3 * before])])
    lines = conversation_text(made.path, "talk-1")
    assert next(lines).endswith("x" * before)
    assert csv.field_size_limit() == before
    assert verify_archive(made.path, made.manifest).ok
    assert csv.field_size_limit() == before


def test_progress(made: Made) -> None:
    """Progress counts packed bytes of members, up to all of them."""
    seen: list[tuple[int, int]] = []
    verify_archive(made.path, progress=lambda done, total: seen.append((done, total)))
    with ZipFile(made.path) as archive:
        total = archive.start_dir
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)


# --- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("front", [b"", b"junk"])
@pytest.mark.parametrize("back", [b"", b"junk"])
def test_more_bytes(made: Made, front: bytes, back: bytes) -> None:
    """Bytes before or behind an archive are found, though ZIP readers bear with them."""
    made.path.write_bytes(front + made.path.read_bytes() + back)
    assert verify_archive(made.path).ok is not bool(front or back)


def test_flipped_byte_names_the_member(made: Made) -> None:
    """Damaged data name their member, and the others are read nevertheless."""
    data = bytearray(made.path.read_bytes())
    with ZipFile(made.path) as archive:
        info = archive.infolist()[1]
    data[info.header_offset + 30 + len(info.filename.encode()) + 20] ^= 0xFF
    made.path.write_bytes(data)
    found = verify_archive(made.path)
    assert len(found.problems) == 1
    assert found.problems[0].startswith(f"{info.filename!r}")
    assert found.members == 4
    assert found.rows == 5


def test_not_an_archive(tmp_path: Path) -> None:
    """Any other file is a problem, no traceback; a file that is not there is the caller's error."""
    path = tmp_path / "x.zip"
    for data in (b"", b"PK", b"message_id,conversation_id\r\n" * 1000):
        path.write_bytes(data)
        assert "no whole ZIP archive" in problems(path)
        with pytest.raises(ArchiveError):
            list(members(path))
    with pytest.raises(FileNotFoundError):
        verify_archive(tmp_path / "none.zip")


def test_csv_that_is_none(made: Made) -> None:
    """Bytes that are not UTF-8, quotes that never end and lines cut short are problems of their member."""
    with ZipFile(made.path) as archive:
        good = archive.read(archive.infolist()[0])
    for bad in (good + b'"\xff"\r\n', good + b'"open', good + b'"a"b\r\n', good[:-2]):
        rewrite(made.path, lambda entries, bad=bad: entries.__setitem__(0, (entries[0][0], bad)))  # type: ignore[misc]
        assert "the CSV cannot be read" in problems(made.path)


def test_problems_are_capped(tmp_path: Path) -> None:
    """Only the first hundred problems are listed, and the rest counted."""
    made = make(tmp_path, [talk(1, ["a"] * 300)])
    rewrite(made.path, lambda e: e.__setitem__(0, (e[0][0], e[0][1].replace(b'"inbound"', b'"up"'))))
    found = verify_archive(made.path)
    assert len(found.problems) == MAX_PROBLEMS + 1
    assert found.problems[-1] == "and 50 more problems"


# --- rows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"talk-1-0"', '""', "row 1, column 'message_id': '' is no id"),
        ('"talk-1-1","talk-1"', '"talk-1-1","talk-9"', "row 2, column 'conversation_id': 'talk-9' is not 'talk-1'"),
        ('"inbound"', '"Inbound"', "row 2, column 'direction': 'Inbound' is none of inbound, outbound"),
        ('"agent"', '"human"', "row 1, column 'speaker_type': 'human' is none of agent, bot, customer"),
        ("T09:15", "T25:15", "row 1, column 'message_time': '2026-06-03T25:15:00.000000Z' is no ISO 8601 time"),
        ("00.000000Z", "00.000000", "row 1, column 'message_time': '2026-06-03T09:15:00.000000' is no ISO 8601 time"),
        ('"Hello",', '"Hello","x",', "row 1 has 13 cells, not 12"),
        ("message_id,", "id,", "the header is not the twelve columns"),
        ("message_id", '"message_id"', "the header is not the twelve columns"),
        ('"talk-1-0"', '\r\n"talk-1-0"', "row 1 has 1 cells, not 12"),
    ],
)
def test_a_row_breaks_a_rule(made: Made, old: str, new: str, says: str) -> None:
    """The problem names member, row and column."""
    edit(made.path, 0, old, new)
    text = problems(made.path)
    assert says in text
    assert text.startswith("'Zoë 1--2026-06-03_091500--SMS Support.csv': ")
    assert "\n" not in text


def test_swapped_conversations(made: Made) -> None:
    """Two members of one conversation are a problem; with the manifest so are two members that changed places."""

    def swap(entries: list[tuple[ZipInfo, bytes]]) -> None:
        entries[0], entries[1] = (entries[0][0], entries[1][1]), (entries[1][0], entries[0][1])

    rewrite(made.path, swap)
    assert verify_archive(made.path).ok
    text = problems(made.path, made.manifest)
    assert "conversation_id is talk-2, but talk-1 in the manifest" in text
    assert "conversation_id is talk-1, but talk-2 in the manifest" in text
    rewrite(made.path, lambda entries: entries.__setitem__(1, (entries[1][0], entries[0][1])))
    assert "column 'conversation_id': 'talk-2' is also that of 'Zoë 1--" in problems(made.path)


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../A--2026-06-03_091500--B.csv", "is no safe name"),
        ("/A--2026-06-03_091500--B.csv", "is no safe name"),
        ("A\\B--2026-06-03_091500--B.csv", "is no safe name"),
        ("A\x1b--2026-06-03_091500--B.csv", "is no safe name"),
        (".A--2026-06-03_091500--B.csv", "is no safe name"),
        ("A--2026-06-03_091500--B.exe", "is no safe name"),
        ("A" * 240 + "--2026-06-03_091500--B.csv", "is no safe name"),
        ("A--2026-06-03_091500.csv", "does not split on --"),
        ("A--B--2026-06-03_091500--C.csv", "does not split on --"),
        ("A--yesterday--C.csv", "does not split on --"),
        ("ZOE\u0308 4--2026-06-03_091500--sms support.csv", "may take this name and"),
        ("Zoë 4--2026-06-03_091500--SMS Support.csv", "may take this name and"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_breaks_a_rule(made: Made, name: str, says: str) -> None:
    """Names that are unsafe, do not split into three or are not unique are found without a manifest."""
    rename(made.path, 0, name)
    assert says in problems(made.path)


# --- the manifest --------------------------------------------------------------------------------------------------


def test_renamed_member(made: Made) -> None:
    """A name that is fine in itself is found with the manifest, from both sides."""
    rename(made.path, 0, "Other--2026-06-03_091500--SMS Support.csv")
    assert verify_archive(made.path).ok
    text = problems(made.path, made.manifest)
    assert "'Zoë 1--2026-06-03_091500--SMS Support.csv' is in the manifest, but not" in text
    assert "'Other--2026-06-03_091500--SMS Support.csv' is in the archive, but not in the manifest" in text


def test_changed_rows(made: Made) -> None:
    """Rows that keep every rule are still found by what the manifest says of them."""
    edit(made.path, 0, "Hello", "Adieu")
    assert verify_archive(made.path).ok
    text = problems(made.path, made.manifest)
    assert "crc32 is" in text
    assert "sha256 is" in text
    edit(made.path, 0, "T09:15", "T08:15")
    assert "first_time is 2026-06-03 08:15:00+00:00, but 2026-06-03 09:15:00+00:00" in problems(
        made.path, made.manifest
    )


def test_dropped_rows(made: Made) -> None:
    """A row less is found."""
    rewrite(made.path, lambda e: e.__setitem__(3, (e[3][0], f"{HEADER}\r\n".encode())))
    assert verify_archive(made.path).ok
    assert "rows is 0, but 1 in the manifest" in problems(made.path, made.manifest)


def test_another_order(made: Made) -> None:
    """The manifest lists the members in the archive's order."""
    rewrite(made.path, lambda entries: entries.reverse())
    assert "another order" in problems(made.path, made.manifest)


def test_a_manifest_of_another_export(tmp_path: Path, made: Made) -> None:
    """Records that are missing, twice there or no records are problems, not errors."""
    lines = made.manifest.read_text(encoding="utf-8").splitlines(keepends=True)
    for text, says in (
        ("".join(lines[:-1]), "but not in the manifest"),
        ("".join([*lines, lines[0]]), "is listed twice"),
        ("".join([*lines, "{}\n"]), "manifest: record 5 cannot be read"),
        ("".join([*lines, "[]\n"]), "manifest: record 5 cannot be read"),
        ("".join([*lines, "\0"]), "manifest: record 5 cannot be read"),
    ):
        made.manifest.write_text(text, encoding="utf-8")
        assert says in problems(made.path, made.manifest)
    made.manifest.write_text("".join([lines[0], '{"id": "c-1"}\n', *lines[2:]]), encoding="utf-8")
    assert problems(made.path, made.manifest).splitlines() == [
        "manifest: record 2 cannot be read: it has no 'first_time'",
        f"manifest: what it has of 3 CSVs is not known, the first of them {json.loads(lines[1])['name']!r}",
    ]
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"no Parquet")
    assert "manifest: record 1 cannot be read" in problems(made.path, bad)


@pytest.mark.parametrize("absent", [True, False])
def test_a_manifest_without_hashes(made: Made, absent: bool) -> None:
    """Without SHA-256 nothing tells that rows are those exported: that is said once, and all else is compared."""
    records = [json.loads(line) for line in made.manifest.read_text(encoding="utf-8").splitlines()]
    for record in records:
        record["sha256"] = None
        if absent:
            del record["sha256"]
    made.manifest.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    (problem,) = verify_archive(made.path, made.manifest).problems
    assert "4 records have no sha256" in problem
