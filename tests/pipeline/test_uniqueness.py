"""Names and conversations against a sequential plain reference: no member twice, whatever the batches were."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export_engine.errors import GroupingError
from export_engine.model import Channel
from export_engine.options import DEFAULT_NAME_BUDGET, MIN_NAME_BUDGET
from export_engine.pipeline import uniqueness
from export_engine.pipeline.digests import digests
from export_engine.pipeline.naming import collision_keys, member_namer, numbered
from export_engine.pipeline.uniqueness import Uniqueness

PATIENT = settings(deadline=None, max_examples=100)

TAIL = "--2026-04-08_032443--SMS.csv"
CONTACTS = [
    "Jane",
    "jane",
    "JANE",
    "Jane (2)",
    "jane (2)",
    "Jane (3)",
    "Jane (2) (2)",
    "Ann",
    "Straße",
    "STRASSE",
    "é",
    "e\u0301",
    "É",
    "ﬁ",
    "FI",
]
STEMS = st.sampled_from(CONTACTS)


def csv_name(contact: str, number: str = "") -> str:
    return f"{contact}{TAIL.removesuffix('.csv')}{number}.csv"


NAMES = st.builds(csv_name, STEMS, st.sampled_from(["", "", " (2)", " (3)", " (4)", " (2) (2)"]))


def key(name: str) -> str:
    """Names that a file system may take for one another: equal in case-folded NFC."""
    return unicodedata.normalize("NFC", name.casefold())


def plain(names: Sequence[str], budget: int = DEFAULT_NAME_BUDGET) -> list[str]:
    """One name after another: the first free of X, X (2), X (3) ..."""
    taken: set[str] = set()
    claimed = []
    for name in names:
        candidate, number = name, 2
        while key(candidate) in taken:
            candidate, number = numbered(name, number, budget=budget), number + 1
        taken.add(key(candidate))
        claimed.append(candidate)
    return claimed


def claim(names: Sequence[str], cuts: Sequence[int], budget: int = DEFAULT_NAME_BUDGET) -> list[str]:
    """The same by the code under test, in batches cut as said."""
    unique, claimed = Uniqueness(budget), list[str]()
    edges = sorted({0, len(names), *(cut % (len(names) + 1) for cut in cuts)})
    for start, stop in pairwise(edges):
        batch = names[start:stop]
        given_ = unique.claim(batch, digests(collision_keys(batch)))
        assert given_ is None or len(given_) == len(batch)
        claimed += batch if given_ is None else given_
    return claimed


# --- names ---------------------------------------------------------------------------------------------------------


@given(st.lists(NAMES, max_size=25), st.lists(st.integers(0, 1000), max_size=25))
@example([csv_name("Jane")] * 5, [1, 2, 3, 4])
@example([csv_name("Jane", " (2)"), csv_name("Jane"), csv_name("jane")], [])
@example([csv_name("Jane"), csv_name("jane"), csv_name("Jane", " (2)")], [1])
@example([csv_name("Jane"), csv_name("Jane"), csv_name("Ann"), csv_name("Ann"), csv_name("Jane", " (2)")], [1, 3])
@example([csv_name("Straße"), csv_name("STRASSE"), csv_name("é"), csv_name("e\u0301"), csv_name("É")], [])
@PATIENT
def test_names_as_one_after_another(names: list[str], cuts: list[int]) -> None:
    """Batches cut anywhere give what claiming one name after another gives, and no two names a file system confuses."""
    claimed = claim(names, cuts)
    assert claimed == plain(names)
    assert len(set(map(key, claimed))) == len(names)


@pytest.mark.slow
@given(st.lists(st.sampled_from(["x", "é", "👍", "ß", "SS"]), min_size=36, max_size=40).map("".join), st.data())
@PATIENT
def test_names_at_the_budget(contact: str, data: st.DataObject) -> None:
    """Also where numbers cost the names their ends: unique, within the budget, whatever the batches."""
    long = member_namer(Channel("SMS"), budget=MIN_NAME_BUDGET)(contact, None, "2026-04-08_032443")
    assert len(numbered(long, 10, budget=MIN_NAME_BUDGET)) < len(long.replace(".csv", " (10).csv"))
    names = [long, long.upper().replace(".CSV", ".csv"), long.lower()] * 4
    claimed = claim(names, data.draw(st.lists(st.integers(0, 1000), max_size=9)), MIN_NAME_BUDGET)
    assert claimed == plain(names, MIN_NAME_BUDGET)
    assert len(set(map(key, claimed))) == len(names)
    assert all(len(name.encode()) <= MIN_NAME_BUDGET for name in claimed)


def test_a_user_s_own_number() -> None:
    """A contact called `X (2)` keeps its name where it came first, and is numbered itself where it came late."""
    x, x2 = csv_name("Jane"), csv_name("Jane", " (2)")
    assert claim([x2, x, x, x], []) == [x2, x, csv_name("Jane", " (3)"), csv_name("Jane", " (4)")]
    assert claim([x2, csv_name("Jane", " (3)"), x, x], []) == plain([x2, csv_name("Jane", " (3)"), x, x])
    assert claim([x, x, x2, x], []) == [x, x2, numbered(x2, 2), csv_name("Jane", " (3)")]


@pytest.mark.parametrize("size", [1, 7, 1000, 3000])
def test_three_thousand_equal_names(size: int) -> None:
    """Equal names are numbered in order, each by one step: the next number is remembered."""
    names = [csv_name("Jane")] * 3000
    claimed = claim(names, range(0, 3000, size))
    assert claimed == [csv_name("Jane"), *(csv_name("Jane", f" ({number})") for number in range(2, 3001))]


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.sampled_from(["é", "👍", "ß", "SS", "x"]), st.integers(20, 40), st.integers(0, 9)), max_size=60
    )
)
@example([("é", length, number) for number in range(10) for length in range(28, 34)] * 3)
@PATIENT
def test_names_that_are_cut_to_the_same(parts: list[tuple[str, int, int]]) -> None:
    """Different names that the budget, or the room for a number, makes the same: each gets the first free number."""
    namer = member_namer(Channel("SMS"), budget=MIN_NAME_BUDGET)
    names = [namer(text * length + str(number), None, "2026-04-08_032443") for text, length, number in parts]
    assert claim(names, range(0, len(names), 7), MIN_NAME_BUDGET) == plain(names, MIN_NAME_BUDGET)


def test_every_number_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that are cut to the same ask for numbers one after another: linear work, not quadratic."""
    asked: list[str] = []

    def counted(names: Sequence[str]) -> list[str]:
        asked.extend(names)
        return collision_keys(names)

    monkeypatch.setattr(uniqueness, "collision_keys", counted)
    namer = member_namer(Channel("SMS"), budget=MIN_NAME_BUDGET)
    for count in (1000, 2000):
        names = [namer("é" * (i % 30) + str(i), None, "2026-04-08_032443") for i in range(count)]
        collided = count - len(set(collision_keys(names)))
        asked.clear()
        assert len(set(claim(names, range(0, count, 100), MIN_NAME_BUDGET))) == count
        assert collided > 50
        assert len(asked) < 8 * count


