"""What the engine writes passes, whatever it was given; what it would not have written is found, without a manifest."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export_engine import (
    EXCEL,
    Channel,
    Contact,
    Conversation,
    CsvDialect,
    DateRange,
    ExportOptions,
    Message,
    export_conversations,
)
from export_engine.verify import verify_archive
from tests.archives import JUNE, SAMPLES, START, Made, edit, make, problems, rename, rewrite, talk

# --- whatever the engine writes ------------------------------------------------------------------------------------

# Text with all that names and cells have rules for.
PIECES = st.sampled_from(
    [
        *(
            "a",
            "Zoë",
            "e\u0301",
            "王",
            "=",
            "+",
            "-",
            "--",
            "'",
            '"',
            '""',
            ",",
            ";",
            "\t",
            "\r\n",
            "\n",
            "\r",
            " ",
            "  ",
            ".",
            "..",
        ),
        *(
            "~",
            "(part 2)",
            " (2)",
            "CON",
            "nul.",
            "com¹",
            "\u200d",
            "\u200c",
            "\u202e",
            "\ufeff",
            "\u2028",
            "\0",
            "\ufffe",
        ),
        *("🏳️‍🌈", "🇩🇪", "<", "/", "\\", "|", "?", "*", ":", "\ud800", "\U000e0001", "\xa0", "+12025550101", "x" * 90),
    ]
)
TEXT = st.lists(PIECES, max_size=6).map("".join) | st.text(max_size=8)
TIMES = st.datetimes(datetime(2026, 5, 31), datetime(2026, 7, 1))  # noqa: DTZ001  # in the export's zone
ANY_TIME = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 28))  # noqa: DTZ001  # the same
MESSAGES = st.builds(
    Message,
    id=st.just("m"),
    time=TIMES,
    direction=st.sampled_from(["inbound", "outbound"]),
    speaker_type=st.sampled_from(["bot", "agent", "customer"]),
    text=st.none() | TEXT,
    speaker_name=st.none() | TEXT,
    media_urls=st.lists(TEXT, max_size=2),
    status=st.none() | TEXT,
)


@st.composite
def talks(draw: st.DrawFn) -> list[Conversation]:
    """Conversations with ids of their own, and messages with ids that no other of the conversation has."""
    made = []
    for number in range(draw(st.integers(0, 5))):
        messages = [
            replace(one, id=f"{draw(TEXT)}{place}") for place, one in enumerate(draw(st.lists(MESSAGES, max_size=4)))
        ]
        contact = Contact(draw(st.none() | TEXT), draw(st.none() | TEXT))
        created = draw(TIMES | ANY_TIME | st.none() if messages else TIMES | ANY_TIME)
        made.append(Conversation(f"{draw(TEXT)}{number}", contact, messages, created))
    return made


OPTIONS = st.builds(
    ExportOptions,
    timezone=st.sampled_from(["UTC", "Asia/Taipei", "America/New_York", "Europe/London", "+05:45", "Africa/Monrovia"]),
    range_by=st.sampled_from(["message_time", "created_at"]),
    compression=st.sampled_from(["fast", "balanced", "small", "store"]),
    dialect=st.sampled_from(
        [
            CsvDialect(),
            EXCEL,
            CsvDialect(line_end="\n"),
            CsvDialect(formula_guard=True, bare_e164=True),
            CsvDialect(bom=True, line_end="\n", formula_guard=True),
        ]
    ),
    name_budget=st.sampled_from([64, 65, 100, 180, 255]),
    spool_limit=st.sampled_from([0, 100, 8 << 20]),
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(conversations=talks(), options=OPTIONS, channel=st.builds(Channel, TEXT, st.none() | TEXT, st.none() | TEXT))
def test_whatever_the_engine_writes_passes(
    conversations: list[Conversation], options: ExportOptions, channel: Channel
) -> None:
    """Any conversations and options give an archive without problems, alone and with its manifest.

    But for one: a single conversation in a channel that is itself called `… (part 2)` cannot be told from a lost part.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, manifest = Path(folder, "a.zip"), Path(folder, "m.jsonl")
        export = export_conversations(
            conversations,
            channel=channel,
            date_range=DateRange(JUNE.start, JUNE.end),
            export_id="x",
            options=options,
        )
        export.write_to(path, manifest=manifest)
        for found in (verify_archive(path), verify_archive(path, manifest)):
            rest = [problem for problem in found.problems if "does not stand before it" not in problem]
            assert rest == []
            assert found.ok or (found.members == 1 and "(part 2)" in f"{channel.name}{channel.phone}{channel.id}")
        report = export.report
        assert (found.members, found.conversations, found.rows) == (report.members, report.conversations, report.rows)
        if found.dialect is not None and report.members:
            assert (found.dialect.bom, found.dialect.line_end) == (options.dialect.bom, options.dialect.line_end)
            if options.dialect.formula_guard and options.dialect.bare_e164:
                assert found.formulas == 0


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path)


