"""Has this been seen before: digests against a set, names and conversations against a sequential plain reference."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export_engine.errors import GroupingError
from export_engine.model import Channel
from export_engine.options import DEFAULT_NAME_BUDGET, MIN_NAME_BUDGET
from export_engine.pipeline.digests import DigestSet, digests
from export_engine.pipeline.naming import collision_keys, member_namer, numbered
from export_engine.pipeline.uniqueness import Uniqueness

PATIENT = settings(deadline=None, max_examples=100)

# Few values, so that they meet often; the ends of the range among them.
VALUES = st.integers(0, 40) | st.sampled_from([2**64 - 1, 2**64 - 2, 2**63, 2**63 - 1])
BATCHES = st.lists(st.lists(VALUES, max_size=8), max_size=20)
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


# --- digests -------------------------------------------------------------------------------------------------------


@given(st.lists(st.text()))
@example(["", "\ud800", "é", "e\u0301"])
@PATIENT
def test_digests_tell_texts_apart(items: list[str]) -> None:
    """Equal for equal texts, however they were made, and different for others; a lone surrogate is no trouble."""
    copies = [item[:1] + item[1:] for item in items]
    assert digests(items).tolist() == digests(copies).tolist()
    assert len(set(digests(items).tolist())) == len(set(items))
    assert digests(items).dtype == np.uint64


@given(BATCHES)
@example([[1], [2], [3], [4], [5], [3]])
@example([[2**64 - 1], [0], [2**64 - 1]])
@example([[], [1, 1], [1]])
@PATIENT
def test_digest_set_is_a_set(batches: list[list[int]]) -> None:
    """A batch is added whole when all of it is new and without repeats, and else not at all."""
    tested, reference = DigestSet(), set[int]()
    for batch in batches:
        fits = len(set(batch)) == len(batch) and not reference & set(batch)
        assert tested.add_new(np.array(batch, np.uint64)) is fits
        if fits:
            reference |= set(batch)
        for value in (*range(41), 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1):
            assert (value in tested) is (value in reference)


def test_digest_set_leaves_batches_alone() -> None:
    """The caller's array is neither sorted nor kept."""
    tested, batch = DigestSet(), np.array([3, 1, 2], np.uint64)
    assert tested.add_new(batch)
    assert batch.tolist() == [3, 1, 2]
    batch[:] = 9
    assert 3 in tested
    assert 9 not in tested


def test_many_small_batches_stay_few_runs() -> None:
    """Merging keeps the number of runs logarithmic, whatever the batches' sizes."""
    tested = DigestSet()
    values = digests(map(str, range(20_000)))
    at = 0
    for size in (1 + number * 7 % 60 for number in range(600)):
        assert tested.add_new(values[at : at + size])
        at += size
    assert at > 17_000
    assert len(tested._runs) <= 15
    assert not tested.add_new(values[at - 1 : at + 5])
    assert not tested.add_new(values[:1])
    assert tested.add_new(values[at : at + 5])


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


@given(st.lists(st.sampled_from(["x", "é", "👍", "ß", "SS"]), min_size=36, max_size=40).map("".join), st.data())
@PATIENT
def test_names_at_the_budget(contact: str, data: st.DataObject) -> None:
    """Also where numbers cost the names their ends: unique, within the budget, whatever the batches."""
    long = member_namer(Channel("SMS"), budget=MIN_NAME_BUDGET)(contact, None, "2026-04-08_032443")
    assert len(numbered(long, 10, budget=MIN_NAME_BUDGET)) < len(long.replace(".csv", " (10).csv"))
    names = [long, long.upper().replace(".CSV", ".csv"), long.lower()] * 4
    claimed = claim(names, data.draw(st.lists(st.integers(0, 1000), max_size=9)), MIN_NAME_BUDGET)
    assert claimed == claim(names, range(len(names)), MIN_NAME_BUDGET)
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
                unique.see(batch, digests(batch))
            assert caught.value.conversation_id == back
            assert repr(back) in str(caught.value)
            return
        unique.see(batch, digests(batch))
        seen.update(batch)


def test_ids_are_not_folded() -> None:
    """Ids that differ in case or form are different conversations; a name is no id."""
    unique = Uniqueness(DEFAULT_NAME_BUDGET)
    ids = ["a", "A", "é", "e\u0301", csv_name("Jane")]
    unique.see(ids, digests(ids))
    assert unique.claim_one(csv_name("Jane")) == csv_name("Jane")
