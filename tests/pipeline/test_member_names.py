"""A group's names all at once: those that `naming` gives one by one, with the kernel and without."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export_engine.errors import OptionError
from export_engine.model import Channel
from export_engine.options import DEFAULT_NAME_BUDGET, MAX_NAME_BUDGET, MIN_NAME_BUDGET
from export_engine.pipeline.digests import KEY, digests
from export_engine.pipeline.member_names import MemberNames, member_names, names_of
from export_engine.pipeline.naming import collision_keys, member_namer
from export_engine.pipeline.selection import Selected
from tests.pipeline.exporting import CHANNEL

PATIENT = settings(deadline=None)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


pytestmark = pytest.mark.usefixtures("way")

Contact = tuple[str | None, str | None]


def named(
    contacts: Sequence[Contact],
    times: Sequence[datetime],
    channel: Channel = CHANNEL,
    budget: int = DEFAULT_NAME_BUDGET,
) -> MemberNames:
    """The names of conversations of a row each, with one before and one behind that is not exported."""
    names, phones = (pa.array(["no", *texts, "no"], pa.string()) for texts in zip(*contacts, strict=True))
    created = np.array([(time - EPOCH) // timedelta(microseconds=1) for time in times], np.int64)
    begins = np.arange(1, len(contacts) + 1)
    none = np.zeros(0, np.int64)
    rows = Selected(
        pa.record_batch({}), none > 0, none, none, none, begins, (names, names, phones), created, none, none
    )
    return member_names(member_namer(channel, budget=budget), rows)


def expected(
    contacts: Sequence[Contact],
    times: Sequence[datetime],
    channel: Channel = CHANNEL,
    budget: int = DEFAULT_NAME_BUDGET,
) -> list[str]:
    """The same one by one."""
    name_of = member_namer(channel, budget=budget)
    stamps = [f"{time.year:04}-{time:%m-%d_%H%M%S}" for time in times]
    return [name_of(name, phone, stamp) for (name, phone), stamp in zip(contacts, stamps, strict=True)]


# What labels are made of when they need no cleaning, and what meets where they do.
PIECES = [
    *" .-~,$'e\u0301\u0338\u200d\u094d\u0345",
    "--",
    ". ",
    "Jane",
    "O\u2019Neill",
    "Zoë",
    "İ",
    "ß",
    "Σς",
    "王小明",
]
PIECES += ["CON", "com1", "nul", "prn.", "conin$", "प्रिया", "서연", "ᾳ", "Ⱥ", "👩", "𐐀", "𝒳", "\U0002f800"]
LABELS = st.none() | st.text(max_size=12) | st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
LABELS = LABELS.filter(
    lambda text: text is None or text.isascii() or not any("\ud800" <= char < "\ue000" for char in text)
)
TIMES = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis asks for these
CHANNELS = st.builds(Channel, LABELS, LABELS, LABELS) | st.just(CHANNEL)
BUDGETS = st.sampled_from([MIN_NAME_BUDGET, 100, DEFAULT_NAME_BUDGET, MAX_NAME_BUDGET])


@pytest.mark.slow
@given(st.lists(st.tuples(LABELS, LABELS, TIMES), min_size=1, max_size=8), CHANNELS, BUDGETS)
@example([(None, None, EPOCH), ("", "", EPOCH), ("", "+1202", EPOCH), ("..", None, EPOCH)], CHANNEL, 180)
@example([("x" * 200, None, EPOCH), ("é" * 60, None, EPOCH), ("é" * 61, None, EPOCH)], CHANNEL, 180)
@example(
    [("Jane", None, datetime(1, 1, 1, tzinfo=UTC)), ("Jane", None, datetime(1900, 2, 28, tzinfo=UTC))], CHANNEL, 64
)
@PATIENT
def test_names_are_those_of_naming(
    members: list[tuple[str | None, str | None, datetime]], channel: Channel, budget: int
) -> None:
    """Whatever the contacts, times, channel and budget; names that collide have one digest, others their own."""
    contacts, times = [(name, phone) for name, phone, _ in members], [time for *_, time in members]
    made, names = named(contacts, times, channel, budget), expected(contacts, times, channel, budget)
    assert made.list() == names
    assert len(made) == len(names)
    starts = [0, *(made.stops[:-1] + 1).tolist()]
    assert [made.text[a:b].decode() for a, b in zip(starts, made.stops.tolist(), strict=True)] == names
    assert made.digests.tolist() == digests(collision_keys(names)).tolist() == names_of(names).digests.tolist()


@pytest.mark.slow
def test_every_character_is_as_naming_has_it(way: str) -> None:
    """Alone, and between a letter and an accent: what the kernel takes as it is, and folds, is what `naming` does."""
    if way == "Python":
        pytest.skip("nothing to compare with")
    codes = [*range(0xD800), *range(0xE000, 0x20100), 0x2F800, 0xE0001, 0x10FFFF]
    for form in ("{}", "b{}-{}\u094d"):
        contacts: list[Contact] = [(form.format(chr(code), chr(code)), "+1") for code in codes]
        times = [EPOCH] * len(codes)
        made, names = named(contacts, times), expected(contacts, times)
        assert made.list() == names
        assert made.digests.tolist() == digests(collision_keys(names)).tolist()


def test_most_names_need_no_python(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters of many scripts, whole or folded, are the kernel's."""
    if way == "Python":
        pytest.skip("all of them do")
    monkeypatch.setattr("export_engine.pipeline.member_names.created_text", None)
    people = [
        "Jane Doe",
        "Zoë O'Neill",
        "Иван",
        "小明",
        "たろう",
        "서연",
        "Γιώργος",
        "מאיה",
        "प्रिया",
        "Nguyễn",
        "St. John-Smith",
    ]
    made = named([(name, None) for name in people], [EPOCH] * len(people))
    assert len(made) == len(people)


def test_wrong_arguments_are_refused(way: str) -> None:
    """Rows outside the columns, too much room, another key; what `odd` raises or returns amiss."""
    if way == "Python":
        pytest.skip("there is no such call")
    from export_engine._native import member_names as name_all  # noqa: PLC0415  # optional

    offsets = np.array([0, 2], np.int32).data
    column = (None, 0, offsets, b"\x01x")

    def call(row: int = 0, room: int = 9, key: bytes = KEY, odd: object = None, ending: bytes = b"--c.csv") -> object:
        numbers = np.array([row], np.int64).data
        return name_all(column, column, 1, numbers, numbers, ending, ending, b"-", room, key, odd)  # type: ignore[arg-type]  # some are wrong

    for wrong in ({"row": 1}, {"row": -1}, {"room": 256}, {"room": -1}, {"key": b""}, {"ending": bytes(1025)}):
        with pytest.raises(ValueError, match="rows"):
            call(**wrong)
    with pytest.raises(TypeError):
        call()
    with pytest.raises(TypeError):
        call(odd=lambda _: None)
    with pytest.raises(OptionError):
        call(odd=lambda _: (_ for _ in ()).throw(OptionError("no", option="no")))
    assert call(odd=lambda member: (b"name%d" % member, b"key"))