@pytest.mark.parametrize(
    "label",
    [
        *(
            "a\u202eb",
            "a\u2066b",
            "a\u200bb",
            "a\u2028b",
            "a\u2029b",
            "a\xa0b",
            "a\tb",
            "a\x9bb",
            "a\ufeffb",
            "a\xadb",
            "a\ufffeb",
        ),
        *(
            "e\u0301",
            "\u212b",
            "CON",
            "con.tar",
            "Aux .x",
            "lpt¹",
            "CONIN$",
            "-rf",
            " a",
            "a ",
            "a.",
            ".a",
            "~a",
            "\u200da",
            "a\u200c",
        ),
        *("a..b", "a  b", "a...b", "a<b", "a|b", "a?b", "a\\b", 'a"b', "a:b", "a*b"),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("place", [0, 2], ids=["contact", "channel"])
def test_a_label_that_the_engine_would_not_write(made: Made, label: str, place: int) -> None:
    """Each is one problem, of its member, which is read all the same."""
    parts = ["Ann", "2026-06-03_091500", "Desk"]
    parts[place] = label
    rename(made.path, 1, "--".join(parts) + ".csv")
    (problem,) = verify_archive(made.path).problems
    assert "is no safe name of a CSV" in problem
    assert verify_archive(made.path).rows == made.report.rows


@pytest.mark.parametrize(
    "created",
    [
        "2026-13-01_000000",
        "2026-02-29_000000",
        "2026-06-31_000000",
        "2026-06-00_000000",
        "0000-06-01_000000",
        "2026-06-01_240000",
        "2026-06-01_006000",
        "2026-06-01_000060",
        "2026-06-01_00000",
        "2026-06-01 000000",
        "２026-06-01_000000",
    ],
)
def test_a_creation_time_that_there_is_not(made: Made, created: str) -> None:
    """Dates are held against the calendar."""
    rename(made.path, 1, f"Ann--{created}--Desk.csv")
    (problem,) = verify_archive(made.path).problems
    assert "does not split on -- into contact, creation time and channel" in problem


@pytest.mark.parametrize(
    "stamp", [(1980, 0, 0, 0, 0, 0), (2026, 6, 3, 9, 15, 2), (2026, 6, 4, 9, 15, 0), (2026, 6, 3, 31, 63, 0)]
)
def test_a_member_time_of_its_own(made: Made, stamp: tuple[int, int, int, int, int, int]) -> None:
    """Times that there are not, or that are not the one in the name, in both headers alike."""

    def change(entries: list[tuple[ZipInfo, bytes]]) -> None:
        entries[1][0].date_time = stamp

    rewrite(made.path, change)
    (problem,) = verify_archive(made.path).problems
    assert "is not the creation time in its name" in problem
    assert problems(made.path, made.manifest).count("creation time") == 1


def test_a_part_that_follows_on_nothing(tmp_path: Path) -> None:
    """Part 2 without part 1, at the beginning, later or alone; a channel that is called so is none."""
    long = talk(1, ["x" * 300] * 8)
    for talks_, lost in (
        ([long, talk(2, ["b"])], 0),
        ([talk(2, ["b"]), long], 1),
        ([talk(2, ["b"]), long, talk(4, [])], 1),
    ):
        made = make(tmp_path, talks_, member_limit=2000)
        assert verify_archive(made.path).ok
        rewrite(made.path, lambda entries, lost=lost: entries.pop(lost))  # type: ignore[misc]
        assert "is part 2 of a conversation, but part 1 does not stand before it" in problems(made.path)
        (tmp_path / "archive.zip").unlink()
        (tmp_path / "manifest.jsonl").unlink()
    export = export_conversations(SAMPLES, channel=Channel("Desk (part 2)"), date_range=JUNE, export_id="y")
    assert verify_archive(export.write_to(tmp_path / "other.zip")).problems == ()


# --- rows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"Hello"', "Hello", "row 1, column 'message_text': 'Hello' is not quoted"),
        ('"Hello"', '"Hel"lo"', "row 1, column 'message_text': the CSV cannot be read: text stands behind"),
        (
            '"Hello"',
            'Hel"lo',
            "row 1, column 'message_text': the CSV cannot be read: a quote or a line end stands within",
        ),
        ('"talk-1-0"', "", "row 1, column 'message_id': '' is no id"),
        ('"outbound"', "", "row 1, column 'direction': '' is none of"),
        ("T09:15:00.000000Z", " 09:15:00.000000Z", "is no ISO 8601 time"),
        ("T09:15:00.000000Z", "T09:15:00Z", "is no ISO 8601 time"),
        ("T09:15:00.000000Z", "T09:15:00.000Z", "is no ISO 8601 time"),
        ("T09:15:00.000000Z", "T09:15:00.000000+00:00", "is no ISO 8601 time"),
        ("T09:15:00.000000Z", "T09:15:00.000000+0800", "is no ISO 8601 time"),
        ("T09:15:00.000000Z", "T09:15:00.000000+08:00:00", "is no ISO 8601 time"),
        ("T09:15:00.000000Z", "T09:15:60.000000Z", "is no ISO 8601 time"),
        ("2026-06-03T", "2026-06-31T", "is no ISO 8601 time"),
        ("2026-06-03T", "20260603T", "is no ISO 8601 time"),
        (
            'then\nno",,,',
            'then\nno",,,"account"',
            "row 2, column 'sender_account': 'account' is set on a message that no",
        ),
        ("\r\n", "\n", "its line ends are not those of"),
        ("message_id", "\ufeffmessage_id", "its byte order mark are not those of"),
        ('\r\n"talk-1-1"', '\n"talk-1-1"', "row 1, ends in b'\\n', not b'\\r\\n' as the header does"),
    ],
    ids=ascii,
)
def test_a_row_that_the_engine_would_not_write(tmp_path: Path, old: str, new: str, says: str) -> None:
    """Another program's quoting, times, line ends, or values that it refuses."""
    made = make(tmp_path, [SAMPLES[1], SAMPLES[0]])
    edit(made.path, 1, old, new)
    assert says in problems(made.path)