def test_one_at_a_time() -> None:
    """`claim_one` is a batch of one."""
    unique = Uniqueness(DEFAULT_NAME_BUDGET)
    names = [csv_name("Jane"), csv_name("JANE"), csv_name("Ann"), csv_name("jane")]
    assert [unique.claim_one(name) for name in names] == plain(names)


# --- conversations -------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 30).map(str), max_size=6), max_size=10))
@example([["1", "2"], ["3", "2", "1"]])
@example([["1", "1"]])
@PATIENT
def test_the_first_that_came_back_is_named(batches: list[list[str]]) -> None:
    """Conversation ids must be new; the error names the first, in the source's order, that is not."""
    unique, seen = Uniqueness(DEFAULT_NAME_BUDGET), set[str]()
    for batch in batches:
        back = next((id_ for at, id_ in enumerate(batch) if id_ in seen or id_ in batch[:at]), None)
        if back is not None:
            with pytest.raises(GroupingError, match="ORDER BY conversation_id") as caught:
                unique.see(batch.copy, digests(batch))
            assert caught.value.conversation_id == back
            assert repr(back) in str(caught.value)
            return
        unique.see(batch.copy, digests(batch))
        seen.update(batch)


def test_ids_are_not_folded() -> None:
    """Ids that differ in case or form are different conversations; a name is no id."""
    unique = Uniqueness(DEFAULT_NAME_BUDGET)
    ids = ["a", "A", "é", "e\u0301", csv_name("Jane")]
    unique.see(lambda: ids, digests(ids))
    assert unique.claim_one(csv_name("Jane")) == csv_name("Jane")
