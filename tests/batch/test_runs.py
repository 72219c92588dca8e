"""Ordered batches cut into runs, wherever they were cut before and whatever the encoding of their columns."""

from __future__ import annotations

from itertools import groupby

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.batch.runs import runs

KEYS = st.lists(st.tuples(st.sampled_from(["", "a", "b", "ab", "é"]), st.integers(0, 2)), max_size=30)


def table(keys: list[tuple[str, int]], kind: str) -> pa.Table:
    channels = pa.array([channel for channel, _ in keys], pa.string())
    if kind == "dictionary":
        channels = channels.dictionary_encode()
    elif kind == "view":
        channels = channels.cast(pa.string_view())
    columns = {
        "channel_id": channels,
        "channel_name": pa.array([f"Channel {channel}" for channel, _ in keys], pa.string()),
        "channel_phone": pa.nulls(len(keys), pa.string()),
        "period": pa.array([period for _, period in keys], pa.int32() if kind == "view" else pa.int64()),
        "message_id": pa.array([str(number) for number in range(len(keys))], pa.string()),
    }
    return pa.table(columns)


@pytest.mark.slow
@settings(deadline=None)
@given(KEYS, st.sampled_from(["plain", "dictionary", "view"]), st.integers(1, 7), st.data())
def test_runs_are_what_stands_together(keys: list[tuple[str, int]], kind: str, size: int, data: st.DataObject) -> None:
    """Every run, with all of its rows in order, also behind runs that nobody read or only began to read."""
    expected = [(key, [row for row, _ in group]) for key, group in groupby(enumerate(keys), key=lambda item: item[1])]
    batches = [*table(keys, kind).to_batches(size), *table([], kind).to_batches()]
    for run, (key, rows) in zip(runs(batches), expected, strict=True):
        assert ((run.channel_id, run.period), run.channel_name) == (key, f"Channel {key[0]}")
        wanted = data.draw(st.sampled_from(["all", "first", "none"]))
        if wanted == "all":
            assert [int(i.as_py()) for batch in run.batches for i in batch.column("message_id")] == rows
        elif wanted == "first":
            assert int(next(run.batches).column("message_id")[0].as_py()) == rows[0]


def test_a_run_is_not_held() -> None:
    """The next batch is asked for when the run's reader asks."""
    asked = []

    def batches() -> object:
        for number in range(5):
            asked.append(number)
            yield from table([("a", 0)] * 3, "plain").to_batches()

    (found,) = [run for run in runs(batches()) if next(run.batches) is not None and len(asked) == 1]  # type: ignore[arg-type]  # an iterator
    assert found.channel_id == "a"
    assert asked == [0, 1, 2, 3, 4]


class OwnError(Exception):
    """The input's own."""


def test_the_input_s_error_arrives() -> None:
    """Unwrapped, also within a run that nobody reads."""

    def failing() -> object:
        yield from table([("a", 0)] * 3, "plain").to_batches()
        raise OwnError

    with pytest.raises(OwnError):
        list(runs(failing()))  # type: ignore[arg-type]  # an iterator