def test_offsets_of_every_form_pass(made: Made) -> None:
    """The offsets that zones have: whole hours, minutes, and seconds before standard time."""
    for offset in ("+08:00", "-03:30", "+05:45", "-00:44:30", "+23:59"):
        edit(made.path, 0, "T09:15:00.000000Z", f"T09:15:00.000000{offset}")
        assert verify_archive(made.path).problems == ()
        edit(made.path, 0, f"T09:15:00.000000{offset}", "T09:15:00.000000Z")


def test_a_message_id_again_after_many_rows(tmp_path: Path) -> None:
    """Ids are compared over the whole of a member, however long, and of whatever lengths."""
    messages = [
        Message(
            f"m{number if number != 40_000 else 7}{'x' * (number % 3 * 40)}", START, "inbound", "customer", "t" * 40
        )
        for number in range(40_002)
    ]
    made = make(tmp_path, [Conversation("c", Contact("Ann"), messages)])
    found = verify_archive(made.path)
    (warning,) = found.warnings
    assert warning.endswith("row 40001, column 'message_id': its id is also that of row 8")
    assert found.ok


def test_a_message_id_that_is_there_twice_is_a_warning(tmp_path: Path) -> None:
    """It is written as it was given: an archive that the engine makes is never refused. All are counted."""
    messages = [Message(id_, START, "inbound", "customer", id_) for id_ in ["a"] * 103 + ["b"]]
    made = make(tmp_path, [talk(0, ["x"]), Conversation("c", Contact("Ann"), messages), talk(1, ["x"])])
    found = verify_archive(made.path, made.manifest)
    assert (found.ok, found.rows, len(found.warnings)) == (True, 106, 101)
    assert found.warnings[0].endswith("row 2, column 'message_id': its id is also that of row 1")
    assert found.warnings[-1] == "and 2 more warnings"


