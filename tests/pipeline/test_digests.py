"""Has this been seen before: digests against a set."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export_engine.pipeline.digests import DigestSet, column_digests, digests

PATIENT = settings(deadline=None, max_examples=100)


pytestmark = pytest.mark.usefixtures("way")

# Few values, so that they meet often; the ends of the range among them.
VALUES = st.integers(0, 40) | st.sampled_from([2**64 - 1, 2**64 - 2, 2**63, 2**63 - 1])
BATCHES = st.lists(st.lists(VALUES, max_size=8), max_size=20)


@given(st.lists(st.text()))
@example(["", "\ud800", "é", "e\u0301"])
@PATIENT
def test_digests_tell_texts_apart(items: list[str]) -> None:
    """Equal for equal texts, however they were made, and different for others; a lone surrogate is no trouble."""
    copies = [item[:1] + item[1:] for item in items]
    assert digests(items).tolist() == digests(copies).tolist()
    assert len(set(digests(items).tolist())) == len(set(items))
    assert digests(items).dtype == np.uint64


@given(st.lists(st.none() | st.text(max_size=20)), st.data())
@PATIENT
def test_digests_of_a_column_are_those_of_its_texts(texts: list[str | None], data: st.DataObject) -> None:
    """Of any rows, in slices too; a null is the empty text."""
    column = pa.array(["", *texts], pa.string()).slice(1)
    rows = data.draw(st.lists(st.sampled_from(range(len(texts))))) if texts else []
    expected = digests([texts[row] or "" for row in rows])
    assert column_digests(column, np.array(rows, np.int64)).tolist() == expected.tolist()


def test_the_kernel_s_hash_is_python_s() -> None:
    """SipHash-1-3, which a Python with the key of zeros tells of any bytes."""
    native = pytest.importorskip("export_engine._native", reason="built where there is a compiler")
    if sys.hash_info.algorithm != "siphash13":
        pytest.skip("this Python has another hash")
    texts = [bytes(range(1, size + 1)) for size in range(1, 40)]
    code = "import sys; print([hash(bytes(range(1, size + 1))) for size in range(1, 40)])"
    told = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, check=True
    )
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
    made = native.digest_rows((None, 0, ends.data, b"".join(texts)), 39, np.arange(39).data, bytes(16))
    assert np.frombuffer(made, np.int64).tolist() == json.loads(told.stdout)


@pytest.mark.slow
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
