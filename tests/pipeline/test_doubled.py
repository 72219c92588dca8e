"""Messages that have the id of the one before them: counted, whatever the batches and however long the conversation."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby, pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.pipeline.cells import doubled
from export_engine.schema import ROW_SCHEMA
from tests.pipeline.exporting import cut, exported

ROW = {"direction": "inbound", "speaker_type": "customer", "message_text": "word " * 20}
JUNE, JULY = (datetime(2026, month, 1, tzinfo=UTC) for month in (6, 7))

#: A conversation's messages: their ids, and whether they are in the range.
MESSAGES = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([True, True, False])), min_size=1, max_size=12)


@given(st.lists(MESSAGES, min_size=1, max_size=4), st.integers(1, 9), st.integers(1, 9))
@settings(deadline=None)
def test_doubled_ids(conversations: list[list[tuple[str, bool]]], size: int, most: int) -> None:
    """Of those that are exported, within their conversation; the first of the next one may have any."""
    table = pa.Table.from_pylist(
        [
            {**ROW, "conversation_id": f"{number}", "message_id": id_, "message_time": JUNE if within else JULY}
            for number, messages in enumerate(conversations)
            for id_, within in messages
        ],
        ROW_SCHEMA,
    )
    kept = [[id_ for id_, within in messages if within] for messages in conversations]
    expected = sum(one == other for ids in kept for one, other in pairwise(ids))
    assert exported(cut(table, min(size, most)), max_rows=most).totals.doubled_ids == expected


@pytest.mark.usefixtures("way")
@given(runs=st.lists(st.lists(st.sampled_from(["", "a", "b"]), max_size=4), max_size=5), start=st.integers(0, 3))
@settings(deadline=None)
def test_doubled(runs: list[list[str]], start: int) -> None:
    """In slices too, and where a run has no ids at all."""
    ids = ["x"] * start + [id_ for run in runs for id_ in run]
    bounds = [0]
    for run in runs:
        bounds.append(bounds[-1] + len(run))
    expected = sum(len(run) - len(list(groupby(run))) for run in runs)
    assert doubled(pa.array(ids, pa.string()).slice(start), np.array(bounds)) == expected