def test_what_is_wrong_in_one_of_many(tmp_path: Path) -> None:
    """Among members that are looked at together only the wrong one is named, and all others are counted."""
    made = make(tmp_path, [talk(number, ["a", "b"]) for number in range(500)])
    edit(made.path, 321, '"inbound"', '"up"')
    (problem,) = verify_archive(made.path).problems
    assert problem.startswith("'Zoë 321--")
    assert "row 2, column 'direction': 'up' is none of" in problem
    assert verify_archive(made.path).rows == 1000


def _made(folder: Path, number: int) -> Path:
    made = folder / str(number)
    made.mkdir()
    return made


def test_the_guard_of_digits(tmp_path: Path) -> None:
    """It is seen where ids of digits have it; without it, they are as they were, and a quote is a text's own."""
    talks = [replace(_called(1, "0044"), contact=Contact("a", "00447911")), _called(2, "1718087443.861185")]
    made = make(_made(tmp_path, 1), talks, form=EXCEL)
    found = verify_archive(made.path, made.manifest)
    assert (found.problems, found.dialect, found.formulas) == ((), EXCEL, 0)
    mixed = [replace(_called(1, "'0044"), contact=Contact("a", "00447911")), _called(2, "0012")]
    plain = make(_made(tmp_path, 2), mixed, form=CsvDialect(bom=True))
    found = verify_archive(plain.path, plain.manifest)
    assert (found.problems, found.dialect, found.formulas) == ((), CsvDialect(bom=True), 1)
    once = make(_made(tmp_path, 3), mixed, form=CsvDialect(formula_guard=True))
    assert verify_archive(once.path, once.manifest).dialect == CsvDialect(formula_guard=True)


def test_the_guard_of_some_members(tmp_path: Path) -> None:
    """Ids in the manifest show that the formula guard was on for some members and off for others."""
    made = make(tmp_path, [_called(1, "=1"), _called(2, "=2")], form=CsvDialect(formula_guard=True))
    assert verify_archive(made.path, made.manifest).problems == ()
    assert verify_archive(made.path).dialect == CsvDialect(formula_guard=True)
    edit(made.path, 1, '"\'=2"', '"=2"')
    assert "some members were written with the formula guard and others without it" in problems(
        made.path, made.manifest
    )


def _called(number: int, id_: str) -> Conversation:
    plain = talk(number, ["a"])
    return Conversation(id_, plain.contact, plain.messages, plain.created_at)


MISPLACED: list[Callable[[list[str]], list[str]]] = [
    lambda lines: lines[1:],
    lambda lines: [*lines[:2], *lines[3:]],
    lambda lines: lines[::-1],
    lambda lines: [lines[1], lines[0], *lines[2:]],
    lambda lines: [lines[0], lines[0], *lines[1:]],
    lambda lines: [*lines, lines[0]],
]


@pytest.mark.parametrize(
    ("change", "says"),
    list(zip(MISPLACED, ["not in the manifest"] * 2 + ["another order"] * 2 + ["listed twice"] * 2, strict=True)),
)
def test_records_in_another_place(made: Made, change: Callable[[list[str]], list[str]], says: str) -> None:
    """One difference is one problem, however far the rest is shifted."""
    lines = made.manifest.read_text(encoding="utf-8").splitlines(keepends=True)
    made.manifest.write_text("".join(change(lines)), encoding="utf-8")
    (problem,) = verify_archive(made.path, made.manifest).problems
    assert says in problem


def test_another_program_wrote_it(tmp_path: Path) -> None:
    """An archive of the standard library's is read, and told from the engine's."""
    path = tmp_path / "a.zip"
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr("notes.txt", "hello")
        archive.writestr("more.csv", "a,b\r\n1,2\r\n")
    text = problems(path)
    assert "'notes.txt' is no safe name of a CSV" in text
    assert "'more.csv': the header is not the twelve columns" in text
